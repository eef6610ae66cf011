"""The command line in real processes: what it says, where, with which exit code, and how it ends when told to."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import MINUTE, Etl, MakeEtl
from sqlalchemy import text
from test_console import screen

from etl import database, tables
from etl.cli.errors import Etl as Group
from etl.cli.sync import is_news
from etl.demo import answers
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import Request
from etl.demo.scenario import populate
from etl.demo.world import World
from etl.local_postgres import LocalPostgres
from etl.store import Counts
from etl.sync import SyncReport

LIST = "ListTrainedModelInferenceJobs"
SECRET = "s3cr3t"  # noqa: S105 - of a database that is not there
NOWHERE = f"postgresql://etl:{SECRET}@127.0.0.1:1/etl"
NOBODY = "00000000-0000-4000-8000-000000000000"
AT_ONCE = 5  # seconds that a busy machine may take for what takes none
PAGES = 40
COMMANDS = (
    "sync",
    "daemon",
    "status",
    "doctor",
    "verify",
    "report",
    "demo",
    "db upgrade",
    "db current",
    "db describe",
    "db grant",
    "db url",
    "db psql",
    "db start",
    "db stop",
)

Configure = Callable[..., "Cli"]


@dataclass
class Said:
    """What a process has said in the end."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def complaints(self) -> list[str]:
        return self.err.splitlines()


@dataclass
class Cli:
    """`etl` in a folder of its own, with its etl.toml."""

    folder: Path
    home: Path | None = None  # of the private Postgres

    def configure(self, **sections: Any) -> None:
        """Write etl.toml; a section that is None is left out."""
        (self.folder / "etl.toml").write_text(as_toml({name: each for name, each in sections.items() if each}))

    def start(self, *words: str, **how: Any) -> "subprocess.Popen[str]":
        """Start a command; upper-case keywords are laid over the environment, others are Popen's."""
        environ = {"ETL_HOME": str(self.home or self.folder / "home")}
        environ |= {name: how.pop(name) for name in list(how) if name.isupper()}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        program = how.pop("program", [sys.executable, "-m", "etl"])
        return subprocess.Popen(  # noqa: S603 - our own program
            [*program, *words], cwd=self.folder, env={**os.environ, **environ}, text=True, **(streams | how)
        )

    def run(self, *words: str, **how: Any) -> Said:
        return ended(self.start(*words, **how))

    def run_on_terminal(self, *words: str) -> tuple[int, str]:
        """Run on a terminal of 130 columns; return the exit code and all that was written to it."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 130, 0, 0))
        terminal = {"stdin": slave, "stdout": slave, "stderr": slave, "TERM": "xterm-256color"}
        process = self.start(*words, **terminal, start_new_session=True)
        os.close(slave)
        written = b"".join(iter(lambda: read_terminal(master), b"")).decode()
        os.close(master)
        return process.wait(60), written


def as_toml(sections: dict[str, Any]) -> str:
    """Write TOML: the texts and numbers of JSON are those of TOML."""
    lines: list[str] = []
    for name, section in sections.items():
        for table in section if isinstance(section, list) else [section]:
            lines.append(f"[[{name}]]" if isinstance(section, list) else f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines)


def read_terminal(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # the other end is closed, and all is read
        return b""


def ended(process: "subprocess.Popen[str]") -> Said:
    with process:
        out, err = process.communicate(timeout=60)
    return Said(process.returncode, out, err)


@pytest.fixture
def bare(tmp_path: Path) -> Cli:
    """Without a configuration."""
    return Cli(tmp_path)


@pytest.fixture
def configure(bare: Cli, database_url: str, endpoint: Endpoint, world: World) -> Configure:
    """Configure all of the world's memberships; a keyword replaces a section, None leaves it out."""

    def write(**sections: Any) -> Cli:
        usual = {
            "database": {"url": database_url},
            "aws": {"endpoint_url": endpoint.url},
            "sync": {"absence_grace": "0s"},
            "membership": [{"id": each.id, "region": each.region} for each in world.memberships.values()],
        }
        bare.configure(**usual | sections)
        return bare

    return write


@pytest.fixture
def cli(configure: Configure, membership: Membership) -> Cli:
    """Configured for one membership."""
    assert membership
    return configure()


@pytest.fixture
def three(world: World) -> list[str]:
    """Three memberships with a job each."""
    for name in ("a", "b", "c"):
        world.create_job(world.add_membership(), name=name)
    return list(world.memberships)


@pytest.fixture
def long(configure: Configure, endpoint: Endpoint, world: World, membership: Membership) -> Cli:
    """One membership, whose listing takes 40 pages and some seconds."""
    populate(world, membership, PAGES)
    endpoint.latency_seconds = 0.05
    return configure(aws={"endpoint_url": endpoint.url, "page_size": 1})


class At:
    """Does something once, when a page of that number is asked for."""

    def __init__(self, endpoint: Endpoint, number: int, act: Callable[[], object]) -> None:
        self._left = number
        self._act = act
        self.done = threading.Event()
        endpoint.before_page = self

    def __call__(self, _: Request) -> None:
        self._left -= 1
        if not self._left:
            self._act()
            self.done.set()


# sync: what it says


