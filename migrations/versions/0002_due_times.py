"""When the daemon syncs a membership next, and the due times that a run missed."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
VIEWS = ("sync_runs", "sync_freshness")


def upgrade() -> None:
    """Add the columns, and show them."""
    op.add_column(
        "membership",
        sa.Column(
            "next_due_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="From when the daemon syncs it again; null: at once",
        ),
        schema="cleanrooms_etl",
    )
    op.add_column(
        "membership",
        sa.Column(
            "failures",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Failed runs in a row, by which the next one is put off",
        ),
        schema="cleanrooms_etl",
    )
    op.add_column(
        "sync_run",
        sa.Column(
            "overruns",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="Due times that passed while it ran",
        ),
        schema="cleanrooms_etl",
    )
    op.create_index(
        "ix_sync_run_running",
        "sync_run",
        ["membership_key"],
        schema="cleanrooms_etl",
        postgresql_where=sa.text("outcome = 'running'"),
    )
    for name in VIEWS:
        op.execute((SQL / f"0002_{name}.sql").read_text("utf-8"))


def downgrade() -> None:
    """Show what was shown before, and drop the columns."""
    for name in VIEWS:
        op.execute(f"DROP VIEW cleanrooms.{name}")
        op.execute((SQL / f"0001_{name}.sql").read_text("utf-8"))
    op.drop_index("ix_sync_run_running", "sync_run", schema="cleanrooms_etl")
    op.drop_column("sync_run", "overruns", schema="cleanrooms_etl")
    op.drop_column("membership", "failures", schema="cleanrooms_etl")
    op.drop_column("membership", "next_due_at", schema="cleanrooms_etl")
