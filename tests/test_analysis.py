"""What the views show analysts, against the same computed in plain Python: in random worlds, at every moment.

A check looks at everything at once. It is made after each sync, whatever became of that, and between the
transactions of a sync under way, whose counts are then behind.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import analysis_model as model
import pytest
from analysis_model import DAY, HOUR, KNOWN, OUTCOMES, RUNNING, Row
from analyst import Analyst
from conftest import MINUTE
from model import NOT_LISTED
from sqlalchemy import Connection, text

from etl import batches, config, database, leases, loading, sweep, sync
from etl.demo import answers
from etl.demo.clock import real_time
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import JOBS, Request
from etl.demo.resources import Job, whole_milliseconds
from etl.demo.world import World
from etl.run import Progress, StoppedError

MILLISECOND = timedelta(milliseconds=1)
LEAST = 2e-6
"""Seconds that sums of floating point may be off by."""
STATUSES = (*sorted(KNOWN - {NOT_LISTED}), "WAITING_FOR_GPU")  # and one that nobody knows

# What truly happened


@dataclass(eq=False)
class Told:
    """A job of the simulated world, and whether all that AWS tells of it is true when it is told."""

    home: int
    job: Job
    is_honest: bool = True
    went_back: bool = False
    """Whether its updateTime was ever set back: of such a job less is remembered."""

    def __repr__(self) -> str:
        return self.job.arn.rpartition("/")[2]

    def true_seconds(self, status: str, now: datetime) -> float:
        """Tell for how long it truly held a status that it took once."""
        for (held, since), (_, until) in pairwise((*self.job.truth, ("", now))):
            if held == status:
                return (until - since) / timedelta(seconds=1)
        raise AssertionError(f"{self} never was {status}")

    def true_durations(self, outcome: str | None) -> dict[str, float]:
        """Tell what job_timings may know of a job that was seen to end like this."""
        since = dict(reversed(self.job.truth))
        turns = [(held, until) for (held, _), (_, until) in pairwise(self.job.truth)]
        ended = next((since[status] for status, name in OUTCOMES.items() if name == outcome), None)
        cancelled = min((since[status] for status in model.CANCELLING & since.keys()), default=None)
        spans = {
            "queue": (self.job.create_time, since.get(RUNNING)),
            "run": (since.get(RUNNING), dict(turns).get(RUNNING)),
            "cancel": (cancelled, ended),
            "total": (self.job.create_time, ended),
        }
        return {
            name: (until - start) / timedelta(seconds=1)
            for name, (start, until) in spans.items()
            if start and until
        }


def check_truth(analyst: Analyst, jobs: Iterable[Told], *, is_now_ours: bool) -> int:
    """Claim that what truly happened lies within all bounds that the views give; return how many those were.

    What lasts until now can be told only where AWS's clock agrees with ours.
    """
    honest = {told.job.arn: told for told in jobs if told.is_honest}
    with analyst.connection.begin():
        now = analyst.now()
        durations = [row for row in analyst.rows("status_durations") if row["job_arn"] in honest]
        timings = [row for row in analyst.rows("job_timings") if row["job_arn"] in honest]
    bounds = [
        (row, "", honest[row["job_arn"]].true_seconds(row["status"], now))
        for row in durations
        if is_now_ours or not row["is_current"]
    ]
    for row in timings:
        true = honest[row["job_arn"]].true_durations(row["outcome"])
        seen = [name for name in ("queue", "run", "cancel", "total") if row[f"{name}_seconds"] is not None]
        bounds += [(row, f"{name}_", true[name]) for name in seen]
    for row, name, true_seconds in bounds:
        lower, upper = row[f"{name}seconds_lower"] - LEAST, row[f"{name}seconds_upper"] + LEAST
        assert lower <= row[f"{name}seconds"] <= upper, row
        assert lower <= true_seconds <= upper, (row, name, true_seconds)
    return len(bounds)


# Random worlds


def _kept(connection: Connection, membership_id: str) -> dict[str, tuple[str, str]]:
    """Return what is kept counted of a membership: each row's content, and which version of it that is."""
    with connection.begin():
        rows = connection.execute(text(_KEPT), {"id": membership_id}).all()
    return {key: (content, version) for key, content, version in rows}


