"""Checks what runs it on a host: systemd's units, and the image."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.checks.tools import DEPLOY, Skipped, run, said, tool

EXPOSURE = 1.3
"""What `systemd-analyze security` may say at most, of 10: whoever asks AWS and Postgres needs the network."""


def systemd() -> Iterator[str]:
    """Read the units with systemd: known words only, and a sandbox as narrow as was promised."""
    analyze = tool("systemd-analyze")
    version = int(re.findall("[0-9]+", run(analyze, "--version")[1])[0])
    if version < 250:  # noqa: PLR2004 - the first that can judge a unit which is not loaded
        raise Skipped(f"systemd {version} is too old")
    with tempfile.TemporaryDirectory() as folder:
        units = Path(shutil.copytree(DEPLOY / "systemd", Path(folder, "units")))
        program = Path(folder, "etl")
        program.touch(0o755)
        for unit in units.glob("*.service"):  # /opt/etl is nothing that this machine must have
            unit.write_text(unit.read_text().replace("/opt/etl/bin/etl", str(program)))
        verify = (analyze, "verify", "--man=no", "--recursive-errors=no")  # other units are not ours to judge
        status, report = run(*verify, *sorted(units.glob("*.service")), *units.glob("*.timer"))
        if status:
            yield report
        for unit in units.glob("*.service"):
            status, report = run(analyze, "security", "--offline=yes", f"--threshold={EXPOSURE * 10:.0f}", unit)
            if status:
                yield f"{report.splitlines()[-1]}, where {EXPOSURE} was promised"


def docker() -> Iterator[str]:
    """Read the Dockerfile with hadolint."""
    yield from said(tool("hadolint"), DEPLOY / "docker/Dockerfile")
