"""Three weeks of two memberships: what runs each night, what goes wrong, and the Monday morning after."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple

from cookbook_world import Agenda, Life, Recorder

from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.resources import Job
from etl.demo.world import World

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)

FIRST_NIGHT = datetime(2026, 2, 16, 4, tzinfo=UTC)
LAST_NIGHT = FIRST_NIGHT + 21 * DAY
NOW = LAST_NIGHT.replace(hour=6, minute=45)

AMERICA = "3f2a1c9e-5b7d-4e8a-9c1f-0a1b2c3d4e5f"
EUROPE = "7c0d8c55-91be-4a3e-8f7a-2b9f0e6d1c34"
_MEMBERSHIPS = [
    {"id": AMERICA, "region": "us-east-1", "cron": "*/20 4-6 * * *"},
    {"id": EUROPE, "region": "eu-west-1", "cron": "*/30 5-6 * * *"},
]


class Nightly(NamedTuple):
    """A job that somebody's scheduler starts each night."""

    name: str
    membership_id: str
    model: str
    payer: str
    minute: int
    """Of the night, at which it is created."""
    runs: int
    """Minutes, at the least."""
    fails: float
    """Share of its runs."""


_NIGHTLY = (
    Nightly("lookalike-north", AMERICA, "lookalike-scorer", "111122223333", 2, 30, 0.06),
    Nightly("lookalike-south", AMERICA, "lookalike-scorer", "111122223333", 4, 34, 0.06),
    Nightly("households", AMERICA, "household-matcher", "111122223333", 11, 48, 0.03),
    Nightly("reach-tv", AMERICA, "reach-frequency", "222233334444", 17, 22, 0.10),
    Nightly("lift-search", EUROPE, "conversion-lift", "444455556666", 65, 26, 0.05),
    Nightly("lift-social", EUROPE, "conversion-lift", "444455556666", 67, 30, 0.05),
)

# The second version of the scorer comes to one job after the other; it takes longer and fails more.
_V2_SINCE = {"lookalike-north": 10, "lookalike-south": 14}
_V2_FAILS = 0.28
_V2_TAKES = 1.4

# Single nights, counted from the first.
_WAITED_LONG = {(17, "households"): 125 * MINUTE, (21, "lookalike-north"): 40 * MINUTE}
_FAILED = {(21, "lookalike-north")}
_AHEAD_OF_TIME = {(9, "reach-tv")}
_WITHOUT_TIME = {(10, "households")}
_PAUSED = {(21, "lift-social")}
_ENDLESS = {(21, "households")}


def tell(url: str) -> None:
    """Let it all happen, and be recorded in the empty database at `url`; credentials are in the environment."""
    clock, random = Clock(FIRST_NIGHT), Random(34)  # noqa: S311 - the same story each time
    world = World(clock, random=random)
    for listed in _MEMBERSHIPS:
        account = next(job.payer for job in _NIGHTLY if job.membership_id == listed["id"])
        world.add_membership(listed["id"], region=listed["region"], account=account)
    with Endpoint(world) as endpoint:
        recorder, agenda = Recorder(url, endpoint, clock, _MEMBERSHIPS), Agenda()
        _plan(agenda, recorder, Story(world, random))
        recorder.record(agenda, NOW)


def _plan(agenda: Agenda, recorder: Recorder, story: "Story") -> None:
    agenda.add(FIRST_NIGHT, recorder.syncs(AMERICA, 20 * MINUTE, 9))
    agenda.add(FIRST_NIGHT + 60 * MINUTE, recorder.syncs(EUROPE, 30 * MINUTE, 4))
    agenda.add(FIRST_NIGHT + 18 * DAY + 30 * MINUTE, recorder.denial(AMERICA, 100 * MINUTE))
    agenda.add(LAST_NIGHT + 135 * MINUTE, recorder.denial(EUROPE, DAY))
    for night in range(22):
        for job in _NIGHTLY:
            agenda.add(FIRST_NIGHT + night * DAY + job.minute * MINUTE, story.nightly(night, job))
    for night, minute, life in story.by_hand():
        agenda.add(FIRST_NIGHT + night * DAY + minute * MINUTE, life)


