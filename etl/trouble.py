"""What keeps the daemon from its work: said once, and tried again after longer and longer pauses."""

import time
from threading import Lock

from structlog.typing import FilteringBoundLogger

_FIRST_PAUSE = 1.0  # seconds
_LONGEST_PAUSE = 30.0
_STEADY = 5.0  # seconds without it until trouble of syncs is over: some of them may pass where others do not
_SAY_AGAIN = 60.0  # seconds until a reason that does not last is news: some name another file each time


class Trouble:
    """Trouble with the database, if there is any: `reason` says what, in a line. For any thread.

    Some trouble shows in syncs only, as a full disk does: the database can be looked at all the while, and only a
    sync tells that it is over.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self.reason: str | None = "the database has not been looked at yet"
        self._log = log
        self._lock = Lock()
        self._is_in_syncs = False
        self._pause = 0.0
        self._again_at = self._said_at = self._met_at = time.monotonic()
        self._said: str | None = None

    def may_try(self) -> bool:
        """Tell whether it is time to try again."""
        return time.monotonic() >= self._again_at

    def met(self, reason: str, *, in_a_sync: bool) -> None:
        """Take note that the work failed."""
        with self._lock:
            is_lasting = reason == self.reason
            self.reason = reason
            self._is_in_syncs = in_a_sync
            self._met_at = time.monotonic()
            if self.may_try():  # of many who meet it at once the first one makes the pause
                self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                self._again_at = time.monotonic() + self._pause
            if self._is_news(reason, is_lasting=is_lasting):
                self._said, self._said_at = reason, time.monotonic()
                self._log.error("cannot sync, will try again", reason=reason)

    def passed(self, *, in_a_sync: bool) -> None:
        """Take note that the work went well: where it had failed, for a sync may have begun before the trouble."""
        with self._lock:
            is_early = in_a_sync and time.monotonic() - self._met_at < _STEADY
            if self._is_in_syncs != in_a_sync or is_early:
                return
            if self._said:
                self._log.info("can sync again")
            self.reason = self._said = None
            self._is_in_syncs = False
            self._pause = 0.0
            self._again_at = time.monotonic()

    def _is_news(self, reason: str, *, is_lasting: bool) -> bool:
        """Tell whether to say it: the first reason, one that lasts, and any after a while."""
        is_late = time.monotonic() - self._said_at > _SAY_AGAIN
        return self._said is None or (reason != self._said and (is_lasting or is_late))