def test_sync_says_in_json_what_it_did(cli: Cli, world: World, clock: Clock, membership: Membership) -> None:
    jobs = [world.create_job(membership) for _ in range(3)]
    cli.run("sync")
    clock.advance(MINUTE)
    world.set_status(jobs[0], "ACTIVE")
    world.create_job(membership)
    said = cli.run("sync")
    (report,) = said.objects
    assert 0 < report.pop("seconds") < 60
    assert report == {
        "membership_id": membership.id,
        "outcome": "complete",
        "run_id": 2,
        "kind": "full",
        "pages": 1,
        "api_calls": 1,
        "retries": 0,
        "throttles": 0,
        "jobs_listed": 4,
        "jobs_new": 1,
        "jobs_changed": 1,
        "transitions": 2,
        "jobs_unchanged": 2,
        "jobs_stale": 0,
        "jobs_rejected": 0,
        "jobs_absent": 0,
        "replaced_characters": 0,
        "rejections": [],
        "unknown_statuses": {},
        "overruns": 0,
        "error_class": None,
        "error": None,
    }
    assert (said.code, said.err) == (0, "")


def test_sync_says_it_in_text_when_asked(cli: Cli, world: World, membership: Membership) -> None:
    for number in range(1200):
        world.create_job(membership, name=f"job {number}", status="ACTIVE")
    said = cli.run("sync", "--text")
    pattern = (
        r"complete  12 pages  1,200 listed  1,200 new  0 changed  1,200 transitions  0 unchanged  \d+\.\d s\n"
    )
    assert re.fullmatch(f"{membership.id}  {pattern}", said.out)
    assert (said.code, said.err) == (0, "")


def test_a_sync_is_quick_where_that_is_enough_unless_asked_to_be_full(
    cli: Cli, world: World, membership: Membership
) -> None:
    for number in range(500):
        world.create_job(membership, name=f"job {number}", status="ACTIVE")
    assert cli.run("sync").objects[0]["kind"] == "full"
    (quick,) = cli.run("sync").objects
    assert (quick["kind"], quick["api_calls"]) == ("quick", 1)
    # One request at a time: else whoever is slow asks for models, too, to read them side by side.
    (full,) = cli.run("sync", "--full", ETL_AWS_MAX_CONCURRENCY="1").objects
    assert (full["kind"], full["pages"], full["api_calls"]) == ("full", 5, 5)
    assert "  complete  quick  1 page  100 listed  " in cli.run("sync", "--text").out


def test_sync_says_what_else_happened_only_where_it_did(cli: Cli, world: World, membership: Membership) -> None:
    world.create_job(membership, status="ON_THE_MOON")
    world.put_raw(membership, {"no": "job"})
    said = cli.run("sync", "--text")
    assert "  1 set aside  1 of unknown status ON_THE_MOON  " in said.out
    assert said.code == 1


def test_quiet_tells_of_what_changed_or_failed_only(
    configure: Configure, make_etl: MakeEtl, endpoint: Endpoint, world: World, three: list[str]
) -> None:
    make_etl().sweep()
    world.create_job(world.memberships[three[0]])
    endpoint.on(lambda request: request.membership == three[1], answers.error("ValidationException"))
    said = configure().run("sync", "--quiet")
    assert said.code == 1
    assert {report["membership_id"]: report["outcome"] for report in said.objects} == {
        three[0]: "complete",
        three[1]: "failed",
    }
    assert [line.split(": ")[1] for line in said.complaints] == [three[1]]


def test_quiet_is_silent_on_a_terminal_too_where_nothing_changed(cli: Cli, etl: Etl, world: World) -> None:
    (membership,) = world.memberships.values()
    world.create_job(membership)
    etl.sync()
    assert cli.run_on_terminal("sync", "--quiet") == (0, "")


@pytest.mark.parametrize(
    ("counts", "is_told"),
    [
        ({"jobs_new": 1}, True),
        ({"jobs_changed": 1}, True),
        ({"transitions": 1}, True),
        ({"jobs_absent": 1}, True),
        ({"jobs_rejected": 1}, True),
        ({"unknown_statuses": Counter(ON_THE_MOON=1)}, True),
        ({"pages": 1, "jobs_listed": 3, "jobs_unchanged": 2, "jobs_stale": 1, "replaced_characters": 1}, False),
    ],
)
def test_quiet_tells_of_every_change(counts: dict[str, Any], is_told: bool) -> None:
    assert is_news(SyncReport(NOBODY, "complete", counts=Counts(**counts))) is is_told


@pytest.mark.parametrize(
    ("outcome", "is_told"), [("busy", False), ("partial", True), ("failed", True), ("fenced", True)]
)
def test_quiet_tells_of_every_failure(outcome: str, is_told: bool) -> None:
    assert is_news(SyncReport(NOBODY, outcome)) is is_told


def test_on_a_terminal_a_bar_goes_and_a_line_stays(long: Cli, endpoint: Endpoint, membership: Membership) -> None:
    endpoint.latency_seconds = 0.02
    code, written = long.run_on_terminal("sync")
    assert code == 0
    assert "━" in written
    assert re.search(r"\d+/\?", written)
    assert [line.split()[:4] for line in screen(written)] == [[membership.id, "complete", "40", "pages"]]
    assert re.search(rf"\d+/{PAGES}\b", long.run_on_terminal("sync", "--full")[1])


def test_on_a_terminal_the_lines_of_several_memberships_stand_above_their_bars(
    configure: Configure, endpoint: Endpoint, three: list[str]
) -> None:
    endpoint.on(LIST, answers.slow(0.3), answers.slow(0.6), answers.slow(0.9))
    code, written = configure().run_on_terminal("sync")
    assert code == 0
    assert sorted(line.split()[0] for line in screen(written)) == sorted(three)


