"""The table: what was measured, and which of it misses its goal."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from rich import box
from rich.table import Table

from benchmarks.measuring import Figures


class Goal(NamedTuple):
    """What a figure should come to."""

    limit: float
    at_least: bool = False

    def judged(self, value: float) -> str:
        """Say what the goal is, and whether `value` misses it."""
        is_met = value >= self.limit if self.at_least else value <= self.limit
        return f"({'>=' if self.at_least else '<='} {self.limit:g})" + " MISSED" * (not is_met)


class Result(NamedTuple):
    """A line of the table."""

    scene: str
    who: str
    figures: Figures
    ratio: float | None = None
    """To what it is measured beside."""
    unit: str = ""
    """Of the ratio."""
    goals: Mapping[str, Goal] = MappingProxyType({})
    """By the names of `COLUMNS`."""


COLUMNS = {
    "seconds": ("seconds", ".2f"),
    "ratio": ("is", ".3g"),
    "cpu_seconds": ("CPU s", ".2f"),
    "server_cpu_seconds": ("server CPU s", ".2f"),
    "peak_mb": ("peak MB", ".0f"),
    "wal_mb": ("WAL MB", ".2f"),
    "dead_rows": ("dead rows", ",.0f"),
    "rows_written": ("rows written", ",.0f"),
    "requests": ("requests", ",.0f"),
}
"""The title of each figure, and how it is written."""


def table(results: Iterable[Result]) -> Table:
    """Return the table of these lines, with each goal beside its figure."""
    lines = Table("scene", "who", *(title for title, _ in COLUMNS.values()), box=box.MARKDOWN, header_style="")
    for result in results:
        lines.add_row(result.scene, result.who, *(_cell(result, name) for name in COLUMNS))
    return lines


def _cell(result: Result, name: str) -> str:
    value = result.ratio if name == "ratio" else getattr(result.figures, name)
    if value is None:
        return ""
    words = [format(value, COLUMNS[name][1])]
    if name == "ratio":
        words.append(result.unit)
    if goal := result.goals.get(name):
        words.append(goal.judged(value))
    return " ".join(words)
