"""What analysts ask for: durations, counts by hour and week, capacity, and what not to trust."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
SCHEMA = "cleanrooms_etl"
FILES = (
    "functions",
    "status_dim",
    "inference_jobs",
    "status_history",
    "status_transitions",
    "job_timings",
    "status_durations",
    "model_reliability",
    "status_counts_hourly",
    "capacity",
    "open_jobs",
    "history_gaps",
    "jobs_as_of",
    "jobs_known_as_of",
)
OPEN = "status IN ('CREATE_PENDING', 'CREATE_IN_PROGRESS', 'CANCEL_PENDING', 'CANCEL_IN_PROGRESS')"

# In an order in which they can be dropped.
VIEWS = (
    *(
        f"cleanrooms.{name}"
        for name in (
            "history_gaps", "open_jobs", "capacity", "status_counts_hourly", "model_reliability",
            "status_durations", "job_timings", "status_transitions", "status_history", "inference_jobs",
            "status_dim",
        )
    ),
    *(f"cleanrooms_etl.{name}" for name in ("calendar", "uncounted_hour", "uncounted_week", "job_timing")),
)  # fmt: skip
FUNCTIONS = tuple(
    f"cleanrooms_etl.{name}"
    for name in (
        "counted_hours",
        "entered_since",
        "skipped_states",
        "is_direct",
        "hour_before",
        "open_jobs",
        "is_open",
        "seconds_between",
        "job_id",
        "model_id",
        "way_to",
    )
)

_Moment = sa.DateTime(timezone=True)

MILESTONES: tuple[sa.Column[Any], ...] = (
    sa.Column("started_time", _Moment, comment="First entry to CREATE_IN_PROGRESS"),
    sa.Column("started_not_before", _Moment, comment="Start of the window that holds the true moment"),
    sa.Column("stopped_time", _Moment, comment="Last exit from CREATE_IN_PROGRESS; null while in it"),
    sa.Column("stopped_not_before", _Moment, comment="Start of the window that holds the true moment"),
    sa.Column("cancel_time", _Moment, comment="First entry to CANCEL_PENDING or CANCEL_IN_PROGRESS"),
    sa.Column("cancel_not_before", _Moment, comment="Start of the window that holds the true moment"),
    sa.Column("ended_time", _Moment, comment="Entry to ended_status"),
    sa.Column("ended_not_before", _Moment, comment="Start of the window that holds the true moment"),
    sa.Column(
        "ended_status",
        sa.Text(),
        comment="The status that it ended with; null: it has not ended",
    ),
)
MEMBERSHIP: tuple[sa.Column[Any], ...] = (
    sa.Column(
        "open_jobs_quota",
        sa.Integer(),
        server_default=sa.text("5"),
        nullable=False,
        comment="Open jobs that AWS allows the membership",
    ),
    sa.Column(
        "account_open_jobs_quota",
        sa.Integer(),
        server_default=sa.text("10"),
        nullable=False,
        comment="Open jobs that AWS allows the account in the Region",
    ),
    sa.Column(
        "uncounted_hours_from",
        _Moment,
        comment="Hours from this on are to be counted anew in status_hour; null: none",
    ),
    sa.Column(
        "uncounted_weeks_from",
        _Moment,
        comment="Weeks from this on are to be counted anew in model_week; null: none",
    ),
)


def upgrade() -> None:
    """Add the columns, fill them from the history, and show what they tell."""
    for column in MEMBERSHIP:
        op.add_column("membership", column, schema=SCHEMA)
    for column in MILESTONES:
        op.add_column("inference_job", column, schema=SCHEMA)
    op.add_column("status_transition", sa.Column("membership_key", sa.Integer()), schema=SCHEMA)
    _create_rollups()
    _fill()
    op.alter_column("status_transition", "membership_key", nullable=False, schema=SCHEMA)
    _create_indexes()
    for file in FILES:
        op.execute((SQL / f"0003_{file}.sql").read_text("utf-8"))
    _count()


def _create_indexes() -> None:
    op.create_index(
        op.f("ix_status_transition_membership_key_changed_time"),
        "status_transition",
        ["membership_key", "changed_time"],
        schema=SCHEMA,
    )
    op.create_index(
        op.f("ix_inference_job_membership_key_create_time"),
        "inference_job",
        ["membership_key", "create_time"],
        schema=SCHEMA,
    )
    op.create_index(
        "ix_inference_job_model",
        "inference_job",
        ["membership_key", sa.text("(md5(trained_model_arn)::uuid)"), "create_time"],
        schema=SCHEMA,
    )
    op.create_index(
        "ix_inference_job_open", "inference_job", ["membership_key"], schema=SCHEMA, postgresql_where=sa.text(OPEN)
    )
    _turn_key("membership_key", "job_arn", "job_arn", "membership_key")


def _turn_key(old_first: str, old_second: str, first: str, second: str) -> None:
    """Let the unique key of jobs begin with the other column."""
    op.drop_constraint(f"uq_inference_job_{old_first}_{old_second}", "inference_job", schema=SCHEMA)
    op.create_unique_constraint(
        op.f(f"uq_inference_job_{first}_{second}"), "inference_job", [first, second], schema=SCHEMA
    )


def _create_rollups() -> None:
    op.create_table(
        "status_hour",
        sa.Column("membership_key", sa.Integer(), nullable=False),
        sa.Column("hour", _Moment, nullable=False, comment="Its start, in UTC; infinity: the time after the last"),
        sa.Column(
            "held", postgresql.JSONB(), nullable=False, comment="{status: jobs that held it when the hour began}"
        ),
        sa.Column("entered", postgresql.JSONB(), nullable=False, comment="{status: times that a job entered it}"),
        sa.Column("most_open", sa.BigInteger(), nullable=False, comment="Most jobs open at once after a change"),
        sa.ForeignKeyConstraint(
            ["membership_key"],
            ["cleanrooms_etl.membership.membership_key"],
            name=op.f("fk_status_hour_membership_key"),
        ),
        sa.PrimaryKeyConstraint("membership_key", "hour", name=op.f("pk_status_hour")),
        schema=SCHEMA,
        comment="Kept from the history: one row for each hour in which, or at whose end, a job changed its status",
    )
    op.create_table(
        "model_week",
        sa.Column("membership_key", sa.Integer(), nullable=False),
        sa.Column("week", _Moment, nullable=False, comment="Its Monday, 00:00 UTC"),
        sa.Column("trained_model_arn", sa.Text(), nullable=False),
        sa.Column("trained_model_version_identifier", sa.Text()),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("jobs", "succeeded", "failed", "cancelled", "cancel_failed")
        ),
        *(
            sa.Column(name, postgresql.ARRAY(sa.Double()), comment="Median and 95th percentile")
            for name in ("total_seconds", "run_seconds")
        ),
        sa.ForeignKeyConstraint(
            ["membership_key"],
            ["cleanrooms_etl.membership.membership_key"],
            name=op.f("fk_model_week_membership_key"),
        ),
        sa.UniqueConstraint(
            "membership_key",
            "week",
            "trained_model_arn",
            "trained_model_version_identifier",
            name="uq_model_week",
            postgresql_nulls_not_distinct=True,
        ),
        schema=SCHEMA,
        comment="Kept from the jobs: one row for each trained model, version and week of creation",
    )


def _fill() -> None:
    """Read from the history what a sync keeps from now on. No fact changes: its rows get a column more."""
    op.execute("ALTER TABLE cleanrooms_etl.status_transition DISABLE TRIGGER append_only")
    op.execute(
        "UPDATE cleanrooms_etl.status_transition AS moved SET membership_key = job.membership_key"
        " FROM cleanrooms_etl.inference_job AS job WHERE job.job_key = moved.job_key"
    )
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")  # no check may be pending when a table is altered
    op.execute("ALTER TABLE cleanrooms_etl.status_transition ENABLE TRIGGER append_only")
    op.execute((SQL / "0003_milestones.sql").read_text("utf-8"))
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _count() -> None:
    """Count all hours and weeks, as the end of a sync does from now on."""
    op.execute("""
        UPDATE cleanrooms_etl.membership AS its SET
            uncounted_hours_from = (
                SELECT cleanrooms_etl.hour_before(min(moved.changed_time))
                FROM cleanrooms_etl.status_transition AS moved WHERE moved.membership_key = its.membership_key
            ),
            uncounted_weeks_from = (
                SELECT date_trunc('week', min(job.create_time), 'UTC')
                FROM cleanrooms_etl.inference_job AS job WHERE job.membership_key = its.membership_key
            )
    """)
    for table, view in (("status_hour", "uncounted_hour"), ("model_week", "uncounted_week")):
        op.execute(f"INSERT INTO cleanrooms_etl.{table} SELECT * FROM cleanrooms_etl.{view}")  # noqa: S608
    op.execute("UPDATE cleanrooms_etl.membership SET uncounted_hours_from = NULL, uncounted_weeks_from = NULL")


def downgrade() -> None:
    """Show what was shown before, and drop what was kept for it."""
    op.execute("DROP FUNCTION cleanrooms.jobs_known_as_of, cleanrooms.jobs_as_of")
    op.execute(f"DROP VIEW {', '.join(VIEWS)}")
    op.execute(f"DROP FUNCTION {', '.join(FUNCTIONS)}")
    op.drop_table("model_week", schema=SCHEMA)
    op.drop_table("status_hour", schema=SCHEMA)
    for index in (
        "ix_inference_job_open",
        "ix_inference_job_model",
        "ix_inference_job_membership_key_create_time",
    ):
        op.drop_index(index, "inference_job", schema=SCHEMA)
    _turn_key("job_arn", "membership_key", "membership_key", "job_arn")
    op.drop_column("status_transition", "membership_key", schema=SCHEMA)  # its index goes with it
    for column in MILESTONES:
        op.drop_column("inference_job", column.name, schema=SCHEMA)
    for column in MEMBERSHIP:
        op.drop_column("membership", column.name, schema=SCHEMA)
    for file in ("inference_jobs", "status_history", "status_transitions", "jobs_as_of"):
        op.execute((SQL / f"0001_{file}.sql").read_text("utf-8"))
