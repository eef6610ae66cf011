"""One writer: who holds a membership's lease writes, whoever lost it does not, however it was lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Lock
from typing import Any

import pytest
from conftest import MINUTE, NOON, Etl, MakeEtl
from sqlalchemy import Connection, text

from etl import batches, database, leases, reading, rollups, roster, sweep, verify, writer
from etl.demo.answers import Error, Normal, error, normal
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import Request
from etl.demo.resources import Job
from etl.demo.world import World
from etl.sync import SyncReport, sync_membership

PATIENCE = 60  # seconds that a test waits for another process before it fails
SMALL = "batches.ITEMS = 1; reading.PAGES_AHEAD = 0"
SYNC = f"from etl import batches, reading; {SMALL}; from etl.cli import main; main()"
SYNC_THAT_FREEZES = """
import os, signal
import psycopg

class Freezing(psycopg.Copy):
    has_frozen = False

    def write(self, buffer):
        if not Freezing.has_frozen:
            Freezing.has_frozen = True
            os.kill(os.getpid(), signal.SIGSTOP)
        super().write(buffer)

psycopg.cursor.Copy = Freezing
from etl.cli import main
main()
"""
OURS = "datname = current_database() AND application_name = 'cleanroomsml-etl' AND pid <> pg_backend_pid()"


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ITEMS", 1)
    monkeypatch.setattr(reading, "PAGES_AHEAD", 0)


@pytest.fixture
def jobs(world: World, membership: Membership) -> list[Job]:
    """Four jobs, in the order in which they are listed."""
    world.newest_first = False
    return [world.create_job(membership) for _ in range(4)]


@pytest.fixture
def etl(make_etl: MakeEtl, jobs: list[Job]) -> Etl:
    """The product, which reads a job a page and settles it before it asks for the next."""
    assert jobs
    return make_etl(aws={"page_size": 1})


class AtPage:
    """Does something once, right before the endpoint reads its nth page; the others come and go meanwhile."""

    def __init__(self, endpoint: Endpoint, number: int, work: Callable[[], object]) -> None:
        self.is_reached = Event()
        self.result: Any = None
        self._number = number
        self._work = work
        self._count = 0
        self._lock = Lock()
        endpoint.before_page = self

    def __call__(self, _: Request) -> None:
        with self._lock:
            self._count += 1
            is_due = self._count == self._number
        if is_due:
            self.is_reached.set()
            self.result = self._work()


def runs(etl: Etl) -> list[dict[str, Any]]:
    return etl.query("SELECT * FROM cleanrooms_etl.sync_run ORDER BY run_id")


def lease(etl: Etl) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms_etl.membership")[0]


def statuses(etl: Etl, job: Job) -> list[str]:
    """The statuses of the job's history, first to last."""
    rows = etl.query(
        "SELECT to_status FROM cleanrooms.status_transitions WHERE job_arn = :arn ORDER BY changed_time",
        arn=job.arn,
    )
    return [row["to_status"] for row in rows]


def broken_rules(etl: Etl) -> list[str]:
    with database.connect(etl.config.database.address()) as connection:
        return [finding.check.name for finding in verify.findings(connection) if finding.broken]


def expire(etl: Etl) -> None:
    """Let the lease end now, as if its time had passed."""
    etl.execute("UPDATE cleanrooms_etl.membership SET lease_until = clock_timestamp()")


def take_over(etl: Etl) -> SyncReport:
    """Sync as another worker, once the lease of the first is over."""
    expire(etl)
    return etl.sync()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def is_frozen(process: "subprocess.Popen[bytes]") -> bool:
    return os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG) is not None


def sync_when_free(etl: Etl) -> SyncReport:
    """Sync as soon as no other run holds the lease."""
    reports: list[SyncReport] = []

    def is_done() -> bool:
        reports[:] = [etl.sync()]
        return reports[0].outcome != "busy"

    until(is_done, "the lease")
    return reports[0]


