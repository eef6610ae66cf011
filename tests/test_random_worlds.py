"""Random worlds, listed in every wrong way: after each sync what is stored is what section 4 of the design says.

The product runs whole but for the wire: a script stands where AWS's listing would. What must be stored says
`model.Model`, and what was true says the world.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby, pairwise, zip_longest
from typing import Any, ClassVar, NamedTuple
from unittest.mock import patch
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from model import NOT_LISTED, Listing, Model, Record, Tally, Transition, Version
from sqlalchemy import Connection, text
from stored import COLUMNS, WIRE_NAMES, Snapshot, Stored, snapshot

from etl import batches, database, loading, source, sweep, sync, verify
from etl.calls import Calls
from etl.config import Aws, Config, Membership

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

STATUSES = (
    "CREATE_PENDING",
    "CREATE_IN_PROGRESS",
    "ACTIVE",
    "CREATE_FAILED",
    "INACTIVE",
    "WAITING_FOR_GPU",  # which nobody knows
)
MODELS = tuple(f"arn:aws:cleanrooms-ml:us-east-1:111122223333:trained-model/{name}" for name in ("a", "b"))
VERSIONS = ("3f2a1c9e-5b7d-4e8a-9c1f-0a1b2c3d4e5f", "7c1b0d2e-8f3a-4b6c-9d5e-1f2a3b4c5d6e")

EDITS: dict[str, tuple[Any, ...]] = {
    "name": ("scores", "other scores", ""),
    "description": (None, "", "for the spring"),
    "trained_model_version_identifier": (None, *VERSIONS),
    "payer_account_id": (None, "444455556666"),
    "metrics_status": (None, "PUBLISH_SUCCEEDED", "PUBLISH_FAILED"),
    "metrics_status_details": (None, "no bucket"),
    "logs_status": (None, "PUBLISH_FAILED"),
    "logs_status_details": (None, "no log group"),
    "output_accept": (None, "text/csv"),
    "output_account_ids": (["111122223333"], [], ["111122223333", "444455556666"]),
    "extra": ({}, {"newField": [1, None]}, {"newField": "text"}),
}
"""The fields that change in a job's life, the value of its birth first."""

BIRTH_FIELDS = {
    **dict.fromkeys(COLUMNS),
    **{name: values[0] for name, values in EDITS.items()},
    "collaboration_id": "c",
}

NOT_JOBS = (
    b"null",
    b"[]",
    b'{"status": "ACTIVE"}',
    b'{"trainedModelInferenceJobArn": "arn:aws:cleanrooms-ml:us-east-1:111122223333:trained-model/0"}',
)


@dataclass(eq=False)
class Job:
    """A job of the simulated world: all that it ever was, and what the next listing shows of it."""

    home: int
    """Number of its membership."""
    versions: list[Version]
    truth: list[tuple[str, datetime]]
    """What it really was, NOT_LISTED included, and since when."""
    returns: list[datetime] = field(default_factory=list)
    """When it was listed again."""
    style: int = 0
    """How its item is written: other bytes of the same meaning."""
    lag: int = 0
    """How many versions behind the truth a replica shows it."""
    is_removed: bool = False
    is_hidden: bool = False
    """It exists, but the listing leaves it out."""
    is_honest: bool = True
    """Whether all that was shown of it was true when it was shown, updateTime included."""
    was_hidden: bool = False
    statuses_shown: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return self.arn.rpartition("/")[2]

    @property
    def arn(self) -> str:
        return self.newest.arn

    @property
    def newest(self) -> Version:
        return self.versions[-1]

    @property
    def shown(self) -> Version:
        return self.versions[max(0, len(self.versions) - 1 - self.lag)]

    def become(self, *, status: str | None = None, update_time: datetime, **fields: Any) -> None:
        """Have a new version; honest ones are of this moment."""
        self.is_honest &= not self.is_removed  # nobody can tell such a change from its being listed again
        old = self.newest
        status = status or old.status
        self.versions.append(replace(old, status=status, update_time=update_time, fields=old.fields | fields))
        if status != old.status:
            self.truth.append((status, update_time))


