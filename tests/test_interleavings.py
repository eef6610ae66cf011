"""Two writers of one membership, in each order in which their steps can follow each other: one history, always."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from random import Random
from threading import Semaphore, Thread, current_thread
from typing import Any

import psycopg
import pytest
from conftest import MINUTE, NOON, Etl, MakeEtl
from psycopg.pq import TransactionStatus
from pydantic import SecretStr
from sqlalchemy import text
from stepping import EVERY, copied, preceded

from etl import batches, database, reading, verify, writer
from etl.config import Database
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.world import World
from etl.sync import SyncReport, sync_membership

PATIENCE = 60  # seconds that a test waits for a writer before it fails
PAGE = 2
ALL = 10_000
"""More steps than a sync has."""

SEED = os.environ.get("SEED", "0")
PLACES = ["middle"] if EVERY > 1 else ["first", "middle", "last", "any", "any other"]
"""Where the first of two stands when its lease ends: one of some, since each takes a minute of all orders."""

HISTORY = """
    SELECT name, changed_time, from_status, to_status, not_before, observed_at, time_basis, run_id
    FROM cleanrooms_etl.status_transition JOIN cleanrooms_etl.inference_job USING (job_key)
"""
WAITS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
END_TRANSACTIONS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()
"""
END_LEASE = "UPDATE cleanrooms_etl.membership SET lease_until = clock_timestamp()"

MAY_BE = {
    "stays": [["CREATE_PENDING"]],
    "runs": [["CREATE_PENDING", "ACTIVE"], ["CREATE_PENDING", "CREATE_IN_PROGRESS", "ACTIVE"]],
    "fails": [["CREATE_PENDING", "CREATE_FAILED"]],
    "hidden": [["CREATE_PENDING"]],
    "early": [
        ["CREATE_PENDING", "ACTIVE"],
        ["CREATE_PENDING", "CREATE_IN_PROGRESS"],
        ["CREATE_PENDING", "CREATE_IN_PROGRESS", "ACTIVE"],
    ],
    "new": [["ACTIVE"], ["CREATE_PENDING", "ACTIVE"]],
    "newest": [["CREATE_PENDING"]],
}
"""The statuses of each job: those that only the first writer was shown may be among them."""


class Stepper(Thread):
    """A sync in a thread of its own, which stands still before each exchange with Postgres until it may go on."""

    def __init__(self, etl: Etl) -> None:
        super().__init__(daemon=True)
        self.report: SyncReport | None = None
        self.between: list[int] = []
        """The steps before which no transaction was open, counted from 0."""
        self._etl = etl
        self._stops: SimpleQueue[None] = SimpleQueue()
        self._turns = Semaphore(0)
        self.steps = 0

    def run(self) -> None:
        self.report = sync_membership(self._etl.config, self._etl.config.memberships[0])
        self._stops.put(None)

    def stop(self, is_between: bool) -> None:
        """Say that the next step is due, and wait for leave to do it."""
        if is_between:
            self.between.append(self.steps)
        self.steps += 1
        self._stops.put(None)
        self._turns.acquire()

    def go(self, steps: int) -> None:
        """Begin, let it do so many steps, and wait until it stands before the next."""
        self.start()
        self._stops.get(timeout=PATIENCE)
        for _ in range(steps):
            self.go_on()

    def go_on(self) -> None:
        """Let it do one more step, and wait until it stands before the next, or has ended."""
        self._turns.release()
        self._stops.get(timeout=PATIENCE)

    def finish(self) -> None:
        """Let it go on to its end, without waiting for it."""
        self._turns.release(ALL)

    def outcome(self) -> str:
        """Tell what came of it, once it has ended."""
        self.join(PATIENCE)
        assert self.report
        return self.report.outcome

    @property
    def run_id(self) -> int | None:
        """The run that it was; None if it has none."""
        return self.report.run_id if self.report else None


def stop(connection: psycopg.Connection, *_: object, **__: object) -> None:
    """Stop the thread, if it is one that is told when to go on."""
    thread = current_thread()
    if isinstance(thread, Stepper):
        thread.stop(connection.info.transaction_status == TransactionStatus.IDLE)


