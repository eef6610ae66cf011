"""What people and programs read of us."""

import io
import json
import os
import pty
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from threading import Thread
from typing import Any, TextIO

import pytest

from etl.console import Console, printable

MOMENT = datetime(2026, 3, 2, 12, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=1))
ROW = {"name": "scoring", "count": 1234567, "age": 12.345, "is_open": True, "since": MOMENT, "error": None}
BELL_AND_RED = "\a\x1b[31mred"


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def err() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def text(out: io.StringIO, err: io.StringIO) -> Console:
    return Console(as_json=False, out=out, err=err)


@pytest.fixture
def as_json(out: io.StringIO, err: io.StringIO) -> Console:
    return Console(as_json=True, out=out, err=err)


class Terminal:
    """A pseudo-terminal: what is written to `file` is told by `shown`."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.file = os.fdopen(slave, "w")
        self._parts: list[bytes] = []
        self._reader = Thread(target=self._read)  # a terminal that nobody reads soon takes no more
        self._reader.start()

    def shown(self) -> str:
        self.close()
        return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(self._parts).decode())  # but for colours

    def close(self) -> None:
        self.file.close()
        self._reader.join()

    def _read(self) -> None:
        with suppress(OSError):  # the other end is closed, and all is read
            while part := os.read(self._master, 65536):
                self._parts.append(part)
        os.close(self._master)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    opened = Terminal()
    yield opened
    opened.close()


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def objects(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().split("\n") if line]


# Harmless text


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain", "plain"),
        ("Grüße, 世界 🌍", "Grüße, 世界 🌍"),
        (BELL_AND_RED, r"\x07\x1b[31mred"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202eright to left", r"\u202eright to left"),
        ("tag \U000e0001", r"tag \U000e0001"),
        ("half \ud800", r"half \ud800"),
        ("no-break\xa0space", r"no-break\xa0space"),
    ],
)
def test_a_character_that_is_not_shown_is_written_as_its_escape(hostile: str, shown: str) -> None:
    assert printable(hostile) == shown


def test_no_text_from_elsewhere_reaches_a_stream_unescaped(
    text: Console, out: io.StringIO, err: io.StringIO
) -> None:
    text.say(BELL_AND_RED)
    text.complain(BELL_AND_RED)
    text.table("title", [{"name": BELL_AND_RED}], ["name"])
    assert "\x1b" not in out.getvalue() + err.getvalue()
    assert "\a" not in out.getvalue() + err.getvalue()
    assert out.getvalue().count(r"\x07\x1b[31mred") == 2


def test_json_is_plain_ascii_and_holds_the_very_text(as_json: Console, out: io.StringIO) -> None:
    hostile = f"Grüße {BELL_AND_RED} \x9b \u202e \U000e0001 \x7f"
    as_json.say("", name=hostile)
    assert out.getvalue().isascii()
    assert out.getvalue().rstrip("\n").isprintable()
    assert objects(out) == [{"name": hostile}]


# Lines


def test_a_line_is_for_people_or_for_programs(
    text: Console, as_json: Console, out: io.StringIO, err: io.StringIO
) -> None:
    text.say("3 pages", pages=3)
    assert out.getvalue() == "3 pages\n"
    as_json.say("3 pages", pages=3)
    assert out.getvalue() == '3 pages\n{"pages": 3}\n'
    assert err.getvalue() == ""


def test_a_line_without_fields_is_a_message_to_programs(as_json: Console, out: io.StringIO) -> None:
    as_json.say("done")
    assert objects(out) == [{"message": "done"}]


def test_each_line_of_a_complaint_bears_our_name(as_json: Console, out: io.StringIO, err: io.StringIO) -> None:
    as_json.complain("one\ntwo")
    assert (out.getvalue(), err.getvalue()) == ("", "etl: one\netl: two\n")


def test_off_a_terminal_output_is_json_unless_text_is_asked_for(out: io.StringIO) -> None:
    assert Console(as_json=None, out=out).as_json
    assert not Console(as_json=False, out=out).as_json


def test_on_a_terminal_output_is_text_unless_json_is_asked_for(terminal: Terminal) -> None:
    assert not Console(as_json=None, out=terminal.file).as_json
    assert Console(as_json=True, out=terminal.file).as_json


# Tables


def test_a_table_shows_cells_as_people_write_them(text: Console, out: io.StringIO) -> None:
    text.table("The jobs", [ROW, {**ROW, "is_open": False}], list(ROW))
    title, _, above, head, _, first, second, _ = lines(out)
    assert title.strip() == "The jobs"
    assert above.replace("┃", " ").split() == ["is"]
    assert head.replace("┃", " ").split() == ["name", "count", "age", "open", "since", "error"]
    cells = ["scoring", "1,234,567", "12.3", "yes", "2026-03-02 12:00:00Z", "-"]
    assert [cell.strip() for cell in first.strip("│").split("│")] == cells
    assert "no" in second


def test_a_moment_is_shown_in_utc_whatever_zone_the_database_speaks_in(text: Console, out: io.StringIO) -> None:
    text.table("", [{"since": MOMENT.astimezone(BERLIN)}], ["since"])
    assert "2026-03-02 12:00:00Z" in out.getvalue()


def test_a_list_is_shown_an_item_a_line(text: Console, out: io.StringIO) -> None:
    text.table("", [{"names": ["one", "two\n"]}, {"names": []}], ["names"])
    assert [line.strip("│ ") for line in lines(out)[3:-1]] == ["one", r"two\n", "-"]


def test_a_table_has_the_columns_asked_for(text: Console, out: io.StringIO) -> None:
    text.table("", [ROW], ["count"])
    assert "1,234,567" in out.getvalue()
    assert "scoring" not in out.getvalue()


def test_markup_in_a_cell_is_text(text: Console, out: io.StringIO) -> None:
    text.table("", [{"name": "[red]x[/red] [/nothing]"}], ["name"])
    assert "[red]x[/red] [/nothing]" in out.getvalue()


def test_a_table_is_an_object_a_row_to_programs(as_json: Console, out: io.StringIO) -> None:
    as_json.table("jobs", [ROW, ROW], ["name", "since", "error"])
    row = {"table": "jobs", "name": "scoring", "since": "2026-03-02T12:00:00Z", "error": None}
    assert objects(out) == [row, row]


def test_an_empty_table_is_nothing_to_programs(as_json: Console, out: io.StringIO) -> None:
    as_json.table("jobs", [], [])
    assert out.getvalue() == ""


def test_a_table_for_a_file_is_wide_and_without_colours(text: Console, out: io.StringIO) -> None:
    text.table("title", [{"a": "x" * 70, "b": "y" * 70}], ["a", "b"])
    assert f"{'x' * 70} │ {'y' * 70}" in out.getvalue()
    assert "\x1b" not in out.getvalue()


IDS = [{"membership_id": f"{letter * 8}-5b7d-4e8a-9c1f-0a1b2c3d4e5f", "words": "two words"} for letter in "ab"]


@pytest.mark.parametrize(("columns", "is_a_table"), [(30, False), (51, False), (52, True), (80, True)])
def test_an_id_is_never_broken(
    columns: int, *, is_a_table: bool, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    Console(as_json=False, out=terminal.file).table("title", IDS, ["membership_id", "words"])
    shown = terminal.shown()
    assert ("│" in shown) is is_a_table
    assert ("membership_id  aaaaaaaa-" in shown) is not is_a_table
    assert columns < 51 or all(row["membership_id"] in shown for row in IDS)
    assert max(map(len, shown.splitlines())) <= columns


@pytest.mark.parametrize(("columns", "is_a_table"), [(99, False), (100, True)])
def test_on_a_wide_terminal_other_cells_are_folded(
    columns: int, *, is_a_table: bool, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [row | {"words": "many words " * 20} for row in IDS]
    Console(as_json=False, out=terminal.file).table("title", rows, ["membership_id", "words"])
    shown = terminal.shown()
    assert ("│" in shown) is is_a_table
    assert all(row["membership_id"] in shown for row in IDS)
    assert max(map(len, shown.splitlines())) <= columns


# Progress


def watch_progress(out: TextIO, err: TextIO, *, expected: int = 10) -> None:
    console = Console(as_json=False, out=out, err=err)
    with console.progress() as advance:
        advance("one", 2, expected)
        advance("two", 4, expected)
        time.sleep(0.25)  # a bar is drawn ten times a second
        console.say("a line")
        console.complain("a complaint")
        time.sleep(0.25)


def test_progress_is_drawn_on_a_terminal_for_each_name_and_leaves_no_trace(terminal: Terminal) -> None:
    watch_progress(terminal.file, terminal.file)
    shown = terminal.shown()
    assert "━" in shown
    assert " 2/10 " in shown
    assert " 4/10 " in shown
    assert screen(shown) == ["a line", "etl: a complaint"]


def test_progress_towards_an_unknown_end_claims_no_share(terminal: Terminal) -> None:
    watch_progress(terminal.file, terminal.file, expected=0)
    assert " 2/? " in terminal.shown()


def test_more_than_was_expected_is_no_more_than_all(terminal: Terminal) -> None:
    watch_progress(terminal.file, terminal.file, expected=3)
    assert " 4/4 " in terminal.shown()


def test_of_very_many_names_those_advanced_last_are_shown(terminal: Terminal) -> None:
    with Console(as_json=False, out=terminal.file, err=terminal.file).progress() as advance:
        for name in ("first", *(f"name {number}" for number in range(19)), "first", "last"):
            advance(name, 1, 2)
    bars = screen(terminal.shown().rpartition("\x1b[?25h")[0])  # before they go
    assert {bar.partition("━")[0].strip() for bar in bars} == {
        "first",
        *(f"name {n}" for n in range(1, 19)),
        "last",
    }


def test_who_is_killed_leaves_the_terminal_its_cursor(terminal: Terminal) -> None:
    watch_progress(terminal.file, terminal.file)
    before = terminal.shown().partition("━")[0]
    assert re.findall(r"\x1b\[\?25([lh])", before)[-1] == "h"


def test_lines_for_a_file_stay_out_of_a_terminals_progress(terminal: Terminal, out: io.StringIO) -> None:
    watch_progress(out, terminal.file)
    assert out.getvalue() == "a line\n"
    assert screen(terminal.shown()) == ["etl: a complaint"]


@pytest.mark.parametrize("as_json", [True, False])
def test_off_a_terminal_there_is_no_progress(out: io.StringIO, err: io.StringIO, as_json: bool) -> None:
    with Console(as_json=as_json, out=out, err=err).progress() as advance:
        advance("one", 1, 2)
    assert out.getvalue() + err.getvalue() == ""


def test_programs_are_shown_no_progress_even_on_a_terminal(terminal: Terminal, out: io.StringIO) -> None:
    with Console(as_json=True, out=out, err=terminal.file).progress() as advance:
        advance("one", 1, 2)
        time.sleep(0.25)
    assert terminal.shown() == ""


def screen(written: str) -> list[str]:
    """What a terminal shows in the end: as much of its language as a progress bar speaks."""
    rows, row, column = [""], 0, 0
    for command, char in re.findall(r"\x1b\[\??([0-9;]*[A-Za-z])|([^\x1b])", written):
        if command.endswith("A"):
            row = max(0, row - int(command[:-1] or 1))
        elif command.endswith("K"):
            rows[row] = ""
        elif char == "\r":
            column = 0
        elif char == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif char:
            rows[row] = rows[row][:column].ljust(column) + char + rows[row][column + 1 :]
            column += 1
    return [text.rstrip() for text in rows if text.strip()]
