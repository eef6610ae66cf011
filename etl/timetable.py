"""When a membership is due next. Pure: the database's clock comes as an argument."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple

from etl import backoff, cron
from etl.config import Schedule

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_CRON_SPREAD = timedelta(seconds=30)


class Appointment(NamedTuple):
    """When a membership is due next, and how many due times its run has missed by going on."""

    at: datetime
    overruns: int


def next_due(
    schedule: Schedule, membership_id: str, started: datetime, now: datetime, *, has_open: bool = False
) -> Appointment:
    """Return the first due time after `now`, for a run that began at `started`.

    A membership that has open jobs is due at each `every_open`, too.

    Each membership keeps a distance of its own from the others of its schedule, so that hundreds of them do not
    start in one second: `every` is counted from anywhere in the interval, `cron` is followed within half a minute.
    """
    regular = _first(_following(schedule, membership_id), started, now)
    if not has_open or schedule.every_open is None:
        return regular
    sooner = _first(_at_each(schedule.every_open, membership_id), started, now)
    return regular._replace(at=min(regular.at, sooner.at))


def _first(following: Callable[[datetime], datetime], started: datetime, now: datetime) -> Appointment:
    due, overruns = following(started), 0
    while due <= now:
        due, overruns = following(due), overruns + 1
    return Appointment(due, overruns)


def retry(error_class: str, failures: int, membership_id: str, now: datetime) -> datetime:
    """Return when to try again after so many failures in a row, each membership at a moment of its own."""
    return now + backoff.delay(error_class, failures) * (1 + backoff.SPREAD * _share(membership_id))


def _following(schedule: Schedule, membership_id: str) -> Callable[[datetime], datetime]:
    """Return what tells the first due time after a moment."""
    if schedule.cron is None:
        return _at_each(schedule.every, membership_id)

    trigger = cron.trigger(schedule.cron)
    distance = _share(membership_id) * _CRON_SPREAD
    return lambda moment: trigger.get_next_fire_time(None, moment - distance + _TICK) + distance


def _at_each(interval: timedelta, membership_id: str) -> Callable[[datetime], datetime]:
    start = _EPOCH + _share(membership_id) * interval
    return lambda moment: start + ((moment - start) // interval + 1) * interval


def _share(membership_id: str) -> float:
    """Return a number from 0 to 1 that is always the same for a membership, and another for each."""
    return int.from_bytes(blake2b(membership_id.encode(), digest_size=4).digest()) / 2**32
