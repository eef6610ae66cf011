"""The schema, once: memberships, runs and jobs, and the constraints that hold their history together.

``_time`` is a moment by AWS's clock, ``_at`` one by the database's. The views of schema ``cleanrooms``, which
are the contract with analysts, are SQL beside the revisions.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from etl.jobs import OPEN_STATUSES

REVISION = "0008.4"
"""The newest migration, whose schema this release reads and writes. Revisions are numbers: they compare."""

SCHEMA = "cleanrooms_etl"
VIEWS = "cleanrooms"

OUTCOMES = ("running", "complete", "partial", "failed", "fenced", "abandoned")
KINDS = ("full", "quick")
TIME_BASES = ("update_time", "clamped", "observed")

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    },
)

_Moment = DateTime(timezone=True)


def _count(name: str, comment: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"), comment=comment)


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _hash(column: str, seed: int) -> TextClause:
    return text(f"hashtextextended({column}, {seed})")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({_listed(values)})", name=column)


membership = Table(
    "membership",
    metadata,
    Column("membership_key", Integer, Identity(always=True), primary_key=True),
    Column("membership_id", Text, nullable=False, unique=True, comment="AWS's identifier of the membership"),
    Column("region", Text, nullable=False),
    Column("account_id", Text, comment="AWS account of the membership, once its role or a job has told it"),
    Column("configured", Boolean, nullable=False, comment="False: no longer tracked, its rows stay"),
    Column("expected_seconds", Double, nullable=False, comment="Longest pause that the schedule allows"),
    Column("lease_epoch", BigInteger, nullable=False, server_default=text("0"), comment="One more each run"),
    Column("lease_until", _Moment, comment="Until when the run of this epoch alone may write"),
    Column("lease_pid", Integer, comment="Database session of that run: once it is gone, so is the lease"),
    Column("lease_session_at", _Moment, comment="When that session began; with lease_pid it is unique"),
    Column("listed_at", _Moment, comment="Start of the last complete full listing"),
    Column("listed_model_arn", Text, comment="Filter of that listing; null: all models"),
    Column("listed_model_version", Text, comment="Filter of that listing; null: all versions"),
    Column("newest_first", Boolean, comment="Whether that listing came newest first; null: not known"),
    Column("unsplit_at", _Moment,
           comment="Start of the last of them that was not split by model"),
    Column("open_listed_at", _Moment, comment="Start of the last sweep, full or quick, that saw every open job"),
    Column("full_due", Boolean, nullable=False, server_default=text("true"),
           comment="The next sweep is a full one, whenever it is: what came before left something open"),
    Column("next_due_at", _Moment, comment="From when the daemon syncs it again; null: at once"),
    Column("failures", Integer, nullable=False, server_default=text("0"),
           comment="Failed runs in a row, by which the next one is put off"),
    Column("open_jobs_quota", Integer, nullable=False, server_default=text("5"),
           comment="Open jobs that AWS allows the membership"),
    Column("account_open_jobs_quota", Integer, nullable=False, server_default=text("10"),
           comment="Open jobs that AWS allows the account in the Region"),
    Column("uncounted_hours_from", _Moment,
           comment="Hours from this on are to be counted anew in status_hour; null: none"),
    Column("uncounted_weeks_from", _Moment,
           comment="Weeks from this on are to be counted anew in model_week; null: none"),
    Column("schedule", Text, comment="The schedule by which next_due_at was found; null: not known"),
    comment="One row for each membership that was ever configured",
)  # fmt: skip

sync_run = Table(
    "sync_run",
    metadata,
    Column("run_id", BigInteger, Identity(always=True), primary_key=True),
    Column("membership_key", Integer, nullable=False),
    Column("outcome", Text, nullable=False, comment="running, complete, partial, failed, fenced or abandoned"),
    Column("kind", Text, nullable=False, server_default=text("'full'"), comment="full or quick, as it turned out"),
    Column("started_at", _Moment, nullable=False, server_default=text("now()")),
    Column("finished_at", _Moment),
    _count("batches", "Transactions committed so far; tells whether a lost COMMIT took place"),
    _count("pages", "Pages read"),
    _count("api_calls", "Requests sent to AWS, retries included"),
    _count("retries", "Requests that repeated another"),
    _count("throttles", "Requests that AWS refused for coming too fast"),
    _count("jobs_listed", "Items read; those of a listing begun again count again"),
    _count("jobs_new", "Jobs seen for the first time"),
    _count("jobs_changed", "Jobs of which anything changed"),
    _count("transitions", "Changes of status recorded, first sights included"),
    _count("jobs_unchanged", "Items that told nothing new"),
    _count("jobs_stale", "Items older than what is stored"),
    _count("jobs_rejected", "Items set aside as malformed"),
    _count("jobs_absent", "Jobs concluded to be listed no more"),
    _count("replaced_characters", "Characters that Postgres cannot store, replaced by U+FFFD"),
    Column(
        "rejections",
        JSONB,
        nullable=False,
        server_default=text("'[]'"),
        comment="The first 100, with reasons",
    ),
    Column("unknown_statuses", JSONB, nullable=False, server_default=text("'{}'"), comment="{status: items}"),
    Column("error_class", Text, comment="AWS's error code, or the name of what went wrong"),
    Column("error", Text),
    Column("worker", Text, nullable=False, comment="host:process"),
    Column("version", Text, nullable=False, comment="Release of this program"),
    _count("overruns", "Due times that passed while it ran"),
    Column(
        "listings",
        BigInteger,
        nullable=False,
        server_default=text("1"),
        comment="Listings that were read: more than one where it was split by model, side by side",
    ),
    ForeignKeyConstraint(["membership_key"], ["membership.membership_key"]),
    _one_of("outcome", OUTCOMES),
    _one_of("kind", KINDS),
    CheckConstraint("(outcome = 'running') = (finished_at IS NULL)", name="finished"),
    Index(None, "membership_key", "run_id"),
    Index("ix_sync_run_running", "membership_key", postgresql_where=text("outcome = 'running'")),
    Index("ix_sync_run_complete", "membership_key", "run_id", postgresql_where=text("outcome = 'complete'")),
    comment="One row for each sync of a membership, from its start",
)

job_key = Sequence("job_key", metadata=metadata)

_WINDOW = "Start of the window that holds the true moment"

inference_job = Table(
    "inference_job",
    metadata,
    Column("job_key", BigInteger, primary_key=True, autoincrement=False),
    Column("membership_key", Integer, nullable=False),
    Column("job_arn", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("status", Text, nullable=False, comment="AWS's text, or NOT_LISTED"),
    Column("create_time", _Moment, nullable=False),
    Column("update_time", _Moment, nullable=False),
    Column("collaboration_id", Text, nullable=False),
    Column("trained_model_arn", Text, nullable=False),
    Column("trained_model_version_identifier", Text),
    Column("configured_model_algorithm_association_arn", Text),
    Column("output_accept", Text),
    Column("output_account_ids", ARRAY(Text), nullable=False),
    Column("payer_account_id", Text),
    Column("metrics_status", Text),
    Column("metrics_status_details", Text),
    Column("logs_status", Text),
    Column("logs_status_details", Text),
    Column("extra", JSONB, nullable=False, comment="Fields that AWS sent and this release does not know"),
    Column("status_since", _Moment, nullable=False, comment="changed_time of the last transition"),
    Column("digest", Uuid, comment="Of the item's bytes; null: whatever comes next is looked at"),
    Column("first_seen_at", _Moment, nullable=False),
    Column("changed_at", _Moment, nullable=False, comment="Last time that this row was written"),
    Column("stale_runs", SmallInteger, nullable=False, server_default=text("0"),
           comment="Complete listings in a row that showed an older state than this"),
    Column("absent_since", _Moment, comment="First of the complete listings in a row without this job"),
    Column("absent_listings", SmallInteger, nullable=False, server_default=text("0"), comment="Their number"),
    Column("last_listed_at", _Moment,
           comment="Where digest is null: start of the last sweep that saw it, or heard that it is gone"),
    # Milestones: what durations are made of, kept here so that nobody has to read the history of a million jobs.
    Column("started_time", _Moment, comment="First entry to CREATE_IN_PROGRESS"),
    Column("started_not_before", _Moment, comment=_WINDOW),
    Column("stopped_time", _Moment, comment="Last exit from CREATE_IN_PROGRESS; null while in it"),
    Column("stopped_not_before", _Moment, comment=_WINDOW),
    Column("cancel_time", _Moment, comment="First entry to CANCEL_PENDING or CANCEL_IN_PROGRESS"),
    Column("cancel_not_before", _Moment, comment=_WINDOW),
    Column("ended_time", _Moment, comment="Entry to ended_status"),
    Column("ended_not_before", _Moment, comment=_WINDOW),
    Column("ended_status", Text, comment="The status that it ended with; null: it has not ended"),
    ForeignKeyConstraint(
        ["job_key", "status_since", "status"],
        ["status_transition.job_key", "status_transition.changed_time", "status_transition.to_status"],
        name="fk_inference_job_current_status",
        deferrable=True,
        initially="DEFERRED",
        use_alter=True,
    ),
    # By hashes: we ask for nothing but equality, and an index of texts is kept in the order of the database's
    # language, which took a third of a first sync in one of English. 128 bits do not meet by chance.
    Index("uq_inference_job_job_arn_membership_key", _hash("job_arn", 0), _hash("job_arn", 1), "membership_key",
          unique=True),
    Index(None, "job_arn", postgresql_using="hash"),
    Index(None, "digest", postgresql_using="hash"),
    Index("ix_inference_job_stale", "membership_key", postgresql_where=text("stale_runs > 0")),
    Index(None, "membership_key", "create_time"),
    Index("ix_inference_job_model", "membership_key", _hash("trained_model_arn", 0), "create_time"),
    Index("ix_inference_job_open", "membership_key",
          postgresql_where=text(f"status IN ({_listed(OPEN_STATUSES)})")),
    CheckConstraint("(absent_since IS NULL) = (absent_listings = 0)", name="absence"),
    comment="One row for each job, as it was last seen",
)  # fmt: skip

status_transition = Table(
    "status_transition",
    metadata,
    Column("job_key", BigInteger, nullable=False),
    Column("changed_time", _Moment, nullable=False, comment="When the job took to_status; see time_basis"),
    Column("from_status", Text, comment="Null: first sight of the job"),
    Column("from_time", _Moment, comment="changed_time of the transition before"),
    Column("to_status", Text, nullable=False),
    Column("not_before", _Moment, nullable=False, comment="Latest instant known to lie before the change"),
    Column("observed_at", _Moment, nullable=False, comment="When this was stored"),
    Column(
        "time_basis",
        Text,
        nullable=False,
        comment="Where changed_time comes from: update_time, clamped, observed",
    ),
    Column("run_id", BigInteger, nullable=False),
    Column("membership_key", Integer, nullable=False),  # the job's own, for an index by membership and time
    PrimaryKeyConstraint("job_key", "changed_time", "to_status"),
    # One first row a job, and no step taken twice: no branch.
    UniqueConstraint("job_key", "from_time", postgresql_nulls_not_distinct=True),
    # No gap, and no lie about the past.
    ForeignKeyConstraint(
        ["job_key", "from_time", "from_status"],
        ["status_transition.job_key", "status_transition.changed_time", "status_transition.to_status"],
        name="fk_status_transition_previous",
    ),
    # None to inference_job and sync_run, and none from a job to its membership: their rows are never deleted, and
    # to look them up would take 10 of 45 us that a new job costs. `etl verify` looks.
    CheckConstraint("changed_time > from_time", name="forward"),
    CheckConstraint("from_status <> to_status", name="change"),
    CheckConstraint("(from_status IS NULL) = (from_time IS NULL)", name="first"),
    CheckConstraint("not_before <= changed_time", name="window"),
    _one_of("time_basis", TIME_BASES),
    Index(None, "membership_key", "changed_time"),
    comment="Append-only: one row for each change of status; it closes one interval and opens the next",
)

job_edit = Table(
    "job_edit",
    metadata,
    Column("job_key", BigInteger, nullable=False),
    Column("observed_at", _Moment, nullable=False),
    Column("update_time", _Moment, nullable=False, comment="AWS's updateTime of the state with the new values"),
    Column("changes", JSONB, nullable=False, comment="{field: [old, new]}"),
    Column("run_id", BigInteger, nullable=False),
    PrimaryKeyConstraint("job_key", "observed_at"),
    ForeignKeyConstraint(["job_key"], ["inference_job.job_key"]),
    ForeignKeyConstraint(["run_id"], ["sync_run.run_id"]),
    comment="Append-only: one row for each observed change of a job's other fields",
)

status_hour = Table(
    "status_hour",
    metadata,
    Column("membership_key", Integer, nullable=False),
    Column("hour", _Moment, nullable=False, comment="Its start, in UTC; infinity: the time after the last"),
    Column("held", JSONB, nullable=False, comment="{status: jobs that held it when the hour began}"),
    Column("entered", JSONB, nullable=False, comment="{status: times that a job entered it}"),
    Column("most_open", BigInteger, nullable=False, comment="Most jobs open at once after a change"),
    PrimaryKeyConstraint("membership_key", "hour"),
    ForeignKeyConstraint(["membership_key"], ["membership.membership_key"]),
    comment="Kept from the history: one row for each hour in which, or at whose end, a job changed its status",
)

model_week = Table(
    "model_week",
    metadata,
    Column("membership_key", Integer, nullable=False),
    Column("week", _Moment, nullable=False, comment="Its Monday, 00:00 UTC"),
    Column("trained_model_arn", Text, nullable=False),
    Column("trained_model_version_identifier", Text),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("jobs", "succeeded", "failed", "cancelled", "cancel_failed")
    ),
    *(
        Column(name, ARRAY(Double), comment="Median and 95th percentile")
        for name in ("total_seconds", "run_seconds")
    ),
    UniqueConstraint(
        "membership_key",
        "week",
        "trained_model_arn",
        "trained_model_version_identifier",
        name="uq_model_week",
        postgresql_nulls_not_distinct=True,
    ),
    ForeignKeyConstraint(["membership_key"], ["membership.membership_key"]),
    comment="Kept from the jobs: one row for each trained model, version and week of creation",
)
