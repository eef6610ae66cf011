"""A database as its owner has set it up: whatever that is does no harm, or is told in one line."""

from collections.abc import Iterator

import pytest
from conftest import MakeEtl, administer, named
from sqlalchemy import text

from etl import database, verify
from etl.demo.membership import Membership
from etl.demo.world import World

FAR = "\u72b6\u614b"


@pytest.fixture(
    params=[
        "DateStyle = 'SQL, DMY'",
        "DateStyle = 'German'",
        "DateStyle = 'Postgres, MDY'",
        "client_encoding = 'LATIN1'",
        "client_encoding = 'SQL_ASCII'",
        "array_nulls = off",
        "search_path = public, pg_temp",
        "PGDATESTYLE = German",
        "PGCLIENTENCODING = LATIN1",
    ]
)
def odd(request: pytest.FixtureRequest, database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database with a setting that nobody expects, and a table where a temporary one would be."""
    if request.param.startswith("PG"):
        monkeypatch.setenv(*request.param.split(" = "))
        return database_url
    with database.connect(database_url) as connection, connection.begin():
        connection.execute(text("CREATE TABLE public.staged_job (job_arn text)"))
        name = database.parse(database_url).database
        connection.execute(text(f"ALTER DATABASE {name} SET {request.param}"))
    return database_url


def test_no_setting_gets_in_the_way(odd: str, make_etl: MakeEtl, world: World, membership: Membership) -> None:
    etl = make_etl(database={"url": odd})
    jobs = [world.create_job(membership, name=f"{FAR} {number}") for number in range(3)]
    world.override(jobs[1], {"news": FAR})
    assert etl.sync().outcome == "complete"
    world.set_status(jobs[0], "ACTIVE")
    world.create_job(membership)
    assert etl.sync().outcome == "complete"
    rows = etl.query("SELECT name, status, update_time FROM cleanrooms.inference_jobs ORDER BY name")
    told = sorted((job.name, job.status, job.update_time) for job in world.jobs(membership))
    assert [(row["name"], row["status"], row["update_time"]) for row in rows] == told
    with database.connect(odd) as connection:
        assert [finding.check.name for finding in verify.findings(connection) if finding.broken] == []


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def narrow(request: pytest.FixtureRequest, server: str) -> Iterator[str]:
    """A database in which not all names fit."""
    administer(server, f"CREATE DATABASE narrow ENCODING '{request.param}' LOCALE 'C' TEMPLATE template0")
    yield named(server, "narrow")
    administer(server, "DROP DATABASE narrow WITH (FORCE)")


def test_a_database_in_which_not_all_names_fit_is_refused(narrow: str) -> None:
    with pytest.raises(database.DatabaseError, match=r"encoding is \w+: .* make one with ENCODING 'UTF8'$"):
        database.connect(narrow)
