"""The pages of a listing, and whether they come newest first: then what is new stands at its head.

AWS promises no order.
"""

from collections.abc import Sequence
from itertools import islice
from math import inf
from operator import ge
from typing import NamedTuple


class NewestFirst:
    """Looks at the pages of one listing as they come."""

    def __init__(self) -> None:
        self.holds = True
        """Whether no job so far was created after one that was listed before it."""
        self._last: float = inf

    def take(self, created: Sequence[int]) -> None:
        """Look at one more page: the createTime of each of its jobs, in whatever unit."""
        if created:
            is_falling = created[0] <= self._last and all(map(ge, created, islice(created, 1, None)))
            self.holds = self.holds and is_falling
            self._last = created[-1]


class Page(NamedTuple):
    """A page's raw items, and the order of the listing that it is of."""

    items: list[bytes]
    order: NewestFirst
