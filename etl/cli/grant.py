"""`etl db grant`: makes a role a reader or a writer."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli.configuration import configuration, connected, where
from etl.cli.errors import EXIT_TROUBLE, fail
from etl.cli.options import with_options
from etl.console import Console

if TYPE_CHECKING:
    from etl.access import Given

_LONGEST = timedelta(days=1)


def _timeout(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    """Read a duration as the configuration has them."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - `etl --help` need not wait for it

    from etl.kinds import Duration  # noqa: PLC0415 - likewise

    if value is None:
        return None
    try:
        duration: timedelta = TypeAdapter(Duration).validate_python(value)
    except ValidationError:
        raise click.BadParameter("write a number with its unit: 30s, 15m, 6h or 1d") from None
    if not timedelta(0) < duration <= _LONGEST:
        raise click.BadParameter("must be 1s at the least and 1d at the most")
    return duration


@click.command()
@with_options
@click.argument("role")
@click.option("--writer", is_flag=True, help="Give what a sync needs, in the place of what an analyst does.")
@click.option(
    "--statement-timeout",
    callback=_timeout,
    metavar="DURATION",
    help="How long a statement of a reader may take.  [default: as it is set, else 1m]",
)
def grant(
    file: Path | None, as_json: bool | None, role: str, writer: bool, statement_timeout: timedelta | None
) -> None:
    """Let ROLE read the views, and nothing else. Safe to repeat.

    ROLE is made if it is not there. In this database it is read-only by default, and its statements end after a
    while. Run it as the role that migrates. Exits with 1 if something is left for an administrator to run.
    """
    from etl import access  # noqa: PLC0415 - `etl --help` need not wait for it

    if writer and statement_timeout:
        raise click.UsageError("--statement-timeout is for readers: a sync takes as long as it takes")
    config = configuration(file)
    try:
        with connected(config) as connection, connection.begin():
            given = (
                access.grant_writer(connection, role)
                if writer
                else access.grant_reader(connection, role, statement_timeout)
            )
    except access.AccessError as error:
        fail(str(error), EXIT_TROUBLE)
    _tell(Console(as_json=as_json), role, given, "writer" if writer else "reader", where(config))


def _tell(console: Console, role: str, given: "Given", what: str, database: str) -> None:
    if given.steps:
        rows = [{"done": step.is_done, "statement": step.statement} for step in given.steps]
        console.table("access", rows, ("done", "statement"))
    if not given.left:
        changed = "" if given.steps else ": nothing changed"
        said = f"{given.role} is a {what}{database}{changed}"
        console.say(said, role=role, access=what, changed=bool(given.steps))
    if given.is_new:
        console.complain(
            f"{given.role} has no password yet: give it one with \\password {given.role} in `etl db psql`"
        )
    if not given.can_log_in and what == "reader":
        console.complain(f"{given.role} cannot log in: its members have its rights, but not its settings")
    for statement in given.left:
        console.complain(f"we may not do this, an administrator of the database must: {statement};")
    sys.exit(EXIT_TROUBLE if given.left else 0)
