"""Run a command and tell what it took, as one JSON line: `python -IS launch.py COMMAND ...`.

A process of its own and a small one, since Linux counts the memory of whoever starts a command as the command's.
"""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

LOOK = 0.05  # seconds; a look takes about a millisecond
PROC = Path("/proc")


class Memory(Thread):
    """Looks how large a process and its descendants are, all together.

    Of each the system keeps the peak; it counts a page that several share for each of them.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.peak_bytes = 0

    def run(self) -> None:
        """Look for as long as this program runs."""
        while True:
            self.peak_bytes = max(self.peak_bytes, sum(map(_peak_bytes, self._family())))
            time.sleep(LOOK)

    def _family(self) -> set[int]:
        family = {self._pid}
        for pid in sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()):
            if pid > self._pid and _parent(pid) in family:  # who is started later has a higher number
                family.add(pid)
        return family


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        return int((PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def _peak_bytes(pid: int) -> int:
    with suppress(OSError):
        for line in (PROC / f"{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def main(*command: str) -> int:
    """Run the command, tell, and return its exit code."""
    started = time.perf_counter()
    quietly = [(os.POSIX_SPAWN_OPEN, sys.stdout.fileno(), os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=quietly)
    memory = Memory(pid)
    memory.start()
    _, status, used = os.wait4(pid, 0)
    took = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        # Of the largest alone the system tells the peak to the end, which no look is sure to see.
        "peak_mb": max(memory.peak_bytes, used.ru_maxrss * 1024) / 1_000_000,
    }
    print(json.dumps(took))
    return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
