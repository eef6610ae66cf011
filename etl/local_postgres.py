"""The private Postgres that serves when no database URL is configured: start it, find it, stop it.

This room alone knows which account runs it, and what lies in the folder: `lock` (flocked by who starts or stops),
`password` (of the role `etl`), `port` (chosen once), and `cluster/`: all that belongs to the server's account:
data, logs, and the socket where its path is short enough.
A real connection is the only proof of life: pid files lie after a `kill -9` or a reboot.
"""

import fcntl
import os
import pwd
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psycopg

from etl import postgres_binaries
from etl.postgres_binaries import UNFINISHED, Account, Binaries, BinariesError, first_line
from etl.postgres_cluster import PATIENCE, Cluster, ClusterError


class LocalPostgresError(Exception):
    """The private Postgres cannot serve: one line that names the thing and the way out."""


def home(environ: Mapping[str, str]) -> Path:
    """Find where everything of ours lies: `$ETL_HOME`, else by the XDG rules, else (root) under `/var/lib`.

    Root's own home is closed to the account of root's server. Raises LocalPostgresError if there is no home.
    """
    if chosen := environ.get("ETL_HOME"):
        return Path(chosen).absolute()
    data = Path(environ.get("XDG_DATA_HOME", ""))
    if data.is_absolute():  # the XDG rules: a relative one is to be ignored
        return data / "cleanroomsml-etl"
    if os.geteuid() == 0:
        return Path("/var/lib/cleanroomsml-etl")
    try:
        return Path(environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir) / ".local/share/cleanroomsml-etl"
    except KeyError:
        raise LocalPostgresError("this user has no home folder: set ETL_HOME, or database.url") from None


