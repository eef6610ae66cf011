"""Makes a role a reader or a writer: refuses whom no right could limit, gives what is missing, and no more."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, RowMapping, text
from sqlalchemy.exc import DBAPIError

from etl.access.rights import (
    Right,
    held,
    lacking,
    needed_by_reader,
    needed_by_writer,
    owners,
    statements,
)
from etl.database import reason
from etl.tables import VIEWS


class AccessError(Exception):
    """A role cannot be what was asked for; one line that says why, and what to do."""


@dataclass(frozen=True)
class Step:
    """A statement that makes a role what it is to be; not done where our own role may not."""

    statement: str
    is_done: bool = True


@dataclass(frozen=True)
class Given:
    """What a grant has come to."""

    role: str
    """Its name, quoted where it must be."""
    steps: Collection[Step]
    is_new: bool
    can_log_in: bool
    """A group cannot: its members have its rights, but none of its settings."""

    @property
    def left(self) -> list[str]:
        """The statements that an administrator must run."""
        return [step.statement for step in self.steps if not step.is_done]


_LOCK = 7_316_208_246  # any number that is ours: of two that grant at once one would fail
_LONGEST_NAME = 63  # bytes: Postgres cuts what is longer, and so would mean another role
_FORBIDDEN, _WRONG = "42501", "42"  # SQLSTATE: insufficient privilege, and the class of all that is ill-asked
_SHOWN = 3  # rights that are too much: more would make no line

_READ_ONLY, _TIMEOUT = "default_transaction_read_only", "statement_timeout"
_IDLE = "idle_in_transaction_session_timeout"  # a transaction that somebody has forgotten holds up a migration
_IDLE_FOR = "600s"
_PATIENCE = "60s"  # with a statement, where none was asked for

_ROLE = text("""
SELECT oid, rolname, quote_ident(rolname) AS name, rolsuper, rolcreaterole, rolreplication, rolcanlogin,
    rolname IN (current_user, session_user) AS is_ours
FROM pg_roles WHERE rolname = :role
""")
_IS_MEMBER = text("SELECT pg_has_role(CAST(:role AS name), CAST(:of AS name), 'MEMBER')")
_SCHEMA_OWNER = text("""
SELECT pg_get_userbyid(nspowner) AS owner, quote_ident(pg_get_userbyid(nspowner)) AS name, current_user AS ours,
    pg_has_role(nspowner, 'USAGE') AS is_ours
FROM pg_namespace WHERE nspname = :schema
""")
# Postgres's own roles that reach past all rights on single things.
_FAR_REACHING = text("""
SELECT rolname FROM pg_roles
WHERE rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_maintain', 'pg_read_server_files',
    'pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend')
    AND pg_has_role(CAST(:role AS name), oid, 'MEMBER')
ORDER BY 1
""")
_DEFAULTS = text("""
SELECT FROM pg_default_acl CROSS JOIN aclexplode(defaclacl)
WHERE defaclnamespace = CAST(:schema AS regnamespace) AND defaclobjtype = 'r' AND privilege_type = 'SELECT'
    AND pg_get_userbyid(defaclrole) = :owner AND grantee = :grantee
