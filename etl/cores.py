"""How many processors this process may use: fewer than the machine has, in a container for one."""

import os
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_FIRST_VERSION = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


def usable(cgroups: Path = _CGROUPS) -> int:
    """Return the number of processors that can work for us at once, 1 or more.

    It is the machine's, unless fewer are allowed: by an affinity, or by a quota of their time such as Docker's
    ``--cpus`` and Kubernetes' limits, of which a broken part counts for nothing.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def _quota(cgroups: Path) -> float | None:
    """Return the processors' time that the container may use each second, None: all of it."""
    with suppress(OSError, ValueError):
        time, period = (cgroups / "cpu.max").read_text("ascii").split()
        return int(time) / int(period)  # not a number: max
    with suppress(OSError, ValueError):  # the first version of cgroups
        time, period = ((cgroups / "cpu" / name).read_text("ascii") for name in _FIRST_VERSION)
        return int(time) / int(period) if int(time) > 0 else None
    return None
