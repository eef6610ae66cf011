"""Checks the shape of Grafana's dashboard. `make check-bi` runs its SQL."""

import json
from collections.abc import Iterator

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.checks.tools import DEPLOY

DASHBOARD = DEPLOY / "grafana/cleanroomsml.json"


def grafana() -> Iterator[str]:
    """Read the dashboard with Grafana's own types, write it again, and compare: what they do not know is lost."""
    register_default_plugins()  # the options of each kind of panel
    given = json.loads(DASHBOARD.read_text("utf-8"))
    known = json.loads(json.dumps(Dashboard.from_json(given), cls=JSONEncoder))
    yield from lost(given, known, DASHBOARD.name)


def lost(given: object, known: object, place: str) -> Iterator[str]:
    """Yield what is not the same in what Grafana's types made of it; defaults that they add are well."""
    match given, known:
        case dict(), dict():
            for key, value in given.items():
                yield from lost(value, known.get(key), f"{place}: {key}")
        case list(), list() if len(given) == len(known):
            for number, (one, other) in enumerate(zip(given, known, strict=True)):
                yield from lost(one, other, f"{place}: {number}")
        case _:
            if given != known:
                yield f"{place}: {given!r} is {known!r} to Grafana"
