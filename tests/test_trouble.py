"""Trouble is said once, and tried again after longer and longer pauses."""

import io
import json
from typing import Any

import pytest

from etl import log
from etl.trouble import Trouble


class Told:
    """A trouble with a clock of the test's own, and what it has said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self._out = io.StringIO()
        monkeypatch.setattr("etl.trouble.time.monotonic", lambda: self.now)
        self.trouble = Trouble(log.logger(as_json=True, out=self._out))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._out.getvalue().splitlines()]

    def reasons(self) -> list[str | None]:
        return [line.get("reason") for line in self.lines()]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def test_before_the_first_look_nothing_is_known_and_nothing_is_said(told: Told) -> None:
    assert told.trouble.reason == "the database has not been looked at yet"
    assert told.trouble.may_try()
    told.trouble.passed(in_a_sync=False)
    assert told.trouble.reason is None
    assert told.lines() == []


def test_the_same_trouble_is_said_once_however_long_it_lasts(told: Told) -> None:
    for _ in range(1000):
        told.trouble.met("away", in_a_sync=False)
        told.now += 30
    assert told.reasons() == ["away"]


def test_a_reason_that_lasts_is_said_though_another_came_first(told: Told) -> None:
    for reason in ("connection lost", "refused", "read-only", "read-only", "read-only"):
        told.trouble.met(reason, in_a_sync=False)
        told.now += 1
    assert told.reasons() == ["connection lost", "read-only"]


def test_reasons_that_change_each_time_are_said_once_a_minute_at_the_most(told: Told) -> None:
    for number in range(150):
        told.trouble.met(f"no room for file {number}", in_a_sync=True)
        told.now += 1
    assert told.reasons() == ["no room for file 0", "no room for file 61", "no room for file 122"]
    assert told.trouble.reason == "no room for file 149"


def test_its_end_is_said_once(told: Told) -> None:
    told.trouble.met("away", in_a_sync=False)
    told.trouble.passed(in_a_sync=False)
    told.trouble.passed(in_a_sync=False)
    assert [(line["level"], line["event"]) for line in told.lines()] == [
        ("error", "cannot sync, will try again"),
        ("info", "can sync again"),
    ]


def test_the_pauses_double_up_to_half_a_minute_and_begin_anew_afterwards(told: Told) -> None:
    def pause() -> int:
        """Meet trouble, and wait it out."""
        told.trouble.met("away", in_a_sync=False)
        for seconds in range(100):
            if told.trouble.may_try():
                return seconds
            told.now += 1
        return 100

    assert [pause() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    told.trouble.passed(in_a_sync=False)
    assert pause() == 1


def test_trouble_that_shows_in_syncs_only_is_not_over_with_a_look(told: Told) -> None:
    told.trouble.met("disk full", in_a_sync=True)
    told.trouble.passed(in_a_sync=False)
    told.trouble.passed(in_a_sync=True)
    assert told.trouble.reason == "disk full"  # some syncs may pass where others do not
    told.now += 5
    told.trouble.passed(in_a_sync=True)
    assert told.trouble.reason is None


def test_trouble_that_a_look_has_met_is_over_with_a_look_and_not_with_a_sync_from_before(told: Told) -> None:
    told.trouble.met("cannot connect", in_a_sync=True)
    told.trouble.met("cannot connect", in_a_sync=False)
    told.trouble.passed(in_a_sync=True)
    assert told.trouble.reason == "cannot connect"
    told.trouble.passed(in_a_sync=False)
    assert told.trouble.reason is None


def test_many_that_meet_it_at_once_make_one_pause(told: Told) -> None:
    for _ in range(8):
        told.trouble.met("disk full", in_a_sync=True)
    told.now += 1
    assert told.trouble.may_try()
