"""`etl db`: the database's own matters, and the private local Postgres."""

import os
from pathlib import Path
from shlex import quote
from shutil import which
from typing import TYPE_CHECKING

import click

from etl.cli.configuration import address, configuration, local_postgres, where, with_database
from etl.cli.describe import describe
from etl.cli.errors import EXIT_TROUBLE, fail
from etl.cli.grant import grant
from etl.cli.options import with_options
from etl.console import Console

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from etl.config import Config

# Each command imports what it needs when it runs, so that `etl --help` answers at once.
# ruff: noqa: PLC0415


@click.group()
def db() -> None:
    """Migrate the database, describe it, let others in, connect to it, run the private local one."""


db.add_command(describe)
db.add_command(grant)


@db.command()
@with_options
def upgrade(file: Path | None, as_json: bool | None) -> None:
    """Bring the schema to this release's revision. Safe to repeat, and to run twice at once."""
    from etl import database

    config = configuration(file)
    with database.connect(address(config)) as connection:
        before = database.current_revision(connection)
        database.upgrade(connection)
        after = database.current_revision(connection)
        poor = _writers_in_want(connection)
    said = f"already at revision {after}" if before == after else f"migrated from {before or 'nothing'} to {after}"
    console = Console(as_json=as_json)
    console.say(said + where(config), before=before, after=after)
    for role in poor:
        console.complain(
            f"{role} lacks rights that this revision needs: run `etl db grant {quote(role)} --writer`"
        )


def _writers_in_want(connection: "Connection") -> list[str]:
    """Return the roles that sync and cannot, since a migration has made what they have no right to."""
    from etl import access

    with connection.begin():
        needed = access.needed_by_writer(connection)
        return [role for role in access.writers(connection) if access.lacking(connection, role, needed)]


@db.command()
@with_options
def current(file: Path | None, as_json: bool | None) -> None:
    """Show the schema's revision. Exits with 3 if this release cannot work with it."""
    from etl import database, tables

    with database.connect(address(configuration(file))) as connection:
        revision = database.current_revision(connection)
        Console(as_json=as_json).say(revision or "none", revision=revision, needed=tables.REVISION)
        database.check_revision(connection)


@db.command()
@with_options
@click.option(
    "--show-password", is_flag=True, help="Do not mask the password of a configured URL, nor its other secrets."
)
def url(file: Path | None, as_json: bool | None, show_password: bool) -> None:
    """Print the URL to connect to, for psql or a BI tool.

    A plain line unless --json is given, so that `psql "$(etl db url)"` works. The password of a URL that you
    configured is masked; the private local Postgres's own is shown, since nothing else knows it.
    """
    from etl import database

    config = configuration(file)
    if config.database.url is None:
        shown = local_postgres().start()
    else:
        parsed = database.logged_in(config.database.address()).set(drivername="postgresql")
        if not show_password:
            parsed = parsed.update_query_dict(dict.fromkeys(database.secrets(parsed), "***"))
        shown = parsed.render_as_string(hide_password=not show_password)
    Console(as_json=bool(as_json)).say(shown, url=shown)


@db.command(context_settings={"ignore_unknown_options": True})
@with_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(file: Path | None, as_json: bool | None, arguments: tuple[str, ...]) -> None:
    """Open psql on the database; ARGUMENTS are psql's own, behind --."""
    del as_json  # psql talks for itself
    from etl import database
    from etl.config import ConfigError

    configured = configuration(file)
    config = with_database(configured)
    given = config.database.address()
    if secrets := database.secrets(database.parse(given)):
        raise ConfigError(
            [
                f"database.url has {' and '.join(secrets)}, which psql would take where every user of the machine"
                " could read it: put it in a file of services (pg_service.conf), and name that as service= instead"
            ]
        )
    parsed = database.logged_in(given)
    # The private server's own psql is of its version, but has no TLS.
    program = (configured.database.url and which("psql")) or local_postgres().psql()
    if program is None:
        fail("psql is not installed; any other client can use `etl db url`", EXIT_TROUBLE)
    environment = dict(os.environ)
    if parsed.password:  # not on the command line, where every user of the machine could read it
        environment["PGPASSWORD"] = str(parsed.password)
    shown = parsed._replace(drivername="postgresql", password=None).render_as_string()
    os.execve(program, [str(program), shown, *arguments], environment)  # noqa: S606 - a program we looked up


@db.command()
@with_options
def start(file: Path | None, as_json: bool | None) -> None:
    """Start the private local Postgres, and print its URL."""
    _refuse_configured_database(configuration(file))
    started = local_postgres().start()
    Console(as_json=as_json).say(started, url=started)


@db.command()
@with_options
def stop(file: Path | None, as_json: bool | None) -> None:
    """Stop the private local Postgres. Its data stay."""
    _refuse_configured_database(configuration(file))
    was_running = local_postgres().stop()
    Console(as_json=as_json).say("stopped" if was_running else "was not running", stopped=was_running)


def _refuse_configured_database(config: "Config") -> None:
    from etl.config import ConfigError

    if config.database.url is not None:
        raise ConfigError(["database.url is set: start and stop serve the private local Postgres only"])
