"""What is done in the database: jobs settled, what was not shown, the run's record - on a given connection.

The caller owns the transaction: nothing here opens, commits or caches one.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from sqlalchemy import Connection, and_, case, func, select, update

from etl import absence, reconcile, rollups, staging
from etl.leases import Run
from etl.scope import Scope
from etl.tables import inference_job, membership, sync_run

REJECTIONS_KEPT = 100
"""Malformed items that a run's record shows; all are counted."""

STATUSES_KEPT = 100
"""Different unknown statuses that a run's record counts."""

_PIECE = 10_000  # keys joined at once: a list of a million texts takes far more memory than the text made of them


class Showed(NamedTuple):
    """What a complete full listing told beside its jobs."""

    newest_first: bool
    is_split: bool
    all_open: bool
    """Whether it showed every job that is open."""


class Ending(NamedTuple):
    """How a run ended: columns of `sync_run`."""

    outcome: str
    error_class: str | None = None
    error: str | None = None


@dataclass
class Counts:
    """What a run has read and done so far: the counting columns of `sync_run`."""

    pages: int = 0
    api_calls: int = 0
    retries: int = 0
    throttles: int = 0
    jobs_listed: int = 0
    jobs_new: int = 0
    jobs_changed: int = 0
    transitions: int = 0
    jobs_unchanged: int = 0
    jobs_stale: int = 0
    jobs_rejected: int = 0
    jobs_absent: int = 0
    replaced_characters: int = 0
    rejections: list[dict[str, str]] = field(default_factory=list)
    unknown_statuses: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Self) -> Self:
        """Return both together."""
        return type(self)(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


class Settled(NamedTuple):
    """What became of the staged jobs of a batch."""

    new: int
    changed: int
    transitions: int
    unchanged: int
    stale: int
    shown_keys: Sequence[int] | None
    stale_keys: Sequence[int] | None
    believable: Sequence[tuple[int, str]] | None
    earliest_change: datetime | None
    earliest_creation: datetime | None
    """Of the jobs that are new or changed."""

    def counts(self) -> Counts:
        """Return it as counts of the run."""
        return Counts(
            jobs_new=self.new,
            jobs_changed=self.changed,
            transitions=self.transitions,
            jobs_unchanged=self.unchanged,
            jobs_stale=self.stale,
        )


def settle(
    connection: Connection,
    run: Run,
    rows: bytes,
    *,
    known: Sequence[int | None] | None = (),
    believe: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
) -> Settled:
    """Store jobs, given as rows of the staging table: what is new, what changed, and the history of both.

    `known` are the keys of the jobs whose items, of those read with these, are stored already, each in its place;
    None says that none of the jobs is stored, and SQLAlchemy's IntegrityError is raised where one is.
    `meanwhile` is called when the rest is for the server to do, again if all this has to be done again.
    """
    staging.copy(connection, rows)
    parameters = {
        "owner": run.membership_key,
        "run": run.run_id,
        "believe": believe,
        "known_keys": _literal(known or ()),
    }
    meanwhile()
    statement = reconcile.settle_staged(all_new=known is None)
    settled = Settled(*connection.execute(statement, parameters).one())
    rollups.note(
        connection, run.membership_key, changed=settled.earliest_change, created=settled.earliest_creation
    )
    return settled


def missing_jobs(
    connection: Connection, run: Run, shown: "array[int]", stale: "array[int]", grace: timedelta
) -> tuple[list[absence.Missing], int]:
    """Return the jobs that a complete listing did not show in any state, and how many are tracked."""
    owner = {"owner": run.membership_key}
    tracked: int = connection.execute(absence.tracked_jobs(), owner).scalar_one()
    if absence.count_distinct(shown) == tracked:  # a job no longer tracked is listed in an older state, if at all
        return [], tracked
    keys = _literal(shown + stale)
    rows = connection.execute(absence.missing_jobs(), {**owner, "shown_keys": keys, "grace": grace})
    return [absence.Missing(*row) for row in rows], tracked


def _literal(keys: Sequence[int | None]) -> str:
    """Write keys as an array literal, a piece at a time."""
    pieces = (keys[start : start + _PIECE] for start in range(0, len(keys), _PIECE))
    words = (",".join("NULL" if key is None else str(key) for key in piece) for piece in pieces)
    return "{" + ",".join(words) + "}"


def record_absence(
    connection: Connection, run: Run, missing: Sequence[int], gone: Sequence[int], alive: Sequence[int]
) -> None:
    """Count a complete listing without the missing jobs; conclude of those gone, acquit those that AWS knows."""
    if missing:
        connection.execute(absence.count_missing(), {"keys": missing})
    if gone:
        moments = connection.execute(absence.conclude(), {"keys": gone, "run": run.run_id}).scalars()
        rollups.note(connection, run.membership_key, changed=min(moments))
    if alive:
        connection.execute(absence.acquit(), {"keys": alive})


def record_unshown(connection: Connection, run: Run, shown: Sequence[int], scope: Scope) -> None:
    """Remember what showed those jobs last that a complete listing of this scope could show, and did not."""
    parameters = {"owner": run.membership_key, "shown_keys": _literal(shown)}
    connection.execute(
        absence.forget_unshown(), parameters | {"model": scope.model_arn, "version": scope.model_version}
    )


def record_stale(connection: Connection, run: Run, stale: Iterable[int]) -> None:
    """Count a complete listing that showed older states of these jobs, and of these only."""
    keys = list(stale)
    connection.execute(reconcile.forget_stale(), {"owner": run.membership_key, "keys": keys})
    if keys:
        connection.execute(reconcile.count_stale(), {"keys": keys})


def record_listing(connection: Connection, run: Run, scope: Scope, showed: Showed) -> None:
    """Remember when the last complete full listing began, what it was filtered by, and what it told."""
    account = (
        select(func.split_part(inference_job.c.job_arn, ":", 5))
        .where(inference_job.c.membership_key == run.membership_key)
        .limit(1)
    )
    before = membership.c
    is_same_scope = and_(
        before.listed_model_arn.is_not_distinct_from(scope.model_arn),
        before.listed_model_version.is_not_distinct_from(scope.model_version),
    )
    connection.execute(
        update(membership)
        .where(before.membership_key == run.membership_key)
        .values(
            listed_at=run.started_at,
            listed_model_arn=scope.model_arn,
            listed_model_version=scope.model_version,
            # What holds for parts is not proved for the whole.
            newest_first=before.newest_first if showed.is_split and showed.newest_first else showed.newest_first,
            unsplit_at=before.unsplit_at if showed.is_split else run.started_at,
            open_listed_at=run.started_at if showed.all_open else case((is_same_scope, before.open_listed_at)),
            account_id=func.coalesce(before.account_id, account.scalar_subquery()),
        )
    )


def record_open_seen(connection: Connection, run: Run) -> None:
    """Remember that a quick sweep saw every open job."""
    connection.execute(
        update(membership)
        .where(membership.c.membership_key == run.membership_key)
        .values(open_listed_at=run.started_at)
    )


def record_counts(connection: Connection, run: Run, counts: Counts) -> None:
    """Write what the run has read and done so far."""
    values = {item.name: getattr(counts, item.name) for item in fields(counts)}
    values["rejections"] = counts.rejections[:REJECTIONS_KEPT]
    connection.execute(update(sync_run).where(sync_run.c.run_id == run.run_id).values(values))


def end(connection: Connection, run: Run, ending: Ending, **others: object) -> None:
    """Close the run's record; one that another worker gave up as abandoned is closed all the same.

    After a failover that lost it, its number may be another run's: so its start is compared, too.

    `others` are further columns of it: kind, listings and overruns.
    """
    connection.execute(
        update(sync_run)
        .where(sync_run.c.run_id == run.run_id, sync_run.c.started_at == run.started_at)
        .where(sync_run.c.outcome.in_(["running", "abandoned"]))
        .values(finished_at=func.clock_timestamp(), **others, **ending._asdict())
    )