@dataclass
class Scene:
    """Two views of one membership, and the database before two writers come, of which copies are made."""

    server: str
    older: Etl
    newer: Etl

    @contextmanager
    def copy(self) -> Iterator["Scene"]:
        with copied(self.server, self.older.config.database.address()) as url:
            address = {"database": Database(url=SecretStr(url))}
            older, newer = (Etl(etl.config.model_copy(update=address)) for etl in (self.older, self.newer))
            newer.query("SELECT")  # who connects first keeps all others waiting
            yield Scene(self.server, older, newer)

    def history(self) -> set[tuple[Any, ...]]:
        return {tuple(row.values()) for row in self.newer.query(HISTORY)}

    def end_lease(self) -> None:
        """Do what time does to a worker that stands still: the server ends its transaction, and its lease ends."""
        self.newer.query(END_TRANSACTIONS)
        self.newer.execute(END_LEASE)

    def has_run(self, outcome: str) -> bool:
        """Tell whether there is a run that came to this."""
        runs = "SELECT FROM cleanrooms_etl.sync_run WHERE outcome = :outcome"
        with database.connect(self.newer.config.database.address()) as connection:
            return connection.execute(text(runs), {"outcome": outcome}).rowcount > 0

    def check(self, before: set[tuple[Any, ...]], *fenced: int | None) -> None:
        """Claim that all is one history, of which `before` was a part; the `fenced` runs added nothing to it."""
        after = self.history()
        assert before <= after
        assert {row[-1] for row in after - before}.isdisjoint(fenced)
        assert self.newer.sync().outcome == "complete"
        assert after <= self.history()
        statuses: dict[str, list[str]] = {}
        for name, _, _, status, *_ in sorted(self.history()):
            statuses.setdefault(name, []).append(status)
        assert {name: told for name, told in statuses.items() if told not in MAY_BE[name]} == {}
        assert statuses.keys() == MAY_BE.keys()
        with database.connect(self.newer.config.database.address()) as connection:
            assert [finding for finding in verify.findings(connection) if finding.broken] == []


@pytest.fixture
def scene(server: str, make_etl: MakeEtl, world: World, clock: Clock, membership: Membership) -> Iterator[Scene]:
    """Five jobs are stored; who comes first is shown older states than who comes second, but of one a newer."""
    replica = World(clock)
    same = replica.add_membership(membership.id, collaboration_id=membership.collaboration_id)
    for told, member in ((replica, same), (world, membership)):
        told.newest_first = False
        for name in ("stays", "runs", "fails", "hidden", "early"):
            told.create_job(member, job_id=name, name=name)
    newer = make_etl(aws={"page_size": PAGE})
    newer.sync()
    _, runs, _, hidden, early = replica.jobs(same)
    replica.set_status(early, "ACTIVE", at=NOON + 3 * MINUTE)
    replica.set_status(runs, "CREATE_IN_PROGRESS", at=NOON + MINUTE)
    replica.remove(same, hidden)
    replica.create_job(same, job_id="new", name="new", create_time=NOON + MINUTE)
    _, runs, fails, _, early = world.jobs(membership)
    world.set_status(early, "CREATE_IN_PROGRESS", at=NOON + MINUTE)
    world.set_status(runs, "ACTIVE", at=NOON + 2 * MINUTE)
    world.set_status(fails, "CREATE_FAILED", at=NOON + 2 * MINUTE)
    new = world.create_job(membership, job_id="new", name="new", create_time=NOON + MINUTE)
    world.set_status(new, "ACTIVE", at=NOON + 2 * MINUTE)
    world.create_job(membership, job_id="newest", name="newest", create_time=NOON + 3 * MINUTE)
    with Endpoint(replica) as its_own:
        aws = newer.config.aws.model_copy(update={"endpoint_url": its_own.url})
        yield Scene(server, Etl(newer.config.model_copy(update={"aws": aws})), newer)


