"""A Postgres of our own with two weeks of the demo's jobs in it, and the roles that look at them."""

import os
import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import URL, text

from deploy.bi.seen import run
from etl import database
from etl.config import Config
from etl.demo.endpoint import Endpoint
from etl.demo.scenario import Scenario
from etl.loading import from_mapping
from etl.local_postgres import throw_away
from etl.sweep import register, sweep
from etl.tour import CREDENTIALS

STRETCH, SWEEPS = timedelta(hours=2), 168
"""Two weeks, so that charts by week have something to show: about 3,000 jobs, and 20 seconds to make."""

SCHEMA = "analytics"
"""Where dbt writes."""


@dataclass(frozen=True)
class World:
    """The database, as each of its roles reaches it."""

    owner: URL
    reader: URL
    modeller: URL

    def ask(self, query: str) -> Any:
        """Return the one value that a query of ours tells, as the owner."""
        with database.connect(self.owner.render_as_string(hide_password=False)) as connection, connection.begin():
            return connection.execute(text(query)).scalar_one()


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a migrated database, which is gone afterwards."""
    with throw_away() as postgres:
        url = postgres.start()
        with database.connect(url) as connection:
            database.upgrade(connection)
        yield url


def made(url: str) -> World:
    """Let the demo's world move, sync it all the while, and let in who reads it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]  # a profile or a region of yours has no place in it
    os.environ.update(CREDENTIALS, AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    scenario = Scenario(datetime.now(UTC), sweeps=SWEEPS, stretch=STRETCH)
    with Endpoint(scenario.world) as endpoint:
        _sync(_config(url, endpoint.url, scenario), scenario)
    return _let_in(url)


def _config(url: str, endpoint_url: str, scenario: Scenario) -> Config:
    return from_mapping(
        {
            "database": {"url": SecretStr(url)},
            "aws": {"endpoint_url": endpoint_url},
            "membership": [{"id": each.id, "region": each.region} for each in scenario.memberships],
        },
        {},
    )


def _sync(config: Config, scenario: Scenario) -> None:
    register(config)
    with ThreadPoolExecutor(config.aws.max_concurrency) as executor:
        for _ in scenario:
            for report in sweep(config, config.memberships, executor):
                if report.error is not None:
                    raise RuntimeError(f"{report.membership_id}: {report.error}")


def _let_in(url: str) -> World:
    """Make a reader as an operator would, and one that dbt is: it reads as the other does, and owns a schema."""
    run(
        Path(sys.executable).with_name("etl"),
        "db",
        "grant",
        "analyst",
        environ={"PATH": os.environ["PATH"], "ETL_DATABASE_URL": url},
    )
    password = secrets.token_urlsafe()
    with database.connect(url) as connection, connection.begin():
        for statement in (
            f"ALTER ROLE analyst PASSWORD '{password}'",
            f"CREATE ROLE modeller LOGIN PASSWORD '{password}' IN ROLE analyst",
            f"CREATE SCHEMA {SCHEMA} AUTHORIZATION modeller",
        ):
            connection.execute(text(statement))
    owner = database.parse(url)
    return World(owner, *(owner.set(username=role, password=password) for role in ("analyst", "modeller")))
