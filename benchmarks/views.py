"""What analysts wait for: each view, filtered as a dashboard does, over an estate of a million jobs.

    python -m benchmarks.views                          # on a server of its own, which takes two minutes to fill
    python -m benchmarks.views --url postgresql://...   # on one that `benchmarks.estate` has filled

For each question: the rows it gives, the median and the longest of several runs, how long it may take, and whether
its plan reads all of the history from one end to the other.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click
import psycopg
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.estate import Estate, fill
from etl import database
from etl.local_postgres import throw_away

MONTH = "now() - interval '30 days'"
OF_ONE = "membership_id = '{membership}'"
HISTORY = {"status_transition", "job_edit"}


class Question(NamedTuple):
    """What a dashboard asks."""

    title: str
    query: str
    limit: float = 1_000
    """Milliseconds."""


def _month(view: str, moment: str) -> Question:
    return Question(
        f"{view}: one membership, 30 days",
        f"SELECT * FROM cleanrooms.{view} WHERE {OF_ONE} AND {moment} >= {MONTH}",  # noqa: S608 - our own words
    )


def _weekly(view: str, what: str, where: str = "") -> Question:
    title = f"{view}: all, by week" + (", 30 days" if where else "")
    return Question(title, f"SELECT {what} FROM cleanrooms.{view} {where} GROUP BY 1")  # noqa: S608 - likewise


QUESTIONS = (
    _month("inference_jobs", "create_time"),
    _month("status_history", "valid_from"),
    _month("status_transitions", "changed_time"),
    _month("status_durations", "create_time"),
    _month("job_timings", "create_time"),
    _month("model_reliability", "week"),
    _month("status_counts_hourly", "hour"),
    _month("capacity", "hour"),
    _month("history_gaps", "changed_time"),
    Question("open_jobs: one membership", f"SELECT * FROM cleanrooms.open_jobs WHERE {OF_ONE}"),  # noqa: S608
    Question("open_jobs: all", "SELECT * FROM cleanrooms.open_jobs"),
    Question("sync_freshness: all", "SELECT * FROM cleanrooms.sync_freshness"),
    Question(
        "inference_jobs: all, by status", "SELECT status, count(*) FROM cleanrooms.inference_jobs GROUP BY 1"
    ),
    _weekly("model_reliability", "week, sum(jobs), sum(succeeded), max(p95_total_seconds)"),
    _weekly("job_timings", "date_trunc('week', create_time), count(*), avg(total_seconds)"),
    _weekly(
        "status_counts_hourly",
        "date_trunc('week', hour), sum(jobs_entered) FILTER (WHERE status = 'CREATE_FAILED'), max(jobs_held)",
        f"WHERE hour >= {MONTH}",
    ),
    _weekly("capacity", "date_trunc('week', hour), max(quota_used), avg(open_jobs)", f"WHERE hour >= {MONTH}"),
    _weekly("status_durations", "date_trunc('week', create_time), avg(seconds)", f"WHERE create_time >= {MONTH}"),
    _weekly("history_gaps", "date_trunc('week', changed_time), count(*)", f"WHERE changed_time >= {MONTH}"),
    _weekly("status_transitions", "date_trunc('week', changed_time), count(*)", f"WHERE changed_time >= {MONTH}"),
    Question(
        "status_history: one job",
        "SELECT * FROM cleanrooms.status_history WHERE job_arn = '{job}' ORDER BY valid_from",
        limit=5,
    ),
    Question(
        "status_history: what runs now, all",
        "SELECT * FROM cleanrooms.status_history WHERE is_current AND status = 'CREATE_IN_PROGRESS'",
    ),
    Question(
        "jobs_as_of: open, one membership, on each of 30 days",
        "SELECT day, count(*) FROM generate_series(now() - interval '30 days', now(), '1 day') AS day"  # noqa: S608
        f" CROSS JOIN LATERAL cleanrooms.jobs_as_of(day) WHERE is_open AND {OF_ONE} GROUP BY day",
    ),
    Question(
        "status_history: of the open jobs, all",
        "SELECT * FROM cleanrooms.open_jobs JOIN cleanrooms.status_history USING (job_arn)",
    ),
    *(
        Question(
            f"{view}: of a job by its name",
            f"SELECT its.* FROM cleanrooms.inference_jobs AS job JOIN cleanrooms.{view} AS its USING (job_arn)"  # noqa: S608
            f" WHERE job.{OF_ONE} AND job.name = '{{name}}'",
            limit=50,
        )
        for view in ("status_history", "status_durations")
    ),
    *(
        Question(
            f"{function}: one membership, {days} days ago",
            f"SELECT * FROM cleanrooms.{function}(now() - interval '{days} days') WHERE {OF_ONE}",  # noqa: S608
            limit=200,
        )
        for function in ("jobs_as_of", "jobs_known_as_of")
        for days in (1, 365)
    ),
)


class Answer(NamedTuple):
    """How a question was answered."""

    question: Question
    rows: int
    milliseconds: list[float]
    reads_all_history: bool


def ask(connection: psycopg.Connection, question: Question, rounds: int) -> Answer:
    """Ask a question several times, as a client that takes all of its rows does."""
    job, name, membership = _a_job(connection)
    query = question.query.format(membership=membership, job=job, name=name)
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        rows = len(connection.execute(query).fetchall())
        taken.append(1_000 * (time.perf_counter() - started))
    return Answer(question, rows, taken, _reads_all_history(connection, query))


def _a_job(connection: psycopg.Connection) -> Sequence[str]:
    """Return its ARN, its name and its membership."""
    found = connection.execute(
        "SELECT job_arn, name, membership_id FROM cleanrooms.inference_jobs LIMIT 1 OFFSET 1000"
    ).fetchone()
    return found or ("", "", "")


def _reads_all_history(connection: psycopg.Connection, query: str) -> bool:
    found = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchone()
    plan = found[0][0]["Plan"] if found else {}
    return any(node["Node Type"] == "Seq Scan" and node["Relation Name"] in HISTORY for node in _nodes(plan))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


@contextmanager
def _estate(jobs: int, memberships: int) -> Iterator[str]:
    """Fill a server of our own, which ends with the block."""
    with throw_away(fsync="on") as postgres:
        url = postgres.start()
        with database.connect(url) as connection:
            database.upgrade(connection)
        fill(url, Estate(memberships, jobs, datetime.now(UTC), seed=1))
        yield url


def _show(answers: list[Answer]) -> None:
    table = Table("question", "rows", "median ms", "longest ms", "may take", "reads all history", header_style="")
    for question, rows, taken, reads_all in answers:
        median = statistics.median(taken)
        table.add_row(
            question.title,
            f"{rows:,}",
            f"{median:,.1f}",
            f"{max(taken):,.1f}",
            f"{question.limit:,.0f}" + " OVER" * (median > question.limit),
            "YES" if reads_all else "no",
        )
    Console(width=140).print(table)


def _answers(url: str, rounds: int) -> list[Answer]:
    address = database.parse(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        return [ask(connection, question, rounds) for question in track(QUESTIONS, "questions")]


@click.command()
@click.option("--url", help="A filled database; without it, one is made.")
@click.option("--jobs", default=1_000_000, show_default=True)
@click.option("--memberships", default=50, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Times that each question is asked.")
def main(url: str | None, jobs: int, memberships: int, rounds: int) -> None:
    """Time what analysts ask."""
    with nullcontext(url) if url else _estate(jobs, memberships) as address:
        _show(_answers(address, rounds))


if __name__ == "__main__":
    main()
