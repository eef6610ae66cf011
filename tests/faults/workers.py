"""The product's own processes, daemons and single syncs, with one configuration file for all."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

_JUMPING_CLOCK = Path(__file__).parent / "jumping_clock"
_FAULTS = ("a fault of this program", "Traceback (most recent call last)")
_PATIENCE = 120.0  # seconds that one sync may take on a busy machine

Process = subprocess.Popen[bytes]


class Workers:
    """All processes that were started, and what they said."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count(1)
        self._environ = _environ()
        self.daemons: list[Process] = []
        self.syncs: list[Process] = []
        self._logs: dict[int, Path] = {}
        self._started: set[int] = set()

    def configure(
        self, sections: Mapping[str, Mapping[str, object]], memberships: Sequence[Mapping[str, str]]
    ) -> None:
        """Write the configuration; who runs already reads it when told to."""
        tables = [("[{}]", name, section) for name, section in sections.items()]
        tables += [("[[{}]]", "membership", each) for each in memberships]
        lines = [
            "\n".join((head.format(name), *(f"{key} = {json.dumps(value)}" for key, value in section.items())))
            for head, name, section in tables
        ]
        new = self._folder / "etl.toml.new"
        new.write_text("\n".join(lines))
        new.rename(self._folder / "etl.toml")

    def start_daemon(self, *, has_jumping_clock: bool = False) -> Process:
        path = [str(_JUMPING_CLOCK)] if has_jumping_clock else []
        daemon = self._start("daemon", path=path)
        self.daemons.append(daemon)
        return daemon

    def start_sync(self, *words: str) -> Process:
        sync = self._start("sync", *words)
        self.syncs.append(sync)
        return sync

    def sync(self, *words: str) -> int:
        """Run one to its end, and return its exit code."""
        return self.start_sync(*words).wait(_PATIENCE)

    def reload(self) -> None:
        """Let the daemons read their configuration anew: they then put off nothing any more."""
        for daemon in self.daemons:
            if self._has_started(daemon):
                daemon.send_signal(signal.SIGHUP)

    def kill(self, process: Process) -> None:
        """End a process as the kernel does it."""
        process.kill()
        process.wait()
        self._forget(process)

    def stop(self, daemon: Process) -> int:
        """End a daemon as an operator does it, and return its exit code."""
        deadline = time.monotonic() + _PATIENCE
        while not self._has_started(daemon) and time.monotonic() < deadline:
            time.sleep(0.05)
        daemon.terminate()
        code = daemon.wait(_PATIENCE)
        self._forget(daemon)
        return code

    def stop_all(self) -> list[int]:
        """End all daemons so, once the last sync has ended by itself, and return their exit codes."""
        for sync in self.syncs:
            sync.wait(_PATIENCE)
        return [self.stop(daemon) for daemon in self.daemons.copy()]

    def thaw(self) -> None:
        """Let go on whoever was frozen."""
        for process in [*self.daemons, *self.syncs]:
            process.send_signal(signal.SIGCONT)

    def dead(self) -> list[str]:
        """Name the daemons that have ended though nobody ended them."""
        return [
            f"daemon {each.pid} ended with {each.returncode}" for each in self.daemons if each.poll() is not None
        ]

    def faults(self) -> list[str]:
        """What the processes said of faults of the program."""
        return [
            f"{log.name}: {line.strip()[:500]}"
            for log in sorted(self._folder.glob("*.log"))
            for line in log.read_text(errors="replace").splitlines()
            if any(word in line for word in _FAULTS)
        ]

    def end(self) -> None:
        for process in [*self.daemons, *self.syncs]:
            self.kill(process)

    def _has_started(self, daemon: Process) -> bool:
        """Tell whether it takes signals by now."""
        if daemon.pid not in self._started and b'"started"' in self._logs[daemon.pid].read_bytes():
            self._started.add(daemon.pid)
        return daemon.pid in self._started

    def _forget(self, process: Process) -> None:
        for some in (self.daemons, self.syncs):
            if process in some:
                some.remove(process)

    def _start(self, *words: str, path: Sequence[str] = ()) -> Process:
        environ = self._environ | {
            "PYTHONPATH": os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])])
        }
        log = self._folder / f"{words[0]}-{next(self._numbers)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "etl", *words, "--json", "--config", str(self._folder / "etl.toml")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environ,
            )
        self._logs[process.pid] = log
        self._started.discard(process.pid)  # of one before it that had the same number
        return process


@contextmanager
def employed(folder: Path) -> Iterator[Workers]:
    """Yield workers, none of whom outlives the context."""
    workers = Workers(folder)
    try:
        yield workers
    finally:
        workers.end()


def _environ() -> dict[str, str]:
    """Credentials that are worth nothing, and no configuration of whoever runs this."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ETL_", "PG"))}
    return others | {
        "AWS_ACCESS_KEY_ID": "AKIAFAULTS",
        "AWS_SECRET_ACCESS_KEY": "worthless",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "ETL_DAEMON_LISTEN": "127.0.0.1:0",
    }
