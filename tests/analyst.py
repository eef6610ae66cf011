"""Reads all that the views show of some memberships, and claims that it is what it should be."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from math import isclose
from typing import Any

import analysis_model as model
from analysis_model import Home, Row, Sweep
from sqlalchemy import Connection, text
from stored import read

from etl import verify

TICK = timedelta(microseconds=1)
TIME_ZONES = ("UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati")

VIEWS: dict[str, tuple[str, Callable[[Iterable[Home], datetime], Iterable[Row]]]] = {
    "status_durations": ("job_arn status", model.status_durations),
    "job_timings": ("job_arn", model.job_timings),
    "model_reliability": (
        "membership_id trained_model_arn trained_model_version_identifier week",
        model.model_reliability,
    ),
    "status_counts_hourly": ("membership_id hour status", model.status_counts_hourly),
    "capacity": ("membership_id hour", model.capacity),
    "open_jobs": ("job_arn", model.open_jobs),
    "history_gaps": ("job_arn changed_time kind", model.history_gaps),
}
"""What makes a row of each view one, and what the view must show."""

AS_OF: dict[str, Callable[[Iterable[Home], datetime], Iterable[Row]]] = {
    "jobs_as_of": model.jobs_as_of,
    "jobs_known_as_of": model.jobs_known_as_of,
}


def differences(shown: Iterable[Row], wanted: Iterable[Row], key: str) -> list[str]:
    """Name what a view shows otherwise than it should; `key` are the columns that make a row one."""
    is_, should = _by_key(shown, key), _by_key(wanted, key)
    found = [f"{one}: shown only" for one in is_.keys() - should.keys()]
    found += [f"{one}: not shown" for one in should.keys() - is_.keys()]
    for one in is_.keys() & should.keys():
        found += [f"{one}: {difference}" for difference in _columns(is_[one], should[one])]
    return found


def _by_key(rows: Iterable[Row], key: str) -> dict[tuple[Any, ...], Row]:
    listed = list(rows)
    found = {tuple(row[name] for name in key.split()): row for row in listed}
    assert len(found) == len(listed), f"rows that {key} does not tell apart"
    return found


def _columns(is_: Row, should: Row) -> list[str]:
    return [
        f"{name} is {is_.get(name, 'not there')}, should be {should.get(name, 'not there')}"
        for name in sorted(is_.keys() | should.keys())
        if name not in is_ or name not in should or not _same(is_[name], should[name])
    ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float | int):
        return isclose(one, other, rel_tol=1e-9, abs_tol=2e-6)
    return bool(one == other)


@dataclass
class Analyst:
    """Reads all views of some memberships at one moment, and claims that they show what they should."""

    connection: Connection
    memberships: Sequence[str]
    turn: Iterator[int] = field(default_factory=count)

    def check(self) -> None:
        """Claim it in whatever time zone the session is in."""
        with self.connection.begin():
            self._begin(TIME_ZONES[next(self.turn) % len(TIME_ZONES)])
            now = self.now()
            homes = self.homes()
            wrong = self._views(homes, now) + self._moments(homes, now)
        assert not wrong, "\n".join(wrong[:40])

    def check_whole(self) -> None:
        """Claim besides that the product's own checks find all in order."""
        self.check()
        assert [finding for finding in verify.findings(self.connection) if finding.broken] == []

    def now(self) -> datetime:
        """Tell the moment of the present transaction."""
        now = self.connection.scalar(text("SELECT now()"))
        assert isinstance(now, datetime)
        return now

    def rows(self, view: str) -> list[Row]:
        asked = text(f"SELECT * FROM cleanrooms.{view} WHERE membership_id = ANY (:ids)")  # noqa: S608 - our own names
        return [dict(row) for row in self.connection.execute(asked, {"ids": self.memberships}).mappings()]

    def homes(self) -> list[Home]:
        stored = read(self.connection, self.memberships)
        found = self.connection.execute(text(_HOMES), {"ids": self.memberships}).mappings()
        sweeps: dict[str, list[Sweep]] = {each: [] for each in self.memberships}
        for each, *sweep in self.connection.execute(text(_SWEEPS), {"ids": self.memberships}):
            sweeps[each].append(Sweep(*sweep))
        return [
            Home(
                **row,
                sweeps=sweeps[row["membership_id"]],
                jobs=[job.record for job in stored[row["membership_id"]].values()],
            )
            for row in found
        ]

    def _begin(self, time_zone: str) -> None:
        self.connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        self.connection.execute(text(f"SET LOCAL TIME ZONE '{time_zone}'"))

    def _views(self, homes: Sequence[Home], now: datetime) -> list[str]:
        found = []
        for view, (key, wanted) in VIEWS.items():
            shown = self.rows(view)
            assert all(row.pop("why") for row in shown if "why" in row)
            found += [f"{view} {each}" for each in differences(shown, wanted(homes, now), key)]
        return found

    def _moments(self, homes: Sequence[Home], now: datetime) -> list[str]:
        moments = _moments(homes, now)
        found = []
        for function, wanted in AS_OF.items():
            should = [{"moment": moment, **row} for moment in moments for row in wanted(homes, moment)]
            found += [
                f"{function} {each}"
                for each in differences(self._as_of(function, moments), should, "moment job_arn")
            ]
        return found

    def _as_of(self, function: str, moments: Sequence[datetime]) -> list[Row]:
        asked = text(
            f"SELECT * FROM unnest(CAST(:moments AS timestamptz[])) AS t (moment)"  # noqa: S608 - our own names
            f" CROSS JOIN LATERAL cleanrooms.{function}(moment) AS held WHERE held.membership_id = ANY (:ids)"
        )
        parameters = {"moments": list(moments), "ids": self.memberships}
        return [dict(row) for row in self.connection.execute(asked, parameters).mappings()]


_HOMES = """
    SELECT membership_id, region, account_id, configured, open_jobs_quota AS quota,
        account_open_jobs_quota AS account_quota
    FROM cleanrooms_etl.membership WHERE membership_id = ANY (:ids)
"""
_SWEEPS = """
    SELECT membership_id, kind, started_at, finished_at FROM cleanrooms_etl.sync_run
    JOIN cleanrooms_etl.membership USING (membership_key)
    WHERE membership_id = ANY (:ids) AND outcome = 'complete' ORDER BY run_id
"""


def _moments(homes: Iterable[Home], now: datetime) -> list[datetime]:
    """Choose the moments at which all could differ: each change, as it happened and as we learned of it."""
    moved = [moved for home in homes for job in home.jobs for moved in job.history]
    edges = sorted({each.changed_time for each in moved} | {each.observed_at for each in moved})[-8:]
    hours = [model.hour_of(edge) for edge in edges[:2]]
    return sorted({now, *edges, *(edge - TICK for edge in edges), *hours})
