"""`etl daemon`: from the command line to a process that lives for years, and answers to signals."""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli.configuration import with_database, with_memberships
from etl.cli.options import with_options
from etl.cli.signals import Signals
from etl.console import Console

if TYPE_CHECKING:
    from etl.config import Config

# What `etl --help` need not wait for is imported when the command runs.
# ruff: noqa: PLC0415

# What these warn of comes to us as errors too, or is no news: a look that is skipped while one goes on.
_SAID_BY_US = ("apscheduler", "botocore.credentials", "psycopg", "urllib3")


@click.command()
@with_options
def daemon(file: Path | None, as_json: bool | None) -> None:
    """Keep every configured membership fresh, until told to stop.

    Syncs each membership when it is due by its schedule; any number of daemons on one database share the work.
    Logs to stdout, a line a sync. On daemon.listen it answers /healthz, /readyz and /metrics. It stays up whatever
    AWS or the database do. It migrates the private local Postgres only: for another, run `etl db upgrade`.

    SIGTERM or Ctrl-C ends it within 15 seconds, with exit code 0; a second one ends it at once. SIGHUP reads the
    configuration again; one that cannot be used is refused, and the old one stays.
    """
    signals = Signals(signal.SIGHUP)
    from etl.daemon import Daemon
    from etl.log import forwarding, logger

    log = logger(as_json=Console(as_json=as_json).as_json, out=sys.stdout)
    with_database(with_memberships(file))  # what is wrong from the start has its own exit code
    with forwarding(log, _SAID_BY_US), Daemon(partial(_reread, file), log) as running:
        for _ in signals.until_stop():
            running.reload()
    if running.left_behind:
        os._exit(0)  # it hangs in the driver or in the system: Python would wait for it


def _reread(file: Path | None) -> "Config":
    """Make the configuration; raises `ConfigError` also where the private local Postgres is the trouble."""
    from etl.config import ConfigError
    from etl.database import DatabaseError
    from etl.local_postgres import LocalPostgresError

    try:
        return with_database(with_memberships(file))
    except (DatabaseError, LocalPostgresError) as error:
        raise ConfigError([str(error)]) from error