class Story:
    """The lives of jobs."""

    def __init__(self, world: World, random: Random) -> None:
        self.world = world
        self.random = random

    def nightly(self, night: int, plan: Nightly) -> Life:
        """Run a job; if it fails, somebody starts it again under its name."""
        key = (night, plan.name)
        is_v2 = night >= _V2_SINCE.get(plan.name, 99)
        fails, runs = (_V2_FAILS, plan.runs * _V2_TAKES) if is_v2 else (plan.fails, plan.runs)
        is_failure = key in _FAILED or self.random.random() < fails
        yield from self._run(key, plan, "v2" if is_v2 else "v1", runs, is_failure=is_failure)
        if is_failure:
            yield self._minutes(9, 20)
            yield from self._run(key, plan, "v2" if is_v2 else "v1", runs, is_failure=self.random.random() < fails)

    def _run(self, key: tuple[int, str], plan: Nightly, version: str, runs: float, *, is_failure: bool) -> Life:
        job = self._create(plan.membership_id, plan.name, plan.model, version, plan.payer)
        yield _WAITED_LONG.get(key, timedelta(0)) + self._minutes(3, 15)
        ahead = 17 * MINUTE if key in _AHEAD_OF_TIME else timedelta(0)
        self.world.set_status(job, "CREATE_IN_PROGRESS", update_time=self.world.now() + ahead)
        if key in _ENDLESS:
            return
        yield self._minutes(runs, runs * 1.5)
        if key in _PAUSED:
            self.world.set_status(job, "PAUSED")
        elif key in _WITHOUT_TIME:
            self.world.set_status(job, "ACTIVE", update_time=job.update_time)
        elif is_failure:
            self.world.set_status(job, "CREATE_FAILED")
        else:
            self.world.set_status(job, "ACTIVE")
            yield from self._publish(job)

    def _publish(self, job: Job) -> Life:
        """Metrics and logs come a little after the output."""
        yield self._minutes(1, 3)
        self.world.edit(job, metrics_status="PUBLISH_SUCCEEDED")
        if job.name == "reach-tv" and self.random.random() < 0.25:
            told = "The log group does not exist."
            self.world.edit(job, logs_status="PUBLISH_FAILED", logs_status_details=told)
        else:
            self.world.edit(job, logs_status="PUBLISH_SUCCEEDED")

    def by_hand(self) -> Iterator[tuple[int, int, Life]]:
        """What analysts start in between: on which night, at which minute of it, and what becomes of it."""
        yield 3, 24, self._cancelled("uplift-try-1", "INACTIVE", 33, 26)
        yield 8, 41, self._cancelled("uplift-try-2", "INACTIVE", 21, 9)
        yield 11, 33, self._cancelled("uplift-try-3", "CANCEL_FAILED", 12, 27)
        yield 15, 36, self._cancelled("holdout-try-1", "INACTIVE", 44, 31)
        yield 12, 26, self._removed("probe")
        yield 16, 18 * 60 + 40, self._long("holdout-full")

    def _cancelled(self, name: str, end: str, runs: int, takes: int) -> Life:
        job = self._create(AMERICA, name, "uplift-sandbox", "v1", "111122223333")
        yield self._minutes(3, 8)
        self.world.set_status(job, "CREATE_IN_PROGRESS")
        yield runs * MINUTE
        self.world.set_status(job, "CANCEL_PENDING")
        yield 2 * MINUTE
        self.world.set_status(job, "CANCEL_IN_PROGRESS")
        yield takes * MINUTE
        self.world.set_status(job, end)

    def _removed(self, name: str) -> Life:
        job = self._create(AMERICA, name, "reach-frequency", "v1", "222233334444")
        yield self._minutes(3, 8)
        self.world.set_status(job, "CREATE_IN_PROGRESS")
        yield self._minutes(20, 30)
        self.world.set_status(job, "ACTIVE")
        yield 2 * DAY
        self.world.remove(self.world.memberships[AMERICA], job)

    def _long(self, name: str) -> Life:
        job = self._create(AMERICA, name, "uplift-sandbox", "v1", "111122223333")
        yield self._minutes(3, 8)
        self.world.set_status(job, "CREATE_IN_PROGRESS")
        yield 394 * MINUTE
        self.world.set_status(job, "ACTIVE")
        yield from self._publish(job)

    def _create(self, membership_id: str, name: str, model: str, version: str, payer: str) -> Job:
        membership = self.world.memberships[membership_id]
        models = {(each.name, each.version_identifier): each for each in membership.models}
        applied = models.get((model, version)) or self.world.add_trained_model(
            membership, model, version_identifier=version
        )
        return self.world.create_job(membership, applied, name=name, payer_account_id=payer)

    def _minutes(self, least: float, most: float) -> timedelta:
        return (least + (most - least) * self.random.random()) * MINUTE
