"""Reading ahead: in order, not too far, and never in the way of who waits."""

import threading
from collections.abc import Callable, Iterator
from itertools import count, islice
from threading import Event

import pytest

from etl import ahead

PATIENCE = 10.0


def settles(condition: Callable[[], bool]) -> bool:
    """Tell whether a condition comes true."""
    pause = Event()
    return any(condition() or pause.wait(0.01) for _ in range(int(PATIENCE / 0.01)))


def readers() -> int:
    return sum(thread.name == "reads ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("depth", [0, 1, 7])
def test_items_come_in_order_and_end(depth: int) -> None:
    assert list(ahead.read(range(1000), depth=depth, patience=PATIENCE)) == list(range(1000))


@pytest.mark.parametrize("depth", [0, 3])
def test_no_more_are_read_than_were_asked_for_and_the_depth(depth: int) -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in count():
            read.append(number)
            yield number

    arriving = ahead.read(items(), depth=depth, patience=PATIENCE)
    assert list(islice(arriving, 2)) == [0, 1]
    assert settles(lambda: len(read) == 2 + depth)
    assert not Event().wait(0.1)
    assert len(read) == 2 + depth
    arriving.close()


def test_while_there_is_nothing_none_comes_every_so_often() -> None:
    goes_on = Event()

    def items() -> Iterator[str]:
        goes_on.wait(PATIENCE)
        yield "late"

    arriving = ahead.read(items(), depth=1, patience=0.01)
    assert [next(arriving) for _ in range(3)] == [None, None, None]
    goes_on.set()
    assert next(item for item in arriving if item is not None) == "late"


def test_what_the_items_raise_is_raised_behind_those_that_came_before() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no second one")

    arriving = ahead.read(items(), depth=5, patience=PATIENCE)
    assert next(arriving) == 1
    with pytest.raises(LookupError, match="no second one"):
        next(arriving)


def test_who_stops_waiting_leaves_no_reader_behind() -> None:
    before = readers()
    arriving = ahead.read(count(), depth=2, patience=PATIENCE)
    assert next(arriving) == 0
    arriving.close()
    assert settles(lambda: readers() <= before)


def test_an_item_that_hangs_does_not_hold_up_who_stops_waiting() -> None:
    hangs = Event()

    def items() -> Iterator[int]:
        yield 1
        hangs.wait(PATIENCE)

    arriving = ahead.read(items(), depth=1, patience=0.01)
    assert next(arriving) == 1
    assert next(arriving) is None
    arriving.close()
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "reads ahead"] == [True]
    hangs.set()
    assert settles(lambda: readers() == 0)


# Several side by side


@pytest.mark.parametrize("depth", [0, 1, 7])
@pytest.mark.parametrize("readers", [1, 3, 20])
@pytest.mark.parametrize("lengths", [[], [0], [5], [0, 1, 50], [10] * 7])
def test_each_of_several_comes_whole_and_in_its_order(lengths: list[int], readers: int, depth: int) -> None:
    def items(source: int, length: int) -> Iterator[tuple[int, int]]:
        for number in range(length):
            yield source, number

    sources = [items(*source) for source in enumerate(lengths)]
    arrived = list(ahead.read_together(sources, readers=readers, depth=depth, patience=PATIENCE))
    assert None not in arrived
    assert sorted(arrived, key=lambda item: item or ()) == [
        (source, number) for source, length in enumerate(lengths) for number in range(length)
    ]
    for source, length in enumerate(lengths):
        assert [item for item in arrived if item and item[0] == source] == [(source, nth) for nth in range(length)]


def test_no_more_are_read_at_once_than_there_are_readers_and_none_waits_for_another() -> None:
    meeting = threading.Barrier(3)
    under_way: list[int] = []
    most: list[int] = []

    def items() -> Iterator[int]:
        under_way.append(1)
        most.append(len(under_way))
        meeting.wait(PATIENCE)  # three are read at once, or this breaks
        under_way.pop()
        yield 1

    assert list(ahead.read_together([items() for _ in range(6)], readers=3, depth=6, patience=PATIENCE)) == [1] * 6
    assert max(most) <= 3


def test_the_first_error_ends_them_all() -> None:
    before = readers()

    def fails() -> Iterator[int]:
        yield 0
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(ahead.read_together([count(), fails(), count()], readers=2, depth=3, patience=PATIENCE))
    assert settles(lambda: readers() <= before)


def test_who_stops_waiting_for_several_leaves_no_reader_behind() -> None:
    before = readers()
    arriving = ahead.read_together([count() for _ in range(9)], readers=4, depth=2, patience=PATIENCE)
    assert next(arriving) is not None
    arriving.close()
    assert settles(lambda: readers() <= before)


def test_one_that_hangs_does_not_hold_up_the_others() -> None:
    goes_on = Event()

    def hangs() -> Iterator[int]:
        goes_on.wait(PATIENCE)
        yield -1

    arriving = ahead.read_together([hangs(), range(100)], readers=2, depth=1, patience=PATIENCE)
    assert list(islice(arriving, 100)) == list(range(100))
    goes_on.set()
    assert list(arriving) == [-1]
