"""Lines of cron: when they fire, in UTC, and how long they pause."""

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

_NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


def trigger(line: str) -> "CronTrigger":
    """Return what tells when a line fires; raises ValueError if it makes no sense."""
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415 - only who uses cron pays for it

    if re.fullmatch(r"(\S+\s+){4}\S*[0-9]\S*", line.strip()):
        raise ValueError("write weekdays as mon to sun: of their numbers each program makes its own")
    try:
        return CronTrigger.from_crontab(line, timezone=UTC)
    except ValueError as error:
        raise ValueError(f"must be minute, hour, day, month, weekday (mon to sun), in UTC: {error}") from None


@cache  # hundreds of memberships may have the same
def longest_pause(line: str) -> timedelta:
    """Return the longest pause that a line makes in a year; raises ValueError if it makes no sense or never fires.

    It fires at the same times on each of its days, so the times of one and the distances of all are enough. They
    are counted from a fixed day: no clock of the host is read.
    """
    firing = trigger(line)

    def fires(start: datetime, end: datetime, step: timedelta) -> list[datetime]:
        found: list[datetime] = []
        while (at := firing.get_next_fire_time(None, start)) and at < end:
            found.append(at)
            start = at + step
        return found

    days = fires(_NEW_YEAR, _NEW_YEAR + timedelta(days=3 * 366), timedelta(days=1))
    if not days:
        raise ValueError("never fires: there is no such day")
    times = fires(days[0], days[0].replace(hour=23, minute=59) + _MINUTE, _MINUTE)
    nights = [later - earlier - (times[-1] - times[0]) for earlier, later in pairwise(days)]
    return max((*nights, *(later - earlier for earlier, later in pairwise(times))), default=timedelta(days=366))