""")
_SETTINGS = text("""
SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase
WHERE datname = current_database() AND setrole = :grantee
""")


def grant_reader(connection: Connection, role: str, statement_timeout: timedelta | None = None) -> Given:
    """Make a role, by its plain name, a reader whose statements may take so long.

    Where that is not given, what was set stays, else it is a minute. A second time nothing is changed. Raises
    `AccessError` for whom no right would limit.
    """
    return _grant(connection, role, is_reader=True, timeout=statement_timeout)


def grant_writer(connection: Connection, role: str) -> Given:
    """Make a role, by its plain name, a writer; otherwise as `grant_reader`."""
    return _grant(connection, role, is_reader=False)


def _grant(connection: Connection, role: str, *, is_reader: bool, timeout: timedelta | None = None) -> Given:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    owner = _owner(connection)
    created = list(_create(connection, role))
    grantee = connection.execute(_ROLE, {"role": role}).mappings().one()
    reader, writer = needed_by_reader(connection), needed_by_writer(connection)
    if trouble := _trouble(connection, grantee, {*reader} if is_reader else {*reader, *writer}):
        raise AccessError(f"{grantee['name']} {trouble}")
    given = list(_give(connection, grantee, reader if is_reader else writer))
    defaults = list(_defaults(connection, grantee, owner)) if is_reader else []
    settings = list(_settings(connection, grantee, timeout, is_reader=is_reader))
    return Given(grantee["name"], [*created, *given, *defaults, *settings], bool(created), grantee["rolcanlogin"])


def _owner(connection: Connection) -> RowMapping:
    """Return who owns the views; raises `AccessError` where we are not it."""
    owner = connection.execute(_SCHEMA_OWNER, {"schema": VIEWS}).mappings().one()
    if not owner["is_ours"]:
        raise AccessError(
            f"{owner['ours']} may give no rights: schema {VIEWS} belongs to {owner['owner']}, who must run this"
        )
    return owner


def _create(connection: Connection, role: str) -> Iterator[Step]:
    if len(role.encode()) > _LONGEST_NAME:
        raise AccessError(f"the name of a role has {_LONGEST_NAME} bytes at the most")
    if role.lower() == "public":
        raise AccessError("PUBLIC is reserved for everybody: name a role for those who are to read")
    if role.startswith("pg_"):
        raise AccessError("names that begin with pg_ are reserved for Postgres's own roles: name another")
    if connection.execute(_ROLE, {"role": role}).first():
        return
    name = connection.execute(text("SELECT quote_ident(:role)"), {"role": role}).scalar_one()
    created = _attempt(connection, f"CREATE ROLE {name} LOGIN")
    if not created.is_done:
        raise AccessError(
            f"there is no role {name}, and we may make none: an administrator runs: {created.statement}"
        )
    yield created


def _trouble(connection: Connection, grantee: RowMapping, allowed: Collection[Right]) -> str | None:
    """Say why a role would be able to do more than what it is allowed; None if it would not."""
    role, name = grantee["rolname"], grantee["name"]
    if grantee["is_ours"]:
        return "is the role that we log in with ourselves: name another one"
    if grantee["rolsuper"]:
        return "is a superuser, whom no right limits: name another role"
    for owner in owners(connection):
        if connection.execute(_IS_MEMBER, {"role": role, "of": owner}).scalar_one():
            return f"is, or may become, the owner ({owner}), whom no right limits: name another role"
    for attribute in ("createrole", "replication"):
        if grantee[f"rol{attribute}"]:
            return f"could give itself more: run ALTER ROLE {name} NO{attribute.upper()}, or name another role"
    if far := connection.execute(_FAR_REACHING, {"role": role}).scalar():
        return f"is a member of {far}, which reaches further: run REVOKE {far} FROM {name}, or name another role"
    return _too_much(connection, role, allowed)


def _too_much(connection: Connection, role: str, allowed: Collection[Right]) -> str | None:
    excess = [each for each in held(connection, role) if each.right not in allowed]
    if not excess:
        return None
    named = [f"{right} (given to {holder})" for right, holder in excess[:_SHOWN]]
    more = f" and {len(excess) - _SHOWN:,} more" if len(excess) > _SHOWN else ""
    return f"may do more than that: {', '.join(named)}{more}: revoke it, or name another role"


def _give(connection: Connection, grantee: RowMapping, needed: Iterable[Right]) -> Iterator[Step]:
    missing = lacking(connection, grantee["rolname"], needed)
    for statement in statements(grantee["name"], missing):
        _attempt(connection, statement)
    # Of a right that was not ours to give Postgres only warns.
    left = lacking(connection, grantee["rolname"], missing) if missing else []
    done = [right for right in missing if right not in left]
    yield from (Step(statement) for statement in statements(grantee["name"], done))
    yield from (Step(statement, is_done=False) for statement in statements(grantee["name"], left))


def _defaults(connection: Connection, grantee: RowMapping, owner: RowMapping) -> Iterator[Step]:
    """Let a reader look at the views that later migrations make."""
    names = {"schema": VIEWS, "owner": owner["owner"], "grantee": grantee["oid"]}
    if connection.execute(_DEFAULTS, names).first() is None:
        by_owner = f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner['name']} IN SCHEMA {VIEWS}"
        yield _attempt(connection, f"{by_owner} GRANT SELECT ON TABLES TO {grantee['name']}")


def _settings(
    connection: Connection, grantee: RowMapping, timeout: timedelta | None, *, is_reader: bool
) -> Iterator[Step]:
    """Keep a reader from accidents; a writer is rid of what it had as a reader."""
    entries = connection.execute(_SETTINGS, {"grantee": grantee["oid"]}).scalars()
    found = dict(entry.split("=", 1) for entry in entries)
    idle = found.get(_IDLE, _IDLE_FOR)  # one that an administrator has set stays
    wanted: Mapping[str, str | None] = {
        _READ_ONLY: None, _TIMEOUT: None, _IDLE: None if idle == _IDLE_FOR else idle,
    }  # fmt: skip
    if is_reader:
        patience = f"{timeout.total_seconds():.0f}s" if timeout else found.get(_TIMEOUT, _PATIENCE)
        wanted = {_READ_ONLY: "on", _TIMEOUT: patience, _IDLE: idle}
    here = connection.execute(text("SELECT quote_ident(current_database())")).scalar_one()
    for setting, value in wanted.items():
        if found.get(setting) != value:
            change = f"RESET {setting}" if value is None else f"SET {setting} = '{value}'"
            yield _attempt(connection, f"ALTER ROLE {grantee['name']} IN DATABASE {here} {change}")


def _attempt(connection: Connection, statement: str) -> Step:
    """Run a statement as far as we may; raises `AccessError` where the server finds no sense in it."""
    try:
        with connection.begin_nested():
            # Its names may hold colons and percent signs, which would mean parameters.
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or ""
        if state == _FORBIDDEN:
            return Step(statement, is_done=False)
        if state.startswith(_WRONG):
            raise AccessError(f"the database refuses {statement}: {reason(error)}") from error
        raise
    return Step(statement)
