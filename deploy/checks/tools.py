"""Finds the programs that check, and runs them."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

DEPLOY = Path(__file__).parent.parent


class Skipped(Exception):  # noqa: N818 - no error
    """The tool of a check is not to be had here."""


def tool(name: str) -> str:
    """Return a program's path, beside this Python or on PATH; raises `Skipped`."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise Skipped(f"{name} is not installed here")
    return found


def run(*words: str | Path, given: str | None = None) -> tuple[int, str]:
    """Return a program's exit status, and all that it said."""
    done = subprocess.run(  # noqa: S603 - our own words
        words, check=False, input=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout.strip()


def said(*words: str | Path, given: str | None = None) -> Iterator[str]:
    """Yield what a program says that is silent when all is well."""
    status, words_said = run(*words, given=given)
    if status or words_said:
        yield words_said or f"{words[0]} exited with {status}"
