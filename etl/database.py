"""The way to the database: one connection where one is asked for, and the schema's revision."""

import difflib
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, make_url, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from etl import tokens
from etl.tables import REVISION, SCHEMA

_CONNECT: dict[str, Any] = {
    "application_name": "cleanroomsml-etl",
    "client_encoding": "utf8",  # database, role and environment may name one in which names do not fit
    "connect_timeout": 10,
    # A peer that vanished without a word is noticed within a minute.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    # A transaction pooler in between gives each transaction another session.
    "prepare_threshold": None,
}

# What a URL may say behind its question mark.
_PARAMETERS = {each.keyword.decode() for each in psycopg.pq.Conninfo.get_defaults()} | {
    *_CONNECT,
    tokens.PARAMETER,
}

OLDEST_POSTGRES = 15

_SECRETS = ("sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")  # of libpq's parameters


class DatabaseError(Exception):
    """The database cannot be used as it is; one line that names what to do."""


def parse(url: str) -> URL:
    """Read a database URL; raises `DatabaseError` without repeating it, since it may hold a password.

    A password among the parameters is put where a password is looked for, and masked.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseError("database.url cannot be read; write postgresql://user@host:port/database") from None
    if "@" in (address.host or ""):
        raise DatabaseError("database.url holds two @: write that of a password as %40")
    if unknown := sorted(address.query.keys() - _PARAMETERS):
        raise DatabaseError(f"database.url has a parameter that libpq does not know{_meant(unknown[0])}")
    if "password" in address.query:
        address = address.set(password=str(address.query["password"])).difference_update_query(["password"])
    return address


def _meant(parameter: str) -> str:
    """Say what was meant without saying what was written: behind an @ or ? of a password that may be its end."""
    if close := difflib.get_close_matches(parameter, _PARAMETERS, n=1, cutoff=0.8):
        return f": did you mean {close[0]}?"
    return ": look behind the ?, and write an @ or ? of a password as %40 or %3F"


@lru_cache
def engine(url: str) -> Engine:
    """Return this process's engine for a URL.

    It keeps no connections: a sync needs one for minutes, and none in between.
    """
    address = parse(url)
    known = {name: value for name, value in _CONNECT.items() if name not in address.query}
    made = create_engine(
        address.difference_update_query([tokens.PARAMETER]).set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        connect_args=known,
    )
    event.listen(made, "connect", _read_dates)
    if region := address.query.get(tokens.PARAMETER):
        tokens.use(made, str(region))
    return made


def _read_dates(driver: psycopg.Connection, _record: object) -> None:
    """Have times written as the driver reads them, whatever the database, the role or the environment says."""
    if not (driver.info.parameter_status("DateStyle") or "").startswith("ISO"):
        driver.execute("SET DateStyle = ISO")
        driver.commit()


def connect(url: str) -> Connection:
    """Open a connection; raises `DatabaseError` where the server does not let us in."""
    try:
        connection = engine(url).connect()
    except DBAPIError as error:
        tokens.forget_credentials()
        raise DatabaseError(f"cannot reach the database {shown(url)}: {reason(error)}") from error
    if complaint := _unfit(connection):
        connection.close()
        raise DatabaseError(complaint)
    return connection


def _unfit(connection: Connection) -> str | None:
    """Say why a database cannot hold what we store, None where it can."""
    major = int((connection.dialect.server_version_info or (0,))[0])
    if major < OLDEST_POSTGRES:
        return f"the database is PostgreSQL {major}; {OLDEST_POSTGRES} or newer is needed"
    encoding = cast(psycopg.Connection, connection.connection.driver_connection).info.parameter_status(
        "server_encoding"
    )
    if encoding not in {"UTF8", None}:  # a pooler may not pass it on
        return f"the database's encoding is {encoding}: names may not fit in; make one with ENCODING 'UTF8'"
    return None


def logged_in(url: str) -> URL:
    """Return a URL by which any client can log in now: with the password that IAM gives, if it does."""
    address = parse(url)
    if region := address.query.get(tokens.PARAMETER):
        try:
            address = address.set(password=tokens.token(address, str(region)))
        except tokens.TokenError as error:
            raise DatabaseError(str(error)) from error
    return address.difference_update_query([tokens.PARAMETER])


def secrets(address: URL) -> list[str]:
    """Name the parameters of a URL that are secret, beside its password."""
    return [name for name in _SECRETS if name in address.query]


def shown(url: str) -> str:
    """Return a URL that can be shown: its password is masked, its parameters are left out."""
    address = parse(url)
    return address.set(query={}).render_as_string(hide_password=True)


def reason(error: DBAPIError) -> str:
    """Return what the driver or the server said, in one line and without statement or parameters."""
    lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    return lines[0].strip()


def _transaction(connection: Connection) -> AbstractContextManager[object]:
    """Return the caller's transaction, or one of our own where there is none."""
    return nullcontext() if connection.in_transaction() else connection.begin()


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the schema, None where there is none yet."""
    versions = f"{SCHEMA}.alembic_version"
    with _transaction(connection):
        if connection.scalar(select(text("to_regclass(:name)")).params(name=versions)) is None:
            return None
        revision: str | None = connection.scalar(text(f"SELECT version_num FROM {versions}"))  # noqa: S608 - constants
        return revision


def check_revision(connection: Connection) -> None:
    """Raise `DatabaseError` unless the schema is the one that this release knows."""
    revision = current_revision(connection)
    if revision is None:
        raise DatabaseError("the database is not migrated: run `etl db upgrade`")
    if is_older(revision):
        raise DatabaseError(f"the database is at revision {revision}, not {REVISION}: run `etl db upgrade`")
    if is_newer(revision):
        raise DatabaseError(
            f"the database was migrated to revision {revision} by a newer release (this one knows {REVISION}):"
            " install that release here too"
        )


def is_older(revision: str | None) -> bool:
    """Whether this release needs more than a schema of this revision has."""
    return revision is None or _numbers(revision) < _numbers(REVISION)


def is_newer(revision: str) -> bool:
    """Whether a schema of this revision may be more than this release can work with.

    `0003` is, for a release that knows `0002`; `0002.1` is not: by its number it only added to `0002`.
    """
    return _numbers(revision)[0] > _numbers(REVISION)[0]


def _numbers(revision: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, revision.split(".")))
    except ValueError:
        raise DatabaseError(f"the database's revision {revision} is none of ours") from None


def check_writable(connection: Connection) -> None:
    """Raise `DatabaseError` where the server takes no writes: a standby, or one that was set so."""
    with _transaction(connection):
        if connection.scalar(text("SHOW transaction_read_only")) == "on":
            raise DatabaseError("the database is read-only: a standby, or default_transaction_read_only is set")


def upgrade(connection: Connection) -> None:
    """Bring the schema to this release's revision; raises `DatabaseError` where a newer release owns it."""
    from alembic import command  # noqa: PLC0415 - a quarter of a second that only migrations need
    from alembic.config import Config as AlembicConfig  # noqa: PLC0415 - likewise
    from alembic.util import CommandError  # noqa: PLC0415 - likewise

    revision = current_revision(connection)
    if not is_older(revision):
        check_revision(connection)
        return
    config = AlembicConfig()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        raise DatabaseError(f"the migration failed and changed nothing: {reason(error)}") from error
    except CommandError as error:
        if revision is None:
            raise  # there was no old revision to go on from: the revisions themselves are broken
        raise DatabaseError(
            f"the database is at revision {revision}, from which this release knows no way to {REVISION}:"
            " upgrade with the release that brought it there first"
        ) from error


def _migrations() -> Path:
    """Return the revisions' folder: inside an installed package, beside it in a checkout."""
    package = Path(str(files("etl")))
    installed = package / "migrations"
    return installed if installed.exists() else package.parent / "migrations"
