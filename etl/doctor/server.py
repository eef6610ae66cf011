"""What can be said of the database server, and of the way to it. Nothing is changed there."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import Connection as DriverConnection
from sqlalchemy import Connection, text

from etl import database
from etl.database import DatabaseError
from etl.doctor.clocks import Now, ahead_by, compared
from etl.doctor.findings import Finding
from etl.transport import is_remote

Facts = Mapping[Any, Any]
"""What the server said of itself and of our session; the columns of `_FACTS`."""

_FACTS = text("""
SELECT
    pg_backend_pid() AS backend_pid,
    current_setting('server_version') AS version,
    current_user AS login,
    quote_ident(current_user) AS role,
    quote_ident(current_database()) AS database,
    pg_get_userbyid(datdba) AS owner,
    has_database_privilege(oid, 'CREATE') AS may_create_schemas,
    has_database_privilege(oid, 'TEMPORARY') AS may_stage,
    pg_is_in_recovery() AS is_standby,
    current_setting('default_transaction_read_only')::boolean AS is_read_only,
    (SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only') AS read_only_by,
    (SELECT concat_ws(' ', version, cipher) FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS cipher,
    least(
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0) -- PostgreSQL 15 has none
            - (SELECT sum(numbackends) FROM pg_stat_database),
        (SELECT datconnlimit - numbackends FROM pg_stat_database WHERE datid = oid AND datconnlimit >= 0),
        (SELECT rolconnlimit - (SELECT count(*) FROM pg_stat_activity WHERE usesysid = pg_roles.oid)
         FROM pg_roles WHERE rolname = current_user AND rolconnlimit >= 0)
    )::int AS free_connections
FROM pg_database
WHERE datname = current_database()
""")


@dataclass(frozen=True)
class Visit:
    """A connection that looks round: where it leads to, and what the server said first."""

    connection: Connection
    url: str
    facts: Facts

    @property
    def subject(self) -> str:
        """The URL, fit to be shown."""
        return database.shown(self.url)


@contextmanager
def reading(connection: Connection) -> Iterator[Connection]:
    """Open a transaction that can neither write nor last."""
    with connection.begin():
        connection.execute(text("SET TRANSACTION READ ONLY"))
        connection.execute(text("SET LOCAL statement_timeout = '10s'"))
        yield connection


@contextmanager
def visiting(url: str) -> Iterator[Visit]:
    """Connect for a while; raises `DatabaseError` where the server does not let us in."""
    with closing(database.connect(url)) as connection:
        with reading(connection):
            facts = connection.execute(_FACTS).mappings().one()
        yield Visit(connection, url, facts)


def examine(visit: Visit, now: Now, connections_wanted: int) -> Iterator[Finding]:
    """Look at the server, and at the way to it."""
    subject, facts, driver = visit.subject, visit.facts, _driver(visit.connection)
    yield Finding("database", "ok", subject, f"PostgreSQL {facts['version']}")
    yield tls(subject, driver.info.host if not driver.pgconn.ssl_in_use else None, facts["cipher"])
    yield _pooler(visit, driver.info.backend_pid)
    yield writable(subject, facts)
    yield room(subject, facts["free_connections"], connections_wanted)
    yield _clock(visit, now)


def _driver(connection: Connection) -> "DriverConnection[Any]":
    driver: DriverConnection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def tls(subject: str, plain_to: str | None, cipher: str | None) -> Finding:
    """Judge whether others can read what goes to the database.

    `plain_to` is the host to which our end goes without TLS, None with it. `cipher` is what the server's end has:
    none, where a pooler is the other end of ours.
    """
    if plain_to is None:
        return Finding("tls", "ok", subject, f"in use: {cipher or 'as far as the pooler'}")
    if not is_remote(plain_to):
        return Finding("tls", "ok", subject, "not in use; the database is on this machine")
    said = "not in use: others on the way can read the history, and may learn the password"
    return Finding("tls", "warn", subject, said, "let the server offer TLS, and set sslmode=verify-full")


def _pooler(visit: Visit, announced: int) -> Finding:
    ours = {visit.facts["backend_pid"]}
    try:
        with closing(database.connect(visit.url)) as second:
            theirs = _session(second)
            # Twice: a pooler that hands its sessions out in turn may by chance give us the same once more.
            ours |= {_session(visit.connection), _session(visit.connection)}
    except DatabaseError as error:
        return Finding("pooler", "warn", visit.subject, f"no second connection: {error}", "make room for more")
    return pooler(visit.subject, announced, ours, theirs)


def _session(connection: Connection) -> int:
    with reading(connection):
        pid: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        return pid


def pooler(subject: str, announced: int, ours: Collection[int], theirs: int) -> Finding:
    """Tell whether a pooler stands in between, and whether it shares sessions.

    `announced` is the session that we were told of when we logged in: a pooler tells a number of its own. `ours`
    are those that served this connection's transactions, `theirs` the one that served another connection's.
    """
    if len(ours) > 1 or theirs in ours:
        said = "a pooler in between shares sessions by transaction: a lease may end early, or last too long"
        remedy = "it does no harm, but runs may end as `fenced`: connect directly, or let it pool by session"
        return Finding("pooler", "warn", subject, said, remedy)
    if announced not in ours:
        return Finding("pooler", "ok", subject, "a pooler stands in between, and keeps our session for us")
    return Finding("pooler", "ok", subject, "none in between")


def writable(subject: str, facts: Facts) -> Finding:
    """Judge whether the server takes writes at all."""
    if facts["is_standby"]:
        said = "is a standby, which takes no writes"
        return Finding("writable", "fail", subject, said, "name the primary in database.url")
    if facts["is_read_only"]:
        said = f"default_transaction_read_only is on (set by: {facts['read_only_by']})"
        writing, reset = "SET default_transaction_read_only = off", "RESET default_transaction_read_only"
        role, name = facts["role"], facts["database"]
        remedy = {
            "database": f"{writing}; ALTER DATABASE {name} {reset}",
            "user": f"{writing}; ALTER ROLE {role} {reset}",
            "database user": f"{writing}; ALTER ROLE {role} IN DATABASE {name} {reset}",
            "global": f"{writing}; ALTER ROLE ALL {reset}",
        }.get(facts["read_only_by"], "set default_transaction_read_only = off where it was set")
        return Finding("writable", "fail", subject, said, remedy)
    return Finding("writable", "ok", subject, "takes writes")


def room(subject: str, free: int, wanted: int) -> Finding:
    """Judge whether there are connections enough."""
    if free >= wanted:
        return Finding("connections", "ok", subject, f"{free:,} are free")
    said = f"{max(free, 0):,} are free, and we may need {wanted:,}"
    remedy = "raise max_connections (or the limit of the role or database), or lower aws.max_concurrency"
    return Finding("connections", "warn", subject, said, remedy)


def _clock(visit: Visit, now: Now) -> Finding:
    with reading(visit.connection):
        sent = now()
        told = visit.connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        received = now()
    return compared(visit.subject, ahead_by(told, sent, received))
