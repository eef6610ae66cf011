"""One pass over the memberships: concurrently, one failure leaving the others running."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

from etl import database, roster
from etl.config import Config, Membership
from etl.run import Watcher
from etl.sync import SyncReport, sync_membership

Sync = Callable[..., SyncReport]

_LOOK = 0.5  # seconds


def register(config: Config) -> None:
    """Make the configured memberships known to the database; raises `database.DatabaseError`.

    Those that are no longer configured are marked so, and keep their rows.
    """
    with database.connect(config.database.address()) as connection:
        database.check_revision(connection)
        database.check_writable(connection)
        with connection.begin():
            roster.register(connection, tracked(config))


def tracked(config: Config) -> list[roster.Tracked]:
    """Return the configured memberships as they are registered."""
    return [_tracked(config, membership) for membership in config.memberships]


def _tracked(config: Config, membership: Membership) -> roster.Tracked:
    schedule, quota = config.schedule_of(membership), config.quota_of(membership)
    return roster.Tracked(
        membership.id,
        membership.region,
        membership.account_id,
        schedule.interval.total_seconds(),
        schedule.words,
        quota.membership,
        quota.account,
    )


def sweep(
    config: Config,
    memberships: Sequence[Membership],
    executor: Executor,
    watch: Watcher | None = None,
    sync: Sync = sync_membership,
    *,
    full: bool = False,
) -> Iterator[SyncReport]:
    """Sync the memberships on `executor`, and yield each one's report as it ends.

    The work is handed over as plain values, so the executor may be of threads or of processes, here or elsewhere;
    only a watcher ties it to this process. Another `sync` has it done by others (`etl.crew`). `full` asks for full
    listings where quick sweeps would do. A fault of this program flies once the others have ended.
    """
    watched = () if watch is None else (watch,)
    futures = [executor.submit(sync, config, membership, *watched, full=full) for membership in memberships]
    faults: list[BaseException] = []
    for future in _as_they_end(futures):
        fault = future.exception()
        if fault is None:
            yield future.result()
        else:
            faults.append(fault)
    if faults:
        raise BaseExceptionGroup("the sync of a membership met a fault of this program", faults)


def _as_they_end(futures: Iterable["Future[SyncReport]"]) -> "Iterator[Future[SyncReport]]":
    """Yield each as it ends, looking up meanwhile: a signal that another thread got does not wake the main one."""
    left = set(futures)
    while left:
        ended, left = wait(left, timeout=_LOOK, return_when=FIRST_COMPLETED)
        yield from ended
