"""What a check has seen, and how it runs a program."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"

PATIENCE = 300
"""Seconds that a program may take; the slowest, Superset's first migration, takes a tenth of it."""


class Seen(NamedTuple):
    """One thing that was looked at."""

    what: str
    is_well: bool = True


class Failed(Exception):  # noqa: N818 - a finding, no error of ours
    """A program could not do what it was asked for; what it said last."""


def run(*words: str | Path, environ: Mapping[str, str], folder: Path | None = None) -> str:
    """Run a program to its end and return what it said; raises `Failed`."""
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            words,
            check=False,
            cwd=folder,
            env=environ,
            text=True,
            timeout=PATIENCE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(str(error)) from error
    if done.returncode:
        raise Failed(f"{Path(words[0]).name} {words[1]} exited with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout
