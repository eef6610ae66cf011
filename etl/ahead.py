"""Reading ahead: iterators are read in threads of their own, so that who waits for them can look up meanwhile.

They are read while their items are worked on. One that hangs is left behind: its thread ends with the process.
"""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Generic, TypeVar

_NAP = 0.005
"""Seconds slept before the next item is waited for, so that several may come.

To be woken for each, when a thousand come a second, costs 8 % of a processor.
"""

T = TypeVar("T")


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    """The end of one of the iterators; with an error, of all."""

    error: BaseException | None = None


def read(items: Iterable[T], *, depth: int, patience: float) -> Generator[T | None, None, None]:
    """Yield the items, read up to `depth` of them ahead, and None after each `patience` seconds without one.

    What `items` raises is raised here, in its place. Close the generator to stop the reading: an item that is just
    being waited for is left behind.
    """
    return read_together([items], readers=1, depth=depth, patience=patience)


def read_together(
    sources: Sequence[Iterable[T]], *, readers: int, depth: int, patience: float
) -> Generator[T | None, None, None]:
    """Yield the items of several iterators as they come: `readers` threads read on where it is their turn.

    Otherwise as `read`: `depth` counts for all together, and the first error ends them all.
    """
    shelf: SimpleQueue[_Item[T] | _End] = SimpleQueue()
    turns = deque(map(iter, sources))
    unfinished = len(turns)
    wanted = Semaphore(depth)
    is_over = Event()
    for _ in range(min(readers, unfinished)):
        Thread(target=_fill, args=(shelf, turns, wanted, is_over), name="reads ahead", daemon=True).start()
    try:
        while unfinished:
            wanted.release()
            if depth > 1 and shelf.empty():
                time.sleep(_NAP)
            while (arrived := _arrived(shelf, patience)) is None:
                yield None
            if isinstance(arrived, _Item):
                yield arrived.value
            elif arrived.error:
                raise arrived.error
            else:
                unfinished -= 1
    finally:
        is_over.set()
        wanted.release(readers)


def _arrived(shelf: "SimpleQueue[_Item[T] | _End]", patience: float) -> _Item[T] | _End | None:
    try:
        return shelf.get(timeout=patience)
    except Empty:
        return None


def _fill(
    shelf: "SimpleQueue[_Item[T] | _End]", turns: deque[Iterator[T]], wanted: Semaphore, is_over: Event
) -> None:
    while wanted.acquire() and not is_over.is_set():
        try:
            source = turns.popleft()
        except IndexError:  # the other readers hold every source that is left
            wanted.release()
            return
        try:
            shelf.put(_Item(next(source)))
        except StopIteration:
            shelf.put(_End())
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are awaited
            shelf.put(_End(error))
        else:
            turns.append(source)
