"""A Postgres of one's own that may be broken: crashed, filled up, emptied of connections, locked."""

import errno
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg import sql

from etl import access, database
from etl.local_postgres import LocalPostgres, LocalPostgresError, throw_away

WRITER, CROWD = "writer", "crowd"
"""As whom the product logs in, and who else comes."""

_DISK = "128m"
_CHUNK = 1 << 20  # bytes
_CONNECTIONS = {"max_connections": "30", "superuser_reserved_connections": "6"}
_DATABASE = "faults"
_PATIENCE = 60.0  # seconds for a server to come back


class Server:
    """One database of a throw-away server, migrated, with a writer whose password may change."""

    def __init__(self, postgres: LocalPostgres, disk: Path | None) -> None:
        self._postgres = postgres
        self._disk = disk
        owner = database.parse(postgres.start())
        self._make_database(owner.render_as_string(hide_password=False))
        self.owner_url = owner.set(database=_DATABASE).render_as_string(hide_password=False)
        with database.connect(self.owner_url) as connection:
            database.upgrade(connection)
        self.password = ""
        self.execute(f"CREATE ROLE {WRITER} LOGIN; CREATE ROLE {CROWD} LOGIN PASSWORD '{CROWD}'")
        self.renew_password()
        self.grant()

    @property
    def has_small_disk(self) -> bool:
        return self._disk is not None

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
            assert not access.grant(connection, WRITER, statement_timeout=None).left

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

    def _make_database(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as session:
            where = sql.SQL("")
            if self._disk:
                place = self._disk / "tables"
                place.mkdir()
                account = (self._postgres.folder / "cluster").stat()
                os.chown(place, account.st_uid, account.st_gid)
                session.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(str(place)))
                where = sql.SQL(" TABLESPACE small")
            session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)) + where)


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
        yield Server(postgres, disk)


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
