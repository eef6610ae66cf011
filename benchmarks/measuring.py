"""One run of a whole process: what it took, and what it left behind in the database."""

import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.contestants import Command, Contestant, Target
from benchmarks.server import Server
from benchmarks.service import Service

LAUNCH = Path(__file__).with_name("launch.py")

OWN_RECORD = {"membership", "sync_run"}
"""The tables in which each sync of ours writes a row, whatever it finds."""

HISTORY = "SELECT job_arn, to_status, changed_time FROM cleanrooms.status_transitions"

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
    peak_mb: float
    """Of the process together with those that it started, by the operating system's accounts."""
    server_cpu_seconds: float = 0
    wal_mb: float = 0
    dead: Counter[str] = field(default_factory=Counter)
    """Dead rows, by table."""
    written: Counter[str] = field(default_factory=Counter)
    """Inserts, updates and deletes, by table."""
    requests: int = 0

    @property
    def dead_rows(self) -> int:
        """The dead rows but for those of the run's own record."""
        return _besides_own_record(self.dead)

    @property
    def rows_written(self) -> int:
        """The rows written but for those of the run's own record."""
        return _besides_own_record(self.written)


def _besides_own_record(rows: Counter[str]) -> int:
    return sum(number for table, number in rows.items() if table not in OWN_RECORD)


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
        wal_mb=(after.wal_bytes - before.wal_bytes) / 1_000_000,
        dead=after.dead - before.dead,
        written=after.written - before.written,
        requests=service.take_requests(),
    )


def median(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure; of rows, which no noise adds to, the most in any of the runs."""
    return Figures(**{item.name: _middle(getattr(run, item.name) for run in runs) for item in fields(Figures)})


def _middle(values: Iterable[Any]) -> Any:
    several = list(values)
    return reduce(or_, several) if isinstance(several[0], Counter) else statistics.median(several)


def check_history(url: str, history: Iterable[tuple[str, str, datetime]]) -> None:
    """See that what is stored is this history of ARN, status and moment: no change less, and none more."""
    with psycopg.connect(url) as connection:
        stored = set(connection.execute(HISTORY).fetchall())
    truth = set(history)
    if stored != truth:
        raise BenchmarkError(f"{len(truth - stored)} changes are not stored, {len(stored - truth)} never were")


def _check(url: str, jobs: str, tally: dict[str, int]) -> None:
    with psycopg.connect(url) as connection:
        query = f"SELECT status, count(*) FROM {jobs} GROUP BY 1"  # noqa: S608 - our own words
        stored: dict[str, int] = dict(connection.execute(query.encode()).fetchall())
    if stored != tally:
        raise BenchmarkError(f"{jobs} holds {stored}, but there are {tally}")
