"""Programs that others have written, each in an environment of its own: `.venv/bench/NAME`, made on demand."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click

from benchmarks.contestants import Contestant, script

FOLDER = Path(sys.prefix) / "bench"

# The last releases that come whole from PyPI: later ones of ingestr and sling load their programs from elsewhere.
EXTRAS = {
    "dlt": ("dlt[postgres]==1.31.0", "dlt.job"),
    "ingestr": ("ingestr==0.15.9", "ingestr.job"),
    "sling": ("sling-linux-amd64==1.4.11", "sling.job"),
}


def extras() -> list[Contestant]:
    """Return them, installed."""
    return [
        Contestant(f"{name}, merge", script(f"{name}_merge", _python(name, requirement)), table)
        for name, (requirement, table) in EXTRAS.items()
    ]


def _python(name: str, requirement: str) -> Path:
    python = FOLDER / name / "bin/python"
    ready = FOLDER / name / "ready"
    if not ready.exists():
        click.echo(f"installing {requirement} ...", err=True)
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"boto3=={version('boto3')}"]
        subprocess.run([sys.executable, "-m", "venv", FOLDER / name], check=True)  # noqa: S603 - our own words
        subprocess.run([python, *pip, requirement], check=True)  # noqa: S603 - likewise
        ready.touch()
    return python
