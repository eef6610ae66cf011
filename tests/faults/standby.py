"""A standby of a private server: copied from it, fed by it, and made the primary when that one is lost."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from etl import database
from etl.local_postgres import LocalPostgres

_PATIENCE = 60.0  # seconds for a server to do as it is told
_PROGRAM = "pg_basebackup"


def is_possible(postgres: LocalPostgres) -> bool:
    """Tell whether the server's own programs can copy it."""
    return (postgres._binaries().folder / _PROGRAM).exists()


class Standby:
    """One server that follows another. Whoever made it stops it, too."""

    def __init__(self, primary: LocalPostgres, folder: Path, moved: Mapping[Path, Path]) -> None:
        """Copy the `primary` into `folder`, and its tablespaces to where they are `moved`."""
        self.is_behind = False
        self._primary = primary
        _copy(primary, folder, moved)
        self.postgres = LocalPostgres(folder, primary._binaries().folder, primary.search_path, primary.settings)
        self.postgres.start()
        self._await_follower("state = 'streaming'")

    def follow_at_each_commit(self) -> None:
        """Let the primary answer no COMMIT before it is here, too."""
        with _session(self._primary) as session:
            session.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            session.execute("SELECT pg_reload_conf()")
        self._await_follower("sync_state = 'sync'")

    def fall_behind(self) -> None:
        """Hear no more of the primary: what it commits from now on is not here."""
        with _session(self.postgres) as session:
            session.execute("ALTER SYSTEM SET primary_conninfo = ''")
            session.execute("SELECT pg_reload_conf()")
        self.is_behind = True
        with _session(self._primary) as session:
            _await(session, "NOT EXISTS (SELECT FROM pg_stat_replication)")

    def promote(self) -> None:
        """Become a primary."""
        with _session(self.postgres) as session:
            session.execute("SELECT pg_promote()")
            _await(session, "NOT pg_is_in_recovery()")

    def _await_follower(self, condition: str) -> None:
        with _session(self._primary) as session:
            _await(session, f"EXISTS (SELECT FROM pg_stat_replication WHERE {condition})")


def _copy(primary: LocalPostgres, folder: Path, moved: Mapping[Path, Path]) -> None:
    """Copy data and password to where a `LocalPostgres` looks for them."""
    cluster = folder / "cluster"
    cluster.mkdir(parents=True)
    account = (primary.folder / "cluster").stat()
    for place in (cluster, *moved.values()):
        place.mkdir(exist_ok=True)
        os.chown(place, account.st_uid, account.st_gid)
    address = database.parse(primary.url())
    way = f"host={address.host} port={address.port} user={address.username} sslmode=disable"
    words = ["-D", str(cluster / "data"), "-d", way, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
    words += [f"--tablespace-mapping={old}={new}" for old, new in moved.items()]
    done = primary._binaries().run(_PROGRAM, *words, cwd=cluster, PGPASSWORD=str(address.password))
    assert not done.returncode, done.stderr
    shutil.copy(primary.folder / "password", folder / "password")


@contextmanager
def _session(postgres: LocalPostgres) -> "Iterator[psycopg.Connection[Any]]":
    with psycopg.connect(postgres.url(), autocommit=True, connect_timeout=10) as session:
        yield session


def _await(session: "psycopg.Connection[Any]", condition: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while session.execute(f"SELECT {condition}".encode()).fetchall() != [(True,)]:
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
