"""How long to leave alone what has just failed: longer each time, by what went wrong."""

from datetime import timedelta

from etl import codes

CAP = timedelta(minutes=24)
"""The longest pause."""

SPREAD = 0.25
"""The share by which a pause grows at the most, that memberships may come one by one.

A role's own pause does not grow: it is over when those of its memberships are.
"""

LONGEST = CAP * (1 + SPREAD)
"""The longest pause with its spread."""

_THROTTLED = timedelta(seconds=5)
_DENIED = timedelta(minutes=1)
_OTHER = timedelta(seconds=15)

# Somebody must act before these can go well; all else often passes by itself.
_LASTING = codes.DENIALS | codes.REFUSALS | {
    "ExpiredCredentials", "NoCredentialsError", "ParamValidationError", "ProfileNotFound",
    "ResourceNotFoundException", "ValidationException",
}  # fmt: skip


def delay(error_class: str, failures: int) -> timedelta:
    """Return the pause after so many failures in a row (1 or more), the last of this class; at most `CAP`."""
    first = _THROTTLED if error_class in codes.THROTTLES else _DENIED if error_class in _LASTING else _OTHER
    doublings = min(failures - 1, 20)  # far beyond the cap, and no overflow
    return min(first * (1 << doublings), CAP)