@pytest.fixture(autouse=True)
def _steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ITEMS", PAGE)
    monkeypatch.setattr(reading, "PAGES_AHEAD", 0)
    monkeypatch.setattr(writer, "_PAUSES", (0.02,) * 400)
    monkeypatch.setattr(psycopg.Connection, "wait", preceded(psycopg.Connection.wait, stop))


def undisturbed(scene: Scene, etl: Callable[[Scene], Etl]) -> tuple[list[int], int]:
    """Sync alone; return the steps before which no transaction is open, and how many steps there are."""
    with scene.copy() as copy:
        alone = Stepper(etl(copy))
        alone.go(0)
        alone.finish()
        assert alone.outcome() == "complete"
        return alone.between, alone.steps


def test_the_second_comes_before_any_step_of_the_first(scene: Scene) -> None:
    _, steps = undisturbed(scene, lambda copy: copy.older)
    outcomes = set()
    for step in range(0, steps, EVERY):
        with scene.copy() as copy:
            first = Stepper(copy.older)
            first.go(step)
            has_begun = copy.has_run("running")
            copy.end_lease()
            before = copy.history()
            assert copy.newer.sync().outcome == "complete", step
            first.finish()
            outcomes.add(first.outcome())
            copy.check(before, *([first.run_id] if has_begun else []))
    assert outcomes == {"complete", "failed", "fenced"}


def pauses(scene: Scene) -> list[int]:
    """Return the steps of the first before which its run is under way, and no transaction is open."""
    with scene.copy() as copy:
        alone = Stepper(copy.older)
        alone.go(0)
        under_way = set()
        while not alone.report:
            if copy.has_run("running"):
                under_way.add(alone.steps - 1)
            alone.go_on()
    return [step for step in alone.between if step in under_way]


def chosen(place: str, steps: list[int]) -> int:
    """Return the step that a place names."""
    names = {"first": steps[0], "middle": steps[len(steps) // 2], "last": steps[-1]}
    return names[place] if place in names else Random(f"{SEED} {place}").choice(steps)  # noqa: S311 - seeded on purpose


@pytest.mark.parametrize("place", PLACES)
def test_the_first_goes_on_before_any_step_of_the_second(scene: Scene, place: str) -> None:
    """It stands between two transactions when its lease ends: some of what it was shown is stored, some is not."""
    pause = chosen(place, pauses(scene))
    _, steps = undisturbed(scene, lambda copy: copy.newer)
    stored = scene.history()
    for step in range(0, steps, EVERY):
        with scene.copy() as copy:
            first, second = Stepper(copy.older), Stepper(copy.newer)
            first.go(pause)
            copy.end_lease()
            before = copy.history()
            assert before > stored or place != "middle"
            second.go(step)
            is_over = copy.has_run("abandoned")
            first.finish()
            while first.is_alive() and not copy.newer.query(WAITS):
                time.sleep(0.01)
            second.finish()
            assert second.outcome() == "complete", step
            assert first.outcome() == "fenced" or not is_over, step
            copy.check(before, *([first.run_id] if first.outcome() == "fenced" else []))


def test_the_second_loses_its_lease_before_any_of_its_steps(scene: Scene) -> None:
    """Who was first takes over with a third run; then both go on that were overtaken, one before the other."""
    pause = chosen("middle", pauses(scene))
    _, steps = undisturbed(scene, lambda copy: copy.newer)
    outcomes = set()
    for step in range(0, steps, EVERY * EVERY):
        with scene.copy() as copy:
            first, second = Stepper(copy.older), Stepper(copy.newer)
            first.go(pause)
            copy.end_lease()
            second.go(step)
            copy.end_lease()
            before = copy.history()
            assert copy.older.sync().outcome == "complete", step
            for late in (first, second) if step % 2 else (second, first):
                late.finish()
                outcomes.add((late is first, late.outcome()))
            copy.check(before, *[late.run_id for late in (first, second) if late.outcome() == "fenced"])
    assert outcomes >= {(True, "fenced"), (False, "complete"), (False, "fenced")}
