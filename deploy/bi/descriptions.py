"""The descriptions in the datasets of Superset and the sources of dbt are the comments in the database.

Both are YAML in which the line with a name stands before that with its description, on one line in quotes. So they
are compared, and written anew, line by line: what else is in the files stays as somebody wrote it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.bi.seen import DEPLOY, Seen
from etl.dictionary import Entry

FILES = (DEPLOY / "dbt/models/sources.yml", *sorted(DEPLOY.glob("superset/datasets/*/*.yaml")))

_LINE = re.compile(
    r"(?P<margin> *)(?:- )?(?P<key>table_name|column_name|metric_name|name|description): (?P<value>.+)"
)
_MEANING = {
    ("table_name", 0): "view",
    ("column_name", 0): "column",
    ("name", 6): "view",
    ("name", 10): "column",
}
"""What a line names, by its key and its margin: the first two in a dataset, the others among the sources."""

_Names = tuple[str, str | None]


def _named(text: str) -> Iterator[tuple[str, _Names | None]]:
    """Yield each line, and the view and column that it describes, if it does."""
    view, names = "", None
    for line in text.splitlines(keepends=True):
        found = _LINE.match(line)
        if found is None:
            yield line, None
        elif found["key"] == "description":
            yield line, names
            names = None
        else:
            meaning = _MEANING.get((found["key"], len(found["margin"])))
            view = found["value"] if meaning == "view" else view
            names = (view, found["value"] if meaning == "column" else None) if meaning else None
            yield line, None


def described(text: str, known: Iterable[Entry]) -> str:
    """Return a file with the comments of the database as its descriptions."""
    comments = _comments(known)
    lines = []
    for line, names in _named(text):
        comment = comments.get(names) if names else None
        lines.append(
            f"{line.partition(': ')[0]}: {json.dumps(comment, ensure_ascii=False)}\n" if comment else line
        )
    return "".join(lines)


def _comments(known: Iterable[Entry]) -> dict[_Names, str]:
    comments: dict[_Names, str] = {}
    for entry in known:
        comments[entry.name, None] = entry.comment or ""
        comments |= {(entry.name, column.name): column.comment or "" for column in entry.columns}
    return comments


def missing(text: str, known: Iterable[Entry]) -> Iterator[str]:
    """Yield what a view has and the file does not describe, of the views that are in the file, and the reverse."""
    present = {names for _, names in _named(text) if names}
    views = {view for view, _ in present}
    wanted = {names for names in _comments(known) if names[0] in views}
    yield from sorted(f"{view}.{column} is not described" for view, column in wanted - present)
    yield from sorted(f"{view}.{column} is not there" for view, column in present - wanted)


def check(known: Iterable[Entry]) -> Iterator[Seen]:
    """Compare all files with the database."""
    known = list(known)
    for file in FILES:
        text = file.read_text("utf-8")
        name = file.relative_to(DEPLOY)
        wrong = [*missing(text, known)]
        yield from (Seen(f"{name}: {each}", is_well=False) for each in wrong)
        if described(text, known) != text:
            mend = "`python -m deploy.bi describe` mends it"
            yield Seen(f"{name}: a description is not the comment in the database; {mend}", is_well=False)
        elif not wrong:
            count = sum(1 for _, names in _named(text) if names)
            yield Seen(f"{name}: {count} descriptions are the comments in the database")


def write(known: Iterable[Entry]) -> Iterator[Path]:
    """Write the database's comments into the files, and yield those that were changed."""
    known = list(known)
    for file in FILES:
        text = file.read_text("utf-8")
        if (wanted := described(text, known)) != text:
            file.write_text(wanted, "utf-8")
            yield file
