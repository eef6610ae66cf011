"""A standby takes over that lacks the last commits: the next sync finds again what AWS still tells."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import count
from typing import Any

import pytest
from conftest import MINUTE, NOON, Etl, MakeEtl, temporary_in_memory
from faults import server as private
from faults.server import Server
from sqlalchemy import Connection, text

from etl import batches, database, leases, reading, sweep, verify
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import Request
from etl.demo.resources import Job
from etl.demo.world import World
from etl.sync import sync_membership

Fail = Callable[[], Etl]

BY_THE_PAGE = {"page_size": 2, "max_concurrency": 1}


@pytest.fixture
def standby(etl: Etl, make_etl: MakeEtl, server: str) -> Iterator[Callable[[], Fail]]:
    """Take a copy of the database as it is now; what is returned makes it the one that is written to."""
    address = database.parse(etl.config.database.address())
    copy = f"{address.database}_standby"

    def administer(statement: str) -> None:
        with database.engine(server).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))

    def replicate() -> Fail:
        administer(f"CREATE DATABASE {copy} TEMPLATE {address.database}")
        url = address.set(database=copy).render_as_string(hide_password=False)
        return lambda: make_etl(database={"url": url})

    yield replicate
    administer(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")


@pytest.fixture
def primary() -> Iterator[Server]:
    """A server of the test's own, which real standbys may follow."""
    with temporary_in_memory(), private.opened() as server:
        yield server


def history(etl: Etl) -> list[dict[str, Any]]:
    return etl.query("SELECT * FROM cleanrooms.status_transitions ORDER BY job_arn, changed_time")


def now(etl: Etl) -> datetime:
    moment: datetime = etl.query("SELECT clock_timestamp() AS now")[0]["now"]
    return moment


def broken(etl: Etl) -> list[str]:
    with database.connect(etl.config.database.address()) as connection:
        return [finding.check.name for finding in verify.findings(connection) if finding.broken]


def test_what_a_failover_lost_is_found_again_at_the_same_moments(
    etl: Etl, world: World, membership: Membership, clock: Clock, standby: Callable[[], Fail]
) -> None:
    job = world.create_job(membership)
    etl.sync()
    fail_over = standby()
    clock.advance(MINUTE)
    world.set_status(job, "CREATE_IN_PROGRESS")
    world.create_job(membership)
    etl.sync()
    lost = history(etl)
    etl = fail_over()
    assert len(history(etl)) == 1
    etl.sync()
    found = history(etl)
    assert [row | {"observed_at": None} for row in found] == [row | {"observed_at": None} for row in lost]
    assert broken(etl) == []


def test_after_a_failover_windows_begin_with_the_last_complete_listing_that_was_not_lost(
    etl: Etl, world: World, membership: Membership, standby: Callable[[], Fail]
) -> None:
    job = world.create_job(membership)
    etl.sync()
    fail_over = standby()
    etl.sync()  # it saw the job as it was, and is lost
    world.set_status(job, "ACTIVE", at=now(etl))
    etl = fail_over()
    [survivor] = etl.query("SELECT started_at FROM cleanrooms.sync_runs")
    etl.sync()
    [_, change] = history(etl)
    assert (change["not_before"], change["changed_time"]) == (survivor["started_at"], job.update_time)
    assert broken(etl) == []


def test_a_status_that_only_a_lost_sync_has_seen_is_not_seen(
    etl: Etl, world: World, membership: Membership, clock: Clock, standby: Callable[[], Fail]
) -> None:
    job = world.create_job(membership)
    etl.sync()
    fail_over = standby()
    for status in ("CREATE_IN_PROGRESS", "ACTIVE"):
        clock.advance(MINUTE)
        world.set_status(job, status)
        if status != "ACTIVE":
            etl.sync()
    etl = fail_over()
    etl.sync()
    [_, change] = history(etl)
    assert (change["from_status"], change["to_status"]) == ("CREATE_PENDING", "ACTIVE")
    assert (change["skipped_states"], change["changed_time"]) == (["CREATE_IN_PROGRESS"], job.update_time)
    assert broken(etl) == []


class Lagging:
    """A standby of a test's database: at the same address, once it has taken over."""

    def __init__(self, server: str, database_url: str) -> None:
        self._server = server
        self._name = database.parse(database_url).database

    def fall_behind(self) -> None:
        """Hear no more of what is committed."""
        with self._administration() as connection:  # a database to be copied has no sessions
            sessions = text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name")
            connection.execute(sessions, {"name": self._name})
            connection.execute(text(f"CREATE DATABASE {self._name}_standby TEMPLATE {self._name}"))

    def take_over(self) -> None:
        """Lose the primary, and take its place."""
        with self._administration() as connection:
            connection.execute(text(f"DROP DATABASE {self._name} WITH (FORCE)"))
            connection.execute(text(f"ALTER DATABASE {self._name}_standby RENAME TO {self._name}"))

    def _administration(self) -> Connection:
        return database.engine(self._server).connect().execution_options(isolation_level="AUTOCOMMIT")


