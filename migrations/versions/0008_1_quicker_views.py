"""Views that Postgres can enter by whatever they are joined with, and weeks that are counted by bytes.

A join with a few jobs read the history of all. In a database in English the jobs of many models took most of a
count to sort. And three comments say what is not known. By its number it does not end the releases that know
0008.
"""

import re
from pathlib import Path

from alembic import op

revision = "0008.1"
down_revision = "0008"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"

_QUICK = "it read until known jobs came, and saw every open job"
_QUICK_BEFORE = "nothing is new behind what it read, and it saw every open job"
_OUTCOME = (
    "running, complete (of a quick one: {}), partial (ended early or set items aside; what it read is stored),"
    " failed (read nothing), fenced (another worker took over), abandoned (its worker ended without a word)"
)
_HELD = "Jobs that held it when the hour began, as jobs_as_of tells"
_OPEN = "Jobs of the membership that were pending or in progress when the hour began"
_UNSEEN = "; of the time before the first sweep none of those that had ended by then, since nobody saw them open"

COMMENTS = {
    "sync_runs.outcome": (_OUTCOME.format(_QUICK_BEFORE), _OUTCOME.format(_QUICK)),
    "status_counts_hourly.jobs_held": (_HELD, _HELD + _UNSEEN),
    "capacity.open_jobs": (_OPEN, _OPEN + _UNSEEN),
}
"""What is said of a column, before and from now on."""


def upgrade() -> None:
    """Replace the views."""
    for file in (
        "0008_1_status_history",
        "0008_1_jobs_as_of",
        "0008_1_status_durations",
        "0008_1_uncounted_week",
    ):
        op.execute(_read(file))
    for column, (_, now) in COMMENTS.items():
        _comment(column, now)


def downgrade() -> None:
    """Put those before in their place."""
    for file in ("0003_status_history", "0003_jobs_as_of", "0003_jobs_known_as_of", "0004_status_durations"):
        op.execute(_read(file))
    uncounted_week, _, _ = _read("0003_model_reliability").partition(";")
    op.execute(uncounted_week)
    for column, (before, _) in COMMENTS.items():
        _comment(column, before)


def _read(file: str) -> str:
    said = (SQL / f"{file}.sql").read_text("utf-8")
    return re.sub(r"^CREATE (?=VIEW|FUNCTION)", "CREATE OR REPLACE ", said, flags=re.MULTILINE)


def _comment(column: str, words: str) -> None:
    op.execute(f"COMMENT ON COLUMN cleanrooms.{column} IS '{words}'")
