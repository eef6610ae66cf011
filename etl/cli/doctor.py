"""`etl doctor`: a line for each thing that was looked at, with what to do about it."""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli.errors import EXIT_TROUBLE
from etl.cli.options import with_options
from etl.console import Console

if TYPE_CHECKING:
    from etl.doctor import Finding


@click.command()
@with_options
def doctor(file: Path | None, as_json: bool | None) -> None:
    """Check all that a sync needs, and say what to do.

    Looks at configuration, database, schema, clocks, credentials, roles, and what is permitted in each membership,
    by real calls that read next to nothing. Starts, migrates and changes nothing. Each line says ok, warn or fail.
    Exits with 1 if anything fails.
    """
    from etl.doctor import examine  # noqa: PLC0415 - `etl --help` need not wait for it

    console = Console(as_json=as_json)
    failed = False
    with console.progress() as advance:
        for finding in examine(file, os.environ, lambda: datetime.now(UTC), advance):
            failed |= finding.verdict == "fail"
            _show(console, finding)
    sys.exit(EXIT_TROUBLE if failed else 0)


def _show(console: Console, finding: "Finding") -> None:
    if console.as_json:
        console.say("", **vars(finding))
        return
    for line in _lines(finding):
        console.say(line)


def _lines(finding: "Finding") -> Iterator[str]:
    """Yield the verdict in a line of aligned columns, then what to do, set in below it."""
    yield f"{finding.verdict:<4}  {finding.check:<13}  {finding.subject}: {finding.said}"
    for number, line in enumerate(finding.remedy.splitlines()):
        yield f"{'':<19}  {'->' if number == 0 else '  '} {line}"
