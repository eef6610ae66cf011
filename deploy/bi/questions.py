"""The questions that a dashboard answers, each with SQL that finds one number of its answer by another way.

Charts of Superset and panels of Grafana have the same names, so both are held to the same numbers.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from deploy.bi.seen import Seen

Row = Mapping[str, Any]


class Question(NamedTuple):
    """What is asked, where its number lies in the rows of an answer, and how else it is found."""

    name: str
    query: str
    superset: str | None = None
    grafana: str | None = None
    """The column to add up; None: all that are numbers, but for the time and for names."""
    superset_unit: float = 1
    """What Superset shows minutes or milliseconds of, in seconds."""
    is_latest: bool = False
    """The greatest value of the column is meant, not the sum."""


QUESTIONS = (
    Question("Open jobs", "SELECT count(*) FROM cleanrooms.inference_jobs WHERE is_open"),
    Question(
        "Success rate",
        "SELECT avg((outcome = 'succeeded')::integer) FROM cleanrooms.job_timings"
        " WHERE outcome IN ('succeeded', 'failed')",
    ),
    Question("Changes of status", "SELECT count(*) FROM cleanrooms.status_transitions"),
    Question(
        "Open jobs over time",
        "SELECT sum(jobs) FROM (SELECT sum(open_jobs) / count(DISTINCT hour) AS jobs FROM cleanrooms.capacity"
        " GROUP BY date_trunc('day', hour, 'UTC')) AS day",
    ),
    Question(
        "Capacity against quota",
        "SELECT sum(most) FROM (SELECT max(most_open_jobs / quota::numeric) AS most FROM cleanrooms.capacity"
        " GROUP BY date_trunc('day', hour, 'UTC'), membership_id) AS day",
    ),
    Question(
        "Success rate by model and week",
        "SELECT sum(rate) FROM (SELECT avg((outcome = 'succeeded')::integer) AS rate FROM cleanrooms.job_timings"
        " WHERE outcome IN ('succeeded', 'failed')"
        " GROUP BY date_trunc('week', create_time, 'UTC'), trained_model_id) AS week",
    ),
    Question(
        "Queue and run time",
        "SELECT sum(queue[1] + queue[2] + run[1] + run[2]) FROM (SELECT"
        " percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY queue_seconds) AS queue,"
        " percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY run_seconds) AS run"
        " FROM cleanrooms.job_timings GROUP BY date_trunc('day', create_time, 'UTC')) AS day",
        superset_unit=60,
    ),
    Question(
        "Open jobs and their age",
        "SELECT sum(p95) FROM cleanrooms.inference_jobs AS open CROSS JOIN LATERAL"
        " (SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY total_seconds) AS p95 FROM"
        " (SELECT total_seconds FROM cleanrooms.job_timings AS past WHERE past.membership_id = open.membership_id"
        " AND past.trained_model_arn = open.trained_model_arn AND past.ended_time IS NOT NULL"
        " ORDER BY past.create_time DESC LIMIT 1000) AS latest) AS usual WHERE open.is_open",
        superset="model_p95_total_minutes",
        grafana="p95 of its model",
        superset_unit=60,
    ),
    Question(
        "Slowest jobs",
        "SELECT sum(seconds) FROM (SELECT extract(epoch FROM ended_time - create_time) AS seconds"
        " FROM cleanrooms.job_timings WHERE ended_time IS NOT NULL ORDER BY seconds DESC LIMIT 20) AS slowest",
        superset="total_minutes",
        grafana="total",
        superset_unit=60,
    ),
    Question(
        "Failed jobs",
        "SELECT sum(seconds) FROM (SELECT extract(epoch FROM ended_time - create_time) AS seconds"
        " FROM cleanrooms.job_timings WHERE outcome IN ('failed', 'cancel_failed')"
        " ORDER BY ended_time DESC LIMIT 100) AS failed",
        superset="total_minutes",
        grafana="total",
        superset_unit=60,
    ),
    Question(
        "Freshness",
        "SELECT extract(epoch FROM max(started_at)) FROM cleanrooms.sync_runs WHERE outcome = 'complete'",
        superset="last_complete_at",
        grafana="last complete sweep",
        superset_unit=0.001,
        is_latest=True,
    ),
    Question("History not to be trusted", "SELECT count(*) FROM cleanrooms.history_gaps"),
)


def number(rows: Iterable[Row], column: str | None, *, time: str | None = None, is_latest: bool = False) -> float:
    """Return the number that lies in rows; `time` is the column that is an axis."""
    found = [
        value
        for row in rows
        for name, cell in row.items()
        if name == column or (column is None and name != time)
        if (value := _plain(cell)) is not None
    ]
    return max(found, default=math.nan) if is_latest else math.fsum(found)


def _plain(cell: object) -> float | None:
    """Return a number, or a moment as seconds; None for what is neither."""
    match cell:
        case int() | float() | Decimal():
            return float(cell)
        case datetime():
            return cell.timestamp()
    return None


def compared(question: Question, rows: int, shown: float, expected: float | Decimal) -> Seen:
    """Compare the number that is shown with that by SQL, but for what is lost in milliseconds and sums."""
    return Seen(
        f"{question.name}: {rows} row{'s' * (rows != 1)}, {shown:.10g}; by SQL {float(expected):.10g}",
        rows > 0 and math.isclose(shown, expected, rel_tol=1e-9),
    )
