"""Connections that break when it hurts most: a COMMIT whose answer is lost, a server that restarts."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import product
from threading import Thread
from typing import Any

import msgspec
import pytest
from conftest import MINUTE, NOON, Etl, MakeEtl
from faults.proxy import Cut, Proxy
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from etl import batches, database, jobs, leases, staging, store, sweep, verify, writer
from etl.config import Database
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import Request
from etl.demo.world import World
from etl.local_postgres import LocalPostgres, throw_away
from etl.scope import Scope
from etl.sync import SyncReport, sync_membership

COMMITS = 10
READS, WRITES = (2, 4, 6, 9), (3, 5, 7, 8, 10)
"""Of the sync below: the beginning; three times a lookup and a batch; the counts; the missing; the end."""

PATIENCE = 60  # seconds that a test waits for the server before it fails


@pytest.fixture(autouse=True)
def _small_batches_and_short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ITEMS", 3)
    monkeypatch.setattr(writer, "_PAUSES", (0.02,) * 400)


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    with Proxy(database_url) as proxy:
        yield proxy


@pytest.fixture
def etl(make_etl: MakeEtl, world: World, membership: Membership) -> Etl:
    """The product, before its third sync: a job is new, two change, one is gone, and three stay as they are."""
    world.newest_first = False
    stays, runs, fails, _, renamed, goes, _ = [world.create_job(membership, name=name) for name in "abcdefg"]
    etl = make_etl(aws={"page_size": 3})
    etl.sync()
    world.remove(membership, goes)
    etl.sync()
    world.set_status(runs, "CREATE_IN_PROGRESS", at=NOON + MINUTE)
    world.set_status(fails, "CREATE_FAILED", at=NOON + MINUTE)
    world.edit(renamed, touch=False, description="new")
    world.create_job(membership, name="new")
    assert stays.status == "CREATE_PENDING"
    return etl


def at(cuts: dict[int, Cut]) -> Callable[[int], Cut | None]:
    """Cut the connection around these COMMITs."""
    return cuts.get


def sync_through(proxy: Proxy, etl: Etl) -> SyncReport:
    config = etl.config.model_copy(update={"database": Database(url=SecretStr(proxy.url))})
    return sync_membership(config, config.memberships[0])


def sync_when_free(work: Callable[[], SyncReport]) -> SyncReport:
    """Sync as soon as the server has noticed that the session before it is gone."""
    deadline = time.monotonic() + PATIENCE
    while (report := work()).outcome == "busy":
        assert time.monotonic() < deadline
    return report


def history(etl: Etl) -> dict[str, list[str]]:
    """The statuses of each job's history, first to last, by its name."""
    rows = etl.query(
        "SELECT name, array_agg(to_status ORDER BY changed_time) AS statuses FROM cleanrooms_etl.status_transition"
        " JOIN cleanrooms_etl.inference_job USING (job_key) GROUP BY name ORDER BY name"
    )
    return {row["name"]: row["statuses"] for row in rows}


def last_run(etl: Etl) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms_etl.sync_run ORDER BY run_id DESC LIMIT 1")[0]


def broken_rules(etl: Etl) -> list[str]:
    with database.connect(etl.config.database.address()) as connection:
        return [finding.check.name for finding in verify.findings(connection) if finding.broken]


def check_all_is_as_if_nothing_had_happened(etl: Etl, report: SyncReport) -> None:
    assert report.outcome == "complete", report
    untouched = ["CREATE_PENDING"]
    assert history(etl) == {
        "a": untouched,
        "b": ["CREATE_PENDING", "CREATE_IN_PROGRESS"],
        "c": ["CREATE_PENDING", "CREATE_FAILED"],
        "d": untouched,
        "e": untouched,
        "f": ["CREATE_PENDING", "NOT_LISTED"],
        "g": untouched,
        "new": untouched,
    }
    edits = etl.query("SELECT changes FROM cleanrooms_etl.job_edit")
    assert [row["changes"] for row in edits] == [{"description": [None, "new"]}]
    counts = report.counts
    assert (counts.pages, counts.jobs_listed, counts.jobs_unchanged) == (3, 7, 3)
    assert (counts.jobs_new, counts.jobs_changed, counts.jobs_absent, counts.transitions) == (1, 3, 1, 4)
    run = last_run(etl)
    assert run["batches"] == 5
    assert (run["outcome"], run["jobs_new"], run["jobs_changed"]) == ("complete", 1, 3)
    assert (run["jobs_listed"], run["jobs_absent"], run["transitions"]) == (7, 1, 4)
    membership = etl.query("SELECT * FROM cleanrooms_etl.membership")[0]
    assert (membership["listed_at"], membership["lease_until"]) == (run["started_at"], None)
    assert broken_rules(etl) == []


def test_undisturbed_the_sync_below_has_so_many_commits(etl: Etl, proxy: Proxy) -> None:
    check_all_is_as_if_nothing_had_happened(etl, sync_through(proxy, etl))
    assert proxy.commits == COMMITS


@pytest.mark.parametrize(
    ("number", "how"), [*((read, "before") for read in READS), *product(WRITES, ("before", "late", "after"))]
)
def test_a_connection_lost_around_a_commit_leaves_no_trace(etl: Etl, proxy: Proxy, number: int, how: Cut) -> None:
    proxy.cut = at({number: how})
    check_all_is_as_if_nothing_had_happened(etl, sync_through(proxy, etl))
    assert proxy.commits > number


