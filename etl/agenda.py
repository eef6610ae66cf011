"""The daemon's own look at the database: which memberships are due, how fresh all are, and whether it serves.

Its connection is kept between looks, and made anew once anything was wrong with it.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError

from etl import database, leases, roster, sweep
from etl.config import Config, Membership

_NAME = "cleanroomsml-etl daemon"
_LOOK = "5s"  # a statement that takes longer has failed: whoever looks is needed


class Agenda:
    """The memberships of one configuration, as the database knows them. For one thread at a time.

    Each look raises `database.DatabaseError` where database or schema cannot be used. The first one registers the
    memberships, and makes due at once what was put off by failures: whoever starts or reloads a daemon has mended
    something.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._memberships = {membership.id: membership for membership in config.memberships}
        self._connection: Connection | None = None
        self._is_registered = False
        self._drops_others = True
        self._hastens = True

    def due(self, busy: Collection[str], most: int) -> list[Membership]:
        """Return at most so many memberships that are due and in nobody's hands, the longest due first.

        Those `busy` are in ours.
        """
        asked = [name for name in self._memberships if name not in busy]
        with self._look() as connection:
            found = leases.due(connection, asked, most)
        return [self._memberships[name] for name in found]

    def freshness(self) -> list[Mapping[str, Any]]:
        """Return the rows of `cleanrooms.sync_freshness`."""
        with self._look() as connection:
            return [
                dict(row) for row in connection.execute(text("SELECT * FROM cleanrooms.sync_freshness")).mappings()
            ]

    def daemons(self) -> int:
        """Return how many daemons look at this database, this one included: each has a session that says so."""
        with self._look() as connection:
            number: int = connection.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = :name"
                ),
                {"name": _NAME},
            ).scalar_one()
        return number

    def close(self) -> None:
        """Give the connection up; the memberships are registered once more with the next."""
        self._is_registered = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _look(self) -> Iterator[Connection]:
        """Yield the connection, in a transaction of a usable schema that knows the memberships."""
        try:
            connection = self._connection or self._connect()
            with connection.begin():
                connection.execute(text(f"SET LOCAL statement_timeout = '{_LOOK}'"))
                database.check_revision(connection)
                database.check_writable(connection)
                self._register(connection)
                yield connection
            # Committed: a failed look leaves to the next one what it had done.
            self._drops_others = self._drops_others and not self._is_registered
            self._hastens = False
        except DBAPIError as error:
            self.close()
            raise database.DatabaseError(f"the database failed: {database.reason(error)}") from error
        except database.DatabaseError:
            self.close()
            raise

    def _connect(self) -> Connection:
        self._connection = database.connect(self._config.database.address())
        with self._connection.begin():
            self._connection.execute(select(func.set_config("application_name", _NAME, False)))
        return self._connection

    def _register(self, connection: Connection) -> None:
        """Make the memberships known: at the first look, and again where somebody else has dropped one."""
        if self._is_registered and roster.are_tracked(connection, list(self._memberships)):
            return
        tracked = sweep.tracked(self._config)
        self._is_registered = roster.register(connection, tracked, drop_others=self._drops_others)
        if self._hastens:
            roster.hasten(connection)