def wire(version: Version, membership_id: str, style: int = 0) -> bytes:
    """Write the item of a version. The styles differ in bytes only."""

    def written(moment: datetime) -> str | float:
        return moment.timestamp() if style == 2 else moment.isoformat()

    fields = version.fields
    item: dict[str, Any] = {
        "trainedModelInferenceJobArn": version.arn,
        "membershipIdentifier": membership_id,
        "status": version.status,
        "createTime": written(fields["create_time"]),
        "updateTime": written(version.update_time),
        "outputConfiguration": {
            "accept": fields["output_accept"],
            "members": [{"accountId": account} for account in fields["output_account_ids"]],
        },
        **{name: fields[column] for column, name in WIRE_NAMES.items() if fields[column] is not None or style},
        **fields["extra"],
    }
    return json.dumps(dict(reversed(item.items())) if style % 2 else item).encode()


Item = tuple[bytes, Version | None]
"""An item of a listing with what it says; None: it is malformed."""


def paged(items: list[Item], size: int) -> list[list[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)] or [[]]


@dataclass
class Answer:
    """What AWS answers to one sync of a membership, and how the product is to divide it."""

    pages: list[list[Item]]
    is_unbroken: bool = True
    exists: Callable[[str], bool | None] = lambda _: True
    batch_items: int = batches.ITEMS

    def batches(self) -> Iterator[list[Version | None]]:
        """Divide the listing into transactions: whole pages, until their items are enough."""
        batch: list[Version | None] = []
        for page in self.pages:
            batch += [version for _, version in page]
            if len(batch) >= self.batch_items:
                yield batch
                batch = []
        yield batch

    def read(self) -> list[Version]:
        return [version for page in self.pages for _, version in page if version]


@dataclass
class ScriptedListing:
    """Stands where `source.Listing` would."""

    answers: ClassVar[dict[str, Answer]] = {}
    aws: Aws
    membership: Membership
    calls: Calls = field(default_factory=Calls)
    has_more: bool = False

    def pages(self) -> Iterator[list[bytes]]:
        answer = self.answers[self.membership.id]
        yield from ([item for item, _ in page] for page in answer.pages)
        if not answer.is_unbroken:
            raise source.SourceError("ThrottlingException", "Rate exceeded")

    def exists(self, job_arn: str) -> bool | None:
        try:
            return self.answers[self.membership.id].exists(job_arn)
        except LookupError:
            raise source.SourceError("InternalServerException", "no answer") from None


@pytest.fixture(autouse=True)
def _scripted_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "Listing", ScriptedListing)


_INTERVALS = """
    SELECT membership_id, job_arn, status, valid_from, valid_to, is_current, previous_status, next_status,
        not_before, observed_at, time_basis, is_first_sight
    FROM cleanrooms.status_history WHERE membership_id = ANY (:memberships)
    ORDER BY membership_id, job_arn COLLATE "C", valid_from
"""


def differences(stored: Mapping[str, Stored], wanted: Mapping[str, Record]) -> list[str]:
    """Name what is stored otherwise than it should be: whole records would hide it."""
    found = [f"{arn}: stored or wanted only" for arn in stored.keys() ^ wanted.keys()]
    for arn in stored.keys() & wanted.keys():
        record = stored[arn].record
        is_, should = _leaves(asdict(record)), _leaves(asdict(_agreed(wanted[arn], record)))
        found += [
            f"{arn.rpartition('/')[2]} {name}: is {is_.get(name)}, should be {should.get(name)}"
            for name in sorted(is_.keys() | should.keys())
            if is_.get(name) != should.get(name)
        ]
    return found


def _agreed(wanted: Record, stored: Record) -> Record:
    """Leave out of the model's record what the database has no column for; a window may be narrower than asked."""

    def agreed(moved: Transition, is_: Transition | None) -> Transition:
        if is_ and moved.seen_at and moved.not_before <= is_.not_before <= moved.seen_at:
            moved = replace(moved, not_before=is_.not_before)
        return replace(moved, seen_at=None)

    history = tuple(agreed(moved, is_) for moved, is_ in zip_longest(wanted.history, stored.history) if moved)
    version = replace(wanted.version, status=wanted.status)
    return replace(
        wanted, version=version, history=history, held_at=None, seen_at=stored.seen_at, was_missed=False
    )


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        parts = [_leaves(part, f"{name}.{key}") for key, part in value.items()]
    elif isinstance(value, list | tuple) and value:
        parts = [_leaves(part, f"{name}[{place}]") for place, part in enumerate(value)]
    else:
        return {name: value.isoformat() if isinstance(value, datetime) else value}
    return {leaf: found for part in parts for leaf, found in part.items()}


