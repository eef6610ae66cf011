"""An estate of years: jobs and their history, as years of syncs would have left them, written by COPY.

    python -m benchmarks.estate --url postgresql://... --jobs 1000000 --memberships 50

Fills a database that is migrated and empty. Of ten jobs four end by themselves, three are cancelled, and three are
no longer listed: four changes of status a job. The last five of each membership are open.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import click
import psycopg
from rich.progress import track

from etl import database, rollups

SPAN = timedelta(days=730)
MODELS = 10  # a membership
OPEN = 5  # jobs a membership, as AWS's quota allows
POLL = timedelta(minutes=15)

ENDINGS = (
    ("ACTIVE",),
    ("ACTIVE",),
    ("ACTIVE",),
    ("CREATE_FAILED",),
    ("CANCEL_PENDING", "CANCEL_IN_PROGRESS", "INACTIVE"),
    ("CANCEL_PENDING", "CANCEL_IN_PROGRESS", "INACTIVE"),
    ("CANCEL_PENDING", "CANCEL_IN_PROGRESS", "CANCEL_FAILED"),
    ("ACTIVE", "NOT_LISTED"),
    ("ACTIVE", "NOT_LISTED"),
    ("CREATE_FAILED", "NOT_LISTED"),
)
ENDS = {"ACTIVE", "CREATE_FAILED", "INACTIVE", "CANCEL_FAILED"}


class Step(NamedTuple):
    """A job's change of status."""

    time: datetime
    status: str


JOB_COLUMNS = (
    "job_key", "membership_key", "job_arn", "name", "status", "create_time", "update_time", "collaboration_id",
    "trained_model_arn", "trained_model_version_identifier", "output_accept", "output_account_ids", "extra",
    "status_since", "digest", "first_seen_at", "changed_at", "started_time", "started_not_before", "stopped_time",
    "stopped_not_before", "cancel_time", "cancel_not_before", "ended_time", "ended_not_before", "ended_status",
)  # fmt: skip
STEP_COLUMNS = (
    "job_key", "changed_time", "from_status", "from_time", "to_status", "not_before", "observed_at", "time_basis",
    "run_id", "membership_key",
)  # fmt: skip


class Estate:
    """Jobs of one membership after the other, from a seed."""

    def __init__(self, memberships: int, jobs: int, now: datetime, seed: int) -> None:
        self.memberships = memberships
        self.each = jobs // memberships
        self._now = now
        self._random = Random(seed)  # noqa: S311 - no secret

    def membership_id(self, key: int) -> str:
        """Name the membership of a key."""
        return str(UUID(int=key))

    def jobs(self, key: int) -> Iterator[tuple[dict[str, Any], list[Step]]]:
        """Yield the jobs of a membership, each with its history."""
        membership = f"arn:aws:cleanrooms-ml:us-east-1:{key % 5 + 1:012}:membership/{self.membership_id(key)}"
        for number in range(self.each):
            steps = self._steps(number)
            model = self._random.randrange(MODELS)
            yield (
                {
                    "job_key": (key - 1) * self.each + number + 1,
                    "membership_key": key,
                    "job_arn": f"{membership}/trained-model-inference-job/{self._uuid()}",
                    "name": f"nightly-scoring-{number}",
                    "collaboration_id": self.membership_id(1_000 + key),
                    "trained_model_arn": f"{membership}/trained-model/{UUID(int=model)}",
                    "trained_model_version_identifier": str(UUID(int=self._random.randrange(2))),
                    "output_accept": "text/csv",
                    "output_account_ids": ["111122223333"],
                    "extra": "{}",
                    "digest": self._uuid(),
                    **_summary(steps),
                },
                steps,
            )

    def _uuid(self) -> UUID:
        return UUID(int=self._random.getrandbits(128))

    def _steps(self, number: int) -> list[Step]:
        """Return the history of a membership's job, by its number from the oldest."""
        is_open = number >= self.each - OPEN
        age = timedelta(minutes=3 * (self.each - number)) if is_open else SPAN * (1 - number / self.each)
        moment = self._now - age - timedelta(hours=2 * (not is_open))
        ending = ENDINGS[self._random.randrange(len(ENDINGS))]
        steps = []
        for status in ("CREATE_PENDING", "CREATE_IN_PROGRESS", *ending):
            steps.append(Step(moment, status))
            moment += timedelta(seconds=self._random.expovariate(1 / 900) + 1)
        if is_open:
            return steps[: 1 + number % 2]
        return [step for step in steps if step.time < self._now]


