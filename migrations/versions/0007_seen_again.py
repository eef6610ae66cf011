"""Durations of jobs that were not listed for a while are bounded by when they were seen last."""

from alembic import op

revision = "0007"
down_revision = "0006.2"
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


def upgrade() -> None:
    """Begin with the leaving."""
    _bound("gone")


def downgrade() -> None:
    """Begin with the return."""
    _bound("back")


def _bound(whose: str) -> None:
    for milestone in ("started", "cancel", "ended"):
        op.execute(BOUND.format(milestone=milestone, whose=whose))
