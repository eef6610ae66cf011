"""What one run reads of AWS: the pages of its listings, one by one, ahead or side by side, and single jobs."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from typing import TypeVar

from etl import ahead, source
from etl.calls import Calls
from etl.config import Aws, Membership
from etl.order import NewestFirst, OrderedPage
from etl.plan import Wait
from etl.scope import Scope

PAGES_AHEAD = 50
"""Pages read while a batch is settled: one more batch, so that neither waits for the other."""

_PATIENCE = 0.25  # seconds until who waits for AWS looks up: is it to stop, is its lease to be renewed?

T = TypeVar("T")


class Reading:
    """The listings of one run. `look_up` is called now and then: what it raises ends the reading.

    Raises `source.SourceError`, also where AWS is silent for longer than `deadline`.
    """

    def __init__(self, aws: Aws, membership: Membership, deadline: timedelta, look_up: Callable[[], None]) -> None:
        self._aws = aws
        self._membership = membership
        self._deadline = deadline.total_seconds()
        self._look_up = look_up
        self._listings: list[source.Listing] = []
        self._orders: list[NewestFirst] = []
        self._whole = self._pages(membership)

    @property
    def listings(self) -> int:
        """How many listings were read."""
        return len(self._listings)

    @property
    def is_newest_first(self) -> bool:
        """Whether all of them came newest first."""
        return all(order.holds for order in self._orders)

    @property
    def has_more(self) -> bool:
        """Whether the membership's own listing has pages that were not read."""
        return self._listings[0].has_more

    @property
    def wait(self) -> Wait:
        """What a page of it takes."""
        return Wait(self._listings[0].calls.wait, self._aws.requests_per_second, self._aws.max_concurrency)

    @property
    def calls(self) -> Calls:
        """The requests that it took so far."""
        return Calls.together(listing.calls for listing in self._listings)

    def one_by_one(self) -> Iterator[OrderedPage]:
        """Yield the pages of the membership's own listing, each read when it is asked for."""
        return self._awaited(ahead.read(self._whole, depth=0, patience=_PATIENCE))

    def rest(self) -> Iterator[OrderedPage]:
        """Yield the pages that are left of it, read ahead."""
        return self._awaited(ahead.read(self._whole, depth=PAGES_AHEAD, patience=_PATIENCE))

    def from_the_start(self) -> Iterator[OrderedPage]:
        """Yield all of its pages, as AWS gives them now."""
        self._whole = self._pages(self._membership)
        return self.rest()

    def side_by_side(self, parts: Sequence[Scope]) -> Iterator[OrderedPage]:
        """Yield the pages of the listings of these parts, as they come."""
        pages = [self._pages(self._membership.narrowed(part)) for part in parts]
        readers = self._aws.max_concurrency
        return self._awaited(ahead.read_together(pages, readers=readers, depth=PAGES_AHEAD, patience=_PATIENCE))

    def models(self) -> list[str]:
        """Return the ARNs of the membership's trained models."""
        return [model.arn for model in self._answer(self._listings[0].models)]

    def versions(self, model_arn: str) -> list[str]:
        """Return the versions of a trained model."""
        told = self._answer(lambda: self._listings[0].versions(model_arn))
        return [model.version for model in told if model.version]

    def of_single_jobs(self, answers: Callable[[source.Listing], Iterable[T]]) -> Iterator[T]:
        """Yield what is asked of single jobs, one after the other."""
        return self._awaited(ahead.read(answers(self._listings[0]), depth=1, patience=_PATIENCE))

    def _answer(self, ask: Callable[[], T]) -> T:
        return next(self._awaited(ahead.read((ask() for _ in range(1)), depth=1, patience=_PATIENCE)))

    def _pages(self, membership: Membership) -> Iterator[OrderedPage]:
        listing, order = source.Listing(self._aws, membership), NewestFirst()
        self._listings.append(listing)
        self._orders.append(order)
        return (OrderedPage(items, order) for items in listing.pages())

    def _awaited(self, arriving: Generator[T | None, None, None]) -> Iterator[T]:
        waited = 0.0
        with closing(arriving):
            try:
                for answer in arriving:
                    waited = waited + _PATIENCE if answer is None else 0
                    self._look_up()
                    if waited > self._deadline:
                        for listing in self._listings:
                            listing.begin_anew()
                        raise source.SourceError(
                            source.NO_PROGRESS, f"AWS gave no answer within {self._deadline:.0f} s"
                        )
                    if answer is not None:
                        yield answer
            finally:
                if waited:  # what hangs may hang for ever
                    for listing in self._listings:
                        listing.leave()