class Syncer:
    """Memberships of their own in a database, synced by scripts, each with the model that follows."""

    def __init__(self, connection: Connection, database_url: str, memberships: int) -> None:
        self.connection = connection
        self.ids = [str(uuid4()) for _ in range(memberships)]
        self.models = [Model() for _ in self.ids]
        self.filters: list[dict[str, str]] = [{} for _ in self.ids]
        self.stored = snapshot(connection, self.ids)
        self._database_url = database_url
        sweep.register(self._config())

    def _config(self) -> Config:
        listed = [
            {"id": id_, "region": "us-east-1"} | each for id_, each in zip(self.ids, self.filters, strict=True)
        ]
        sections = {"database": {"url": self._database_url}, "sync": {"absence_grace": "0s"}, "membership": listed}
        return loading.from_mapping(sections, {})

    def records(self, home: int) -> dict[str, Record]:
        return {arn: stored.record for arn, stored in self.stored[self.ids[home]].items()}

    def sync(self, home: int, answer: Answer) -> None:
        """Sync a membership, and claim that what is stored is what the model says."""
        before = self.stored
        missed = self._missed(home)
        ScriptedListing.answers[self.ids[home]] = answer
        settings = self._config()
        with patch.object(batches, "ITEMS", answer.batch_items):
            report = sync.sync_membership(settings, settings.memberships[home])
        self.stored = snapshot(self.connection, self.ids)
        self._check_against_model(home, answer, report.run_id)
        self._check_rows_written(home, before, missed)

    def _missed(self, home: int) -> set[str]:
        return {arn for arn, record in self.models[home].records.items() if record.was_missed}

    def check_whole(self) -> None:
        """Claim what takes a look at everything: that the product's own checks and the views find all in order."""
        assert [finding for finding in verify.findings(self.connection) if finding.broken] == []
        self._check_views()

    def _check_against_model(self, home: int, answer: Answer, run_id: int | None) -> None:
        with self.connection.begin():
            found = text("SELECT * FROM cleanrooms_etl.sync_run WHERE run_id = :run")
            run = self.connection.execute(found, {"run": run_id}).one()
        filters = self.filters[home]
        listing = Listing(run.started_at, list(answer.batches()), answer.is_unbroken, filters, answer.exists)
        tally = self.models[home].sync(listing, _moments(run, self.records(home).values()))
        wrong = differences(self.stored[self.ids[home]], self.models[home].records)
        assert not wrong, "\n".join(wrong)
        assert run.outcome == ("complete" if listing.is_complete else "partial" if answer.pages else "failed")
        counted = Tally(
            run.jobs_listed, run.jobs_new, run.jobs_changed, run.transitions, run.jobs_rejected, run.jobs_absent
        )
        assert counted == tally
        told = run.jobs_new + run.jobs_changed + run.jobs_unchanged + run.jobs_stale + run.jobs_rejected
        assert run.jobs_listed == told

    def _check_rows_written(self, home: int, before: Snapshot, missed: set[str]) -> None:
        """Claim that no row was written but to say something else, and none of another membership.

        A job that was missed may be written when it is seen again, though its absence was forgotten before; and
        when it is missed first, to remember what showed it last.
        """
        may_be_written = missed | self._missed(home)
        for id_, jobs in before.items():
            for arn, old in jobs.items():
                new = self.stored[id_][arn]
                assert new == old or (
                    id_ == self.ids[home] and (new.record != old.record or arn in may_be_written)
                ), arn

    def _check_views(self) -> None:
        """Claim that the intervals that analysts see join without gap or overlap."""
        with self.connection.begin():
            rows = self.connection.execute(text(_INTERVALS), {"memberships": self.ids}).all()
        assert [tuple(row) for row in rows] == [
            (id_, arn, *interval)
            for id_ in sorted(self.ids)
            for arn, stored in sorted(self.stored[id_].items())
            for interval in _intervals(stored.record.history)
        ]


def _moments(run: Any, records: Iterable[Record]) -> list[datetime]:
    """Return the times of a run's transactions, as far as they recorded something."""
    recorded = {record.absent_since for record in records if record.absent_since}
    for record in records:
        recorded |= record.moments
    return sorted(moment for moment in recorded if run.started_at < moment <= run.finished_at)


