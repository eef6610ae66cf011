"""One fault after the other, some at a time, as the seed deals them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from random import Random

import psycopg
from sqlalchemy.exc import DBAPIError

from etl.database import DatabaseError
from faults import figures
from faults.figures import Figures
from faults.invariants import Invariants
from faults.kinds import Kind
from faults.scene import Scene

_PAUSES = (0.3, 1.1)  # seconds between two faults
_LULL = 2.5  # seconds without any now and then: quick sweeps need a full one that went well
_FAULTS_BETWEEN_LULLS = 10
_AT_ONCE = 6
_LOOK = 4.0  # seconds between two looks at the invariants


@dataclass
class _Active:
    kind: Kind
    end: float
    stack: ExitStack = field(default_factory=ExitStack)


class Storm:
    """Begins faults and ends them; the last ones end with it."""

    def __init__(self, scene: Scene, kinds: list[Kind], told: Figures, invariants: Invariants) -> None:
        self.ended: list[tuple[str, datetime]] = []
        """Which faults were over when."""
        self._scene = scene
        self._kinds = kinds
        self._figures = told
        self._invariants = invariants
        # What is broken when hangs on the seed alone; how it is done, on what other threads do meanwhile, too.
        self._random, self._chance = Random(told.seed), Random(told.seed)  # noqa: S311 - seeded on purpose
        self._active: list[_Active] = []
        self._looked_at = time.monotonic()

    def rage(self, seconds: float) -> None:
        """Go on for so long."""
        end = time.monotonic() + seconds
        deck = self._deck()
        while time.monotonic() < end:
            for kind in islice(deck, _FAULTS_BETWEEN_LULLS):
                self._end_those_due(time.monotonic())
                self._begin(kind)
                if time.monotonic() - self._looked_at > _LOOK:
                    self._look()
                time.sleep(self._random.uniform(*_PAUSES))
            self._end_those_due(float("inf"))
            time.sleep(_LULL)

    def _deck(self) -> Iterator[Kind]:
        """Deal each kind as often as it wants to come, in random order, again and again.

        From the second time on one of those that take long is among them: a short storm has none.
        """
        counts = [kind.times for kind in self._kinds]
        long = [kind for kind in self._kinds if not kind.times]
        self._random.shuffle(long)
        while True:
            yield from self._random.sample(self._kinds, sum(counts), counts=counts)
            if long:
                counts = [kind.times or int(kind is long[0]) for kind in self._kinds]
                long = [*long[1:], long[0]]

    def _begin(self, kind: Kind) -> None:
        """Begin a fault, once those are over that it may not meet."""
        while len(self._active) >= _AT_ONCE or any(kind.may_not_meet(active.kind) for active in self._active):
            first = min(active.end for active in self._active)
            time.sleep(max(0.0, first - time.monotonic()))
            self._end_those_due(first)
        active = _Active(kind, time.monotonic() + self._random.uniform(kind.least, kind.most))
        active.stack.enter_context(kind.begin(self._scene, self._chance))
        self._active.append(active)
        self._figures.tried[kind.name] += 1

    def _end_those_due(self, moment: float) -> None:
        for active in [active for active in self._active if active.end <= moment]:
            self._active.remove(active)
            active.stack.close()
            self.ended.append((active.kind.name, datetime.now(UTC)))
            self._scene.workers.reload()  # what was put off because of it is due again

    def _look(self) -> None:
        """Look at the invariants, if the database can be looked at now."""
        self._looked_at = time.monotonic()
        with suppress(DBAPIError, DatabaseError, psycopg.OperationalError):
            self._figures.add((figures.DURING, what) for what in self._invariants.broken())
        self._figures.add((figures.DEAD, what) for what in self._scene.workers.dead())
