"""The period that a report tells of: what was asked for, in whole hours, and the steps that its charts go by."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_LONGEST_DAYS = 36_500

DEFAULT_DAYS = 30


class PeriodError(Exception):
    """The period that was asked for cannot be: one line that says what to write."""


class Step(NamedTuple):
    """How far apart the points of a chart over time are: in Postgres's word, and in Plotly's; `length` at most."""

    name: str
    plotly: int | str
    length: timedelta


HOUR = Step("hour", 3_600_000, _HOUR)
DAY = Step("day", 86_400_000, _DAY)
WEEK = Step("week", 604_800_000, 7 * _DAY)
MONTH = Step("month", "M1", 31 * _DAY)

# The longest stretch of data that each step shows: about a hundred bars, which a narrow screen still tells apart.
_REACH = ((4 * _DAY, HOUR), (120 * _DAY, DAY), (2 * 366 * _DAY, WEEK))


class Period(NamedTuple):
    """From `since` on, and before `until`: whole hours, in UTC."""

    since: datetime
    until: datetime

    def step(self, first: datetime | None) -> Step:
        """Return the step for data that begins at `first` (None: there is none)."""
        stretch = self.until - max(self.since, first or self.since)
        return next((step for reach, step in _REACH if stretch <= reach), MONTH)


class Asked(NamedTuple):
    """What the caller asked for: moments or a number of days, each None where nothing was said."""

    since: datetime | None = None
    until: datetime | None = None
    days: int | None = None

    def period(self, now: datetime) -> Period:
        """Return the period, as the database's clock stands; raises `PeriodError`."""
        until = min(self.until or now, now)
        since = self.since or _days_before(until, self.days)
        if since >= now:
            raise PeriodError(f"--since {since:%Y-%m-%dT%H:%MZ} lies in the future: name an earlier moment")
        if since >= until:
            raise PeriodError(f"--until {until:%Y-%m-%dT%H:%MZ} is not after --since: swap them, or name others")
        return Period(_whole_hours(since), _whole_hours(until + _HOUR - timedelta(microseconds=1)))


def asked(since: str | None, until: str | None, days: int | None) -> Asked:
    """Read what was written on the command line; raises `PeriodError`."""
    if since is not None and days is not None:
        raise PeriodError("--days and --since both say where the period begins: leave one out")
    if days is not None and not 1 <= days <= _LONGEST_DAYS:
        raise PeriodError(f"--days {days} cannot be: write a number from 1 to {_LONGEST_DAYS:,}")
    return Asked(_moment("--since", since), _moment("--until", until), days)


def _moment(option: str, written: str | None) -> datetime | None:
    if written is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PeriodError(
            f"{option} {written!r} is no date: write it as 2026-01-31 or 2026-01-31T12:00Z (UTC unless it says so)"
        ) from None


def _days_before(until: datetime, days: int | None) -> datetime:
    """Return the midnight `days` before: whole days, and what there is of the last one."""
    midnight = until.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        return midnight - timedelta(days=days or DEFAULT_DAYS)
    except OverflowError:
        raise PeriodError(f"--days {days} reaches behind the calendar: write fewer") from None


def _whole_hours(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
