"""The statements that turn staged jobs into inserts, updates and history: pure builders, no connection.

One statement settles a batch. Its first part, up to `_judged`, decides what each staged job means beside what is
stored; the rest only writes what was decided. All of it sees the tables as they were before the statement.
"""

from datetime import timedelta
from functools import cache, reduce
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Executable,
    FromClause,
    Integer,
    MetaData,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from etl import milestones
from etl.jobs import NOT_LISTED, OPEN_STATUSES
from etl.tables import inference_job, job_edit, job_key, membership, status_transition, sync_run

AHEAD = timedelta(seconds=5)
"""How far AWS's clock may run before the database's."""

STALE_RUNS_UNTIL_BELIEVED = 3

_DIGEST_KEPT = timedelta(days=1)

_TICK = timedelta(microseconds=1)  # the resolution of timestamptz

# What AWS says of a job, in the order of its columns.
_FACTS = tuple(
    column.name
    for column in inference_job.columns
    if column.name
    not in {
        "job_key", "membership_key", "status_since", "digest", "first_seen_at", "changed_at",
        "stale_runs", "absent_since", "absent_listings", "last_listed_at", *milestones.NAMES,
    }
)  # fmt: skip
# No edits: the key, what has a history of its own, and what moves without a change.
_NO_EDIT = {"job_arn", "status", "update_time"}

staged_job = Table(
    "staged_job",
    MetaData(),  # of its own: a temporary table is no part of the schema
    # No key: they come by their ARNs, and are read from one end to the other.
    *(Column(name, inference_job.c[name].type) for name in _FACTS),
    Column("digest", inference_job.c.digest.type),
    Column("place", Integer),
    schema="pg_temp",  # where no search_path leads past it
    postgresql_on_commit="DROP",  # in the same transaction: a transaction pooler in between does no harm
)

_now = func.now()  # of the transaction, which began after the batch had been read
_run = bindparam("run", type_=BigInteger)
_owner = bindparam("owner", type_=membership.c.membership_key.type)


@cache  # building it costs as much as running it for a page of jobs
def settle_staged(*, all_new: bool = False) -> Executable:
    """Return the statement that settles the staged jobs of one membership.

    With `all_new` it looks for none of them, which takes a sixth less time; one that is stored violates a key.

    Parameters: owner (a membership_key), run (a run_id), known_keys (an array literal: for each item of the batch
    the key of its job, null where it is staged) and believe, which takes an older state for the truth.
    Result, one row: new, changed, transitions, unchanged, stale (counts), shown_keys (not stale), stale_keys,
    believable, the [key, ARN] of those stale ones that are believed if the listing turns out complete, and for the
    rollups the earliest change of status, and the earliest creation of a job that is new or changed.
    """
    judged = _with_milestones(_judged(_timed(_compared(all_new=all_new))))
    is_written = judged.c.verdict.in_(["new", "changed"])
    stale = judged.c.verdict == "stale"
    believable = and_(stale, judged.c.stale_runs + 1 >= STALE_RUNS_UNTIL_BELIEVED)
    return select(
        _how_many(judged.c.verdict == "new").label("new"),
        _how_many(judged.c.verdict == "changed").label("changed"),
        _how_many(judged.c.is_transition).label("transitions"),
        _how_many(judged.c.verdict == "same").label("unchanged"),
        _how_many(stale).label("stale"),
        func.array_agg(judged.c.job_key).filter(~stale).label("shown_keys"),
        func.array_agg(judged.c.job_key).filter(stale).label("stale_keys"),
        func.jsonb_agg(func.jsonb_build_array(judged.c.job_key, judged.c.job_arn), type_=JSONB)
        .filter(believable)
        .label("believable"),
        func.min(judged.c.changed_time).filter(judged.c.is_transition).label("earliest_change"),
        func.min(func.least(judged.c.create_time, judged.c.old_create_time))
        .filter(is_written)
        .label("earliest_creation"),
    ).add_cte(
        _insert_new(judged),
        _update_changed(judged),
        _know_again(judged),
        _append_transitions(judged),
        _append_edits(judged),
    )


