"""Where the time of a sync goes: samples of the client by stage, and the server's statements.

    python -m benchmarks.profile --py-spy .../bin/py-spy

py-spy samples who holds the interpreter, 400 times a second: what waits is not counted. pg_stat_statements tells
the time of each statement, waits included, and of the queries that check foreign keys.
"""

import re
import subprocess
from collections import Counter
from contextlib import ExitStack

import click
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.contestants import OURS, Target
from benchmarks.measuring import environment
from benchmarks.scenes import Bench
from benchmarks.server import running
from benchmarks.service import Shape, served

# The first whose pattern is found in a stack has the sample. Who calls others is in their stacks, too: of such a
# room only the functions that do the work are named.
STAGES = {
    "start-up: Python": r"^process [^;]*$",
    "start-up: imports": r"_find_and_load|_load_unlocked|_compile_bytecode",
    "start-up: client, configuration": r"create_client|loaders\.py|boto(core|3)/session|etl/config",
    "HTTP": r"botocore/httpsession|urllib3/|http/client",
    "signing": r"botocore/(auth|signers|credentials)",
    "splitting pages": r"etl/wire",
    "boto3 besides": r"botocore/|etl/(calls|clients|onward|pace|source)",
    "digests": r"digests? \(etl/",
    "lookup of digests": r"by_digest \(etl/",
    "COPY": r"etl/staging|psycopg/_copy",
    "decoding": r"etl/jobs|(decode|look_at_order) \(etl/batches",
    "settle": r"settle \(etl/store",
    "counting hours and weeks": r"etl/rollups",
    "rest": "",
}

STATEMENTS = """
SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 90), calls, total_exec_time
FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 12"""


def stages(stacks: str) -> Counter[str]:
    """Count the samples of each stage in what py-spy writes: a line a stack, its samples last."""
    counted: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, samples = line.rpartition(" ")
        counted[next(name for name, pattern in STAGES.items() if re.search(pattern, stack))] += int(samples)
    return counted


def _sampled(py_spy: str, target: Target) -> str:
    """Run a sync under py-spy and return its stacks."""
    file = target.folder / "stacks"
    words = ["record", "--gil", "--subprocesses", "--format", "raw", "--rate", "400", "--output", str(file), "--"]
    subprocess.run([py_spy, *words, *OURS.command(target)], env=environment(), check=True, capture_output=True)  # noqa: S603 - our own words
    return file.read_text()


def _tables(state: str, py_spy: str, target: Target) -> list[Table]:
    with psycopg.connect(target.database, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_statements_reset()")
        counted = stages(_sampled(py_spy, target))
        statements = connection.execute(STATEMENTS.encode()).fetchall()
    client = Table(f"{state}: client", "samples", "%", header_style="")
    for stage in STAGES:
        client.add_row(stage, f"{counted[stage]:,}", f"{100 * counted[stage] / counted.total():.1f}")
    server = Table(f"{state}: server", "calls", "ms", header_style="")
    for query, calls, milliseconds in statements:
        server.add_row(query, f"{calls:,}", f"{milliseconds:,.0f}")
    return [client, server]


@click.command()
@click.option("--py-spy", required=True, help="The program, installed wherever you like.")
@click.option("--jobs", default=100_000, show_default=True)
def main(py_spy: str, jobs: int) -> None:
    """Profile a first and an unchanged sync."""
    console = Console(width=140)
    with ExitStack() as stack:
        settings = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "all"}
        server = stack.enter_context(running(**settings))
        service = stack.enter_context(served(Shape(jobs)))
        target = stack.enter_context(Bench(server, rounds=1, jobs=jobs, peers=()).target(service))
        with psycopg.connect(target.database, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
        for state in ("first", "unchanged"):
            console.print(*_tables(state, py_spy, target))


if __name__ == "__main__":
    main()
