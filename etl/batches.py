"""Batches of pages: what their items tell that is not yet known, before any of it is stored."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from etl import jobs, staging, store
from etl.known import Known
from etl.order import OrderedPage
from etl.staging import Staged, StagedJobs

ITEMS = 5_000
"""Items settled in one transaction: what is held in memory of a listing of any length. More gain no time."""

_BYTES = 8_000_000  # of fewer items, where they are long; of the usual ones 5,000 have half as many

_ITEMS_AT_LEISURE = 1_000  # enough while AWS is slower than the database: at the end less is left to do, 0.15 s
_LEISURE = 0.01  # seconds that a page was waited for: longer than the nap that is taken before (`ahead`)

_ITEM_SHOWN = 300  # bytes of a malformed item that its record shows


@dataclass
class Batch:
    """Pages read and not yet settled."""

    pages: list[OrderedPage] = field(default_factory=list)
    items: list[bytes] = field(default_factory=list)
    size: int = 0
    """Bytes of the items."""

    def add(self, page: OrderedPage) -> None:
        """Take one more page."""
        self.pages.append(page)
        self.items += page.items
        self.size += sum(map(len, page.items))

    def digests(self) -> list[str]:
        """Return the digest of each item."""
        return [jobs.digest(item) for item in self.items]


class Batches:
    """Pages gathered into batches. What breaks the pages off is kept until the last batch was given."""

    def __init__(self, pages: Iterator[OrderedPage]) -> None:
        self._pages = pages
        self.interruption: Exception | None = None

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches; the last one may be small, or empty."""
        batch = Batch()
        try:
            asked_at = time.monotonic()
            for page in self._pages:
                enough = ITEMS if time.monotonic() - asked_at < _LEISURE else min(ITEMS, _ITEMS_AT_LEISURE)
                batch.add(page)
                if len(batch.items) >= enough or batch.size >= _BYTES:
                    yield batch
                    batch = Batch()
                asked_at = time.monotonic()
        except Exception as error:  # noqa: BLE001 - it is raised once what came before is stored
            self.interruption = error
        yield batch


@dataclass
class Told:
    """What a batch tells."""

    jobs: StagedJobs
    """Those whose items are not known."""
    keys: list[int | None]
    """For each item the key of its job, None where it is not known."""
    counts: store.Counts
    rows: bytes
    """The jobs as rows of the staging table."""


class Decoder:
    """Decodes the unknown items of one run's batches, and sets the malformed aside.

    `latest` is the last moment that a time of AWS may name.
    """

    def __init__(self, membership_id: str, latest: datetime) -> None:
        self._membership_id = membership_id
        self._latest = latest
        self._set_aside = 0
        self._unknown_statuses: set[str] = set()

    def decode(self, batch: Batch, digests: Sequence[str], known: Known) -> Told:
        """Decode what is not known, keep the newest of each job, of equals the later, and write it as rows.

        The pages' listings are shown in what order their jobs came, known or not.
        """
        counts = store.Counts(pages=len(batch.pages), jobs_listed=len(batch.items))
        told: StagedJobs = {}
        created = list(known.created)
        for place, (item, digest, key) in enumerate(zip(batch.items, digests, known.keys, strict=True)):
            if key is None and (job := self._taken(item, counts)):
                created[place] = jobs.microseconds(job.create_time)
                earlier = told.get(job.job_arn)
                if earlier is None or job.update_time >= earlier.job.update_time:
                    told[job.job_arn] = Staged(job, digest, place + 1)
        counts.jobs_unchanged = len(batch.items) - len(told) - counts.jobs_rejected
        _look_at_order(batch.pages, created)
        return Told(told, known.keys, counts, staging.rows(told.values()))

    def job(self, item: bytes) -> jobs.Decoded:
        """Decode one item; raises `jobs.BadItemError`."""
        return jobs.decode(item, self._membership_id, self._latest)

    def _taken(self, item: bytes, counts: store.Counts) -> jobs.Job | None:
        """Return the job of an item, None where that is malformed; count what is odd about it."""
        try:
            job, replaced = self.job(item)
        except jobs.BadItemError as error:
            counts.jobs_rejected += 1
            if self._set_aside < store.REJECTIONS_KEPT:
                self._set_aside += 1
                shown = item[:_ITEM_SHOWN].decode(errors="replace")
                counts.rejections.append({"reason": jobs.storable(str(error)), "item": jobs.storable(shown)})
            return None
        counts.replaced_characters += replaced
        if job.status not in jobs.KNOWN_STATUSES:
            self._count_unknown(job.status, counts)
        return job

    def _count_unknown(self, status: str, counts: store.Counts) -> None:
        if len(self._unknown_statuses) < store.STATUSES_KEPT:
            self._unknown_statuses.add(status)
        if status in self._unknown_statuses:
            counts.unknown_statuses[status] += 1


def _look_at_order(pages: Iterable[OrderedPage], created: Sequence[int | None]) -> None:
    """Show the listings in what order their jobs came, by the createTime of each, in microseconds since 1970."""
    start = 0
    for page in pages:
        end = start + len(page.items)
        page.order.take([moment for moment in created[start:end] if moment is not None])
        start = end
