"""Durations of jobs that were not listed for a while are bounded by when they were seen last."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The window of what a job did while it was NOT_LISTED begins with that of its leaving, or with that of its return.
BOUND = """
UPDATE cleanrooms_etl.inference_job AS job SET {milestone}_not_before = {whose}.not_before
FROM cleanrooms_etl.status_transition AS back
JOIN cleanrooms_etl.status_transition AS gone
    ON gone.job_key = back.job_key AND gone.changed_time = back.from_time
WHERE back.from_status = 'NOT_LISTED' AND back.job_key = job.job_key AND back.changed_time = job.{milestone}_time
    AND job.{milestone}_not_before <> {whose}.not_before
"""

LOWER = "It was no less than this: the windows of its two ends at their closest"
MEANWHILE = "; what it did while it was NOT_LISTED has the window since it was listed"
"""What is said of the lower bounds in `job_timings`, before and behind it."""


def upgrade() -> None:
    """Begin with the leaving."""
    _bound("gone")
    _comment(LOWER + MEANWHILE)


def downgrade() -> None:
    """Begin with the return."""
    _bound("back")
    _comment(LOWER)


def _bound(whose: str) -> None:
    for milestone in ("started", "cancel", "ended"):
        op.execute(BOUND.format(milestone=milestone, whose=whose))
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what is still to be checked would forbid to change the table


def _comment(words: str) -> None:
    for span in ("queue", "cancel", "total"):
        op.execute(f"COMMENT ON COLUMN cleanrooms.job_timings.{span}_seconds_lower IS '{words}'")
