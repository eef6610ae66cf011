"""What a reader and a writer may do in the database, tried as an attacker would, and how a role becomes one."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import MINUTE, NOON, Etl, MakeEtl
from psycopg import errors, sql
from test_cli import Cli
from test_daemon import running

from etl import access, database, leases, verify
from etl.access import AccessError, Given
from etl.demo.clock import Clock
from etl.demo.membership import Membership
from etl.demo.world import World

PASSWORD = "planted-password"  # noqa: S105 - of a role that lives as long as a test
LONG = timedelta(minutes=1)

RELATIONS = (
    "SELECT oid::regclass::text AS name FROM pg_class"
    " WHERE relnamespace = CAST(:schema AS regnamespace) AND relkind IN ('r', 'v')"
)
FUNCTIONS = """
SELECT oid::regproc || '(' || coalesce((
    SELECT string_agg('NULL::' || format_type(type, NULL), ', ') FROM unnest(proargtypes) AS type
), '') || ')' AS call
FROM pg_proc WHERE pronamespace = CAST(:schema AS regnamespace)
"""


@dataclass
class Role:
    """A role that can log in to the test's database."""

    name: str
    url: str
    given: Given | None = None

    def run(self, *statements: str) -> list[Any]:
        """Run statements, each in its own transaction, and return the rows of the last one, if it has any."""
        address = database.parse(self.url).translate_connect_args(username="user", database="dbname")
        with psycopg.connect(**address, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def is_refused(self, statement: str) -> bool:
        """Whether it lacks the right for a statement, also once it has switched its own read-only setting off."""
        try:
            self.run("SET default_transaction_read_only = off", statement)
        except errors.InsufficientPrivilege:
            return True
        return False


Roles = Callable[..., Role]


@pytest.fixture(autouse=True)
def _no_role_stays(server: str) -> Iterator[None]:
    """Drop the roles that a test has made: they belong to the server. Its databases are gone by now."""
    present = "SELECT rolname FROM pg_roles"
    with psycopg.connect(server, autocommit=True) as connection:
        before = {name for (name,) in connection.execute(present)}
        yield
        made = [sql.Identifier(name) for (name,) in connection.execute(present) if name not in before]
        if made:
            names = sql.SQL(", ").join(made)
            connection.execute(sql.SQL("DROP OWNED BY {}").format(names))
            connection.execute(sql.SQL("DROP ROLE {}").format(names))


def grant(url: str, role: str, timeout: timedelta | None = LONG) -> Given:
    with closing(database.connect(url)) as connection, connection.begin():
        return access.grant_reader(connection, role, timeout) if timeout else access.grant_writer(connection, role)


@pytest.fixture
def log_in(database_url: str) -> Callable[[str], Role]:
    """Give a role a password, and log in as it."""

    def make(name: str) -> Role:
        with psycopg.connect(database_url, autocommit=True) as connection:
            change = sql.SQL("ALTER ROLE {} PASSWORD {}")
            connection.execute(change.format(sql.Identifier(name), sql.Literal(PASSWORD)))
        address = database.parse(database_url).set(username=name, password=PASSWORD)
        return Role(name, address.render_as_string(hide_password=False))

    return make


@pytest.fixture
def reader(database_url: str, log_in: Callable[[str], Role]) -> Role:
    given = grant(database_url, "analyst")
    return Role("analyst", log_in("analyst").url, given)


@pytest.fixture
def writer(database_url: str, log_in: Callable[[str], Role]) -> Role:
    given = grant(database_url, "syncer", None)
    return Role("syncer", log_in("syncer").url, given)


@pytest.fixture
def lived(etl: Etl, world: World, clock: Clock, membership: Membership) -> Etl:
    """A product that has seen a job start and end, and has another one open."""
    job = world.create_job(membership, name="lived")
    world.create_job(membership, name="waits")
    etl.sync()
    for minutes, status in ((10, "CREATE_IN_PROGRESS"), (30, "ACTIVE")):
        clock.set(NOON + minutes * MINUTE)
        world.set_status(job, status)
        etl.sync()
    return etl


def names(etl: Etl, schema: str) -> list[str]:
    found = [row["name"] for row in etl.query(RELATIONS, schema=schema)]
    assert found
    return found


def calls(etl: Etl, schema: str) -> list[str]:
    found = [row["call"] for row in etl.query(FUNCTIONS, schema=schema)]
    assert found
    return found


# What a reader sees


def test_a_reader_sees_in_each_view_what_the_owner_sees(lived: Etl, reader: Role) -> None:
    for view in names(lived, "cleanrooms"):
        count = f"SELECT count(*) FROM {view}"  # noqa: S608 - of the catalog
        assert reader.run(count) == [tuple(lived.query(count)[0].values())], view
    assert reader.run("SELECT count(*) FROM cleanrooms.job_timings") == [(2,)]


@pytest.mark.parametrize("function", ["jobs_as_of", "jobs_known_as_of"])
def test_a_reader_asks_the_functions(function: str, lived: Etl, reader: Role) -> None:
    statuses = f"SELECT name, status FROM cleanrooms.{function}(now()) ORDER BY name"  # noqa: S608 - ours
    assert len(lived.query(statuses)) == 2
    assert reader.run(statuses) == [tuple(row.values()) for row in lived.query(statuses)]


def test_a_reader_sees_a_view_that_comes_later_or_comes_back(etl: Etl, reader: Role) -> None:
    definition = etl.query("SELECT pg_get_viewdef('cleanrooms.sync_runs'::regclass) AS sql")[0]["sql"]
    etl.execute("DROP VIEW cleanrooms.sync_runs")
    etl.execute(f"CREATE VIEW cleanrooms.sync_runs AS {definition}")
    etl.execute("CREATE VIEW cleanrooms.later AS SELECT 'later' AS is")
    assert reader.run("SELECT * FROM cleanrooms.sync_runs") == []
    assert reader.run("SELECT * FROM cleanrooms.later") == [("later",)]


def test_a_reader_can_describe_the_views(etl: Etl, reader: Role, tmp_path: Path) -> None:
    assert etl.sync().outcome == "complete"
    cli = Cli(tmp_path)
    cli.configure(database={"url": reader.url})
    said = cli.run("db", "describe", "sync_runs")
    assert (said.code, said.err, said.objects[0]["name"]) == (0, "", "sync_runs")


# What a reader is refused


def test_a_reader_is_refused_every_table_and_view_behind_the_views(etl: Etl, reader: Role) -> None:
    behind = names(etl, "cleanrooms_etl")
    assert "cleanrooms_etl.inference_job" in behind
    assert [name for name in behind if not reader.is_refused(f"SELECT FROM {name}")] == []


def test_a_reader_is_refused_every_function_behind_the_views(etl: Etl, reader: Role) -> None:
    assert [call for call in calls(etl, "cleanrooms_etl") if not reader.is_refused(f"SELECT {call}")] == []


def test_a_reader_cannot_write_through_any_view(lived: Etl, reader: Role) -> None:
    before = lived.query("SELECT * FROM cleanrooms_etl.inference_job")
    for view in names(lived, "cleanrooms"):
        with pytest.raises((errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState)):
            reader.run("SET default_transaction_read_only = off", f"DELETE FROM {view}")  # noqa: S608 - of the catalog
    assert lived.query("SELECT * FROM cleanrooms_etl.inference_job") == before


def test_a_reader_is_refused_a_view_that_would_let_writes_through(etl: Etl, reader: Role) -> None:
    etl.execute("CREATE VIEW cleanrooms.open_door AS SELECT * FROM cleanrooms_etl.sync_run")
    assert reader.run("SELECT * FROM cleanrooms.open_door") == []
    for write in ("DELETE FROM {}", "UPDATE {} SET error = 'mine'", "INSERT INTO {} (worker) VALUES ('mine')"):
        assert reader.is_refused(write.format("cleanrooms.open_door"))


READERS_ATTACKS = (
    "SELECT nextval('cleanrooms_etl.job_key')",
    "SELECT last_value FROM cleanrooms_etl.job_key",
    "INSERT INTO cleanrooms_etl.membership (membership_id) VALUES ('mine')",
    "CREATE TABLE cleanrooms.mine ()",
    "CREATE TABLE cleanrooms_etl.mine ()",
    "CREATE TABLE public.mine ()",
    "CREATE VIEW cleanrooms.mine AS SELECT 1",
    "CREATE OR REPLACE VIEW cleanrooms.sync_runs AS SELECT 1",
    "CREATE FUNCTION cleanrooms.mine() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE SCHEMA mine",
    "CREATE EXTENSION file_fdw",
    "DROP VIEW cleanrooms.sync_runs",
    "DROP SCHEMA cleanrooms CASCADE",
    "ALTER VIEW cleanrooms.sync_runs RENAME TO mine",
    "ALTER VIEW cleanrooms.sync_runs OWNER TO analyst",
    "ALTER DEFAULT PRIVILEGES FOR ROLE etl GRANT ALL ON TABLES TO analyst",
    "COMMENT ON VIEW cleanrooms.sync_runs IS 'mine'",
    "COPY cleanrooms.sync_runs TO PROGRAM 'cat'",
    "COPY (SELECT 1) TO '/stolen'",
    "CREATE TEMP TABLE stolen (line text); COPY stolen FROM PROGRAM 'id'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/hostname')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT passwd FROM pg_shadow",
    "SET ROLE etl",
    "SET SESSION AUTHORIZATION etl",
    "ALTER ROLE analyst SUPERUSER",
    "ALTER ROLE etl PASSWORD 'mine'",
    "CREATE ROLE mine",
    "GRANT etl TO analyst",
    "GRANT pg_read_all_data TO analyst",
    "ALTER SYSTEM SET log_statement = 'all'",
    "SET session_replication_role = replica",
    "SET log_statement = 'all'",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'etl'",
    "DROP DATABASE postgres",
)


def test_a_reader_is_refused_whatever_is_more_than_reading(etl: Etl, reader: Role) -> None:
    with closing(database.connect(etl.config.database.address())):  # somebody whose session may be ended
        assert [attack for attack in READERS_ATTACKS if not reader.is_refused(attack)] == []


def test_a_reader_learns_nothing_of_the_tables_from_the_planners_statistics(lived: Etl, reader: Role) -> None:
    lived.execute("ANALYZE cleanrooms_etl.inference_job")
    statistics = "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'inference_job'"
    assert lived.query(statistics)[0]["?column?"]
    assert reader.run(statistics) == [(False,)]


def test_a_reader_cannot_pass_its_rights_on(etl: Etl, reader: Role) -> None:
    etl.execute("CREATE ROLE friend")
    reader.run(
        "SET default_transaction_read_only = off",
        "GRANT SELECT ON cleanrooms.sync_runs TO friend",  # of what it may not give away Postgres only warns
    )
    assert not etl.query("SELECT has_table_privilege('friend', 'cleanrooms.sync_runs', 'SELECT') AS may")[0]["may"]


# A reader's settings


@pytest.mark.parametrize(
    "write", ["CREATE TEMP TABLE mine ()", "SELECT lo_from_bytea(0, 'mine')", "COMMENT ON ROLE analyst IS 'me'"]
)
def test_a_reader_is_read_only_unless_it_says_otherwise(write: str, reader: Role) -> None:
    with pytest.raises(errors.ReadOnlySqlTransaction):
        reader.run(write)


def test_a_statement_of_a_reader_ends_after_its_time(database_url: str, log_in: Callable[[str], Role]) -> None:
    grant(database_url, "analyst", timedelta(seconds=1))
    with pytest.raises(errors.QueryCanceled, match="statement timeout"):
        log_in("analyst").run("SELECT pg_sleep(20)")


def test_its_settings_are_its_own_to_change_and_no_right_comes_with_them(reader: Role) -> None:
    free = ("SET statement_timeout = 0", "SET default_transaction_read_only = off")
    assert reader.run(*free, "SHOW statement_timeout") == [("0",)]
    assert reader.run(*free, "CREATE TEMP TABLE mine AS SELECT 1 AS number", "SELECT number FROM mine") == [(1,)]
    assert reader.is_refused("UPDATE cleanrooms_etl.membership SET configured = false")


def test_the_settings_are_those_of_this_database_alone(reader: Role, server: str) -> None:
    shown = ("SHOW statement_timeout", "SHOW default_transaction_read_only")
    elsewhere = database.parse(reader.url).set(database=database.parse(server).database)
    there = Role(reader.name, elsewhere.render_as_string(hide_password=False))
    assert [reader.run(each) for each in shown] == [[("1min",)], [("on",)]]
    assert [there.run(each) for each in shown] == [[("0",)], [("off",)]]


# A writer


@pytest.fixture
def syncing(make_etl: MakeEtl, membership: Membership, writer: Role) -> Etl:
    """A product that logs in as the writer."""
    assert membership
    return make_etl(database={"url": writer.url}, daemon={"listen": "127.0.0.1:0"}, schedule={"every": "1h"})


def broken(etl: Etl) -> list[str]:
    with closing(database.connect(etl.config.database.address())) as connection:
        return [finding.check.name for finding in verify.findings(connection) if finding.broken]


def test_a_writer_keeps_the_whole_history_its_counts_and_what_is_absent(
    syncing: Etl, etl: Etl, world: World, clock: Clock, membership: Membership
) -> None:
    job, gone = world.create_job(membership), world.create_job(membership)
    assert syncing.sync().outcome == "complete"
    clock.set(NOON + 70 * MINUTE)
    world.set_status(job, "ACTIVE")
    job.description = "edited"
    world.remove(membership, gone)
    reports = [syncing.sync() for _ in range(2)]
    assert [(report.outcome, report.counts.jobs_absent) for report in reports] == [
        ("complete", 0),
        ("complete", 1),
    ]
    for table in ("job_edit", "status_hour", "model_week"):
        assert etl.query(f"SELECT FROM cleanrooms_etl.{table}"), table
    assert broken(syncing) == broken(etl) == []


def test_a_writer_gives_up_the_run_of_a_worker_that_died(syncing: Etl, etl: Etl, membership: Membership) -> None:
    syncing.sync()
    with closing(database.connect(syncing.config.database.address())) as dying, dying.begin():
        worker = leases.Worker("host:1", "0")
        assert leases.begin(dying, membership.id, timedelta(minutes=2), worker, if_due=False)
    assert syncing.sync().outcome == "complete"
    outcomes = etl.query("SELECT outcome FROM cleanrooms.sync_runs ORDER BY run_id")
    assert [row["outcome"] for row in outcomes] == ["complete", "abandoned", "complete"]


def test_a_writer_runs_the_daemon(syncing: Etl, etl: Etl, world: World, membership: Membership) -> None:
    world.create_job(membership)
    with running(syncing) as watched:
        watched.until(lambda: watched.lines("synced"), "a sync")
        assert watched.get("/readyz")[0] == 200
    assert etl.query("SELECT outcome FROM cleanrooms.sync_runs") == [{"outcome": "complete"}]


WRITERS_ATTACKS = (
    "DELETE FROM cleanrooms_etl.inference_job",
    "DELETE FROM cleanrooms_etl.sync_run",
    "DELETE FROM cleanrooms_etl.status_hour",
    "DELETE FROM cleanrooms_etl.model_week",
    "UPDATE cleanrooms_etl.status_transition SET to_status = 'ACTIVE'",
    "UPDATE cleanrooms_etl.job_edit SET changes = '{}'",
    "UPDATE cleanrooms_etl.alembic_version SET version_num = '9999'",
    "TRUNCATE cleanrooms_etl.status_transition",
    "TRUNCATE cleanrooms_etl.inference_job CASCADE",
    "ALTER TABLE cleanrooms_etl.inference_job ADD COLUMN mine int",
    "ALTER TABLE cleanrooms_etl.status_transition DISABLE TRIGGER append_only",
    "ALTER TABLE cleanrooms_etl.status_transition DISABLE TRIGGER ALL",
    "ALTER TABLE cleanrooms_etl.inference_job DROP CONSTRAINT fk_inference_job_current_status",
    "ALTER TABLE cleanrooms_etl.inference_job OWNER TO syncer",
    "SET session_replication_role = replica",
    "DROP TRIGGER append_only ON cleanrooms_etl.status_transition",
    "CREATE TRIGGER mine AFTER INSERT ON cleanrooms_etl.sync_run EXECUTE FUNCTION cleanrooms_etl.refuse_change()",
    "CREATE FUNCTION cleanrooms_etl.is_open(int) RETURNS boolean LANGUAGE sql RETURN true",
    "ALTER FUNCTION cleanrooms_etl.refuse_change() OWNER TO syncer",
    "CREATE INDEX ON cleanrooms_etl.inference_job (name)",
    "CREATE TABLE cleanrooms_etl.mine ()",
    "CREATE TABLE cleanrooms.mine ()",
    "CREATE SCHEMA mine",
    "DROP TABLE cleanrooms_etl.job_edit",
    "DROP VIEW cleanrooms.sync_runs",
    "DROP SCHEMA cleanrooms_etl CASCADE",
    "SELECT setval('cleanrooms_etl.job_key', 1)",
    "ALTER SEQUENCE cleanrooms_etl.job_key RESTART",
    "SELECT * FROM cleanrooms.inference_jobs",
    "COPY cleanrooms_etl.sync_run TO PROGRAM 'cat'",
    "SET ROLE etl",
    "SELECT rolpassword FROM pg_authid",
)


def test_a_writer_is_refused_whatever_is_more_than_a_sync(writer: Role) -> None:
    assert [attack for attack in WRITERS_ATTACKS if not writer.is_refused(attack)] == []


def test_a_writer_was_given_each_right_that_it_needs_and_no_other(etl: Etl, writer: Role) -> None:
    held = etl.query(
        "SELECT relname || ' ' || string_agg(privilege_type, ' ' ORDER BY privilege_type) AS may"
        " FROM pg_class CROSS JOIN aclexplode(relacl)"
        " WHERE grantee = CAST(:role AS regrole) AND relkind IN ('r', 'S') GROUP BY relname",
        role=writer.name,
    )
    assert sorted(row["may"] for row in held) == [
        "alembic_version SELECT",
        "inference_job INSERT SELECT UPDATE",
        "job_edit INSERT SELECT",
        "job_key USAGE",
        "membership INSERT SELECT UPDATE",
        "model_week INSERT SELECT UPDATE",
        "status_hour INSERT SELECT UPDATE",
        "status_transition INSERT SELECT",
        "sync_run INSERT SELECT UPDATE",
    ]


# How a role becomes one


@pytest.mark.parametrize("timeout", [LONG, None])
def test_a_second_time_nothing_changes(timeout: timedelta | None, database_url: str) -> None:
    first, second = (grant(database_url, "analyst", timeout) for _ in range(2))
    assert first.steps
    assert (second.steps, second.is_new, second.left) == ([], False, [])


def test_only_what_is_missing_is_given(database_url: str, etl: Etl) -> None:
    grant(database_url, "analyst")
    etl.execute("REVOKE SELECT ON cleanrooms.sync_runs, cleanrooms.open_jobs FROM analyst")
    etl.execute("ALTER ROLE analyst RESET ALL")
    again = grant(database_url, "analyst", timedelta(hours=1))
    name = database.parse(database_url).database
    assert [step.statement for step in again.steps] == [
        "GRANT SELECT ON TABLE cleanrooms.open_jobs, cleanrooms.sync_runs TO analyst",
        f"ALTER ROLE analyst IN DATABASE {name} SET statement_timeout = '3600s'",
    ]


@pytest.mark.parametrize(
    "name",
    ["Analyst", "two words", 'quo"ted', "it's", "100% :name {x} %s", "select", "ünïcode", "a" * 63, "-x;--"],
)
def test_a_role_may_have_any_name(name: str, database_url: str, log_in: Callable[[str], Role], etl: Etl) -> None:
    assert grant(database_url, name).is_new
    assert grant(database_url, name).steps == []
    assert log_in(name).run("SELECT current_user, count(*) FROM cleanrooms.sync_runs") == [(name, 0)]
    assert etl.query("SELECT 1 AS may FROM pg_roles WHERE rolname = :name", name=name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("public", "reserved"),
        ("pg_read_all_data", "reserved"),
        ("PUBLIC", "reserved"),
        ("pg_mine", "reserved"),
        ("", "zero-length"),
        ("é" * 32, "63 bytes at the most"),
    ],
)
def test_a_name_that_no_role_can_have_is_refused(name: str, reason: str, database_url: str) -> None:
    with pytest.raises(AccessError, match=reason):
        grant(database_url, name)


