"""What is measured, scene by scene, and the goal of each."""

import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks.contestants import FLOOR, LOOP, OURS, UPSERT, Contestant, Target, ours
from benchmarks.measuring import Figures, check_history, measure, median, time_process
from benchmarks.results import Goal, Result
from benchmarks.server import Server
from benchmarks.service import Service, Shape, served

STATES = ("first", "unchanged", "changed")
CHANGED = 0.01  # of the jobs, before the last of the states

# Of the time of the bare loop, from so many jobs on.
OF_LOOP = {
    100_000: {"first": 0.32, "unchanged": 0.15, "changed": 0.18},
    1_000_000: {"first": 0.32, "unchanged": 0.13, "changed": 0.15},
}
BOUNDED = {"peak_mb": Goal(200)}
SILENT = {"wal_mb": Goal(1), "dead_rows": Goal(0), "rows_written": Goal(0)}
AT_ANY_SIZE: Mapping[str, Mapping[str, Goal]] = {"first": BOUNDED, "unchanged": SILENT, "changed": {}}

MODELS = {"even": (1,) * 10, "by Zipf": tuple(1 / rank for rank in range(1, 11))}


class Poll(NamedTuple):
    """A quick sweep: the newest jobs have changed, and some are created while it reads."""

    title: str
    most_requests: int
    changed: int = 20
    created: int = 0


# The first finds the jobs open that were so from the start, some of them deep in the listing.
POLLS = (
    Poll("quick: 20 changed, 2 of 5 open jobs deep", 3),
    Poll("quick: 20 changed", 1),
    Poll("quick: 60 changed, 30 created between two pages", 2, changed=60, created=30),
)


@dataclass(frozen=True)
class Bench:
    """What all scenes need."""

    server: Server
    rounds: int
    jobs: int
    """Of a membership; scenes of several sizes take multiples and parts."""
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
    for state in STATES:
        loop = median(runs[state, LOOP]).seconds
        for contestant in contestants:
            figures = median(runs[state, contestant])
            goals = _goals(state, bench.jobs) if contestant is OURS else {}
            scene = f"{bench.jobs:,}: {state}"
            yield Result(scene, contestant.name, figures, figures.seconds / loop, "x loop", goals)


def _goals(state: str, jobs: int) -> Mapping[str, Goal]:
    of_loop = next((goals for least, goals in reversed(OF_LOOP.items()) if jobs >= least), {})
    ratio = {"ratio": Goal(of_loop[state])} if of_loop else {}
    return {**ratio, **AT_ANY_SIZE[state]}


