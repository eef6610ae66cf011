"""When a job that is no longer listed is believed to be gone: the decision, and the statements that record it.

AWS has no operation that deletes these jobs, so a job that is gone is news, and a wrong listing is likelier.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Interval,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from etl.jobs import NOT_LISTED
from etl.reconcile import last_complete_listing, run_started_at
from etl.tables import inference_job, membership, status_transition

LISTINGS_IF_CONFIRMED = 2
"""Complete listings in a row without a job, where AWS also answers that it does not know the job."""

LISTINGS_IF_NOT_PERMITTED = 4
"""The same where we may not ask AWS for a single job."""

LISTINGS_IF_MANY = 5
"""The same where many jobs vanished at once, whatever AWS answers."""

LISTINGS_COUNTED = 1_000
"""More are as good as these: a job that AWS never answers for must not count for ever."""

MANY_JOBS = 10
MANY_SHARE = 0.2

QUESTIONS = 100
"""Single jobs that one run asks AWS for, at the most; the rest are asked for by the next."""

_FAR_APART = 1 << 25  # a byte each: 32 MB

_JUST_AFTER = literal(timedelta(microseconds=1))


class Missing(NamedTuple):
    """A job that the complete listing just read did not show."""

    job_key: int
    job_arn: str
    listings: int
    """Complete listings in a row without it, this one included."""
    has_waited: bool
    """Whether the grace since the first of them is over."""


def count_distinct(keys: Sequence[int]) -> int | None:
    """Return how many different keys these are; None where they lie too far apart to be counted in little memory.

    A million keys of one sequence take a megabyte, and a set of them a hundred.
    """
    first, last = min(keys, default=0), max(keys, default=-1)
    if last - first > _FAR_APART:
        return None
    is_there = bytearray(last - first + 1)
    for key in keys:
        is_there[key - first] = True
    return is_there.count(True)


def suspects(missing: Sequence[Missing], tracked: int) -> list[Missing]:
    """Return the missing jobs, of `tracked` in all, of which AWS is now to be asked."""
    are_many = len(missing) > max(MANY_JOBS, MANY_SHARE * tracked)
    needed = LISTINGS_IF_MANY if are_many else LISTINGS_IF_CONFIRMED
    return [job for job in missing if job.has_waited and job.listings >= needed][:QUESTIONS]


def is_gone(job: Missing, exists: bool | None) -> bool:
    """Decide of a suspect, by AWS's answer to whether it exists: None if we may not ask."""
    return exists is False or (exists is None and job.listings >= LISTINGS_IF_NOT_PERMITTED)


def missing_jobs() -> Select[int, str, int, bool]:
    """Return the query for `Missing`: jobs not shown, of those not already concluded absent.

    Parameters: owner (a membership_key), grace, and shown_keys, an array literal: for a million keys that takes a
    tenth of the memory of a list.
    """
    job = inference_job.c
    since = func.coalesce(job.absent_since, func.now())
    return (
        select(
            job.job_key,
            job.job_arn,
            job.absent_listings + 1,
            since <= func.now() - bindparam("grace", type_=Interval),
        )
        .where(job.membership_key == bindparam("owner"), job.status != NOT_LISTED)
        .where(_is_not_shown())
        .order_by(job.job_key)
    )


def _is_not_shown() -> ColumnElement[bool]:
    keys = cast(bindparam("shown_keys", type_=Text), ARRAY(BigInteger))
    shown = func.unnest(keys).column_valued("shown_key")
    return ~select(shown).where(shown == inference_job.c.job_key).exists()


def tracked_jobs() -> Select[int]:
    """Return the query for the number of a membership's jobs that are taken to be listed."""
    job = inference_job.c
    return (
        select(func.count())
        .select_from(inference_job)
        .where(job.membership_key == bindparam("owner"), job.status != NOT_LISTED)
    )


