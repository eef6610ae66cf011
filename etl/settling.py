"""Pages to stored jobs: a run's batches looked up, decoded and settled, each in a transaction of its own."""

from array import array
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache, cached_property, partial

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from etl import known, leases, store
from etl.batches import Batch, Batches, Decoder, Told
from etl.order import OrderedPage
from etl.staging import Staged, StagedJobs
from etl.writer import Writer

_AHEAD = timedelta(days=1)  # a time further in the future is absurd
_BELIEVED_AT_ONCE = 10_000  # older states kept until the listing is complete; the next run believes the rest


class Settling:
    """What one run has stored so far. `with_calls` adds to counts the requests that AWS was sent."""

    def __init__(
        self,
        membership_id: str,
        run: leases.Run,
        writer: Writer,
        with_calls: Callable[[store.Counts], store.Counts],
    ) -> None:
        self.decoder = Decoder(membership_id, run.started_at + _AHEAD)
        self.counts = store.Counts()
        self.listed = 0
        """Items read so far."""
        # Keys of the jobs shown, as 8-byte integers: no row is touched to say that it was seen.
        self.shown = array("q")
        self.stale = array("q")
        """Keys of those that were shown in an older state than is stored."""
        self.may_come_again = False
        """Whether a job that is stored is looked for also in a first listing: it may be listed a second time."""
        self._believable: dict[int, Staged] = {}
        self._run = run
        self._writer = writer
        self._with_calls = with_calls

    def settle(self, pages: Iterator[OrderedPage]) -> None:
        """Store what the pages tell that is not yet known; if they break off, what they told before."""
        batches = Batches(self._counted(pages))
        settle_all = self._settle_overlapping if self.is_first else self._settle_in_turn
        settle_all(batches)
        if batches.interruption:
            raise batches.interruption

    def _settle_in_turn(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._settle(batch)

    def _settle_overlapping(self, batches: Iterable[Batch]) -> None:
        """Decode each batch of a first listing while the server settles the one before.

        Begun sooner, it would compete for the interpreter with the statements before that: an eighth of the time.
        """
        before: Told | None = None
        with ThreadPoolExecutor(1) as decoder:
            for batch in batches:
                begin = cache(partial(decoder.submit, self._decoded, batch))  # once, whatever is tried again
                if before:
                    self._store(before, meanwhile=begin)
                before = begin().result()
        if before:
            self._store(before)

    def _settle(self, batch: Batch) -> Told:
        """Settle a batch before the next one is looked up, which may show the same job as it was known before."""
        digests = batch.digests()
        stored = self._writer.read(partial(known.by_digest, run=self._run, digests=digests))
        self.shown.extend(key for key in stored.keys if key is not None)
        told = self.decoder.decode(batch, digests, stored)
        self._store(told)
        return told

    def _decoded(self, batch: Batch) -> Told:
        nothing = known.nothing(len(batch.items))  # to look nothing up is a twentieth of it
        return self.decoder.decode(batch, batch.digests(), nothing)

    def settle_page(self, page: OrderedPage, expected: Container[str]) -> int:
        """Settle a page by itself; return how many of its last items, at least, told nothing new.

        Of the jobs `expected`, by their ARNs, nothing is new.
        """
        unchanged = self.counts.jobs_unchanged
        batch = Batch()
        batch.add(page)
        self.listed += len(page.items)
        told = self._settle(batch)
        if self.counts.jobs_unchanged - unchanged == len(page.items):
            return len(page.items)
        return len(page.items) - max(
            (job.place for arn, job in told.jobs.items() if arn not in expected), default=0
        )

    def believed(self) -> StagedJobs:
        """Return the older states that are believed, of jobs that were shown in no other."""
        stale = self.only_stale()
        return {staged.job.job_arn: staged for key, staged in self._believable.items() if key in stale}

    def only_stale(self) -> set[int]:
        """Return the keys of the jobs that were shown in an older state only."""
        return set(self.stale).difference(self.shown)

    def _counted(self, pages: Iterator[OrderedPage]) -> Iterator[OrderedPage]:
        for page in pages:
            self.listed += len(page.items)
            yield page

    @cached_property
    def is_first(self) -> bool:
        """Whether nothing was stored when this run began; what it stores itself the settling finds."""
        return self._run.listed.at is None and self._writer.read(
            lambda connection: known.is_empty(connection, self._run)
        )

    def _store(self, told: Told, meanwhile: Callable[[], object] = lambda: None) -> None:
        if not told.jobs:
            self.counts += told.counts
            return

        def work(connection: Connection) -> tuple[store.Settled, store.Counts]:
            keys = None if self._is_all_new() else told.keys
            settled = store.settle(connection, self._run, told.rows, known=keys, meanwhile=meanwhile)
            counts = self._with_calls(self.counts + told.counts + settled.counts())
            store.record_counts(connection, self._run, counts)
            return settled, counts

        def accept(stored: tuple[store.Settled, store.Counts]) -> None:
            settled, self.counts = stored
            self.shown.extend(settled.shown_keys or ())
            self.stale.extend(settled.stale_keys or ())
            for key, arn in settled.believable or ():
                self._keep_believable(key, told.jobs[arn])

        try:
            self._writer.write(work, accept)
        except IntegrityError:
            if not self._is_all_new():
                raise
            self.may_come_again = True  # one that others, created meanwhile, have pushed down
            self._writer.write(work, accept)

    def _is_all_new(self) -> bool:
        return self.is_first and not self.may_come_again

    def _keep_believable(self, key: int, older: Staged) -> None:
        """Keep the newest of the older states of a job, of equals the later read."""
        kept = self._believable.get(key)
        is_newer = kept is not None and older.job.update_time >= kept.job.update_time
        if is_newer or (kept is None and len(self._believable) < _BELIEVED_AT_ONCE):
            self._believable[key] = older
