"""Run a command and tell what it took, as one JSON line: `python -IS launch.py COMMAND ...`.

A process of its own and a small one, since Linux counts the memory of whoever starts a command as the command's.
"""

import json
import os
import sys
import time

started = time.perf_counter()
quietly = [(os.POSIX_SPAWN_OPEN, sys.stdout.fileno(), os.devnull, os.O_WRONLY, 0)]
_, status, used = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quietly), 0)
took = {
    "seconds": time.perf_counter() - started,
    "cpu_seconds": used.ru_utime + used.ru_stime,
    "peak_bytes": used.ru_maxrss * 1024,
}
print(json.dumps(took))
sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
