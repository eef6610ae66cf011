"""What a chart is, and the parts that charts share: axes, labels and scales in Plotly's words."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log10
from typing import Any, NamedTuple

from etl.report.palette import GRID, MUTED
from etl.report.wording import duration, label

Trace = dict[str, Any]
Cells = Sequence[Sequence[str]]


class Table(NamedTuple):
    """Rows for people, under a caption; the places in `numeric` are set to the right."""

    caption: str
    columns: Sequence[str]
    rows: Cells
    numeric: frozenset[int] = frozenset()


class Chart(NamedTuple):
    """A figure with its sentences, and the same numbers as a table. Without traces there is nothing to show."""

    key: str
    title: str
    says: str
    traces: Sequence[Trace]
    layout: Mapping[str, Any]
    table: Table
    empty: str = "Nothing of this kind in the period."


_MIN, _H, _D = 60, 3_600, 86_400

# What a scale of durations is marked with, finely or coarsely: powers of ten of seconds say little to people.
_MARKS = (
    (1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 45, *(_MIN * each for each in (1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 45)),
     *(_H * each for each in (1, 2, 3, 4, 6, 8, 12, 18)), *(_D * each for each in (1, 2, 3, 4, 7, 10, 14))),
    (1, 2, 5, 10, 20, 30, *(_MIN * each for each in (1, 2, 5, 10, 20, 30)), _H, 2 * _H, 4 * _H, 8 * _H, 12 * _H,
     *(_D * each for each in (1, 2, 4, 7, 14, 30, 90, 365))),
    (1, 5, 15, _MIN, 5 * _MIN, 15 * _MIN, _H, 4 * _H, 12 * _H, _D, 3 * _D, 10 * _D, 30 * _D, 120 * _D, 365 * _D),
    (1, 10, _MIN, 10 * _MIN, _H, 6 * _H, _D, 7 * _D, 30 * _D, 365 * _D),
    (1, _MIN, _H, _D, 30 * _D, 365 * _D),
)  # fmt: skip
_APART, _APART_IF_NARROW = 0.09, 0.23  # of the axis: closer ones run into each other

BAR = 26  # pixels for each row of a chart that lies on its side
_FRAME = 96  # pixels for its axis and legend


def duration_axis(title: str, seconds: Sequence[float], *, exponents: bool = False) -> dict[str, Any]:
    """Return a logarithmic axis that these durations fit on; with `exponents` what is drawn are logarithms."""
    logarithms = [log10(max(each, 1)) for each in seconds] or [0.0, 1.0]
    margin = 0 if exponents else max(0.04 * (max(logarithms) - min(logarithms)), 0.05)
    start, end = min(logarithms) - margin, max(logarithms) + margin
    marks, fewer = _marks(start, end, _APART), _marks(start, end, _APART_IF_NARROW)
    return {
        "title": {"text": title},
        "type": "linear" if exponents else "log",
        "range": [start, end],
        "tickvals": [log10(mark) if exponents else mark for mark in marks],
        "ticktext": [duration(mark) for mark in marks],
        "narrow": {
            "tickvals": [log10(mark) if exponents else mark for mark in fewer],
            "ticktext": [duration(mark) for mark in fewer],
        },
        **grid(),
    }


def _marks(start: float, end: float, apart: float) -> list[float]:
    """Return the finest marks between two logarithms that are this far apart, as a part of the axis."""
    choices: list[list[float]] = [[mark for mark in marks if start <= log10(mark) <= end] for marks in _MARKS]
    return next((marks for marks in choices if _are_apart(marks, apart * (end - start))), choices[-1])


def _are_apart(marks: Sequence[float], distance: float) -> bool:
    return all(log10(later / earlier) >= distance for earlier, later in pairwise(marks))


def grid() -> dict[str, Any]:
    """Return what every axis of values looks like."""
    return {"gridcolor": GRID, "zeroline": False, "automargin": True, "tickfont": {"color": MUTED}}


def row_axis(names: Sequence[str]) -> dict[str, Any]:
    """Return the axis of a chart that lies on its side: names from the top down."""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [label(name) for name in names],
        "narrow": {"ticktext": [label(name, narrow=True) for name in names]},
        "range": [len(names) - 0.5, -0.5],
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
    }


def on_its_side(names: Sequence[str], x_axis: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layout of a chart with a row for each name."""
    return {
        "height": _FRAME + BAR * max(len(names), 3),
        "xaxis": dict(x_axis),
        "yaxis": row_axis(names),
    }
