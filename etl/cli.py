"""The command line: words to functions, exit codes, signals."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from etl.console import Console

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from etl.config import Config
    from etl.local_postgres import LocalPostgres
    from etl.sync import Progress, SyncReport

# Each command imports what it needs when it runs, so that `etl --help` answers at once.
# ruff: noqa: PLC0415

EXIT_TROUBLE = 1
EXIT_CONFIGURATION = 2
EXIT_DATABASE = 3

_STOPS = (signal.SIGINT, signal.SIGTERM)

# What fits on a terminal, with the errors below it; programs get it all.
_FRESHNESS = ("membership_id", "region", "state", "last_complete_at", "age_seconds", "consecutive_failures")

F = TypeVar("F", bound=Callable[..., Any])


class _Etl(click.Group):
    """The command group: whatever a user can cause ends in one clear line and its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # click's own: --help, a wrong option, Ctrl-C
        except Exception as error:
            if trouble := _trouble(error):
                _fail(*trouble)
            raise


def _fail(message: str, code: int) -> NoReturn:
    Console(as_json=False).complain(message)
    sys.exit(code)


def _trouble(error: Exception) -> tuple[str, int] | None:
    """Say what a user can mend, with its exit code; None if the error is a fault of this program."""
    from sqlalchemy.exc import DBAPIError

    from etl.config import ConfigError
    from etl.database import DatabaseError, reason
    from etl.local_postgres import LocalPostgresError

    match error:
        case ConfigError():
            return str(error), EXIT_CONFIGURATION
        case DatabaseError() | LocalPostgresError():
            return str(error), EXIT_DATABASE
        case BrokenPipeError():
            return None  # whoever read our output has had enough: click ends quietly
        case OSError():  # standard output, for one, on a full disk
            return f"the system refused: {error}", EXIT_TROUBLE
        case DBAPIError():
            return f"the database failed: {reason(error)}", EXIT_DATABASE
        case _:
            return None


def _common(command: F) -> F:
    """Give a command the options that every command has."""
    command = click.option(
        "--json/--text", "as_json", default=None, help="JSON lines or text. [default: text on a terminal]"
    )(command)
    return click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help="Configuration file. [default: $ETL_CONFIG, else ./etl.toml]",
    )(command)


@click.group(cls=_Etl, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="cleanroomsml-etl")
def main() -> None:
    """Keep the status history of AWS Clean Rooms ML inference jobs in Postgres.

    AWS shows each trained model inference job's present status only. `etl sync` lists the jobs of every
    configured membership and records what changed, so that plain SQL answers what ran when, for how long,
    and what failed.

    \b
    Look around:            etl demo
    Sync once (cron):       etl sync
    Is the data fresh?      etl status
    Query it:               etl db psql

    Exit codes: 0 all well, 1 something failed or is late, 2 configuration, 3 database.
    """  # noqa: D301 - click's own mark, a real backspace: the lines behind it stay lines


