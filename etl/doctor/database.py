"""The checks of the database in their order, and what becomes of them if it fails midway."""

from collections.abc import Iterator, Mapping

from sqlalchemy.exc import DBAPIError

from etl import database
from etl.config import Config
from etl.database import DatabaseError
from etl.doctor import schema, server
from etl.doctor.clocks import Now
from etl.doctor.findings import Finding, unseen
from etl.doctor.patience import SilenceError, promptly
from etl.local_postgres import LocalPostgres, LocalPostgresError

_REACH = "look at host, port, user, password and TLS of database.url, and at the server and its pg_hba.conf"


def examine(settings: Config, environ: Mapping[str, str], now: Now) -> Iterator[Finding]:
    """Look at the database, and at our schema in it."""
    subject = _subject(settings)
    try:
        yield from promptly(_visited(settings, environ, now))
    except DBAPIError as error:
        yield Finding("database", "fail", subject, f"it failed: {database.reason(error)}", _REACH)
    except LocalPostgresError as error:
        yield Finding("database", "fail", subject, str(error), "mend that, or set database.url")
    except (DatabaseError, SilenceError) as error:
        yield Finding("database", "fail", subject, str(error), _REACH)
    else:
        return
    yield unseen("migrations", subject, "the database failed, and all else that is asked of it depends on that")


def _subject(settings: Config) -> str:
    if settings.database.url is None:
        return "the private Postgres"
    try:
        return database.shown(settings.database.address())
    except DatabaseError:
        return "database.url"  # it cannot be read: whether it holds a password nobody knows


def _visited(settings: Config, environ: Mapping[str, str], now: Now) -> Iterator[Finding]:
    if settings.database.url is not None:
        yield from _looked_at(settings, settings.database.address(), now)
        return
    local = LocalPostgres.from_environ(environ)
    if local.is_running():
        yield Finding("database", "ok", str(local.folder), "the private Postgres lives here, and runs")
        yield from _looked_at(settings, local.url(), now)
        return
    said = "the private Postgres would live here; it does not run, so nothing of it was looked at"
    remedy = "`etl db start` starts it, as every command does that needs it"
    yield Finding("database", "warn", str(local.folder), said, remedy)


def _looked_at(settings: Config, url: str, now: Now) -> Iterator[Finding]:
    wanted = min(settings.aws.max_concurrency, len(settings.memberships)) + 1  # one to see what is due
    with server.visiting(url) as visit:
        yield from server.examine(visit, now, wanted)
        yield from schema.examine(visit, settings.memberships, is_private=settings.database.url is None)
