"""Reading ahead: an iterator is read in a thread of its own, so that who waits for it can look up meanwhile.

It reads while its items are being worked on. One that hangs is left behind: its thread ends with the process.
"""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


def read(items: Iterable[T], *, depth: int, patience: float) -> Generator[T | None, None, None]:
    """Yield the items, read up to `depth` of them ahead, and None after each `patience` seconds without one.

    What `items` raises is raised here, in its place. Close the generator to stop the reading: an item that is just
    being waited for is left behind.
    """
    shelf: SimpleQueue[_Item[T] | _End] = SimpleQueue()
    wanted = Semaphore(depth)
    is_over = Event()
    Thread(target=_fill, args=(shelf, iter(items), wanted, is_over), name="reads ahead", daemon=True).start()
    try:
        while True:
            wanted.release()
            while (arrived := _arrived(shelf, patience)) is None:
                yield None
            if isinstance(arrived, _End):
                if arrived.error:
                    raise arrived.error
                return
            yield arrived.value
    finally:
        is_over.set()
        wanted.release()


def _arrived(shelf: "SimpleQueue[_Item[T] | _End]", patience: float) -> _Item[T] | _End | None:
    try:
        return shelf.get(timeout=patience)
    except Empty:
        return None


def _fill(shelf: "SimpleQueue[_Item[T] | _End]", items: Iterator[T], wanted: Semaphore, is_over: Event) -> None:
    try:
        while wanted.acquire() and not is_over.is_set():
            shelf.put(_Item(next(items)))
    except StopIteration:
        shelf.put(_End())
    except BaseException as error:  # noqa: BLE001 - it is raised where the items are awaited
        shelf.put(_End(error))