def count_missing() -> Executable:
    """Return the statement that counts one more complete listing without the jobs of `keys`.

    It runs before the membership's `listed_at` moves to this listing. Forgetting the digest makes the next sight
    of the job be looked at, though its bytes be the same.
    """
    job = inference_job.c
    return (
        update(inference_job)
        .where(job.job_key.in_(_keys()), membership.c.membership_key == job.membership_key)
        .values(
            absent_listings=func.least(job.absent_listings + 1, LISTINGS_COUNTED),
            absent_since=func.coalesce(job.absent_since, func.now()),
            last_listed_at=case(
                (job.absent_since.is_(None), last_complete_listing(inference_job.c)), else_=job.last_listed_at
            ),
            digest=None,
            changed_at=func.now(),
        )
    )


def forget_unshown() -> Executable:
    """Return the statement for the jobs of one model, or version, that a complete listing of it did not show.

    Such a listing says nothing of absence, but it is no witness of them either: what showed each last is
    remembered, before the membership's `listed_at` moves to this listing. Parameters: owner, shown_keys, model,
    version (null: all versions).
    """
    job = inference_job.c
    version = bindparam("version", type_=Text)
    return (
        update(inference_job)
        .where(job.membership_key == bindparam("owner"), membership.c.membership_key == job.membership_key)
        .where(job.trained_model_arn == bindparam("model"))
        .where(or_(version.is_(None), job.trained_model_version_identifier == version))
        .where(job.status != NOT_LISTED, job.digest.is_not(None), _is_not_shown())
        .values(last_listed_at=last_complete_listing(job), digest=None, changed_at=func.now())
    )


def acquit() -> Executable:
    """Return the statement that begins the count anew for the jobs of `keys`, since AWS answers that they exist.

    They are not listed all the same: the count stays at one, so that AWS is asked of them at each listing, and
    nothing is written for them as long as it knows them.
    """
    job = inference_job.c
    return (
        update(inference_job)
        .where(job.job_key.in_(_keys()), job.absent_listings > 1)
        .values(absent_listings=1, changed_at=func.now())
    )


def conclude() -> Executable:
    """Return the statement that gives the jobs of `keys` the status NOT_LISTED, with its transition.

    It is dated by this conclusion, which is the first that is sure: the listings without the job may only have
    skipped it. Parameters: keys, run (a run_id). Result: the moment of each change.
    """
    job = inference_job.c
    changed_time = func.greatest(func.now(), job.status_since + _JUST_AFTER)
    created = func.least(job.create_time, changed_time)
    known = case((job.last_listed_at <= changed_time, job.last_listed_at))
    # Of fewer listings nothing is concluded but by AWS's own word: a witness that the job was gone by then.
    is_denied = job.absent_listings < LISTINGS_IF_NOT_PERMITTED
    gone = (
        select(
            job.job_key,
            changed_time.label("changed_time"),
            job.status.label("from_status"),
            job.status_since.label("from_time"),
            literal(NOT_LISTED).label("to_status"),
            func.greatest(created, known).label("not_before"),
            func.now().label("observed_at"),
            literal("observed").label("time_basis"),
            bindparam("run", type_=BigInteger).label("run_id"),
            job.membership_key,
        )
        .where(job.job_key.in_(_keys()))
        .cte("gone")
    )
    moved = (
        insert(status_transition).from_select([column.name for column in gone.columns], select(gone)).cte("moved")
    )
    return (
        update(inference_job)
        .where(job.job_key == gone.c.job_key)
        .values(
            status=NOT_LISTED,
            status_since=gone.c.changed_time,
            last_listed_at=case((is_denied, run_started_at()), else_=job.last_listed_at),
            changed_at=func.now(),
        )
        .returning(inference_job.c.status_since)
        .add_cte(moved)
    )


def _keys() -> Select[int]:
    return select(func.unnest(bindparam("keys", type_=ARRAY(BigInteger))).column_valued("key"))