def memory(bench: Bench) -> Iterator[Result]:
    """List a membership and one with ten times its jobs: what is held must not grow with them.

    Below a million no goal is set: a tenth of it does not fill what is held of any listing.
    """
    few, many = (Contestant(f"{jobs:,} jobs", OURS.command, OURS.jobs) for jobs in (bench.jobs // 10, bench.jobs))
    growth = {"ratio": Goal(1.25)} if bench.jobs >= max(OF_LOOP) else {}
    with served(Shape(bench.jobs // 10)) as small, served(Shape(bench.jobs)) as big:
        for state, (one, other) in _compared(bench, {few: small, many: big}):
            ratio = other.peak_mb / one.peak_mb
            yield Result(f"memory: {state}", few.name, one, 1, "x as large", BOUNDED)
            yield Result(f"memory: {state}", many.name, other, ratio, "x as large", {**growth, **BOUNDED})


def memberships(bench: Bench) -> Iterator[Result]:
    """List the same number of jobs in one membership and in twenty."""
    all_jobs, share = 2 * bench.jobs, bench.jobs // 10
    one, twenty = (Contestant(name, OURS.command, OURS.jobs) for name in (f"1 x {all_jobs:,}", f"20 x {share:,}"))
    with served(Shape(all_jobs)) as big, served(Shape(share, memberships=20)) as small:
        for state, (alone, shared) in _compared(bench, {one: big, twenty: small}):
            ratio = shared.seconds / alone.seconds
            yield Result(f"memberships: {state}", one.name, alone, 1, "x one")
            yield Result(f"memberships: {state}", twenty.name, shared, ratio, "x one", {"ratio": Goal(0.8)})


def newcomer(bench: Bench) -> Iterator[Result]:
    """List a membership for the first time where another one is already, of which alone the statistics know."""
    alone, beside = [], []
    with served(Shape(bench.jobs // 5, memberships=2)) as service:
        one, other = service.memberships()
        first = Contestant("in an empty database", OURS.command, OURS.jobs)
        later = Contestant("beside another membership", ours("--full", "--membership", other), OURS.jobs)
        for _ in range(bench.rounds):
            with bench.target(service) as target:
                alone.append(bench.run("first", first, target._replace(memberships=[one]), service))
                beside.append(bench.run("first", later, target, service))
    slower = median(beside).seconds / median(alone).seconds
    yield Result("newcomer: first", first.name, median(alone), 1, "x alone")
    yield Result("newcomer: first", later.name, median(beside), slower, "x alone", {"ratio": Goal(1.25)})


def waiting(bench: Bench) -> Iterator[Result]:
    """List a membership of ten models whose pages are waited for, one after the other and eight at once.

    Where `[sync] full_every` is as it comes: only the first listing may be split. Once one was, the second is read
    whole, which alone proves that the parts were all; the third needs no more than a few requests.
    """
    few, many = bench.jobs // 5, bench.jobs
    yield from _waiting(bench, few, "even", ("first", "second", "third"))
    yield from _waiting(bench, few, "by Zipf", ("first", "second", "third"))
    yield from _waiting(bench, many, "even", ("first",))


def _waiting(bench: Bench, jobs: int, sizes: str, states: Sequence[str]) -> Iterator[Result]:
    serial = Contestant("one request at a time", ours(max_concurrency=1), OURS.jobs)
    parallel = Contestant("max_concurrency = 8", ours(), OURS.jobs)
    goals = {"ratio": Goal(6, at_least=True)} if sizes == "even" else {}
    with served(Shape(jobs, models=MODELS[sizes], latency_seconds=0.06)) as service:
        for state, (slow, fast) in _compared(bench, {serial: service, parallel: service}, states):
            scene = f"60 ms a page, {jobs:,} jobs, models {sizes}: {state}"
            if state == "first":
                yield Result(scene, serial.name, slow, 1, "x as fast")
                yield Result(scene, parallel.name, fast, slow.seconds / fast.seconds, "x as fast", goals)
            else:
                yield Result(scene, serial.name, slow)
                yield Result(scene, parallel.name, fast)


def quick(bench: Bench) -> Iterator[Result]:
    """Ask for what is new in a membership of many jobs, of which five are open: all of it has to be stored."""
    contestant = Contestant("etl sync", ours(), None)
    runs = defaultdict(list)
    for _ in range(bench.rounds):
        with served(Shape(bench.jobs, open_jobs=5, deep=2)) as service, bench.target(service) as target:
            bench.run("before", OURS, target, service)
            for poll in POLLS:
                service.move_on(poll.changed)
                service.interrupt(poll.created)
                runs[poll].append(bench.run(poll.title, contestant, target, service))
                if poll.created:
                    bench.run("what came meanwhile", contestant, target, service)
                check_history(target.database, service.history())
    for poll in POLLS:
        yield Result(poll.title, contestant.name, median(runs[poll]), goals={"requests": Goal(poll.most_requests)})


def start(bench: Bench) -> Iterator[Result]:
    """Start for nearly nothing."""
    asked = median([time_process([sys.executable, "-m", "etl", "--help"]) for _ in range(bench.rounds)])
    yield Result("start", "etl --help", asked, goals={"seconds": Goal(0.25)})
    poll = Contestant("etl sync, nothing new", ours(), OURS.jobs)
    with served(Shape(50)) as service, bench.target(service) as target:
        bench.run("before", OURS, target, service)
        figures = median([bench.run("start", poll, target, service) for _ in range(bench.rounds)])
    yield Result("start", poll.name, figures, goals={"seconds": Goal(1.2)})


SCENES: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "side-by-side": side_by_side,
    "memory": memory,
    "memberships": memberships,
    "newcomer": newcomer,
    "waiting": waiting,
    "quick": quick,
    "start": start,
}


def _compared(
    bench: Bench, services: Mapping[Contestant, Service], states: Sequence[str] = ("first", "unchanged")
) -> Iterator[tuple[str, list[Figures]]]:
    """Yield what one sync after the other took of each, which run in turn."""
    runs = defaultdict(list)
    for _ in range(bench.rounds):
        with ExitStack() as stack:
            targets = [stack.enter_context(bench.target(service)) for service in services.values()]
            for state in states:
                for (contestant, service), target in zip(services.items(), targets, strict=True):
                    runs[state, contestant].append(bench.run(state, contestant, target, service))
    for state in states:
        yield state, [median(runs[state, contestant]) for contestant in services]
