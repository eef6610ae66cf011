"""The charts over time: what ended, what was open, and how much of the quota that took."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from etl.report.drawing import BAR, Chart, Table, Trace, grid, on_its_side
from etl.report.facts import Facts, Row
from etl.report.palette import SCALE, STATUSES, SURFACE, colour, order
from etl.report.period import HOUR, MONTH, Step
from etl.report.wording import escaped, moment, name, number, short_id

_MARKS, _MARKS_IF_NARROW = 10, 4  # on an axis of time
_EACH = {"hour": "each hour", "day": "each day", "week": "each week, from its Monday,", "month": "each month"}


def ended(facts: Facts) -> Chart:
    """Show how many jobs ended, and how."""
    return Chart(
        "ended",
        "Jobs that ended",
        f"Entries to each final status, {_EACH[facts.step.name]} in UTC. The moment is AWS's updateTime: the true"
        " one lies between that and the sync before it. A job that AWS lists again after it was gone counts"
        " again.",
        _stacked(facts, facts.ended, "jobs ended"),
        _layout(facts, f"jobs each {facts.step.name}"),
        _by_moment(facts, facts.ended, "Jobs that ended"),
    )


def held(facts: Facts) -> Chart:
    """Show how many jobs were open, and in which status."""
    seen = {row["status"] for row in facts.held if row["jobs"]}
    rows = [row for row in facts.held if row["status"] in seen]
    return Chart(
        "open-over-time",
        "Open jobs",
        "Jobs that were waiting, running or being cancelled: "
        + (
            "at the start of each hour (UTC)."
            if facts.step.name == "hour"
            else f"the mean of a {facts.step.name}."
        )
        + " A status that came and went between two syncs was not seen, so short ones are undercounted; before the"
        " first sync none was.",
        _stacked(facts, rows, "jobs"),
        {**_layout(facts, "open jobs"), "bargap": 0},
        _by_moment(facts, rows, "Open jobs"),
    )


def capacity(facts: Facts) -> Chart:
    """Show how much of its quota of open jobs each membership used."""
    rows = facts.capacity
    memberships = list(dict.fromkeys(row["membership_id"] for row in rows))
    moments = sorted({row["moment"] for row in rows})
    cells = {(row["membership_id"], row["moment"]): row for row in rows}
    grown = on_its_side([short_id(each) for each in memberships], {})
    row_height = 16 if len(memberships) > 12 else BAR  # noqa: PLR2004 - more would need a long way to scroll
    return Chart(
        "capacity",
        "Capacity used",
        f"The most jobs that were open at once, {_EACH[facts.step.name]} in UTC, as a share of the quota of the"
        " membership; the busiest are on top. A peak between two syncs may have been missed."
        + _left_out(len(memberships), max((row["memberships"] for row in rows), default=0)),
        [_heat(memberships, moments, cells, facts)] if rows else [],
        {
            **grown,
            "height": 140 + row_height * max(len(memberships), 3),
            "xaxis": {**_time_axis(facts), "title": {}},
        },
        _capacity_table(memberships, rows),
    )


def _layout(facts: Facts, rising: str) -> dict[str, Any]:
    return {
        "height": 340,
        "barmode": "stack",
        "xaxis": _time_axis(facts),
        "yaxis": {"title": {"text": rising}, "rangemode": "tozero", "tickformat": ",~r", **grid()},
        "legend": {"traceorder": "normal"},
    }


def _time_axis(facts: Facts) -> dict[str, Any]:
    """Return the axis of time, the same for all charts: the period, from where there is anything to tell."""
    moments = sorted({row["moment"].astimezone(UTC) for row in (*facts.ended, *facts.held)})
    start = max(facts.period.since, min(moments, default=facts.period.since))
    return {
        "type": "date",
        "title": {"text": "time (UTC)"},
        "range": [_wire(start), _wire(max(facts.period.until, max(moments, default=start) + facts.step.length))],
        **grid(),
        **_ticks(facts, moments),
        "showgrid": False,
    }


def _ticks(facts: Facts, moments: Sequence[datetime]) -> dict[str, Any]:
    """Mark whole steps under the middle of their bars; of hours Plotly's own marks are best."""
    if facts.step is HOUR:
        return {}
    return {**_marked(facts.step, moments, _MARKS), "narrow": _marked(facts.step, moments, _MARKS_IF_NARROW)}


