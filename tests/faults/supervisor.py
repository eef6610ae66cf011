"""Breaks things at random for a while, then lets all rest, and compares."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from random import Random

import psycopg
from analyst import Analyst
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from stored import snapshot

from etl import database, verify
from etl.database import DatabaseError
from faults import comparison, figures, of_aws, of_database, of_workers, scene
from faults.comparison import Found
from faults.estate import FOLLOWING, before_all
from faults.figures import Figures
from faults.kinds import KINDS, Kind
from faults.scene import Scene

__all__ = ["of_aws", "of_database", "of_workers", "supervise"]  # whoever imports the kinds has them all

_PAUSES = (0.3, 1.1)  # seconds between two faults
_LULL = 2.5  # seconds without any now and then: quick sweeps need a full one that went well
_FAULTS_BETWEEN_LULLS = 10
_AT_ONCE = 6
_LOOK = 4.0  # seconds between two looks at the invariants
_CONVERGED = 240.0  # seconds after which what is not there never comes
_LAST_SWEEPS = 2
_UNTIL_GONE = 4  # sweeps, where AWS may not be asked for the job


@dataclass
class _Active:
    kind: Kind
    end: float
    stack: ExitStack = field(default_factory=ExitStack)


def supervise(minutes: float, seed: int) -> Figures:
    """Break for so long what can be broken."""
    with scene.opened(Random(seed)) as where:  # noqa: S311 - seeded on purpose
        supervisor = _Supervisor(where, Figures(seed))
        supervisor.storm(minutes * 60)
        supervisor.quiet()
        return supervisor.figures


class _Supervisor:
    def __init__(self, where: Scene, told: Figures) -> None:
        self.figures = told
        self._scene = where
        # What is broken when hangs on the seed alone; how it is done, on what other threads do meanwhile, too.
        self._random, self._chance = Random(told.seed), Random(told.seed)  # noqa: S311 - seeded on purpose
        self._active: list[_Active] = []
        self._ended: list[tuple[str, datetime]] = []
        self._history: set[tuple[object, ...]] = set()
        self._looked_at = time.monotonic()
        self._kinds = [kind for kind in KINDS if kind.is_possible(where)]
        told.not_tried += [kind.name for kind in KINDS if kind not in self._kinds]
        told.not_tried.append("failover to a standby that lags: what is lost in it is lost for all")

    # While it goes on

    def storm(self, seconds: float) -> None:
        """Begin one fault after the other, and end each when its time is over."""
        end = time.monotonic() + seconds
        deck = self._deck()
        while time.monotonic() < end:
            for kind in islice(deck, _FAULTS_BETWEEN_LULLS):
                self._end_those_due(time.monotonic())
                self._begin(kind)
                if time.monotonic() - self._looked_at > _LOOK:
                    self._look()
                time.sleep(self._random.uniform(*_PAUSES))
            self._end_those_due(float("inf"))
            time.sleep(_LULL)

    def _deck(self) -> Iterator[Kind]:
        """Deal each kind as often as it wants to come, in random order, again and again."""
        counts = [kind.times for kind in self._kinds]
        while True:
            yield from self._random.sample(self._kinds, sum(counts), counts=counts)

    def _begin(self, kind: Kind) -> None:
        """Begin a fault, once those are over that it may not meet."""
        while (
            any(self._may_not_meet(kind, active.kind) for active in self._active) or len(self._active) >= _AT_ONCE
        ):
            first = min(active.end for active in self._active)
            time.sleep(max(0.0, first - time.monotonic()))
            self._end_those_due(first)
        active = _Active(kind, time.monotonic() + self._random.uniform(kind.least, kind.most))
        active.stack.enter_context(kind.begin(self._scene, self._chance))
        self._active.append(active)
        self.figures.tried[kind.name] += 1

    @staticmethod
    def _may_not_meet(one: Kind, other: Kind) -> bool:
        return one is other or (one.is_alone and other.is_alone)

    def _end_those_due(self, moment: float) -> None:
        for active in [active for active in self._active if active.end <= moment]:
            self._active.remove(active)
            active.stack.close()
            self._ended.append((active.kind.name, datetime.now(UTC)))
            self._scene.workers.reload()  # what was put off because of it is due again

    def _look(self) -> None:
        """Look at the invariants, if the database can be looked at now."""
        self._looked_at = time.monotonic()
        with suppress(DBAPIError, DatabaseError, psycopg.OperationalError):
            self.figures.add((figures.DURING, what) for what in self._broken())
        self.figures.add((figures.DEAD, what) for what in self._scene.workers.dead())

    def _broken(self) -> Iterator[str]:
        with database.connect(self._scene.server.owner_url) as connection:
            database.check_revision(connection)
            with connection.begin():
                history = {tuple(row) for row in connection.execute(text(_HISTORY))}
                unfenced = connection.execute(text(_UNFENCED)).all()
            yield from (f"history is no longer what it was: {row}" for row in self._history - history)
            self._history = history
            yield from (f"a run wrote though another had taken over: {row}" for row in unfenced)
            for finding in verify.findings(connection):
                if finding.broken:
                    yield f"{finding.check.name}: {finding.broken}, {finding.examples}"

    # Afterwards

    def quiet(self) -> None:
        """Let the world stand still and all be well, until what is stored is the truth."""
        self._scene.estate.rest()
        self._scene.full_every = "0s"  # only full listings from now on: others say nothing of what is missing
        self._scene.configure()
        for process in [*self._scene.workers.daemons, *self._scene.workers.syncs]:
            process.send_signal(signal.SIGCONT)
        began = time.monotonic()
        found = self._compare()
        while self._may_pass(found) and time.monotonic() - began < _CONVERGED:
            self._scene.workers.reload()
            self._scene.workers.sync()
            found = self._compare()
        self.figures.add(found)
        self.figures.others["seconds to converge"] = round(time.monotonic() - began, 1)
        self._sweep_once_more()
        self._look_at_views()
        self._last_words()
        self._conclude()

    @staticmethod
    def _may_pass(found: list[Found]) -> bool:
        return any(figure in comparison.PASSING for figure, _ in found)

    def _compare(self) -> list[Found]:
        members = [membership.id for membership in self._scene.estate.memberships]
        with database.connect(self._scene.server.owner_url) as connection:
            try:
                stored = snapshot(connection, members)
            except (AssertionError, IndexError) as error:
                return [(comparison.WRONG, f"no history that can be read: {error}")]
        jobs = {arn: job for each in stored.values() for arn, job in each.items()}
        return comparison.compare(self._scene.estate.lives, jobs)

    def _sweep_once_more(self) -> None:
        """Sweep a world that stands still: nothing may be written, and nothing fail."""
        workers = self._scene.workers
        self.figures.add((figures.DEAD, what) for what in workers.dead())
        codes = [workers.stop(daemon) for daemon in workers.daemons.copy()]
        self.figures.add(
            (figures.DEAD, f"a daemon that was told to stop ended with {code}") for code in codes if code
        )
        before = self._row_versions()
        for _ in range(_LAST_SWEEPS):
            if code := workers.sync():
                self.figures.add([(figures.FAILED, f"ended with {code}")])
        after = self._row_versions()
        self.figures.add((figures.REWRITTEN, arn) for arn, version in after.items() if before.get(arn) != version)

    def _look_at_views(self) -> None:
        members = [membership.id for membership in self._scene.estate.memberships]
        with database.connect(self._scene.server.owner_url) as connection:
            try:
                Analyst(connection, members).check()
            except AssertionError as error:
                self.figures.add([(figures.VIEWS, str(error))])

    def _last_words(self) -> None:
        """Let some more happen, and claim that so many sweeps are enough to know of it."""
        estate = self._scene.estate
        lives = [life for membership in estate.memberships for life in estate.listed(membership)]
        for life in lives[::3]:
            if not life.is_liar:
                estate.edit(life)
        for life in lives[::5]:
            estate.change(life, "CANCEL_FAILED", told=life.job.update_time if life.is_liar else None)
        self._claim_known("an equal updateTime", sweeps=1)
        for life in lives[::7]:
            if life.is_liar:
                estate.change(life, "CREATE_FAILED", told=before_all(life))
            else:
                estate.vanish(life, seconds=None)
        self._claim_known("an older updateTime, and a job that is gone", sweeps=_UNTIL_GONE)
        self._scene.full_every = "1h"
        self._scene.configure()
        self._claim_known("nothing", sweeps=1)
        for life in estate.listed(estate.plain):
            for status in FOLLOWING.get(life.status, ())[:1]:
                estate.change(life, status)
        estate.create(estate.plain)
        self._claim_known("an open job, and a new one", sweeps=1)

    def _claim_known(self, what: str, sweeps: int) -> None:
        for _ in range(sweeps):
            self._scene.workers.sync()
        self.figures.add((figures.LATE, f"{what}: {figure}, {one}") for figure, one in self._compare())

    def _row_versions(self) -> dict[str, str]:
        with self._scene.server.session() as session:
            return dict(session.execute("SELECT job_arn, xmin::text FROM cleanrooms_etl.inference_job").fetchall())

    def _conclude(self) -> None:
        self.figures.add((figures.AFTER, what) for what in self._broken())
        self.figures.add((figures.FAULTS, what) for what in self._scene.workers.faults())
        with self._scene.server.session() as session:
            runs = session.execute(_RUNS).fetchall()
            completed = [row[0] for row in session.execute(_COMPLETED).fetchall()]
        self.figures.survived.update(name for name, ended in self._ended if completed and completed[-1] > ended)
        self.figures.others["AWS calls"] = len(self._scene.endpoint.requests)
        self.figures.others["jobs"] = len(self._scene.estate.lives)
        self.figures.others["changes of status"] = sum(
            len(life.steps) for life in self._scene.estate.lives.values()
        )
        self.figures.others["changes stored"] = len(self._history)
        self.figures.others["runs"] = ", ".join(f"{number} {kind} {outcome}" for kind, outcome, number in runs)


_HISTORY = """
    SELECT job_key, changed_time, from_status, from_time, to_status, not_before, observed_at, time_basis
    FROM cleanrooms_etl.status_transition
"""
_UNFENCED = """
    SELECT moved.run_id, moved.observed_at, successor.run_id, successor.started_at
    FROM cleanrooms_etl.status_transition AS moved JOIN cleanrooms_etl.sync_run AS run USING (run_id)
    JOIN cleanrooms_etl.sync_run AS successor
        ON successor.membership_key = run.membership_key AND successor.run_id > run.run_id
    WHERE moved.observed_at > successor.started_at + interval '1 second'
"""  # its own moment is taken a little before it is alone
_RUNS = "SELECT kind, outcome, count(*) FROM cleanrooms_etl.sync_run GROUP BY kind, outcome ORDER BY kind, outcome"
_COMPLETED = "SELECT started_at FROM cleanrooms_etl.sync_run WHERE outcome = 'complete' ORDER BY started_at"