_KEPT = """
    SELECT hour::text, (held, entered, most_open)::text, kept.xmin || ' ' || kept.ctid
    FROM cleanrooms_etl.status_hour AS kept JOIN cleanrooms_etl.membership USING (membership_key)
    WHERE membership_id = :id
    UNION ALL
    SELECT concat_ws(' ', week, trained_model_arn, trained_model_version_identifier),
        (jobs, succeeded, failed, cancelled, cancel_failed, total_seconds, run_seconds)::text,
        kept.xmin || ' ' || kept.ctid
    FROM cleanrooms_etl.model_week AS kept JOIN cleanrooms_etl.membership USING (membership_key)
    WHERE membership_id = :id
"""


@dataclass
class Stage:
    """Where worlds are played: a database, and the simulated endpoint."""

    connection: Connection
    database_url: str
    endpoint: Endpoint

    @property
    def world(self) -> World:
        return self.endpoint.world

    def configure(self, memberships: Iterable[Membership], page_size: int = 100) -> config.Config:
        return loading.from_mapping(
            {
                "database": {"url": self.database_url},
                "aws": {"endpoint_url": self.endpoint.url, "page_size": page_size},
                "sync": {"absence_grace": "0s"},
                "membership": [{"id": each.id, "region": each.region} for each in memberships],
            },
            {},
        )


@pytest.fixture
def stage(database_url: str, endpoint: Endpoint) -> Iterator[Stage]:
    """Where syncs are in another time zone than UTC too."""
    abroad = database.parse(database_url).update_query_dict({"options": "-c timezone=America/St_Johns"})
    with database.connect(database_url) as connection:
        yield Stage(connection, abroad.render_as_string(hide_password=False), endpoint)


AGES: dict[str, Callable[[datetime], datetime]] = {
    "new": lambda now: now,
    "of an hour": lambda now: now - HOUR,
    "of this week's first instant": model.week_of,
    "of the week before's last": lambda now: model.week_of(now) - MILLISECOND,
    "of the last hour of a year": lambda _: datetime(2025, 12, 31, 23, 30, tzinfo=UTC),
    "of the first day of a year": lambda _: datetime(2026, 1, 1, tzinfo=UTC),
    "of years ago": lambda now: now - 1000 * DAY,
}
PAUSES: dict[str, Callable[[datetime], datetime]] = {
    "an instant": lambda now: now + MILLISECOND,
    "some minutes": lambda now: now + 7 * MINUTE,
    "until the hour": lambda now: model.hour_of(now) + HOUR,
    "hours": lambda now: now + 5 * HOUR,
    "until Monday": lambda now: model.week_of(now) + 7 * DAY,
    "until today": lambda _: real_time(),
}
MODELS = tuple(f"arn:aws:cleanrooms-ml:us-east-1:111122223333:trained-model/{name}" for name in "ab")
WAYS = ("whole", "whole", "in pieces", "broken off", "stopped", "fenced", "overtaken")


