"""How a full listing is split: into listings by trained model, and of a big one by version, read side by side.

AWS gives the pages of a listing one after the other, so that a long one takes as long as all of its answers; of
several listings it gives pages at once. What such a split misses only a listing that is not split can tell: no
absence is concluded without one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

_LONG_WAIT = 0.02
"""Seconds that make a page worth to be waited for beside others: it takes the processor about 0.001 s."""

_GAIN = 2
"""Times faster that it must be, to be worth a request more for each listing."""


class Part(NamedTuple):
    """A trained model's listing, or that of one of its versions."""

    model_arn: str
    version: str | None = None


class Share(NamedTuple):
    """How many jobs of a model and version are stored."""

    model_arn: str
    version: str | None
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
    is_paced = wait.requests_per_second is not None and wait.requests_per_second * wait.seconds < _GAIN
    return wait.at_once > 1 and wait.seconds >= _LONG_WAIT and not is_paced


def are_few(parts: Sequence[Part], expected_pages: int, at_once: int) -> bool:
    """Tell whether so many listings are worth the request more that each may take."""
    most = expected_pages // _GAIN if expected_pages else _GAIN * at_once
    return 1 < len(parts) <= most


def parts(
    models: Iterable[str], shares: Sequence[Share], versions_of: Callable[[str], Iterable[str]]
) -> list[Part]:
    """Return the listings that together show each job of the `models`, and of those whose jobs are stored.

    A model that holds more than half of the jobs is split by version, if each of its jobs names one: no filter
    shows those that name none. `versions_of` tells AWS's versions of a model, none where it does not tell; those
    stored are added.
    """
    stored: defaultdict[str, dict[str | None, int]] = defaultdict(dict)
    for share in shares:
        stored[share.model_arn][share.version] = share.jobs
    half = sum(share.jobs for share in shares) / 2
    found: list[Part] = []
    for model in dict.fromkeys([*stored, *models]):
        versions = stored.get(model, {})
        is_big = sum(versions.values()) > half and len(versions) > 1 and None not in versions
        told = list(versions_of(model)) if is_big else []
        every = dict.fromkeys([*versions, *told]) if told else [None]
        found += [Part(model, version) for version in every]
    return found