@pytest.mark.parametrize(
    ("making", "reason"),
    [
        ("CREATE ROLE x SUPERUSER", "x is a superuser, whom no right limits"),
        ("CREATE ROLE x CREATEROLE", "x could give itself more: run ALTER ROLE x NOCREATEROLE"),
        ("CREATE ROLE x REPLICATION", "x could give itself more: run ALTER ROLE x NOREPLICATION"),
        (
            "CREATE ROLE x ROLE other; GRANT pg_read_all_data TO x",
            "member of pg_read_all_data, which reaches further",
        ),
        ("CREATE ROLE x; GRANT pg_execute_server_program TO x", "run REVOKE pg_execute_server_program FROM x"),
        ("CREATE ROLE x; GRANT pg_signal_backend TO x", "run REVOKE pg_signal_backend FROM x"),
        ("CREATE ROLE x; GRANT CREATE ON DATABASE {database} TO x", r"CREATE on test_\d+ \(given to x\)"),
        ("CREATE ROLE x; ALTER DATABASE {database} OWNER TO x", r"may become, the owner \(x\)"),
        (
            "CREATE ROLE x; ALTER VIEW cleanrooms.sync_runs OWNER TO other; GRANT other TO x",
            r"the owner \(other\)",
        ),
        ("CREATE ROLE x; GRANT etl TO x", r"x is, or may become, the owner \(etl\)"),
        (
            "CREATE ROLE x; GRANT DELETE ON cleanrooms_etl.sync_run TO x",
            r"DELETE on cleanrooms_etl.sync_run \(given to x\)",
        ),
        (
            "CREATE ROLE x; GRANT CREATE ON SCHEMA cleanrooms TO x",
            "x may do more than that: CREATE on cleanrooms ",
        ),
        (
            "CREATE ROLE x NOINHERIT; GRANT TRUNCATE ON cleanrooms_etl.job_edit TO other; GRANT other TO x",
            r"\(given to other\)",
        ),
        ("CREATE ROLE x; GRANT DELETE ON cleanrooms.sync_runs TO PUBLIC", r"\(given to PUBLIC\)"),
        (
            "CREATE ROLE x; GRANT UPDATE (changes) ON cleanrooms_etl.job_edit TO x",
            "UPDATE on cleanrooms_etl.job_edit.changes",
        ),
        (
            "CREATE ROLE x; GRANT UPDATE ON SEQUENCE cleanrooms_etl.job_key TO x",
            "UPDATE on cleanrooms_etl.job_key",
        ),
    ],
)
@pytest.mark.parametrize("timeout", [LONG, None])
def test_a_role_that_could_do_more_is_refused_with_the_reason(
    making: str, reason: str, timeout: timedelta | None, database_url: str
) -> None:
    owner = Role("etl", database_url)
    making = making.format(database=database.parse(database_url).database)
    owner.run("CREATE ROLE other", *making.split("; "))
    with pytest.raises(AccessError, match=reason):
        grant(database_url, "x", timeout)


