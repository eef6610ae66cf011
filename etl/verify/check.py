"""What a check is."""

from typing import NamedTuple


class Check(NamedTuple):
    """An invariant, and the query for the rows that break it (each an identifying text)."""

    name: str
    rule: str
    query: str
