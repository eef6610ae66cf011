"""Which memberships are configured: made known to the database, and dropped when they no longer are.

The caller owns the transaction: nothing here opens, commits or caches one.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, func, select, update
from sqlalchemy.dialects.postgresql import insert

from etl.tables import membership


class Tracked(NamedTuple):
    """A configured membership, as it is registered."""

    membership_id: str
    region: str
    account_id: str | None
    expected_seconds: float
    """The longest pause that its schedule allows."""
    schedule: str
    """The schedule in words: another one has others."""
    open_jobs_quota: int
    account_open_jobs_quota: int


def register(connection: Connection, tracked: Iterable[Tracked], *, drop_others: bool = True) -> bool:
    """Make memberships known, and mark all others as no longer tracked if `drop_others`.

    One whose schedule has changed is due at once. A row that somebody else has locked is left for another time:
    returns whether there was none.
    """
    rows = [{**entry._asdict(), "configured": True} for entry in tracked]
    stale = _not_registered(connection, rows)
    free = _lock(connection, [row["membership_id"] for row in stale])
    if ready := [row for row in stale if row["membership_id"] in free]:
        statement = insert(membership).values(ready)
        fresh: dict[str, Any] = {name: statement.excluded[name] for name in ready[0]}
        fresh["account_id"] = func.coalesce(statement.excluded.account_id, membership.c.account_id)
        is_as_before = statement.excluded.schedule == membership.c.schedule
        fresh["next_due_at"] = case((is_as_before, membership.c.next_due_at))
        connection.execute(
            statement.on_conflict_do_update(index_elements=[membership.c.membership_id], set_=fresh)
        )
    are_dropped = not drop_others or _drop_others(connection, [row["membership_id"] for row in rows])
    return len(ready) == len(stale) and are_dropped


def _not_registered(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, in an order that all workers share, the rows that are not stored as they are.

    The others are left alone, not even locked: a run about to begin would take the lock for another run's.
    """
    rows_stored = connection.execute(select(membership)).mappings()
    stored: dict[str, dict[Any, Any]] = {row["membership_id"]: dict(row) for row in rows_stored}

    def is_stored(row: Mapping[str, Any]) -> bool:
        known = stored.get(row["membership_id"], {})
        # The account may be known though its role does not tell it.
        return all(known.get(name) == value for name, value in row.items() if value is not None)

    return [row for row in sorted(rows, key=itemgetter("membership_id")) if not is_stored(row)]


def _lock(connection: Connection, membership_ids: Sequence[str]) -> set[str]:
    """Lock the rows of these memberships, and return which are ours now, or are not there at all."""
    columns = membership.c
    of_these = columns.membership_id.in_(membership_ids)
    stored = set(connection.scalars(select(columns.membership_id).where(of_these)))
    locked = connection.scalars(select(columns.membership_id).where(of_these).with_for_update(skip_locked=True))
    return set(membership_ids) - stored | set(locked)


def _drop_others(connection: Connection, membership_ids: Sequence[str]) -> bool:
    columns = membership.c
    others = list(
        connection.scalars(
            select(columns.membership_id).where(columns.configured, columns.membership_id.not_in(membership_ids))
        )
    )
    free = _lock(connection, others)
    if free:
        connection.execute(update(membership).where(columns.membership_id.in_(free)).values(configured=False))
    return len(free) == len(others)


def are_tracked(connection: Connection, membership_ids: Sequence[str]) -> bool:
    """Tell whether all of these memberships are: whoever has another configuration may have dropped one."""
    columns = membership.c
    found = connection.scalar(
        select(func.count()).where(columns.membership_id.in_(membership_ids), columns.configured)
    )
    return found == len(membership_ids)


def hasten(connection: Connection) -> None:
    """Make due what was put off because it had failed; what is being synced now is not waited for."""
    columns = membership.c
    put_off = (
        select(columns.membership_key)
        .where(columns.configured, columns.failures > 0, columns.next_due_at.is_not(None))
        .with_for_update(skip_locked=True)
    )
    connection.execute(update(membership).where(columns.membership_key.in_(put_off)).values(next_due_at=None))
