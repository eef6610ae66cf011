"""Processes that sync for this one, so that every processor takes part: the threads of one share a single one."""

import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from operator import attrgetter
from threading import Condition, Thread
from typing import NamedTuple, Self

from etl import cores
from etl.config import Config, Membership
from etl.run import Progress, StoppedError, Watcher
from etl.sweep import Sync
from etl.sync import SyncReport, sync_membership

# Forked processes begin within 5 ms; new ones would spend half a second each on importing what these have.
_context = get_context("fork" if sys.platform == "linux" else None)

_LOOK = 0.25  # seconds between two looks of a sync at its watcher, who is in another process
_PATIENCE = 5.0  # seconds until a process whose lines are dead has ended too


class FaultError(Exception):
    """A fault of this program, met in a process of the crew; its text is the traceback."""


class _Task(NamedTuple):
    config: Config
    membership: Membership
    full: bool


class _Fault(NamedTuple):
    traceback: str


@contextmanager
def syncing(config: Config, memberships: Sequence[Membership]) -> Iterator[Sync]:
    """Yield what is to sync each of the memberships: here, or in several processes where that may be quicker.

    Enter it before the first thread is started. What it yields is called from up to `aws.max_concurrency` threads.
    """
    processes = _processes(config, memberships)
    if processes == 1:
        yield sync_membership
    else:
        requests = config.aws.max_concurrency
        with Crew(processes, min(requests, len(memberships)), requests) as crew:
            yield crew.sync


def _processes(config: Config, memberships: Sequence[Membership]) -> int:
    """Return how many processes are to sync; 1: this one.

    How few jobs there are does not matter: a process costs 0.06 s, and spends them beside the others.
    Under a limit of requests they would only wait, and one process keeps to it best. Where a process cannot be
    forked in peace (macOS), starting one takes longer than most sweeps.
    """
    if config.aws.requests_per_second is not None or _context.get_start_method() != "fork":
        return 1
    return max(1, min(cores.usable(), len(memberships), config.aws.max_concurrency))


@dataclass
class _Mate:
    """A process of the crew, and the lines to those of its threads that have nothing to do."""

    process: BaseProcess
    requests: int
    """Those that it may have in flight at once: its part."""
    idle: list[Connection]
    busy: int = 0


class Crew:
    """Several processes that sync up to `at_once` memberships at a time, inside its context.

    Together they have up to `requests` in flight. They end with this process, however that ends. One that is lost
    fails the memberships that it was syncing; the others go on.
    """

    def __init__(self, processes: int, at_once: int, requests: int) -> None:
        self._parts = list(zip(_divided(at_once, processes), _divided(requests, processes), strict=True))
        self._mates: list[_Mate] = []
        self._ends = ExitStack()
        self._changed = Condition()

    def __enter__(self) -> Self:
        with self._ends as ends:
            for threads, requests in self._parts:
                mate = _hire(threads, requests)
                ends.callback(_dismiss, mate)
                self._mates.append(mate)
            self._ends = ends.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def sync(self, config: Config, membership: Membership, watch: Watcher, *, full: bool = False) -> SyncReport:
        """Do what `sync_membership` does, in the process that has least to do; waits until one can take it up."""
        taken = self._take()
        if taken is None:
            return _lost(membership, "all processes that sync have ended")
        mate, line = taken
        try:
            result = _perform(line, _Task(_limited(config, mate.requests), membership, full), watch)
        except (EOFError, OSError):
            return _lost(membership, self._write_off(mate))
        self._give_back(mate, line)
        if isinstance(result, _Fault):
            raise FaultError(result.traceback)
        return result

    def _take(self) -> tuple[_Mate, Connection] | None:
        """Wait for a thread that has nothing to do, in the process that has least to do; None if all are lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._able() or not any(mate.busy for mate in self._mates))
            if not self._able():
                return None
            mate = min(self._able(), key=attrgetter("busy"))
            mate.busy += 1
            return mate, mate.idle.pop()

    def _able(self) -> list[_Mate]:
        return [mate for mate in self._mates if mate.idle]

    def _give_back(self, mate: _Mate, line: Connection) -> None:
        with self._changed:
            mate.busy -= 1
            mate.idle.append(line)
            self._changed.notify()

    def _write_off(self, mate: _Mate) -> str:
        """Give nothing more to a process that is lost, and say how it ended."""
        with self._changed:
            mate.busy -= 1
            mate.idle.clear()
            self._changed.notify_all()
            mate.process.join(_PATIENCE)
            return _how_it_ended(mate.process.exitcode)


def _divided(number: int, parts: int) -> list[int]:
    return [len(range(part, number, parts)) for part in range(parts)]


def _hire(threads: int, requests: int) -> _Mate:
    pairs = [_context.Pipe() for _ in range(threads)]
    theirs = [there for _, there in pairs]
    process = _context.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    for line in theirs:
        line.close()  # held by its process alone, a line ends with it
    return _Mate(process, requests, [here for here, _ in pairs])


def _dismiss(mate: _Mate) -> None:
    mate.process.kill()  # it has nothing left to do, and nothing to put away
    mate.process.join()


def _limited(config: Config, requests: int) -> Config:
    return config.model_copy(update={"aws": config.aws.model_copy(update={"max_concurrency": requests})})


def _perform(line: Connection, task: _Task, watch: Watcher) -> SyncReport | _Fault:
    """Have a membership synced at the other end; raises `EOFError` or `OSError` where that is lost."""
    line.send(task)
    while isinstance(message := line.recv(), Progress):
        line.send(_verdict(watch, message))
    result: SyncReport | _Fault = message
    return result


def _verdict(watch: Watcher, progress: Progress) -> Exception | None:
    """Return what the watcher raises, if anything."""
    try:
        watch(progress)
    except Exception as error:  # noqa: BLE001 - it is raised where the sync is
        return error
    return None


def _lost(membership: Membership, reason: str) -> SyncReport:
    return SyncReport(membership.id, "failed", error_class="ProcessLost", error=reason)


def _how_it_ended(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "the process that synced it was killed: perhaps the machine ran out of memory"
    return f"the process that synced it ended with code {code}"


# From here on: what the processes do.


def _work(lines: Sequence[Connection]) -> None:
    """Serve each line in a thread of its own, until the process at the other ends is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a watcher tells when to stop
    for line in lines:
        Thread(target=_serve, args=(line,), daemon=True).start()
    if parent := parent_process():
        parent.join()


def _serve(line: Connection) -> None:
    with suppress(EOFError, OSError):
        while True:
            line.send(_result(line, line.recv()))


def _result(line: Connection, task: _Task) -> SyncReport | _Fault:
    try:
        return sync_membership(task.config, task.membership, _watcher(line), full=task.full)
    except BaseException:  # noqa: BLE001 - it is raised where the sync was asked for
        return _Fault(traceback.format_exc())


def _watcher(line: Connection) -> Watcher:
    """Return who asks the watcher at the other end: at once, and then now and then."""
    due = time.monotonic()

    def watch(progress: Progress) -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due = time.monotonic() + _LOOK
        try:
            line.send(progress)
            error: Exception | None = line.recv()
        except (EOFError, OSError):
            raise StoppedError from None  # nobody is there any more who wants to know
        if error:
            raise error

    return watch
