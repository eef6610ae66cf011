"""The pages of a listing, and whether they come newest first: then what is new stands at its head.

AWS promises no order.
"""

from collections.abc import Sequence
from itertools import islice, takewhile
from math import inf
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

        It may begin with the end of the page before: jobs that were created meanwhile have pushed it down.
        """
        if created:
            is_falling = all(map(ge, created, islice(created, 1, None)))
            self.holds = self.holds and is_falling and self._goes_on(created)
            self._before = created

    def _goes_on(self, created: Sequence[int]) -> bool:
        last = self._before[-1] if self._before else inf
        again = list(takewhile(lambda moment: moment > last, created))
        newer = [moment for moment in self._before if moment > last]
        return again == newer[len(newer) - len(again) :]


class Page(NamedTuple):
    """A page's raw items, and the order of the listing that it is of."""

    items: list[bytes]
    order: NewestFirst