def _marked(step: Step, moments: Sequence[datetime], most: int) -> dict[str, Any]:
    marked = moments[:: -(-len(moments) // most) or 1]
    years = [None, *(each.year for each in marked)]
    return {
        "tickvals": [_wire(each + step.length / 2) for each in marked],
        "ticktext": [
            f"{each:%b}" + f" {each.day}" * (step is not MONTH) + f"<br>{each.year}" * (each.year != before)
            for each, before in zip(marked, years, strict=False)
        ],
    }


def _left_out(shown: int, known: int) -> str:
    return f" The {shown} that used most of {known:,} memberships." if known > shown else ""


def _stacked(facts: Facts, rows: Sequence[Row], what: str) -> list[Trace]:
    statuses = sorted({row["status"] for row in rows}, key=order)
    return [
        {
            "type": "bar",
            "name": escaped(_legend(status)),
            "x": [_wire(row["moment"]) for row in rows if row["status"] == status],
            "y": [round(row["jobs"], 2) for row in rows if row["status"] == status],
            "xperiod": facts.step.plotly,
            "xperiodalignment": "middle",
            **_week(facts),
            "marker": {"color": colour(status), "line": {"width": 0.5, "color": SURFACE}},
            "customdata": [number(round(row["jobs"], 1)) for row in rows if row["status"] == status],
            "xhoverformat": "%d %b %Y %H:%M UTC",
            "hovertemplate": f"%{{customdata}} {what}<br>%{{x}}",
        }
        for status in statuses
    ]


def _week(facts: Facts) -> dict[str, Any]:
    """Return from when periods are counted: weeks begin on Mondays."""
    return {"xperiod0": "2000-01-03"} if facts.step.name == "week" else {}


def _legend(status: str) -> str:
    words = STATUSES.get(status, ("not known to this release", ""))[0]
    return f"{words} ({name(status)})"


def _wire(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"


def _by_moment(facts: Facts, rows: Sequence[Row], caption: str) -> Table:
    statuses = sorted({row["status"] for row in rows}, key=order)
    numbers = {(row["moment"], row["status"]): row["jobs"] for row in rows}
    return Table(
        f"{caption}, by {facts.step.name}",
        [f"{facts.step.name} from (UTC)", *map(name, statuses)],
        [
            [moment(each), *(number(round(numbers.get((each, status), 0), 1)) for status in statuses)]
            for each in sorted({row["moment"] for row in rows})
        ],
        frozenset(range(1, len(statuses) + 1)),
    )


def _heat(memberships: Sequence[str], moments: Sequence[datetime], cells: dict[Any, Row], facts: Facts) -> Trace:
    def line(membership: str) -> list[Row | None]:
        return [cells.get((membership, each)) for each in moments]

    return {
        "type": "heatmap",
        "x": [_wire(each) for each in moments],
        "y": list(range(len(memberships))),
        "z": [[row and round(row["used"], 3) for row in line(each)] for each in memberships],
        "customdata": [[row and _cell(row) for row in line(each)] for each in memberships],
        "xperiod": facts.step.plotly,
        "xperiodalignment": "middle",
        **_week(facts),
        "zmin": 0,
        "zmax": 1,
        "xgap": 1 if len(moments) < 120 else 0,  # noqa: PLR2004 - thin columns are all gap
        "ygap": 1,
        "colorscale": SCALE,
        "colorbar": {
            "tickformat": ".0%",
            "tickvals": [0, 0.5, 1],
            "orientation": "h",
            "thickness": 10,
            "lenmode": "pixels",
            "len": 140,
            "tickangle": 0,
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "bottom",
            "outlinewidth": 0,
            "tickfont": {"size": 11},
            "title": {"text": "share of quota", "side": "top", "font": {"size": 12}},
        },
        "xhoverformat": "%d %b %Y %H:%M UTC",
        "hovertemplate": "%{customdata}<br>%{x}<extra></extra>",
    }


def _cell(row: Row) -> str:
    return f"{escaped(name(row['membership_id']))}<br>{row['most_open']} open of {row['quota']} allowed"


def _capacity_table(memberships: Sequence[str], rows: Sequence[Row]) -> Table:
    lines = []
    for each in memberships:
        own = [row for row in rows if row["membership_id"] == each]
        peak = max(row["most_open"] for row in own)
        full = sum(row["full_hours"] for row in own)
        lines.append([name(each), number(peak), number(own[0]["quota"]), number(full)])
    return Table(
        "Capacity used, by membership",
        ["membership", "most open at once", "quota", "hours at the quota"],
        lines,
        frozenset({1, 2, 3}),
    )