def _step(decided: Select[Any], name: str) -> CTE:
    """Return a step of the decision, each expression of which is computed once.

    Without OFFSET 0 the planner writes it out wherever the next step names it: a tenth of the statement's time.
    """
    return decided.offset(0).cte(name)


def _stored() -> FromClause:
    """Find the stored one of each staged job.

    One index probe a staged job: left to choose, the planner reads the whole membership for each batch, or for
    each job of one that its statistics do not know yet. No index serves + 0, so that only the one by ARN is left.
    """
    return (
        select(inference_job)
        .where(inference_job.c.job_arn == staged_job.c.job_arn, inference_job.c.membership_key + 0 == _owner)
        .limit(1)
        .lateral("stored")
    )


def _nothing() -> FromClause:
    """Find nothing: of nulls the planner works out by itself what follows, once for all rows."""
    columns = inference_job.columns
    return select(*(cast(null(), column.type).label(column.name) for column in columns)).lateral("stored")


def _compared(*, all_new: bool) -> CTE:
    """Put each staged job beside the stored one, and say what differs."""
    stored = _nothing() if all_new else _stored()
    staged = staged_job.c
    is_same = [staged[name].is_not_distinct_from(stored.c[name]) for name in _FACTS]
    return _step(
        select(
            *staged,
            stored.c.job_key,
            stored.c.job_key.is_(None).label("is_new"),
            and_(stored.c.digest.is_not(None), *is_same).label("is_equal"),
            stored.c.status.label("from_status"),
            stored.c.status_since.label("from_time"),
            stored.c.update_time.label("old_update_time"),
            stored.c.stale_runs,
            stored.c.create_time.label("old_create_time"),
            *(stored.c[name] for name in milestones.NAMES),
            last_complete_listing(stored.c).label("listed_at"),
            # AWS moves updateTime at every change: only where it moved can it be the moment of this one. None of
            # its times tells when a job was listed again.
            func.coalesce(
                and_(stored.c.status != NOT_LISTED, staged.update_time > stored.c.update_time), True
            ).label("is_moved"),
            (staged.update_time > _now + literal(AHEAD)).label("is_ahead"),
        )
        .select_from(staged_job)
        .join(membership, membership.c.membership_key == _owner)
        .join(stored, true(), isouter=not all_new),
        "compared",
    )


def _places_of_known() -> Subquery:
    """Return the last place, in the batch, of each job whose item was known."""
    keys = cast(bindparam("known_keys", type_=Text), ARRAY(BigInteger))
    known = func.unnest(keys).table_valued("job_key", with_ordinality="place", name="known").render_derived()
    return (
        select(known.c.job_key, func.max(known.c.place).label("place"))
        .where(known.c.job_key.is_not(None))
        .group_by(known.c.job_key)
        .subquery("known_places")
    )


def _timed(compared: CTE) -> CTE:
    """Find the moment of a change: AWS's updateTime where that can be it, else the nearest instant that can."""
    this = compared.c
    earliest = case((this.is_new, func.least(this.create_time, _now)), else_=this.from_time + literal(_TICK))
    timed = select(
        *this,
        case(
            (or_(~this.is_moved, this.is_ahead), func.greatest(_now, earliest)),
            else_=func.greatest(this.update_time, earliest),
        ).label("changed_time"),
        case(
            (~this.is_moved, "observed"),
            (or_(this.is_ahead, this.update_time < earliest), "clamped"),
            else_="update_time",
        ).label("time_basis"),
    )
    return _step(timed, "timed")


