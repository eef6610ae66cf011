"""One run of a whole process: what it took, and what it left behind in the database."""

import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from benchmarks.contestants import Command, Contestant, Target
from benchmarks.server import Server
from benchmarks.service import Service

LAUNCH = Path(__file__).with_name("launch.py")

# Nothing of the operator's own: the keys are nobody's, and no instance is asked for others. Nobody calls home.
ENVIRON = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_EC2_METADATA_DISABLED": "true",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "DISABLE_TELEMETRY": "true",
    "SLING_DISABLE_TELEMETRY": "true",
}


def environment() -> dict[str, str]:
    """Return what a measured process finds."""
    return os.environ | ENVIRON


class BenchmarkError(Exception):
    """A contestant failed, or did not do what it is measured at."""


@dataclass(frozen=True)
class Figures:
    """What a run took."""

    seconds: float
    cpu_seconds: float
    """Of the process and all that it started."""
    peak_bytes: int
    """The largest that the process was, or the largest of those that it started."""
    server_cpu_seconds: float = 0
    wal_bytes: int = 0
    dead_rows: int = 0
    rows_written: Counter[str] = field(default_factory=Counter)
    requests: int = 0


def time_process(command: Command) -> Figures:
    """Run a process to its end."""
    ran = subprocess.run(  # noqa: S603 - our own commands
        [sys.executable, "-IS", LAUNCH, *command],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise BenchmarkError(f"{' '.join(map(str, command))}: exit {ran.returncode}\n{ran.stderr[-2_000:]}")
    return Figures(**json.loads(ran.stdout))


def measure(contestant: Contestant, target: Target, server: Server, service: Service) -> Figures:
    """Run a contestant, and see that each job is stored with its status."""
    before = server.accounts(target.database)
    service.take_requests()
    took = time_process(contestant.command(target))
    after = server.accounts(target.database)
    if contestant.jobs is not None:
        _check(target.database, contestant.jobs, service.tally(target.memberships))
    server.rest(target.database)
    return replace(
        took,
        server_cpu_seconds=after.cpu_seconds - before.cpu_seconds,
        wal_bytes=after.wal_bytes - before.wal_bytes,
        dead_rows=after.dead_rows - before.dead_rows,
        rows_written=after.rows_written - before.rows_written,
        requests=service.take_requests(),
    )


def median(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure; of the rows written, those of the last run."""
    middle = {
        name: statistics.median(getattr(run, name) for run in runs)
        for name in vars(runs[0])
        if name != "rows_written"
    }
    return replace(runs[-1], **middle)


def _check(url: str, jobs: str, tally: dict[str, int]) -> None:
    with psycopg.connect(url) as connection:
        query = f"SELECT status, count(*) FROM {jobs} GROUP BY 1"  # noqa: S608 - our own words
        stored: dict[str, int] = dict(connection.execute(query.encode()).fetchall())
    if stored != tally:
        raise BenchmarkError(f"{jobs} holds {stored}, but there are {tally}")
