"""When a membership is due next, and when what failed is tried again."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl import backoff, timetable
from etl.config import Schedule

NOW = datetime(2026, 3, 2, 12, 0, 7, tzinfo=UTC)
ID = "3f2a1c9e-5b7d-4e8a-9c1f-0a1b2c3d4e5f"
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
MANY = [str(UUID(int=number)) for number in range(500)]

moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
intervals = st.integers(1, 10**6).map(lambda seconds: timedelta(seconds=seconds))


@given(intervals, moments)
def test_a_membership_is_due_within_one_interval(every: timedelta, now: datetime) -> None:
    at, overruns = timetable.next_due(Schedule(every=every), ID, now, now)
    assert now < at <= now + every
    assert overruns == 0


@given(intervals, moments)
def test_due_times_keep_their_interval(every: timedelta, now: datetime) -> None:
    schedule = Schedule(every=every)
    first = timetable.next_due(schedule, ID, now, now).at
    assert timetable.next_due(schedule, ID, first, first).at == first + every


def test_500_memberships_of_one_interval_do_not_start_in_the_same_second() -> None:
    schedule = Schedule(every=15 * MINUTE)
    dues = [timetable.next_due(schedule, each, NOW, NOW).at for each in MANY]
    assert max(Counter(due.replace(microsecond=0) for due in dues).values()) <= 5


def test_500_memberships_of_one_cron_line_do_not_start_in_the_same_second() -> None:
    then = NOW.replace(minute=30)
    schedule = Schedule(cron="0 * * * *")
    dues = [timetable.next_due(schedule, each, then, then).at for each in MANY]
    assert max(Counter(due.replace(microsecond=0) for due in dues).values()) <= 35
    assert all(timedelta() <= due - NOW.replace(hour=13, second=0) < 30 * SECOND for due in dues)


@pytest.mark.parametrize("schedule", [Schedule(every=10 * MINUTE), Schedule(cron="*/10 * * * *")])
def test_a_run_that_overruns_skips_the_due_times_that_it_missed(schedule: Schedule) -> None:
    due = timetable.next_due(schedule, ID, NOW, NOW).at
    assert timetable.next_due(schedule, ID, due, due + 9 * MINUTE) == (due + 10 * MINUTE, 0)
    assert timetable.next_due(schedule, ID, due, due + 10 * MINUTE) == (due + 20 * MINUTE, 1)
    assert timetable.next_due(schedule, ID, due, due + 35 * MINUTE) == (due + 40 * MINUTE, 3)


def test_cron_is_read_in_utc() -> None:
    at = timetable.next_due(Schedule(cron="30 2 * * *"), ID, NOW, NOW).at
    assert at.replace(second=0, microsecond=0) == datetime(2026, 3, 3, 2, 30, tzinfo=UTC)


def test_a_cron_line_fires_once_at_each_of_its_moments() -> None:
    schedule = Schedule(cron="*/5 * * * *")
    dues = [NOW]
    for _ in range(100):
        dues.append(timetable.next_due(schedule, ID, dues[-1], dues[-1]).at)
    assert {later - earlier for earlier, later in pairwise(dues[1:])} == {5 * MINUTE}


@given(intervals, intervals, moments)
def test_a_membership_with_open_jobs_is_due_at_every_open_too(
    every: timedelta, every_open: timedelta, now: datetime
) -> None:
    schedule = Schedule(every=every, every_open=every_open)
    regular = timetable.next_due(Schedule(every=every), ID, now, now)
    assert timetable.next_due(schedule, ID, now, now) == regular
    sooner = timetable.next_due(Schedule(every=every_open), ID, now, now)
    assert timetable.next_due(schedule, ID, now, now, has_open=True) == min(regular, sooner)


def test_open_jobs_shorten_the_pause_between_two_moments_of_a_cron_line() -> None:
    schedule = Schedule(cron="0 3 * * *", every_open=MINUTE)
    assert NOW < timetable.next_due(schedule, ID, NOW, NOW, has_open=True).at <= NOW + MINUTE
    nightly = Schedule(cron="0 3 * * *", every_open=timedelta(days=2))
    assert timetable.next_due(nightly, ID, NOW, NOW, has_open=True).at < NOW + timedelta(days=1)


def test_without_every_open_open_jobs_change_nothing() -> None:
    schedule = Schedule(every=10 * MINUTE)
    with_open = timetable.next_due(schedule, ID, NOW, NOW, has_open=True)
    assert with_open == timetable.next_due(schedule, ID, NOW, NOW)


@pytest.mark.parametrize(
    ("error_class", "first"),
    [
        ("ThrottlingException", 5 * SECOND),
        ("EndpointConnectionError", 15 * SECOND),
        ("InternalServerException", 15 * SECOND),
        ("AccessDeniedException", MINUTE),
        ("NoCredentialsError", MINUTE),
    ],
)
def test_each_class_of_error_has_a_pause_of_its_own(error_class: str, first: timedelta) -> None:
    assert backoff.delay(error_class, 1) == first


@pytest.mark.parametrize("error_class", ["ThrottlingException", "AccessDenied", "DamagedPage"])
def test_a_pause_doubles_and_is_with_its_spread_never_longer_than_half_an_hour(error_class: str) -> None:
    pauses = [backoff.delay(error_class, failures) for failures in range(1, 1000)]
    for earlier, later in pairwise(pauses):
        assert later == min(2 * earlier, 24 * MINUTE)
    assert max(timetable.retry(error_class, 1000, each, NOW) for each in MANY) <= NOW + 30 * MINUTE


def test_what_failed_together_is_not_tried_again_in_one_second_nor_too_early() -> None:
    tries = [timetable.retry("AccessDenied", 4, each, NOW) for each in MANY]
    assert all(NOW + 8 * MINUTE <= moment <= NOW + 10 * MINUTE for moment in tries)
    assert max(Counter(moment.replace(microsecond=0) for moment in tries).values()) <= 20