def test_on_a_terminal_json_is_json(cli: Cli) -> None:
    _, written = cli.run_on_terminal("sync", "--json")
    assert json.loads(written)["outcome"] == "complete"


@pytest.mark.parametrize("how", ["--text", "--json"])
def test_hostile_text_does_a_terminal_no_harm(
    cli: Cli, make_etl: MakeEtl, world: World, membership: Membership, how: str
) -> None:
    evil = "owned\x1b[2J\x1b]0;\x07\x9b31m\u202e"
    world.create_job(membership, status=evil)
    _, written = cli.run_on_terminal("sync", how)
    make_etl().execute(
        "UPDATE cleanrooms_etl.sync_run SET outcome = 'failed', error_class = 'X', error = :e", e=evil
    )
    written += cli.run_on_terminal("status", how)[1]
    written += cli.run_on_terminal("sync", how, "--membership", evil)[1]
    assert written.count("owned") == (4 if how == "--json" else 3)
    ours = r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[12]?[AK]|[\r\n]"
    assert re.sub(ours, "", written).isprintable()


# sync: which memberships


def test_sync_takes_all_memberships_or_those_named(configure: Configure, three: list[str]) -> None:
    cli = configure()
    named = cli.run("sync", "--membership", three[0], "--membership", three[2], "--membership", three[0])
    assert sorted(report["membership_id"] for report in named.objects) == sorted([three[0], three[2]])
    rest = {report["membership_id"]: report["jobs_new"] for report in cli.run("sync").objects}
    assert rest == {three[0]: 0, three[1]: 1, three[2]: 0}


def test_an_unknown_membership_is_an_error_before_anything_is_done(
    configure: Configure, endpoint: Endpoint, three: list[str]
) -> None:
    said = configure().run("sync", "--membership", NOBODY, "--membership", three[0])
    assert (said.code, said.out) == (2, "")
    assert said.complaints == [f"etl: membership {NOBODY} is not configured"]
    assert endpoint.requests == []


def test_full_is_what_every_sync_is_so_far(cli: Cli) -> None:
    assert cli.run("sync", "--full").objects[0]["outcome"] == "complete"


def test_one_membership_that_fails_leaves_the_others_synced(
    configure: Configure, endpoint: Endpoint, three: list[str]
) -> None:
    endpoint.on(
        lambda request: request.membership == three[1], answers.error("AccessDeniedException", message="Not you.")
    )
    said = configure().run("sync")
    assert said.code == 1
    outcomes = {report["membership_id"]: report["outcome"] for report in said.objects}
    assert outcomes == {three[0]: "complete", three[1]: "failed", three[2]: "complete"}
    (complaint,) = said.complaints
    for part in (three[1], "AccessDeniedException", LIST, "cleanrooms:PassMembership", "Not you."):
        assert part in complaint


