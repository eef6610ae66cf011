"""The pages of a listing, and whether they come newest first: then what is new stands at its head.

AWS promises no order.
"""

from collections.abc import Sequence
from itertools import islice
from operator import ge
from typing import NamedTuple


class NewestFirst:
    """Looks at the pages of one listing as they come."""

    def __init__(self) -> None:
        self.holds = True
        """Whether no job so far was created after one that was listed before it."""
        self._before: Sequence[int] = ()

    def take(self, created: Sequence[int]) -> None:
        """Look at one more page: the createTime of each of its jobs, in whatever unit.

        It may begin with the whole end of the page before: jobs that were created meanwhile have pushed it down.
        """
        if created:
            is_falling = all(map(ge, created, islice(created, 1, None)))
            self.holds = self.holds and is_falling and self._goes_on(created)
            self._before = created

    def _goes_on(self, created: Sequence[int]) -> bool:
        before = self._before
        if not before or created[0] <= before[-1]:
            return True
        return any(created[:number] == before[-number:] for number in range(1, len(before) + 1))


class OrderedPage(NamedTuple):
    """A page's raw items, and the order of the listing that it is of."""

    items: list[bytes]
    order: NewestFirst
