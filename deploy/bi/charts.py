"""Imports the dashboard into a Superset in both ways there are, and asks for the data of each chart."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.bi.questions import QUESTIONS, Question, compared, number
from deploy.bi.seen import Failed, Seen
from deploy.bi.superset import DATABASE_FILE, Superset, zipped
from deploy.bi.world import World

_ALL = "?q=(page_size:100)"
_MASK = "XXXXXXXXXX"  # what Superset takes for a password that is asked for

Json = dict[str, Any]


def check(world: World) -> Iterator[Seen]:
    """Import and look at it as a newcomer would: by the command line, then by the API that the page uses."""
    with tempfile.TemporaryDirectory() as folder:
        superset = Superset(Path(folder))
        superset.prepare()
        whole = world.reader.set(drivername="postgresql+psycopg2")
        file = zipped(superset.folder / "whole.zip", whole.render_as_string(hide_password=False))
        superset.command("import-dashboards", "--path", file, "--username", "admin")
        with superset.served():
            yield _imported(superset, "by the command line")
            _forget(superset)
            file = zipped(
                superset.folder / "masked.zip", whole.set(password=_MASK).render_as_string(hide_password=False)
            )
            yield _asks_for_password(superset, file)
            passwords = json.dumps({DATABASE_FILE: world.reader.password})
            superset.upload("dashboard/import/", file, passwords=passwords, overwrite="true")
            yield _imported(superset, "by the API, with the password asked for")
            yield from _look(superset, world)


def _asks_for_password(superset: Superset, file: Path) -> Seen:
    """Import without a password: by this refusal the page knows that it is to ask for one."""
    try:
        superset.upload("dashboard/import/", file)
    except Failed as refusal:
        return Seen("asks for the password", "Must provide a password for the database" in str(refusal))
    return Seen("does not ask for the password", is_well=False)


def _imported(superset: Superset, how: str) -> Seen:
    counts = {
        kind: superset.ask("GET", f"{kind}/{_ALL}")["count"]
        for kind in ("database", "dataset", "chart", "dashboard")
    }
    told = ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in counts.items())
    return Seen(f"imported {how}: {told}", list(counts.values()) == [1, 7, len(QUESTIONS), 1])


def _forget(superset: Superset) -> None:
    """Remove all that was imported: an import leaves charts, datasets and databases that it knows as they are."""
    for kind in ("chart", "dashboard", "dataset", "database"):
        for each in superset.ask("GET", f"{kind}/{_ALL}")["result"]:
            superset.ask("DELETE", f"{kind}/{each['id']}")


def _look(superset: Superset, world: World) -> Iterator[Seen]:
    charts = {each["slice_name"]: each["id"] for each in superset.ask("GET", f"chart/{_ALL}")["result"]}
    if names := charts.keys() ^ {question.name for question in QUESTIONS}:
        yield Seen(f"only asked, or only in the dashboard: {', '.join(sorted(names))}", is_well=False)
    filters = _filters(superset, world)
    for question in QUESTIONS:
        try:
            yield from _chart(superset, world, question, charts[question.name], filters)
        except Failed as error:
            yield Seen(f"{question.name}: {error}", is_well=False)


def _chart(superset: Superset, world: World, question: Question, chart: int, filters: Json) -> Iterator[Seen]:
    kept = superset.ask("GET", f"chart/{chart}")["result"]
    params, context = json.loads(kept["params"]), json.loads(kept["query_context"])
    if _asked(params) != _asking(context["queries"][0]):
        yield Seen(f"{question.name}: query_context asks for something else than params", is_well=False)
    yield _answer(superset, world, question, chart, context)
    yield _filtered(superset, question, context, filters)


def _asked(params: Json) -> tuple[Any, ...]:
    """Return what a chart shows, by its own settings."""
    metrics = params.get("metrics", [params["metric"]] if "metric" in params else [])
    axis = [params["x_axis"]] if "x_axis" in params else []
    columns = params.get("all_columns", axis + params.get("groupby", []))
    filters = [(each["subject"], each["operator"]) for each in params["adhoc_filters"]]
    return metrics, columns, filters, params.get("time_grain_sqla")


def _asking(query: Json) -> tuple[Any, ...]:
    """Return the same of a query that was saved with the chart."""
    columns = [each if isinstance(each, str) else each["label"] for each in query["columns"]]
    filters = [(each["col"], each["op"]) for each in query["filters"]]
    return query.get("metrics", []), columns, filters, query["extras"].get("time_grain_sqla")


def _answer(superset: Superset, world: World, question: Question, chart: int, context: Json) -> Seen:
    (result,) = superset.ask("GET", f"chart/{chart}/data/")["result"]
    rows = result["data"]
    axes = [each["label"] for each in context["queries"][0]["columns"] if isinstance(each, dict)]
    shown = question.superset_unit * number(
        rows, question.superset, time=axes[0] if axes else None, is_latest=question.is_latest
    )
    return compared(question, len(rows), shown, world.ask(question.query))


def _filters(superset: Superset, world: World) -> Json:
    """Return what the dashboard's own filters add to a query: a time range, and here one membership."""
    (dashboard,) = superset.ask("GET", f"dashboard/{_ALL}")["result"]
    metadata = json.loads(superset.ask("GET", f"dashboard/{dashboard['id']}")["result"]["json_metadata"])
    (ours,) = [each for each in metadata["native_filter_configuration"] if each["filterType"] == "filter_time"]
    return {
        "TEMPORAL_RANGE": ours["defaultDataMask"]["extraFormData"]["time_range"],
        "membership": world.ask("SELECT membership_id FROM cleanrooms.open_jobs ORDER BY 1 LIMIT 1"),
    }


def _filtered(superset: Superset, question: Question, context: Json, filters: Json) -> Seen:
    """Ask with the filters of the dashboard, and look whether they are heeded."""
    query = context["queries"][0]
    for each in query["filters"]:
        each["val"] = filters.get(each["op"], each.get("val"))
    query["filters"].append({"col": "membership_id", "op": "IN", "val": [filters["membership"]]})
    (result,) = superset.ask("POST", "chart/data", context)["result"]
    rows = result["data"]
    others = {row["membership_id"] for row in rows if "membership_id" in row} - {filters["membership"]}
    return Seen(
        f"{question.name}, of one membership: {len(rows)} row{'s' * (len(rows) != 1)}", bool(rows) and not others
    )
