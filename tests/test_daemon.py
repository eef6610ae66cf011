"""The daemon in this process: what it begins, when, and what it says of it."""

import io
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from conftest import Etl, MakeEtl
from faults.proxy import Cut, Proxy

from etl import agenda, config, database, log, pace, sync, tables
from etl.config import Config
from etl.daemon import Daemon
from etl.demo.answers import error
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import Request
from etl.demo.world import World
from etl.sync import SyncReport

LISTING = "ListTrainedModelInferenceJobs"
PATIENCE = 20.0
RUNS_OPEN = "SELECT FROM cleanrooms.sync_runs WHERE outcome = 'running'"


class Watched:
    """A daemon that runs, its log, and what it answers over HTTP."""

    def __init__(self, configuration: Config) -> None:
        self.configurations: list[Config | config.ConfigError] = [configuration]
        self._out = io.StringIO()
        self.daemon = Daemon(self._configure, log.logger(as_json=True, out=self._out))

    def _configure(self) -> Config:
        newest = self.configurations[-1]
        if isinstance(newest, config.ConfigError):
            raise newest
        return newest

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it has logged under this name."""
        everything = [json.loads(line) for line in self._out.getvalue().splitlines()]
        return [line for line in everything if line["event"] == event]

    def get(self, path: str) -> tuple[int, str]:
        [started] = self.lines("started")
        try:
            with urllib.request.urlopen(f"http://{started['listen']}{path}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain: {what}\n{self._out.getvalue()}"
            time.sleep(0.02)


@contextmanager
def running(etl: Etl) -> Iterator[Watched]:
    watched = Watched(etl.config)
    with watched.daemon:
        yield watched


@pytest.fixture(autouse=True)
def _quick_ticks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("etl.daemon._TICK", 0.1)
    yield
    pace.share_among(1)  # whoever tests the pace in this process is alone again


@pytest.fixture
def make_daemon_etl(make_etl: MakeEtl) -> MakeEtl:
    """Make a product whose daemon listens where there is room, and syncs each membership once while a test runs.

    Each has a place of its own within the interval: one of an hour may come in the next seconds.
    """

    def make(**sections: Any) -> Etl:
        sections.setdefault("schedule", {"every": "300d"})
        return make_etl(daemon={"listen": "127.0.0.1:0"}, **sections)

    return make


def listings(endpoint: Endpoint) -> Counter[str]:
    return Counter(request.membership or "" for request in endpoint.requests if request.operation == LISTING)


def put_off(etl: Etl) -> None:
    etl.execute("UPDATE cleanrooms_etl.membership SET next_due_at = clock_timestamp() + interval '1 hour'")


def make_due(etl: Etl) -> None:
    etl.execute("UPDATE cleanrooms_etl.membership SET next_due_at = NULL")


# What it begins


def test_the_first_sweep_is_made_at_once_and_each_membership_once(
    make_daemon_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    members = [world.add_membership() for _ in range(12)]
    with running(make_daemon_etl(aws={"requests_per_second": 1000, "max_concurrency": 3})) as daemon:
        daemon.until(lambda: len(daemon.lines("synced")) == 12, "twelve syncs")
        time.sleep(1.5)
    assert listings(endpoint) == {member.id: 1 for member in members}
    assert endpoint.peak_in_flight <= 3


def test_a_membership_is_synced_again_and_again(make_daemon_etl: MakeEtl, membership: Membership) -> None:
    assert membership
    with running(make_daemon_etl(schedule={"every": "1s"})) as daemon:
        daemon.until(lambda: len(daemon.lines("synced")) >= 4, "four syncs")
    runs = daemon.lines("synced")
    assert {(run["outcome"], run["kind"]) for run in runs} == {("complete", "full")}


def test_a_membership_with_a_schedule_of_its_own_keeps_to_it(make_daemon_etl: MakeEtl, world: World) -> None:
    often, seldom = world.add_membership(), world.add_membership()
    members = [
        {"id": often.id, "region": often.region, "every": "1s"},
        {"id": seldom.id, "region": seldom.region},
    ]
    with running(make_daemon_etl(memberships=members)) as daemon:
        daemon.until(lambda: len(daemon.lines("synced")) >= 4, "four syncs")
    synced = Counter(line["membership"] for line in daemon.lines("synced"))
    assert synced[seldom.id] == 1


def test_two_daemons_make_no_more_calls_than_one(
    make_daemon_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    members = [world.add_membership() for _ in range(6)]
    etl = make_daemon_etl(aws={"requests_per_second": 1000})
    with running(etl) as one, running(etl) as other:
        one.until(lambda: len(one.lines("synced") + other.lines("synced")) == 6, "six syncs by both")
        time.sleep(1.5)
    assert listings(endpoint) == {member.id: 1 for member in members}


def test_daemons_share_the_pace_of_an_account(make_daemon_etl: MakeEtl, membership: Membership) -> None:
    assert membership
    etl = make_daemon_etl(aws={"requests_per_second": 10})
    looks = agenda.Agenda(etl.config)  # of another daemon
    looks.due([], 0)
    with running(etl) as daemon:
        limit = 'etl_bucket_limit_requests_per_second{account="default",region="us-east-1"} 5.0'
        daemon.until(lambda: limit in daemon.get("/metrics")[1], "half of the pace")
    looks.close()


def test_one_that_hangs_takes_its_own_slot_and_no_more(
    make_daemon_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    hanging, *others = [world.add_membership() for _ in range(5)]
    goes_on = Event()

    def hang(request: Request) -> None:
        if request.membership == hanging.id:
            goes_on.wait(PATIENCE)

    endpoint.before_page = hang
    with running(make_daemon_etl(aws={"max_concurrency": 2})) as daemon:
        daemon.until(lambda: len(daemon.lines("synced")) == len(others), "the others")
        assert {line["membership"] for line in daemon.lines("synced")} == {other.id for other in others}
        goes_on.set()


def test_one_that_makes_no_progress_is_given_up_and_put_off(
    make_daemon_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    goes_on = Event()

    def hang(_: Request) -> None:
        goes_on.wait(PATIENCE)

    endpoint.before_page = hang
    etl = make_daemon_etl(sync={"deadline": "1s"})
    with running(etl) as daemon:
        daemon.until(lambda: daemon.lines("synced"), "the end of the hanging one")
        goes_on.set()
    [line] = daemon.lines("synced")
    assert (line["membership"], line["error_class"]) == (membership.id, "NoProgress")
    assert line["error"] == "AWS gave no answer within 1 s"
    [row] = etl.query("SELECT next_due_at - clock_timestamp() AS pause FROM cleanrooms_etl.membership")
    assert timedelta(seconds=5) < row["pause"] < timedelta(seconds=20)


class Forgetful(Proxy):
    """Loses one connection without a word, in the middle of a sync."""

    has_lost_one = False

    def plan(self, said: bytes) -> Cut | None:
        if self.has_lost_one or b"staged_job" not in said:
            return None
        self.has_lost_one = True
        return "never"


def test_one_whose_connection_is_lost_without_a_word_is_given_up_and_begun_anew(
    make_daemon_etl: MakeEtl, world: World, membership: Membership, database_url: str
) -> None:
    world.create_job(membership)
    with Forgetful(database_url) as proxy:
        etl = make_daemon_etl(database={"url": proxy.url}, sync={"deadline": "1s", "lease": "1s"})
        with running(etl) as daemon:
            daemon.until(lambda: daemon.lines("synced"), "the second try")
            [given_up] = daemon.lines("a sync hangs and is given up")
            daemon.daemon.stop(grace=0.5)
    [line] = daemon.lines("synced")
    assert given_up["membership"] == line["membership"] == membership.id
    assert (line["outcome"], line["jobs_new"]) == ("complete", 1)
    assert proxy.has_lost_one


def test_while_it_is_silent_aws_costs_nobody_the_lease(
    make_daemon_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    assert membership
    endpoint.before_page = lambda _: endpoint.pause(2.5)
    etl = make_daemon_etl(sync={"lease": "1s"})
    with running(etl) as one, running(etl) as other:
        one.until(lambda: one.lines("synced") or other.lines("synced"), "the slow one")
    assert [line["outcome"] for line in one.lines("synced") + other.lines("synced")] == ["complete"]


def test_a_role_that_cannot_be_assumed_costs_one_call_not_one_a_membership(
    make_daemon_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    role = "arn:aws:iam::111122223333:role/etl-reader"
    members = [world.add_membership() for _ in range(10)]
    etl = make_daemon_etl(
        memberships=[{"id": each.id, "region": each.region, "role_arn": role} for each in members]
    )
    with running(etl) as daemon:
        daemon.until(lambda: len(daemon.lines("synced")) == 10, "ten failures")
        time.sleep(1.2)
    assert [request.operation for request in endpoint.requests] == ["AssumeRole"]
    assert {line["error_class"] for line in daemon.lines("synced")} == {"AccessDenied"}


# What it says


def test_a_sync_is_one_line_with_its_run_its_counts_and_its_error(
    make_daemon_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    world.create_job(membership)
    etl = make_daemon_etl()
    with running(etl) as daemon:
        daemon.until(lambda: daemon.lines("synced"), "the first sync")
        endpoint.on(LISTING, error("AccessDeniedException"))
        make_due(etl)
        daemon.until(lambda: len(daemon.lines("synced")) == 2, "the second sync")
    fine, denied = daemon.lines("synced")
    assert fine["level"] == "info"
    assert {
        name: fine[name] for name in ("membership", "outcome", "run_id", "pages", "jobs_new", "transitions")
    } == {
        "membership": membership.id,
        "outcome": "complete",
        "run_id": 1,
        "pages": 1,
        "jobs_new": 1,
        "transitions": 1,
    }
    assert (denied["level"], denied["outcome"], denied["error_class"]) == (
        "warning",
        "failed",
        "AccessDeniedException",
    )
    assert "cleanrooms:PassMembership" in denied["error"]


def test_what_is_scraped_counts_what_was_done(
    make_daemon_etl: MakeEtl, world: World, membership: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.daemon._FRESHNESS_EVERY", 0.5)
    world.create_job(membership)
    with running(make_daemon_etl()) as daemon:
        daemon.until(lambda: daemon.lines("synced"), "the first sync")
        daemon.until(lambda: 'state="ok"} 1.0' in daemon.get("/metrics")[1], "a look at the freshness")
        metrics = dict(line.rsplit(" ", 1) for line in daemon.get("/metrics")[1].splitlines() if line[0] != "#")
    assert metrics['etl_runs_total{outcome="complete"}'] == "1.0"
    assert metrics['etl_jobs_total{change="new"}'] == "1.0"
    assert metrics["etl_database_up"] == "1.0"
    assert metrics['etl_bucket_limit_requests_per_second{account="default",region="us-east-1"}'] == "4.0"


def test_it_is_alive_and_ready_while_it_ticks_and_the_database_serves(
    make_daemon_etl: MakeEtl, membership: Membership
) -> None:
    assert membership
    with running(make_daemon_etl()) as daemon:
        daemon.until(lambda: daemon.get("/readyz") == (200, "ok\n"), "readiness")
        assert daemon.get("/healthz") == (200, "ok\n")


# Trouble with the database


def test_a_database_that_is_not_migrated_is_waited_for(
    make_daemon_etl: MakeEtl, membership: Membership, empty_database_url: str
) -> None:
    etl = make_daemon_etl(
        database={"url": empty_database_url}, memberships=[{"id": membership.id, "region": membership.region}]
    )
    with running(etl) as daemon:
        daemon.until(lambda: daemon.lines("cannot sync, will try again"), "a word")
        assert daemon.get("/readyz") == (503, "the database is not migrated: run `etl db upgrade`\n")
        assert daemon.get("/healthz") == (200, "ok\n")
        with database.connect(empty_database_url) as connection:
            database.upgrade(connection)
        daemon.until(lambda: daemon.lines("synced"), "a sync")
    assert len(daemon.lines("cannot sync, will try again")) == 1
    assert len(daemon.lines("can sync again")) == 1


def test_a_schema_of_a_newer_release_stops_the_syncs(
    make_daemon_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    assert membership
    etl = make_daemon_etl(schedule={"every": "1s"})
    with running(etl) as daemon:
        daemon.until(lambda: daemon.lines("synced"), "the first sync")
        etl.execute("UPDATE cleanrooms_etl.alembic_version SET version_num = '9999'")
        daemon.until(lambda: daemon.lines("cannot sync, will try again"), "a word")
        daemon.until(lambda: not etl.query(RUNS_OPEN), "the end of what was going on")
        asked = len(endpoint.requests)
        time.sleep(2)
        assert len(endpoint.requests) == asked
    reasons = [line["reason"] for line in daemon.lines("cannot sync, will try again")]
    assert reasons == [
        f"the database was migrated to revision 9999 by a newer release (this one knows {tables.REVISION}):"
        " install that release here too"
    ]


def test_a_migration_that_only_adds_is_survived(make_daemon_etl: MakeEtl, membership: Membership) -> None:
    assert membership
    etl = make_daemon_etl(schedule={"every": "1s"})
    with running(etl) as daemon:
        daemon.until(lambda: daemon.lines("synced"), "the first sync")
        for table in ("membership", "sync_run", "inference_job", "status_transition", "job_edit"):
            etl.execute(f"ALTER TABLE cleanrooms_etl.{table} ADD COLUMN news text DEFAULT 'none'")
        etl.execute(
            "UPDATE cleanrooms_etl.alembic_version SET version_num = :revision", revision=f"{tables.REVISION}.1"
        )
        before = len(daemon.lines("synced"))
        daemon.until(lambda: len(daemon.lines("synced")) >= before + 2, "two more syncs")
    assert {line["outcome"] for line in daemon.lines("synced")} == {"complete"}


def test_a_database_that_takes_no_writes_is_waited_for(
    make_daemon_etl: MakeEtl, membership: Membership, server: str
) -> None:
    assert membership
    etl = make_daemon_etl(schedule={"every": "1s"})
    name = database.parse(etl.config.database.address()).database
    sessions = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608 - ours
    with (
        database.connect(server).execution_options(isolation_level="AUTOCOMMIT") as outside,
        running(etl) as daemon,
    ):
        daemon.until(lambda: daemon.lines("synced"), "the first sync")
        outside.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        outside.exec_driver_sql(sessions)
        daemon.until(lambda: "read-only" in daemon.get("/readyz")[1], "a word")
        outside.exec_driver_sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        daemon.until(lambda: daemon.lines("can sync again"), "the end of it")
        before = len(daemon.lines("synced"))
        daemon.until(lambda: len(daemon.lines("synced")) > before, "one more sync")


def test_a_disk_that_is_full_is_said_once_and_tried_by_one(make_daemon_etl: MakeEtl, world: World) -> None:
    for _ in range(5):
        world.add_membership()
    etl = make_daemon_etl(aws={"requests_per_second": 1000})
    full = "RAISE EXCEPTION USING ERRCODE = 'disk_full', MESSAGE = 'could not extend file'"
    etl.execute(f"CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {full}; END $$")
    etl.execute("CREATE TRIGGER fill BEFORE INSERT ON cleanrooms_etl.sync_run EXECUTE FUNCTION fill()")
    with running(etl) as daemon:
        daemon.until(lambda: daemon.lines("cannot sync, will try again"), "a word")
        time.sleep(2.5)
        etl.execute("DROP TRIGGER fill ON cleanrooms_etl.sync_run")
        daemon.until(lambda: len(daemon.lines("synced")) == 5, "all five")
    [said] = daemon.lines("cannot sync, will try again")
    assert said["reason"] == "could not extend file"


def test_a_database_that_does_not_answer_is_told(
    make_daemon_etl: MakeEtl, membership: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert membership
    monkeypatch.setattr("etl.daemon._SILENT", 0.5)
    etl = make_daemon_etl()
    locking = database.connect(etl.config.database.address())
    with running(etl) as daemon:
        daemon.until(lambda: daemon.lines("synced"), "the first sync")
        with locking.begin():
            locking.exec_driver_sql("LOCK TABLE cleanrooms_etl.alembic_version IN ACCESS EXCLUSIVE MODE")
            daemon.until(lambda: daemon.get("/readyz") == (503, "the database does not answer\n"), "a refusal")
            assert daemon.get("/healthz") == (200, "ok\n")
            daemon.until(lambda: "statement timeout" in daemon.get("/readyz")[1], "the end of the look")
        daemon.until(lambda: daemon.get("/readyz") == (200, "ok\n"), "readiness")
    locking.close()
    assert daemon.lines("cannot sync, will try again")[0]["reason"] == "the database does not answer"


def test_trouble_of_syncs_that_another_daemon_has_done_since_is_over(
    make_daemon_etl: MakeEtl, membership: Membership
) -> None:
    assert membership
    etl = make_daemon_etl()
    with running(etl) as daemon:
        daemon.until(lambda: daemon.lines("synced"), "the first sync")
        daemon.daemon._trouble.met("too many connections", in_a_sync=True)
        daemon.until(lambda: daemon.lines("can sync again"), "the end of it")
    assert len(daemon.lines("synced")) == 1


def test_a_row_that_somebody_has_locked_stops_nobody_but_itself(make_daemon_etl: MakeEtl, world: World) -> None:
    locked, *others = [world.add_membership() for _ in range(4)]
    etl = make_daemon_etl(sync={"lease": "1s"}, schedule={"every": "1s"}, aws={"max_concurrency": 1})
    with running(etl) as daemon:
        daemon.until(lambda: len(daemon.lines("synced")) >= 4, "the first sweep")
        with database.connect(etl.config.database.address()) as other, other.begin():
            row = f"SELECT FROM cleanrooms_etl.membership WHERE membership_id = '{locked.id}' FOR UPDATE"
            other.exec_driver_sql(row)
            before = len(daemon.lines("synced"))
            daemon.until(
                lambda: (
                    {line["membership"] for line in daemon.lines("synced")[before:]}
                    >= {each.id for each in others}
                ),
                "the others",
            )


def test_a_fault_in_a_look_is_said_and_waited_out(
    make_daemon_etl: MakeEtl, membership: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert membership
    with monkeypatch.context() as patch, running(make_daemon_etl()) as daemon:
        patch.setattr(agenda.Agenda, "due", lambda *_: 1 / 0)
        daemon.until(lambda: daemon.get("/readyz") == (503, "a look met a fault of this program\n"), "a refusal")
        patch.undo()
        daemon.until(lambda: daemon.lines("synced"), "a sync")
    assert "ZeroDivisionError" in daemon.lines("a fault of this program: please report it")[0]["exception"]


def test_a_fault_in_one_sync_is_said_counted_and_keeps_nobody_from_the_others(
    make_daemon_etl: MakeEtl, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty, fine = world.add_membership(), world.add_membership()

    def sync_membership(_: Config, membership: config.Membership, *arguments: Any, **keywords: Any) -> SyncReport:
        if membership.id == faulty.id:
            raise ZeroDivisionError
        return sync.sync_membership(_, membership, *arguments, **keywords)

    monkeypatch.setattr("etl.daemon.sync_membership", sync_membership)
    with running(make_daemon_etl(schedule={"every": "1s"})) as daemon:
        daemon.until(lambda: len(daemon.lines("synced")) >= 2, "the others")
        assert daemon.get("/readyz") == (200, "ok\n")
        assert 'etl_errors_total{error_class="ZeroDivisionError"} 1.0' in daemon.get("/metrics")[1]
    assert {line["membership"] for line in daemon.lines("synced")} == {fine.id}
    assert len(daemon.lines("a fault of this program: please report it")) == 1


# Reload


def test_a_reload_takes_in_the_new_ones_and_lets_the_others_go(
    make_daemon_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    old, new = world.add_membership(), world.add_membership()
    before = make_daemon_etl(memberships=[{"id": old.id, "region": old.region}])
    after = make_daemon_etl(memberships=[{"id": new.id, "region": new.region}])
    with running(before) as daemon:
        daemon.until(lambda: daemon.lines("synced"), "the old one")
        daemon.configurations.append(after.config)
        daemon.daemon.reload()
        daemon.until(lambda: len(daemon.lines("synced")) == 2, "the new one")
    assert listings(endpoint) == {old.id: 1, new.id: 1}
    rows = after.query("SELECT membership_id, configured FROM cleanrooms_etl.membership")
    assert {row["membership_id"]: row["configured"] for row in rows} == {old.id: False, new.id: True}


def test_a_bad_configuration_is_refused_with_all_its_complaints(
    make_daemon_etl: MakeEtl, membership: Membership
) -> None:
    assert membership
    etl = make_daemon_etl(schedule={"every": "1s"})
    with running(etl) as daemon:
        daemon.configurations.append(config.ConfigError(["this is wrong", "and that"]))
        daemon.daemon.reload()
        before = len(daemon.lines("synced"))
        daemon.until(lambda: len(daemon.lines("synced")) > before, "a sync by the old one")
    refused = daemon.lines("configuration refused, the old one stays")
    assert [line["complaint"] for line in refused] == ["this is wrong", "and that"]


def test_a_reload_tries_at_once_what_was_put_off(
    make_daemon_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    role = "arn:aws:iam::111122223333:role/etl-reader"
    etl = make_daemon_etl(memberships=[{"id": membership.id, "region": membership.region, "role_arn": role}])
    with running(etl) as daemon:
        daemon.until(lambda: daemon.lines("synced"), "the refusal")
        endpoint.add_role(role)
        daemon.daemon.reload()
        daemon.until(lambda: len(daemon.lines("synced")) == 2, "another try")
    assert [line["outcome"] for line in daemon.lines("synced")] == ["failed", "complete"]


# The end


def test_told_to_stop_it_leaves_what_hangs_with_what_it_has_committed(
    make_daemon_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    assert membership
    goes_on = Event()
    is_asked = Event()

    def hang(_: Request) -> None:
        is_asked.set()
        goes_on.wait(PATIENCE)

    endpoint.before_page = hang
    etl = make_daemon_etl()
    with running(etl) as daemon:
        assert is_asked.wait(PATIENCE)
        before = time.monotonic()
        daemon.daemon.stop()
        assert time.monotonic() - before < 8
    goes_on.set()
    [line] = daemon.lines("synced")
    assert (line["outcome"], line["error_class"], line["level"]) == ("partial", "Stopped", "info")
    assert etl.query("SELECT next_due_at FROM cleanrooms_etl.membership") == [{"next_due_at": None}]


def test_what_does_not_end_in_time_is_left_behind_and_named(
    make_daemon_etl: MakeEtl, world: World, membership: Membership
) -> None:
    world.create_job(membership)
    etl = make_daemon_etl()
    locking = database.connect(etl.config.database.address())
    with running(etl) as daemon:
        with locking.begin():
            locking.exec_driver_sql("LOCK TABLE cleanrooms_etl.status_transition IN SHARE MODE")
            waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            daemon.until(lambda: etl.query(waits), "a sync that waits for the lock")
            daemon.daemon.stop(grace=0.5)
        [line] = daemon.lines("stopped")
        assert line["left_behind"] == daemon.daemon.left_behind == [membership.id]
    locking.close()


# The scheduler


def test_a_scheduler_that_sleeps_is_woken(
    make_daemon_etl: MakeEtl, membership: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert membership
    monkeypatch.setattr("etl.daemon._ASLEEP", 1.5)
    etl = make_daemon_etl()
    with running(etl) as daemon:
        daemon.until(lambda: daemon.lines("synced"), "the first sync")
        # As if the host's clock had been set back by an hour: the next tick is an hour away.
        for job in daemon.daemon._scheduler.get_jobs():
            job.modify(next_run_time=job.next_run_time + timedelta(hours=1))
        make_due(etl)
        daemon.until(lambda: len(daemon.lines("synced")) == 2, "the second sync")
