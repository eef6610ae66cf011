"""A moving world to watch: the jobs of three ad-measurement memberships live and fail by seeded chance."""

import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from random import Random

from etl.demo.clock import Clock
from etl.demo.membership import Membership, TrainedModel
from etl.demo.resources import Job, whole_milliseconds
from etl.demo.world import World

OPEN_JOBS_QUOTA = 5  # AWS's default for a membership

_PLACES = (
    ("us-east-1", "111122223333", ("lookalike-scorer", "conversion-lift")),
    ("us-east-1", "111122223333", ("reach-frequency", "churn-propensity", "lookalike-scorer")),
    ("eu-west-1", "444455556666", ("household-matcher", "conversion-lift")),
)
_CAMPAIGNS = ("spring-launch", "summer-sale", "back-to-school", "holiday", "brand-awareness", "loyalty")
_AUDIENCES = ("sports fans", "new parents", "frequent travellers", "lapsed customers", "streaming households")
_FAILURES = (
    ("ALGORITHM_ERROR", "The container exited with code 1."),
    ("CAPACITY_ERROR", "No capacity for ml.m5.4xlarge."),
    ("DATA_ERROR", "The input channel has fewer rows than the privacy threshold allows."),
)

Life = Iterator[timedelta]


class Scenario:
    """A world that moves by stretches and ends at `end`, of which nothing in it is later.

    Each life is a generator that says how long it waits for what comes next; the scenario wakes them in the
    order of their moments. The same `end` and `seed` make the same world.
    """

    def __init__(
        self,
        end: datetime,
        *,
        seed: int = 7,
        sweeps: int = 12,
        stretch: timedelta = timedelta(minutes=20),
        before: timedelta = timedelta(hours=6),
    ) -> None:
        self.end = whole_milliseconds(end)
        self.sweeps = sweeps
        self.stretch = stretch
        self.random = Random(seed)  # noqa: S311 - seeded on purpose: the same demo each time
        first_sweep = self.end - stretch * (sweeps - 1)
        self.clock = Clock(first_sweep - before)
        self.world = World(self.clock, random=self.random)
        self._agenda: list[tuple[datetime, int, Life]] = []
        self._order = count()
        self.memberships = [self._membership(*place) for place in _PLACES]
        self.advance(before)

    def __iter__(self) -> Iterator[datetime]:
        """Move the world before each sweep but the first, and tell the sweep's moment; the last is `end`."""
        yield self.clock()
        for _ in range(self.sweeps - 1):
            yield self.advance(self.stretch)

    def advance(self, stretch: timedelta) -> datetime:
        """Let all happen that happens within `stretch`, but nothing after `end`."""
        until = min(self.clock() + stretch, self.end)
        while self._agenda and self._agenda[0][0] <= until:
            moment, _, life = heapq.heappop(self._agenda)
            self.clock.set(moment)
            self._live(life)
        self.clock.set(until)
        return until

    def _live(self, life: Life) -> None:
        wait = next(life, None)
        if wait is not None:
            heapq.heappush(self._agenda, (self.clock() + wait, next(self._order), life))

    def _membership(self, region: str, account: str, models: tuple[str, ...]) -> Membership:
        membership = self.world.add_membership(region=region, account=account)
        for name in models:
            self.world.add_trained_model(membership, name, description=f"The {name} of this collaboration")
        self._live(self._arrivals(membership))
        return membership

    def _arrivals(self, membership: Membership) -> Life:
        """About three jobs an hour; one that the quota refuses is simply not asked for."""
        while True:
            yield timedelta(minutes=self.random.expovariate(1 / 18))
            if len(self.world.open_jobs(membership)) < OPEN_JOBS_QUOTA:
                self._live(self._job(self._created(membership, self.random.choice(membership.models))))

    def _created(self, membership: Membership, model: TrainedModel) -> Job:
        campaign = self.random.choice(_CAMPAIGNS)
        audience = self.random.choice(_AUDIENCES)
        return self.world.create_job(
            membership,
            model,
            name=f"{model.name}-{campaign}-{self.random.randrange(100, 1000)}",
            description=self.random.choice([f"Score {audience} for {campaign}", None]),
            output_accept=self.random.choice(["text/csv", "application/jsonlines"]),
            payer_account_id=self.random.choice([membership.account, None]),
        )

    def _job(self, job: Job) -> Life:
        yield self._minutes(0.5, 6)
        if self._chance(0.03):
            yield from self._cancel(job)
            return
        self.world.set_status(job, "CREATE_IN_PROGRESS")
        yield self._minutes(8, 60)
        if self._chance(0.1):
            self.world.set_status(job, "CREATE_FAILED", details=self.random.choice(_FAILURES))
        elif self._chance(0.12):
            yield from self._cancel(job)
        else:
            self.world.set_status(job, "ACTIVE")
            yield from self._publish(job)

    def _cancel(self, job: Job) -> Life:
        self.world.set_status(job, "CANCEL_PENDING")
        yield self._minutes(0.2, 3)
        self.world.set_status(job, "CANCEL_IN_PROGRESS")
        yield self._minutes(1, 12)
        self.world.set_status(job, "CANCEL_FAILED" if self._chance(0.25) else "INACTIVE")

    def _publish(self, job: Job) -> Life:
        """Metrics and logs arrive a little after the job itself is done."""
        yield self._minutes(0.3, 2)
        self.world.edit(job, metrics_status="PUBLISH_SUCCEEDED")
        yield self._minutes(0.1, 1)
        if self._chance(0.08):
            self.world.edit(job, logs_status="PUBLISH_FAILED", logs_status_details="The log group is gone.")
        else:
            self.world.edit(job, logs_status="PUBLISH_SUCCEEDED")

    def _minutes(self, least: float, most: float) -> timedelta:
        return timedelta(minutes=self.random.uniform(least, most))

    def _chance(self, share: float) -> bool:
        return self.random.random() < share


def populate(
    world: World, membership: Membership, jobs: int, *, spacing: timedelta = timedelta(seconds=1)
) -> None:
    """Add many jobs that are done, the last one created now: a big membership for benchmarks."""
    born = world.now() - spacing * jobs
    for number in range(jobs):
        born += spacing
        world.create_job(membership, name=f"scoring-{number}", status="ACTIVE", create_time=born)