def _intervals(history: tuple[Transition, ...]) -> Iterator[tuple[Any, ...]]:
    for opened, closed in pairwise((*history, None)):
        assert opened
        yield (
            opened.to_status,
            opened.changed_time,
            closed.changed_time if closed else None,
            closed is None,
            opened.from_status,
            closed.to_status if closed else None,
            opened.not_before,
            opened.observed_at,
            opened.time_basis,
            opened.from_status is None,
        )


class Birth(NamedTuple):
    home: int
    status: str
    is_bare: bool
    """Whether its ARN does without the membership: the other membership may have the same."""
    model: str
    age: timedelta


BIRTHS = st.builds(
    Birth,
    home=st.integers(0, 1),
    status=st.sampled_from(STATUSES),
    is_bare=st.booleans(),
    model=st.sampled_from(MODELS),
    age=st.sampled_from((timedelta(0), HOUR, 400 * DAY)),
)
EDIT_CHOICES = [None, *((name, value) for name, values in EDITS.items() for value in values)]


@dataclass(frozen=True)
class Plan:
    """How the listings after a change go. Numbers that are too large begin again at the first."""

    times: int = 1
    page_size: int = 5
    batch_items: int = 5_000
    turn: int = 0
    """Which job comes first."""
    older: tuple[tuple[int, int], ...] = ()
    """Places at which an older version of a job is shown besides, and which."""
    malformed: int | None = None
    """Place of an item that is no job."""
    pages: int | None = None
    """Pages after which the listing breaks off."""


PLANS = st.one_of(
    st.none(),
    st.none(),
    st.builds(Plan, times=st.sampled_from((1, 1, 2, 2, 4)), turn=st.integers(0, 3)),
    st.builds(
        Plan,
        times=st.integers(1, 2),
        page_size=st.integers(1, 3),
        batch_items=st.integers(1, 4),
        turn=st.integers(0, 3),
        older=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3).map(tuple),
        malformed=st.one_of(st.none(), st.none(), st.integers(0, 9)),
        pages=st.one_of(st.none(), st.none(), st.integers(0, 3)),
    ),
)


