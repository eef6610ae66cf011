"""Who is measured: how each is started, and where it leaves the jobs."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

Command = Sequence[str | Path]


class Target(NamedTuple):
    """What is listed, and where it is to be stored."""

    endpoint: str
    memberships: Sequence[str]
    database: str
    folder: Path
    """For files of the contestant's own."""


class Contestant(NamedTuple):
    """One of those that run in turn."""

    name: str
    command: Callable[[Target], Command]
    jobs: str | None
    """The table or view in which the status of each job stands afterwards; None: nothing is looked up."""


def script(name: str, python: Path | str = sys.executable) -> Callable[[Target], Command]:
    """Start one of our scripts, which lists one membership."""
    module = f"benchmarks.peers.{name}"
    return lambda target: [
        python, "-m", module, target.endpoint, *target.memberships, target.database, target.folder,
    ]  # fmt: skip


def ours(*words: str, max_concurrency: int = 8) -> Callable[[Target], Command]:
    """Start `etl sync`."""

    def command(target: Target) -> Command:
        file = target.folder / "etl.toml"
        file.write_text(_configuration(target, max_concurrency))
        return [sys.executable, "-m", "etl", "sync", *words, "--config", file]

    return command


def _configuration(target: Target, max_concurrency: int) -> str:
    memberships = (f'[[membership]]\nid = "{name}"\nregion = "us-east-1"\n' for name in target.memberships)
    return f"""
[database]
url = "{target.database}"
[aws]
endpoint_url = "{target.endpoint}"
max_concurrency = {max_concurrency}
{"".join(memberships)}"""


LOOP = Contestant("boto3 loop, nothing stored", script("loop"), None)
UPSERT = Contestant("boto3, upsert a page", script("upsert"), "job")
FLOOR = Contestant("floor: fetch, decode, COPY", script("floor"), "job")
OURS = Contestant("etl sync --full", ours("--full"), "cleanrooms.inference_jobs")
