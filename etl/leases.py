"""A membership's row: found due, and leased to the one run that may write.

The caller owns the transaction: nothing here opens, commits or caches one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, bindparam, case, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from etl import backoff
from etl.scope import Scope
from etl.tables import membership, sync_run


class FencedError(Exception):
    """Another worker has taken the membership over: nothing more may be written by this run."""


class Worker(NamedTuple):
    """Who syncs."""

    name: str
    """host:process"""
    version: str


class Listed(NamedTuple):
    """What a membership's full listings have told: columns of `membership`."""

    at: datetime | None
    """Start of the last complete one."""
    unsplit_at: datetime | None
    """Start of the last one that was not split."""
    scope: Scope
    newest_first: bool | None
    full_due: bool
    """Whether a quick sweep may not follow."""
    in_vain: bool
    """Whether the last one was read as a whole after its parts."""


@dataclass(frozen=True)
class Run:
    """A sync of one membership that holds its lease."""

    run_id: int
    membership_key: int
    epoch: int
    lease: timedelta
    started_at: datetime
    failures: int
    """Failed runs of the membership in a row before this one."""
    schedule: str | None
    """In words, as it was registered when the run began."""
    expected_jobs: int
    """Jobs that the last complete full listing held; 0 if there was none."""
    listed: Listed
    """By the runs before."""

    def began_within(self, span: timedelta, moment: datetime | None) -> bool:
        """Tell whether it began so soon after a moment: never if there is none, or if the clock was set back."""
        return moment is not None and moment <= self.started_at < moment + span


class Following(NamedTuple):
    """What follows a run of a membership."""

    next_due_at: datetime
    failures: int
    """Failed runs in a row by now."""


def due(connection: Connection, membership_ids: Sequence[str], most: int) -> list[str]:
    """Return which of these memberships are due and not being synced, the longest due first."""
    columns = membership.c
    rows = connection.execute(
        select(columns.membership_id)
        .where(columns.membership_id.in_(membership_ids), columns.configured, _is_due(), _is_free())
        .order_by(columns.next_due_at.nulls_first(), columns.membership_key)
        .limit(most)
    )
    return list(rows.scalars())


def begin(
    connection: Connection, membership_id: str, lease: timedelta, worker: Worker, *, if_due: bool
) -> Run | None:
    """Take the membership's lease and open a run; None while another run holds it, or if it is not due.

    A lease ends by the database's clock, or with the database session of its run: a killed worker is followed at
    once. Each step is a statement of its own, since a statement that also takes a lock reads the snapshot from
    before it.
    """
    prepare(connection, lease)
    locked = connection.execute(
        select(membership.c.membership_key)
        .where(membership.c.membership_id == membership_id)
        .with_for_update(skip_locked=True)  # whoever holds the lock is writing: its lease is alive
    ).scalar()
    if locked is None:
        _end_frozen_session(connection, membership_id, lease)
        return None
    wanted = (_is_free(), _is_due(), membership.c.configured) if if_due else (_is_free(),)
    held = (
        connection.execute(select(membership).where(membership.c.membership_key == locked, *wanted))
        .mappings()
        .one_or_none()
    )
    return _open(connection, held, lease, worker) if held else None


def _open(connection: Connection, held: RowMapping, lease: timedelta, worker: Worker) -> Run:
    key, epoch = held["membership_key"], held["lease_epoch"] + 1
    is_full_due = _abandon(connection, key) or held["full_due"]
    connection.execute(
        update(membership)
        .where(membership.c.membership_key == key)
        .values(lease_epoch=epoch, full_due=is_full_due, **_lease(lease))
    )
    jobs, listings = _last_full(connection, key)
    opened = (
        insert(sync_run)
        .values(membership_key=key, outcome="running", worker=worker.name, version=worker.version)
        .returning(sync_run.c.run_id, sync_run.c.started_at)
    )
    run_id, started_at = connection.execute(opened).one()
    listed = Listed(
        held["listed_at"],
        held["unsplit_at"],
        Scope(held["listed_model_arn"], held["listed_model_version"]),
        held["newest_first"],
        is_full_due,
        in_vain=listings > 1 and held["listed_at"] == held["unsplit_at"],
    )
    return Run(run_id, key, epoch, lease, started_at, held["failures"], held["schedule"], jobs, listed)


def _last_full(connection: Connection, membership_key: int) -> tuple[int, int]:
    """Return how many jobs the last complete full listing held, and how many listings it took; 0 for none."""
    columns = sync_run.c
    last = connection.execute(
        select(columns.jobs_listed, columns.listings)
        .where(columns.membership_key == membership_key, columns.outcome == "complete", columns.kind == "full")
        .order_by(columns.run_id.desc())
        .limit(1)
    ).one_or_none()
    return (last.jobs_listed, last.listings) if last else (0, 0)


