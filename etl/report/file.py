"""Writes a page where it was asked for: whole, or not at all."""

import secrets
from pathlib import Path


def write(page: str, path: Path) -> int:
    """Write a page and return its size in bytes; raises `OSError`.

    Whoever opens the file meanwhile sees the old page or the new one: the new one is written beside it, and takes
    its name when it is complete. What is no plain file (a pipe, a terminal) is written to as it is.
    """
    content = page.encode()
    target = path.resolve()  # a link stays, and what it leads to is replaced
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return len(content)
    unfinished = target.with_name(f".etl-report-{secrets.token_hex(8)}")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(content)
