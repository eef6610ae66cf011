"""How a report writes things down: durations, moments, shares and numbers for people, and names without harm."""

from datetime import UTC, datetime

from etl.console import printable

NOTHING = "–"  # noqa: RUF001 - a dash in a cell that has nothing to say

_LABEL = 32  # characters of a name beside a chart
_SHORT_LABEL = 15  # and on a narrow screen

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def duration(seconds: float | None) -> str:
    """Write seconds as people say them, in at most two units: `1 h 20 min`."""
    if seconds is None:
        return NOTHING
    if 0 < seconds < 1:
        return "under 1 s"
    left = _rounded(seconds)
    for place, (unit, size) in enumerate(_UNITS):
        if left >= size:
            whole, rest = divmod(left, size)
            finer = _UNITS[place + 1 : place + 2]
            return " ".join([f"{whole:,} {unit}", *(f"{rest // below} {word}" for word, below in finer if rest)])
    return "0 s"


def _rounded(seconds: float) -> int:
    """Round to what is told: of ten minutes on to the minute, of less to the second, and so on."""
    for place, (_, size) in enumerate(_UNITS[:-1]):
        if seconds >= size:
            grain = size if seconds >= 10 * size else _UNITS[place + 1][1]
            return round(seconds / grain) * grain
    return round(seconds)


def moment(value: datetime | None) -> str:
    """Write a moment to the minute; the page says once that all are in UTC, and so does each column."""
    return NOTHING if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"


def share(part: float, whole: float) -> str:
    """Write a part of a whole in percent."""
    return NOTHING if not whole else f"{100 * part / whole:.1f} %"


def number(value: float | None) -> str:
    """Write a number, a whole one without a fraction."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def jobs(count: int) -> str:
    """Write a number of jobs."""
    return f"{count:,} job{'s' * (count != 1)}"


def name(value: str | None) -> str:
    """Return a text from AWS so that it can be shown: no control character, nothing that turns the writing."""
    return NOTHING if value is None else printable(value)


def label(value: str, *, narrow: bool = False) -> str:
    """Return a name for beside a chart: cut where it is long, and escaped, since Plotly reads `<b>` in labels."""
    return escaped(_cut(name(value), _SHORT_LABEL if narrow else _LABEL))


def _cut(shown: str, most: int) -> str:
    """Leave out the middle: names and ids differ in their ends as often as in their beginnings."""
    half = (most - 1) // 2
    return shown if len(shown) <= most else f"{shown[:half]}…{shown[-half:]}"


def escaped(shown: str) -> str:
    """Return a text that Plotly shows as it is."""
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def short_id(value: str) -> str:
    """Return enough of a membership's id to tell it."""
    return _cut(name(value), _SHORT_LABEL)
