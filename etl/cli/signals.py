"""How a process is told to stop, and told again: the same for one sync and for years of them.

Made first thing in a command: as process 1 of a container a signal that has no handler yet is lost.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType

_STOPS = (signal.SIGINT, signal.SIGTERM)

_LOOK = 1.0  # seconds: a signal that the kernel hands to another thread does not wake the main one


class Signals:
    """Takes SIGINT, SIGTERM and the others named, from now on to the end of the process.

    The first SIGINT or SIGTERM asks to stop. A second one ends the process at once, with the exit code 128 + its
    number: not by the signal's default, which process 1 of a container does not have.
    """

    def __init__(self, *others: signal.Signals) -> None:
        self.is_stopping = False
        # Its put may interrupt its get: an Event's set may not interrupt the same Event's wait.
        self._arrived: SimpleQueue[int] = SimpleQueue()
        for number in (*_STOPS, *others):
            signal.signal(number, self._arrive)

    def until_stop(self) -> Iterator[int]:
        """Wait to be asked to stop, and yield each other signal that arrives before. For the main thread."""
        while not self.is_stopping:
            with suppress(Empty):
                number = self._arrived.get(timeout=_LOOK)
                if number not in _STOPS:
                    yield number

    def _arrive(self, number: int, _: FrameType | None) -> None:
        if number in _STOPS:
            if self.is_stopping:
                os._exit(128 + number)
            self.is_stopping = True
        self._arrived.put(number)
