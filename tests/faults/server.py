"""A Postgres of one's own that may be broken: crashed, replaced, filled up, emptied of connections, locked."""

import errno
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL

from etl import access, database
from etl.local_postgres import LocalPostgres, LocalPostgresError, throw_away
from faults import standby
from faults.standby import Standby

WRITER, CROWD = "writer", "crowd"
"""As whom the product logs in, and who else comes."""

_DISK = "128m"
_CHUNK = 1 << 20  # bytes
_CONNECTIONS = {"max_connections": "30", "superuser_reserved_connections": "6"}
_DATABASE = "faults"
_PATIENCE = 60.0  # seconds for a server to come back
_FOR_A_LOSS = 5.0  # seconds


class Server:
    """One database of a throw-away server, migrated, with a writer whose password may change."""

    def __init__(self, postgres: LocalPostgres, disk: Path | None) -> None:
        self.losses = 0
        """How often commits were lost that somebody may have seen."""
        self.runs_lost = 0
        """Runs of the product among them."""
        self._postgres = postgres
        self._disk = disk
        self._tables = disk / "tables" if disk else None
        self._standby: Standby | None = None
        self._numbers = count(1)
        owner = database.parse(postgres.start())
        self._make_database(owner.render_as_string(hide_password=False))
        self._lead_to(owner)
        with database.connect(self.owner_url) as connection:
            database.upgrade(connection)
        self.password = ""
        self.execute(f"CREATE ROLE {WRITER} LOGIN; CREATE ROLE {CROWD} LOGIN PASSWORD '{CROWD}'")
        self.renew_password()
        self.grant()

    @property
    def has_small_disk(self) -> bool:
        return self._disk is not None

    @property
    def may_have_standby(self) -> bool:
        return standby.is_possible(self._postgres)

    def url(self, role: str = WRITER) -> str:
        """The address for a role, with its password as it is now."""
        password = {WRITER: self.password, CROWD: CROWD}[role]
        address = database.parse(self.owner_url).set(username=role, password=password)
        return address.render_as_string(hide_password=False)

    def execute(self, statement: str) -> None:
        """Run a statement as the owner."""
        with self.session() as session:
            session.execute(statement.encode())

    def session(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(self.owner_url, autocommit=True, connect_timeout=10)

    def renew_password(self) -> None:
        self.password = secrets.token_hex(8)
        self.execute(f"ALTER ROLE {WRITER} PASSWORD '{self.password}'")

    def grant(self) -> None:
        """Let the writer write, as an operator does after each upgrade."""
        with database.connect(self.owner_url) as connection, connection.begin():
            assert not access.grant_writer(connection, WRITER).left

    def end_sessions(self, share: str = "true") -> None:
        """End sessions of the writer."""
        self.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{WRITER}' AND {share}"  # noqa: S608
        )

    def await_end_of_sessions(self) -> None:
        """Wait until the server has noticed that all workers are gone."""
        deadline = time.monotonic() + _PATIENCE
        with self.session() as session:
            while session.execute("SELECT FROM pg_stat_activity WHERE usename = %s", (WRITER,)).rowcount:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def crash(self) -> None:
        """Stop at once, without a checkpoint, as `pg_ctl stop -m immediate` does."""
        file = self._postgres.folder / "cluster/data/postmaster.pid"
        os.kill(int(file.read_text().split()[0]), signal.SIGQUIT)

    def restart(self) -> None:
        """Come back, at the same address."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                address = database.parse(self._postgres.start())
            except LocalPostgresError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                assert address.port == database.parse(self.owner_url).port
                return

    def follow(self, *, is_synchronous: bool) -> None:
        """Let a standby follow: each COMMIT, or as the primary was a moment ago and no longer."""
        number = next(self._numbers)
        tables = self._tables.with_name(f"tables-{number}") if self._tables else None
        moved = {self._tables: tables} if self._tables and tables else {}
        folder = self._postgres.folder.with_name(f"standby-{number}")
        self._standby = Standby(self._postgres, folder, moved)
        if is_synchronous:
            self._standby.follow_at_each_commit()
        else:
            self._standby.fall_behind()

    def await_loss(self) -> None:
        """Wait until a run has begun of which the standby knows nothing, but not for long: other faults are on."""
        assert self._standby
        deadline = time.monotonic() + _FOR_A_LOSS
        with psycopg.connect(self._standby.postgres.url(), dbname=_DATABASE) as there:
            before = _runs(there)
        with self.session() as here:
            while _runs(here) <= before and time.monotonic() < deadline:
                time.sleep(0.05)

    def fail_over(self) -> None:
        """Lose the primary at once, and let the standby take its place, at an address of its own."""
        assert self._standby
        with self.session() as session:
            runs = _runs(session)
        self.crash()
        lost, self._postgres = self._postgres, self._standby.postgres
        self._standby.promote()
        self.losses += self._standby.is_behind
        self._standby = None
        self._lead_to(database.parse(self._postgres.url()))
        with self.session() as session:
            self.runs_lost += runs - _runs(session)
        self._remove(lost)

    def stop(self) -> None:
        """End whatever runs."""
        if self._standby:
            self._standby.postgres.stop()
        self._postgres.stop()

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Leave no room where the tables lie."""
        assert self._disk
        ballast = self._disk / "ballast"
        try:
            _fill(ballast)
            yield
        finally:
            ballast.unlink(missing_ok=True)

    @contextmanager
    def crowd(self) -> Iterator[None]:
        """Take all connections that anybody may have."""
        taken = []
        try:
            with suppress(psycopg.OperationalError):
                while True:
                    taken.append(psycopg.connect(self.url(CROWD), connect_timeout=10))
            yield
        finally:
            for connection in taken:
                connection.close()

    def _lead_to(self, owner: URL) -> None:
        self.owner_url = owner.set(database=_DATABASE).render_as_string(hide_password=False)

    def _remove(self, lost: LocalPostgres) -> None:
        """Remove what a primary has left, once its processes are gone."""
        deadline = time.monotonic() + _PATIENCE
        while lost._cluster.has_postmaster():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        shutil.rmtree(lost.folder)
        if self._tables:
            shutil.rmtree(self._tables)
            self._tables = next(self._tables.parent.glob("tables*"))

    def _make_database(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as session:
            where = sql.SQL("")
            if self._tables:
                self._tables.mkdir()
                account = (self._postgres.folder / "cluster").stat()
                os.chown(self._tables, account.st_uid, account.st_gid)
                session.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(str(self._tables)))
                where = sql.SQL(" TABLESPACE small")
            session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)) + where)


def _runs(session: "psycopg.Connection[Any]") -> int:
    """Count the runs of the product."""
    [[runs]] = session.execute("SELECT count(*) FROM cleanrooms_etl.sync_run").fetchall()
    return int(runs)


def _fill(file: Path) -> None:
    with file.open("wb") as ballast:
        size = 0
        for chunk in (_CHUNK, os.sysconf("SC_PAGE_SIZE")):
            try:
                while True:
                    os.posix_fallocate(ballast.fileno(), size, chunk)
                    size += chunk
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


@contextmanager
def opened() -> Iterator[Server]:
    """Yield a server whose tables lie on a small disk of their own, where this machine lets us have one."""
    with _small_disk() as disk, throw_away(None, **_CONNECTIONS) as postgres:
        server = Server(postgres, disk)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def _small_disk() -> Iterator[Path | None]:
    with TemporaryDirectory(prefix="etl-disk-") as folder:
        mount = ("mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=711", "tmpfs", folder)
        try:
            is_mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0  # noqa: S603 - our own words
        except OSError:
            is_mounted = False
        if not is_mounted:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(("umount", folder), check=True)  # noqa: S603, S607 - our own words
