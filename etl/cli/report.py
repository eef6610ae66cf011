"""`etl report`: a page to look at, from the views alone, in one file that needs nothing else."""

import sys
from pathlib import Path

import click

from etl.cli.configuration import configuration, with_database
from etl.cli.errors import EXIT_CONFIGURATION, EXIT_DATABASE, EXIT_TROUBLE, fail
from etl.cli.options import with_options
from etl.console import Console

# What `etl --help` need not wait for is imported when the command runs.
# ruff: noqa: PLC0415

_STDOUT = Path("-")


@click.command()
@with_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    metavar="FILE",
    help="File to write, - for standard output. [default: report.html]",
)
@click.option("--days", type=int, metavar="N", help="The last N days and today. [default: 30]")
@click.option("--since", metavar="DATE", help="First moment, in ISO 8601: 2026-01-31 or 2026-01-31T12:00Z.")
@click.option("--until", metavar="DATE", help="Moment after the last one. [default: now]")
@click.option("--membership", "ids", multiple=True, metavar="ID", help="Only this membership; repeatable.")
def report(  # noqa: PLR0913,PLR0917 - one for each option
    file: Path | None,
    as_json: bool | None,
    out: Path,
    days: int | None,
    since: str | None,
    until: str | None,
    ids: tuple[str, ...],
) -> None:
    """Write a page with charts and tables of a period.

    One HTML file that asks no network for anything. All is read from the views of schema `cleanrooms` in one
    snapshot, so a role that may read these is enough. The period is rounded out to whole hours; times without an
    offset are in UTC.
    """
    from etl import database
    from etl.report.facts import TooSlowError, UnknownMembershipError, UnreadableError, read
    from etl.report.period import PeriodError, asked

    try:
        from etl.report.page import render
    except ImportError as error:
        missing = str(error.name).partition(".")[0]
        fail(f"{missing} is not installed: install etl with its extra `report`", EXIT_TROUBLE)
    try:
        wanted = asked(since, until, days)
        config = with_database(configuration(file))
        with database.connect(config.database.address()) as connection:
            facts = read(connection, wanted, ids)
    except (PeriodError, UnknownMembershipError) as error:
        fail(str(error), EXIT_CONFIGURATION)
    except (TooSlowError, UnreadableError) as error:
        fail(str(error), EXIT_DATABASE)
    _deliver(render(facts), out, Console(as_json=as_json))


def _deliver(page: str, out: Path, console: Console) -> None:
    from etl.report.file import write

    if out == _STDOUT:
        sys.stdout.buffer.write(page.encode())
        return
    try:
        size = write(page, out)
    except OSError as error:
        fail(f"cannot write {out}: {error.strerror}: name another file with --out", EXIT_TROUBLE)
    console.say(f"wrote {out}, {size / 1e6:.1f} MB: open it in a browser", file=str(out), bytes=size)
