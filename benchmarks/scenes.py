"""What is measured, scene by scene, and the goal of each."""

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks.contestants import FLOOR, LOOP, OURS, UPSERT, Contestant, Target, ours
from benchmarks.measuring import Figures, measure, median, time_process
from benchmarks.server import Server
from benchmarks.service import Service, Shape, served

STATES = ("first", "unchanged", "changed")
CHANGED = 0.01  # of the jobs, before the last of the states

# Of the time of the bare loop, from so many jobs on.
GOALS = {
    100_000: {"first": 0.32, "unchanged": 0.15, "changed": 0.18},
    1_000_000: {"first": 0.32, "unchanged": 0.13, "changed": 0.15},
}


class Result(NamedTuple):
    """A line of the table."""

    scene: str
    who: str
    figures: Figures
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached, if there is one."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.at_least else self.value <= self.goal


@dataclass(frozen=True)
class Bench:
    """What all scenes need."""

    server: Server
    rounds: int
    jobs: int
    """Of the membership that is listed side by side."""
    peers: Sequence[Contestant]
    _numbers: Iterator[int] = field(default_factory=count)

    @contextmanager
    def target(self, service: Service) -> Iterator[Target]:
        """Yield an empty database for what is served."""
        name = f"run_{next(self._numbers)}"
        with tempfile.TemporaryDirectory(prefix="etl-") as folder:
            yield Target(service.url(), service.memberships(), self.server.create(name), Path(folder))
        self.server.drop(name)

    def run(self, scene: str, contestant: Contestant, target: Target, service: Service) -> Figures:
        """Run a contestant, and say so."""
        figures = measure(contestant, target, self.server, service)
        click.echo(f"{scene}, {contestant.name}: {figures.seconds:.2f} s", err=True)
        return figures


def side_by_side(bench: Bench) -> Iterator[Result]:
    """Run all contestants in turn, in each of the states."""
    contestants = [LOOP, UPSERT, *bench.peers, FLOOR, OURS]
    runs = defaultdict(list)
    with served(Shape(bench.jobs)) as service:
        for _ in range(bench.rounds):
            with ExitStack() as stack:
                targets = [stack.enter_context(bench.target(service)) for _ in contestants]
                for state in STATES:
                    if state == "changed":
                        service.change(CHANGED)
                    for contestant, target in zip(contestants, targets, strict=True):
                        runs[state, contestant].append(bench.run(state, contestant, target, service))
    goals = next((goals for least, goals in reversed(GOALS.items()) if bench.jobs >= least), {})
    for state in STATES:
        loop = median(runs[state, LOOP]).seconds
        for contestant in contestants:
            figures = median(runs[state, contestant])
            goal = goals.get(state) if contestant is OURS else None
            yield Result(
                f"{bench.jobs:,}: {state}", contestant.name, figures, figures.seconds / loop, "x loop", goal
            )


def memberships(bench: Bench) -> Iterator[Result]:
    """List the same number of jobs in one membership and in twenty."""
    one, twenty = (Contestant(name, ours("--full"), OURS.jobs) for name in ("1 x 200,000", "20 x 10,000"))
    with served(Shape(200_000)) as big, served(Shape(10_000, memberships=20)) as small:
        for state, (alone, shared) in _compared(bench, {one: big, twenty: small}):
            yield Result(f"memberships: {state}", one.name, alone, 1, "x one")
            yield Result(
                f"memberships: {state}", twenty.name, shared, shared.seconds / alone.seconds, "x one", 0.8
            )


def newcomer(bench: Bench) -> Iterator[Result]:
    """List a membership for the first time where another one is already, of which alone the statistics know."""
    alone, beside = [], []
    with served(Shape(20_000, memberships=2)) as service:
        one, other = service.memberships()
        first = Contestant("in an empty database", OURS.command, OURS.jobs)
        later = Contestant("beside another membership", ours("--full", "--membership", other), OURS.jobs)
        for _ in range(bench.rounds):
            with bench.target(service) as target:
                alone.append(bench.run("first", first, target._replace(memberships=[one]), service))
                beside.append(bench.run("first", later, target, service))
    slower = median(beside).seconds / median(alone).seconds
    yield Result("newcomer: first", first.name, median(alone), 1, "x alone")
    yield Result("newcomer: first", later.name, median(beside), slower, "x alone", 1.25)


def waiting(bench: Bench) -> Iterator[Result]:
    """List a membership of ten models whose pages are waited for, one after the other and eight at once."""
    serial = Contestant("one request at a time", ours("--full", max_concurrency=1), OURS.jobs)
    parallel = Contestant("max_concurrency = 8", ours("--full"), OURS.jobs)
    with served(Shape(20_000, models=10, latency_seconds=0.06)) as service:
        for state, (slow, fast) in _compared(bench, {serial: service, parallel: service}):
            yield Result(f"60 ms a page: {state}", serial.name, slow, 1, "x as fast")
            yield Result(
                f"60 ms a page: {state}", parallel.name, fast, slow.seconds / fast.seconds, "x as fast", 6, True
            )


def quick(bench: Bench) -> Iterator[Result]:
    """Ask for what is new in a membership of many jobs, of which five were open."""
    poll = Contestant("etl sync", ours(), OURS.jobs)
    runs = []
    with served(Shape(100_000, open_jobs=5)) as service:
        for _ in range(bench.rounds):
            with bench.target(service) as target:
                bench.run("before", OURS, target, service)
                service.move_on(20)
                runs.append(bench.run("20 of 100,000 changed", poll, target, service))
    figures = median(runs)
    yield Result("20 of 100,000 changed", poll.name, figures, figures.requests, "requests", 3)


def start(bench: Bench) -> Iterator[Result]:
    """Start for nearly nothing."""
    asked = median([time_process([sys.executable, "-m", "etl", "--help"]) for _ in range(bench.rounds)])
    yield Result("start", "etl --help", asked, asked.seconds, "s", 0.25)
    poll = Contestant("etl sync, nothing new", ours(), OURS.jobs)
    with served(Shape(50)) as service, bench.target(service) as target:
        bench.run("before", OURS, target, service)
        figures = median([bench.run("start", poll, target, service) for _ in range(bench.rounds)])
    yield Result("start", poll.name, figures, figures.seconds, "s", 1.2)


SCENES: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "side-by-side": side_by_side,
    "memberships": memberships,
    "newcomer": newcomer,
    "waiting": waiting,
    "quick": quick,
    "start": start,
}


def _compared(bench: Bench, services: dict[Contestant, Service]) -> Iterator[tuple[str, list[Figures]]]:
    """Yield the first and the unchanged sync of each, which run in turn."""
    runs = defaultdict(list)
    for _ in range(bench.rounds):
        with ExitStack() as stack:
            targets = [stack.enter_context(bench.target(service)) for service in services.values()]
            for state in ("first", "unchanged"):
                for (contestant, service), target in zip(services.items(), targets, strict=True):
                    runs[state, contestant].append(bench.run(state, contestant, target, service))
    for state in ("first", "unchanged"):
        yield state, [median(runs[state, contestant]) for contestant in services]
