"""Weeks are counted by bytes, and `sync_runs` says of a quick run what it saw, no more.

In a database in English the jobs of many models took most of a count to sort. By its number it does not end the
releases that know 0008.
"""

from pathlib import Path

from alembic import op

revision = "0008.1"
down_revision = "0008"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"

QUICK = "it read until known jobs came, and saw every open job"
QUICK_BEFORE = "nothing is new behind what it read, and it saw every open job"
"""What is said of `outcome` in `sync_runs`."""


def upgrade() -> None:
    """Sort by bytes."""
    op.execute((SQL / "0008_1_uncounted_week.sql").read_text("utf-8"))
    _comment(QUICK)


def downgrade() -> None:
    """Sort in the database's language."""
    view, _, _ = (SQL / "0003_model_reliability.sql").read_text("utf-8").partition(";")
    op.execute(view.replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))
    _comment(QUICK_BEFORE)


def _comment(quick: str) -> None:
    op.execute(
        "COMMENT ON COLUMN cleanrooms.sync_runs.outcome IS"
        f" 'running, complete (of a quick one: {quick}), partial (ended early or set items aside; what it read is"
        " stored), failed (read nothing), fenced (another worker took over), abandoned (its worker ended without a"
        " word)'"
    )