class AnalystsWorld:
    """Jobs in four memberships of two accounts, in AWS's time, which is days behind ours and catches up."""

    def __init__(self, stage: Stage, random: Random) -> None:
        self.stage = stage
        self.random = random
        world = stage.world
        self.homes = [
            world.add_membership(),
            world.add_membership(),
            world.add_membership(region="eu-west-1"),
            world.add_membership(account="444455556666"),
        ]
        self.told: list[Told] = []
        self.moment: datetime | None = model.hour_of(real_time() - random.choice((HOUR, 30 * HOUR, 6 * DAY)))
        self.analyst = Analyst(stage.connection, [home.id for home in self.homes])
        world.now = self._now
        sweep.register(stage.configure(self.homes))

    def play(self, turns: int) -> None:
        """Let things happen, and sync; then sync until all is quiet."""
        for _ in range(turns):
            for _ in range(self.random.randrange(8)):
                self._change()
            self._sync(self.random.randrange(4), self.random.choice(WAYS), self.random.randrange(3))
        for home in range(4):
            self._sync(home, "whole", 0)

    def _now(self) -> datetime:
        return self.moment or real_time()

    def _change(self) -> None:
        """Make or change a job, or let time pass, which is rarer."""
        often = (self._move, self._move_on, self._move_by_a_wrong_clock, self._edit)
        seldom = (self._change_the_creation, self._remove_or_put_back)
        change = self.random.choice((None, *often, *often, *seldom))
        if self.random.random() < 0.1:
            self._let_time_pass()
        elif change is None or not self.told:
            self._create()
        else:
            change(self.random.choice(self.told))

    def _create(self) -> None:
        home = self.random.randrange(4)
        job = self.stage.world.create_job(
            self.homes[home],
            status=self.random.choice(STATUSES),
            create_time=self._birth(),
            update_time=self._now(),
            **self._model(),
        )
        self.told.append(Told(home, job))

    def _birth(self) -> datetime:
        return AGES[self.random.choice(sorted(AGES))](self._now())

    def _model(self) -> dict[str, Any]:
        return {
            "trained_model_arn": self.random.choice(MODELS),
            "trained_model_version_identifier": self.random.choice((None, "1", "2")),
        }

    def _let_time_pass(self) -> None:
        if self.moment is not None:
            later = PAUSES[self.random.choice(sorted(PAUSES))](self.moment)
            self.moment = later if later < real_time() else None

    def _move(self, told: Told) -> None:
        """Take any status; what was there twice, or at one instant, is more than AWS's own time can tell."""
        self._take(told, self.random.choice(STATUSES))

    def _move_on(self, told: Told) -> None:
        """Take the next step of an ordinary life."""
        if ahead := sorted(model.NEXT.get(told.job.status, ())):
            self._take(told, self.random.choice(ahead))

    def _take(self, told: Told, status: str) -> None:
        is_new = status not in {held for held, _ in told.job.truth}
        told.is_honest &= is_new and whole_milliseconds(self._now()) > told.job.update_time
        self.stage.world.set_status(told.job, status)

    def _move_by_a_wrong_clock(self, told: Told) -> None:
        told.is_honest = False
        drift = self.random.choice((timedelta(0), MILLISECOND, -HOUR, HOUR, 100 * HOUR))
        latest = real_time() + 20 * HOUR  # what is absurdly far ahead is no job at all
        update_time = min(told.job.update_time + drift, latest)
        told.went_back |= update_time < told.job.update_time
        self.stage.world.set_status(told.job, self.random.choice(STATUSES), update_time=update_time)

    def _edit(self, told: Told) -> None:
        fields = self.random.choice(({"name": "other"}, {"name": "scoring"}, self._model()))
        self.stage.world.edit(told.job, touch=self._now() > told.job.update_time, **fields)

    def _change_the_creation(self, told: Told) -> None:
        told.is_honest = False
        is_later = self._now() > told.job.update_time
        self.stage.world.edit(told.job, touch=is_later, create_time=self._birth())

    def _remove_or_put_back(self, told: Told) -> None:
        told.is_honest = False
        home = self.homes[told.home]
        if told.job not in home.items:
            self.stage.world.put_back(home, told.job)
        elif not told.went_back:
            self.stage.world.remove(home, told.job)

    def _sync(self, home: int, way: str, place: int) -> None:
        before = [_kept(self.stage.connection, each.id) for each in self.homes]
        outcome = self._perform(home, way, place)
        assert outcome in {"complete", "partial", "failed", "fenced"}
        assert way not in {"whole", "in pieces"} or outcome == "complete"
        self._check_rows_written(home, before)
        self.analyst.check_whole()
        check_truth(self.analyst, self.told, is_now_ours=False)

    def _perform(self, home: int, way: str, place: int) -> str:
        is_whole = way == "whole"
        settings = self.stage.configure(self.homes, page_size=100 if is_whole else 4)
        pages = count()
        if way == "broken off":
            self.stage.endpoint.on(
                lambda request: request.operation == JOBS and next(pages) == place,
                answers.error("AccessDeniedException"),
            )
        looks = count()

        def watch(_: Progress) -> None:
            look = next(looks)
            if way == "in pieces" and look:
                self.analyst.check()
            if look == place + 1:
                self._disturb(home, way)

        with patch.object(batches, "ITEMS", batches.ITEMS if is_whole else 1):
            report = sync.sync_membership(settings, settings.memberships[home], watch)
        self.stage.endpoint.forget_plan()
        return report.outcome

    def _disturb(self, home: int, way: str) -> None:
        """Stop the run, or be another worker, who ends by itself in the middle or comes to the end."""
        if way == "stopped":
            raise StoppedError
        if way in {"fenced", "overtaken"}:
            self._end_the_lease(home)
        if way == "fenced":
            with self.stage.connection.begin():
                worker = leases.Worker("elsewhere", "1")
                assert leases.begin(self.stage.connection, self.homes[home].id, MILLISECOND, worker, if_due=False)
        if way == "overtaken":
            settings = self.stage.configure(self.homes)
            assert sync.sync_membership(settings, settings.memberships[home]).outcome == "complete"

    def _end_the_lease(self, home: int) -> None:
        with self.stage.connection.begin():
            self.stage.connection.execute(text(_END_THE_LEASE), {"id": self.homes[home].id})

    def _check_rows_written(self, home: int, before: Sequence[dict[str, tuple[str, str]]]) -> None:
        """Claim that of what is kept counted only rows were written that differ, and none of others."""
        for place, (each, old) in enumerate(zip(self.homes, before, strict=True)):
            new = _kept(self.stage.connection, each.id)
            assert old.keys() <= new.keys()
            assert place == home or new == old
            for key, (content, version) in old.items():
                assert new[key] == (content, version) or new[key][0] != content, f"{key} was written as it was"