def test_without_credentials_each_membership_fails_with_the_reason(cli: Cli, membership: Membership) -> None:
    said = cli.run("sync", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert (said.code, said.objects[0]["outcome"]) == (1, "failed")
    (complaint,) = said.complaints
    assert complaint.startswith(f"etl: {membership.id}: NoCredentialsError: ")


def test_who_is_interrupted_before_the_command_begins_has_found_nothing_wrong_either(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    group = Group("etl", params=[click.Option(["--y"], callback=interrupt)], commands=[click.Command("x")])
    with pytest.raises(SystemExit) as ended:
        group.main(["x"])
    assert (ended.value.code, capsys.readouterr().err) == (130, "\netl: interrupted\n")


def test_the_end_of_a_file_that_nobody_awaited_is_no_interruption() -> None:
    def stumble() -> None:
        raise EOFError

    with pytest.raises(EOFError):
        Group("etl", commands=[click.Command("x", callback=stumble)]).main(["x"])


def test_who_is_interrupted_has_found_nothing_wrong(bare: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bare.configure(database={"url": f"postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x"})
        process = bare.start("status")
        with silent.accept()[0] as line:
            line.recv(1)
            process.send_signal(signal.SIGINT)
            said = ended(process)
    assert (said.code, said.out, said.complaints) == (130, "", ["etl: interrupted"])


def test_what_a_terminal_of_old_cannot_show_is_told_all_the_same(
    cli: Cli, world: World, membership: Membership
) -> None:
    world.create_job(membership, status="STATUS_\u72b6")
    said = cli.run("sync", "--text", PYTHONIOENCODING="latin-1")
    assert (said.code, said.err) == (0, "")
    assert "STATUS_\\u72b6" in said.out


def test_a_membership_that_another_worker_is_syncing_is_in_good_hands(long: Cli, endpoint: Endpoint) -> None:
    hold = threading.Event()
    At(endpoint, 2, lambda: hold.wait(60))
    first = long.start("sync")
    try:
        wait_for(lambda: len(endpoint.requests) == 2)
        second, quiet = map(ended, (long.start("sync"), long.start("sync", "--quiet")))
    finally:
        endpoint.latency_seconds = 0
        hold.set()
    assert [report["outcome"] for report in second.objects] == ["busy"]
    assert (second.code, second.err) == (0, "")
    assert quiet == Said(0, "", "")
    assert ended(first).code == 0


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# sync: how it is stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_at_the_next_page_and_what_was_read_is_stored(
    long: Cli, endpoint: Endpoint, make_etl: MakeEtl, number: int
) -> None:
    process: list[subprocess.Popen[str]] = []
    at = At(endpoint, 10, lambda: process[0].send_signal(number))
    process.append(long.start("sync"))
    said = ended(process[0])
    assert at.done.is_set()
    (report,) = said.objects
    assert (said.code, report["outcome"], report["error_class"]) == (1, "partial", "Stopped")
    assert 9 <= report["pages"] < PAGES / 2
    assert said.complaints == [f"etl: {report['membership_id']}: Stopped: asked to stop"]
    etl = make_etl()
    assert etl.query("SELECT count(*) FROM cleanrooms.inference_jobs") == [{"count": report["pages"]}]
    assert etl.query("SELECT outcome, error_class, jobs_new FROM cleanrooms.sync_runs") == [
        {"outcome": "partial", "error_class": "Stopped", "jobs_new": report["pages"]}
    ]


def test_who_is_asked_to_stop_begins_no_other_membership(
    configure: Configure, endpoint: Endpoint, make_etl: MakeEtl, three: list[str]
) -> None:
    assert three
    endpoint.latency_seconds = AT_ONCE  # the signal comes before the answer, on a busy machine too
    process = configure(aws={"endpoint_url": endpoint.url, "max_concurrency": 1}).start("sync")
    wait_for(lambda: bool(endpoint.requests))
    process.send_signal(signal.SIGINT)
    said = ended(process)
    (report,) = said.objects
    assert said.code == 1
    assert said.complaints == [
        f"etl: {report['membership_id']}: Stopped: asked to stop",
        "etl: asked to stop before 2 of 3 memberships were begun",
    ]
    assert make_etl().query("SELECT count(*) FROM cleanrooms.sync_runs") == [{"count": 1}]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(
    cli: Cli, make_etl: MakeEtl, world: World, second: signal.Signals
) -> None:
    (membership,) = world.memberships.values()
    world.create_job(membership)
    etl = make_etl()
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'cleanrooms_etl.inference_job'::regclass"
    with database.connect(etl.config.database.address()) as connection, connection.begin():
        connection.execute(text("LOCK TABLE cleanrooms_etl.inference_job"))
        process = cli.start("sync")
        wait_for(lambda: bool(etl.query(waiting)))
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(second)
        began = time.monotonic()
        assert ended(process).code == 128 + second
        assert time.monotonic() - began < AT_ONCE


def test_after_kill_9_the_next_sync_puts_everything_right(
    long: Cli, endpoint: Endpoint, make_etl: MakeEtl
) -> None:
    process: list[subprocess.Popen[str]] = []
    at = At(endpoint, 10, lambda: process[0].send_signal(signal.SIGKILL))
    process.append(long.start("sync"))
    assert ended(process[0]).code == -signal.SIGKILL
    assert at.done.is_set()
    endpoint.latency_seconds = 0
    (report,) = long.run("sync").objects
    assert (report["outcome"], report["jobs_listed"]) == ("complete", PAGES)
    etl = make_etl()
    assert etl.query("SELECT count(*) FROM cleanrooms.inference_jobs") == [{"count": PAGES}]
    runs = etl.query("SELECT outcome FROM cleanrooms.sync_runs ORDER BY run_id")
    assert [run["outcome"] for run in runs] == ["abandoned", "complete"]
    assert long.run("verify").code == 0


def test_a_reader_who_has_had_enough_causes_no_traceback(configure: Configure, three: list[str]) -> None:
    assert three
    reader, writer = os.pipe()
    os.close(reader)
    said = ended(configure().start("sync", "--text", stdout=writer))
    os.close(writer)
    assert (said.code, said.err) == (1, "")


# daemon

Daemon = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_daemon() -> Iterator[Daemon]:
    """Start a daemon on a port that is free."""
    with ExitStack() as stack:

        def start(cli: Cli, *words: str, **environ: str) -> "subprocess.Popen[str]":
            process = cli.start("daemon", *words, ETL_DAEMON_LISTEN="127.0.0.1:0", **environ)
            stack.enter_context(process)
            stack.callback(process.kill)
            limit = threading.Timer(60, process.kill)  # who reads from it then reads its end
            stack.callback(limit.cancel)
            limit.start()
            return process

        yield start


def told(process: "subprocess.Popen[str]", event: str) -> dict[str, Any]:
    """Read the daemon's log up to an event."""
    assert process.stdout
    for line in process.stdout:
        read: dict[str, Any] = json.loads(line)
        if read["event"] == event:
            return read
    raise AssertionError(f"it ended without {event}")


def test_a_daemon_syncs_what_is_due_and_ends_well_when_told_to(
    cli: Cli, start_daemon: Daemon, world: World, membership: Membership
) -> None:
    world.create_job(membership)
    daemon = start_daemon(cli)
    synced = told(daemon, "synced")
    assert (synced["membership"], synced["jobs_new"]) == (membership.id, 1)
    daemon.send_signal(signal.SIGTERM)
    said = ended(daemon)
    assert (said.code, said.objects[-1]["event"], said.err) == (0, "stopped", "")


def test_a_daemon_takes_a_new_configuration_and_refuses_a_bad_one(
    configure: Configure, start_daemon: Daemon, tmp_path: Path, membership: Membership
) -> None:
    assert membership
    (tmp_path / "file").touch()
    daemon = start_daemon(configure(membership=[{"id": NOBODY, "region": "us-east-1"}]), ETL_HOME="file")
    told(daemon, "started")

    def complaint(**sections: Any) -> str:
        configure(**sections)
        daemon.send_signal(signal.SIGHUP)
        return str(told(daemon, "configuration refused, the old one stays")["complaint"])

    assert complaint(membership=None).startswith("etl.toml: no membership is configured")
    assert complaint(aws={"page_size": 101}).startswith("etl.toml: aws.page_size: ")
    assert "set database.url" in complaint(database=None)  # where no private Postgres can be
    configure()
    daemon.send_signal(signal.SIGHUP)
    while told(daemon, "synced")["membership"] != membership.id:
        pass


def test_a_daemon_waits_for_its_database(bare: Cli, start_daemon: Daemon) -> None:
    bare.configure(database={"url": NOWHERE}, membership=[{"id": NOBODY, "region": "us-east-1"}])
    daemon = start_daemon(bare, "--text")
    assert daemon.stdout
    assert "cannot reach the database" in next(line for line in daemon.stdout if " started " not in line)
    daemon.send_signal(signal.SIGTERM)
    said = ended(daemon)
    assert (said.code, SECRET in said.out) == (0, False)


def test_a_daemon_logs_what_libraries_say_as_it_logs_its_own(bare: Cli, start_daemon: Daemon) -> None:
    bare.configure(database={"url": NOWHERE}, membership=[{"id": NOBODY, "region": "us-east-1"}])
    library = (
        "import logging, threading, time\ndef speak():\n  while True: time.sleep(0.1); logging.warning('odd')\n"
    )
    (bare.folder / "sitecustomize.py").write_text(f"{library}threading.Thread(target=speak, daemon=True).start()")
    path = os.pathsep.join(filter(None, (str(bare.folder), os.environ.get("PYTHONPATH"))))
    assert told(start_daemon(bare, PYTHONPATH=path), "odd")["level"] == "warning"


def test_a_daemon_has_nothing_to_do_without_a_membership(bare: Cli) -> None:
    said = bare.run("daemon")
    assert (said.code, said.out, len(said.complaints)) == (2, "", 1)
    assert "no membership is configured" in said.err


def test_a_daemon_that_can_have_no_private_postgres_says_so_and_ends(bare: Cli) -> None:
    (bare.folder / "file").touch()
    bare.configure(membership=[{"id": NOBODY, "region": "us-east-1"}])
    said = bare.run("daemon", ETL_HOME="file")
    assert (said.code, said.out, len(said.complaints)) == (3, "", 1)
    assert "set database.url" in said.err


# The configuration


def test_the_file_is_the_one_named_else_the_environments_else_the_folders(bare: Cli) -> None:
    for number, name in enumerate(("etl.toml", "environ.toml", "named.toml")):
        url = NOWHERE.removesuffix("etl") + str(number)
        (bare.folder / name).write_text(as_toml({"database": {"url": url}}))

    started = [
        bare.start("db", "url"),
        bare.start("db", "url", ETL_CONFIG="environ.toml"),
        bare.start("db", "url", "--config", "named.toml", ETL_CONFIG="environ.toml"),
        bare.start("db", "url", "--config", "named.toml", ETL_DATABASE_URL="postgresql://x@127.0.0.1/3"),
    ]
    assert [said.out.strip().rpartition("/")[2] for said in map(ended, started)] == ["0", "1", "2", "3"]


def test_without_a_configuration_it_says_what_to_write(bare: Cli) -> None:
    said = bare.run("sync")
    assert (said.code, said.out) == (2, "")
    assert said.complaints == [
        "etl: etl.toml: there is no such file, and no membership is configured: name another file with --config"
    ]


def test_a_named_file_that_is_not_there_is_an_error(bare: Cli) -> None:
    said = bare.run("status", "--config", "nowhere.toml")
    assert (said.code, len(said.complaints)) == (2, 1)
    assert said.err.startswith("etl: nowhere.toml: cannot be read: ")


def test_everything_wrong_with_a_configuration_is_said_at_once_each_in_a_line(bare: Cli) -> None:
    bare.configure(
        database={"url": f"mysql://etl:{SECRET}@host/etl"},
        aws={"page_size": 101, "endpiont_url": "x"},
        membership=[{"id": "not an id", "region": "us-east-1"}],
    )
    said = bare.run("sync")
    assert said.code == 2
    assert len(said.complaints) == 4
    assert all(line.startswith("etl: etl.toml: ") for line in said.complaints)
    assert "did you mean endpoint_url?" in said.err
    assert SECRET not in said.err


def test_a_wrong_option_is_a_usage_error(bare: Cli) -> None:
    said = bare.run("sync", "--fulll")
    assert said.code == 2
    assert "No such option" in said.err


# The database


@pytest.mark.parametrize("command", ["sync", "status", "db upgrade"])
def test_an_unreachable_database_is_one_line_without_the_password(bare: Cli, command: str) -> None:
    bare.configure(database={"url": NOWHERE}, membership=[{"id": NOBODY, "region": "us-east-1"}])
    said = bare.run(*command.split())
    assert (said.code, said.out) == (3, "")
    (complaint,) = said.complaints
    assert complaint.startswith("etl: cannot reach the database postgresql://etl:***@127.0.0.1:1/etl: ")
    assert SECRET not in complaint


@pytest.mark.parametrize(
    ("url", "code", "complaint"),
    [
        (f"postgresql://etl:{SECRET}@host:port/etl", 2, "cannot be read"),
        (f"postgresql://etl:{SECRET}", 2, "cannot be read"),
        (f"postgresql://etl:a@{SECRET}@host/etl", 2, "write that of a password as %40"),
        (
            f"postgresql://etl@127.0.0.1:1/etl?password={SECRET}",
            3,
            "cannot reach the database postgresql://etl:***@",
        ),
        (f"postgresql://etl:{SECRET}@127.0.0.1/etl?sslmod=1", 2, "does not know: did you mean sslmode?"),
        (f"postgresql://etl:pa@ss?{SECRET}@db/etl?x=y&sslmode=verify-full", 2, "as %40 or %3F"),
        (f"postgresql://etl:pa@ss?{SECRET}=x@db/etl&sslmode=verify-full", 2, "as %40 or %3F"),
    ],
)
def test_a_database_url_that_is_no_good_is_one_line_without_the_password(
    bare: Cli, url: str, code: int, complaint: str
) -> None:
    bare.configure(database={"url": url})
    said = bare.run("status")
    assert (said.code, len(said.complaints)) == (code, 1)
    assert complaint in said.err
    assert SECRET not in said.err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["sync", "--help"]])