@pytest.fixture
def lagging(server: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Lagging:
    """A standby that may take over while a listing is read: each page of it is a batch."""
    monkeypatch.setattr(batches, "ITEMS", 1)
    monkeypatch.setattr(reading, "PAGES_AHEAD", 0)
    return Lagging(server, database_url)


@pytest.fixture
def jobs(world: World, membership: Membership) -> list[Job]:
    """Twelve, the oldest first: six pages."""
    return [world.create_job(membership, status="ACTIVE", create_time=NOON + n * MINUTE) for n in range(12)]


def before_pages(endpoint: Endpoint, moves: Mapping[int, Callable[[], object]]) -> None:
    """Make moves before some pages (1, 2, ...) of the next listing."""
    pages = count(1)

    def before_page(_: Request) -> None:
        moves.get(next(pages), lambda: None)()

    endpoint.before_page = before_page


def test_a_run_whose_last_batches_are_lost_ends_and_the_next_sweep_is_full(
    make_etl: MakeEtl, world: World, jobs: list[Job], endpoint: Endpoint, lagging: Lagging
) -> None:
    etl = make_etl(aws=BY_THE_PAGE, sync={"full_every": "6h"})
    etl.sync()
    for job in jobs:
        world.set_status(job, "INACTIVE", at=now(etl))
    before_pages(endpoint, {4: lagging.fall_behind, 6: lagging.take_over})
    assert sync_membership(etl.config, etl.config.memberships[0], full=True).outcome == "fenced"
    assert len(jobs) < len(history(etl)) < 2 * len(jobs)
    report = etl.sync()
    assert (report.outcome, report.kind) == ("complete", "full")
    assert len(history(etl)) == 2 * len(jobs)
    assert broken(etl) == []


def test_a_run_that_lost_a_batch_is_no_witness_of_what_it_saw(
    make_etl: MakeEtl, world: World, jobs: list[Job], endpoint: Endpoint, lagging: Lagging
) -> None:
    etl = make_etl(aws=BY_THE_PAGE)
    etl.sync()
    moment = now(etl)
    world.set_status(jobs[4], "CANCEL_PENDING", at=moment)
    before_pages(endpoint, {4: lagging.fall_behind, 6: lagging.take_over})
    assert etl.sync().outcome == "fenced"
    world.edit(jobs[4], touch=False, description="edited", update_time=now(etl))
    etl.sync()
    [seen] = [row for row in history(etl) if row["to_status"] == "CANCEL_PENDING"]
    assert seen["not_before"] <= moment


def test_a_run_that_is_lost_leaves_alone_the_one_that_has_its_number(
    make_etl: MakeEtl, membership: Membership, jobs: list[Job], endpoint: Endpoint, lagging: Lagging
) -> None:
    assert jobs
    etl = make_etl(aws=BY_THE_PAGE)
    sweep.register(etl.config)

    def take_over() -> None:
        lagging.take_over()
        with database.connect(etl.config.database.address()) as connection, connection.begin():
            leases.begin(connection, membership.id, 2 * MINUTE, leases.Worker("another", "1"), if_due=False)

    lagging.fall_behind()
    before_pages(endpoint, {4: take_over})
    report = etl.sync()
    assert report.outcome == "fenced"
    runs = etl.query("SELECT run_id, worker, outcome FROM cleanrooms.sync_runs")
    assert runs == [{"run_id": report.run_id, "worker": "another", "outcome": "running"}]


def test_a_standby_that_lags_takes_over_and_what_it_lacks_is_found_again(
    make_etl: MakeEtl, primary: Server, world: World, membership: Membership, clock: Clock
) -> None:
    job = world.create_job(membership)
    etl = make_etl(database={"url": primary.owner_url})
    etl.sync()
    primary.follow(is_synchronous=False)
    clock.advance(MINUTE)
    world.set_status(job, "CREATE_IN_PROGRESS")
    etl.sync()
    lost = history(etl)
    primary.fail_over()
    etl = make_etl(database={"url": primary.owner_url})
    assert (len(history(etl)), primary.runs_lost) == (1, 1)
    etl.sync()
    assert [row | {"observed_at": None} for row in history(etl)] == [row | {"observed_at": None} for row in lost]
    assert broken(etl) == []


def test_a_synchronous_standby_takes_over_and_lacks_nothing(
    make_etl: MakeEtl, primary: Server, world: World, membership: Membership, clock: Clock
) -> None:
    job = world.create_job(membership)
    primary.follow(is_synchronous=True)
    etl = make_etl(database={"url": primary.owner_url})
    etl.sync()
    clock.advance(MINUTE)
    world.set_status(job, "CREATE_IN_PROGRESS")
    etl.sync()
    told = history(etl)
    primary.fail_over()
    etl = make_etl(database={"url": primary.owner_url})
    assert history(etl) == told
    assert (len(told), primary.runs_lost) == (2, 0)
    assert etl.sync().outcome == "complete"
    assert history(etl) == told