@contextmanager
def worker(etl: Etl, folder: Path, program: str = SYNC) -> Iterator[subprocess.Popen[bytes]]:
    """`etl sync` in a process of its own, which is gone afterwards."""
    settings = etl.config
    entry = settings.memberships[0]
    file = folder / "etl.toml"
    file.write_text(
        f"database.url = {json.dumps(settings.database.address())}\n"
        f'aws = {{ endpoint_url = "{settings.aws.endpoint_url}", page_size = {settings.aws.page_size} }}\n'
        f'sync = {{ lease = "{settings.sync.lease.seconds}s", absence_grace = "0s", full_every = "0s" }}\n'
        f'membership = [{{ id = "{entry.id}", region = "{entry.region}" }}]\n'
    )
    argv = [sys.executable, "-c", program, "sync", "--config", str(file)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - every word of it is ours
        try:
            yield process
        finally:
            process.kill()


# Who comes second


def test_who_comes_second_is_told_busy_and_leaves_no_trace(etl: Etl, endpoint: Endpoint) -> None:
    second = AtPage(endpoint, 2, etl.sync)
    first = etl.sync()
    assert (second.result.outcome, second.result.run_id, second.result.is_fine) == ("busy", None, True)
    assert (first.outcome, first.counts.jobs_new) == ("complete", 4)
    assert [run["outcome"] for run in runs(etl)] == ["complete"]


def test_of_many_that_come_at_once_one_runs(etl: Etl, endpoint: Endpoint) -> None:
    others_are_told = Event()
    AtPage(endpoint, 1, lambda: others_are_told.wait(PATIENCE))
    sweep.register(etl.config)
    with ThreadPoolExecutor(5) as executor:
        futures = [executor.submit(sync_membership, etl.config, etl.config.memberships[0]) for _ in range(5)]
        until(lambda: sum(future.done() for future in futures) == 4, "four to be told")
        others_are_told.set()
        outcomes = sorted(future.result().outcome for future in futures)
    assert outcomes == ["busy"] * 4 + ["complete"]


def test_each_membership_has_a_lease_of_its_own(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    another = world.add_membership()
    for each in (membership, another):
        world.create_job(each)
    etl = make_etl()
    second = AtPage(endpoint, 1, lambda: sync_membership(etl.config, etl.config.memberships[1]))
    assert etl.sync().outcome == second.result.outcome == "complete"


def test_registering_memberships_as_they_are_keeps_nobody_from_beginning(etl: Etl) -> None:
    etl.sync()
    entry = etl.config.memberships[0]
    with database.connect(etl.config.database.address()) as connection, connection.begin():
        roster.register(connection, [roster.Tracked(entry.id, entry.region, None, 900, "every 0:15:00", 5, 10)])
        report = sync_membership(etl.config, entry)
    assert report.outcome == "complete"


@pytest.mark.parametrize("outcome", ["complete", "partial", "failed"])
def test_the_lease_is_given_back_at_the_end(etl: Etl, world: World, endpoint: Endpoint, outcome: str) -> None:
    if outcome == "partial":
        world.put_raw(next(iter(world.memberships.values())), {"broken": True})
    if outcome == "failed":
        endpoint.on("ListTrainedModelInferenceJobs", error("AccessDeniedException"))
    assert etl.sync().outcome == outcome
    row = lease(etl)
    assert (row["lease_until"], row["lease_pid"], row["lease_session_at"]) == (None, None, None)


def test_each_run_has_an_epoch_of_its_own(etl: Etl) -> None:
    etl.sync()
    etl.sync()
    assert lease(etl)["lease_epoch"] == 2


def test_a_lease_of_the_configured_length_is_held_while_aws_is_being_asked(
    make_etl: MakeEtl, jobs: list[Job], endpoint: Endpoint
) -> None:
    assert jobs
    etl = make_etl(aws={"page_size": 1}, sync={"lease": "10m"})
    left = "SELECT lease_until - clock_timestamp() AS left FROM cleanrooms_etl.membership"
    seen = AtPage(endpoint, 3, lambda: etl.query(left)[0]["left"])
    etl.sync()
    assert timedelta(minutes=9) < seen.result <= timedelta(minutes=10)


def test_a_listing_longer_than_the_lease_keeps_it_though_there_is_nothing_to_write(
    make_etl: MakeEtl, jobs: list[Job], endpoint: Endpoint
) -> None:
    etl = make_etl(aws={"page_size": 1}, sync={"lease": "3s"})
    etl.sync()
    seen: list[str] = []

    def slowly(_: Request) -> None:
        time.sleep(0.8)
        seen.append(sync_membership(etl.config, etl.config.memberships[0]).outcome)

    endpoint.before_page = slowly
    report = etl.sync()
    assert (report.outcome, report.counts.jobs_unchanged) == ("complete", len(jobs))
    assert seen == ["busy"] * len(jobs)


def test_asking_for_single_jobs_for_longer_than_the_lease_keeps_it(
    make_etl: MakeEtl, world: World, membership: Membership, jobs: list[Job], endpoint: Endpoint
) -> None:
    etl = make_etl(sync={"lease": "3s"})
    etl.sync()
    for job in jobs[:3]:
        world.remove(membership, job)
    etl.sync()
    seen: list[str] = []

    def slowly(_: Request) -> Normal:
        time.sleep(1.1)
        seen.append(sync_membership(etl.config, etl.config.memberships[0]).outcome)
        return normal()

    endpoint.on("GetTrainedModelInferenceJob", slowly, times=None)
    report = etl.sync()
    assert (report.outcome, report.counts.jobs_absent) == ("complete", 3)
    assert seen == ["busy"] * 3


# Who lost the lease


def test_a_lease_that_is_over_is_taken_and_the_first_run_writes_no_more(
    etl: Etl, world: World, jobs: list[Job], endpoint: Endpoint
) -> None:
    def moves_on() -> SyncReport:
        report = take_over(etl)
        world.set_status(jobs[2], "ACTIVE", at=NOON + MINUTE)  # the first run is about to read this
        return report

    second = AtPage(endpoint, 3, moves_on)  # the first page is stored, the second is decoded
    first = etl.sync()
    assert (second.result.outcome, second.result.counts.jobs_new) == ("complete", 3)
    assert (first.outcome, first.error_class, first.is_fine) == ("fenced", "Fenced", False)
    assert first.counts.jobs_new == 1
    assert statuses(etl, jobs[2]) == ["CREATE_PENDING"]
    assert [run["outcome"] for run in runs(etl)] == ["fenced", "complete"]
    assert [run["transitions"] for run in runs(etl)] == [1, 3]
    assert broken_rules(etl) == []


def test_who_lost_the_lease_concludes_nothing_at_the_end_of_its_listing(
    etl: Etl, world: World, membership: Membership, jobs: list[Job], endpoint: Endpoint
) -> None:
    etl.sync()
    world.remove(membership, jobs[3])
    second = AtPage(endpoint, 3, lambda: take_over(etl))
    assert etl.sync().outcome == "fenced"
    assert second.result.outcome == "complete"
    assert lease(etl)["listed_at"] == runs(etl)[2]["started_at"]
    absent = etl.query("SELECT absent_listings FROM cleanrooms_etl.inference_job ORDER BY job_key")
    assert [row["absent_listings"] for row in absent] == [0, 0, 0, 1]


def test_who_lost_the_lease_is_fenced_though_its_listing_broke_off(etl: Etl, endpoint: Endpoint) -> None:
    etl.sync()

    def refuse(_: Request) -> Error:
        assert take_over(etl).outcome == "complete"
        return error("AccessDeniedException")

    endpoint.on(lambda request: "nextToken" in request.query, refuse)
    report = etl.sync()
    assert (report.outcome, runs(etl)[1]["outcome"]) == ("fenced", "fenced")


def test_who_lost_the_lease_does_not_give_back_the_one_of_its_follower(etl: Etl, endpoint: Endpoint) -> None:
    goes_on = Event()
    held = AtPage(endpoint, 3, lambda: goes_on.wait(PATIENCE))
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(etl.sync)
        assert held.is_reached.wait(PATIENCE)

        def while_the_second_reads() -> tuple[str, str]:
            goes_on.set()
            return first.result(PATIENCE).outcome, etl.sync().outcome

        meanwhile = AtPage(endpoint, 1, while_the_second_reads)
        assert take_over(etl).outcome == "complete"
    assert meanwhile.result == ("fenced", "busy")


def test_who_lost_the_database_session_and_then_the_lease_is_fenced(
    etl: Etl, jobs: list[Job], endpoint: Endpoint
) -> None:
    def terminated() -> SyncReport:
        etl.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}")  # noqa: S608 - constants
        return sync_when_free(etl)

    second = AtPage(endpoint, 2, terminated)
    assert (etl.sync().outcome, second.result.outcome) == ("fenced", "complete")
    assert [statuses(etl, job) for job in jobs] == [["CREATE_PENDING"]] * 4


# Killed and frozen processes


def test_after_a_kill_the_next_run_takes_over_at_once_and_the_history_is_whole(
    etl: Etl, world: World, jobs: list[Job], endpoint: Endpoint, tmp_path: Path
) -> None:
    etl.sync()
    for job in jobs:
        world.set_status(job, "ACTIVE", at=NOON + MINUTE)
    with worker(etl, tmp_path) as process:
        AtPage(endpoint, 3, process.kill)
        assert process.wait(PATIENCE) == -signal.SIGKILL
    started = time.monotonic()
    report = sync_when_free(etl)
    assert time.monotonic() - started < 10  # the lease was for two minutes
    assert (report.outcome, report.counts.transitions, report.counts.jobs_unchanged) == ("complete", 2, 2)
    assert [statuses(etl, job) for job in jobs] == [["CREATE_PENDING", "ACTIVE"]] * 4
    dead = runs(etl)[1]
    assert (dead["outcome"], dead["error_class"], dead["transitions"]) == ("abandoned", "Abandoned", 2)
    assert dead["finished_at"] is not None
    assert broken_rules(etl) == []


def test_a_process_frozen_while_it_waits_for_aws_does_not_write_when_it_wakes(
    make_etl: MakeEtl, world: World, jobs: list[Job], endpoint: Endpoint, tmp_path: Path
) -> None:
    etl = make_etl(aws={"page_size": 1}, sync={"lease": "1s"})
    sweep.register(etl.config)
    with worker(etl, tmp_path) as process:
        frozen = AtPage(endpoint, 4, lambda: process.send_signal(signal.SIGSTOP))  # two pages are stored
        assert frozen.is_reached.wait(PATIENCE)
        second = sync_when_free(etl)
        world.set_status(jobs[3], "ACTIVE", at=NOON + MINUTE)
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE) == 1
    assert (second.outcome, second.counts.jobs_new) == ("complete", 2)
    assert [run["outcome"] for run in runs(etl)] == ["fenced", "complete"]
    assert statuses(etl, jobs[3]) == ["CREATE_PENDING"]  # what the frozen one was about to read is not written
    assert broken_rules(etl) == []