def test_a_full_disk_is_one_line(bare: Cli, words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        said = ended(bare.start(*words, stdout=full, PYTHONUNBUFFERED=""))
    assert (said.code, len(said.complaints)) == (1, 1)
    assert "No space left on device" in said.err


def test_a_database_that_takes_no_writes_is_refused_before_anything_is_asked_of_aws(
    cli: Cli, make_etl: MakeEtl, endpoint: Endpoint
) -> None:
    etl = make_etl()
    name = database.parse(etl.config.database.address()).database
    etl.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    said = cli.run("sync")
    assert (said.code, said.out, len(said.complaints)) == (3, "", 1)
    assert "the database is read-only" in said.err
    assert endpoint.requests == []


@pytest.mark.parametrize("command", ["sync", "status", "verify"])
def test_a_database_that_is_not_migrated_is_refused_with_the_command_to_run(
    configure: Configure, empty_database_url: str, membership: Membership, command: str
) -> None:
    said = configure(database={"url": empty_database_url}).run(command)
    assert membership
    assert (said.code, said.out) == (3, "")
    assert said.complaints == ["etl: the database is not migrated: run `etl db upgrade`"]


@pytest.mark.parametrize(
    ("command", "revision", "way_out"),
    [
        ("sync", "0000", "run `etl db upgrade`"),
        ("sync", "9999", "install that release here too"),
        ("status", "9999", "install that release here too"),
        ("verify", "0000", "run `etl db upgrade`"),
    ],
)
def test_a_database_of_another_release_is_refused_with_the_command_to_run(
    cli: Cli, make_etl: MakeEtl, command: str, revision: str, way_out: str
) -> None:
    set_revision(make_etl(), revision)
    said = cli.run(command)
    assert (said.code, said.out, len(said.complaints)) == (3, "", 1)
    assert revision in said.err
    assert way_out in said.err


def set_revision(etl: Etl, revision: str) -> None:
    etl.execute("UPDATE cleanrooms_etl.alembic_version SET version_num = :revision", revision=revision)


def test_a_database_that_fails_midway_fails_the_membership(
    cli: Cli, make_etl: MakeEtl, world: World, membership: Membership
) -> None:
    world.create_job(membership)
    make_etl().execute("ALTER TABLE cleanrooms_etl.inference_job ADD CONSTRAINT no CHECK (false)")
    said = cli.run("sync")
    assert (said.code, said.objects[0]["outcome"]) == (1, "failed")
    assert said.objects[0]["error_class"] == "CheckViolation"
    assert len(said.complaints) == 1


# status


def test_status_shows_each_membership_and_that_it_is_fresh(
    cli: Cli, make_etl: MakeEtl, membership: Membership
) -> None:
    make_etl().sync()
    said = cli.run("status")
    (row,) = said.objects
    assert (row["table"], row["membership_id"], row["state"]) == ("freshness", membership.id, "ok")
    assert row["expected_seconds"] == 900
    assert said.code == 0
    table = cli.run("status", "--text").out
    assert membership.id in table
    assert " ok " in table


def test_status_fails_while_a_membership_is_late(cli: Cli, make_etl: MakeEtl) -> None:
    etl = make_etl()
    etl.sync()
    etl.execute(
        "UPDATE cleanrooms_etl.membership"
        " SET listed_at = now() - interval '1 hour', open_listed_at = now() - interval '1 hour'"
    )
    said = cli.run("status")
    assert (said.code, said.objects[0]["state"]) == (1, "late")
    [complaint] = said.complaints
    assert complaint.endswith(": late: a listing is expected every 900 s: does a daemon or cron run?")


@pytest.mark.parametrize(("syncs_before", "state"), [(0, "never"), (1, "failing")])
def test_status_fails_while_a_membership_fails_and_says_why(
    cli: Cli, make_etl: MakeEtl, endpoint: Endpoint, syncs_before: int, state: str
) -> None:
    etl = make_etl()
    for _ in range(syncs_before):
        etl.sync()
    endpoint.on(LIST, answers.error("ValidationException", message="Not so."))
    etl.sync()
    said = cli.run("status")
    assert (said.code, said.objects[0]["state"]) == (1, state)
    assert said.objects[0]["last_error"] == "Not so."
    [complaint] = said.complaints
    assert complaint.startswith(f"etl: {said.objects[0]['membership_id']}: ValidationException: Not so. (a daemon")


def test_status_fails_while_a_configured_membership_was_never_synced(
    configure: Configure, make_etl: MakeEtl, world: World, membership: Membership
) -> None:
    make_etl().sync()
    other = world.add_membership()
    said = configure().run("status")
    assert said.code == 1
    assert [row["membership_id"] for row in said.objects] == [membership.id]
    assert said.complaints == [
        f"etl: {other.id}: configured, and not tracked yet, or no longer by another file: run `etl sync`"
    ]


def test_status_without_any_membership_says_so(configure: Configure) -> None:
    said = configure(membership=None).run("status")
    assert (said.code, said.out) == (2, "")
    assert said.complaints == [
        "etl: etl.toml: no membership is configured: add [[membership]] with its id and region"
    ]


def test_a_membership_taken_out_of_the_configuration_is_no_longer_shown(
    configure: Configure, make_etl: MakeEtl, world: World, three: list[str]
) -> None:
    make_etl().sweep()
    del world.memberships[three[0]]
    cli = configure()
    cli.run("sync")
    said = cli.run("status")
    assert said.code == 0
    assert {row["membership_id"] for row in said.objects} == set(three[1:])


# verify


def test_verify_says_that_nothing_is_wrong_and_what_is(
    cli: Cli, make_etl: MakeEtl, world: World, membership: Membership
) -> None:
    etl = make_etl()
    world.create_job(membership)
    etl.sync()
    said = cli.run("verify")
    assert (said.code, {row["broken"] for row in said.objects}) == (0, {0})
    etl.execute("UPDATE cleanrooms_etl.sync_run SET transitions = 7")
    said = cli.run("verify")
    broken = {row["check"]: (row["broken"], row["examples"]) for row in said.objects if row["broken"]}
    assert (said.code, broken) == (1, {"counted_transitions": (1, ["run 1"])})
    assert "run 1" in cli.run("verify", "--text").out


# db


def test_upgrade_migrates_and_repeated_changes_nothing(bare: Cli, empty_database_url: str) -> None:
    bare.configure(database={"url": empty_database_url})
    current = bare.run("db", "current")
    assert (current.code, current.objects) == (3, [{"revision": None, "needed": tables.REVISION}])
    first, second = bare.run("db", "upgrade"), bare.run("db", "upgrade", "--text")
    assert (first.code, first.objects) == (0, [{"before": None, "after": tables.REVISION}])
    assert (second.code, second.out) == (0, f"already at revision {tables.REVISION}\n")
    current = bare.run("db", "current", "--text")
    assert (current.code, current.out, current.err) == (0, f"{tables.REVISION}\n", "")


def test_upgrades_at_once_all_succeed(bare: Cli, empty_database_url: str) -> None:
    bare.configure(database={"url": empty_database_url})
    started = [bare.start("db", "upgrade") for _ in range(3)]
    assert [(said.code, said.err) for said in map(ended, started)] == [(0, "")] * 3
    assert bare.run("db", "current").code == 0


@pytest.mark.parametrize("command", ["upgrade", "current"])
def test_a_schema_of_a_newer_release_is_left_alone(cli: Cli, make_etl: MakeEtl, command: str) -> None:
    set_revision(make_etl(), "9999")
    said = cli.run("db", command)
    assert said.code == 3
    assert "9999 by a newer release" in said.err


@pytest.mark.parametrize("parameter", ["sslpassword", "oauth_client_secret", "scram_client_key"])
def test_no_other_secret_of_a_url_is_shown_or_handed_to_psql(bare: Cli, parameter: str) -> None:
    bare.configure(database={"url": f"postgresql://etl@host/db?sslmode=verify-full&{parameter}={SECRET}"})
    url, psql = bare.run("db", "url"), bare.run("db", "psql")
    assert (url.code, psql.code) == (0, 2)
    assert f"{parameter}=%2A%2A%2A" in url.out
    assert f"database.url has {parameter}" in psql.err
    assert SECRET not in url.out + url.err + psql.out + psql.err


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://etl:{SECRET}@host/db?sslmode=verify-full",
        f"postgresql+psycopg://etl:{SECRET}@host/db?sslmode=verify-full",
        f"postgresql://etl@host/db?password={SECRET}&sslmode=verify-full",
    ],
)
def test_the_password_of_a_configured_url_is_masked(bare: Cli, url: str) -> None:
    bare.configure(database={"url": url})
    said = bare.run("db", "url")
    assert (said.code, said.out) == (0, "postgresql://etl:***@host/db?sslmode=verify-full\n")


