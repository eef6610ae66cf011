"""One run: a membership's pages read, its batches settled, the conclusions drawn that its listing allows."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from etl import absence, batches, database, jobs, known, leases, plan, quick, rollups, source, store, timetable
from etl.batches import Batch, Decoder, StagedJobs, Told
from etl.config import Config, Membership
from etl.order import Page
from etl.reading import Reading
from etl.writer import Writer

_AHEAD = timedelta(days=1)  # a time further in the future is absurd
_BELIEVED_AT_ONCE = 10_000  # older states kept until the listing is complete; the next run believes the rest
_REGULAR = {"RejectedItems"}  # the listing was whole: to repeat it sooner, or later, would help nobody


class StoppedError(Exception):
    """Raised by a watcher to end a sync at the next page; what was read is kept."""


class Progress(NamedTuple):
    """How far the sync of a membership has come."""

    membership_id: str
    jobs_listed: int
    expected_jobs: int
    """Jobs of the last complete listing, 0 if there was none."""


Watcher = Callable[[Progress], None]


class Syncing:
    """The state of one run: what it has read and done so far."""

    def __init__(
        self,
        config: Config,
        membership: Membership,
        connection: Connection,
        run: leases.Run,
        watch: Watcher,
        *,
        full: bool,
    ) -> None:
        self.counts = store.Counts()
        self.kind = "full"
        self.overruns = 0
        self._ending = store.Ending("running")
        self._membership = membership
        self._schedule = config.schedule_of(membership)
        self._sync = config.sync
        self._page_size = config.aws.page_size
        self._reading = Reading(config.aws, membership, config.sync.deadline, self._look_up)
        self._scope = known.Scope(membership.trained_model_arn, membership.trained_model_version_identifier)
        self._may_be_quick = (
            not full
            and self._scope == (run.listed.model_arn, run.listed.model_version)
            and quick.may_do(run, config.sync.full_every, config.aws.page_size)
        )
        self._is_split = False
        self._connection = connection
        self._run = run
        self._writer = Writer(connection, run, self._look_up)
        self._watch = watch
        self._listed = 0
        self._decoder = Decoder(membership.id, run.started_at + _AHEAD)
        self._interruption: Exception | None = None
        # Keys of the jobs shown, as 8-byte integers: no row is touched to say that it was seen.
        self._shown = array("q")
        self._stale = array("q")
        self._believable: dict[int, store.Staged] = {}

    def perform(self) -> store.Ending:
        """Read, settle and finish; the run's record is closed whatever happens."""
        try:
            told = self._glance() if self._may_be_quick else None
            if told is not None:
                self._finish_quick(told)
            elif self._list():
                self._finish()
            else:
                return self._close("partial", "RejectedItems", self.counts.rejections[0]["reason"])
        except source.SourceError as error:
            return self._close(self._broken_off(), error.code, str(error))
        except StoppedError:
            return self._close("partial", "Stopped", "asked to stop")
        except leases.FencedError as error:
            return self._close_fenced(str(error))
        except DBAPIError as error:
            return self._close(self._broken_off(), type(error.orig).__name__, database.reason(error))
        except database.DatabaseError:
            raise  # of a schema that is not ours any more: nothing may be written
        except BaseException as error:
            self._close("failed", type(error).__name__, "a fault of this program: please report it")
            raise
        return self._ending

    def _broken_off(self) -> str:
        """Return the outcome of a listing that ended early: what was read before is kept."""
        return "partial" if self.counts.pages else "failed"

    def _glance(self) -> StagedJobs | None:
        """Read the newest jobs, until nothing is new and each open job was seen.

        Returns what AWS told of single jobs, where that is new; None where only a full listing will do.
        """
        unseen = self._writer.read(lambda connection: known.open_jobs(connection, self._run, self._scope))
        seen: set[int] = set()
        for page in self._reading.one_by_one():
            if page is None:
                self._keep_lease()
                continue
            start = len(self._shown)
            is_news = self._settle_page(page)
            # What newer jobs have pushed down from the page before is known by now, and tells nothing.
            shown = set(self._shown[start:]) - seen
            seen |= shown
            for key in shown:
                unseen.pop(key, None)
            if not self._is_in_order():
                return None
            if shown and not is_news and self._is_time_to_ask(unseen):
                return None if self._is_any_left_out(seen) else self._ask_for(unseen.values())
        return None

    def _is_any_left_out(self, seen: set[int]) -> bool:
        return self._writer.read(
            lambda connection: known.is_any_left_out(connection, self._run, self._scope, seen)
        )

    def _settle_page(self, page: Page) -> bool:
        """Settle a page by itself; return whether it told anything new."""
        batch = Batch()
        batch.add(page)
        self._listed += len(page.items)
        unchanged = self.counts.jobs_unchanged
        self._store(self._decoder.decode(*self._looked_up(batch)))
        return self.counts.jobs_unchanged - unchanged < len(page.items)

    def _is_in_order(self) -> bool:
        return self._reading.is_newest_first and not self._stale and not self.counts.jobs_rejected

    def _is_time_to_ask(self, unseen: dict[int, quick.OpenJob]) -> bool:
        if not unseen:
            return True
        pages = self.counts.pages
        most = (pages + len(unseen)) * self._page_size
        places = self._writer.read(
            lambda connection: known.places(connection, self._run, self._scope, unseen, most)
        )
        return quick.ask_now(places, pages, self._page_size)

    def _ask_for(self, unseen: Iterable[quick.OpenJob]) -> StagedJobs | None:
        """Ask AWS for single jobs; return those that have changed, None where an answer leaves anything open."""

        def answers(listing: source.Listing) -> Iterator[tuple[quick.OpenJob, bytes | None]]:
            for job in unseen:
                yield job, listing.details(job.job_arn)

        told: StagedJobs = {}
        try:
            for answer in self._reading.of_single_jobs(answers):
                if answer is None:
                    self._keep_lease()
                    continue
                job, details = answer
                if details is None:
                    return None
                now = self._decoder.job(quick.as_item(details, job)).job
                if now.job_arn != job.job_arn or now.update_time < job.update_time:
                    return None
                if (now.status, now.update_time) != (job.status, job.update_time):
                    told[now.job_arn] = store.Staged(now, None, len(told) + 1)
        except (source.SourceError, jobs.BadItemError, ValueError):
            return None
        return told

    def _finish_quick(self, told: StagedJobs) -> None:
        """Close a quick sweep, which concludes nothing of the jobs that it did not see."""
        self.kind = "quick"

        def work(connection: Connection) -> store.Counts:
            settled = store.settle(connection, self._run, told) if told else None
            store.record_open_seen(connection, self._run)
            rollups.count_up(connection, self._run.membership_key)
            counts = self._with_calls(self.counts + _counts_of(settled))
            self._end(connection, counts, store.Ending("complete"), full_due=False)
            return counts

        self._writer.write(work, self._complete)

    def _list(self) -> bool:
        """Read and settle a full listing, or what is left of it; return whether all of its items could be read."""
        try:
            self._settle(self._pages())
            is_enough = not self._is_split or not self._writer.read(self._is_any_missing)
        except source.SourceError:  # of a part, perhaps: its model may not be there any more
            if not self._is_split:
                raise
            is_enough = False
        if not is_enough:
            self._is_split = False
            self._settle(self._reading.from_the_start())
        self._count_up()
        return not self.counts.jobs_rejected

    def _is_any_missing(self, connection: Connection) -> bool:
        missing, _ = store.missing_jobs(connection, self._run, self._shown + self._stale, timedelta())
        return bool(missing)

    def _pages(self) -> Iterator[Page | None]:
        """Yield the pages of a full listing: split by model and side by side, where that is faster."""
        if not self.counts.pages:
            for page in self._reading.one_by_one():
                yield page
                if page is not None:
                    break
        parts = self._parts()
        self._is_split = bool(parts)
        yield from self._reading.side_by_side(parts) if parts else self._reading.rest()

    def _parts(self) -> list[plan.Part]:
        """Return the listings that a full one is split into; none: it is read as it is."""
        if not (self._may_be_split() and self._reading.has_more and plan.is_worth_it(self._reading.wait)):
            return []
        shares = self._writer.read(lambda connection: known.shares(connection, self._run))
        try:
            parts = plan.parts(self._reading.models(), shares, self._versions)
        except source.SourceError:  # most likely not permitted: without the models there is nothing to split by
            return []
        pages = self._run.expected_jobs // self._page_size
        return parts if plan.are_few(parts, pages, self._reading.wait.at_once) else []

    def _versions(self, model_arn: str) -> list[str]:
        try:
            return self._reading.versions(model_arn)
        except source.SourceError:  # as above
            return []

    def _may_be_split(self) -> bool:
        """Tell whether nobody needs an unsplit one, which alone tells what is missing, or of an unknown model."""
        before, full_every = self._run.listed, self._sync.full_every
        if not self._scope.is_whole or not full_every:
            return False
        if before.unsplit_at is None:
            return True
        return not before.full_due and self._run.started_at < before.unsplit_at + full_every

    def _settle(self, pages: Iterator[Page | None]) -> None:
        """Store what the pages tell that is not yet known; if they break off, what they told before."""
        for told in self._told(self._batches(pages)):
            self._store(told)
        interruption, self._interruption = self._interruption, None
        if interruption:
            raise interruption

    def _batches(self, pages: Iterator[Page | None]) -> Iterator[Batch]:
        batch = Batch()
        try:
            for page in pages:
                if page is not None:
                    batch.add(page)
                    self._listed += len(page.items)
                if len(batch.items) >= batches.ITEMS or self._writer.is_due:
                    yield batch
                    batch = Batch()
        except (source.SourceError, StoppedError) as error:
            self._interruption = error
        yield batch

    def _told(self, of: Iterator[Batch]) -> Iterator[Told]:
        """Yield what each batch tells; the next is decoded while the one before is stored."""
        with ThreadPoolExecutor(1) as decoder:
            before: Future[Told] | None = None
            for batch in of:
                decoding = decoder.submit(self._decoder.decode, *self._looked_up(batch))
                if before:
                    yield before.result()
                before = decoding
            if before:
                yield before.result()

    @cached_property
    def _is_first(self) -> bool:
        """Whether nothing was stored when this run began; what it stores itself the settling finds."""
        return self._run.listed.at is None and self._writer.read(
            lambda connection: known.is_empty(connection, self._run)
        )

    def _looked_up(self, batch: Batch) -> tuple[Batch, list[str], known.Known]:
        digests = batch.digests()
        if self._is_first:  # to look nothing up is a twentieth of it
            return batch, digests, known.nothing(len(digests))
        stored = self._writer.read(lambda connection: known.by_digest(connection, self._run, digests))
        self._shown.extend(key for key in stored.keys if key is not None)
        return batch, digests, stored

    def _keep_lease(self) -> None:
        if self._writer.is_due:
            self._writer.write(lambda _: None)

    def _look_up(self) -> None:
        self._watch(Progress(self._membership.id, self._listed, self._run.expected_jobs))

    def _store(self, told: Told) -> None:
        if not told.jobs and not self._writer.is_due:
            self.counts += told.counts
            return

        def work(connection: Connection) -> tuple[store.Settled | None, store.Counts]:
            settled = store.settle(connection, self._run, told.jobs, known=told.keys) if told.jobs else None
            counts = self._with_calls(self.counts + told.counts + _counts_of(settled))
            store.record_counts(connection, self._run, counts)
            return settled, counts

        def accept(stored: tuple[store.Settled | None, store.Counts]) -> None:
            settled, self.counts = stored
            if settled:
                self._shown.extend(settled.shown_keys or ())
                self._stale.extend(settled.stale_keys or ())
                for key, arn in settled.believable or ():
                    self._keep_believable(key, told.jobs[arn])

        self._writer.write(work, accept)

    def _keep_believable(self, key: int, older: store.Staged) -> None:
        """Keep the newest of the older states of a job, of equals the later read."""
        kept = self._believable.get(key)
        is_newer = kept is not None and older.job.update_time >= kept.job.update_time
        if is_newer or (kept is None and len(self._believable) < _BELIEVED_AT_ONCE):
            self._believable[key] = older

    def _count_up(self) -> None:
        """Count what the batches have changed, in a transaction of its own: of a first sync it takes seconds.

        A run that was broken off leaves it to the next one that is not; the views count by themselves meanwhile.
        One with malformed items does not come to its finish, which would count what others have left.
        """
        if self.counts.jobs_new or self.counts.jobs_changed or self.counts.jobs_rejected:
            self._writer.write(lambda connection: rollups.count_up(connection, self._run.membership_key))

    def _finish(self) -> None:
        """Draw the conclusions that only a complete listing allows, and close the run: all or nothing."""
        missing, gone, alive = self._absence()
        stale = set(self._stale).difference(self._shown)
        believed = {staged.job.job_arn: staged for key, staged in self._believable.items() if key in stale}

        def work(connection: Connection) -> store.Counts:
            store.record_absence(connection, self._run, missing, gone, alive)
            if not self._scope.is_whole:
                store.record_unshown(connection, self._run, self._shown + self._stale, self._scope)
            store.record_stale(connection, self._run, stale)
            settled = store.settle(connection, self._run, believed, believe=True) if believed else None
            unseen = known.open_keys(connection, self._run, self._scope).difference(self._shown)
            showed = store.Showed(self._reading.is_newest_first, self._is_split, all_open=not unseen)
            store.record_listing(connection, self._run, self._scope, showed)
            rollups.count_up(connection, self._run.membership_key)  # what was just concluded
            # Those believed were counted as stale when they were read.
            concluded = store.Counts(jobs_stale=-len(believed), jobs_absent=len(gone), transitions=len(gone))
            counts = self._with_calls(self.counts + _counts_of(settled) + concluded)
            self._end(connection, counts, store.Ending("complete"), full_due=bool(missing or stale))
            return counts

        self._writer.write(work, self._complete)

    def _complete(self, counts: store.Counts) -> None:
        self.counts = counts
        self._ending = store.Ending("complete")

    def _absence(self) -> tuple[list[int], list[int], list[int]]:
        """Return the keys of the jobs missing, of the ones gone among them, and of those that AWS still knows."""
        if not self._scope.is_whole:
            return [], [], []
        missing, tracked = self._writer.read(
            lambda connection: store.missing_jobs(
                connection, self._run, self._shown + self._stale, self._sync.absence_grace
            )
        )
        gone: list[int] = []
        alive: set[int] = set()
        for suspect, exists in self._questioned(absence.suspects(missing, tracked)):
            if exists:
                alive.add(suspect.job_key)
            elif absence.is_gone(suspect, exists):
                gone.append(suspect.job_key)
        return [job.job_key for job in missing if job.job_key not in alive], gone, list(alive)

    def _questioned(self, suspects: Iterable[absence.Missing]) -> Iterator[tuple[absence.Missing, bool | None]]:
        """Ask AWS for each suspect, until it gives no answer: the next run asks again."""

        def answers(listing: source.Listing) -> Iterator[tuple[absence.Missing, bool | None]]:
            is_permitted = True
            for suspect in suspects:
                exists = listing.exists(suspect.job_arn) if is_permitted else None
                is_permitted = exists is not None
                yield suspect, exists

        try:
            for answer in self._reading.of_single_jobs(answers):
                self._keep_lease()
                if answer is not None:
                    yield answer
        except source.SourceError:
            return

    def _close(self, outcome: str, error_class: str, error: str) -> store.Ending:
        """Close the record; a run that proves to be complete after all, its last COMMIT unanswered, stays so."""
        ending = store.Ending(outcome, error_class, error)

        def work(connection: Connection) -> None:
            if self._ending.outcome == "running":
                full_due = self._run.listed.full_due or bool(self.counts.pages)
                self._end(connection, self._with_calls(self.counts), ending, full_due=full_due)

        def accept(_: None) -> None:
            if self._ending.outcome == "running":
                self._ending = ending

        try:
            self._writer.write(work, accept)
        except leases.FencedError as fenced:
            return self._close_fenced(str(fenced))
        self.counts = self._with_calls(self.counts)
        return self._ending

    def _close_fenced(self, error: str) -> store.Ending:
        """Close the record without the lease, which is another run's by now."""
        ending = store.Ending("fenced", "Fenced", error)
        with self._connection.begin():
            store.end(self._connection, self._run, ending)
        return ending

    def _end(self, connection: Connection, counts: store.Counts, ending: store.Ending, *, full_due: bool) -> None:
        following = self._following(connection, ending)
        store.record_counts(connection, self._run, counts)
        store.end(
            connection,
            self._run,
            ending,
            kind=self.kind,
            listings=self._reading.listings,
            overruns=self.overruns,
        )
        leases.release(connection, self._run, following, full_due=full_due)

    def _following(self, connection: Connection, ending: store.Ending) -> leases.Following | None:
        """Return when the membership is due next: by its schedule, or for another try; None: as it was."""
        if ending.error_class == "Stopped":
            return None
        now = leases.now(connection)
        polls_open = self._schedule.every_open is not None
        has_open = polls_open and bool(known.open_keys(connection, self._run, self._scope))
        regular = timetable.next_due(
            self._schedule, self._membership.id, self._run.started_at, now, has_open=has_open
        )
        self.overruns = regular.overruns
        if ending.error_class is None or ending.error_class in _REGULAR:
            return leases.Following(regular.at, 0)
        failures = self._run.failures + 1
        return leases.Following(timetable.retry(ending.error_class, failures, self._membership.id, now), failures)

    def _with_calls(self, counts: store.Counts) -> store.Counts:
        calls = self._reading.calls
        return replace(counts, api_calls=calls.requests, retries=calls.retries, throttles=calls.throttles)


def _counts_of(settled: store.Settled | None) -> store.Counts:
    if settled is None:
        return store.Counts()
    return store.Counts(
        jobs_new=settled.new,
        jobs_changed=settled.changed,
        transitions=settled.transitions,
        jobs_unchanged=settled.unchanged,
        jobs_stale=settled.stale,
    )