@dataclass(frozen=True)
class LocalPostgres:
    """The server of one folder, running or not. Whatever keeps a method from its duty: LocalPostgresError."""

    folder: Path
    bin_folder: Path | None = None  # these binaries and no others
    search_path: str = ""  # as $PATH
    settings: Mapping[str, str] = field(default_factory=dict)  # on top of ours: fsync=off for a test, say

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Take `ETL_HOME` (or what else `home` reads), `ETL_PG_BIN` and `PATH` from the operator's environment."""
        chosen = environ.get("ETL_PG_BIN")
        return cls(home(environ), Path(chosen).absolute() if chosen else None, environ.get("PATH", ""))

    def start(self) -> str:
        """Return the URL, after making and starting what is missing. The server outlives this process."""
        with self._one_line():
            if self._trouble():
                self._make_folder()
                with self._locked():
                    self._launch()
            return self._url()

    def url(self) -> str:
        """Return the URL of the running server, over TCP."""
        with self._one_line():
            if trouble := self._trouble():
                raise LocalPostgresError(f"no private Postgres in {self.folder} ({trouble}): run `etl db start`")
            return self._url()

    def is_running(self) -> bool:
        """Tell whether a connection succeeds."""
        with self._one_line():
            return self._trouble() is None

    def stop(self) -> bool:
        """Stop the server, ending its sessions; False if it was not running."""
        with self._one_line():
            if not self._cluster.exists:
                return False
            self._account()  # refuses other people's folders
            with self._locked():
                if not self._cluster.has_postmaster():  # pg_ctl would signal whoever has that pid now
                    return False
                self._cluster.stop(self._binaries())
                return True

    def psql(self) -> Path | None:
        """Find a `psql`, the server's own first."""
        found = shutil.which("psql", path=os.pathsep.join([*map(str, self._places()), self.search_path]))
        return Path(found) if found else None

    # What lies in the folder

    @property
    def _cluster(self) -> Cluster:
        return Cluster(self.folder.resolve() / "cluster")

    def _url(self, database: str = "etl") -> str:
        password = (self.folder / "password").read_text()
        # The wheel has no OpenSSL, and an exported PGSSLMODE may ask for it.
        return f"postgresql://etl:{password}@127.0.0.1:{self._port()}/{database}?sslmode=disable"

    def _port(self) -> int | None:
        with suppress(FileNotFoundError, ValueError):
            return int((self.folder / "port").read_text())
        return None

    def _make_folder(self) -> None:
        account = self._account()
        folders = [*reversed(self.folder.resolve().parents), self.folder.resolve()]
        present = [each for each in folders if each.exists()]
        if account and (closed := account.first_closed(present)):
            name = _name(account.uid)
            raise LocalPostgresError(
                f"{closed} is closed to {name}, as whom root runs the private Postgres: set ETL_HOME to a folder"
                f" that {name} can reach, or set database.url"
            )
        for missing in folders[len(present) :]:
            missing.mkdir(mode=0o700, exist_ok=True)
            if account:
                missing.chmod(0o711)  # the server passes through, and sees nothing but its own cluster/

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time; the lock dies with its holder, and no child of ours inherits it."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, name: str, text: str, mode: int, owner: int = -1) -> None:
        """Replace a file whole: killed halfway, the old one stays. In place before the data that need it."""
        new = self.folder / f"{UNFINISHED}{name}"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            os.fchown(file.fileno(), owner, -1)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.folder / name)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            owner, we = _owner(self.folder), _name(os.geteuid())
            raise LocalPostgresError(
                f"{error.filename or self.folder} is closed to {we} (the folder belongs to {owner}):"
                f" run etl as {owner}, set ETL_HOME to a folder of {we}'s, or set database.url"
            ) from error
        except (BinariesError, ClusterError) as error:
            raise LocalPostgresError(str(error)) from error
        except (OSError, psycopg.Error) as error:
            raise LocalPostgresError(
                f"private Postgres in {self.folder}: {first_line(error)}; mend that, or set database.url"
            ) from error

    # Who runs it, and with which binaries

    def _account(self) -> Account | None:
        """As whom root runs the server, since Postgres refuses root; None: as ourselves.

        Root keeps out of other people's folders: what it left there they could not open later.
        """
        if os.geteuid() != 0:
            return None
        if self.folder.exists() and self.folder.stat().st_uid != 0:
            owner = _owner(self.folder)
            raise LocalPostgresError(
                f"{self.folder} belongs to {owner}: run etl as {owner} (sudo -u {owner} etl ...), or set ETL_HOME"
            )
        if self._cluster.exists:
            present = self._cluster.folder.stat()
            return Account(present.st_uid, present.st_gid)
        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                return Account(pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
        raise LocalPostgresError("Postgres refuses root: add a user named postgres, or set database.url")

    def _places(self) -> Iterator[Path]:
        return postgres_binaries.folders(self.bin_folder, self.search_path)

    def _binaries(self) -> Binaries:
        return postgres_binaries.choose(
            self._places(), self._account(), self._cluster.major, self.folder.resolve()
        )

    # The server

    def _trouble(self, database: str = "etl") -> str | None:
        """Say why a connection fails; None if it does not."""
        if not self._cluster.exists or not self._port():
            return "never started"
        try:
            with self._connect(database) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            return first_line(error)
        return None

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            self._url(database),
            require_auth="scram-sha-256",  # whoever else took the port proves nothing and learns no password
            connect_timeout=5,
            autocommit=True,
        )

    def _launch(self) -> None:
        """Bring server and database up, whatever a crash left behind; under the lock."""
        for leftover in self.folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        deadline = time.monotonic() + PATIENCE
        while trouble := self._trouble("postgres"):
            if not self._cluster.has_postmaster():
                trouble = self._start_postmaster()
            if trouble and time.monotonic() > deadline:
                raise LocalPostgresError(f"PostgreSQL does not answer: {trouble} (log: {self._cluster.folder})")
            time.sleep(0.05)
        with self._connect("postgres") as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = 'etl'").rowcount:
                connection.execute("CREATE DATABASE etl")

    def _start_postmaster(self) -> str | None:
        """Make the cluster if it is missing, and start its server; a line for a trouble that passes by itself."""
        binaries = self._binaries()
        if not self._cluster.exists:
            account = binaries.account
            self._write("password", secrets.token_urlsafe(24), 0o600, account.uid if account else -1)
            self._cluster.make(binaries, self.folder.resolve() / "password", self.settings)
        return self._cluster.start(binaries, self._own_port(), self.settings)

    def _own_port(self) -> int:
        """Return the port on file, if nobody else has taken it, else a new one."""
        port = self._port()
        if not port or not _is_free(port):
            port = _free_port()
            self._write("port", str(port), 0o644)
        return port


@contextmanager
def throw_away(bin_folder: Path | None = None, **settings: str) -> Iterator[LocalPostgres]:
    """Yield a server in a folder of its own, to be started, which is gone afterwards: for tests and checks."""
    folder = Path(tempfile.mkdtemp(prefix="etl-"))
    folder.chmod(0o711)  # as root the server runs as another user, who must get in
    postgres = LocalPostgres(folder / "home", bin_folder, os.defpath, {"fsync": "off", **settings})
    try:
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(folder)


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        # As Postgres does: ended connections may linger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _free_port() -> int:
    """Choose below 32768: the kernel gives those above to anybody's connections while our server rests."""
    for _ in range(100):
        if _is_free(port := 20_000 + secrets.randbelow(12_000)):
            return port
    raise LocalPostgresError("no free port on 127.0.0.1 between 20000 and 32000: set database.url")


def _owner(folder: Path) -> str:
    """Name whom a folder belongs to, or the nearest one above that can be seen."""
    for each in (folder, *folder.parents):
        with suppress(OSError):
            return _name(each.stat().st_uid)
    return "nobody"


def _name(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"user {uid}"