def test_the_password_of_a_configured_url_is_shown_when_asked_for(bare: Cli) -> None:
    url = f"postgresql://etl:{SECRET}@host/db?sslmode=verify-full"
    bare.configure(database={"url": url})
    assert bare.run("db", "url", "--show-password", "--json").objects == [{"url": url}]


def test_psql_is_handed_its_own_arguments_and_the_database(cli: Cli) -> None:
    said = cli.run("db", "psql", "--", "-At", "-c", "SELECT count(*) FROM cleanrooms.inference_jobs")
    assert (said.code, said.out) == (0, "0\n")
    assert cli.run("db", "psql", "--", "-c", "SELECT nonsense").code == 1


def test_psql_gets_the_password_where_nobody_else_can_read_it(cli: Cli, database_url: str) -> None:
    said = cli.run("db", "psql", "--", "-c", r"\! ps -ww -o args= -p $PPID")
    password = database.parse(database_url).password
    assert password
    assert "psql postgresql://etl@127.0.0.1" in said.out
    assert str(password) not in said.out


def test_start_and_stop_serve_the_private_postgres_only(cli: Cli) -> None:
    for said in map(ended, [cli.start("db", "start"), cli.start("db", "stop")]):
        assert (said.code, len(said.complaints)) == (2, 1)
        assert "database.url is set" in said.err


