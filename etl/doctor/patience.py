"""How long anybody is waited for: what does not answer in time is left behind, and said to be silent."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

from etl import ahead

PATIENCE = 10.0  # seconds

T = TypeVar("T")


class SilenceError(Exception):
    """There was no answer in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:.0f} s")


def promptly(items: Iterable[T], queue: float = 0.0) -> Iterator[T]:
    """Yield the items; raises `SilenceError` once the next one does not come.

    `queue` is how many seconds longer than `PATIENCE` it may take, where others may have their turn first.
    """
    seconds = PATIENCE + queue
    with closing(ahead.read(items, depth=0, patience=seconds)) as read:
        for item in read:
            if item is None:
                raise SilenceError(seconds)
            yield item


def answer(question: Callable[[], T], queue: float = 0.0) -> T:
    """Return what the question returns, or raise what it raises; `queue` and `SilenceError` as in `promptly`."""

    def answers() -> Iterator[tuple[T]]:
        yield (question(),)  # in a tuple: None would be taken for silence

    [value] = next(promptly(answers(), queue))
    return value
