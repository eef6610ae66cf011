"""How a full listing is split: into listings by trained model, and of a big one by version, read side by side.

AWS gives the pages of a listing one after the other, so that a long one takes as long as all of its answers; of
several listings it gives pages at once. What such parts miss only the whole can tell: no absence is concluded
without it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from etl.scope import Scope

_LONG_WAIT = 0.02
"""From so many seconds a page on, reading side by side pays: a page takes the processor about 0.001 s."""

_FASTER = 2
"""How many times faster it must become, as far as the pace allows."""

_PAGES_A_PART = 2
"""Pages that a part must have on average to be worth the extra request that it may take."""

_MOST_AT_FIRST = 100
"""Parts of a listing of which nobody knows yet how long it is."""


class Share(NamedTuple):
    """How many jobs of a model and version are stored."""

    scope: Scope
    jobs: int


class Wait(NamedTuple):
    """What a listing takes."""

    seconds: float
    """For which one page is waited."""
    requests_per_second: float | None
    """The most that may be sent; None: any number."""
    at_once: int
    """Requests that may be under way."""


def is_worth_it(wait: Wait) -> bool:
    """Tell whether pages that are read side by side come faster, by the wait for one and the pace that is kept."""
    is_paced = wait.requests_per_second is not None and wait.requests_per_second * wait.seconds < _FASTER
    return wait.at_once > 1 and wait.seconds >= _LONG_WAIT and not is_paced


def are_worth_it(parts: Sequence[Scope], expected_pages: int) -> bool:
    """Tell whether so many listings are worth the request more that each may take. 0 pages: nobody knows."""
    return 1 < len(parts) <= (expected_pages // _PAGES_A_PART or _MOST_AT_FIRST)


def parts(
    models: Iterable[str], shares: Sequence[Share], at_once: int, versions_of: Callable[[str], Iterable[str]]
) -> list[Scope]:
    """Return the listings that together show each job of the `models`, and of those whose jobs are stored.

    A model that has more than one reader's share of the jobs, of `at_once` readers, is split by version.
    `versions_of` tells AWS's versions of a model, none where it does not tell; those stored are added.
    """
    stored: defaultdict[str, dict[str | None, int]] = defaultdict(dict)
    for (model, version), jobs in shares:
        stored[str(model)][version] = jobs
    most = sum(share.jobs for share in shares) / at_once
    found: list[Scope] = []
    for model in dict.fromkeys([*stored, *models]):
        versions = stored.get(model, {})
        told = versions_of(model) if _can_be_split(versions, most) else ()
        every = dict.fromkeys([*versions, *told]) if told else [None]
        found += [Scope(model, version) for version in every]
    return found


def _can_be_split(versions: Mapping[str | None, int], most: int | float) -> bool:
    """Tell whether a model has more than `most` jobs, all of which name a version: no filter shows the others."""
    return sum(versions.values()) > most and len(versions) > 1 and None not in versions
