"""Quick sweeps between full listings, and listings that are split by model."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
SCHEMA = "cleanrooms_etl"
VIEWS = ("sync_runs", "sync_freshness", "status_durations")

_Moment = sa.DateTime(timezone=True)

MEMBERSHIP: tuple[sa.Column[Any], ...] = (
    sa.Column("newest_first", sa.Boolean(), comment="Whether that listing came newest first; null: not known"),
    sa.Column(
        "unsplit_at",
        _Moment,
        comment="Start of the last of them that was not split by model",
    ),
    sa.Column(
        "open_listed_at",
        _Moment,
        comment="Start of the last sweep, full or quick, that saw every open job",
    ),
    sa.Column(
        "full_due",
        sa.Boolean(),
        server_default=sa.text("true"),
        nullable=False,
        comment="The next sweep is a full one, whenever it is: what came before left something open",
    ),
)
RUN: tuple[sa.Column[Any], ...] = (
    sa.Column(
        "kind",
        sa.Text(),
        server_default=sa.text("'full'"),
        nullable=False,
        comment="full or quick, as it turned out",
    ),
    sa.Column(
        "listings",
        sa.BigInteger(),
        server_default=sa.text("1"),
        nullable=False,
        comment="Listings that were read: more than one where it was split by model, side by side",
    ),
)


def upgrade() -> None:
    """Add the columns, and show them. All listings so far were full ones, and none was split."""
    for column in MEMBERSHIP:
        op.add_column("membership", column, schema=SCHEMA)
    _comment_on_listed_at("Start of the last complete full listing", "Start of the last complete listing")
    for column in RUN:
        op.add_column("sync_run", column, schema=SCHEMA)
    op.create_check_constraint("kind", "sync_run", "kind IN ('full', 'quick')", schema=SCHEMA)
    for name in VIEWS:
        op.execute((SQL / f"0004_{name}.sql").read_text("utf-8"))


def downgrade() -> None:
    """Show what was shown before, and drop the columns."""
    for name in VIEWS:
        op.execute(f"DROP VIEW cleanrooms.{name}")
    for file in ("0001_sync_runs", "0002_sync_runs", "0001_sync_freshness", "0002_sync_freshness",
                 "0003_status_durations"):  # fmt: skip
        op.execute((SQL / f"{file}.sql").read_text("utf-8"))
    for column in RUN:
        op.drop_column("sync_run", column.name, schema=SCHEMA)
    _comment_on_listed_at("Start of the last complete listing", "Start of the last complete full listing")
    for column in MEMBERSHIP:
        op.drop_column("membership", column.name, schema=SCHEMA)


def _comment_on_listed_at(comment: str, before: str) -> None:
    op.alter_column("membership", "listed_at", comment=comment, existing_comment=before, schema=SCHEMA)