class RandomWorld(RuleBasedStateMachine):
    """A few jobs in two memberships, what AWS shows of them, and syncs."""

    jobs = Bundle("jobs")

    def __init__(self, connection: Connection, database_url: str) -> None:
        super().__init__()
        self.syncer = Syncer(connection, database_url, memberships=2)
        self.world: list[Job] = []
        self.crowd: list[Job] = []
        self.permission: bool | None = True

    @initialize(target=jobs, births=st.lists(BIRTHS, min_size=1, max_size=4))
    def begin(self, births: list[Birth]) -> MultipleResults[Job]:
        return multiple(*(self._create(birth) for birth in births))

    @rule(target=jobs, birth=BIRTHS, plan=PLANS)
    def create(self, birth: Birth, plan: Plan | None) -> Job:
        job = self._create(birth)
        self._sync(job.home, plan)
        return job

    def _create(self, birth: Birth) -> Job:
        owner = "" if birth.is_bare else f"membership/{self.syncer.ids[birth.home]}/"
        number = sum(job.home == birth.home for job in self.world)
        arn = f"arn:aws:cleanrooms-ml:us-east-1:111122223333:{owner}trained-model-inference-job/{number}"
        created = now() - birth.age
        fields = BIRTH_FIELDS | {"create_time": created, "trained_model_arn": birth.model}
        first = Version(arn, birth.status, created + birth.age / 2, fields)
        job = Job(birth.home, [first], [(first.status, first.update_time)])
        self.world.append(job)
        return job

    @rule(job=jobs, status=st.sampled_from(STATUSES), plan=PLANS)
    def move(self, job: Job, status: str, plan: Plan | None) -> None:
        job.become(status=status, update_time=now())
        self._sync(job.home, plan)

    @rule(job=jobs, change=st.sampled_from(EDIT_CHOICES), plan=PLANS)
    def edit(self, job: Job, change: tuple[str, Any] | None, plan: Plan | None) -> None:
        """Change a field, or nothing but the updateTime."""
        job.become(update_time=now(), **dict([change] if change else []))
        self._sync(job.home, plan)

    @rule(
        job=jobs,
        status=st.sampled_from(STATUSES),
        description=st.sampled_from(EDITS["description"]),
        drift=st.sampled_from((timedelta(0), timedelta(microseconds=1), SECOND, -SECOND, -HOUR)),
        plan=PLANS,
    )
    def change_while_aws_clock_stands(
        self, job: Job, status: str, description: str | None, drift: timedelta, plan: Plan | None
    ) -> None:
        """The updateTime stands, creeps or goes back, whatever the time."""
        job.is_honest = False
        job.become(status=status, update_time=job.newest.update_time + drift, description=description)
        self._sync(job.home, plan)

    @rule(
        job=jobs,
        status=st.sampled_from(STATUSES),
        ahead=st.sampled_from((3 * SECOND, 6 * SECOND, HOUR, 23 * HOUR)),
        plan=PLANS,
    )
    def move_ahead_of_the_clock(self, job: Job, status: str, ahead: timedelta, plan: Plan | None) -> None:
        job.is_honest = False
        job.become(status=status, update_time=now() + ahead)
        self._sync(job.home, plan)

    @rule(job=jobs, style=st.integers(0, 3), lag=st.integers(0, 2), plan=PLANS)
    def show_otherwise(self, job: Job, style: int, lag: int, plan: Plan | None) -> None:
        job.style = style
        job.lag = lag
        self._sync(job.home, plan)

    @rule(job=jobs, plan=PLANS)
    def hide_or_show(self, job: Job, plan: Plan | None) -> None:
        job.is_hidden = not job.is_hidden
        self._sync(job.home, plan)

    @rule(job=jobs, plan=PLANS)
    def remove_or_put_back(self, job: Job, plan: Plan | None) -> None:
        self._remove_or_put_back(job)
        self._sync(job.home, plan)

    def _remove_or_put_back(self, job: Job) -> None:
        job.is_removed = not job.is_removed
        if job.is_removed:
            job.truth.append((NOT_LISTED, now()))
        else:
            job.returns.append(now())

    @rule(home=st.integers(0, 1), plan=PLANS)
    def a_crowd_comes_or_goes(self, home: int, plan: Plan | None) -> None:
        """So many that all of them vanishing at once is less likely than a wrong listing."""
        crowd = [job for job in self.crowd if job.home == home]
        if not crowd:
            self.crowd += [self._create(Birth(home, "ACTIVE", False, MODELS[0], HOUR)) for _ in range(12)]
        for job in crowd:
            self._remove_or_put_back(job)
        self._sync(home, plan)

    @rule(permission=st.sampled_from((True, False, None)), home=st.integers(0, 1), plan=PLANS)
    def answer_questions(self, permission: bool | None, home: int, plan: Plan | None) -> None:
        """True: by the truth; False: with errors; None: with a refusal."""
        self.permission = permission
        self._sync(home, plan)

    @rule(
        home=st.integers(0, 1),
        model=st.sampled_from((None, *MODELS)),
        version=st.sampled_from((None, VERSIONS[0])),
        plan=PLANS,
    )
    def filter_by(self, home: int, model: str | None, version: str | None, plan: Plan | None) -> None:
        wanted = {"trained_model_arn": model, "trained_model_version_identifier": version}
        self.syncer.filters[home] = {name: value for name, value in wanted.items() if value and model}
        self._sync(home, plan)

    def _shown(self, home: int) -> list[Job]:
        wanted = self.syncer.filters[home].items()
        return [
            job
            for job in self.world
            if job.home == home
            and not job.is_removed
            and not job.is_hidden
            and all(job.shown.fields[name] == value for name, value in wanted)
        ]

    def _exists(self, arn: str) -> bool | None:
        if self.permission is False:
            raise LookupError
        return self.permission and any(job.arn == arn and not job.is_removed for job in self.world)

    def _sync(self, home: int, plan: Plan | None) -> None:
        if plan is None:
            return
        items = self._items(home, plan)
        listing = paged(items, plan.page_size)
        is_unbroken = plan.pages is None or plan.pages >= len(listing)
        answer = Answer(listing[: plan.pages], is_unbroken, self._exists, plan.batch_items)
        is_single = max(Counter(version.arn for version in answer.read()).values(), default=0) == 1
        for time in range(plan.times):
            before, was_doubtful = self.syncer.stored, self._is_doubtful(home)
            self.syncer.sync(home, answer)
            self._check_truth(home, before[self.syncer.ids[home]], answer)
            if time and is_single and not was_doubtful and not self._is_doubtful(home):
                assert self._written(before) == [], "the second sync of the same listing wrote"
        self.syncer.check_whole()

    def _items(self, home: int, plan: Plan) -> list[Item]:
        def item(job: Job, version: Version) -> Item:
            return wire(version, self.syncer.ids[home], job.style), version

        jobs = self._shown(home)
        turn = plan.turn % (len(jobs) or 1)
        items = [item(job, job.shown) for job in (*jobs[turn:], *jobs[:turn])]
        for place, which in plan.older if jobs else ():
            job = jobs[which % len(jobs)]
            items.insert(place % (len(items) + 1), item(job, job.versions[which % len(job.versions)]))
        if plan.malformed is not None:
            items.insert(plan.malformed % (len(items) + 1), (NOT_JOBS[plan.malformed % len(NOT_JOBS)], None))
        return items

    def _written(self, before: Snapshot) -> list[tuple[Stored | None, Stored]]:
        jobs = [(before[id_].get(arn), new) for id_ in before for arn, new in self.syncer.stored[id_].items()]
        return [(old, new) for old, new in jobs if old != new]

    def _is_doubtful(self, home: int) -> bool:
        """Whether a listing is being counted that may be wrong."""
        records = self.syncer.models[home].records.values()
        return any(record.stale_runs or (record.was_missed and record.status != NOT_LISTED) for record in records)

    def _check_truth(self, home: int, before: Mapping[str, Stored], answer: Answer) -> None:
        records = self.syncer.records(home)
        read = answer.read()
        for job in self.world:
            if job.home != home or job.arn not in records:
                continue
            shown = [version.status for version in read if version.arn == job.arn]
            job.statuses_shown += shown
            history = records[job.arn].history
            recorded = [moved.to_status for moved in history if moved.to_status != NOT_LISTED]
            assert _is_subsequence(recorded, job.statuses_shown)
            if shown and self.syncer.models[home].records[job.arn].version != job.newest:
                job.is_honest = False
            if job.is_hidden:
                job.was_hidden = True
            if job.is_honest:
                told = before[job.arn].record.history if job.arn in before else ()
                self._check_windows(job, history[len(told) :])
                assert _is_subsequence((status for status, _ in groupby(recorded)), [s for s, _ in job.truth])
            if shown and not job.is_hidden:
                job.was_hidden = False

    def _check_windows(self, job: Job, moves: Iterable[Transition]) -> None:
        """Claim that what honest listings showed truly happened in the time that is recorded."""
        for moved in moves:
            if job.was_hidden and NOT_LISTED in {moved.from_status, moved.to_status}:
                continue
            came_back = moved.from_status == NOT_LISTED
            moments = (
                job.returns if came_back else [when for status, when in job.truth if status == moved.to_status]
            )
            assert any(moved.not_before <= moment <= moved.changed_time for moment in moments), (moved, moments)


