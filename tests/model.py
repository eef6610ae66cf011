"""What must be stored after any sequence of listings: section 4 of the design once more, in plain Python.

It shares nothing with the product. It knows neither bytes nor digests nor batches of SQL: a listing is a sequence
of what was read of jobs, and each is compared with what is stored, one after the other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

NOT_LISTED = "NOT_LISTED"
EARLIEST = datetime.min.replace(tzinfo=UTC)
TICK = timedelta(microseconds=1)
"""The least step of time that Postgres tells apart."""

AHEAD = timedelta(seconds=5)
"""An updateTime may be that far ahead of our clock: clocks differ."""

STALE_RUNS_BELIEVED = 3
LISTINGS_IF_CONFIRMED = 2
LISTINGS_IF_NOT_PERMITTED = 4
LISTINGS_IF_MANY = 5


@dataclass(frozen=True)
class Version:
    """What one item says of a job."""

    arn: str
    status: str
    update_time: datetime
    fields: dict[str, Any]
    """Every other column that AWS fills."""


@dataclass(frozen=True)
class Transition:
    changed_time: datetime
    from_status: str | None
    from_time: datetime | None
    to_status: str
    not_before: datetime
    observed_at: datetime
    time_basis: str
    seen_at: datetime | None = None
    """The model's own: not_before may be as late as this: a run then began that saw from_status."""


@dataclass(frozen=True)
class Edit:
    observed_at: datetime
    update_time: datetime
    changes: dict[str, list[Any]]


@dataclass(frozen=True)
class Record:
    """All that is stored of one job."""

    version: Version
    history: tuple[Transition, ...]
    seen_at: datetime
    """Start of the last run, complete or not, that surely saw the job in its present status or the one before."""
    held_at: datetime | None = None
    """Start of the last complete listing, if that held the job in its present status: where it is gone, of the one
    after which AWS said so."""
    edits: tuple[Edit, ...] = ()
    stale_runs: int = 0
    was_missed: bool = False
    """Whether the last complete listing that could show it did not: its next sight is news, were it the same."""
    absent_listings: int = 0
    absent_since: datetime | None = None

    @property
    def status(self) -> str:
        return self.history[-1].to_status

    @property
    def moments(self) -> set[datetime]:
        """When something of it was recorded."""
        return {moved.observed_at for moved in self.history} | {edit.observed_at for edit in self.edits}

    @property
    def status_since(self) -> datetime:
        return self.history[-1].changed_time


@dataclass(frozen=True)
class Listing:
    """What one run read of a membership."""

    started_at: datetime
    batches: Sequence[Sequence[Version | None]]
    """The items as they were read, by transaction; None: one that was malformed."""
    is_unbroken: bool = True
    filters: Mapping[str, str] = field(default_factory=dict)
    """What the fields of jobs must be for it to show them."""
    exists: Callable[[str], bool | None] = lambda _: True
    """AWS's answer about a single job: None: we may not ask. Raises LookupError where it gives none."""

    def could_show(self, version: Version) -> bool:
        return all(version.fields[name] == value for name, value in self.filters.items())

    @property
    def is_complete(self) -> bool:
        return self.is_unbroken and all(item is not None for batch in self.batches for item in batch)


@dataclass
class Tally:
    """What a run must have counted."""

    listed: int = 0
    new: int = 0
    changed: int = 0
    transitions: int = 0
    rejected: int = 0
    absent: int = 0


@dataclass
class Model:
    """What must be stored of one membership."""

    absence_grace: timedelta = timedelta(0)
    records: dict[str, Record] = field(default_factory=dict)
    runs: list[datetime] = field(default_factory=list)
    """When each began."""

    def sync(self, listing: Listing, moments: Iterable[datetime]) -> Tally:
        """Take in a listing. `moments` are the database's times of the transactions that recorded something."""
        run = _Run(self, listing, iter(moments))
        for batch in listing.batches:
            run.settle(batch)
        if listing.is_complete:
            run.finish()
        return run.tally


