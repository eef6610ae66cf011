"""Workers: threads that sync what is due, each the next membership when it has done with one."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from threading import Lock, Thread, current_thread

from etl.config import Membership


class Workers:
    """A bounded number of threads. `sync` syncs one membership; it returns whether its worker goes on to the next.

    A thread that hangs ends with the process.
    """

    def __init__(self, sync: Callable[[Membership], bool]) -> None:
        self._sync = sync
        self._lock = Lock()
        self._waiting: deque[Membership] = deque()
        self._slots = 0
        self._running: dict[str, Thread] = {}
        self._heard_at: dict[Thread, float] = {}
        self._silent: set[str] = set()

    @property
    def busy_with(self) -> list[str]:
        """The ids of the memberships that are being synced."""
        return list(self._running)

    @property
    def threads(self) -> list[Thread]:
        """The threads that are syncing."""
        return list(self._running.values())

    def begin(self, due: Sequence[Membership], slots: int) -> None:
        """Take up what is due, in the place of what was still waiting, on at most so many threads.

        Raises RuntimeError where the machine has no thread left.
        """
        with self._lock:
            self._waiting, self._slots = deque(due), slots
            wanted = min(slots - len(self._running), len(due))
        for _ in range(wanted):
            Thread(target=self._work, name="syncs", daemon=True).start()

    def hear(self) -> None:
        """Take note that the sync of this very thread is alive."""
        self._heard_at[current_thread()] = time.monotonic()

    def give_up_silent(self, seconds: float) -> set[str]:
        """Give up the syncs that were silent for so long, at the call before too; return their memberships.

        Others may take those up, and the threads, which hang or have died, take nothing more up.
        """
        since = time.monotonic() - seconds
        with self._lock:
            silent = {name for name, thread in self._running.items() if self._heard_at.get(thread, -inf) < since}
            hanging, self._silent = silent & self._silent, silent
            for name in hanging:
                del self._running[name]
        return hanging

    def take_no_more(self) -> None:
        """Begin nothing more of what is waiting."""
        with self._lock:
            self._waiting.clear()

    def _work(self) -> None:
        self.hear()
        try:
            membership = self._next(None)
            while membership is not None:
                goes_on = self._sync(membership)
                self.hear()
                membership = self._next(membership, goes_on=goes_on)
        finally:
            del self._heard_at[current_thread()]

    def _next(self, done: Membership | None, *, goes_on: bool = True) -> Membership | None:
        """Put down what is done, and take up what waits: no other worker comes in between."""
        with self._lock:
            if done is not None:
                if self._running.get(done.id) is not current_thread():
                    return None
                del self._running[done.id]
            while goes_on and self._waiting and len(self._running) < self._slots:
                membership = self._waiting.popleft()
                if membership.id not in self._running:  # taken up since the database was looked at
                    self._running[membership.id] = current_thread()
                    return membership
            return None