def test_a_refusal_leaves_nothing_behind(database_url: str) -> None:
    owner = Role("etl", database_url)
    owner.run("CREATE ROLE other", "GRANT DELETE ON cleanrooms_etl.sync_run TO PUBLIC")
    for name in ("other", "new"):
        with pytest.raises(AccessError, match="given to PUBLIC"):
            grant(database_url, name)
    assert owner.run("SELECT has_schema_privilege('other', 'cleanrooms', 'USAGE')") == [(False,)]
    assert owner.run("SELECT FROM pg_roles WHERE rolname = 'new'") == []


def test_our_own_role_is_refused(database_url: str) -> None:
    with pytest.raises(AccessError, match="etl is the role that we log in with ourselves"):
        grant(database_url, "etl")


def test_a_writer_is_refused_as_a_reader_and_a_reader_may_become_a_writer(
    database_url: str, reader: Role, make_etl: MakeEtl, membership: Membership
) -> None:
    assert membership
    assert grant(database_url, reader.name, None).steps
    assert make_etl(database={"url": reader.url}).sync().outcome == "complete"  # no longer read-only
    assert reader.run("SHOW statement_timeout") == [("0",)]
    with pytest.raises(
        AccessError, match=r"analyst may do more than that: USAGE on cleanrooms_etl .* more: revoke"
    ):
        grant(database_url, reader.name)