def _summary(steps: list[Step]) -> dict[str, Any]:
    """Return the columns of a job that follow from its history: each moment lies between two polls."""
    entered = {step.status: (step.time, _not_before(steps, place)) for place, step in enumerate(steps)}
    ends = [step.status for step in steps if step.status in ENDS]
    stop = next(
        (steps[at + 1].status for at, step in enumerate(steps[:-1]) if step.status == "CREATE_IN_PROGRESS"), ""
    )
    nothing = (None, None)
    row: dict[str, Any] = {"ended_status": ends[-1] if ends else None}
    for name, status in (
        ("started", "CREATE_IN_PROGRESS"),
        ("stopped", stop),
        ("cancel", "CANCEL_PENDING"),
        ("ended", ends[-1] if ends else ""),
    ):
        row[f"{name}_time"], row[f"{name}_not_before"] = entered.get(status, nothing)
    last = steps[-1]
    seen = [step.time for step in steps if step.status != "NOT_LISTED"]
    return row | {
        "status": last.status,
        "create_time": steps[0].time,
        "update_time": seen[-1],
        "status_since": last.time,
        "first_seen_at": steps[0].time + POLL,
        "changed_at": last.time + POLL,
    }


def _not_before(steps: list[Step], place: int) -> datetime:
    return steps[place].time if place == 0 else max(steps[place - 1].time, steps[place].time - POLL)


def _transitions(job: dict[str, Any], steps: list[Step]) -> Iterator[tuple[Any, ...]]:
    for place, (before, step) in enumerate(pairwise([Step(steps[0].time, ""), *steps])):
        yield (
            job["job_key"],
            step.time,
            before.status or None,
            before.time if before.status else None,
            step.status,
            _not_before(steps, place),
            step.time + POLL,
            "observed" if step.status == "NOT_LISTED" else "update_time",
            job["membership_key"],  # its one run
            job["membership_key"],
        )


def fill(url: str, estate: Estate) -> None:
    """Write an estate: each membership in a transaction, its rollups counted as the end of a sync would."""
    address = database.parse(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        connection.execute("SET session_replication_role = replica")  # keys are right by construction
        for key in track(range(1, estate.memberships + 1), "memberships"):
            _open(connection, estate.membership_id(key))
            written = _copy(connection, estate, key)
            connection.execute(
                "UPDATE cleanrooms_etl.sync_run SET outcome = 'complete', finished_at = now(), jobs_listed = %s,"
                " jobs_new = %s, transitions = %s WHERE run_id = %s",
                (estate.each, estate.each, written, key),
            )
            connection.commit()
        connection.execute("SELECT setval('cleanrooms_etl.job_key', %s)", (estate.memberships * estate.each,))
    with database.connect(url) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE")
    with database.connect(url) as connection:
        for key in track(range(1, estate.memberships + 1), "rollups"):
            with connection.begin():
                rollups.count_up(connection, key)
    with database.connect(url) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("VACUUM ANALYZE")


def _open(connection: psycopg.Connection, membership_id: str) -> None:
    connection.execute(
        "INSERT INTO cleanrooms_etl.membership (membership_id, region, account_id, configured, expected_seconds,"
        " listed_at, uncounted_hours_from, uncounted_weeks_from)"
        " VALUES (%s, 'us-east-1', '111122223333', true, 900, now(), '2000-01-01Z', '2000-01-03Z')",
        (membership_id,),
    )
    connection.execute(
        "INSERT INTO cleanrooms_etl.sync_run (membership_key, outcome, worker, version)"
        " VALUES (currval('cleanrooms_etl.membership_membership_key_seq'), 'running', 'benchmark:1', '0')"
    )


def _copy(connection: psycopg.Connection, estate: Estate, key: int) -> int:
    """Copy a membership's jobs, then their history; return how many changes that holds."""
    histories = []
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY cleanrooms_etl.inference_job ({', '.join(JOB_COLUMNS)}) FROM STDIN") as copy:
            for job, steps in estate.jobs(key):
                copy.write_row([job.get(name) for name in JOB_COLUMNS])
                histories.append((job, steps))
        written = 0
        with cursor.copy(f"COPY cleanrooms_etl.status_transition ({', '.join(STEP_COLUMNS)}) FROM STDIN") as copy:
            for job, steps in histories:
                for row in _transitions(job, steps):
                    copy.write_row(row)
                    written += 1
    return written


@click.command()
@click.option("--url", required=True, help="A migrated, empty database.")
@click.option("--jobs", default=1_000_000, show_default=True)
@click.option("--memberships", default=50, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(url: str, jobs: int, memberships: int, seed: int) -> None:
    """Fill a database with the history of years."""
    started = time.monotonic()
    fill(url, Estate(memberships, jobs, datetime.now(UTC), seed))
    click.echo(f"{jobs:,} jobs of {memberships} memberships in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
