"""Syncs that stand still before each of their steps, so that a test decides what happens there.

A step is an exchange with Postgres (a statement, a piece of a COPY, a COMMIT, a ROLLBACK) or a request to AWS. All
that it does to the database is done when the next one begins: who stops before each stops after each, too.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

import psycopg
from sqlalchemy import text

from etl import batches, calls, database, plan, reading
from etl.config import Config
from etl.sync import sync_membership

P = ParamSpec("P")
R = TypeVar("R")

EVERY = int(os.environ.get("EVERY", "3"))
"""Of so many steps one is tried, since all of them take four minutes; `make explore` tries each."""

ITEMS = 4
"""Items of a batch: few, so that a short listing is several."""

# Each process is forked from one that has imported everything and has no threads: that takes milliseconds.
_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["__main__", "etl.sync", "etl.clients", "psycopg", "sqlalchemy.dialects.postgresql"])

_numbers = count(1)


def preceded(method: Callable[P, R], step: Callable[..., object]) -> Callable[P, R]:
    """Return the method with a step before each call, which is given the same arguments."""

    @wraps(method)
    def stepped(*arguments: P.args, **options: P.kwargs) -> R:
        step(*arguments, **options)
        return method(*arguments, **options)

    return stepped


@contextmanager
def copied(server: str, url: str) -> Iterator[str]:
    """Copy a database, to which nobody may be connected; the copy is gone afterwards."""
    address = database.parse(url)
    name = f"copy_{next(_numbers)}"
    administrator = database.engine(server).connect().execution_options(isolation_level="AUTOCOMMIT")
    with administrator:
        administrator.execute(text(f"CREATE DATABASE {name} TEMPLATE {address.database}"))
        try:
            yield address.set(database=name).render_as_string(hide_password=False)
        finally:
            administrator.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


class Stepwise:
    """A sync of the first membership in a process of its own, which waits at each step."""

    def __init__(self, config: Config) -> None:
        self._channel, its_own = _FORKS.Pipe()
        self._process = _FORKS.Process(target=_sync, args=(config, its_own), daemon=True)
        self._process.start()
        its_own.close()

    def steps(self) -> Iterator[int]:
        """Yield the number of each step, counted from 1, that is about to be done; ends with the sync."""
        for number in count(1):
            try:
                self._channel.recv_bytes()
            except EOFError:
                self._process.join()
                return
            yield number
            self._channel.send_bytes(b"go on")

    def kill(self) -> None:
        """End it as `kill -9` does, wherever it is."""
        self._process.kill()
        self._process.join()

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode


def _sync(config: Config, channel: Connection) -> None:
    """Sync in this process, which is nobody else's: what it sets is gone with it."""

    def announce(*_: object, **__: object) -> None:
        channel.send_bytes(b"step")
        channel.recv_bytes()

    batches.ITEMS = ITEMS
    reading.PAGES_AHEAD = 0  # pages are read while nothing else is done: the steps come in one order
    plan._LONG_WAIT = 0.0
    psycopg.Connection.wait = preceded(psycopg.Connection.wait, announce)  # type: ignore[method-assign]
    calls.Calls.begin = preceded(calls.Calls.begin, announce)  # type: ignore[method-assign]
    report = sync_membership(config, config.memberships[0])
    assert report.outcome == "complete", report