class _Run:
    def __init__(self, model: Model, listing: Listing, moments: Iterator[datetime]) -> None:
        self.records = model.records
        self.runs = model.runs
        self.runs.append(listing.started_at)
        self.grace = model.absence_grace
        self.listing = listing
        self.tally = Tally()
        self._moments = moments
        self._now: datetime | None = None
        self._shown: set[str] = set()
        self._shown_older: dict[str, Version] = {}

    @property
    def now(self) -> datetime:
        """The time of the present transaction, which only one that records something tells."""
        if self._now is None:
            self._now = next(self._moments, self.listing.started_at)
        return self._now

    def settle(self, batch: Sequence[Version | None]) -> None:
        self._now = None
        items = [item for item in batch if item is not None]
        self.tally.listed += len(batch)
        self.tally.rejected += len(batch) - len(items)
        newest: dict[str, Version] = {}
        for item in items:  # of equals the later read
            if item.arn not in newest or item.update_time >= newest[item.arn].update_time:
                newest[item.arn] = item
        for item in newest.values():
            self._settle(item)

    def _settle(self, item: Version) -> None:
        stored = self.records.get(item.arn)
        if stored is None:
            self.records[item.arn] = self._first_sight(item)
            self._shown.add(item.arn)
            return
        if item.update_time < stored.version.update_time:
            earlier = self._shown_older.get(item.arn)
            if earlier is None or item.update_time >= earlier.update_time:
                self._shown_older[item.arn] = item
            return
        self._shown.add(item.arn)
        self._believe(item)

    def _first_sight(self, item: Version) -> Record:
        self.tally.new += 1
        self.tally.transitions += 1
        created = item.fields["create_time"]
        moment = self.now if item.update_time > self.now + AHEAD else max(item.update_time, min(created, self.now))
        basis = "update_time" if moment == item.update_time else "clamped"
        first = Transition(moment, None, None, item.status, min(created, moment), self.now, basis)
        return Record(item, (first,), seen_at=self.listing.started_at)

    def _believe(self, item: Version) -> None:
        """Make an item the stored state of its job."""
        stored = self.records[item.arn]
        changes = {
            name: [value, item.fields[name]]
            for name, value in stored.version.fields.items()
            if value != item.fields[name]
        }
        has_moved = item.status != stored.status
        seen = replace(
            stored,
            version=item,
            was_missed=False,
            absent_listings=0,
            absent_since=None,
            seen_at=self.listing.started_at,
        )
        self.records[item.arn] = seen
        if not has_moved and item == stored.version and not stored.was_missed:
            return
        self.tally.changed += 1
        edits, history, held_at = stored.edits, stored.history, stored.held_at
        if changes:
            edits = (*edits, Edit(self.now, item.update_time, changes))
        if has_moved:
            self.tally.transitions += 1
            history = (*history, self._change(stored, item))
            held_at = None
        self.records[item.arn] = replace(seen, history=history, edits=edits, held_at=held_at, stale_runs=0)

    def _change(self, stored: Record, item: Version) -> Transition:
        earliest = stored.status_since + TICK
        # No time of AWS tells when a job was listed again.
        if stored.status == NOT_LISTED or item.update_time <= stored.version.update_time:
            moment, basis = max(self.now, earliest), "observed"
        elif item.update_time > self.now + AHEAD:
            moment, basis = max(self.now, earliest), "clamped"
        elif item.update_time < earliest:
            moment, basis = earliest, "clamped"
        else:
            moment, basis = item.update_time, "update_time"
        # Who claims to have seen the old status after the updateTime of the new one was itself out of date.
        latest = item.update_time if moment == earliest and basis == "clamped" else moment
        # Where AWS's time did not go on, the one before may have lain ahead.
        before = stored.version.update_time
        told = before if item.update_time > before else EARLIEST
        return self._transition(stored, item.status, moment, basis, min(moment, latest), told)

    def _transition(
        self, stored: Record, status: str, moment: datetime, basis: str, latest: datetime, told: datetime
    ) -> Transition:
        witnesses = [told, *filter(None, [stored.held_at])]
        created = min(stored.version.fields["create_time"], moment)
        not_before = max([created, *(seen for seen in witnesses if seen <= latest)])
        known_until = min(latest, stored.seen_at)
        sights = [started_at for started_at in self.runs if started_at <= known_until]
        return Transition(
            changed_time=moment,
            from_status=stored.status,
            from_time=stored.status_since,
            to_status=status,
            not_before=not_before,
            observed_at=self.now,
            time_basis=basis,
            seen_at=max([not_before, *sights]),
        )

    def finish(self) -> None:
        """Draw the conclusions that only a complete listing allows."""
        self._now = None
        started_at = self.listing.started_at
        for arn, stored in self.records.items():
            if arn in self._shown:
                self.records[arn] = replace(stored, stale_runs=0, held_at=started_at)
            elif arn in self._shown_older:
                self._finish_stale(stored, self._shown_older[arn])
            else:
                is_missed = stored.status != NOT_LISTED and self.listing.could_show(stored.version)
                was_missed = stored.was_missed or is_missed
                held_at = stored.held_at if stored.status == NOT_LISTED else None
                self.records[arn] = replace(stored, stale_runs=0, held_at=held_at, was_missed=was_missed)
        if not self.listing.filters:
            self._finish_absence()

    def _finish_stale(self, stored: Record, shown: Version) -> None:
        stale_runs = stored.stale_runs + 1
        stored = replace(stored, stale_runs=stale_runs, absent_listings=0, absent_since=None, held_at=None)
        self.records[shown.arn] = stored
        if stale_runs == STALE_RUNS_BELIEVED:
            self._believe(shown)
            self.records[shown.arn] = replace(self.records[shown.arn], held_at=self.listing.started_at)

    def _finish_absence(self) -> None:
        tracked = [arn for arn, stored in self.records.items() if stored.status != NOT_LISTED]
        missing = [arn for arn in tracked if arn not in self._shown and arn not in self._shown_older]
        are_many = len(missing) > 10 and len(missing) > 0.2 * len(tracked)
        for arn in missing:
            stored = self.records[arn]
            self.records[arn] = replace(
                stored,
                was_missed=True,
                absent_listings=stored.absent_listings + 1,
                absent_since=stored.absent_since or self.now,
            )
        for arn in missing:
            self._conclude(self.records[arn], LISTINGS_IF_MANY if are_many else LISTINGS_IF_CONFIRMED)

    def _conclude(self, stored: Record, needed: int) -> None:
        assert stored.absent_since is not None
        if stored.absent_listings < needed or self.listing.started_at - stored.absent_since < self.grace:
            return
        try:
            exists = self.listing.exists(stored.version.arn)
        except LookupError:
            return
        if exists:  # and still is not listed: the count begins anew, at this listing
            self.records[stored.version.arn] = replace(stored, absent_listings=1)
        elif exists is False or stored.absent_listings >= LISTINGS_IF_NOT_PERMITTED:
            # The listings before may only have skipped it.
            moment = max(self.now, stored.status_since + TICK)
            gone = self._transition(stored, NOT_LISTED, moment, "observed", moment, EARLIEST)
            gone_job = replace(stored, history=(*stored.history, gone), held_at=None)
            # After so few it is AWS that says so, which it did after this listing began.
            if stored.absent_listings < LISTINGS_IF_NOT_PERMITTED:
                gone_job = replace(gone_job, held_at=self.listing.started_at, seen_at=self.listing.started_at)
            self.records[stored.version.arn] = gone_job
            self.tally.absent += 1
            self.tally.transitions += 1
