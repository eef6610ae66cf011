"""How fast an account and Region are asked: one token bucket for each, shared by all threads and memberships.

botocore has a bucket too (`botocore.retries.bucket`), but it lets newcomers pass those who wait: of eight threads
at 20 requests a second, one waited for 1.6 s where its turn came after 0.4 s.
"""

import threading
import time
from collections.abc import Callable
from math import inf
from typing import NamedTuple

_BURST = 0.25  # seconds' worth that may go at once: at 4 a second AWS sees in no second more than the 5 it allows
_FLOOR = 0.5  # requests a second: against what is throttled even then, botocore's pauses and the backoff must help
_WINDOW = 1.0  # seconds after a cut: many threads hear of one throttle
_RECOVERY = 60.0  # seconds from nothing to the limit
_PATIENCE = 1.0  # seconds until who waits looks again: the rate may have changed


class PaceState(NamedTuple):
    """Where a bucket stands. Rates are requests a second."""

    account: str
    region: str
    requests_per_second: float
    limit: float
    tokens: float
    """Requests that may go at once; below 0, how many are waiting for their turn."""


class Bucket:
    """Lets requests go in the order in which they came, at a rate that throttles halve and time restores."""

    def __init__(
        self,
        limit: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._limit = self._rate = limit
        self._taken = 0
        self._granted = _burst(limit)  # requests that may have gone by `_looked_at`, since the beginning
        self._looked_at = monotonic()
        self._cut_at = -inf

    def take(self, limit: float) -> None:
        """Wait for this request's turn. `limit` is from now on the limit of all (requests a second)."""
        with self._lock:
            self._catch_up()
            self._allow(limit / _sharers)
            self._taken += 1
            turn = self._taken
        while (pause := self._seconds_until(turn)) > 0:
            self._sleep(min(pause, _PATIENCE))

    def slow_down(self) -> None:
        """Halve the rate, since AWS throttled a request; it has recovered after a minute without throttles."""
        with self._lock:
            self._catch_up()
            if self._looked_at - self._cut_at >= _WINDOW:
                self._cut_at = self._looked_at
                self._change_rate(self._rate / 2)

    def state(self, account: str, region: str) -> PaceState:
        """Return where the bucket stands, which is the one of this account and Region."""
        with self._lock:
            self._catch_up()
            return PaceState(account, region, self._rate, self._limit, self._granted - self._taken)

    def _seconds_until(self, turn: int) -> float:
        with self._lock:
            self._catch_up()
            return (turn - self._granted) / self._rate

    def _catch_up(self) -> None:
        """Grant what the time since the last look allows, and let the rate recover."""
        now = self._monotonic()
        passed, self._looked_at = now - self._looked_at, now
        granted = self._granted + passed * self._rate
        self._granted = min(granted, self._taken + _burst(self._rate))
        self._change_rate(self._rate + passed * self._limit / _RECOVERY)

    def _allow(self, limit: float) -> None:
        """Keep to another limit, with the share of it that throttles have left."""
        share, self._limit = self._rate / self._limit, limit
        self._change_rate(share * limit)

    def _change_rate(self, rate: float) -> None:
        self._rate = min(max(rate, _FLOOR), self._limit)


def _burst(rate: float) -> float:
    return max(1.0, rate * _BURST)


_sharers = 1  # processes that keep to one limit together


def share_among(processes: int) -> None:
    """Keep to this process's part of each limit from the next request on: so many processes ask (1 or more)."""
    global _sharers  # noqa: PLW0603 - one process, one number
    _sharers = max(1, processes)


_buckets: dict[tuple[str, str], Bucket] = {}
_buckets_lock = threading.Lock()


def bucket(account: str, region: str, limit: float) -> Bucket:
    """Return the process's one bucket of an account and Region; a new one has this limit (requests a second)."""
    with _buckets_lock:
        if (account, region) not in _buckets:
            _buckets[account, region] = Bucket(limit)
        return _buckets[account, region]


def states() -> list[PaceState]:
    """Return where each bucket stands that was ever used."""
    with _buckets_lock:
        buckets = dict(_buckets)
    return [bucket.state(*place) for place, bucket in buckets.items()]
