"""The charts that hold one thing against another: models' success, and open jobs' age against what is usual."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

from etl.report.drawing import Chart, Table, Trace, duration_axis, grid, on_its_side
from etl.report.durations import left_out
from etl.report.facts import Facts, Row
from etl.report.palette import STATUSES, SURFACE, TEXT, colour, order
from etl.report.wording import NOTHING, duration, escaped, label, name, number, share, short_id


def success(facts: Facts) -> Chart:
    """Show each model's success rate, with how sure that is."""
    judged = [row for row in facts.models if _judged(row)]
    rows = sorted(judged, key=lambda row: (_rate(row), row["succeeded"]))
    axis = {"title": {"text": "succeeded, of succeeded and failed"}, "tickformat": ".0%", "range": [-0.02, 1.02]}
    return Chart(
        "success",
        "Success rate, by model",
        "Succeeded / (succeeded + failed), of the jobs that ended in the period; what people cancelled says"
        " nothing of the model. The line is the 95 % confidence interval (Wilson): the fewer jobs, the longer."
        " Lowest on top." + left_out(rows),
        [_rates(rows)] if rows else [],
        {**on_its_side([row["model"] for row in rows], {**axis, **grid()}), "showlegend": False},
        Table(
            "How jobs ended, by model",
            ["model", "ended", "succeeded", "failed", "cancelled", "cancel failed", "success rate"],
            [_outcomes(row) for row in sorted(facts.models, key=lambda row: -row["ended"])],
            frozenset(range(1, 7)),
        ),
        "No job succeeded or failed in the period.",
    )


def _rate(row: Row) -> float:
    return float(row["succeeded"] / _judged(row))


def _judged(row: Row) -> int:
    return int(row["succeeded"] + row["failed"])


def _outcomes(row: Row) -> list[str]:
    counts = [number(row[each]) for each in ("ended", "succeeded", "failed", "cancelled", "cancel_failed")]
    return [name(row["model"]), *counts, share(row["succeeded"], _judged(row))]


def interval(succeeded: int, judged: int) -> tuple[float, float]:
    """Return Wilson's 95 % confidence interval of a share: honest for few jobs, and for rates near 0 and 1."""
    z = 1.959964
    rate = succeeded / judged
    middle = (rate + z * z / (2 * judged)) / (1 + z * z / judged)
    reach = z / (1 + z * z / judged) * sqrt(rate * (1 - rate) / judged + z * z / (4 * judged * judged))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _rates(rows: Sequence[Row]) -> Trace:
    intervals = [interval(row["succeeded"], _judged(row)) for row in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [_rate(row) for row in rows],
        "y": list(range(len(rows))),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [upper - _rate(row) for row, (_, upper) in zip(rows, intervals, strict=True)],
            "arrayminus": [_rate(row) - lower for row, (lower, _) in zip(rows, intervals, strict=True)],
            "color": colour("ACTIVE"),
            "thickness": 2,
            "width": 4,
        },
        "marker": {"color": colour("ACTIVE"), "size": 11, "line": {"color": SURFACE, "width": 1.5}},
        "customdata": [
            f"{escaped(name(row['model']))}"
            f"<br>{100 * _rate(row):.1f} % succeeded: {number(row['succeeded'])} of {number(_judged(row))} jobs"
            f"<br>95 % interval {100 * lower:.1f} to {100 * upper:.1f} %"
            for row, (lower, upper) in zip(rows, intervals, strict=True)
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def still_open(facts: Facts) -> Chart:
    """Show the open jobs that are oldest for their model."""
    rows = facts.open_jobs
    jobs = rows[0]["jobs"] if rows else 0
    layout = on_its_side([row["name"] for row in rows], _age_axis(rows))
    statuses = sorted({row["status"] for row in rows}, key=order)
    return Chart(
        "open-jobs",
        "Open jobs now, against what is usual",
        "The dot is a job's age when this page was made, whatever the period; the upright mark is the age by which"
        " 95 of 100 of its model's jobs had ended. A dot to the right of its mark is unusual. Most unusual on top."
        + (f" The {len(rows)} most unusual of {jobs:,} open jobs." if jobs > len(rows) else ""),
        [*(_ages(rows, status) for status in statuses), *_marks(rows)],
        layout,
        Table(
            "Open jobs now",
            ["job", "model", "status", "age", "model's 95 of 100", "age / that", "membership", "id"],
            [_open_job(row) for row in rows],
            frozenset({3, 4, 5}),
        ),
        "No job is open.",
    )


def _age_axis(rows: Sequence[Row]) -> dict[str, Any]:
    known = [row["p95"] for row in rows if row["p95"] is not None]
    return duration_axis("age, since creation", [*(row["age_seconds"] for row in rows), *known])


def _ages(rows: Sequence[Row], status: str) -> Trace:
    own = [(place, row) for place, row in enumerate(rows) if row["status"] == status]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(STATUSES.get(status, (status,))[0]),
        "x": [max(row["age_seconds"], 1) for _, row in own],
        "y": [place for place, _ in own],
        "marker": {"color": colour(status), "size": 12, "line": {"color": SURFACE, "width": 1.5}},
        "customdata": [
            f"{escaped(name(row['name']))}"
            f"<br>{escaped(name(row['status']))} for {duration(row['seconds_in_status'])}"
            f"<br>{duration(row['age_seconds'])} old; {_usual(row)}"
            f"<br>{escaped(name(row['model']))}, membership {escaped(short_id(row['membership_id']))}"
            for _, row in own
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _usual(row: Row) -> str:
    if row["p95"] is None:
        return "no job of its model has ended yet"
    return f"95 of 100 end within {duration(row['p95'])} (of {number(row['model_jobs_ended'])})"


def _marks(rows: Sequence[Row]) -> list[Trace]:
    known = [(place, row) for place, row in enumerate(rows) if row["p95"] is not None]
    if not known:
        return []
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "95 of 100 of its model ended by",
            "x": [max(row["p95"], 1) for _, row in known],
            "y": [place for place, _ in known],
            "marker": {"symbol": "line-ns-open", "color": TEXT, "size": 16, "line": {"width": 2}},
            "customdata": [f"{escaped(name(row['model']))}<br>{_usual(row)}" for _, row in known],
            "hovertemplate": "%{customdata}<extra></extra>",
        }
    ]


def _open_job(row: Row) -> list[str]:
    ratio = NOTHING if row["age_to_p95"] is None else f"{row['age_to_p95']:,.2f}"
    job, model, status, membership, job_id = (
        name(row[each]) for each in ("name", "model", "status", "membership_id", "job_id")
    )
    return [job, model, status, duration(row["age_seconds"]), duration(row["p95"]), ratio, membership, job_id]
