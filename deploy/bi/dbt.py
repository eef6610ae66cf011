"""Runs dbt on the project: how fresh the sources are, then all models and tests."""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.bi.seen import DEPLOY, ROOT, Seen, run
from deploy.bi.world import SCHEMA, World

PROGRAM = ROOT / ".venv/dbt/bin/dbt"


def check(world: World) -> Iterator[Seen]:
    """Run `dbt source freshness` and `dbt build` as the role of dbt; each file that they leave tells the rest."""
    with tempfile.TemporaryDirectory() as folder:
        environ = _environ(world, folder)
        run(PROGRAM, "source", "freshness", environ=environ, folder=DEPLOY / "dbt")
        yield from _freshness(world, _results(folder, "sources"))
        run(PROGRAM, "build", environ=environ, folder=DEPLOY / "dbt")
        yield from _build(_results(folder, "run_results"))
        yield from _models(world)


def _environ(world: World, folder: str) -> dict[str, str]:
    role = world.modeller
    return {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "PGHOST": str(role.host),
        "PGPORT": str(role.port),
        "PGUSER": str(role.username),
        "PGDATABASE": str(role.database),
        "PGSSLMODE": "disable",
        "DBT_ENV_SECRET_PASSWORD": str(role.password),
        "DBT_SCHEMA": SCHEMA,
        "DBT_TARGET_PATH": folder,
        "DBT_LOG_PATH": folder,
    }


def _results(folder: str, name: str) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = json.loads(Path(folder, f"{name}.json").read_text("utf-8"))["results"]
    return results


def _freshness(world: World, results: list[dict[str, Any]]) -> Iterator[Seen]:
    expected = {
        "sync_freshness": "SELECT min(last_complete_at) FROM cleanrooms.sync_freshness",
        "sync_runs": "SELECT max(finished_at) FROM cleanrooms.sync_runs WHERE outcome = 'complete'",
    }
    found = {result["unique_id"].rpartition(".")[2]: result for result in results}
    if names := found.keys() ^ expected.keys():
        yield Seen(f"freshness of {', '.join(sorted(names))} is not as expected", is_well=False)
    for name, result in found.items():
        at = datetime.fromisoformat(result["max_loaded_at"])
        yield Seen(
            f"freshness of {name}: {result['status']}, {result['max_loaded_at_time_ago_in_s']:.0f} seconds old",
            result["status"] == "pass" and at == world.ask(expected[name]),
        )


def _build(results: list[dict[str, Any]]) -> Iterator[Seen]:
    statuses = Counter(result["status"] for result in results)
    told = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    yield Seen(f"build: {told}", statuses.keys() == {"success", "pass"})


def _models(world: World) -> Iterator[Seen]:
    """Compare what dbt has made with the view that it is made from."""
    jobs = world.ask("SELECT count(*) FROM cleanrooms.inference_jobs")
    for query in ("SELECT count(*) FROM analytics.jobs", "SELECT sum(jobs) FROM analytics.model_days"):
        shown = world.ask(query)
        yield Seen(f"{query}: {shown}; of the view {jobs}", shown == jobs)
