"""The tables of schema cleanrooms_etl, the views of schema cleanrooms."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


SQL = Path(__file__).parent.parent / "sql"
FILES = (
    "append_only",
    "inference_jobs",
    "status_history",
    "status_transitions",
    "jobs_as_of",
    "sync_runs",
    "sync_freshness",
)


def upgrade() -> None:
    """Make tables, constraints, views and comments."""
    op.execute(sa.schema.CreateSequence(sa.Sequence("job_key", schema="cleanrooms_etl")))
    op.create_table(
        "membership",
        sa.Column("membership_key", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("membership_id", sa.Text(), nullable=False, comment="AWS's identifier of the membership"),
        sa.Column("region", sa.Text(), nullable=False),
        sa.Column(
            "account_id",
            sa.Text(),
            nullable=True,
            comment="AWS account of the membership, once its role or a job has told it",
        ),
        sa.Column("configured", sa.Boolean(), nullable=False, comment="False: no longer tracked, its rows stay"),
        sa.Column(
            "expected_seconds", sa.Double(), nullable=False, comment="Longest pause that the schedule allows"
        ),
        sa.Column(
            "lease_epoch",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="One more each run",
        ),
        sa.Column(
            "lease_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when the run of this epoch alone may write",
        ),
        sa.Column(
            "lease_pid",
            sa.Integer(),
            nullable=True,
            comment="Database session of that run: once it is gone, so is the lease",
        ),
        sa.Column(
            "lease_session_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When that session began; with lease_pid it is unique",
        ),
        sa.Column(
            "listed_at", sa.DateTime(timezone=True), nullable=True, comment="Start of the last complete listing"
        ),
        sa.Column(
            "listed_model_arn", sa.Text(), nullable=True, comment="Filter of that listing; null: all models"
        ),
        sa.Column(
            "listed_model_version", sa.Text(), nullable=True, comment="Filter of that listing; null: all versions"
        ),
        sa.PrimaryKeyConstraint("membership_key", name=op.f("pk_membership")),
        sa.UniqueConstraint("membership_id", name=op.f("uq_membership_membership_id")),
        schema="cleanrooms_etl",
        comment="One row for each membership that was ever configured",
    )
    op.create_table(
        "inference_job",
        sa.Column("job_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("membership_key", sa.Integer(), nullable=False),
        sa.Column("job_arn", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False, comment="AWS's text, or NOT_LISTED"),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("collaboration_id", sa.Text(), nullable=False),
        sa.Column("trained_model_arn", sa.Text(), nullable=False),
        sa.Column("trained_model_version_identifier", sa.Text(), nullable=True),
        sa.Column("configured_model_algorithm_association_arn", sa.Text(), nullable=True),
        sa.Column("output_accept", sa.Text(), nullable=True),
        sa.Column("output_account_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("payer_account_id", sa.Text(), nullable=True),
        sa.Column("metrics_status", sa.Text(), nullable=True),
        sa.Column("metrics_status_details", sa.Text(), nullable=True),
        sa.Column("logs_status", sa.Text(), nullable=True),
        sa.Column("logs_status_details", sa.Text(), nullable=True),
        sa.Column(
            "extra",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="Fields that AWS sent and this release does not know",
        ),
        sa.Column(
            "status_since",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="changed_time of the last transition",
        ),
        sa.Column(
            "digest",
            sa.Uuid(),
            nullable=True,
            comment="Of the item's bytes; null: whatever comes next is looked at",
        ),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "changed_at", sa.DateTime(timezone=True), nullable=False, comment="Last time that this row was written"
        ),
        sa.Column(
            "stale_runs",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Complete listings in a row that showed an older state than this",
        ),
        sa.Column(
            "absent_since",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="First of the complete listings in a row without this job",
        ),
        sa.Column(
            "absent_listings",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Their number",
        ),
        sa.Column(
            "last_listed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Start of the last complete listing before it went missing",
        ),
        sa.CheckConstraint(
            "(absent_since IS NULL) = (absent_listings = 0)", name=op.f("ck_inference_job_absence")
        ),
        sa.ForeignKeyConstraint(
            ["membership_key"],
            ["cleanrooms_etl.membership.membership_key"],
            name=op.f("fk_inference_job_membership_key"),
        ),
        sa.PrimaryKeyConstraint("job_key", name=op.f("pk_inference_job")),
        sa.UniqueConstraint("membership_key", "job_arn", name=op.f("uq_inference_job_membership_key_job_arn")),
        schema="cleanrooms_etl",
        comment="One row for each job, as it was last seen",
    )
    op.create_index(
        op.f("ix_inference_job_membership_key_digest"),
        "inference_job",
        ["membership_key", "digest"],
        unique=False,
        schema="cleanrooms_etl",
    )
    op.create_index(
        "ix_inference_job_stale",
        "inference_job",
        ["membership_key"],
        unique=False,
        schema="cleanrooms_etl",
        postgresql_where=sa.text("stale_runs > 0"),
    )
    op.create_table(
        "sync_run",
        sa.Column("run_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("membership_key", sa.Integer(), nullable=False),
        sa.Column(
            "outcome", sa.Text(), nullable=False, comment="running, complete, partial, failed, fenced or abandoned"
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "batches",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Transactions committed so far; tells whether a lost COMMIT took place",
        ),
        sa.Column("pages", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="Pages read"),
        sa.Column(
            "api_calls",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Requests sent to AWS, retries included",
        ),
        sa.Column(
            "retries",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Requests that repeated another",
        ),
        sa.Column(
            "throttles",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Requests that AWS refused for coming too fast",
        ),
        sa.Column(
            "jobs_listed",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Items read; those of a listing begun again count again",
        ),
        sa.Column(
            "jobs_new",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Jobs seen for the first time",
        ),
        sa.Column(
            "jobs_changed",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Jobs of which anything changed",
        ),
        sa.Column(
            "transitions",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Changes of status recorded, first sights included",
        ),
        sa.Column(
            "jobs_unchanged",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Items that told nothing new",
        ),
        sa.Column(
            "jobs_stale",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Items older than what is stored",
        ),
        sa.Column(
            "jobs_rejected",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Items set aside as malformed",
        ),
        sa.Column(
            "jobs_absent",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Jobs concluded to be listed no more",
        ),
        sa.Column(
            "replaced_characters",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Characters that Postgres cannot store, replaced by U+FFFD",
        ),
        sa.Column(
            "rejections",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="The first 100, with reasons",
        ),
        sa.Column(
            "unknown_statuses",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="{status: items}",
        ),
        sa.Column(
            "error_class", sa.Text(), nullable=True, comment="AWS's error code, or the name of what went wrong"
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=False, comment="host:process"),
        sa.Column("version", sa.Text(), nullable=False, comment="Release of this program"),
        sa.CheckConstraint("(outcome = 'running') = (finished_at IS NULL)", name=op.f("ck_sync_run_finished")),
        sa.CheckConstraint(
            "outcome IN ('running', 'complete', 'partial', 'failed', 'fenced', 'abandoned')",
            name=op.f("ck_sync_run_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["membership_key"],
            ["cleanrooms_etl.membership.membership_key"],
            name=op.f("fk_sync_run_membership_key"),
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_sync_run")),
        schema="cleanrooms_etl",
        comment="One row for each sync of a membership, from its start",
    )
    op.create_index(
        "ix_sync_run_complete",
        "sync_run",
        ["membership_key", "run_id"],
        unique=False,
        schema="cleanrooms_etl",
        postgresql_where=sa.text("outcome = 'complete'"),
    )
    op.create_index(
        op.f("ix_sync_run_membership_key_run_id"),
        "sync_run",
        ["membership_key", "run_id"],
        unique=False,
        schema="cleanrooms_etl",
    )
    op.create_table(
        "job_edit",
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "update_time",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="AWS's updateTime of the state with the new values",
        ),
        sa.Column(
            "changes", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="{field: [old, new]}"
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_key"], ["cleanrooms_etl.inference_job.job_key"], name=op.f("fk_job_edit_job_key")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["cleanrooms_etl.sync_run.run_id"], name=op.f("fk_job_edit_run_id")),
        sa.PrimaryKeyConstraint("job_key", "observed_at", name=op.f("pk_job_edit")),
        schema="cleanrooms_etl",
        comment="Append-only: one row for each observed change of a job's other fields",
    )
    op.create_table(
        "status_transition",
        sa.Column("job_key", sa.BigInteger(), nullable=False),
        sa.Column(
            "changed_time",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="When the job took to_status; see time_basis",
        ),
        sa.Column("from_status", sa.Text(), nullable=True, comment="Null: first sight of the job"),
        sa.Column(
            "from_time", sa.DateTime(timezone=True), nullable=True, comment="changed_time of the transition before"
        ),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column(
            "not_before",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Latest instant known to have had from_status still",
        ),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False, comment="When this was stored"),
        sa.Column(
            "time_basis",
            sa.Text(),
            nullable=False,
            comment="Where changed_time comes from: update_time, clamped, observed",
        ),
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "time_basis IN ('update_time', 'clamped', 'observed')", name=op.f("ck_status_transition_time_basis")
        ),
        sa.CheckConstraint("(from_status IS NULL) = (from_time IS NULL)", name=op.f("ck_status_transition_first")),
        sa.CheckConstraint("changed_time > from_time", name=op.f("ck_status_transition_forward")),
        sa.CheckConstraint("from_status <> to_status", name=op.f("ck_status_transition_change")),
        sa.CheckConstraint("not_before <= changed_time", name=op.f("ck_status_transition_window")),
        sa.ForeignKeyConstraint(
            ["job_key", "from_time", "from_status"],
            [
                "cleanrooms_etl.status_transition.job_key",
                "cleanrooms_etl.status_transition.changed_time",
                "cleanrooms_etl.status_transition.to_status",
            ],
            name="fk_status_transition_previous",
        ),
        sa.ForeignKeyConstraint(
            ["job_key"], ["cleanrooms_etl.inference_job.job_key"], name=op.f("fk_status_transition_job_key")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cleanrooms_etl.sync_run.run_id"], name=op.f("fk_status_transition_run_id")
        ),
        sa.PrimaryKeyConstraint("job_key", "changed_time", "to_status", name=op.f("pk_status_transition")),
        sa.UniqueConstraint(
            "job_key",
            "from_time",
            name=op.f("uq_status_transition_job_key_from_time"),
            postgresql_nulls_not_distinct=True,
        ),
        schema="cleanrooms_etl",
        comment="Append-only: one row for each change of status; it closes one interval and opens the next",
    )
    op.create_foreign_key(
        "fk_inference_job_current_status",
        "inference_job",
        "status_transition",
        ["job_key", "status_since", "status"],
        ["job_key", "changed_time", "to_status"],
        source_schema="cleanrooms_etl",
        referent_schema="cleanrooms_etl",
        deferrable=True,
        initially="DEFERRED",
    )
    op.execute("CREATE SCHEMA IF NOT EXISTS cleanrooms")
    op.execute("COMMENT ON SCHEMA cleanrooms IS 'AWS Clean Rooms ML inference jobs and their status history'")
    op.execute(
        "COMMENT ON SCHEMA cleanrooms_etl IS 'Tables behind schema cleanrooms; they may change with any release'"
    )
    for file in FILES:
        op.execute((SQL / f"0001_{file}.sql").read_text())


def downgrade() -> None:
    """Drop everything, history included."""
    op.execute("DROP SCHEMA cleanrooms CASCADE")
    op.drop_constraint("fk_inference_job_current_status", "inference_job", schema="cleanrooms_etl")
    for table in ("job_edit", "status_transition", "inference_job", "sync_run", "membership"):
        op.drop_table(table, schema="cleanrooms_etl")
    op.execute("DROP SEQUENCE cleanrooms_etl.job_key")
    op.execute("DROP FUNCTION cleanrooms_etl.way_to, cleanrooms_etl.refuse_change")