def _judged(timed: CTE) -> CTE:
    """Decide what each staged job is: new, changed, same or stale; whether it makes a transition, and since when.

    `not_before` is the latest instant at which the change is known not to have happened yet. Its witnesses are
    times of AWS's and the starts of listings, never `from_time`: where it was we who dated the old status, that is
    when its page was stored, some time after it was read. The true moment lies no later than an updateTime that
    moved: a witness that claims to have seen the old status after that was itself out of date, and does not count.
    """
    this, stored = timed.c, _places_of_known()
    # An older state never overwrites a newer one, unless it is shown again and again.
    is_stale = and_(this.update_time < this.old_update_time, ~bindparam("believe", type_=Boolean))
    is_exact = and_(this.is_moved, ~this.is_ahead)
    latest_possible = case((is_exact, func.least(this.update_time, this.changed_time)), else_=this.changed_time)
    # Where AWS's time did not go on, nothing tells that the one before was right: it may have lain ahead.
    witnesses = (case((this.update_time > this.old_update_time, this.old_update_time)), this.listed_at)
    known = (case((witness <= latest_possible, witness)) for witness in witnesses)
    created = func.least(this.create_time, this.changed_time)  # at first sight there is no other
    # Of two states of one moment the later read stands: here the one that is stored already.
    is_outrun = and_(this.update_time == this.old_update_time, func.coalesce(stored.c.place, 0) > this.place)
    is_same = or_(this.is_equal, is_outrun)
    is_changed = and_(~is_stale, ~is_same)
    is_transition = or_(this.is_new, and_(is_changed, this.status != this.from_status))
    judged = select(
        *this,
        case((this.is_new, "new"), (is_stale, "stale"), (is_same, "same"), else_="changed").label("verdict"),
        is_transition.label("is_transition"),
        func.greatest(created, *known).label("not_before"),
    )
    return _step(judged.outerjoin_from(timed, stored, stored.c.job_key == this.job_key), "judged")


def _with_milestones(judged: CTE) -> CTE:
    """Find the milestones of each staged job as they are from now on, and give a new one its key.

    Here and no earlier: Postgres stores the rows of a step that calls a sequence, and they are as wide as a job.
    """
    this = judged.c
    gone = status_transition.c
    gone_not_before = (
        select(gone.not_before)
        .where(gone.job_key == this.job_key, gone.changed_time == this.from_time)
        .scalar_subquery()
    )
    not_before = case((this.from_status == NOT_LISTED, gone_not_before), else_=this.not_before)
    step = milestones.Step(this.from_status, this.status, this.changed_time, not_before)
    moved = milestones.after(step, this)
    others = [column for column in this if column.name not in {"job_key", *milestones.NAMES}]
    key = func.coalesce(this.job_key, job_key.next_value()).label("job_key")
    kept = [case((this.is_transition, value), else_=this[value.name]).label(value.name) for value in moved]
    return select(key, *others, *kept).cte("settled")


