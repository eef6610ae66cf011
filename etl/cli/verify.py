"""`etl verify`: whether the stored history still keeps its rules."""

import sys
from pathlib import Path

import click

from etl.cli.configuration import configuration, connected
from etl.cli.errors import EXIT_TROUBLE
from etl.cli.options import with_options
from etl.console import Console


@click.command()
@with_options
def verify(file: Path | None, as_json: bool | None) -> None:
    """Re-check every invariant of the stored history.

    Reads all of it, in one snapshot, and changes nothing. Exits with 1 if an invariant is broken.
    """
    from etl.verify import findings  # noqa: PLC0415 - `etl --help` need not wait for it

    with connected(configuration(file)) as connection:
        found = findings(connection)
    rows = [
        {
            "check": finding.check.name,
            "rule": finding.check.rule,
            "broken": finding.broken,
            "examples": finding.examples,
        }
        for finding in found
    ]
    Console(as_json=as_json).table("verify", rows, ["check", "rule", "broken", "examples"])
    sys.exit(EXIT_TROUBLE if any(finding.broken for finding in found) else 0)
