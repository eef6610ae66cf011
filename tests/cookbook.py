"""The cookbook as a document: its questions, each with its SQL and its answer, and the answers written anew.

`python tests/cookbook.py` tells the story on a throw-away Postgres, asks it every question, and writes the answers
into docs/cookbook.md.
"""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cookbook_story

from etl.local_postgres import LocalPostgres, throw_away
from etl.tour import CREDENTIALS

DOCUMENT = Path(__file__).parent.parent / "docs" / "cookbook.md"

_HEADING = re.compile(r"^### +(.+)$", re.MULTILINE)
_BLOCKS = re.compile(r"^```sql\n(?P<query>.*?)^```\n(?:```\n(?P<answer>.*?)^```$)?", re.MULTILINE | re.DOTALL)


class Question(NamedTuple):
    """A heading of the cookbook, and what stands below it."""

    title: str
    words: str
    """Between the heading and the SQL."""
    query: str
    answer: str


class IncompleteError(Exception):
    """A question does not have one query and the answer to it."""


def questions(document: str) -> list[Question]:
    """Read the questions in their order; raises `IncompleteError`."""
    _, *parts = _HEADING.split(document)
    return [_question(title, body) for title, body in zip(parts[::2], parts[1::2], strict=True)]


def _question(title: str, body: str) -> Question:
    match list(_BLOCKS.finditer(body)):
        case [block] if block["answer"]:
            return Question(title, body[: block.start()].strip(), block["query"], block["answer"])
    raise IncompleteError(f"{title!r} needs one ```sql block, and its answer in a ``` block right below")


def answered(document: str, ask: Callable[[str], str]) -> str:
    """Return the document with each answer as it is now."""
    return _BLOCKS.sub(lambda block: f"```sql\n{block['query']}```\n```\n{ask(block['query'])}```", document)


def psql(url: str, query: str) -> str:
    """Run a query that only reads, and return what psql prints."""
    program = LocalPostgres(Path(), search_path=os.environ["PATH"]).psql()
    assert program is not None, "no psql: install the extra `local`"
    command = [
        str(program),
        "--no-psqlrc",
        "--pset=footer=off",
        "--set=ON_ERROR_STOP=1",
        f"--command={query}",
        url,
    ]
    options = {"PGTZ": "UTC", "PGOPTIONS": "-c default_transaction_read_only=on"}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | options)  # noqa: S603 - our own words
    assert ran.returncode == 0, f"{ran.stderr}\n{query}"
    return "".join(f"{line.rstrip()}\n" for line in ran.stdout.rstrip().splitlines())


def main() -> None:
    """Write the answers into the document."""
    os.environ |= CREDENTIALS
    with throw_away() as postgres:
        url = postgres.start()
        cookbook_story.tell(url)
        DOCUMENT.write_text(answered(DOCUMENT.read_text("utf-8"), lambda query: psql(url, query)), "utf-8")


if __name__ == "__main__":
    main()