@main.command()
@_common
@click.option("--membership", "ids", multiple=True, metavar="ID", help="Sync this membership only; repeatable.")
@click.option("--full", is_flag=True, help="Ask for complete listings (as every sync is today).")
def sync(file: Path | None, as_json: bool | None, ids: tuple[str, ...], full: bool) -> None:
    """Sync the configured memberships once.

    Prints a line for each membership. Exits with 0 if all were synced, or are just being synced by another
    worker (busy); with 1 if any was not, or not wholly. Ctrl-C stops at the next page and keeps what was read.
    """
    del full  # every listing is complete so far
    from etl.config import ConfigError
    from etl.sweep import register, sweep

    config = _configuration(file)
    if not config.memberships:
        raise ConfigError(["no membership is configured: add [[membership]] with its id and region to the file"])
    memberships = config.only(ids)
    config = _with_database(config)
    console = Console(as_json=as_json)
    register(config)
    are_fine = True
    with (
        _stop_on_signal() as stop,
        console.progress() as advance,
        ThreadPoolExecutor(config.aws.max_concurrency) as executor,
    ):
        for report in sweep(config, memberships, executor, _watcher(stop, advance)):
            _show_report(console, report)
            are_fine &= report.is_fine
    sys.exit(0 if are_fine else EXIT_TROUBLE)


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event that the work looks at; a second signal ends the process at once."""
    stop = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        stop.set()
        for number in _STOPS:
            signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, ask) for number in _STOPS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watcher(stop: threading.Event, advance: Callable[[str, int, int], None]) -> "Callable[[Progress], None]":
    from etl.sync import StoppedError

    def watch(progress: "Progress") -> None:
        if stop.is_set():
            raise StoppedError
        advance(progress.membership_id, progress.jobs_listed, progress.expected_jobs)

    return watch


def _show_report(console: Console, report: "SyncReport") -> None:
    counts = report.counts
    shown = (
        f"{report.membership_id}  {report.outcome:<8}  {counts.pages:,} page{'s' * (counts.pages != 1)}"
        f"  {counts.jobs_listed:,} listed"
        f"  {counts.jobs_new:,} new  {counts.jobs_changed:,} changed  {counts.transitions:,} transitions"
        f"  {counts.jobs_unchanged:,} unchanged"
    )
    for label, number in (
        ("stale", counts.jobs_stale),
        ("set aside", counts.jobs_rejected),
        ("no longer listed", counts.jobs_absent),
    ):
        shown += f"  {number:,} {label}" if number else ""
    for unknown, number in counts.unknown_statuses.items():
        shown += f"  {number:,} of unknown status {unknown}"
    fields = {**vars(report), **vars(counts), "seconds": round(report.seconds, 3)}
    del fields["counts"]
    console.say(f"{shown}  {report.seconds:.1f} s", **fields)
    if report.error:
        console.complain(f"{report.membership_id}: {report.error_class}: {report.error}")


@main.command()
@_common
def status(file: Path | None, as_json: bool | None) -> None:
    """Show how fresh each membership is.

    Exits with 1 if one is late, failing or was never synced: fit for a cron monitor.
    """
    from sqlalchemy import text

    console = Console(as_json=as_json)
    config = _configuration(file)
    with _connected(_with_database(config)) as connection:
        rows = connection.execute(text("SELECT * FROM cleanrooms.sync_freshness ORDER BY region, membership_id"))
        freshness = [dict(row) for row in rows.mappings()]
    known = {row["membership_id"] for row in freshness}
    unknown = [membership.id for membership in config.memberships if membership.id not in known]
    if freshness:
        console.table("freshness", freshness, list(freshness[0]) if console.as_json else _FRESHNESS)
    for row in freshness:
        if row["last_error"]:
            console.complain(f"{row['membership_id']}: {row['last_error_class']}: {row['last_error']}")
    for membership_id in unknown:
        console.complain(f"{membership_id}: configured, and not synced yet: run `etl sync`")
    if not known and not unknown:
        console.complain("no membership is known yet: run `etl sync`")
    are_fresh = known and not unknown and all(row["state"] == "ok" for row in freshness)
    sys.exit(0 if are_fresh else EXIT_TROUBLE)


@main.command()
@_common
def verify(file: Path | None, as_json: bool | None) -> None:
    """Re-check every invariant of the stored history.

    Reads all of it, in one snapshot, and changes nothing. Exits with 1 if an invariant is broken.
    """
    from etl.verify import findings

    with _connected(_with_database(_configuration(file))) as connection:
        found = findings(connection)
    rows = [
        {
            "check": finding.check.name,
            "rule": finding.check.rule,
            "broken": finding.broken,
            "examples": finding.examples,
        }
        for finding in found
    ]
    Console(as_json=as_json).table("verify", rows, ["check", "rule", "broken", "examples"])
    sys.exit(EXIT_TROUBLE if any(finding.broken for finding in found) else 0)


@main.command()
@_common
def demo(file: Path | None, as_json: bool | None) -> None:
    """Show it all on a simulated AWS, from nothing.

    Starts the private local Postgres, makes the database `demo` in it (a former one is dropped), lets a
    simulated Clean Rooms ML move through several hours of jobs, syncs after each stretch, and prints what the
    views show. The database stays up to be queried.
    """
    del file  # a world of its own, whatever is configured
    try:
        from etl import tour
    except ImportError as error:
        _fail(f"{error.name} is not installed: install etl with its extra `demo`", EXIT_TROUBLE)

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]  # a profile or a region of yours has no place in it
    os.environ.update(tour.CREDENTIALS, AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    program = sys.argv[0] if Path(sys.argv[0]).name == "etl" else "python -m etl"
    tour.run(_local().start(), Console(as_json=as_json), program)


@main.group()
def db() -> None:
    """Migrate the database, connect to it, run the private local one."""


@db.command()
@_common
def upgrade(file: Path | None, as_json: bool | None) -> None:
    """Bring the schema to this release's revision. Safe to repeat, and to run twice at once."""
    from etl import database

    config = _configuration(file)
    address = _address(config)
    with database.connect(address) as connection:
        before = database.current_revision(connection)
        database.upgrade(connection)
        after = database.current_revision(connection)
    said = f"already at revision {after}" if before == after else f"migrated from {before or 'nothing'} to {after}"
    Console(as_json=as_json).say(said, before=before, after=after)


