"""`etl sync` in several processes: when, how many requests at once, how they end. Real processes, real signals."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Etl, MakeEtl
from sqlalchemy import text
from test_cli import AT_ONCE, Cli, Said, ended, wait_for

from etl import cores, database
from etl.demo.endpoint import Endpoint
from etl.demo.scenario import populate
from etl.demo.world import World

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or cores.usable() < 2, reason="needs Linux and two processors"
)

PAGES = 30
ETL = [sys.executable, "-m", "etl"]
ON_ONE_PROCESSOR = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from etl.cli import main
main(prog_name="etl")
"""


class Crewed:
    """`etl sync` of several memberships of thirty pages each, and what became of it."""

    def __init__(self, cli: Cli, etl: Etl, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._cli = cli
        self._etl = etl
        self.configure()

    def configure(self, memberships: int = 4, **aws: Any) -> None:
        chosen = self._etl.config.memberships[:memberships]
        self._cli.configure(
            database={"url": self._etl.config.database.address()},
            aws={"endpoint_url": self.endpoint.url, "page_size": 1, **aws},
            membership=[{"id": each.id, "region": each.region} for each in chosen],
        )

    def run(self, program: list[str] = ETL) -> Said:
        return self._cli.run("sync", program=program)

    def run_on_terminal(self) -> tuple[int, str]:
        return self._cli.run_on_terminal("sync")

    @contextmanager
    def running(self) -> "Iterator[subprocess.Popen[str]]":
        """A sweep, while each of two processes syncs something, in a process group of its own."""
        self.endpoint.latency_seconds = 0.2
        process = self._cli.start("sync", start_new_session=True)
        try:
            wait_for(lambda: len(self.workers) == 2)
            yield process
        finally:
            self.endpoint.latency_seconds = 0
            if process.poll() is None:
                process.kill()

    @property
    def runs(self) -> list[dict[str, Any]]:
        return self._etl.query(
            "SELECT membership_id, outcome, worker FROM cleanrooms_etl.sync_run"
            " JOIN cleanrooms_etl.membership USING (membership_key) ORDER BY run_id"
        )

    @property
    def waiting(self) -> int:
        """How many wait in the database for a lock."""
        query = (
            "SELECT count(*) AS n FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(self._etl.query(query)[0]["n"])

    @property
    def workers(self) -> set[int]:
        """The ids of the processes that have begun a sync."""
        return {int(run["worker"].rpartition(":")[2]) for run in self.runs}

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Let nobody look at jobs or write them; whoever wants to waits in the database."""
        with database.connect(self._etl.config.database.address()) as connection, connection.begin():
            connection.execute(text("LOCK TABLE cleanrooms_etl.inference_job"))
            yield


@pytest.fixture
def crewed(tmp_path: Path, make_etl: MakeEtl, endpoint: Endpoint, world: World) -> Crewed:
    for _ in range(4):
        populate(world, world.add_membership(), PAGES)
    return Crewed(Cli(tmp_path), make_etl(), endpoint)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # of which only the exit code is left


def all_end(processes: set[int]) -> None:
    assert processes
    wait_for(lambda: not any(map(is_alive, processes)))


# When


def test_several_memberships_are_synced_by_several_processes(crewed: Crewed) -> None:
    said = crewed.run()
    assert (said.code, said.err) == (0, "")
    assert [(report["outcome"], report["jobs_new"]) for report in said.objects] == [("complete", PAGES)] * 4
    assert len(crewed.workers) == min(4, cores.usable())
    all_end(crewed.workers)


@pytest.mark.parametrize(
    ("program", "settings"),
    [
        ([sys.executable, "-c", ON_ONE_PROCESSOR], {}),
        (ETL, {"memberships": 1}),
        (ETL, {"max_concurrency": 1}),
        (ETL, {"requests_per_second": 1000}),
    ],
    ids=["one processor", "one membership", "one request at a time", "a limit of requests"],
)
def test_one_process_is_enough_where_more_would_gain_nothing(
    crewed: Crewed, program: list[str], settings: dict[str, Any]
) -> None:
    crewed.configure(**settings)
    assert crewed.run(program).code == 0
    assert len(crewed.workers) == 1


def test_all_processes_together_have_no_more_requests_in_flight_than_are_allowed(crewed: Crewed) -> None:
    crewed.configure(max_concurrency=3)
    crewed.endpoint.latency_seconds = 0.02
    assert crewed.run().code == 0
    assert len(crewed.workers) > 1
    assert crewed.endpoint.peak_in_flight == 3


def test_on_a_terminal_the_bars_of_all_processes_go(crewed: Crewed) -> None:
    crewed.endpoint.latency_seconds = 0.05
    code, written = crewed.run_on_terminal()
    assert code == 0
    for run in crewed.runs:
        seen = re.findall(rf"{run['membership_id']}[^\r\n]*?(\d+)/\?", written)
        assert any(0 < int(pages) < PAGES for pages in seen)


# How they end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the process", "to its group"])
def test_a_signal_stops_all_of_them_at_the_next_page(crewed: Crewed, send: Any, number: int) -> None:
    with crewed.running() as process:
        send(process.pid, number)
        said = ended(process)
    assert said.code == 1
    assert {(report["outcome"], report["error_class"]) for report in said.objects} == {("partial", "Stopped")}
    assert sorted(said.complaints) == sorted(
        f"etl: {report['membership_id']}: Stopped: asked to stop" for report in said.objects
    )
    all_end(crewed.workers)


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the process", "to its group"])
def test_a_second_signal_ends_all_of_them_at_once(crewed: Crewed, send: Any) -> None:
    with crewed.blocked(), crewed.running() as process:
        crewed.endpoint.latency_seconds = 0
        wait_for(lambda: crewed.waiting == 2)  # one in each process
        send(process.pid, signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        send(process.pid, signal.SIGINT)
        assert process.wait(AT_ONCE) == 128 + signal.SIGINT
        all_end(crewed.workers)
        assert ended(process).err == ""


def test_they_end_with_a_process_that_was_killed(crewed: Crewed) -> None:
    with crewed.running() as process:
        process.kill()
        all_end(crewed.workers)
        assert ended(process).err == ""
    assert crewed.run().code == 0
    assert [run["outcome"] for run in crewed.runs[-4:]] == ["complete"] * 4


def test_one_that_is_killed_fails_what_it_was_syncing_and_the_others_go_on(crewed: Crewed) -> None:
    crewed.configure(max_concurrency=2)
    with crewed.running() as process:
        victim = min(crewed.workers)
        os.kill(victim, signal.SIGKILL)
        crewed.endpoint.latency_seconds = 0
        said = ended(process)
    (lost,) = [run["membership_id"] for run in crewed.runs if run["worker"].endswith(f":{victim}")]
    assert said.code == 1
    assert {report["membership_id"]: report["outcome"] for report in said.objects} == {
        run["membership_id"]: "failed" if run["membership_id"] == lost else "complete" for run in crewed.runs
    }
    assert said.complaints == [
        f"etl: {lost}: ProcessLost: the process that synced it was killed: perhaps the machine ran out of memory"
    ]


def test_once_all_are_killed_what_is_left_fails_and_the_next_sweep_puts_it_right(crewed: Crewed) -> None:
    crewed.configure(max_concurrency=2)
    with crewed.running() as process:
        for worker in crewed.workers:
            os.kill(worker, signal.SIGKILL)
        said = ended(process)
    assert said.code == 1
    assert [report["error_class"] for report in said.objects] == ["ProcessLost"] * 4
    assert sum("all processes that sync have ended" in complaint for complaint in said.complaints) == 2
    assert crewed.run().code == 0


FAULTY = """
from etl.config import Config, Membership
from etl.crew import Crew, FaultError
with Crew(processes=2, at_once=2, requests=2) as crew:
    membership = Membership(id="00000000-0000-4000-8000-000000000000", region="us-east-1")
    try:
        crew.sync(Config(), membership, print)
    except FaultError as fault:
        print(fault)
"""


def test_a_fault_of_this_program_flies_here_with_the_traceback_from_there() -> None:
    said = subprocess.run([sys.executable, "-c", FAULTY], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    assert "in sync_membership" in said.stdout
    assert "database.url: is not set" in said.stdout
    assert said.stderr == ""
