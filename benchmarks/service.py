"""The simulated service in a process of its own, which moves when it is told to and counts what it is asked."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from random import Random
from typing import Any, NamedTuple, cast

from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import Request
from etl.demo.resources import Job
from etl.demo.world import World


class Shape(NamedTuple):
    """What is served."""

    jobs: int
    """In each membership."""
    memberships: int = 1
    models: Sequence[float] = (1,)
    """How big the trained models of each membership are, one beside the others."""
    open_jobs: int = 0
    """Those of a membership's jobs that still run, the newest ones; all others have ended well."""
    deep: int = 0
    """Those of them that stand deep in the listing instead."""
    latency_seconds: float = 0

    def is_open(self, number: int) -> bool:
        """Tell whether a job still runs, by its number from the oldest."""
        is_new = number >= self.jobs - (self.open_jobs - self.deep)
        return is_new or number in {self.jobs * part // (self.deep + 1) for part in range(1, self.deep + 1)}


class Service:
    """A world and its endpoint."""

    def __init__(self, shape: Shape) -> None:
        self._random = Random(7)  # noqa: S311 - seeded on purpose: the same world each time
        self._world = World(random=self._random)
        self._shape = shape
        for _ in range(shape.memberships):
            self._fill(self._world.add_membership())
        self._endpoint = Endpoint(self._world, latency_seconds=shape.latency_seconds)

    def url(self) -> str:
        """Tell where it is served."""
        return self._endpoint.url

    def memberships(self) -> list[str]:
        """Name the memberships."""
        return list(self._world.memberships)

    def change(self, share: float) -> None:
        """Let a share of the jobs that ended well be cancelled after all, wherever in the listing they stand."""
        jobs = [job for job in self._jobs(self.memberships()) if job.status == "ACTIVE"]
        for job in self._random.sample(jobs, int(len(jobs) * share)):
            self._world.set_status(job, "INACTIVE")
            job.rendered()

    def move_on(self, changes: int) -> None:
        """Let the open jobs end and others be created, the last of which are open: so many changed in all."""
        for membership in self._world.memberships.values():
            ending = self._world.open_jobs(membership)
            for job in ending:
                self._world.set_status(job, "ACTIVE")
            born = changes - len(ending)
            for number in range(born):
                is_open = number >= born - self._shape.open_jobs
                self._world.create_job(membership, status="CREATE_IN_PROGRESS" if is_open else "ACTIVE")

    def interrupt(self, created: int) -> None:
        """Let so many jobs be created between a listing's first page and its second, the next time."""

        def before_page(request: Request) -> None:
            if "nextToken" in request.query:
                self._endpoint.before_page = None
                for membership in self._world.memberships.values():
                    for _ in range(created):
                        self._world.create_job(membership, status="ACTIVE")

        self._endpoint.before_page = before_page

    def history(self) -> list[tuple[str, str, datetime]]:
        """Tell each change of status: the job's ARN, what it changed to, and when."""
        return [(job.arn, *change) for job in self._jobs(self.memberships()) for change in job.truth]

    def tally(self, memberships: Sequence[str]) -> dict[str, int]:
        """Count the jobs of each status in some of the memberships."""
        return dict(Counter(job.status for job in self._jobs(memberships)))

    def take_requests(self) -> int:
        """Count the requests since the last time."""
        number = len(self._endpoint.requests)
        self._endpoint.forget_requests()
        return number

    def _jobs(self, memberships: Sequence[str]) -> Iterator[Job]:
        for name in memberships:
            yield from self._world.jobs(self._world.memberships[name])

    def _fill(self, membership: Membership) -> None:
        """Create the jobs, a second apart, and render them: the first listing is served as fast as later ones."""
        sizes, jobs = self._shape.models, self._shape.jobs
        models = [self._world.add_trained_model(membership, f"model-{number}") for number in range(len(sizes))]
        now = self._world.now()
        for number, model in enumerate(self._random.choices(models, sizes, k=jobs)):
            job = self._world.create_job(
                membership,
                model,
                name=f"scoring-{number}",
                status="CREATE_IN_PROGRESS" if self._shape.is_open(number) else "ACTIVE",
                create_time=now - timedelta(seconds=jobs - number),
            )
            job.rendered()


class _Process(BaseManager):
    """Holds a `Service`, and passes calls on to it."""


_Process.register("Service", Service)


@contextmanager
def served(shape: Shape) -> Iterator[Service]:
    """Yield a service that takes nothing of this process's time; only its methods can be reached."""
    # Spawned, not forked: a process of its own has to begin with a small memory.
    with _Process(ctx=get_context("spawn")) as process:
        yield cast("Service", cast("Any", process).Service(shape))