@pytest.mark.parametrize(
    ("table", "outcomes"),
    [("sync_run", ["complete"]), ("status_transition", ["fenced", "complete"])],
    ids=["at its beginning", "in a batch"],
)
def test_a_process_frozen_in_a_transaction_loses_it_with_its_lease(
    make_etl: MakeEtl, jobs: list[Job], tmp_path: Path, table: str, outcomes: list[str]
) -> None:
    etl = make_etl(aws={"page_size": 1}, sync={"lease": "1s"})
    sweep.register(etl.config)
    waits = f"SELECT 1 FROM pg_stat_activity WHERE {OURS} AND wait_event_type = 'Lock'"  # noqa: S608 - constants
    with database.connect(etl.config.database.address()) as other, worker(etl, tmp_path) as process:
        with other.begin():
            other.exec_driver_sql(f"LOCK TABLE cleanrooms_etl.{table} IN SHARE MODE")
            until(lambda: etl.query(waits), "the frozen one to write")
            process.send_signal(signal.SIGSTOP)
        second = sync_when_free(etl)
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE) == 1
    assert (second.outcome, second.counts.jobs_new) == ("complete", len(jobs))
    assert [run["outcome"] for run in runs(etl)] == outcomes
    assert broken_rules(etl) == []


@pytest.mark.parametrize("tracked", ["on", "off"])
def test_a_process_frozen_in_a_copy_loses_its_session_with_its_lease(
    tracked: str, make_etl: MakeEtl, jobs: list[Job], tmp_path: Path
) -> None:
    etl = make_etl(sync={"lease": "1s"})
    database_name = database.parse(etl.config.database.address()).database
    etl.execute(f"ALTER DATABASE {database_name} SET track_activities = {tracked}")
    sweep.register(etl.config)
    with worker(etl, tmp_path, SYNC_THAT_FREEZES) as process:
        until(lambda: is_frozen(process), "the frozen one to copy")
        second = sync_when_free(etl)
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE) == 1
    assert (second.outcome, second.counts.jobs_new) == ("complete", len(jobs))
    assert [run["outcome"] for run in runs(etl)] == ["fenced", "complete"]
    assert broken_rules(etl) == []