def test_where_public_was_left_nothing_all_that_is_needed_is_given(
    database_url: str,
    etl: Etl,
    log_in: Callable[[str], Role],
    make_etl: MakeEtl,
    membership: Membership,
    world: World,
) -> None:
    etl.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cleanrooms, cleanrooms_etl FROM PUBLIC")
    etl.execute(f"REVOKE ALL ON DATABASE {database.parse(database_url).database} FROM PUBLIC")
    world.create_job(membership)
    grant(database_url, "analyst")
    grant(database_url, "syncer", None)
    assert make_etl(database={"url": log_in("syncer").url}).sync().outcome == "complete"
    for what in (*names(etl, "cleanrooms"), "cleanrooms.jobs_as_of(now())"):
        log_in("analyst").run(f"SELECT * FROM {what}")  # noqa: S608 - of the catalog
    assert (grant(database_url, "analyst").steps, grant(database_url, "syncer", None).steps) == ([], [])


def test_of_many_who_grant_at_once_none_fails(database_url: str) -> None:
    with ThreadPoolExecutor(4) as executor:
        given = list(executor.map(lambda number: grant(database_url, f"analyst{number % 2}"), range(8)))
    assert sorted(each.is_new for each in given) == [False] * 6 + [True] * 2


# An owner that is no administrator


