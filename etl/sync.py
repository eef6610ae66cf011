"""One membership, start to end: connect, take its lease, perform the run, report."""

import os
import socket
import time
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from etl import database, leases, release, store
from etl.config import Config, Membership
from etl.run import Progress, StoppedError, Syncing, Watcher


@dataclass(frozen=True)
class SyncReport:
    """What came of the sync of one membership."""

    membership_id: str
    outcome: str
    """As in `sync_run`, or busy where another run held the lease or had just ended."""
    seconds: float = 0
    run_id: int | None = None
    kind: str = "full"
    """full, or quick."""
    counts: store.Counts = field(default_factory=store.Counts)
    overruns: int = 0
    """Due times that passed while it ran."""
    error_class: str | None = None
    error: str | None = None

    @property
    def is_fine(self) -> bool:
        """Whether all went as it should: a membership that another worker is syncing is in good hands."""
        return self.outcome in {"complete", "busy"}


def _unwatched(_: Progress) -> None:
    pass


def sync_membership(
    config: Config,
    membership: Membership,
    watch: Watcher = _unwatched,
    *,
    if_due: bool = False,
    full: bool = False,
) -> SyncReport:
    """List one membership's jobs and store what is new; on a connection and a client of its own.

    `config` names the database, and `roster.register` has made the membership known. With `if_due` one that is not
    due, or no longer, is left alone; `full` asks for a full listing where a quick sweep would do. What goes wrong
    with AWS or the database is told in the report; whatever else is raised is a bug, and recorded before it flies.
    """
    started = time.monotonic()
    try:
        watch(Progress(membership.id, 0, 0))
        with database.connect(config.database.address()) as connection:
            report = _sync_on(connection, config, membership, watch, if_due=if_due, full=full)
    except StoppedError:
        report = SyncReport(membership.id, "partial", error_class="Stopped", error="asked to stop")
    except database.DatabaseError as error:
        report = SyncReport(membership.id, "failed", error_class="DatabaseError", error=str(error))
    except DBAPIError as error:
        reason = database.reason(error)
        report = SyncReport(membership.id, "failed", error_class=type(error.orig).__name__, error=reason)
    return replace(report, seconds=time.monotonic() - started)


def _sync_on(
    connection: Connection, config: Config, membership: Membership, watch: Watcher, *, if_due: bool, full: bool
) -> SyncReport:
    with connection.begin():
        run = leases.begin(connection, membership.id, config.sync.lease, _worker(), if_due=if_due)
    if run is None:
        return SyncReport(membership.id, "busy")
    syncing = Syncing(config, membership, connection, run, watch, full=full)
    ending = syncing.perform()
    return SyncReport(
        membership.id,
        ending.outcome,
        run_id=run.run_id,
        kind=syncing.kind,
        counts=syncing.counts,
        overruns=syncing.overruns,
        error_class=ending.error_class,
        error=ending.error,
    )


def _worker() -> leases.Worker:
    return leases.Worker(f"{socket.gethostname()}:{os.getpid()}", release.version())
