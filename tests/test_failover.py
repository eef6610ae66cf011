"""A standby takes over that lacks the last commits: the next sync finds again what AWS still tells."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from conftest import MINUTE, Etl, MakeEtl, temporary_in_memory
from faults import server as private
from faults.server import Server
from sqlalchemy import text

from etl import database, verify
from etl.demo.clock import Clock
from etl.demo.membership import Membership
from etl.demo.world import World

Fail = Callable[[], Etl]


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