@pytest.fixture
def owned(empty_database_url: str) -> Role:
    """A role that owns its database and nothing else, and has migrated it."""
    admin = Role("etl", empty_database_url)
    name = database.parse(empty_database_url).database
    admin.run(f"CREATE ROLE migrator LOGIN PASSWORD '{PASSWORD}'", f"ALTER DATABASE {name} OWNER TO migrator")
    address = database.parse(empty_database_url).set(username="migrator", password=PASSWORD)
    url = address.render_as_string(hide_password=False)
    with closing(database.connect(url)) as connection:
        database.upgrade(connection)
    return Role("migrator", url)


def test_who_may_make_no_role_is_told_the_statement(owned: Role) -> None:
    with pytest.raises(AccessError, match=r'administrator runs: CREATE ROLE "The analyst" LOGIN$'):
        grant(owned.url, "The analyst")


def test_who_may_set_nothing_for_a_role_gives_the_rights_and_leaves_the_rest(
    owned: Role, empty_database_url: str
) -> None:
    admin = Role("etl", empty_database_url)
    admin.run("CREATE ROLE analyst")
    given = grant(owned.url, "analyst")
    name = database.parse(empty_database_url).database
    assert given.left == [
        f"ALTER ROLE analyst IN DATABASE {name} SET default_transaction_read_only = 'on'",
        f"ALTER ROLE analyst IN DATABASE {name} SET statement_timeout = '60s'",
        f"ALTER ROLE analyst IN DATABASE {name} SET idle_in_transaction_session_timeout = '600s'",
    ]
    may = "SELECT has_table_privilege('analyst', 'cleanrooms.open_jobs', 'SELECT')"
    assert (admin.run(may), given.can_log_in) == ([(True,)], False)
    admin.run(*given.left)
    assert grant(owned.url, "analyst").steps == []


