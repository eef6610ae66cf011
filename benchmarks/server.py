"""A throw-away PostgreSQL with durable defaults, and what its own accounts say of a run."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql

from etl import database
from etl.local_postgres import throw_away

TEMPLATE = "etl"
"""The database with our schema and no rows."""

SESSIONS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"""


class Accounts(NamedTuple):
    """What the server has done until now: all of it, and in one database."""

    cpu_seconds: float
    wal_bytes: int
    dead: Counter[str]
    """Dead rows, by table."""
    written: Counter[str]
    """Inserts, updates and deletes, by table."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    """Of `TEMPLATE`."""
    postmaster: int

    def create(self, name: str) -> str:
        """Return the URL of a database in which nothing has been stored yet."""
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            for statement in ("DROP DATABASE IF EXISTS {}", f"CREATE DATABASE {{}} TEMPLATE {TEMPLATE}"):
                connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
        return self._address(name)

    def rest(self, url: str) -> None:
        """Do what a quarter of an hour until the next poll would: a vacuum and a checkpoint.

        Else they fall into whichever run comes next, and what they write is counted as its own.
        """
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")

    def drop(self, name: str) -> None:
        """Make room."""
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))

    def accounts(self, url: str) -> Accounts:
        """Read the accounts once all other sessions in a database are over: they settle theirs as they end."""
        with psycopg.connect(url, autocommit=True) as connection:
            while _one(connection, SESSIONS) > 1:
                time.sleep(0.01)
            tables = connection.execute(
                "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del, n_dead_tup FROM pg_stat_user_tables"
            ).fetchall()
            return Accounts(
                _cpu_seconds(self.postmaster),
                _one(connection, "SELECT pg_current_wal_insert_lsn() - '0/0'"),
                Counter({name: dead for name, _, dead in tables}),
                Counter({name: written for name, written, _ in tables}),
            )

    def _address(self, name: str) -> str:
        return database.parse(self.url).set(drivername="postgresql", database=name).render_as_string(False)


@contextmanager
def running(**settings: str) -> Iterator[Server]:
    """Start a server as it comes from its makers, fsync included; it ends with the block."""
    with throw_away(None, fsync="on", **settings) as postgres:
        url = postgres.start()
        with database.connect(url) as connection:
            database.upgrade(connection)
        pid = postgres.folder / "cluster/data/postmaster.pid"
        yield Server(url, int(pid.read_text().split()[0]))


def _one(connection: psycopg.Connection, query: str) -> int:
    found = connection.execute(query.encode()).fetchone()
    return int(found[0]) if found else 0


def _cpu_seconds(postmaster: int) -> float:
    """Return the time of a server and of all sessions that are over."""
    fields = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
