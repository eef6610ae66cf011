"""What the cookbook asks: a database in which real syncs, over real HTTP, have recorded a simulated world.

All of it has one clock, the database too: a schema that comes before pg_catalog on its search path says what
`now()` is. So every moment is the same whenever this runs, and `now()` in a query is the end of the story.
"""

import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count

from sqlalchemy import Connection, text

from etl import database, loading, sweep
from etl.demo import answers
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.request import JOBS
from etl.sync import sync_membership

Life = Iterator[timedelta]
"""How long something waits, again and again, for what it does next."""

_CLOCK = (
    "CREATE SCHEMA simulated",
    "CREATE TABLE simulated.clock (moment timestamptz NOT NULL)",
    "INSERT INTO simulated.clock VALUES ('-infinity')",
    "CREATE FUNCTION simulated.now() RETURNS timestamptz LANGUAGE sql STABLE"
    " RETURN (SELECT moment FROM simulated.clock)",
    "CREATE FUNCTION simulated.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE"
    " RETURN (SELECT moment FROM simulated.clock)",
)


class Agenda:
    """What goes on at the same time: each life goes on at its own moments, one after the other."""

    def __init__(self) -> None:
        self._lives: list[tuple[datetime, int, Life]] = []
        self._order = count()

    def add(self, moment: datetime, life: Life) -> None:
        """Let a life begin at a moment."""
        heapq.heappush(self._lives, (moment, next(self._order), life))

    def __iter__(self) -> Iterator[datetime]:
        """Tell each moment before the life that is due at it goes on."""
        while self._lives:
            moment, _, life = heapq.heappop(self._lives)
            yield moment
            if (wait := next(life, None)) is not None:
                self.add(moment + wait, life)


class Recorder:
    """The product, syncing the memberships of a simulated world into a database with that world's clock."""

    def __init__(self, url: str, endpoint: Endpoint, clock: Clock, memberships: list[dict[str, str]]) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._config = loading.from_mapping(
            {"database": {"url": url}, "aws": {"endpoint_url": endpoint.url}, "membership": memberships}, {}
        )

    def record(self, agenda: Agenda, until: datetime) -> None:
        """Let all happen that is on the agenda, until a moment."""
        url = self._config.database.address()
        with database.connect(url) as connection:
            _begin_clock(connection)
        with database.connect(url) as connection:  # one that has the search path
            self._set(connection, self._clock())
            database.upgrade(connection)
            sweep.register(self._config)
            for moment in agenda:
                self._set(connection, min(moment, until))
                if moment > until:
                    return

    def _set(self, connection: Connection, moment: datetime) -> None:
        self._clock.set(moment)
        with connection.begin():
            connection.execute(text("UPDATE simulated.clock SET moment = :moment"), {"moment": moment})

    def syncs(self, membership_id: str, pause: timedelta, times: int) -> Life:
        """Sync a membership so many times, and again a day later."""
        membership = next(each for each in self._config.memberships if each.id == membership_id)
        while True:
            for _ in range(times):
                sync_membership(self._config, membership)
                yield pause
            yield timedelta(days=1) - times * pause

    def denial(self, membership_id: str, duration: timedelta) -> Life:
        """Let AWS refuse to list a membership for a while."""
        self._endpoint.on(
            lambda request: (request.operation, request.membership) == (JOBS, membership_id),
            answers.error("AccessDeniedException", message="Not authorized to perform: cleanrooms:PassMembership"),
            times=None,
        )
        yield duration
        self._endpoint.forget_plan()


def _begin_clock(connection: Connection) -> None:
    with connection.begin():
        for statement in _CLOCK:
            connection.execute(text(statement))
        name = connection.scalar(text("SELECT quote_ident(current_database())"))
        connection.execute(text(f"ALTER DATABASE {name} SET search_path = simulated, pg_catalog"))