def test_a_right_that_is_not_the_owners_to_give_is_left_to_an_administrator(
    owned: Role, empty_database_url: str
) -> None:
    admin = Role("etl", empty_database_url)
    name = database.parse(empty_database_url).database
    admin.run(
        "CREATE ROLE syncer",
        f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC",
        f"ALTER DATABASE {name} OWNER TO etl",
    )
    given = grant(owned.url, "syncer", None)
    assert given.left == [f"GRANT TEMPORARY ON DATABASE {name} TO syncer"]
    admin.run(*given.left)
    assert grant(owned.url, "syncer", None).steps == []


def test_who_does_not_own_the_views_is_told_who_does(reader: Role, writer: Role) -> None:
    for role in (reader, writer):
        with pytest.raises(AccessError, match=f"{role.name} may give no rights: schema cleanrooms belongs to etl"):
            grant(role.url, "x")


# The command


@pytest.fixture
def cli(tmp_path: Path, database_url: str) -> Cli:
    cli = Cli(tmp_path)
    cli.configure(database={"url": database_url})
    return cli


def test_the_command_tells_each_statement_and_the_second_time_that_nothing_changed(cli: Cli) -> None:
    first, second = (cli.run("db", "grant", "The analyst") for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    *steps, last = first.objects
    assert steps[0] == {"table": "access", "done": True, "statement": 'CREATE ROLE "The analyst" LOGIN'}
    assert last == {"role": "The analyst", "access": "reader", "changed": True}
    assert first.complaints == [
        'etl: "The analyst" has no password yet: give it one with \\password "The analyst" in `etl db psql`'
    ]
    assert second.objects == [{"role": "The analyst", "access": "reader", "changed": False}]
    assert second.err == ""


def test_for_people_it_is_a_table_and_a_line(cli: Cli) -> None:
    said = cli.run("db", "grant", "syncer", "--writer", "--text")
    assert "GRANT UPDATE ON TABLE cleanrooms_etl." in said.out
    assert said.out.splitlines()[-1] == "syncer is a writer"
    assert cli.run("db", "grant", "syncer", "--writer", "--text").out == "syncer is a writer: nothing changed\n"


def test_the_time_of_a_statement_is_an_option(cli: Cli, log_in: Callable[[str], Role]) -> None:
    assert cli.run("db", "grant", "analyst", "--statement-timeout", "15m").code == 0
    assert log_in("analyst").run("SHOW statement_timeout") == [("15min",)]
    assert cli.run("db", "grant", "analyst").objects[-1]["changed"] is False
    assert log_in("analyst").run("SHOW statement_timeout") == [("15min",)]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--statement-timeout", "5"], "write a number with its unit: 30s, 15m, 6h or 1d"),
        (["--statement-timeout", "0s"], "must be 1s at the least and 1d at the most"),
        (["--statement-timeout", "2d"], "must be 1s at the least and 1d at the most"),
        (["--statement-timeout", "5m", "--writer"], "--statement-timeout is for readers"),
    ],
)
def test_a_time_that_makes_no_sense_is_refused(words: list[str], reason: str, cli: Cli, etl: Etl) -> None:
    said = cli.run("db", "grant", "analyst", *words)
    assert (said.code, said.out) == (2, "")
    assert reason in said.err
    assert etl.query("SELECT FROM pg_roles WHERE rolname = 'analyst'") == []