def last_complete_listing(job: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[Any]:
    """Return the start of the last complete sweep that showed a job as it is stored, null where none did.

    `job` are the columns of an `inference_job`, beside which stands its `membership`. A listing filtered by model
    says nothing of other models' jobs, and one that showed an older state says nothing of this one. Of a job
    without a digest `last_listed_at` tells: it has been missing since, or AWS was only asked for it. A quick sweep
    prolongs what a full listing showed, for open jobs alone.
    """
    model, version = membership.c.listed_model_arn, membership.c.listed_model_version
    in_scope = and_(
        or_(model.is_(None), model == job.trained_model_arn),
        or_(version.is_(None), version == job.trained_model_version_identifier),
    )
    full = case(
        (job.stale_runs > 0, null()),
        (job.digest.is_(None), job.last_listed_at),
        (in_scope, membership.c.listed_at),
    )
    is_seen_quickly = and_(full.is_not(None), in_scope, job.status.in_(OPEN_STATUSES))
    return func.greatest(full, case((is_seen_quickly, membership.c.open_listed_at)))


def _insert_new(judged: CTE) -> CTE:
    values = {
        "job_key": judged.c.job_key,
        "membership_key": _owner,
        **_facts_of(judged),
        "status_since": judged.c.changed_time,
        "digest": judged.c.digest,
        "first_seen_at": _now,
        "changed_at": _now,
        **_milestones_of(judged),
    }
    chosen = select(*values.values()).where(judged.c.verdict == "new")
    return insert(inference_job).from_select(list(values), chosen).cte("inserted")


def _update_changed(judged: CTE) -> CTE:
    since = case((judged.c.is_transition, judged.c.changed_time), else_=inference_job.c.status_since)
    return (
        update(inference_job)
        .where(inference_job.c.job_key == judged.c.job_key, judged.c.verdict == "changed")
        .values(
            **_facts_of(judged),
            **_milestones_of(judged),
            status_since=since,
            digest=judged.c.digest,
            changed_at=_now,
            stale_runs=0,
            absent_since=None,
            absent_listings=0,
            # What AWS told of a single job has no digest that a listing could know again.
            last_listed_at=case((judged.c.digest.is_(None), run_started_at())),
        )
        .cte("updated")
    )


def _know_again(judged: CTE) -> CTE:
    """Know what is the same in other bytes by these from now on, lest it be decoded each time.

    Once a day at the most: who sends its fields in another order each time is not run after.
    """
    job = inference_job.c
    return (
        update(inference_job)
        .where(job.job_key == judged.c.job_key, judged.c.verdict == "same", judged.c.is_equal)
        .where(job.digest != judged.c.digest, job.changed_at < _now - literal(_DIGEST_KEPT))
        .values(digest=judged.c.digest, changed_at=_now)
        .cte("known_again")
    )


def run_started_at() -> ColumnElement[Any]:
    """Return when the run of the parameter `run` began."""
    return select(sync_run.c.started_at).where(sync_run.c.run_id == _run).scalar_subquery()


def _append_transitions(judged: CTE) -> CTE:
    values = {
        "job_key": judged.c.job_key,
        "changed_time": judged.c.changed_time,
        "from_status": judged.c.from_status,
        "from_time": judged.c.from_time,
        "to_status": judged.c.status,
        "not_before": judged.c.not_before,
        "observed_at": _now,
        "time_basis": judged.c.time_basis,
        "run_id": _run,
        "membership_key": _owner,
    }
    chosen = select(*values.values()).where(judged.c.is_transition)
    return insert(status_transition).from_select(list(values), chosen).cte("moved")


def _append_edits(judged: CTE) -> CTE:
    changes = reduce(
        lambda left, right: left.concat(right),
        [_edit(judged, name) for name in _FACTS if name not in _NO_EDIT],
    )
    edited = (
        select(judged.c.job_key, judged.c.update_time, changes.label("changes"))
        .join(inference_job, inference_job.c.job_key == judged.c.job_key)
        .where(judged.c.verdict == "changed")
        .subquery("edited")
    )
    chosen = select(edited.c.job_key, _now, edited.c.update_time, edited.c.changes, _run).where(
        edited.c.changes != cast({}, JSONB)
    )
    columns = ["job_key", "observed_at", "update_time", "changes", "run_id"]
    return insert(job_edit).from_select(columns, chosen).cte("edits")


def _edit(judged: CTE, name: str) -> ColumnElement[Any]:
    """Return ``{name: [old, new]}`` where the two differ, else an empty object."""
    old, new = inference_job.c[name], judged.c[name]
    pair = func.jsonb_build_object(cast(name, Text), func.jsonb_build_array(old, new), type_=JSONB)
    return case((old.is_distinct_from(new), pair), else_=cast({}, JSONB))


def _facts_of(judged: CTE) -> dict[str, ColumnElement[Any]]:
    return {name: judged.c[name] for name in _FACTS}


def _milestones_of(judged: CTE) -> dict[str, ColumnElement[Any]]:
    return {name: judged.c[name] for name in milestones.NAMES}


def _how_many(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count().filter(condition)


def count_stale() -> Executable:
    """Return the statement that counts one more complete listing with an older state of the jobs of `keys`.

    However old the state: the job is listed, so an absence that was being counted is over.
    """
    stale_runs = inference_job.c.stale_runs
    return (
        update(inference_job)
        .where(inference_job.c.job_key == func.any(_stale_keys()))
        .values(
            stale_runs=func.least(stale_runs + 1, STALE_RUNS_UNTIL_BELIEVED),
            absent_since=None,
            absent_listings=0,
            changed_at=_now,
        )
    )


def forget_stale() -> Executable:
    """Return the statement that ends the count for a membership's jobs that are not among `keys`."""
    return (
        update(inference_job)
        .where(inference_job.c.membership_key == _owner, inference_job.c.stale_runs > 0)
        .where(inference_job.c.job_key != func.all(_stale_keys()))
        .values(stale_runs=0, changed_at=_now)
    )


def _stale_keys() -> ColumnElement[Any]:
    return bindparam("keys", type_=ARRAY(BigInteger))