_END_THE_LEASE = """
    UPDATE cleanrooms_etl.membership SET lease_until = now() - interval '1 second' WHERE membership_id = :id
"""


@pytest.mark.parametrize("seed", range(6))
def test_the_views_show_of_a_random_world_what_plain_python_computes(stage: Stage, seed: int) -> None:
    AnalystsWorld(stage, Random(seed)).play(turns=16)  # noqa: S311 - no secrets


# Worlds that chance seldom makes


@dataclass
class Here:
    """One membership of the stage's world, synced and looked at."""

    stage: Stage
    membership: Membership

    @property
    def analyst(self) -> Analyst:
        return Analyst(self.stage.connection, [self.membership.id])

    def sync(self) -> None:
        assert self._outcome() == "complete"

    def sync_the_first_page(self) -> None:
        """Break off behind the job that was created last."""
        self.stage.endpoint.on(_is_later_page, answers.error("AccessDeniedException"))
        assert self._outcome(page_size=1) == "partial"

    def _outcome(self, page_size: int = 100) -> str:
        settings = self.stage.configure([self.membership], page_size)
        sweep.register(settings)
        return sync.sync_membership(settings, settings.memberships[0]).outcome

    def rows(self, view: str) -> list[Row]:
        with self.stage.connection.begin():
            return self.analyst.rows(view)


@pytest.fixture
def here(stage: Stage, membership: Membership) -> Here:
    stage.world.now = real_time
    return Here(stage, membership)


def test_each_change_from_any_status_to_any_other_is_shown_for_what_it_is(here: Here) -> None:
    world, began = here.stage.world, real_time() - DAY
    pairs = [(status, other) for status in STATUSES for other in STATUSES if status != other]
    jobs = [world.create_job(here.membership, status=status, create_time=began) for status, _ in pairs]
    here.sync()
    for job, (_, status) in zip(jobs, pairs, strict=True):
        world.set_status(job, status, at=began + HOUR)
    here.sync()
    here.analyst.check_whole()
    assert len(here.rows("job_timings")) == len(pairs)