def test_a_refusal_is_one_line_and_exit_code_1(cli: Cli) -> None:
    said = cli.run("db", "grant", "etl")
    assert (said.code, said.out) == (1, "")
    assert said.complaints == ["etl: etl is the role that we log in with ourselves: name another one"]


def test_a_database_that_is_not_migrated_is_refused(cli: Cli, empty_database_url: str) -> None:
    said = cli.run("db", "grant", "analyst", ETL_DATABASE_URL=empty_database_url)
    assert (said.code, said.complaints) == (3, ["etl: the database is not migrated: run `etl db upgrade`"])


def test_what_is_left_to_an_administrator_is_told_with_exit_code_1(
    cli: Cli, owned: Role, empty_database_url: str
) -> None:
    Role("etl", empty_database_url).run("CREATE ROLE analysts")
    said = cli.run("db", "grant", "analysts", ETL_DATABASE_URL=owned.url)
    assert (said.code, [row["done"] for row in said.objects][-3:]) == (1, [False, False, False])
    group, read_only, *_ = said.complaints
    assert group == "etl: analysts cannot log in: its members have its rights, but not its settings"
    assert read_only.startswith(
        "etl: we may not do this, an administrator of the database must: ALTER ROLE analysts"
    )


def test_a_migration_names_the_writers_that_need_more(cli: Cli, database_url: str, etl: Etl) -> None:
    for name in ("Syncer", "other"):
        grant(database_url, name, None)
    etl.execute('REVOKE UPDATE ON cleanrooms_etl.model_week FROM "Syncer"')  # as if it had just been made
    said = cli.run("db", "upgrade")
    line = "etl: Syncer lacks rights that this revision needs: run `etl db grant Syncer --writer`"
    assert (said.code, said.complaints) == (0, [line])


def test_a_reader_is_told_what_is_not_its_business(
    cli: Cli, database_url: str, log_in: Callable[[str], Role]
) -> None:
    grant(database_url, "analyst")
    said = cli.run("verify", ETL_DATABASE_URL=log_in("analyst").url)
    (complaint,) = said.complaints
    assert said.code == 3
    assert (
        "permission denied for schema cleanrooms_etl: only the owner may, and, to sync, who was made a writer"
        in complaint
    )


def test_an_idle_limit_of_an_administrator_stays(
    database_url: str, etl: Etl, log_in: Callable[[str], Role]
) -> None:
    grant(database_url, "analyst")
    name = database.parse(database_url).database
    etl.execute(f"ALTER ROLE analyst IN DATABASE {name} SET idle_in_transaction_session_timeout = '30s'")
    assert grant(database_url, "analyst").steps == []
    assert log_in("analyst").run("SHOW idle_in_transaction_session_timeout") == [("30s",)]
