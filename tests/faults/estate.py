"""Memberships whose jobs live by chance, and what is true of each: which status since when, and what AWS said."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from threading import Event, RLock, Thread
from typing import Any, NamedTuple
from uuid import UUID

from etl.demo.membership import Membership, TrainedModel
from etl.demo.resources import Job
from etl.demo.world import World

NOT_LISTED = "NOT_LISTED"
SECOND = timedelta(seconds=1)

FOLLOWING = {
    "CREATE_PENDING": ("CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_FAILED", "CANCEL_PENDING"),
    "CREATE_IN_PROGRESS": ("ACTIVE", "ACTIVE", "CREATE_FAILED", "CANCEL_PENDING"),
    "CANCEL_PENDING": ("CANCEL_IN_PROGRESS",),
    "CANCEL_IN_PROGRESS": ("INACTIVE", "CANCEL_FAILED"),
}
"""What may come next; an end may be followed by anything, if seldom."""

_ODD = ("CREATE_SUSPENDED", "CREATE_IN_PROGRESS", "CANCEL_PENDING", "ACTIVE")
_HOSTILE = (
    "plain",
    "'; DROP TABLE jobs; --",
    "=1+1",
    "\x1b[31mred",
    "a\tb\\N\n",
    "\u202eright to left",
    "💥" * 20,
)
_ADDED = "added-"  # begins the names of models that come later
_MOST_ADDED = 2
_OPEN_AT_MOST = 8
_LIARS = 0.15  # of all jobs
_VIEWS_OF_THE_PAST = 2  # of a job, in all of its life: the third in a row would be believed, and rightly so
_PAUSE = 0.04  # seconds between two moves


class Step(NamedTuple):
    """A job took a status."""

    status: str
    moment: datetime
    """The true one."""
    told: datetime
    """The updateTime that AWS gave it."""


class View(NamedTuple):
    """A job as it looked from a moment on."""

    since: datetime
    item: bytes


@dataclass
class Life:
    """All that is true of a job."""

    membership: Membership
    job: Job
    is_liar: bool
    """AWS's updateTime of it may stand still, go back, or lie far ahead. No replica shows an older state of it:
    nothing could then tell what is true."""
    steps: list[Step] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    views_left: int = _VIEWS_OF_THE_PAST
    returns_at: datetime | None = None

    @property
    def is_gone(self) -> bool:
        return self.steps[-1].status == NOT_LISTED

    @property
    def was_gone(self) -> bool:
        """Whether it ever was: which of its states came before that a listing does not tell."""
        return any(step.status == NOT_LISTED for step in self.steps)

    @property
    def tells_its_change(self) -> bool:
        """Whether updateTime is that of the status: no edit has moved it since.

        Where one has, nothing tells that who still shows the status before shows the past. So jobs that were shown
        so are edited without moving it, and those of which it has moved are not shown so.
        """
        return self.job.update_time == self.steps[-1].told

    @property
    def status(self) -> str:
        return self.steps[-1].status


class Estate:
    """The simulated world, moved by a thread of its own inside the context."""

    def __init__(self, random: Random, memberships: int, jobs: int) -> None:
        self.random = random
        self.world = World(random=Random(random.random()))  # noqa: S311 - seeded on purpose
        self.lives: dict[str, Life] = {}
        self._most = jobs
        self._lock = RLock()
        self._is_over = Event()
        self._thread = Thread(target=self._live, name="the world moves")
        for number in range(memberships):
            membership = self.world.add_membership(account=f"{number % 2 + 1}" * 12)
            for name in ("one", "other"):
                self.world.add_trained_model(membership, name)
            for _ in range(3):
                self.world.add_trained_model(membership, "versions", version_identifier=self._uuid())
            self._fill(membership, jobs // 2 * (number + 1) // memberships)

    def __enter__(self) -> "Estate":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()

    def rest(self) -> None:
        """Stand still from now on."""
        self._is_over.set()
        self._thread.join()

    @property
    def memberships(self) -> list[Membership]:
        return list(self.world.memberships.values())

    def listed(self, membership: Membership) -> list[Life]:
        """The lives of the jobs that are listed now."""
        with self._lock:
            return [self.lives[job.arn] for job in self.world.jobs(membership)]

    @property
    def plain(self) -> Membership:
        """The one whose listings only faults make odd: quick sweeps are for such ones."""
        return self.memberships[-1]

    @property
    def closed(self) -> Membership:
        """The one whose single jobs nobody may ask for."""
        return self.memberships[0]

    # What happens to jobs

    def add_model(self, membership: Membership) -> TrainedModel:
        """Add a trained model; where there are some such ones, return one: too many, and no listing is split."""
        with self._lock:
            added = [model for model in membership.models if model.name.startswith(_ADDED)]
            if len(added) < _MOST_ADDED:
                return self.world.add_trained_model(membership, f"{_ADDED}{len(added)}")
            return self.random.choice(added)

    def create(self, membership: Membership, model: TrainedModel | None = None, **fields: Any) -> Life:
        with self._lock:
            job = self.world.create_job(
                membership,
                model or self.random.choice(membership.models),
                name=self.random.choice(_HOSTILE),
                payer_account_id=self.random.choice([None, membership.account]),
                **fields,
            )
            is_liar = membership is not self.plain and self.random.random() < _LIARS
            life = Life(membership, job, is_liar)
            self.lives[job.arn] = life
            self._note(life, *job.truth[-1], job.update_time)
            return life

    def change(self, life: Life, status: str, told: datetime | None = None) -> None:
        """Let a job take a status, and AWS say when, be it true or not."""
        with self._lock:
            if status == life.status:
                return
            self.world.set_status(life.job, status, update_time=told or self._told(life))
            self._note(life, *life.job.truth[-1], life.job.update_time)

    def edit(self, life: Life) -> None:
        """Change something else of a job."""
        fields: Mapping[str, Any] = self.random.choice(
            [
                {"description": self.random.choice(_HOSTILE)},
                {"metrics_status": "PUBLISH_SUCCEEDED"},
                {"logs_status": "PUBLISH_FAILED", "logs_status_details": self.random.choice(_HOSTILE)},
                {"output_accept": "text/csv"},
            ]
        )
        with self._lock:
            touches = self.random.random() < 0.7 and life.views_left == _VIEWS_OF_THE_PAST
            self.world.edit(life.job, touch=touches, **fields)
            self._look(life)

    def add_field(self, life: Life) -> None:
        """Let AWS tell something that this release does not know."""
        with self._lock:
            self.world.override(life.job, {"aNewField": {"of": [self.random.randrange(100), None]}})
            self._look(life)

    def vanish(self, life: Life, seconds: float | None) -> None:
        """Let a job be gone, for good or for a while."""
        with self._lock:
            if life.is_gone:
                return
            self.world.remove(life.membership, life.job)
            self._note(life, NOT_LISTED, self.world.now())
            if seconds is not None:
                life.returns_at = self.world.now() + seconds * SECOND

    def flicker(self, membership: Membership) -> None:
        """Let a job be gone for a moment: what stood after it moves up."""
        with self._lock:
            lives = self.listed(membership)
            if lives:
                self.vanish(self.random.choice(lives), seconds=0.2)

    def view(self, life: Life, moment: datetime) -> bytes | None:
        """A job as it was at a moment, if it may be shown so once more; None: it was not there yet."""
        with self._lock:
            has_one = life.views_left and life.views[-1].since > moment and life.tells_its_change
            if life.is_liar or life.was_gone or not has_one:
                return life.job.rendered()
            life.views_left -= 1
            seen = [view.item for view in life.views if view.since <= moment]
            return seen[-1] if seen else None

    def _told(self, life: Life) -> datetime | None:
        """Choose what AWS says of the moment of a change; None: the truth.

        What lies ahead lies further ahead than any of this takes, and what goes back goes back behind all else.
        """
        if not life.is_liar:
            return None
        hours = timedelta(hours=self.random.uniform(6, 12))
        return self.random.choice([life.job.update_time, before_all(life), self.world.now() + hours, None])

    def _note(self, life: Life, status: str, moment: datetime, told: datetime | None = None) -> None:
        life.steps.append(Step(status, _whole_milliseconds(moment), told or _whole_milliseconds(moment)))
        self._look(life)

    def _look(self, life: Life) -> None:
        life.views.append(View(self.world.now(), life.job.rendered()))

    # How the world moves

    def _fill(self, membership: Membership, jobs: int) -> None:
        born = self.world.now() - jobs * SECOND
        for number in range(jobs):
            self.create(membership, status="ACTIVE", create_time=born + number * SECOND)

    def _live(self) -> None:
        while not self._is_over.wait(_PAUSE):
            with self._lock:
                self._move(self.random.choice(self.memberships))
                self._bring_back()

    def _move(self, membership: Membership) -> None:
        lives = self.listed(membership)
        still_open = [life for life in lives if life.status in FOLLOWING]
        chance = self.random.random()
        if not lives or (chance < 0.25 and len(still_open) < _OPEN_AT_MOST):
            if len(lives) < self._most:
                self.create(membership)
        elif chance < 0.65 and still_open:
            life = self.random.choice(still_open)
            self.change(life, self.random.choice(FOLLOWING[life.status]))
        elif chance < 0.92:
            self.edit(self.random.choice(lives))
        elif chance < 0.95:
            self.add_field(self.random.choice(lives))
        elif chance < 0.98:
            self.change(self.random.choice(lives), self.random.choice(_ODD))
        elif membership is not self.plain:
            self.vanish(self.random.choice(lives), self.random.choice([None, 4, 12]))

    def _bring_back(self) -> None:
        now = self.world.now()
        for life in self._due(now):
            life.returns_at = None
            moment = self.world.now()  # before it is there: who sees it saw it later
            self.world.put_back(life.membership, life.job)
            self._note(life, life.job.status, moment)

    def _uuid(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def _due(self, now: datetime) -> Iterator[Life]:
        yield from [life for life in self.lives.values() if life.returns_at and life.returns_at <= now]


def before_all(life: Life) -> datetime:
    """A moment, each time another one, before all that AWS has said of a job so far."""
    return min(life.job.create_time, *(step.told for step in life.steps)) - timedelta(hours=1)


def _whole_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
