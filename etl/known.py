"""What is stored already: asked by a run that wants to read, decode and write no more than it must.

The caller owns the transaction: nothing here opens, commits or caches one.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from etl.jobs import NOT_LISTED, OPEN_STATUSES
from etl.leases import Run
from etl.plan import Share
from etl.quick import OpenJob
from etl.scope import Scope
from etl.tables import inference_job, model_week


class Known(NamedTuple):
    """The jobs stored with the digests of some items, each in its item's place; None where there is none."""

    keys: list[int | None]
    created: list[int | None]
    """Their createTime, in microseconds since 1970."""


def by_digest(connection: Connection, run: Run, digests: Sequence[str]) -> Known:
    """Return for each digest, in order, the job stored with it."""
    if not digests:
        return Known([], [])
    rows = connection.execute(
        _BY_DIGEST, {"membership_key": run.membership_key, "digests": "{" + ",".join(digests) + "}"}
    )
    return Known(*rows.one())


# The digests travel as one array literal: a parameter each would cost more than the lookup. No index serves +
# 0, and so only the one by digest is left: of a membership that its statistics do not know yet the planner
# takes any other for as good, and a first sync of 20,000 jobs took 48 s instead of 1. Sorted once, for both
# arrays, it takes a third less time.
_BY_DIGEST = text(f"""
    SELECT array_agg(job_key), array_agg(created)
    FROM (
        SELECT job.job_key, CAST(date_part('epoch', job.create_time) * 1000000 AS bigint) AS created
        FROM unnest(CAST(:digests AS uuid[])) WITH ORDINALITY AS asked (digest, place)
        LEFT JOIN LATERAL (
            SELECT job_key, create_time FROM {inference_job.fullname}
            WHERE digest = asked.digest AND membership_key + 0 = :membership_key
            LIMIT 1
        ) AS job ON true
        ORDER BY asked.place
    ) AS found
""")  # noqa: S608 - the name of our own table


def is_empty(connection: Connection, run: Run) -> bool:
    """Tell whether no job of the membership is stored."""
    any_job = select(inference_job.c.job_key).where(inference_job.c.membership_key == run.membership_key)
    return connection.execute(any_job.limit(1)).first() is None


def nothing(items: int) -> Known:
    """Return what is known of so many items where no job is stored."""
    return Known([None] * items, [None] * items)


def open_keys(connection: Connection, run: Run, scope: Scope) -> set[int]:
    """Return the keys of the jobs that are pending or in progress, of those that a listing of this scope shows."""
    return set(connection.scalars(select(inference_job.c.job_key).where(*_are_open(run, scope))))


def open_jobs(connection: Connection, run: Run, scope: Scope) -> dict[int, OpenJob]:
    """Return the same jobs by their keys."""
    job = inference_job.c
    wanted = (job.job_key, job.job_arn, job.status, job.update_time, job.collaboration_id, job.extra)
    rows = connection.execute(select(*wanted).where(*_are_open(run, scope)))
    return {row.job_key: OpenJob(*row) for row in rows}


def _are_open(run: Run, scope: Scope) -> Iterator[ColumnElement[bool]]:
    job = inference_job.c
    yield from _are_in(run, scope, job)
    yield job.status.in_(OPEN_STATUSES)


def _are_in(run: Run, scope: Scope, job: ReadOnlyColumnCollection[str, Any]) -> Iterator[ColumnElement[bool]]:
    yield job.membership_key == run.membership_key
    if scope.model_arn is not None:
        yield job.trained_model_arn == scope.model_arn
    if scope.model_version is not None:
        yield job.trained_model_version_identifier == scope.model_version


def places(connection: Connection, run: Run, scope: Scope, job_keys: Collection[int], most: int) -> list[int]:
    """Return where these jobs stand in a listing that comes newest first, counted from 0; `most` is far enough.

    Of jobs that were created at one moment each may be the last.
    """
    job = inference_job.c
    head = (
        select(job.job_key, job.create_time)
        .where(*_are_in(run, scope, job), job.status != NOT_LISTED)
        .order_by(job.create_time.desc())
        .limit(most)
        .subquery("head")
    )
    place = func.count().over(order_by=head.c.create_time.desc()) - 1
    placed = select(head.c.job_key, place.label("place")).subquery("placed")
    found = connection.scalars(select(placed.c.place).where(placed.c.job_key.in_(job_keys))).all()
    return [*found, *[most] * (len(job_keys) - len(found))]


def is_any_left_out(connection: Connection, run: Run, scope: Scope, shown: Iterable[int]) -> bool:
    """Tell whether a listing that has shown these jobs has left out a newer one: it does not come newest first.

    One that was missing before, or has only been asked for, says nothing: it has no digest.
    """
    job = inference_job.c
    keys = literal(list(shown), ARRAY(BigInteger))  # one parameter, however many
    # Asked for by itself: of a moment that it is not told the planner would read all jobs, 0.1 s for 300,000.
    earliest = connection.scalar(select(func.min(job.create_time)).where(job.job_key == func.any(keys)))
    left_out = (
        select(job.job_key)
        .where(*_are_in(run, scope, job), job.digest.is_not(None), job.create_time > earliest)
        .where(job.job_key != func.all(keys))
    )
    return bool(connection.scalar(select(left_out.exists())))


def shares(connection: Connection, run: Run) -> list[Share]:
    """Return how many jobs of each model and version are stored, by what is kept counted."""
    week = model_week.c
    kinds = (week.trained_model_arn, week.trained_model_version_identifier)
    rows = connection.execute(
        select(*kinds, cast(func.sum(week.jobs), BigInteger))
        .where(week.membership_key == run.membership_key)
        .group_by(*kinds)
    )
    return [Share(Scope(model, version), jobs) for model, version, jobs in rows]
