"""One run: a membership's pages read, its batches settled, the conclusions drawn that a whole listing allows."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import NamedTuple, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from etl import absence, ahead, database, jobs, leases, rollups, source, store, timetable
from etl.config import Config, Membership
from etl.writer import Writer

BATCH_ITEMS = 5_000
"""Items settled in one transaction: what is held in memory of a listing of any length."""

PAGES_AHEAD = 50
"""Pages read while a batch is settled: about one more batch."""

_PATIENCE = 0.25  # seconds until who waits for AWS looks up: is it to stop, is its lease to be renewed?
_AHEAD = timedelta(days=1)  # a time further in the future is absurd
_ITEM_SHOWN = 300  # bytes of a malformed item that its record shows
_BELIEVED_AT_ONCE = 10_000  # older states kept until the listing is complete; the next run believes the rest
_REGULAR = {"RejectedItems"}  # the listing was whole: to repeat it sooner, or later, would help nobody

T = TypeVar("T")


class StoppedError(Exception):
    """Raised by a watcher to end a sync at the next page; what was read is kept."""


class Progress(NamedTuple):
    """How far the sync of a membership has come."""

    membership_id: str
    jobs_listed: int
    expected_jobs: int
    """Jobs of the last complete listing, 0 if there was none."""


Watcher = Callable[[Progress], None]


@dataclass
class _Batch:
    """Items read and not yet settled."""

    items: list[bytes] = field(default_factory=list)
    pages: int = 0


StagedJobs = dict[str, store.Staged]
"""Jobs to be settled, by ARN."""


class Syncing:
    """The state of one run: what it has read and done so far."""

    def __init__(
        self, config: Config, membership: Membership, connection: Connection, run: leases.Run, watch: Watcher
    ) -> None:
        self.counts = store.Counts()
        self.overruns = 0
        self._ending = store.Ending("running")
        self._membership = membership
        self._schedule = config.schedule_of(membership)
        self._grace = config.sync.absence_grace
        self._deadline = config.sync.deadline.total_seconds()
        self._listing = source.Listing(config.aws, membership)
        self._scope = store.Scope(membership.trained_model_arn, membership.trained_model_version_identifier)
        self._connection = connection
        self._run = run
        self._writer = Writer(connection, run, self._look_up)
        self._watch = watch
        self._listed = 0
        self._latest_time = run.started_at + _AHEAD
        # Keys of the jobs shown, as 8-byte integers: no row is touched to say that it was seen.
        self._shown = array("q")
        self._stale = array("q")
        self._believable: dict[int, store.Staged] = {}

    def perform(self) -> store.Ending:
        """Read, settle and finish; the run's record is closed whatever happens."""
        try:
            for batch in self._batches():
                self._settle(batch)
            self._count_up()
            if self.counts.jobs_rejected:
                return self._close("partial", "RejectedItems", self.counts.rejections[0]["reason"])
            self._finish()
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

    def _batches(self) -> Iterator[_Batch]:
        """Yield what is listed, in batches; the last one also where the listing breaks off."""
        batch = _Batch()
        broken_off: Exception | None = None
        try:
            for page in self._awaited(self._listing.pages(), PAGES_AHEAD):
                if page is not None:
                    batch.items += page
                    batch.pages += 1
                    self._listed += len(page)
                if len(batch.items) >= BATCH_ITEMS or self._writer.is_due:
                    yield batch
                    batch = _Batch()
        except (source.SourceError, StoppedError) as error:
            broken_off = error
        yield batch
        if broken_off:
            raise broken_off

    def _look_up(self) -> None:
        self._watch(Progress(self._membership.id, self._listed, self._run.expected_jobs))

    def _awaited(self, answers: Iterable[T], depth: int) -> Iterator[T | None]:
        """Yield AWS's answers, None now and then while it gives none; looks meanwhile whether to go on.

        Raises `StoppedError`, and `source.SourceError` where AWS is silent for longer than the deadline.
        """
        waited = 0.0
        with closing(ahead.read(answers, depth=depth, patience=_PATIENCE)) as arriving:
            for answer in arriving:
                self._look_up()
                waited = waited + _PATIENCE if answer is None else 0
                if waited > self._deadline:
                    raise source.SourceError("NoProgress", f"AWS gave no answer within {self._deadline:.0f} s")
                yield answer

    def _settle(self, batch: _Batch) -> None:
        """Store what a batch tells that is not yet known."""
        digests = [jobs.digest(item) for item in batch.items]
        keys = self._writer.read(lambda connection: store.known_keys(connection, self._run, digests))
        items = zip(batch.items, digests, count(1), keys, strict=False)
        unknown = [(item, digest, place) for item, digest, place, key in items if key is None]
        self._shown.extend(key for key in keys if key is not None)
        decoded, read = self._decode(unknown)
        read.pages = batch.pages
        read.jobs_listed = len(batch.items)
        read.jobs_unchanged = len(batch.items) - len(decoded) - read.jobs_rejected
        if decoded or self._writer.is_due:
            self._store(decoded, keys, read)
        else:
            self.counts += read

    def _decode(self, unknown: Iterable[tuple[bytes, str, int]]) -> tuple[StagedJobs, store.Counts]:
        """Decode items, set the malformed aside, and keep the newest of each job, of equals the later."""
        decoded: StagedJobs = {}
        counts = store.Counts()
        for item, digest, place in unknown:
            try:
                job, replaced = jobs.decode(item, self._membership.id, self._latest_time)
            except jobs.BadItemError as error:
                self._set_aside(item, error, counts)
                continue
            counts.replaced_characters += replaced
            if job.status not in jobs.KNOWN_STATUSES:
                self._count_unknown(job.status, counts)
            earlier = decoded.get(job.job_arn)
            if earlier is None or job.update_time >= earlier.job.update_time:
                decoded[job.job_arn] = store.Staged(job, digest, place)
        return decoded, counts

    def _count_unknown(self, status: str, counts: store.Counts) -> None:
        told = self.counts.unknown_statuses.keys() | counts.unknown_statuses.keys()
        if status in told or len(told) < store.STATUSES_KEPT:
            counts.unknown_statuses[status] += 1

    def _set_aside(self, item: bytes, error: jobs.BadItemError, counts: store.Counts) -> None:
        counts.jobs_rejected += 1
        if len(self.counts.rejections) + len(counts.rejections) < store.REJECTIONS_KEPT:
            shown = item[:_ITEM_SHOWN].decode(errors="replace")
            counts.rejections.append({"reason": jobs.storable(str(error)), "item": jobs.storable(shown)})

    def _store(self, decoded: StagedJobs, known: Sequence[int | None], read: store.Counts) -> None:
        def work(connection: Connection) -> tuple[store.Settled | None, store.Counts]:
            settled = store.settle(connection, self._run, decoded, known=known) if decoded else None
            counts = self._with_calls(self.counts + read + _counts_of(settled))
            store.record_counts(connection, self._run, counts)
            return settled, counts

        def accept(stored: tuple[store.Settled | None, store.Counts]) -> None:
            settled, self.counts = stored
            if settled:
                self._shown.extend(settled.shown_keys or ())
                self._stale.extend(settled.stale_keys or ())
                for key, arn in settled.believable or ():
                    self._keep_believable(key, decoded[arn])

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
            store.record_listing(connection, self._run, self._scope)
            rollups.count_up(connection, self._run.membership_key)  # what was just concluded
            # Those believed were counted as stale when they were read.
            concluded = store.Counts(jobs_stale=-len(believed), jobs_absent=len(gone), transitions=len(gone))
            counts = self._with_calls(self.counts + _counts_of(settled) + concluded)
            self._end(connection, counts, store.Ending("complete"))
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
            lambda connection: store.missing_jobs(connection, self._run, self._shown + self._stale, self._grace)
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
        try:
            for answer in self._awaited(self._answers(suspects), 1):
                if self._writer.is_due:
                    self._writer.write(lambda _: None)
                if answer is not None:
                    yield answer
        except source.SourceError:
            return

    def _answers(self, suspects: Iterable[absence.Missing]) -> Iterator[tuple[absence.Missing, bool | None]]:
        is_permitted = True
        for suspect in suspects:
            exists = self._listing.exists(suspect.job_arn) if is_permitted else None
            is_permitted = exists is not None
            yield suspect, exists

    def _close(self, outcome: str, error_class: str, error: str) -> store.Ending:
        """Close the record; a run that proves to be complete after all, its last COMMIT unanswered, stays so."""
        ending = store.Ending(outcome, error_class, error)

        def work(connection: Connection) -> None:
            if self._ending.outcome == "running":
                self._end(connection, self._with_calls(self.counts), ending)

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

    def _end(self, connection: Connection, counts: store.Counts, ending: store.Ending) -> None:
        following = self._following(connection, ending)
        store.record_counts(connection, self._run, counts)
        store.end(connection, self._run, ending, self.overruns)
        leases.release(connection, self._run, following)

    def _following(self, connection: Connection, ending: store.Ending) -> leases.Following | None:
        """Return when the membership is due next: by its schedule, or for another try; None: as it was."""
        if ending.error_class == "Stopped":
            return None
        now = leases.now(connection)
        regular = timetable.next_due(self._schedule, self._membership.id, self._run.started_at, now)
        self.overruns = regular.overruns
        if ending.error_class is None or ending.error_class in _REGULAR:
            return leases.Following(regular.at, 0)
        failures = self._run.failures + 1
        return leases.Following(timetable.retry(ending.error_class, failures, self._membership.id, now), failures)

    def _with_calls(self, counts: store.Counts) -> store.Counts:
        calls = self._listing.calls
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