def test_a_process_that_is_copying_within_its_lease_keeps_its_session(etl: Etl, tmp_path: Path) -> None:
    sweep.register(etl.config)
    with worker(etl, tmp_path, SYNC_THAT_FREEZES) as process:
        until(lambda: is_frozen(process), "the frozen one to copy")
        assert etl.sync().outcome == "busy"
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE) == 0
    assert broken_rules(etl) == []


# Transactions


def test_no_transaction_is_open_while_aws_is_being_asked(
    etl: Etl, world: World, membership: Membership, jobs: list[Job], endpoint: Endpoint
) -> None:
    seen: list[tuple[str, str]] = []

    def look(request: Request) -> None:
        states = etl.query(f"SELECT state FROM pg_stat_activity WHERE {OURS}")  # noqa: S608 - constants
        seen.extend((request.operation, row["state"]) for row in states)

    def look_and_deny(request: Request) -> Error:
        look(request)
        return error("ResourceNotFoundException")

    endpoint.before_page = look
    endpoint.on("GetTrainedModelInferenceJob", look_and_deny)
    etl.sync()
    world.remove(membership, jobs[0])
    etl.sync()
    etl.sync()
    listing, getting = "ListTrainedModelInferenceJobs", "GetTrainedModelInferenceJob"
    assert set(seen) == {(listing, "idle"), (getting, "idle")}
    assert len(seen) >= 11  # or more: a session that has just ended is still seen for a moment