@db.command()
@_common
def current(file: Path | None, as_json: bool | None) -> None:
    """Show the schema's revision. Exits with 3 if this release cannot work with it."""
    from etl import database, tables

    config = _configuration(file)
    address = _address(config)
    with database.connect(address) as connection:
        revision = database.current_revision(connection)
        Console(as_json=as_json).say(revision or "none", revision=revision, needed=tables.REVISION)
        database.check_revision(connection)


@db.command()
@_common
@click.option("--show-password", is_flag=True, help="Do not mask the password of a configured URL.")
def url(file: Path | None, as_json: bool | None, show_password: bool) -> None:
    """Print the URL to connect to, for psql or a BI tool.

    A plain line unless --json is given, so that `psql "$(etl db url)"` works. The password of a URL that you
    configured is masked; the private local Postgres's own is shown, since nothing else knows it.
    """
    from etl import database

    config = _configuration(file)
    if config.database.url is None:
        shown = _local().start()
    else:
        address = database.parse(config.database.address()).set(drivername="postgresql")
        if "sslpassword" in address.query and not show_password:
            address = address.update_query_dict({"sslpassword": "***"})
        shown = address.render_as_string(hide_password=not show_password)
    Console(as_json=bool(as_json)).say(shown, url=shown)


@db.command(context_settings={"ignore_unknown_options": True})
@_common
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(file: Path | None, as_json: bool | None, arguments: tuple[str, ...]) -> None:
    """Open psql on the database; ARGUMENTS are psql's own, behind --."""
    del as_json  # psql talks for itself
    from etl import database

    configured = _configuration(file)
    config = _with_database(configured)
    # The private server's own psql is of its version, but has no TLS.
    program = (configured.database.url and which("psql")) or _local().psql()
    if program is None:
        _fail("psql is not installed; any other client can use `etl db url`", EXIT_TROUBLE)
    address = database.parse(config.database.address())
    environment = dict(os.environ)
    if address.password:  # not on the command line, where every user of the machine could read it
        environment["PGPASSWORD"] = str(address.password)
    shown = address._replace(drivername="postgresql", password=None).render_as_string()
    os.execve(program, [str(program), shown, *arguments], environment)  # noqa: S606 - a program we looked up


@db.command()
@_common
def start(file: Path | None, as_json: bool | None) -> None:
    """Start the private local Postgres, and print its URL."""
    _refuse_configured_database(_configuration(file))
    address = _local().start()
    Console(as_json=as_json).say(address, url=address)


@db.command()
@_common
def stop(file: Path | None, as_json: bool | None) -> None:
    """Stop the private local Postgres. Its data stay."""
    _refuse_configured_database(_configuration(file))
    was_running = _local().stop()
    Console(as_json=as_json).say("stopped" if was_running else "was not running", stopped=was_running)


def _refuse_configured_database(config: "Config") -> None:
    from etl.config import ConfigError

    if config.database.url is not None:
        raise ConfigError(["database.url is set: start and stop serve the private local Postgres only"])


def _configuration(file: Path | None) -> "Config":
    from etl.config import load

    return load(file, os.environ)


def _address(config: "Config") -> str:
    """Return the URL of the database: where none is set, that of the private local Postgres, which is started."""
    return config.database.address() if config.database.url else _local().start()


def _local() -> "LocalPostgres":
    from etl.local_postgres import LocalPostgres

    return LocalPostgres.from_environ(os.environ)


def _with_database(config: "Config") -> "Config":
    """Return the configuration with a database URL: where none is set, that of the private local Postgres.

    That one alone is started and migrated by itself.
    """
    from pydantic import SecretStr

    from etl import database, tables
    from etl.config import Database

    if config.database.url is not None:
        return config
    address = _address(config)
    with database.connect(address) as connection:
        if (database.current_revision(connection) or "") < tables.REVISION:
            database.upgrade(connection)
    return config.model_copy(update={"database": Database(url=SecretStr(address))})


@contextmanager
def _connected(config: "Config") -> "Iterator[Connection]":
    from etl import database

    with database.connect(config.database.address()) as connection:
        database.check_revision(connection)
        yield connection