def test_a_change_at_the_very_start_of_an_hour_counts_in_that_hour_and_is_held_at_its_start(here: Here) -> None:
    hour = model.hour_of(real_time()) - 3 * HOUR
    job = here.stage.world.create_job(here.membership, create_time=hour)
    here.sync()
    here.stage.world.set_status(job, RUNNING, at=hour + HOUR)
    here.sync()
    with here.stage.connection.begin():
        shown = here.analyst.rows("status_counts_hourly")
    held = {
        (row["status"], (row["hour"] - hour) // HOUR): (row["jobs_held"], row["jobs_entered"])
        for row in shown
        if row["status"] in {"CREATE_PENDING", RUNNING}
    }
    assert [held["CREATE_PENDING", number] for number in range(3)] == [(1, 1), (0, 0), (0, 0)]
    assert [held[RUNNING, number] for number in range(3)] == [(0, 0), (1, 1), (1, 0)]
    here.analyst.check_whole()


def test_a_listing_that_showed_the_status_before_does_not_tell_how_long_the_present_one_lasted(here: Here) -> None:
    """AWS shows a change late, and the next listing breaks off: that a job was running then, nobody saw."""
    world, now = here.stage.world, real_time()
    jobs = [world.create_job(here.membership, create_time=now - number * HOUR) for number in (3, 2)]
    here.sync()
    world.set_status(jobs[1], RUNNING, at=now - HOUR)
    here.sync_the_first_page()
    world.set_status(jobs[1], "ACTIVE", at=now - HOUR + MINUTE)
    check_truth(here.analyst, [Told(0, job) for job in jobs], is_now_ours=True)
    here.analyst.check_whole()


def test_an_update_time_ahead_of_the_clock_does_not_tell_that_a_job_is_listed_no_more(here: Here) -> None:
    world = here.stage.world
    job = world.create_job(here.membership)
    here.sync()
    world.set_status(job, "ACTIVE", update_time=real_time() + HOUR)
    here.sync()
    world.remove(here.membership, job)
    here.sync()
    here.sync()
    lower = {row["status"]: row["seconds_lower"] for row in here.rows("status_durations")}
    assert lower[NOT_LISTED] == 0
    here.analyst.check_whole()


@pytest.mark.parametrize("is_dated", [True, False], ids=["by AWS", "by us"])
def test_a_job_that_ended_while_it_was_not_listed_took_no_less_than_until_it_was_seen_last(
    here: Here, is_dated: bool
) -> None:
    world = here.stage.world
    job = world.create_job(here.membership, create_time=real_time() - HOUR)
    here.sync()
    world.set_status(job, RUNNING)
    here.sync()
    world.remove(here.membership, job)
    ended = real_time()
    here.sync()
    here.sync()
    world.put_back(here.membership, job)
    world.set_status(job, "ACTIVE", at=ended, update_time=real_time() if is_dated else ended)
    here.sync()
    (row,) = here.rows("job_timings")
    took = model.seconds(job.create_time, ended)
    assert took - MINUTE.seconds < row["total_seconds_lower"] <= took < row["total_seconds_upper"]
    here.analyst.check_whole()


def test_an_age_is_measured_by_the_thousand_jobs_that_ended_and_were_created_last(here: Here) -> None:
    world, now = here.stage.world, real_time()
    for number in range(1_100):
        created = now - DAY - number * MINUTE
        life = (number * 37 % 1_100) * timedelta(seconds=1) if number < 1_000 else DAY
        world.create_job(here.membership, status="ACTIVE", create_time=created, update_time=created + life)
    world.create_job(here.membership, create_time=now - timedelta(seconds=1_040))
    here.sync()
    (row,) = here.rows("open_jobs")
    assert (row["model_jobs_ended"], row["is_unusual"]) == (1_000, False)
    with here.stage.connection.begin():
        homes = here.analyst.homes()
        wanted = model.open_jobs(homes, now)
    assert row["model_p95_total_seconds"] == pytest.approx(next(wanted)["model_p95_total_seconds"])


def test_the_jobs_of_a_model_are_found_by_its_index(here: Here) -> None:
    world, now = here.stage.world, real_time()
    models = [world.add_trained_model(here.membership, f"model-{number}") for number in range(20)]
    for number in range(600):
        created = now - number * MINUTE
        status = "ACTIVE" if number else RUNNING
        world.create_job(here.membership, models[number % 20], status=status, create_time=created)
    here.sync()
    with here.stage.connection.begin() as transaction:
        here.stage.connection.execute(text("ANALYZE cleanrooms_etl.inference_job"))
        plan = here.stage.connection.scalars(text("EXPLAIN SELECT * FROM cleanrooms.open_jobs")).all()
        transaction.rollback()
    assert "ix_inference_job_model" in "\n".join(plan)


@pytest.mark.parametrize("view", ["status_history", "status_durations", "status_transitions", "job_timings"])
def test_what_is_joined_with_a_few_jobs_is_read_of_those_alone(view: str, here: Here) -> None:
    for number in range(600):
        here.stage.world.create_job(here.membership, name=f"job-{number}", status="ACTIVE")
    here.sync()
    query = f"SELECT * FROM cleanrooms.inference_jobs AS job JOIN cleanrooms.{view} AS its USING (job_arn)"  # noqa: S608
    with here.stage.connection.begin() as transaction:
        here.stage.connection.execute(text("ANALYZE"))
        plan = here.stage.connection.scalars(text(f"EXPLAIN {query} WHERE job.name = 'job-7'")).all()
        transaction.rollback()
    assert "Seq Scan on status_transition" not in "\n".join(plan)


def test_weeks_are_counted_by_bytes_whatever_the_language_of_the_database(here: Here) -> None:
    with here.stage.connection.begin():
        plan = here.stage.connection.scalars(text("EXPLAIN SELECT * FROM cleanrooms_etl.uncounted_week")).all()
    assert 'trained_model_arn)::text) COLLATE "C"' in "\n".join(plan)


def test_hours_and_weeks_are_shown_without_gaps_since_years_ago(here: Here) -> None:
    world, began = here.stage.world, model.week_of(real_time()) - 120 * 7 * DAY
    for weeks in (0, 1, 2, 40, 80, 119):
        born = began + weeks * 7 * DAY
        job = world.create_job(here.membership, create_time=born, update_time=born + HOUR)
        here.sync()
        world.set_status(job, "ACTIVE", at=born + 2 * DAY)
    here.sync()
    here.analyst.check_whole()
    shown = {row["week"] for row in here.rows("model_reliability")}
    assert shown == {began + number * 7 * DAY for number in (0, 1, 2, 40, 80, 119)}


def test_quotas_are_those_that_are_configured(stage: Stage, membership: Membership) -> None:
    other = stage.world.add_membership(account=membership.account)
    settings = loading.from_mapping(
        {
            "database": {"url": stage.database_url},
            "aws": {"endpoint_url": stage.endpoint.url},
            "quota": {"membership": 4, "account": 8},
            "membership": [
                {"id": membership.id, "region": "us-east-1"},
                {"id": other.id, "region": "us-east-1", "quota": 2},
            ],
        },
        {},
    )
    stage.world.now = real_time
    for home in (membership, other, other):
        stage.world.create_job(home)
    sweep.register(settings)
    for each in settings.memberships:
        assert sync.sync_membership(settings, each).outcome == "complete"
    analyst = Analyst(stage.connection, [membership.id, other.id])
    with stage.connection.begin():
        rows = analyst.rows("capacity")
    used = {row["membership_id"]: (row["quota_used"], row["account_quota"], row["account_id"]) for row in rows}
    assert used == {membership.id: (0.25, 8, membership.account), other.id: (1, 8, membership.account)}
    analyst.check_whole()


def test_a_membership_that_is_tracked_no_more_keeps_its_rows(stage: Stage, membership: Membership) -> None:
    other = stage.world.add_membership(account=membership.account)
    stage.world.now = real_time
    for home in (membership, other):
        stage.world.create_job(home)
        settings = stage.configure([membership, other])
        sweep.register(settings)
        for each in settings.memberships:
            assert sync.sync_membership(settings, each).outcome == "complete"
    sweep.register(stage.configure([membership]))
    Analyst(stage.connection, [membership.id, other.id]).check_whole()


def test_what_truly_happened_lies_within_all_bounds(here: Here) -> None:
    """In our own time: what is not seen, is seen late, or touched by later edits, is within wider bounds."""
    world, began = here.stage.world, real_time()
    told = [Told(0, world.create_job(here.membership, create_time=began - number * HOUR)) for number in range(12)]
    claims, random = 0, Random(1)  # noqa: S311 - no secrets
    for turn in range(12):
        for place, each in enumerate(told):
            if ahead := sorted(model.NEXT.get(each.job.status, ())):
                if (turn + place) % 3 == 0:
                    world.set_status(each.job, random.choice(ahead))
            elif (turn + place) % 5 == 0:
                world.edit(each.job, name="other")
            if (turn + place) % 7 == 0:
                world.edit(each.job, name="scoring")
        here.sync()
        claims += check_truth(here.analyst, told, is_now_ours=True)
    here.analyst.check_whole()
    outcomes = {row["outcome"] for row in here.rows("job_timings")}
    assert outcomes >= {"succeeded", "failed", "cancelled", "cancel_failed"}
    assert claims > 400


def test_a_sync_that_finds_nothing_new_writes_no_count(here: Here) -> None:
    for status in STATUSES:
        here.stage.world.create_job(here.membership, status=status)
    here.sync()
    kept = _kept(here.stage.connection, here.membership.id)
    here.sync()
    assert kept
    assert _kept(here.stage.connection, here.membership.id) == kept


# Killed


def test_between_a_kill_and_the_next_sync_the_views_are_exact(
    here: Here, tmp_path: Path, endpoint: Endpoint
) -> None:
    """The process waits for its third page when its first is committed, and then is killed."""
    world = here.stage.world
    for number in range(4):
        world.create_job(here.membership, create_time=real_time() - number * HOUR)
    here.sync()
    for number, job in enumerate(world.jobs(here.membership)):
        world.set_status(job, RUNNING)
        world.edit(job, create_time=job.create_time - number * 7 * DAY)
    file = tmp_path / "etl.toml"
    file.write_text(
        f'[database]\nurl = "{here.stage.database_url}"\n'
        f'[aws]\nendpoint_url = "{endpoint.url}"\npage_size = 1\n[sync]\nlease = "1s"\n'
        f'[[membership]]\nid = "{here.membership.id}"\nregion = "us-east-1"\n'
    )
    endpoint.on(_is_later_page, answers.Normal(), answers.slow(30))
    by_the_page = "from etl import batches, reading; batches.ITEMS = 1; reading.PAGES_AHEAD = 0"
    command = [
        sys.executable,
        "-c",
        f"{by_the_page}; from etl.cli import main; main()",
        "sync",
        "--config",
        str(file),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own program
        try:
            _wait_until(here, "uncounted_hours_from IS NOT NULL AND uncounted_weeks_from IS NOT NULL")
            here.analyst.check_whole()
        finally:
            process.kill()
    here.analyst.check_whole()
    assert {row["status"] for row in here.rows("open_jobs")} == {"CREATE_PENDING", RUNNING}
    endpoint.forget_plan()
    here.sync()
    here.analyst.check_whole()
    _wait_until(here, "uncounted_hours_from IS NULL AND uncounted_weeks_from IS NULL")


def _is_later_page(request: Request) -> bool:
    return request.operation == JOBS and "nextToken" in request.query


def _wait_until(here: Here, condition: str) -> None:
    asked = text(f"SELECT {condition} FROM cleanrooms_etl.membership WHERE membership_id = :id")  # noqa: S608 - ours
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with here.stage.connection.begin():
            if here.stage.connection.scalar(asked, {"id": here.membership.id}):
                return
        time.sleep(0.05)
    raise AssertionError(f"never: {condition}")
