"""The charts of how long jobs took: how the times spread, and how they differ between models."""

from collections.abc import Sequence

from etl.report.drawing import Chart, Table, Trace, duration_axis, grid, on_its_side
from etl.report.facts import Facts, Row
from etl.report.palette import QUEUE, RUN, SURFACE, TEXT
from etl.report.wording import duration, escaped, jobs, name, number, share

_BINS = 5  # for each power of ten, as the query counts them

_KINDS = {
    "queue": (
        "Time in the queue",
        QUEUE,
        "From a job's creation until it ran.",
    ),
    "run": (
        "Time running",
        RUN,
        "From when a job began to run until it stopped.",
    ),
}
_CAVEAT = " Both ends are windows between two syncs. The scale is logarithmic."


def spread(facts: Facts, kind: str) -> Chart:
    """Show how the queue or run times of all jobs spread."""
    title, colour, says = _KINDS[kind]
    rows = [row for row in facts.spread if row["kind"] == kind]
    return Chart(
        f"{kind}-spread",
        title,
        says + _CAVEAT,
        [_histogram(rows, colour)] if rows else [],
        {
            "height": 280,
            "bargap": 0.06,
            "showlegend": False,
            "xaxis": duration_axis("duration", _edges(rows), exponents=True),
            "yaxis": {"title": {"text": "jobs"}, "rangemode": "tozero", "tickformat": ",~r", **grid()},
        },
        Table(
            f"{title}: jobs by duration",
            ["from", "to", "jobs", "share"],
            [
                [*_bounds(row["bin"]), number(row["jobs"]), share(row["jobs"], sum(each["jobs"] for each in rows))]
                for row in rows
            ],
            frozenset({2, 3}),
        ),
        "No job that ended in the period was seen both before and while it ran.",
    )


def _histogram(rows: Sequence[Row], colour: str) -> Trace:
    total = sum(row["jobs"] for row in rows)
    return {
        "type": "bar",
        "x": [(row["bin"] + 0.5) / _BINS for row in rows],
        "width": 1 / _BINS * 0.94,
        "y": [row["jobs"] for row in rows],
        "marker": {"color": colour},
        "customdata": [
            f"{jobs(row['jobs'])} ({share(row['jobs'], total)})<br>took {' to '.join(_bounds(row['bin']))}"
            for row in rows
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _edges(rows: Sequence[Row]) -> list[float]:
    return [float(10 ** ((row["bin"] + end) / _BINS)) for row in rows for end in (0, 1)]


def _bounds(place: int) -> tuple[str, str]:
    return (duration(10 ** (place / _BINS)) if place else "0 s", duration(10 ** ((place + 1) / _BINS)))


def models(facts: Facts) -> Chart:
    """Show how long each model's jobs waited and ran."""
    rows = sorted(facts.models, key=lambda row: (row["run_seconds"] or [0] * 5)[2], reverse=True)
    traces = _boxes(rows, "queue", "in the queue", -0.19) + _boxes(rows, "run", "running", 0.19)
    return Chart(
        "model-times",
        "Queue and run time, by model",
        "For each model, the jobs that ended in the period: the box is the middle half, its line the median, the"
        " whiskers hold nine of ten. Slowest median on top. The scale is logarithmic." + left_out(rows),
        traces,
        on_its_side([row["model"] for row in rows], duration_axis("duration", _quantiles(rows))),
        Table(
            "Queue and run time, by model",
            ["model", "jobs in the queue seen", "median", "95 of 100 under", "jobs running seen", "median",
             "95 of 100 under"],
            [[name(row["model"]), *_cells(row, "queue", "queued"), *_cells(row, "run", "ran")] for row in rows],
            frozenset(range(1, 7)),
        ),
        "No job that ended in the period was seen running.",
    )  # fmt: skip


def _quantiles(rows: Sequence[Row]) -> list[float]:
    return [each for row in rows for kind in _KINDS for each in row[f"{kind}_seconds"] or ()]


def left_out(rows: Sequence[Row]) -> str:
    """Say how many models there are, where not all are shown."""
    known = rows[0]["models"] if rows else 0
    return f" The {len(rows)} models with most jobs, of {known:,}." if known > len(rows) else ""


def _cells(row: Row, kind: str, counted: str) -> list[str]:
    quantiles = row[f"{kind}_seconds"]
    return [number(row[counted]), *(duration(quantiles and quantiles[place]) for place in (2, 4))]


def _boxes(rows: Sequence[Row], kind: str, words: str, shift: float) -> list[Trace]:
    seen = [(place, row) for place, row in enumerate(rows) if row[f"{kind}_seconds"]]
    if not seen:
        return []
    # A logarithmic scale has no zero.
    quantiles = [[max(each, 1) for each in row[f"{kind}_seconds"]] for _, row in seen]
    lower, first, median, third, upper = ([each[place] for each in quantiles] for place in range(5))
    places = [place + shift for place, _ in seen]
    box = {
        "type": "box",
        "orientation": "h",
        "name": words,
        "y": places,
        "lowerfence": lower,
        "q1": first,
        "median": median,
        "q3": third,
        "upperfence": upper,
        "width": 0.3,
        "line": {"color": _KINDS[kind][1], "width": 1.5},
        "hoverinfo": "skip",
    }
    return [box, _medians(seen, kind, words, places, median)]


def _medians(
    seen: Sequence[tuple[int, Row]], kind: str, words: str, places: Sequence[float], median: Sequence[float]
) -> Trace:
    """Return marks on the medians, which say in words what a box shows: its own words would be bare seconds."""
    counted = {"queue": "queued", "run": "ran"}[kind]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": median,
        "y": places,
        "showlegend": False,
        "marker": {"color": _KINDS[kind][1], "size": 8, "line": {"color": SURFACE, "width": 1.5}},
        "hoverlabel": {"font": {"color": TEXT}},
        "customdata": [
            f"{escaped(name(row['model']))}<br>{words}: median {duration(row[f'{kind}_seconds'][2])}"
            f"<br>half of them {duration(row[f'{kind}_seconds'][1])} to {duration(row[f'{kind}_seconds'][3])}"
            f"<br>95 of 100 under {duration(row[f'{kind}_seconds'][4])}<br>{jobs(row[counted])}"
            for _, row in seen
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
