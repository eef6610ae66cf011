"""The colours of a report: each status has one, the same in every chart and badge, light and dark.

They are the names of CSS variables, which the page resolves: its style sheet holds the values. The hues are of
Okabe and Ito's palette, which people with any kind of colour blindness can tell apart.
"""

STATUSES = {
    "CREATE_PENDING": ("waiting", "--waiting"),
    "CREATE_IN_PROGRESS": ("running", "--running"),
    "ACTIVE": ("succeeded", "--succeeded"),
    "CREATE_FAILED": ("failed", "--failed"),
    "CANCEL_PENDING": ("to be cancelled", "--cancel-waiting"),
    "CANCEL_IN_PROGRESS": ("being cancelled", "--cancelling"),
    "INACTIVE": ("cancelled", "--cancelled"),
    "CANCEL_FAILED": ("cancel failed", "--cancel-failed"),
}

OUTCOMES = {
    "succeeded": "ACTIVE",
    "failed": "CREATE_FAILED",
    "cancelled": "INACTIVE",
    "cancel_failed": "CANCEL_FAILED",
}
"""The word of `job_timings` for an end, and the status that it stands for."""

TEXT, MUTED, GRID, SURFACE, NEUTRAL, QUEUE, RUN = (
    "--text", "--muted", "--grid", "--surface", "--neutral", "--waiting", "--running",
)  # fmt: skip
SCALE = [[0, "--scale-0"], [0.25, "--scale-1"], [0.5, "--scale-2"], [0.75, "--scale-3"], [1, "--scale-4"]]


def colour(status: str) -> str:
    """Return a status's colour; one that this release does not know is neutral."""
    return STATUSES.get(status, ("", NEUTRAL))[1]


def order(status: str) -> tuple[int, str]:
    """Return a status's place in stacks and legends: the order of a job's life, then unknown ones."""
    known = list(STATUSES)
    return (known.index(status) if status in known else len(known), status)
