"""The migrations, on every PostgreSQL that this machine has: up, down and up again, and never halfway."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import downgrade, upgrade
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from conftest import MINUTE, Etl, MakeEtl
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from etl import database, tables, verify
from etl.demo.clock import Clock
from etl.demo.membership import Membership
from etl.demo.resources import Job
from etl.demo.world import World
from etl.local_postgres import throw_away

ROOT = Path(__file__).parent.parent
MIGRATIONS = ROOT / "migrations"
SYSTEM = Path("/usr/lib/postgresql")


def servers() -> list[Any]:
    """The private server, and whatever else is installed of the majors that are served."""
    installed = [folder for folder in SYSTEM.glob("[1-9][0-9]/bin") if int(folder.parent.name) >= 15]
    return [pytest.param(folder, id=f"PostgreSQL {folder.parent.name}") for folder in sorted(installed)]


@pytest.fixture(scope="module", params=[pytest.param(None, id="private"), *servers()])
def any_server(request: pytest.FixtureRequest) -> Iterator[str]:
    with throw_away(request.param) as postgres:
        yield postgres.start()


def config_for(connection: Connection, folder: Path = MIGRATIONS) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes["connection"] = connection
    return config


def differences(connection: Connection) -> list[Any]:
    """What `alembic revision --autogenerate` would write."""
    with connection.begin():
        options = {
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == tables.SCHEMA,
            "version_table_schema": tables.SCHEMA,
        }
        found: list[Any] = compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)
        return found


def objects(connection: Connection) -> set[tuple[str, str]]:
    """Everything that lies in our schemas, but for what Alembic itself keeps."""
    query = """
        SELECT 'relation', oid::regclass::text FROM pg_class
        WHERE relnamespace::regnamespace::text LIKE 'cleanrooms%'
        UNION ALL
        SELECT 'function', oid::regprocedure::text FROM pg_proc
        WHERE pronamespace::regnamespace::text LIKE 'cleanrooms%'
    """
    with connection.begin():
        found = {(kind, name) for kind, name in connection.execute(text(query))}
    return {item for item in found if "alembic_version" not in item[1]}


def columns(connection: Connection) -> set[str]:
    """Every column of our tables and views, with its comment."""
    query = """
        SELECT concat_ws(' ', attrelid::regclass, attname, attnum, col_description(attrelid, attnum))
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace::regnamespace::text LIKE 'cleanrooms%' AND relkind IN ('r', 'v')
            AND attnum > 0 AND NOT attisdropped
    """
    with connection.begin():
        return set(connection.scalars(text(query)))


def small_print(connection: Connection) -> set[str]:
    """What `compare_metadata` does not look at."""
    query = """
        SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'cleanrooms_etl'::regnamespace
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'cleanrooms_etl'
        UNION ALL SELECT table_name || ' ' || column_name || ' ' || column_default FROM information_schema.columns
        WHERE table_schema = 'cleanrooms_etl' AND column_default IS NOT NULL
        UNION ALL SELECT sequencename FROM pg_sequences WHERE schemaname = 'cleanrooms_etl'
    """
    return {line for line in connection.scalars(text(query)) if "alembic_version" not in line}


def test_up_down_and_up_again_is_the_schema_of_the_code_on_every_supported_postgres(any_server: str) -> None:
    with database.connect(any_server) as connection:
        database.upgrade(connection)
        assert differences(connection) == []
        first = objects(connection)
        downgrade(config_for(connection), "base")
        assert objects(connection) == set()
        assert database.current_revision(connection) is None
        database.upgrade(connection)
        assert objects(connection) == first
        assert differences(connection) == []


def test_each_revision_can_be_taken_back_alone(empty_database_url: str) -> None:
    with database.connect(empty_database_url) as connection:
        script = ScriptDirectory.from_config(config_for(connection))
        seen: dict[str, set[str]] = {}
        for revision in sorted(each.revision for each in script.walk_revisions()):
            upgrade(config_for(connection), revision)
            seen[revision] = columns(connection)
        for revision in sorted(seen, reverse=True):
            assert columns(connection) == seen[revision]
            downgrade(config_for(connection), "-1")


def test_a_history_from_before_the_analysis_gets_all_that_a_sync_would_have_kept(
    make_etl: MakeEtl, world: World, clock: Clock
) -> None:
    kept = "SELECT to_jsonb(job) AS row FROM cleanrooms_etl.inference_job AS job ORDER BY job_key"
    shown = [
        f"SELECT to_jsonb(shown) AS row FROM cleanrooms.{view} AS shown ORDER BY to_jsonb(shown)"  # noqa: S608
        for view in ("job_timings", "model_reliability", "status_counts_hourly", "capacity", "status_transitions")
    ]
    etl = years_of_syncs(make_etl, world, clock)
    before = [etl.query(query) for query in (kept, *shown)]
    with database.connect(etl.config.database.address()) as connection:
        downgrade(config_for(connection), "0002")
        database.upgrade(connection)
    assert [etl.query(query) for query in (kept, *shown)] == before
    assert etl.query("SELECT FROM cleanrooms_etl.membership WHERE uncounted_hours_from IS NOT NULL") == []
    with database.connect(etl.config.database.address()) as connection:
        assert [finding for finding in verify.findings(connection) if finding.broken] == []


def years_of_syncs(make_etl: MakeEtl, world: World, clock: Clock) -> Etl:
    """Two memberships with jobs of all fates, synced after each step."""
    fates = (
        ("CREATE_IN_PROGRESS", "ACTIVE"),
        ("CREATE_IN_PROGRESS", "CREATE_FAILED"),
        ("ACTIVE",),
        ("CREATE_IN_PROGRESS", "CANCEL_PENDING", "CANCEL_IN_PROGRESS", "INACTIVE"),
        ("CANCEL_PENDING", "CANCEL_FAILED"),
        ("CREATE_IN_PROGRESS", "ON_THE_MOON"),
        ("CREATE_IN_PROGRESS", "ACTIVE", "CREATE_IN_PROGRESS", "ACTIVE"),
        ("CREATE_IN_PROGRESS",),
    )
    memberships = [world.add_membership(), world.add_membership()]
    jobs = [(world.create_job(membership), fate) for membership in memberships for fate in fates]
    gone = world.create_job(memberships[0], status="ACTIVE")
    back = {
        world.create_job(memberships[1], status=before): after
        for before, after in (
            ("ACTIVE", "ACTIVE"),
            ("CREATE_PENDING", "CREATE_IN_PROGRESS"),
            ("CREATE_IN_PROGRESS", "CANCEL_PENDING"),
            ("CREATE_IN_PROGRESS", "ACTIVE"),
        )
    }
    etl = make_etl()
    etl.sweep()
    world.remove(memberships[0], gone)
    for job in back:
        world.remove(memberships[1], job)
    for step in range(4):
        clock.advance(50 * MINUTE)
        for job, fate in jobs:
            if step < len(fate):
                world.set_status(job, fate[step])
        etl.sweep()
    for job, after in back.items():
        come_back(etl, world, memberships[1], job, after)
        if after == "CREATE_IN_PROGRESS":  # one that goes once more
            world.remove(memberships[1], job)
            etl.sweep()
            etl.sweep()
            come_back(etl, world, memberships[1], job, "ACTIVE")
    return etl


def come_back(etl: Etl, world: World, membership: Membership, job: Job, status: str) -> None:
    if job.status != status:
        world.set_status(job, status)
    world.put_back(membership, job)
    etl.sweep()


def test_what_a_job_did_while_it_was_not_listed_is_bounded_anew(
    make_etl: MakeEtl, world: World, clock: Clock
) -> None:
    spans = ("started", "cancel", "ended")
    kept = f"SELECT {'_not_before, '.join(spans)}_not_before FROM cleanrooms_etl.inference_job ORDER BY job_key"  # noqa: S608
    etl = years_of_syncs(make_etl, world, clock)
    after = etl.query(kept)
    with database.connect(etl.config.database.address()) as connection:
        downgrade(config_for(connection), "0006.1")
        before = etl.query(kept)
        database.upgrade(connection)
    assert etl.query(kept) == after
    changed = {name for old, new in zip(before, after, strict=True) for name in old if old[name] != new[name]}
    assert changed == {f"{span}_not_before" for span in spans}
    assert all(
        old[name] > new[name]
        for old, new in zip(before, after, strict=True)
        for name in changed
        if old[name] != new[name]
    )


def test_there_is_one_head_and_it_is_the_revision_that_the_code_knows() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [tables.REVISION]


def test_constraints_indexes_and_defaults_are_those_of_the_code(
    database_url: str, empty_database_url: str
) -> None:
    with database.connect(empty_database_url) as connection, connection.begin():
        connection.execute(text(f"CREATE SCHEMA {tables.SCHEMA}"))
        tables.metadata.create_all(connection)
        of_the_code = small_print(connection)
    with database.connect(database_url) as connection, connection.begin():
        assert small_print(connection) == of_the_code


def test_revisions_are_numbers_so_that_they_compare(empty_database_url: str) -> None:
    with database.connect(empty_database_url) as connection:
        script = ScriptDirectory.from_config(config_for(connection))
    revisions = [revision.revision for revision in script.walk_revisions()][::-1]
    assert all(re.fullmatch(r"\d{4}(\.\d+)?", revision) for revision in revisions)
    numbers = [tuple(map(int, revision.split("."))) for revision in revisions]
    assert numbers == sorted(set(numbers))


def test_an_upgrade_repeated_changes_nothing(database_url: str) -> None:
    with database.connect(database_url) as connection:
        before = objects(connection)
        database.upgrade(connection)
        assert objects(connection) == before
        assert database.current_revision(connection) == tables.REVISION


def test_a_schema_of_a_newer_release_is_left_alone(database_url: str) -> None:
    with database.connect(database_url) as connection:
        with connection.begin():
            connection.execute(text("UPDATE cleanrooms_etl.alembic_version SET version_num = '9999'"))
        with pytest.raises(database.DatabaseError, match="newer release"):
            database.upgrade(connection)
        assert database.current_revision(connection) == "9999"


@pytest.mark.parametrize("revision", [f"{tables.REVISION}.1", f"{tables.REVISION}.12"])
def test_a_schema_that_was_only_added_to_can_be_worked_with(database_url: str, revision: str) -> None:
    with database.connect(database_url) as connection:
        with connection.begin():
            connection.execute(
                text("UPDATE cleanrooms_etl.alembic_version SET version_num = :it"), {"it": revision}
            )
        database.check_revision(connection)
        database.upgrade(connection)  # as a release does that was rolled back
        assert database.current_revision(connection) == revision


def test_a_revision_that_is_none_of_ours_is_told(database_url: str) -> None:
    with database.connect(database_url) as connection:
        with connection.begin():
            connection.execute(text("UPDATE cleanrooms_etl.alembic_version SET version_num = '1975ea83b712'"))
        with pytest.raises(database.DatabaseError, match="1975ea83b712 is none of ours"):
            database.check_revision(connection)


@pytest.mark.parametrize("revision", ["0005.7", "0006.0.1"])
def test_an_older_revision_of_another_line_is_told(database_url: str, revision: str) -> None:
    with database.connect(database_url) as connection:
        with connection.begin():
            connection.execute(
                text("UPDATE cleanrooms_etl.alembic_version SET version_num = :it"), {"it": revision}
            )
        with pytest.raises(database.DatabaseError, match=f"{revision}, from which this release knows no way"):
            database.upgrade(connection)


def test_a_migration_that_fails_halfway_changes_nothing(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, broken)
    last = broken / "sql/0001_sync_freshness.sql"
    last.write_text(last.read_text() + "ALTER TABLE cleanrooms_etl.membership DROP no_such_column;\n")
    monkeypatch.setattr(database, "_migrations", lambda: broken)
    with database.connect(empty_database_url) as connection:
        with pytest.raises(database.DatabaseError, match='changed nothing: column "no_such_column"'):
            database.upgrade(connection)
        assert objects(connection) == set()
        assert database.current_revision(connection) is None


def test_alembic_itself_migrates_from_a_checkout(empty_database_url: str) -> None:
    alembic = [sys.executable, "-m", "alembic", "-c", str(ROOT / "alembic.ini")]
    environ = {**os.environ, "ETL_DATABASE_URL": empty_database_url}
    for words in (["upgrade", "head"], ["check"]):
        done = subprocess.run(  # noqa: S603 - our own words
            [*alembic, *words], check=False, env=environ, cwd="/", capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    with database.connect(empty_database_url) as connection:
        database.check_revision(connection)


@pytest.mark.parametrize("change", ["UPDATE {} SET run_id = run_id", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
@pytest.mark.parametrize("history", ["status_transition", "job_edit"])
def test_history_refuses_to_be_changed(database_url: str, history: str, change: str) -> None:
    statement = change.format(f"{tables.SCHEMA}.{history}")
    with (
        database.connect(database_url) as connection,
        pytest.raises(DBAPIError, match=f"{history} is append-only"),
        connection.begin(),
    ):
        connection.execute(text(statement))


def test_whatever_people_read_is_explained_by_a_comment(database_url: str) -> None:
    silent = """
        SELECT oid::regnamespace::text FROM pg_namespace
        WHERE nspname LIKE 'cleanrooms%' AND obj_description(oid, 'pg_namespace') IS NULL
        UNION ALL
        SELECT oid::regclass::text FROM pg_class
        WHERE relnamespace::regnamespace::text LIKE 'cleanrooms%' AND relkind IN ('r', 'v')
            AND relname <> 'alembic_version' AND obj_description(oid, 'pg_class') IS NULL
        UNION ALL
        SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'cleanrooms'::regnamespace AND relkind = 'v' AND attnum > 0
            AND col_description(attrelid, attnum) IS NULL
        UNION ALL
        SELECT oid::regprocedure::text FROM pg_proc
        WHERE pronamespace::regnamespace::text LIKE 'cleanrooms%' AND obj_description(oid, 'pg_proc') IS NULL
    """
    with database.connect(database_url) as connection, connection.begin():
        assert connection.scalars(text(silent)).all() == []
