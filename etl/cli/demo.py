"""`etl demo`: a world of its own, whatever is configured."""

import os
import sys
from pathlib import Path

import click

from etl.cli.configuration import local_postgres
from etl.cli.errors import EXIT_TROUBLE, fail
from etl.cli.options import with_options
from etl.console import Console


@click.command()
@with_options
def demo(file: Path | None, as_json: bool | None) -> None:
    """Show it all on a simulated AWS, from nothing.

    Starts the private local Postgres, makes the database `demo` in it (a former one is dropped), lets a
    simulated Clean Rooms ML move through several hours of jobs, syncs after each stretch, and prints what the
    views show. The database stays up to be queried.
    """
    del file  # a world of its own, whatever is configured
    try:
        from etl import tour  # noqa: PLC0415 - needs the extra `demo`
    except ImportError as error:
        fail(f"{error.name} is not installed: install etl with its extra `demo`", EXIT_TROUBLE)

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]  # a profile or a region of yours has no place in it
    os.environ.update(tour.CREDENTIALS, AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    program = sys.argv[0] if Path(sys.argv[0]).name == "etl" else "python -m etl"
    tour.run(local_postgres().start(), Console(as_json=as_json), program)
