"""Writes docs/data-dictionary.md from a database that the migrations have made, or tells whether it is up to date.

`python -m docs.generate [--check] [FILE]`: `make docs`, `make check-docs`.
"""

import argparse
import difflib
import sys
from pathlib import Path

from etl import database, dictionary
from etl.local_postgres import throw_away

DICTIONARY = Path(__file__).parent / "data-dictionary.md"


def generated() -> str:
    """Return the dictionary as it should be."""
    with throw_away() as postgres, database.connect(postgres.start()) as connection:
        database.upgrade(connection)
        with connection.begin():
            return "".join(f"{line}\n" for line in dictionary.markdown(dictionary.entries(connection)))


def differences(file: Path, wanted: str) -> list[str]:
    """Return how a file differs from what it should be, line by line."""
    present = file.read_text("utf-8") if file.exists() else ""
    lines = difflib.unified_diff(
        present.splitlines(), wanted.splitlines(), str(file), "the migrations", lineterm="", n=0
    )
    return list(lines)


def main() -> None:
    """Write the file, or exit with 1 if it is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("file", nargs="?", type=Path, default=DICTIONARY)
    asked = parser.parse_args()
    wanted = generated()
    if not asked.check:
        asked.file.write_text(wanted, "utf-8")
    elif found := differences(asked.file, wanted):
        sys.exit("\n".join([*found, f"{asked.file} is not what the database says: run `make docs`"]))


if __name__ == "__main__":
    main()
