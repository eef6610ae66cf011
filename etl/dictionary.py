"""What the views and functions of schema `cleanrooms` are, in the words of their comments in the database.

All of it is in the catalogs, which a reader may look at as well as the owner.
"""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from etl.tables import VIEWS


class UnknownEntryError(Exception):
    """There is no view or function of that name; one line that names the nearest one."""


@dataclass(frozen=True)
class Column:
    """A column of a view or of what a function returns, or an argument of a function."""

    name: str
    type: str
    comment: str | None = None


@dataclass(frozen=True)
class Entry:
    """A view or a function."""

    name: str
    kind: str
    """view or function"""
    comment: str | None
    arguments: tuple[Column, ...]
    columns: tuple[Column, ...]


_ENTRIES = text("""
SELECT pg_class.oid, relname AS name, 'view' AS kind, obj_description(pg_class.oid, 'pg_class') AS comment
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = :schema AND relkind IN ('v', 'm')
UNION ALL
SELECT pg_proc.oid, proname, 'function', obj_description(pg_proc.oid, 'pg_proc')
FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
WHERE nspname = :schema
ORDER BY kind DESC, name
""")
_VIEW_COLUMNS = text("""
SELECT attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum)
FROM pg_attribute WHERE attrelid = :oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum
""")
# Of a function that returns a table: its arguments are `i`, its columns `t`. Postgres keeps no comments on either.
_FUNCTION_COLUMNS = text("""
SELECT name, format_type(type, NULL)
FROM pg_proc
CROSS JOIN unnest(proargnames, proargmodes, proallargtypes) WITH ORDINALITY AS its (name, mode, type, place)
WHERE pg_proc.oid = :oid AND mode = :mode ORDER BY place
""")


def entries(connection: Connection) -> list[Entry]:
    """Return all views, then all functions, by their names; none where there is no such schema."""
    return [
        Entry(name, kind, comment, *_columns(connection, oid, kind))
        for oid, name, kind, comment in connection.execute(_ENTRIES, {"schema": VIEWS})
    ]


def _columns(connection: Connection, oid: int, kind: str) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """Return the arguments and the columns."""
    if kind == "view":
        return (), tuple(Column(*row) for row in connection.execute(_VIEW_COLUMNS, {"oid": oid}))
    arguments, columns = (
        tuple(Column(*row) for row in connection.execute(_FUNCTION_COLUMNS, {"oid": oid, "mode": mode}))
        for mode in "it"
    )
    return arguments, columns


def find(known: Iterable[Entry], name: str) -> Entry:
    """Return the entry of a name, with or without its schema; raises `UnknownEntryError`."""
    by_name = {entry.name: entry for entry in known}
    plain = name.lower().removeprefix(f"{VIEWS}.")
    if plain in by_name:
        return by_name[plain]
    close = difflib.get_close_matches(plain, by_name, n=1, cutoff=0.5)
    hint = f", did you mean {close[0]}?" if close else f"; known are {', '.join(by_name)}"
    raise UnknownEntryError(f"{name}: no view or function of schema {VIEWS}{hint}")


_HEADING = f"""\
# Data dictionary

The views and functions of schema `{VIEWS}`, by their comments in the database: `etl db describe` prints the same.
Written by `make docs`, compared by `make check`. A name that ends in `_time` is a moment by AWS's clock, one that
ends in `_at` a moment by the database's. What the times mean: [README.md](../README.md#what-the-times-mean).
"""


def markdown(known: Iterable[Entry]) -> Iterator[str]:
    """Yield the lines of the whole dictionary as Markdown."""
    known = list(known)
    yield from _HEADING.splitlines()
    yield ""
    yield from _table(("name", "what it is"), ((f"[`{each.name}`](#{each.name})", each.comment) for each in known))
    for entry in known:
        yield ""
        yield from section(entry)


def section(entry: Entry) -> Iterator[str]:
    """Yield the lines of one view or function as Markdown."""
    yield f"## {entry.name}"
    yield ""
    yield _escaped(entry.comment)
    if entry.kind == "function":
        yield ""
        arguments = ", ".join(f"{argument.name} {argument.type}" for argument in entry.arguments)
        yield f"Call it as `{VIEWS}.{entry.name}({arguments})`. It returns:"
    yield ""
    if any(column.comment for column in entry.columns):
        rows = ((f"`{each.name}`", each.type, each.comment) for each in entry.columns)
        yield from _table(("column", "type", "what it tells"), rows)
    else:
        yield from _table(("column", "type"), ((f"`{each.name}`", each.type) for each in entry.columns))


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str | None, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join(map(_escaped, row))} |"


def _escaped(words: str | None) -> str:
    """Return a text that Markdown shows as it is, in a cell too."""
    return (words or "").replace("|", "\\|").replace("<", "\\<").replace("*", "\\*").replace("\n", " ")
