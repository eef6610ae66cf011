"""What the tests stand on: a real Postgres, migrated by the real migrations, and the simulated endpoint."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from etl import clients, database, jobs, loading, sweep
from etl.config import Config
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.world import World
from etl.local_postgres import throw_away
from etl.sync import SyncReport, sync_membership

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there has a folder of its own, with a name of its own
_ENOUGH = 4 << 30  # bytes: four servers, as many as `make test` has, take a quarter of it

_numbers = count(1)


def pytest_configure() -> None:
    """End in order when told to: a Postgres of ours must not outlive a test run that was stopped.

    A shell lets what it runs in the background ignore Ctrl-C, and our children would inherit that.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a throw-away server, for the whole session."""
    with ExitStack() as stack:
        with temporary_in_memory():
            postgres = stack.enter_context(throw_away(max_wal_size="256MB"))
        yield postgres.start()


@contextmanager
def temporary_in_memory() -> Iterator[None]:
    """Let temporary folders be made in memory, if there is much of it.

    Each test has a database of its own, which is 300 files: to make them, and to remove them, takes up to a third
    of a second on a disk that is busy.
    """
    with pytest.MonkeyPatch.context() as patch:
        if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH and not _forbids_programs(_MEMORY):
            patch.setattr(tempfile, "tempdir", str(_MEMORY))
            patch.setenv("TMPDIR", str(_MEMORY))
        yield


def _forbids_programs(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)


@pytest.fixture(scope="session")
def template(server: str) -> str:
    """The name of a migrated database to copy."""
    administer(server, "CREATE DATABASE migrated")
    with database.connect(named(server, "migrated")) as connection:
        database.upgrade(connection)
    return "migrated"


@pytest.fixture
def database_url(server: str, template: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    yield from _database(server, f"TEMPLATE {template}")


@pytest.fixture
def empty_database_url(server: str) -> Iterator[str]:
    """A database of the test's own that nobody has migrated."""
    yield from _database(server, "")


def _database(server: str, how: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    administer(server, f"CREATE DATABASE {name} {how}")
    yield named(server, name)
    administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def administer(server: str, statement: str) -> None:
    """Execute what no transaction may be around."""
    with database.engine(server).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))


def named(server: str, name: str) -> str:
    """Return the URL of a database of the server."""
    return database.parse(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(autouse=True)
def _no_aws_but_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are worth nothing, and no configuration of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "ETL_", "PG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "worthless")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture
def clock() -> Clock:
    """The simulated service's clock, which stands at noon until a test moves it."""
    return Clock(NOON)


@pytest.fixture
def world(clock: Clock) -> World:
    return World(clock)


@pytest.fixture
def membership(world: World) -> Membership:
    return world.add_membership()


@pytest.fixture
def endpoint(world: World) -> Iterator[Endpoint]:
    with Endpoint(world) as endpoint:
        yield endpoint
    clients.begin_all_anew()  # a later endpoint may have the same port, but not the same credentials


@dataclass
class Etl:
    """The product, pointed at a database and the simulated endpoint."""

    config: Config

    def sync(self) -> SyncReport:
        """Sync the first membership, in this thread."""
        sweep.register(self.config)
        return sync_membership(self.config, self.config.memberships[0])

    def sweep(self) -> dict[str, SyncReport]:
        """Sync all memberships, on threads."""
        sweep.register(self.config)
        with ThreadPoolExecutor(4) as executor:
            return {
                report.membership_id: report
                for report in sweep.sweep(self.config, self.config.memberships, executor)
            }

    def query(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a query, as dictionaries."""
        with database.connect(self.config.database.address()) as connection, connection.begin():
            return [dict(row) for row in connection.execute(text(statement), parameters).mappings()]

    def execute(self, statement: str, **parameters: Any) -> None:
        """Run a statement for its effect."""
        with database.connect(self.config.database.address()) as connection, connection.begin():
            connection.execute(text(statement), parameters)


MakeEtl = Callable[..., Etl]


@pytest.fixture
def make_etl(database_url: str, endpoint: Endpoint, world: World) -> MakeEtl:
    """Make a product for all of the world's memberships, with settings of the test's own.

    `memberships` replaces them; every other keyword is a section of the configuration. No grace, so that absence
    is a matter of listings alone, and no quick sweeps.
    """

    def make(*, memberships: list[dict[str, Any]] | None = None, **sections: dict[str, Any]) -> Etl:
        listed = memberships or [{"id": each.id, "region": each.region} for each in world.memberships.values()]
        settings: dict[str, Any] = {
            "database": {"url": database_url},
            "aws": {"endpoint_url": endpoint.url, **sections.pop("aws", {})},
            "sync": {"absence_grace": "0s", "full_every": "0s", **sections.pop("sync", {})},
            "membership": listed,
            **sections,
        }
        return Etl(loading.from_mapping(settings, {}))

    return make


@pytest.fixture
def etl(make_etl: MakeEtl, membership: Membership) -> Etl:
    """The product for one membership."""
    assert membership
    return make_etl()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the items that are decoded from now on."""
    items: list[bytes] = []
    decode = jobs.decode

    def noted(item: bytes, membership_id: str, latest: datetime) -> jobs.Decoded:
        items.append(item)
        return decode(item, membership_id, latest)

    monkeypatch.setattr(jobs, "decode", noted)
    return items
