"""From what the operator wrote to what a command works with: the settings, and the database that they mean."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from etl.config import Config
    from etl.local_postgres import LocalPostgres

# Imported by every command: what they do not all need is imported when it is called for.
# ruff: noqa: PLC0415


def configuration(file: Path | None) -> "Config":
    """Read file and environment; raises `ConfigError`, also for a database URL that nobody could read."""
    from etl.config import ConfigError
    from etl.database import DatabaseError, parse
    from etl.loading import load

    config = load(file, os.environ)
    if config.database.url is not None:
        try:
            parse(config.database.address())
        except DatabaseError as error:
            raise ConfigError([str(error)]) from None
    return config


def with_memberships(file: Path | None) -> "Config":
    """Read file and environment; raises `ConfigError` also if there is no membership, and so nothing to sync."""
    from etl.config import ConfigError
    from etl.loading import origin

    config = configuration(file)
    if not config.memberships:
        path = origin(file, os.environ)
        lacking = "no membership is configured: add [[membership]] with its id and region"
        if not path.exists():
            lacking = "there is no such file, and no membership is configured: name another file with --config"
        raise ConfigError([f"{path}: {lacking}"])
    return config


def address(config: "Config") -> str:
    """Return the URL of the database: where none is set, that of the private local Postgres, which is started."""
    return config.database.address() if config.database.url else local_postgres().start()


def where(config: "Config") -> str:
    """Name the private local Postgres to people, where it serves because no database is configured."""
    return "" if config.database.url else f" (the private Postgres in {local_postgres().folder})"


def local_postgres() -> "LocalPostgres":
    """Return the private Postgres of this machine, running or not."""
    from etl.local_postgres import LocalPostgres

    return LocalPostgres.from_environ(os.environ)


def with_database(config: "Config") -> "Config":
    """Return the configuration with a database URL: where none is set, that of the private local Postgres.

    That one alone is started and migrated by itself. Raises `LocalPostgresError` or `DatabaseError`.
    """
    from pydantic import SecretStr

    from etl import database
    from etl.config import Database

    if config.database.url is not None:
        return config
    url = address(config)
    with database.connect(url) as connection:
        if database.is_older(database.current_revision(connection)):
            database.upgrade(connection)
    return config.model_copy(update={"database": Database(url=SecretStr(url))})


@contextmanager
def connected(config: "Config") -> "Iterator[Connection]":
    """Connect to a database that is migrated; raises `DatabaseError`."""
    from etl import database

    with database.connect(with_database(config).database.address()) as connection:
        database.check_revision(connection)
        yield connection
