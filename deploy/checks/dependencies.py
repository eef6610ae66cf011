"""Asks whether what is deployed has known vulnerabilities."""

import json
from collections.abc import Iterator

from deploy.checks.tools import DEPLOY, Skipped, run, tool

_LOCKED = DEPLOY.parent / "requirements/demo.txt"  # all that can be installed of us, every extra included


def dependencies() -> Iterator[str]:
    """Let pip-audit ask about each locked version. Where nobody answers it is skipped: no network is no fault."""
    options = ("--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json")
    _, said = run(tool("pip-audit"), *options, f"--requirement={_LOCKED}")
    yield from vulnerabilities(said)


def vulnerabilities(said: str) -> Iterator[str]:
    """Yield what pip-audit has found; raises `Skipped` where it could not look at all of it."""
    found = [line for line in said.splitlines() if line.startswith('{"dependencies"')]
    if not found:
        raise Skipped(f"nobody was asked: {(said.splitlines() or ['pip-audit said nothing'])[-1]}")
    audited = json.loads(found[0])["dependencies"]
    known = [
        f"{each['name']} {each['version']} has {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for each in audited
        for flaw in each.get("vulns", ())
    ]
    yield from known
    unknown = sum("skip_reason" in each for each in audited)
    if unknown and not known:
        raise Skipped(f"{unknown} of {len(audited)} packages are unknown where pip-audit asks")
