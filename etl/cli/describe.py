"""`etl db describe`: the data dictionary, from the comments in the database."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli.configuration import configuration, with_database
from etl.cli.errors import EXIT_CONFIGURATION, fail
from etl.cli.options import with_options
from etl.console import Console

if TYPE_CHECKING:
    from etl.dictionary import Entry

# Each command imports what it needs when it runs, so that `etl --help` answers at once.
# ruff: noqa: PLC0415


@click.command()
@with_options
@click.argument("view", required=False)
@click.option("--markdown", is_flag=True, help="Print the whole dictionary, or VIEW's part of it, as Markdown.")
def describe(file: Path | None, as_json: bool | None, view: str | None, markdown: bool) -> None:
    """List the views and functions for analysts, or describe one: VIEW."""
    from etl import dictionary

    known = _entries(file)
    try:
        asked = dictionary.find(known, view) if view else None
    except dictionary.UnknownEntryError as error:
        fail(str(error), EXIT_CONFIGURATION)
    if markdown:
        for line in dictionary.section(asked) if asked else dictionary.markdown(known):
            click.echo(line)
    elif asked:
        _tell(Console(as_json=as_json), asked)
    else:
        Console(as_json=as_json).table("dictionary", map(asdict, known), ("name", "kind", "comment"))


def _entries(file: Path | None) -> "list[Entry]":
    """Read the catalogs. Our tables are left alone, since a reader may not look at them."""
    from etl import database, dictionary

    url = with_database(configuration(file)).database.address()
    with database.connect(url) as connection, connection.begin():
        known = dictionary.entries(connection)
    if not known:
        raise database.DatabaseError("the database is not migrated: run `etl db upgrade`")
    return known


def _tell(console: Console, entry: "Entry") -> None:
    console.say(entry.comment or "", name=entry.name, kind=entry.kind, comment=entry.comment)
    if entry.arguments:
        console.table("arguments", map(asdict, entry.arguments), ("name", "type"))
    columns = ("name", "type", "comment") if entry.kind == "view" else ("name", "type")
    console.table("columns", map(asdict, entry.columns), columns)
