"""How far this machine's clock is from another one, and from where on that is trouble."""

from collections.abc import Callable
from datetime import datetime, timedelta

from etl.doctor.findings import Finding, Verdict

Now = Callable[[], datetime]
"""This machine's clock, with a time zone."""

UNEASY = timedelta(seconds=5)
"""More than this, and AWS's times count as lying in the future (`time_basis` becomes `clamped`)."""

REFUSED = timedelta(minutes=5)
"""More than this, and AWS refuses what we sign."""


def ahead_by(told: datetime, sent: datetime, received: datetime, grain: timedelta = timedelta(0)) -> timedelta:
    """Return how far our clock is ahead of another one; negative: behind.

    The other one told `told`, cut to whole `grain`s, at some moment between `sent` and `received` by ours. Only
    what no such moment explains is a difference, however long the answer took.
    """
    if told > received:
        return received - told
    return max(sent - (told + grain), timedelta(0))


def verdict_on(difference: timedelta) -> Verdict:
    """Judge how far two clocks are apart."""
    if abs(difference) > REFUSED:
        return "fail"
    return "warn" if abs(difference) > UNEASY else "ok"


def compared(other: str, difference: timedelta) -> Finding:
    """Compare our clock with another one's, which is called `other`."""
    verdict = verdict_on(difference)
    if verdict == "ok":
        return Finding("clock", verdict, other, "agrees with this machine's clock")
    way = "ahead of" if difference > timedelta(0) else "behind"
    said = f"this machine's clock is {abs(difference).total_seconds():,.0f} s {way} that one"
    return Finding("clock", verdict, other, said, "let NTP set the clocks (timedatectl, chronyc tracking)")
