"""Runs the SQL of the dashboard's panels, with its variables and macros replaced as Grafana replaces them.

Variables are replaced in the browser; macros afterwards by the PostgreSQL data source, whose words these are.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from deploy.bi.questions import QUESTIONS, Question, Row, compared, number
from deploy.bi.seen import DEPLOY, Seen
from deploy.bi.world import World
from etl import database

DASHBOARD = DEPLOY / "grafana/cleanroomsml.json"

_MACRO = re.compile(r"\$__(\w+)\(([^)]*)\)")
_SECONDS = {"h": 3600, "d": 86400}
_RANGE = timedelta(days=30)


def panels() -> dict[str, dict[str, Any]]:
    """Return the panels by their titles."""
    return {panel["title"]: panel for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]}


def variables() -> dict[str, Any]:
    """Return the template variables by their names."""
    return {each["name"]: each for each in json.loads(DASHBOARD.read_text("utf-8"))["templating"]["list"]}


def interpolated(query: str, values: Mapping[str, str], now: datetime) -> str:
    """Return the SQL that Postgres is sent; raises `ValueError` for what Grafana would not replace."""
    for name, value in values.items():
        query = query.replace(name, value)
    query = _MACRO.sub(lambda macro: _macro(macro[1], [each.strip() for each in macro[2].split(",")], now), query)
    if "$" in query:
        raise ValueError(f"what is {query[query.index('$') :].split()[0]}")
    return query


def _macro(name: str, arguments: list[str], now: datetime) -> str:
    match name, arguments:
        case "timeFilter", [column]:
            return f"{column} BETWEEN '{_moment(now - _RANGE)}' AND '{_moment(now)}'"
        case "timeGroupAlias", [column, interval]:
            seconds = int(interval.strip("'")[:-1]) * _SECONDS[interval.strip("'")[-1]]
            return f'floor(extract(epoch from {column})/{seconds})*{seconds} AS "time"'
    raise ValueError(f"what is $__{name}")


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def check(world: World) -> Iterator[Seen]:
    """Ask the question of each panel, as the reader, and compare a number of its answer."""
    shown = panels()
    if names := shown.keys() ^ {question.name for question in QUESTIONS}:
        yield Seen(f"only asked, or only in the dashboard: {', '.join(sorted(names))}", is_well=False)
    memberships = [row["membership_id"] for row in _rows(world, variables()["membership"]["query"])]
    values = {
        "${membership:sqlstring}": ",".join(f"'{each}'" for each in memberships),
        "$grain": variables()["grain"]["current"]["value"],
    }
    yield Seen(f"the variable membership offers {len(memberships)}", bool(memberships))
    for question in QUESTIONS:
        try:
            yield from _answer(world, question, shown[question.name]["targets"][0], values)
        except (DBAPIError, ValueError) as error:
            yield Seen(f"{question.name}: {error}", is_well=False)


def _answer(
    world: World, question: Question, target: Mapping[str, str], values: Mapping[str, str]
) -> Iterator[Seen]:
    rows = _rows(world, interpolated(target["rawSql"], values, datetime.now(UTC)))
    is_series = target["format"] == "time_series"
    if is_series and not _is_series(rows):
        yield Seen(f"{question.name}: is no time series in order", is_well=False)
    time = "time" if is_series else None
    shown = number(rows, question.grafana, time=time, is_latest=question.is_latest)
    yield compared(question, len(rows), shown, world.ask(question.query))


def _rows(world: World, query: str) -> list[Row]:
    address = world.reader.render_as_string(hide_password=False)
    with database.connect(address) as connection, connection.begin():
        return [dict(row) for row in connection.execute(text(query.replace(":", r"\:"))).mappings()]


def _is_series(rows: list[Row]) -> bool:
    """Tell whether rows are what Grafana draws over time: ordered, and no label but one named metric."""
    labels = {name for row in rows for name, value in row.items() if isinstance(value, str)}
    return labels <= {"metric"} and rows == sorted(rows, key=lambda row: row["time"])