def test_connections_lost_around_every_other_commit_leave_no_trace(etl: Etl, proxy: Proxy) -> None:
    proxy.cut = at({number: "after" if number % 4 else "before" for number in range(2, 40, 2)})
    check_all_is_as_if_nothing_had_happened(etl, sync_through(proxy, etl))


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_run_whose_beginning_was_lost_fails_and_keeps_nobody_from_the_next(
    etl: Etl, proxy: Proxy, how: Cut
) -> None:
    proxy.cut = at({1: how})
    report = sync_through(proxy, etl)
    assert (report.outcome, report.run_id, report.error_class) == ("failed", None, "OperationalError")
    check_all_is_as_if_nothing_had_happened(etl, sync_when_free(lambda: sync_through(proxy, etl)))
    outcomes = [row["outcome"] for row in etl.query("SELECT outcome FROM cleanrooms_etl.sync_run ORDER BY run_id")]
    assert outcomes == ["complete", "complete", *(["abandoned"] if how == "after" else []), "complete"]


def test_a_follower_that_came_before_the_lost_answer_was_looked_for_changes_nothing_of_it(
    etl: Etl, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last COMMIT took place; before the first run knows, another takes the membership over."""
    followers: list[SyncReport] = []
    look = writer._committed_batches

    def too_late(*arguments: Any) -> int:
        followers.append(etl.sync())
        return look(*arguments)

    monkeypatch.setattr(writer, "_committed_batches", too_late)
    proxy.cut = at({COMMITS: "after"})
    report = sync_through(proxy, etl)
    assert (report.outcome, report.counts.transitions) == ("complete", 4)
    assert [(each.outcome, each.counts.transitions) for each in followers] == [("complete", 0)]
    assert broken_rules(etl) == []


# Servers that go away


def before_page(endpoint: Endpoint, number: int, work: Callable[[], object]) -> None:
    """Do something once, right before the endpoint reads its nth page."""
    pages: list[Request] = []

    def hook(request: Request) -> None:
        pages.append(request)
        if len(pages) == number:
            work()

    endpoint.before_page = hook


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_session_that_is_terminated_while_aws_is_asked_leaves_no_trace(
    etl: Etl, endpoint: Endpoint, page: int
) -> None:
    terminate = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    before_page(endpoint, page, lambda: etl.query(terminate))
    check_all_is_as_if_nothing_had_happened(etl, etl.sync())


@pytest.mark.parametrize("number", WRITES)
def test_a_batch_that_is_found_committed_when_the_run_is_closed_counts(
    etl: Etl, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(writer, "_PAUSES", (0.02,))
    proxy.cut = at(
        {number: "after", number + 1: "before"}
    )  # both tries: the answer is lost, and so is the question
    report = sync_through(proxy, etl)
    run = last_run(etl)
    is_complete = number == WRITES[-1]
    assert report.outcome == run["outcome"] == ("complete" if is_complete else "partial")
    recorded = "SELECT count(*) AS number FROM cleanrooms_etl.status_transition WHERE run_id = :run"
    assert report.counts.transitions == run["transitions"] == etl.query(recorded, run=run["run_id"])[0]["number"]
    assert broken_rules(etl) == []
    assert sync_when_free(etl.sync).outcome == "complete"
    assert broken_rules(etl) == []


def test_a_database_that_stays_away_fails_the_run_and_the_next_one_mends_all(
    etl: Etl, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_PAUSES", (0.02, 0.02))
    proxy.cut = at(dict.fromkeys(range(5, 100), "before"))
    report = sync_through(proxy, etl)
    assert (report.outcome, report.error_class) == ("failed", "OperationalError")
    assert last_run(etl)["outcome"] == "running"
    assert sync_when_free(etl.sync).outcome == "complete"
    assert history(etl)["f"] == ["CREATE_PENDING", "NOT_LISTED"]
    assert broken_rules(etl) == []
    outcomes = [row["outcome"] for row in etl.query("SELECT outcome FROM cleanrooms_etl.sync_run ORDER BY run_id")]
    assert outcomes[-2:] == ["abandoned", "complete"]


@pytest.fixture
def own_server() -> Iterator[LocalPostgres]:
    """A server that a test may crash."""
    with throw_away() as postgres:
        yield postgres


def test_a_server_that_crashes_and_restarts_while_aws_is_asked_leaves_no_trace(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint, own_server: LocalPostgres
) -> None:
    with database.connect(own_server.start()) as connection:
        database.upgrade(connection)
    jobs = [world.create_job(membership) for _ in range(7)]
    etl = make_etl(aws={"page_size": 3}, database={"url": own_server.url()})
    sweep.register(etl.config)
    restart = Thread(target=own_server.start)

    def crash() -> None:
        file = etl.query("SELECT pg_read_file('postmaster.pid') AS content")[0]["content"]
        os.kill(int(file.split()[0]), signal.SIGQUIT)  # an immediate shutdown, without a checkpoint
        restart.start()

    before_page(endpoint, 2, crash)
    report = etl.sync()
    restart.join()
    assert (report.outcome, report.counts.jobs_new, report.counts.transitions) == ("complete", 7, 7)
    assert len(etl.query("SELECT 1 FROM cleanrooms.status_history")) == len(jobs)
    assert broken_rules(etl) == []


def test_what_is_refused_during_copy_is_told_as_any_refusal_of_the_database(
    etl: Etl, world: World, membership: Membership
) -> None:
    item = json.dumps(world.create_job(membership).wire()).encode()
    job = jobs.decode(item, membership.id, NOON).job
    unstorable = staging.Staged(msgspec.structs.replace(job, description="\0"), jobs.digest(item), 1)
    with database.connect(etl.config.database.address()) as connection, connection.begin():
        listed = leases.Listed(None, None, Scope(), None, full_due=True, in_vain=False)
        run = leases.Run(1, 1, 1, timedelta(minutes=1), NOON, 0, None, 0, listed)
        with pytest.raises(DBAPIError, match="CharacterNotInRepertoire"):
            store.settle(connection, run, staging.rows([unstorable]))