def test_the_server_compiles_nothing_of_a_run_and_whatever_it_likes_for_others(
    etl: Etl, membership: Membership
) -> None:
    sweep.register(etl.config)
    with database.connect(etl.config.database.address()) as connection:
        with connection.begin():
            worker = leases.Worker("host:1", "1")
            run = leases.begin(connection, membership.id, timedelta(minutes=2), worker, if_due=False)
        assert run
        of_run, seen = writer.Writer(connection, run, lambda: None), list[str]()
        assert of_run.read(lambda connection: shown(connection, "jit")) == "off"
        of_run.write(lambda connection: shown(connection, "jit"), seen.append)
        assert seen == ["off"]
        assert shown(connection, "jit") == "on"


@pytest.mark.usefixtures("membership")
@pytest.mark.parametrize(("before", "meanwhile"), [("4MB", "64MB"), ("1GB", "1GB")])
def test_what_is_counted_is_sorted_in_memory_and_no_setting_outlasts_it(
    etl: Etl, before: str, meanwhile: str
) -> None:
    sweep.register(etl.config)
    [row] = etl.query("SELECT membership_key FROM cleanrooms_etl.membership")
    with database.connect(etl.config.database.address()) as connection:
        with connection.begin():
            connection.execute(text("SELECT set_config('work_mem', :before, false)"), {"before": before})
        with connection.begin():
            rollups.note(connection, row["membership_key"], changed=NOON, created=NOON)
            rollups.count_up(connection, row["membership_key"])
            assert shown(connection, "work_mem") == meanwhile
        assert shown(connection, "work_mem") == before


def shown(connection: Connection, setting: str) -> str:
    value: str = connection.execute(text(f"SHOW {setting}")).scalar_one()
    return value


def test_of_two_runs_with_one_epoch_only_the_one_that_the_database_knows_writes(
    etl: Etl, membership: Membership
) -> None:
    """A standby took over that lacks the beginning of the first run: the second is given the same epoch."""
    url, lease_time, worker = etl.config.database.address(), timedelta(minutes=2), leases.Worker("host:1", "1")
    sweep.register(etl.config)

    def begin(connection: Connection) -> leases.Run:
        with connection.begin():
            run = leases.begin(connection, membership.id, lease_time, worker, if_due=False)
        assert run
        return run

    with database.connect(url) as one, database.connect(url) as another:
        first = begin(one)
        etl.execute(
            "UPDATE cleanrooms_etl.membership SET lease_epoch = lease_epoch - 1, lease_until = NULL,"
            " lease_pid = NULL, lease_session_at = NULL"
        )
        etl.execute("UPDATE cleanrooms_etl.sync_run SET started_at = started_at - interval '1 second'")
        second = begin(another)
        assert first.epoch == second.epoch
        with pytest.raises(leases.FencedError, match="lacks what this run has committed"):
            writer.Writer(one, first, lambda: None).write(lambda _: None)
        writer.Writer(another, second, lambda: None).write(lambda _: None)
