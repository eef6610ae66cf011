"""Comments say what misled: what is not known, what does not count, and how to find one job.

By its number it does not end the releases that know 0008.
"""

from alembic import op

revision = "0008.3"
down_revision = "0008.2"
branch_labels = None
depends_on = None

_ID = "Last part of the ARN, behind trained-model-inference-job/"
_BY_ARN = "; to find one job ask by job_arn, which has an index"
_MOST = "The most that were so at once in the hour"
_USED = "most_open_jobs / quota, so at the fullest: 1 is all of it"
_UNSEEN = "; of the time before the first sweep, jobs that had ended by then are not counted"
_STATE = (
    "never (no complete listing yet), failing (the latest runs were not complete{}), late (older than twice"
    " what is expected), ok"
)
_FAILURES = (
    "Runs since the last complete one that failed, ended early or were abandoned; {}1,000 are counted at most"
)
_STOPPED = "those that somebody stopped do not count"
_AS_OF = (
    "The jobs whose status at the given moment is known, with that status; a job first seen later appears from the"
    " moment of that first status on. Name and model are the present ones."
)
_KNOWN_AS_OF = (
    "The jobs that we had stored by the given moment, with the status that we then took for the present one: what"
    " jobs_as_of would have told then of that moment. Name and model are the present ones."
)
_TO_COME = " Of a moment to come it tells what holds now."

COMMENTS = {
    "COLUMN cleanrooms.inference_jobs.job_id": (_ID, _ID + _BY_ARN),
    "COLUMN cleanrooms.job_timings.job_id": (_ID, _ID + _BY_ARN),
    "COLUMN cleanrooms.inference_jobs.changed_at": (
        "When we last stored a change of it (database clock)",
        "When we last wrote its row (database clock), also without a change of any column here:"
        " status_transitions tells what changed",
    ),
    "COLUMN cleanrooms.capacity.most_open_jobs": (_MOST, _MOST + _UNSEEN),
    "COLUMN cleanrooms.capacity.quota_used": (_USED, _USED + _UNSEEN),
    "COLUMN cleanrooms.sync_freshness.state": (_STATE.format(""), _STATE.format(f"; {_STOPPED}")),
    "COLUMN cleanrooms.sync_freshness.consecutive_failures": (
        _FAILURES.format(""),
        _FAILURES.format(f"{_STOPPED}, and "),
    ),
    "FUNCTION cleanrooms.jobs_as_of": (_AS_OF, _AS_OF + _TO_COME),
    "FUNCTION cleanrooms.jobs_known_as_of": (_KNOWN_AS_OF, _KNOWN_AS_OF + _TO_COME),
}
"""What is said of a thing, before and from now on."""


def upgrade() -> None:
    """Say it as it is."""
    for thing, (_, now) in COMMENTS.items():
        op.execute(f"COMMENT ON {thing} IS '{now}'")


def downgrade() -> None:
    """Say what was said before."""
    for thing, (before, _) in COMMENTS.items():
        op.execute(f"COMMENT ON {thing} IS '{before}'")
