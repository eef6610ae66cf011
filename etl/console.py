"""What people and programs read of us: tables, lines and progress on a terminal, JSON lines elsewhere."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

_WIDTH_ELSEWHERE = 160  # columns of a table that goes to a file or a pipe
_WIDE = 100  # with so many columns a table that does not fit stays a table: its other cells are folded
_BARS = 20  # more would not fit on a small terminal

Advance = Callable[[str, int, int], None]
"""Called with a name, the amount done, and the amount expected (0: not known)."""


def printable(text: str) -> str:
    """Return a text whose every character can be shown harmlessly: others become their escapes.

    What comes from AWS may hold terminal sequences, line breaks or marks that turn the direction of writing.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


class Console:
    """Writes results to stdout, as text for people or as JSON lines, and trouble to stderr."""

    def __init__(self, *, as_json: bool | None, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self.as_json = not self._out.isatty() if as_json is None else as_json
        self._live: RichConsole | None = None

    def say(self, text: str, **fields: Any) -> None:
        """Print one line: `text` for people, `fields` for programs."""
        if self.as_json:
            self._write_json(fields or {"message": text})
        else:
            self._write(self._out, printable(text))

    def complain(self, text: str) -> None:
        """Print each line of a complaint to stderr, behind our name."""
        for line in text.splitlines() or [""]:
            self._write(self._err, f"etl: {printable(line)}")

    def table(self, title: str, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Print rows as a table under a title, or each as a JSON object that names the title as its `table`.

        A table with ids that does not fit on a small terminal becomes a block for each row: ids are to be copied.
        """
        if self.as_json:
            for row in rows:
                self._write_json({"table": title, **{name: row[name] for name in columns}})
            return
        from rich.table import Table  # noqa: PLC0415 - `etl --help` need not wait for it
        from rich.text import Text  # noqa: PLC0415 - likewise

        table = Table(title=title, title_justify="left", title_style="bold", header_style="")
        shown = [[row[name] for name in columns] for row in rows]
        console = self._rich()
        has_ids = any(name.endswith("_id") for name in columns)
        for place, name in enumerate(columns):
            numeric = any(isinstance(row[place], int | float) for row in shown)
            table.add_column(
                name.replace("_", "\n"),
                justify="right" if numeric else "left",
                overflow="fold",
                no_wrap=name.endswith("_id"),
            )
        for cells in shown:
            table.add_row(*(Text(_cell(value)) for value in cells))
        # Measured as on a terminal that is just wide enough, so at most _WIDE.
        wanted = console.measure(table, options=console.options.update(width=_WIDE)).maximum
        if has_ids and console.width < wanted:
            console.print(title, style="bold", markup=False)
            for cells in shown:
                block = Table.grid(padding=(0, 2))
                for name, value in zip(columns, cells, strict=True):
                    block.add_row(name, Text(_cell(value), overflow="fold"))
                console.print(block, "")
        else:
            console.print(table)

    @contextmanager
    def progress(self, *, wanted: bool = True) -> Iterator[Advance]:
        """Show a bar for each name that is advanced, on a terminal and if wanted; else nothing.

        Of very many, those that were advanced last are shown. Names are advanced from any thread.
        """
        if self.as_json or not self._err.isatty() or not wanted:
            yield lambda _name, _done, _expected: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn  # noqa: PLC0415,I001 - likewise
        from rich.console import Console as RichConsole  # noqa: PLC0415 - likewise

        name_column = TextColumn("{task.description}", markup=False)
        columns = (name_column, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        tasks: dict[str, TaskID] = {}  # advanced last, stands last
        lock = Lock()
        with Progress(*columns, console=RichConsole(file=self._err), transient=True) as progress:
            progress.console.show_cursor()  # hidden, it would stay so if we were killed

            def advance(name: str, done: int, expected: int) -> None:
                total = max(done, expected) if expected else None
                with lock:
                    if name not in tasks and len(tasks) == _BARS:
                        progress.remove_task(tasks.pop(next(iter(tasks))))
                    task = tasks.pop(name, None)
                    tasks[name] = progress.add_task(printable(name), total=total) if task is None else task
                    progress.update(tasks[name], completed=done, total=total)

            self._live = progress.console
            try:
                yield advance
            finally:
                self._live = None

    def _rich(self) -> "RichConsole":
        from rich.console import Console as RichConsole  # noqa: PLC0415 - likewise

        return RichConsole(file=self._out, width=None if self._out.isatty() else _WIDTH_ELSEWHERE)

    def _write_json(self, value: Mapping[str, Any]) -> None:
        # In ASCII: harmless on a terminal too, and the same whatever the locale's encoding.
        self._write(self._out, json.dumps(msgspec.to_builtins(value)))

    def _write(self, file: TextIO, line: str) -> None:
        if self._live and file.isatty():
            from rich.text import Text  # noqa: PLC0415 - likewise

            self._live.print(Text(line), soft_wrap=True)  # above the bars, which it would run through
        else:
            file.write(line + "\n")
            file.flush()


def _cell(value: object) -> str:  # noqa: PLR0911 - a line a kind
    match value:
        case None | []:
            return "-"
        case list():
            return "\n".join(map(_cell, value))
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case _:
            return printable(str(value))
