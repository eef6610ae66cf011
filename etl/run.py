"""One run: its listing read and settled, and the conclusions drawn that this allows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from etl import absence, database, known, leases, plan, quick, rollups, source, staging, store, timetable
from etl.config import Config, Membership
from etl.glance import Glance
from etl.order import OrderedPage
from etl.reading import Reading
from etl.scope import Scope
from etl.settling import Settling
from etl.staging import StagedJobs
from etl.writer import Writer

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
        self.kind = "full"
        self.overruns = 0
        self._ending = store.Ending("running")
        self._membership = membership
        self._schedule = config.schedule_of(membership)
        self._sync = config.sync
        self._page_size = config.aws.page_size
        self._full = full
        self._is_split = False
        self._connection = connection
        self._run = run
        self._watch = watch
        self._writer = Writer(connection, run, self._look_up)
        self._settling = Settling(membership.id, run, self._writer, self._with_calls)
        self._reading = Reading(config.aws, membership, config.sync.deadline, self._go_on)
        self._glance = Glance(run, membership.scope, self._page_size, self._reading, self._settling, self._writer)

    @property
    def counts(self) -> store.Counts:
        """What the run has read and done so far."""
        return self._settling.counts

    def perform(self) -> store.Ending:
        """Read, settle and finish; the run's record is closed whatever happens."""
        try:
            changed = self._glance.look() if self._may_be_quick() else None
            if changed is not None:
                self._finish_quick(changed)
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

    def _may_be_quick(self) -> bool:
        return not self._full and quick.may_do(
            self._run, self._membership.scope, self._sync.full_every, self._page_size
        )

    def _broken_off(self) -> str:
        """Return the outcome of a listing that ended early: what was read before is kept."""
        return "partial" if self.counts.pages else "failed"

    def _look_up(self) -> None:
        self._watch(Progress(self._membership.id, self._settling.listed, self._run.expected_jobs))

    def _go_on(self) -> None:
        """Look whether to go on reading, and keep the lease meanwhile."""
        self._look_up()
        if self._writer.is_due:
            self._writer.write(lambda _: None)

    def _finish_quick(self, changed: StagedJobs) -> None:
        """Close a quick sweep, which concludes nothing of the jobs that it did not see."""
        self.kind = "quick"
        rows = staging.rows(changed.values())

        def work(connection: Connection) -> store.Counts:
            settled = store.settle(connection, self._run, rows) if rows else None
            store.record_open_seen(connection, self._run)
            rollups.count_up(connection, self._run.membership_key)
            counts = self._with_calls(self.counts + (settled.counts() if settled else store.Counts()))
            self._end(connection, counts, store.Ending("complete"), full_due=False, may_be_quick=True)
            return counts

        self._writer.write(work, self._complete)

    def _list(self) -> bool:
        """Read and settle a full listing, or what is left of it; return whether all of its items could be read."""
        try:
            self._settling.settle(self._pages())
            is_enough = not self._is_split or not self._missing()[0]
        except source.SourceError as error:  # of a part, perhaps: its model may not be there any more
            if not self._is_split or error.code == source.NO_PROGRESS:
                raise
            is_enough = False
        if not is_enough:
            self._is_split = False
            self._settling.settle(self._reading.from_the_start())
        self._count_up()
        return not self.counts.jobs_rejected

    def _missing(self) -> tuple[list[absence.Missing], int]:
        """Return the jobs that were not shown, and how many are tracked; 0 in a first listing."""
        if self._settling.is_first:  # what is stored this run has read: to look would take 0.1 s of 100,000 jobs
            return [], 0
        shown, stale, grace = self._settling.shown, self._settling.stale, self._sync.absence_grace
        return self._writer.read(lambda connection: store.missing_jobs(connection, self._run, shown, stale, grace))

    def _pages(self) -> Iterator[OrderedPage]:
        """Yield the pages of a full listing: split by model and side by side, where that is faster."""
        if not self.counts.pages:  # else a glance has read the first ones
            for page in self._reading.one_by_one():
                yield page
                break
        parts = self._parts()
        self._is_split = bool(parts)
        if parts:
            self._settling.may_come_again = True  # what the first page has shown
        yield from self._reading.side_by_side(parts) if parts else self._reading.rest()

    def _parts(self) -> list[Scope]:
        """Return the listings that a full one is split into, or none if it is to be read whole."""
        wait = self._reading.wait
        if not (self._may_be_split() and self._reading.has_more and plan.is_worth_it(wait)):
            return []
        shares = self._writer.read(lambda connection: known.shares(connection, self._run))
        try:
            parts = plan.parts(self._reading.models(), shares, wait.at_once, self._versions)
        except source.SourceError:  # most likely not permitted: without the models there is nothing to split by
            return []
        return parts if plan.are_worth_it(parts, self._run.expected_jobs // self._page_size) else []

    def _versions(self, model_arn: str) -> list[str]:
        try:
            return self._reading.versions(model_arn)
        except source.SourceError:  # as above
            return []

    def _may_be_split(self) -> bool:
        """Tell whether a split listing will do, as far as the runs before tell.

        Only a whole one shows what is missing, and the jobs of models that nobody names. A first listing may be
        split: the next one, which is not, proves it.
        """
        before, full_every = self._run.listed, self._sync.full_every
        if not self._membership.scope.is_whole or not full_every:
            return False
        if before.at is None:
            return True
        is_recent = self._run.began_within(full_every, before.unsplit_at)
        return is_recent and not before.full_due and not before.in_vain

    def _count_up(self) -> None:
        """Count what the batches have changed, in a transaction of its own: of a first sync it takes seconds.

        A run that was broken off leaves it to the next one that is not; the views count by themselves meanwhile.
        A run with malformed items never finishes, so it counts here what earlier runs left uncounted.
        """
        if self.counts.jobs_new or self.counts.jobs_changed or self.counts.jobs_rejected:
            self._writer.write(lambda connection: rollups.count_up(connection, self._run.membership_key))

    def _finish(self) -> None:
        """Draw the conclusions that only a complete listing allows, and close the run: all or nothing."""
        missing, gone, alive = self._absence()
        stale, believed = self._settling.only_stale(), self._settling.believed()
        scope = self._membership.scope
        full_due = bool(missing or stale)
        rows = staging.rows(believed.values())

        def work(connection: Connection) -> store.Counts:
            store.record_absence(connection, self._run, missing, gone, alive)
            if not scope.is_whole:
                shown = self._settling.shown + self._settling.stale
                store.record_unshown(connection, self._run, shown, scope)
            store.record_stale(connection, self._run, stale)
            settled = store.settle(connection, self._run, rows, believe=True) if rows else None
            unseen = known.open_keys(connection, self._run, scope).difference(self._settling.shown)
            showed = store.Showed(self._reading.is_newest_first, self._is_split, all_open=not unseen)
            store.record_listing(connection, self._run, scope, showed)
            rollups.count_up(connection, self._run.membership_key)  # what was just concluded
            # Those believed were counted as stale when they were read.
            concluded = store.Counts(jobs_stale=-len(believed), jobs_absent=len(gone), transitions=len(gone))
            counts = self._with_calls(self.counts + concluded + (settled.counts() if settled else store.Counts()))
            is_ordered = showed.newest_first and not full_due
            is_short = quick.is_short(self.counts.jobs_listed, self._page_size)
            ending = store.Ending("complete")
            self._end(connection, counts, ending, full_due=full_due, may_be_quick=is_ordered or is_short)
            return counts

        self._writer.write(work, self._complete)

    def _complete(self, counts: store.Counts) -> None:
        self._settling.counts = counts
        self._ending = store.Ending("complete")

    def _absence(self) -> tuple[list[int], list[int], list[int]]:
        """Return the keys of the jobs missing, of the ones gone among them, and of those that AWS still knows."""
        if not self._membership.scope.is_whole:
            return [], [], []
        missing, tracked = self._missing()
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
            yield from self._reading.of_single_jobs(answers)
        except source.SourceError:
            return

    def _close(self, outcome: str, error_class: str, error: str) -> store.Ending:
        """Close the record; a run that proves to be complete after all, its last COMMIT unanswered, stays so."""
        ending = store.Ending(outcome, error_class, error)

        def work(connection: Connection) -> None:
            if self._ending.outcome == "running":
                # New jobs are stored, and what stands behind them was not read: a glance would stop at them.
                full_due = (
                    self._run.listed.full_due or bool(self.counts.jobs_new) or not self._glance.is_in_order()
                )
                self._end(connection, self._with_calls(self.counts), ending, full_due=full_due, may_be_quick=False)

        def accept(_: None) -> None:
            if self._ending.outcome == "running":
                self._ending = ending

        try:
            self._writer.write(work, accept)
        except leases.FencedError as fenced:
            return self._close_fenced(str(fenced))
        self._settling.counts = self._with_calls(self.counts)
        return self._ending

    def _close_fenced(self, error: str) -> store.Ending:
        """Close the record without the lease, which is another run's by now, or was lost with what it stored."""
        ending = store.Ending("fenced", "Fenced", error)
        with self._connection.begin():
            store.end(self._connection, self._run, ending)
            leases.ask_for_full(self._connection, self._run)
        return ending

    def _end(
        self,
        connection: Connection,
        counts: store.Counts,
        ending: store.Ending,
        *,
        full_due: bool,
        may_be_quick: bool,
    ) -> None:
        following = self._following(connection, ending, may_be_quick=may_be_quick)
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

    def _following(
        self, connection: Connection, ending: store.Ending, *, may_be_quick: bool
    ) -> leases.Following | None:
        """Return when the membership is due next: by its schedule, or for another try; None: as it was."""
        if ending.error_class == "Stopped":
            return None
        now = leases.now(connection)
        # A full listing each minute would ask for more than an account is given.
        polls_open = may_be_quick and self._schedule.every_open is not None
        has_open = polls_open and bool(known.open_keys(connection, self._run, self._membership.scope))
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
