"""One cluster folder: the data, logs and socket of a server, which is made, started and stopped here.

All in the folder belongs to the account that runs the server.
"""

import os
import shlex
import subprocess
import tempfile
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from etl.postgres_binaries import UNFINISHED, Binaries, first_line, run

PATIENCE = 60  # seconds: a recovery after a crash replays at most max_wal_size
BUILTIN_LOCALE = 17  # the first with a locale provider of its own: upper('é') whatever the system has
SOCKET_PATH_LIMIT = 103  # bytes: macOS's limit, Linux's is 107

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


class ClusterError(Exception):
    """The server cannot be made, started or stopped: one line with its last words."""


@dataclass(frozen=True)
class Cluster:
    """A folder with a server's data, there or still to be made."""

    folder: Path

    @property
    def data(self) -> Path:
        """The folder that Postgres calls the data directory."""
        return self.folder / "data"

    @property
    def exists(self) -> bool:
        """Whether it has been made: wholly, since it gets its name last."""
        return self.folder.exists()

    @property
    def major(self) -> int | None:
        """The major version of the data, if there are any."""
        return int((self.data / "PG_VERSION").read_text()) if self.exists else None

    def make(self, binaries: Binaries, password: Path, settings: Mapping[str, str]) -> None:
        """Make it beside its place and rename it: killed halfway, it leaves nothing that counts."""
        scratch = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder.parent))
        if binaries.account:
            os.chown(scratch, *binaries.account)
        options = ["--username=etl", f"--pwfile={password}", "--auth=scram-sha-256"]
        options += ["--encoding=UTF8", "--locale=C", "--data-checksums"]
        if binaries.major >= BUILTIN_LOCALE:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if settings.get("fsync") == "off":
            options += ["--no-sync"]
        done = binaries.run("initdb", *options, str(scratch / "data"), cwd=scratch)
        if done.returncode:
            raise ClusterError(f"initdb failed in {self.folder.parent}: {first_line(done.stderr)}")
        scratch.rename(self.folder)
        descriptor = os.open(self.folder.parent, os.O_RDONLY)
        os.fsync(descriptor)  # a power cut after the first sync must not undo the rename
        os.close(descriptor)

    def start(self, binaries: Binaries, port: int, settings: Mapping[str, str]) -> str | None:
        """Start the server; a line for a trouble that passes by itself, ClusterError for any other."""
        # What a killed server left: Postgres would believe the pids in there, be they a stranger's by now.
        # Were it alive after all, it would hold its shared memory still, and no second one could start.
        sockets = self.folder.glob(".s.PGSQL.*")
        for stale in (self.data / "postmaster.pid", self.folder / "start.log", *sockets):
            stale.unlink(missing_ok=True)
        done = self._pg_ctl(binaries, "start", "-l", "start.log", "-o", self._options(port, settings))
        if not done.returncode:
            return None
        last = self._last_words() or first_line(done.stderr)
        # Orphans of a killed postmaster that are still leaving; a port that was taken since we looked.
        if "shared memory block" in last or "TCP/IP sockets" in last:
            return last
        raise ClusterError(f"PostgreSQL did not start: {last} (log: {self.folder})")

    def stop(self, binaries: Binaries) -> None:
        """Stop the server, ending its sessions."""
        done = self._pg_ctl(binaries, "stop", "-m", "fast")
        if done.returncode:
            raise ClusterError(f"PostgreSQL did not stop: {first_line(done.stderr)} (log: {self.folder})")

    def has_postmaster(self) -> bool:
        """Tell whether the process on file is alive and serves this very folder."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return False
        return f" -D {self.data} " in _command_line(pid)

    def _options(self, port: int, settings: Mapping[str, str]) -> str:
        """Write the command line of the server."""
        fits = len(os.fsencode(self.folder / f".s.PGSQL.{port}")) <= SOCKET_PATH_LIMIT
        quoted = '"{}"'.format(str(self.folder).replace('"', '""'))  # Postgres takes a list, split at commas
        where = {"port": str(port), "unix_socket_directories": quoted if fits else ""}
        chosen = {**SETTINGS, **where, **settings}.items()
        return shlex.join(["-D", str(self.data), *(f"--{name}={value}" for name, value in chosen)])

    def _pg_ctl(self, binaries: Binaries, *words: str) -> subprocess.CompletedProcess[str]:
        """Run pg_ctl with no path in its own arguments: it hands them to a shell, badly quoted."""
        words = (*words, "-s", "-w", "-t", str(PATIENCE))
        return binaries.run("pg_ctl", *words, cwd=self.folder, PGDATA=str(self.data))

    def _last_words(self) -> str:
        logs = [*self.folder.glob("start.log"), *self.folder.glob("log/*.log")]
        newest = max(reversed(logs), key=lambda log: log.stat().st_mtime_ns, default=None)
        if not newest:
            return ""
        with newest.open(errors="replace") as file:
            lines = [line.strip() for line in deque(file, maxlen=50)]
        fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
        return (fatal or lines or [""])[-1]


def _command_line(pid: int) -> str:
    """Return the words that a process was started with; none for a dead one or a zombie."""
    if not Path("/proc/self/cmdline").exists():  # macOS
        return run(["ps", "-ww", "-o", "args=", "-p", str(pid)], None, Path("/")).stdout
    with suppress(OSError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
    return ""