def _abandon(connection: Connection, membership_key: int) -> bool:
    """Close the record of a run that never did, if there is one: who knows how much of its listing it stored."""
    abandoned = connection.execute(
        update(sync_run)
        .where(sync_run.c.membership_key == membership_key, sync_run.c.outcome == "running")
        .values(
            outcome="abandoned",
            finished_at=func.now(),
            error_class="Abandoned",
            error="its worker ended without a word",
        )
    )
    return abandoned.rowcount > 0


def _is_free() -> ColumnElement[bool]:
    # Of another role's session Postgres tells no start: one with that number is taken to be alive.
    is_deserted = text(
        "NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = lease_pid"
        " AND coalesce(backend_start = lease_session_at, true))"
    )
    until = membership.c.lease_until
    return or_(until.is_(None), until <= func.clock_timestamp(), is_deserted)


def _is_due() -> ColumnElement[bool]:
    columns = membership.c
    now = func.clock_timestamp()
    # Later than any schedule or pause allows: the database's clock was set back.
    longest_pause = int(backoff.LONGEST.total_seconds())
    farthest = func.make_interval(0, 0, 0, 0, 0, 0, func.greatest(columns.expected_seconds, longest_pause) + 60)
    return or_(columns.next_due_at.is_(None), columns.next_due_at <= now, columns.next_due_at > now + farthest)


def _end_frozen_session(connection: Connection, membership_id: str, lease: timedelta) -> None:
    """End the session that holds a membership's row, if its transaction is as old as a lease and that is over.

    Its worker froze while it sent a batch: the server waits for the rest of a COPY without any time-out.
    """
    connection.execute(_END_FROZEN_SESSION, {"membership_id": membership_id, "lease": lease})


_END_FROZEN_SESSION = text(
    "SELECT pg_terminate_backend(activity.pid) FROM pg_stat_activity AS activity"  # noqa: S608 - our own table
    f" JOIN {membership.fullname} ON activity.pid = lease_pid AND backend_start = lease_session_at"
    " WHERE membership_id = :membership_id AND usename = current_user"
    " AND lease_until <= clock_timestamp()"
    # A server that is told to track no activities does not tell when a transaction began.
    " AND coalesce(xact_start, '-infinity') <= clock_timestamp() - :lease"
    # Behind a transaction pooler the session may be somebody else's by now, who has nothing to do with this table.
    " AND EXISTS (SELECT FROM pg_locks WHERE pg_locks.pid = activity.pid AND mode = 'RowExclusiveLock'"
    f" AND relation = CAST('{membership.fullname}' AS regclass))"
)


def _lease(lease: timedelta) -> dict[str, Any]:
    session = "(SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())"
    return {
        "lease_until": func.clock_timestamp() + lease,
        "lease_pid": func.pg_backend_pid(),
        "lease_session_at": text(session),
    }


def renew(connection: Connection, run: Run) -> None:
    """Prolong the run's lease and lock the membership; raises `FencedError` if another run holds it by now."""
    renewed = connection.execute(
        update(membership)
        .where(membership.c.membership_key == run.membership_key, membership.c.lease_epoch == run.epoch)
        .values(**_lease(run.lease))
    )
    if renewed.rowcount == 0:
        raise FencedError("another worker has taken this membership over")


# Composed once: each transaction begins with it, and to compose it takes longer than to execute it.
_PREPARE = select(
    func.set_config("idle_in_transaction_session_timeout", bindparam("limit"), True),
    func.set_config("lock_timeout", bindparam("limit"), True),
    func.set_config("jit", "off", True),
    func.set_config("array_nulls", "on", True),
)


def prepare(connection: Connection, lease: timedelta) -> None:
    """Bound how long the server waits for us in this transaction, and we for a lock; set what statements rest on.

    Nothing is compiled, which would take four fifths of the time of a statement that runs for each batch, and NULL
    in an array literal is null, whatever the database says.
    """
    connection.execute(_PREPARE, {"limit": f"{lease.total_seconds():.0f}s"})


def release(connection: Connection, run: Run, following: Following | None, *, full_due: bool) -> None:
    """Give the lease back, if it is still ours, and say what follows; None: the membership is as due as before.

    One whose schedule has changed meanwhile is due at once. `full_due`: a quick sweep may not follow.
    """
    planned: dict[str, Any] = {"full_due": full_due}
    if following is not None:
        is_as_before = membership.c.schedule.is_not_distinct_from(run.schedule)
        planned |= {"failures": following.failures, "next_due_at": case((is_as_before, following.next_due_at))}
    connection.execute(
        update(membership)
        .where(membership.c.membership_key == run.membership_key, membership.c.lease_epoch == run.epoch)
        .values(lease_until=None, lease_pid=None, lease_session_at=None, **planned)
    )


def now(connection: Connection) -> datetime:
    """Return the moment by the database's clock."""
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment


def ask_for_full(connection: Connection, run: Run) -> None:
    """Let the next sweep be a full one, if the lease is still the run's: who has taken it over sees to it."""
    connection.execute(
        update(membership)
        .where(membership.c.membership_key == run.membership_key, membership.c.lease_epoch == run.epoch)
        .values(full_due=True)
    )
