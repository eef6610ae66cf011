"""Windows that hold the true moment also where it was we who dated the status before: what is said of them."""

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
SCHEMA = "cleanrooms_etl"
COLUMNS = (
    (
        "status_transition",
        "not_before",
        "Latest instant known to have had from_status still",
        "Latest instant known to lie before the change",
    ),
    (
        "inference_job",
        "last_listed_at",
        "Start of the last complete listing before it went missing",
        "Where digest is null: start of the last sweep that saw it, or heard that it is gone",
    ),
)
"""Tables, their columns, what was said of each, and what is."""
_GONE = ("changed_time is when we missed it first", "changed_time is when we took note of it")
"""What `history_gaps` said of NOT_LISTED, and what it says."""
_KNOWN = "Latest instant at which the job is known still to have had"
_FIRST = "; at first sight its createTime"


def upgrade() -> None:
    """Say what is true of not_before, and of the moment of NOT_LISTED."""
    op.execute(_history_gaps().replace(*_GONE))
    op.execute((SQL / "0006_honest_windows.sql").read_text("utf-8"))
    for table, column, before, comment in COLUMNS:
        op.alter_column(table, column, comment=comment, existing_comment=before, schema=SCHEMA)


def downgrade() -> None:
    """Say what was said before."""
    for table, column, comment, before in COLUMNS:
        op.alter_column(table, column, comment=comment, existing_comment=before, schema=SCHEMA)
    op.execute(_history_gaps())
    for view, status in {"status_history": "the previous status", "status_transitions": "from_status"}.items():
        op.execute(f"COMMENT ON COLUMN cleanrooms.{view}.not_before IS '{_KNOWN} {status}{_FIRST}'")


def _history_gaps() -> str:
    """Return the statements of the view: its columns stay, so that what others have made of it stays, too."""
    return (SQL / "0003_history_gaps.sql").read_text("utf-8").replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
