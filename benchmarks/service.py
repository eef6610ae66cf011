"""The simulated service in a process of its own, which moves when it is told to and counts what it is asked."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from random import Random
from typing import Any, NamedTuple, cast

from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.resources import Job
from etl.demo.world import World


class Shape(NamedTuple):
    """What is served; of each membership's jobs the newest `open_jobs` still run, all others have ended well."""

    jobs: int
    """In each membership."""
    memberships: int = 1
    models: int = 1
    """In each membership; its jobs are theirs in turn."""
    open_jobs: int = 0
    latency_seconds: float = 0


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
        models = [self._world.add_trained_model(membership, f"model-{n}") for n in range(self._shape.models)]
        now = self._world.now()
        for number in range(self._shape.jobs):
            left = self._shape.jobs - number
            job = self._world.create_job(
                membership,
                models[number % len(models)],
                name=f"scoring-{number}",
                status="CREATE_IN_PROGRESS" if left <= self._shape.open_jobs else "ACTIVE",
                create_time=now - timedelta(seconds=left),
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