def _is_subsequence(part: Iterable[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(any(status == other for other in rest) for status in part)


def now() -> datetime:
    return datetime.now(UTC)


def test_a_random_world_is_stored_as_the_design_says(database_url: str) -> None:
    with database.connect(database_url) as connection:
        run_state_machine_as_test(
            partial(RandomWorld, connection, database_url),  # type: ignore[arg-type]  # any factory will do
            settings=settings(max_examples=40, stateful_step_count=15, deadline=None, print_blob=True),
        )


class Shown(NamedTuple):
    """A job as a listing shows it: in the minute that its updateTime names."""

    job: int
    minute: int
    status: str = "ACTIVE"
    description: str = ""


def pages(home: str, items: Iterable[Shown], size: int = 1) -> list[list[Item]]:
    """Write a listing, so many items a page."""
    versions = [_version(item) for item in items]
    return paged([(wire(version, home), version) for version in versions], size)


def _version(shown: Shown) -> Version:
    arn = f"arn:aws:cleanrooms-ml:us-east-1:111122223333:trained-model-inference-job/{shown.job}"
    fields = BIRTH_FIELDS | {"create_time": NOON, "trained_model_arn": MODELS[0], "description": shown.description}
    return Version(arn, shown.status, NOON + shown.minute * timedelta(minutes=1), fields)


def told(record: Record) -> list[Any]:
    """Tell a job's story without our own clock."""
    times = [moved.changed_time if moved.time_basis == "update_time" else None for moved in record.history]
    moves = [(moved.from_status, moved.to_status, moved.time_basis) for moved in record.history]
    return [record.version, moves, times, [(edit.update_time, edit.changes) for edit in record.edits]]


LISTINGS = st.lists(
    st.lists(
        st.builds(
            Shown, st.integers(0, 2), st.integers(0, 3), st.sampled_from(STATUSES[:3]), st.sampled_from("ab")
        ),
        max_size=5,
    ),
    min_size=1,
    max_size=5,
)


def test_the_state_that_is_stored_does_not_depend_on_the_batches(database_url: str) -> None:
    with database.connect(database_url) as connection:

        @settings(max_examples=20, deadline=None, print_blob=True)
        @given(listings=LISTINGS, batch_items=st.integers(1, 4))
        def check(listings: list[list[Shown]], batch_items: int) -> None:
            syncer = Syncer(connection, database_url, memberships=2)
            for items in listings:
                for home, size in enumerate((5_000, batch_items)):
                    syncer.sync(
                        home, Answer(pages(syncer.ids[home], items), exists=lambda _: False, batch_items=size)
                    )
            at_once, divided = syncer.records(0), syncer.records(1)
            assert {arn: record.version for arn, record in at_once.items()} == {
                arn: record.version for arn, record in divided.items()
            }
            if all(len({item.job for item in items}) == len(items) for items in listings):
                assert {arn: told(record) for arn, record in at_once.items()} == {
                    arn: told(record) for arn, record in divided.items()
                }

        check()


# What random worlds have found


@pytest.fixture
def syncer(database_url: str) -> Iterator[Syncer]:
    with database.connect(database_url) as connection:
        yield Syncer(connection, database_url, memberships=1)


def list_(syncer: Syncer, *items: Shown, exists: bool = True, batch_items: int = 5_000) -> list[str]:
    """Sync a listing of one item a page, and return the statuses that the first job has had."""
    syncer.sync(0, Answer(pages(syncer.ids[0], items), exists=lambda _: exists, batch_items=batch_items))
    return [moved.to_status for moved in next(iter(syncer.records(0).values())).history]


def test_of_two_states_of_one_moment_the_later_read_stands_though_it_is_known(syncer: Syncer) -> None:
    known = Shown(0, minute=1, status="ACTIVE")
    list_(syncer, known)
    assert list_(syncer, Shown(0, minute=1, status="INACTIVE"), known) == ["ACTIVE"]


def test_of_several_older_states_the_newest_is_believed_whatever_the_batches(syncer: Syncer) -> None:
    list_(syncer, Shown(0, minute=3, status="ACTIVE"))
    older = Shown(0, minute=2, status="INACTIVE"), Shown(0, minute=1, status="CREATE_PENDING")
    statuses = [list_(syncer, *older, batch_items=1) for _ in range(3)]
    assert statuses[-1] == ["ACTIVE", "INACTIVE"]


def test_of_equally_old_states_the_later_read_is_believed_whatever_the_batches(syncer: Syncer) -> None:
    list_(syncer, Shown(0, minute=3, status="ACTIVE"))
    older = Shown(0, minute=2, status="INACTIVE"), Shown(0, minute=2, status="CREATE_PENDING")
    statuses = [list_(syncer, *older, batch_items=1) for _ in range(3)]
    assert statuses[-1] == ["ACTIVE", "CREATE_PENDING"]


def test_an_older_state_does_not_bring_back_a_job_that_is_gone(syncer: Syncer) -> None:
    list_(syncer, Shown(0, minute=2, status="ACTIVE"))
    list_(syncer, exists=False)
    assert list_(syncer, exists=False) == ["ACTIVE", NOT_LISTED]
    assert list_(syncer, Shown(0, minute=1, status="CREATE_PENDING")) == ["ACTIVE", NOT_LISTED]


def test_a_job_last_updated_before_it_was_gone_is_listed_again_from_when_that_was_seen(syncer: Syncer) -> None:
    list_(syncer, Shown(0, minute=1))
    list_(syncer, exists=False)
    list_(syncer, exists=False)
    list_(syncer, Shown(0, minute=2))
    back = next(iter(syncer.records(0).values())).history[-1]
    assert (back.time_basis, back.changed_time) == ("observed", back.observed_at)