# The private local Postgres


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder for the private Postgres, for all tests that want one."""
    folder = Path(tempfile.mkdtemp(prefix="etl-cli-"))
    folder.chmod(0o711)  # as root the server runs as another user, who must get in
    yield folder / "home"
    LocalPostgres(folder / "home").stop()
    shutil.rmtree(folder)


@pytest.fixture
def private(configure: Configure, home: Path, membership: Membership) -> Cli:
    """Configured for one membership, and without a database."""
    assert membership
    return Cli(configure(database=None).folder, home)


def test_without_a_url_sync_starts_and_migrates_the_private_postgres(
    private: Cli, world: World, membership: Membership
) -> None:
    world.create_job(membership)
    (report,) = private.run("sync").objects
    assert (report["outcome"], report["jobs_new"]) == ("complete", 1)
    assert private.run("status").code == 0
    assert private.run("verify").code == 0


def test_without_a_url_it_is_told_whose_database_was_changed(private: Cli) -> None:
    where = f" (the private Postgres in {private.home})"
    private.run("db", "upgrade")
    assert private.run("db", "upgrade", "--text").out == f"already at revision {tables.REVISION}{where}\n"
    assert private.run("db", "grant", "analyst", "--text").out.splitlines()[-1] == f"analyst is a reader{where}"


def test_without_a_url_a_daemon_starts_and_migrates_the_private_postgres(
    private: Cli, start_daemon: Daemon, membership: Membership
) -> None:
    private.run("db", "stop")
    daemon = start_daemon(private)
    assert told(daemon, "synced")["membership"] == membership.id


def test_the_url_of_the_private_postgres_is_a_line_that_opens_it(private: Cli) -> None:
    said = private.run("db", "url")
    assert (said.code, said.out.count("\n")) == (0, 1)
    with database.connect(said.out.strip()) as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_the_private_postgres_can_be_stopped_and_started_and_keeps_its_data(
    private: Cli, world: World, membership: Membership
) -> None:
    world.create_job(membership)
    private.run("sync")
    assert private.run("db", "stop", "--text").out == "stopped\n"
    assert private.run("db", "stop").objects == [{"stopped": False}]
    assert private.run("db", "start", "--text").out == private.run("db", "url").out
    query = f"SELECT count(*) FROM cleanrooms.inference_jobs WHERE membership_id = '{membership.id}'"  # noqa: S608 - our own words
    assert private.run("db", "psql", "--", "-At", "-c", query).out == "1\n"


def test_the_private_postgres_of_a_newer_release_is_left_alone(private: Cli) -> None:
    private.run("db", "upgrade")
    url = private.run("db", "url").out.strip()
    move = "UPDATE cleanrooms_etl.alembic_version SET version_num = :revision"
    with database.connect(url) as connection:
        connection.execute(text(move), {"revision": "9999"})
        connection.commit()
        said = private.run("sync")
        connection.execute(text(move), {"revision": tables.REVISION})
        connection.commit()
    assert said.code == 3
    assert "9999 by a newer release" in said.err


def test_a_private_postgres_that_cannot_start_is_one_line(bare: Cli, home: Path) -> None:
    in_the_way = home.with_name("file")
    in_the_way.touch()
    said = Cli(bare.folder, in_the_way).run("db", "start")
    assert (said.code, said.out, len(said.complaints)) == (3, "", 1)
    assert str(in_the_way) in said.err


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_takes_a_configuration(bare: Cli, command: str) -> None:
    said = bare.run(*command.split(), "--help")
    assert said.code == 0
    assert said.out.startswith(f"Usage: etl {command} ")
    for option in ("--config", "--help", "--json"):
        assert option in said.out


def test_the_list_of_commands_is_whole(bare: Cli) -> None:
    listed = {
        *commands_of(bare.run("--help").out),
        *(f"db {name}" for name in commands_of(bare.run("db", "--help").out)),
    }
    assert listed - {"db"} == set(COMMANDS)


def commands_of(help_text: str) -> list[str]:
    return re.findall(r"^  ([a-z]+) ", help_text.partition("Commands:")[2], re.MULTILINE)


@pytest.mark.parametrize(
    "words", [["--help"], ["sync", "--help"], ["daemon", "--help"], ["db", "--help"], ["--version"]]
)
def test_help_waits_for_nothing_heavy(bare: Cli, words: list[str]) -> None:
    said = bare.run(*words, program=[sys.executable, "-X", "importtime", "-m", "etl"])
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in said.complaints}
    assert "click" in imported
    heavy = {"alembic", "apscheduler", "boto3", "botocore", "prometheus_client", "psycopg", "pydantic", "rich"}
    assert not imported & (heavy | {"sqlalchemy", "structlog"})


def test_the_script_is_the_module(bare: Cli) -> None:
    script = Path(sys.executable).with_name("etl")
    assert bare.run("--help", program=[str(script)]) == bare.run("--help")
    assert bare.run("sync", program=[str(script)]).code == 2
