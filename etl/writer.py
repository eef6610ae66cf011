"""One run's transactions: each under the lease, and each known to have happened or not.

A connection lost at COMMIT leaves open whether the transaction took place. The run's own record tells, once the
membership's row is locked again: the lock waits for a commit that is still under way.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, select, update
from sqlalchemy.exc import DBAPIError

from etl import database, leases
from etl.tables import membership, sync_run

T = TypeVar("T")

_PAUSES = (0.1, 0.5, 1, 2, 4, 8, 15)  # seconds: a database that restarts is back within half a minute
_LOOK = 0.25  # seconds of a pause until who waits looks whether to go on
_RENEWALS = 3  # renewals that fit in a lease: two may be late


_LOST = "the database lacks what this run has committed: a standby that lags has taken over"


def _nothing(_: object) -> None:
    pass


class Writer:
    """Runs the writes of one run on one connection, which is made anew when it is lost.

    `look_up` is called now and then meanwhile: what it raises ends the waiting.
    """

    def __init__(self, connection: Connection, run: leases.Run, look_up: Callable[[], None]) -> None:
        self._connection = connection
        self._run = run
        self._look_up = look_up
        self._batches = 0
        self._uncertain: Callable[[], None] | None = None
        self._renewed = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time to write, if only to keep the lease."""
        return time.monotonic() - self._renewed > self._run.lease.total_seconds() / _RENEWALS

    def write(self, work: Callable[[Connection], T], accept: Callable[[T], None] = _nothing) -> None:
        """Do `work` once and for all, under the lease; `accept` its result as soon as it is known to be committed.

        Raises `leases.FencedError` if another run holds the lease by now, `database.DatabaseError` if the schema
        is not ours any more, and the driver's error if the database stays away. Whether the work was committed
        then shows at the next write, which accepts it first.
        """
        is_tried = False

        def batch(connection: Connection) -> None:
            nonlocal is_tried
            if self._took_place(connection) and is_tried:
                return
            database.check_revision(connection)  # a newer release may have come meanwhile
            leases.renew(connection, self._run)
            _count_batch(connection, self._run, self._batches)
            is_tried = True
            self._uncertain = partial(accept, work(connection))

        self._insist(batch)
        self._accept()

    def _took_place(self, connection: Connection) -> bool:
        """Find out whether a batch whose COMMIT was not answered was committed, and accept it if so."""
        if self._uncertain is None:
            return False
        is_committed = _committed_batches(connection, self._run) > self._batches
        if is_committed:
            self._accept()
        self._uncertain = None
        return is_committed

    def _accept(self) -> None:
        if self._uncertain is not None:
            accept, self._uncertain = self._uncertain, None
            self._batches += 1
            self._renewed = time.monotonic()
            accept()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` reads, in a transaction of its own."""
        return self._insist(work)

    def _insist(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction; where the connection is lost, again on a new one."""
        for pause in _PAUSES:
            try:
                return self._attempt(work)
            except DBAPIError as error:
                # A connection that cannot be made anew stays invalidated; any other error is no loss.
                if not (error.connection_invalidated or self._connection.invalidated):
                    raise
            self._wait(pause)
        return self._attempt(work)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._look_up()
            time.sleep(min(left, _LOOK))

    def _attempt(self, work: Callable[[Connection], T]) -> T:
        with self._connection.begin():
            leases.prepare(self._connection, self._run.lease)
            return work(self._connection)


def _committed_batches(connection: Connection, run: leases.Run) -> int:
    """Return how many batches of the run are committed: finally so, since a commit under way is waited for."""
    connection.execute(
        select(membership.c.membership_key)
        .where(membership.c.membership_key == run.membership_key)
        .with_for_update()
    )
    batches: int | None = connection.scalar(select(sync_run.c.batches).where(*_is(run)))
    if batches is None:
        raise leases.FencedError(_LOST)
    return batches


def _count_batch(connection: Connection, run: leases.Run, before: int) -> None:
    """Count one more batch of the run than `before`, in the batch's own transaction.

    Raises `FencedError` where the database knows of fewer: a standby that took over may lack the last of them, and
    to go on would hide the hole. Where it lacks the run's beginning, epoch and number may be another run's by now.
    """
    counted = connection.execute(
        update(sync_run).where(*_is(run), sync_run.c.batches == before).values(batches=before + 1)
    )
    if counted.rowcount == 0:
        raise leases.FencedError(_LOST)


def _is(run: leases.Run) -> tuple[ColumnElement[bool], ...]:
    return sync_run.c.run_id == run.run_id, sync_run.c.started_at == run.started_at
