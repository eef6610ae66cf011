"""A minute of `make faults`: all that can be broken is, and all that is stored is true."""

import subprocess
import sys
from pathlib import Path

from conftest import temporary_in_memory

LIMIT = 900  # seconds, on a machine that has much else to do: it takes two minutes on an idle one


def test_a_minute_of_faults_of_all_kinds_leaves_nothing_wrong() -> None:
    command = [sys.executable, "-m", "faults", "--minutes", "1"]
    with temporary_in_memory():
        ran = subprocess.run(  # noqa: S603 - our own words
            command, cwd=Path(__file__).parent, check=False, capture_output=True, text=True, timeout=LIMIT
        )
    assert ran.returncode == 0, ran.stdout + ran.stderr
