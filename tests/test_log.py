"""What the daemon says of itself: lines that can be read, and no secret in them."""

import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import FilteringBoundLogger

from etl.log import forwarding, logger

SECRET = "hunter2Zq+/=x"  # noqa: S105 - it is planted, and must never be seen
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

# What ends in a log by mistake, as URLs, wire formats and reprs write it.
SLIPS = [
    f"postgresql://etl:{SECRET}@db.internal/cleanrooms",
    f"postgresql+psycopg://etl:p@ss/{SECRET}@db.internal:5432/cleanrooms?sslmode=require",
    f"http://:{SECRET}@proxy:8080",
    f"host=db user=etl password={SECRET} dbname=x",
    f"host=db password='two words {SECRET}' dbname=x",
    f"postgresql://db/x?user=etl&sslpassword={SECRET}&sslmode=require",
    f"PGPASSWORD={SECRET}",
    f"/memberships/1/jobs?maxResults=100&nextToken={SECRET}&x=1",
    f'{{"nextToken": "{SECRET}", "jobs": []}}',
    f'"{{\\"nextToken\\": \\"{SECRET}\\"}}"',
    f"next_token={SECRET}",
    f"https://sts.amazonaws.com/?X-Amz-Signature={SECRET}",
    f"https://sts.amazonaws.com/?X-Amz-Security-Token={SECRET}&Action=AssumeRole",
    f"{{'X-Amz-Security-Token': b'{SECRET}', 'Host': 'sts'}}",
    f"X-Amz-Security-Token: {SECRET}",
    f"AWS4-HMAC-SHA256 Credential=AKIA/eu/sts, SignedHeaders=host, Signature={SECRET}",
    f"<SessionToken>{SECRET}</SessionToken>",
    f"<SecretAccessKey>{SECRET}</SecretAccessKey>",
    f"aws_session_token = {SECRET}",
    f"AWS_SECRET_ACCESS_KEY={SECRET}",
]

HARMLESS = [
    "postgresql://etl@db.internal:5432/cleanrooms",
    "https://cleanrooms-ml.eu-west-1.amazonaws.com/memberships?maxResults=100",
    "http://127.0.0.1:8099 and mail to ops@example.com",
    "AWS gave the same nextToken twice: its pages go round",
    "The security token included in the request is expired",
    "Signature expired: 20260302T120000Z is now earlier than 20260302T121500Z",
    'password authentication failed for user "etl"',
    "arn:aws:iam::111122223333:role/etl-reader",
]


def lines(out: io.StringIO) -> list[str]:
    return out.getvalue().split("\n")[:-1]


def objects(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(out)]


def fields(out: io.StringIO) -> dict[str, Any]:
    """The fields of the only line, but for its time."""
    [line] = objects(out)
    return {key: value for key, value in line.items() if key != "at"}


def said(line: str) -> str:
    """A line for people without its time."""
    return line.partition(" ")[2]


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(out: io.StringIO) -> FilteringBoundLogger:
    return logger(as_json=True, out=out)


@pytest.fixture
def text(out: io.StringIO) -> FilteringBoundLogger:
    return logger(as_json=False, out=out)


# JSON lines


def test_an_event_is_one_json_object_with_its_time_level_and_fields(
    log: FilteringBoundLogger, out: io.StringIO
) -> None:
    log.info("synced", membership="3f2a", pages=3, error=None)
    assert list(objects(out)[0]) == ["at", "level", "event", "membership", "pages", "error"]
    assert fields(out) == {"level": "info", "event": "synced", "membership": "3f2a", "pages": 3, "error": None}


def test_the_time_of_an_event_is_utc_and_says_so(log: FilteringBoundLogger, out: io.StringIO) -> None:
    before = datetime.now(UTC)
    log.info("now")
    at = datetime.fromisoformat(objects(out)[0]["at"])
    assert before <= at <= datetime.now(UTC)
    assert at.utcoffset() == timedelta(0)


@pytest.mark.parametrize("level", ["info", "warning", "error", "critical"])
def test_each_level_from_info_on_is_written(log: FilteringBoundLogger, out: io.StringIO, level: str) -> None:
    getattr(log, level)("happened")
    assert fields(out) == {"level": level, "event": "happened"}


def test_details_for_developers_are_not_written(log: FilteringBoundLogger, out: io.StringIO) -> None:
    log.debug("detail")
    assert out.getvalue() == ""


def test_bound_fields_come_with_each_event(log: FilteringBoundLogger, out: io.StringIO) -> None:
    bound = log.bind(run_id=7)
    bound.info("one")
    bound.info("two")
    assert [(line["event"], line["run_id"]) for line in objects(out)] == [("one", 7), ("two", 7)]


def test_a_line_is_ascii_and_holds_the_very_text(log: FilteringBoundLogger, out: io.StringIO) -> None:
    hostile = 'Grüße \x1b[31m\a\r\n \x9b \u202e \x7f "quoted" \\ 🌍'
    log.info(hostile, name=hostile, **{hostile: 1})
    [line] = lines(out)
    assert line.isascii()
    assert line.isprintable()
    assert fields(out) == {"level": "info", "event": hostile, "name": hostile, hostile: 1}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (NOON, "2026-03-02T12:00:00+00:00"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (ValueError("why"), "why"),
        (float("nan"), "nan"),
        (1 << 80, 1 << 80),
        (0.25, 0.25),
        (True, True),
        (Counter({"ODD": 2}), {"ODD": 2}),
        ({None: [(1, "two")]}, {"None": [[1, "two"]]}),
        ({"one"}, ["one"]),
    ],
)
def test_whatever_is_logged_can_be_read_as_json(
    log: FilteringBoundLogger, out: io.StringIO, value: object, written: object
) -> None:
    log.info("odd", value=value)
    assert fields(out)["value"] == written


def fail(message: str) -> None:
    raise ValueError(message)


def raise_and_log(log: FilteringBoundLogger, message: str) -> None:
    try:
        fail(message)
    except ValueError:
        log.exception("a fault")


def test_an_exception_is_one_field_of_the_one_line(log: FilteringBoundLogger, out: io.StringIO) -> None:
    raise_and_log(log, "two\nlines")
    assert fields(out)["level"] == "error"
    assert fields(out)["exception"].startswith("Traceback (most recent call last):\n")
    assert fields(out)["exception"].endswith("\nValueError: two\nlines")


def test_threads_do_not_write_into_each_others_lines() -> None:
    class Slow(io.StringIO):
        """A stream that takes a line in pieces."""

        def write(self, text: str) -> int:
            for piece in re.findall(r"[\s\S]{1,20}", text):
                super().write(piece)
                time.sleep(0)  # let others write
            return len(text)

    out = Slow()
    log = logger(as_json=True, out=out)

    def work(number: int) -> None:
        for turn in range(50):
            log.info("turn", thread=number, turn=turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((line["thread"], line["turn"]) for line in objects(out)) == [
        (number, turn) for number in range(4) for turn in range(50)
    ]


def test_two_loggers_share_nothing(log: FilteringBoundLogger, out: io.StringIO) -> None:
    other = io.StringIO()
    second = logger(as_json=False, out=other)
    log.info("one")
    second.info("two")
    log.info("three")
    assert [line["event"] for line in objects(out)] == ["one", "three"]
    assert [said(line) for line in lines(other)] == ["[info] two"]


# Text


def test_text_is_the_event_and_its_fields_without_padding(text: FilteringBoundLogger, out: io.StringIO) -> None:
    text.info("synced", membership="3f2a", pages=3, since=NOON, error="no such role")
    [line] = lines(out)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z \[info\] ", line)
    assert said(line) == (
        "[info] synced membership=3f2a pages=3 since=2026-03-02T12:00:00+00:00 error='no such role'"
    )


def test_text_leaves_out_what_is_not_known(text: FilteringBoundLogger, out: io.StringIO) -> None:
    text.info("synced", error=None, new=0)
    assert [said(line) for line in lines(out)] == ["[info] synced new=0"]


@pytest.mark.parametrize("as_json", [True, False])
def test_no_control_character_reaches_the_stream(out: io.StringIO, as_json: bool) -> None:
    hostile = "\a\x1b[31mred\r\x9b2J\u202e\x00"
    log = logger(as_json=as_json, out=out)
    log.info(hostile, name=hostile, many=[hostile], of={hostile: hostile}, **{hostile: 1})
    raise_and_log(log, hostile)
    assert all(line.isprintable() for line in lines(out))


def test_no_event_can_be_forged_in_text(text: FilteringBoundLogger, out: io.StringIO) -> None:
    forged = "\n2026-03-02T12:00:00Z [info] all is well"
    text.warning(f"refused{forged}", reason=forged)
    raise_and_log(text, f"why{forged}\x85{forged}")
    events = [line for line in lines(out) if not line.startswith("    ")]
    assert [said(line).split()[:2] for line in events] == [
        ["[warning]", r"refused\n2026-03-02T12:00:00Z"],
        ["[error]", "a"],
    ]


def test_a_traceback_stands_indented_below_its_event(text: FilteringBoundLogger, out: io.StringIO) -> None:
    raise_and_log(text, "why")
    event, first, *_, last = lines(out)
    assert said(event) == "[error] a fault"
    assert (first, last) == ("    Traceback (most recent call last):", "    ValueError: why")


def test_text_off_a_terminal_has_no_colours(text: FilteringBoundLogger, out: io.StringIO) -> None:
    text.error("red", field=1)
    assert "\x1b" not in out.getvalue()


def test_text_on_a_terminal_has_colours() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as file:
        logger(as_json=False, out=file).error("red", field=1)
        shown = os.read(master, 4096).decode()
    os.close(master)
    assert "\x1b[" in shown
    assert said(re.sub(r"\x1b\[[0-9;]*m", "", shown)) == "[error] red field=1\r\n"


def test_a_terminal_of_another_encoding_is_shown_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    logger(as_json=False, out=stream).info("Grüße 世界")
    assert said(raw.getvalue().decode("latin-1")) == "[info] Grüße \\u4e16\\u754c\n"


# Secrets


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("slip", SLIPS)
def test_a_secret_is_masked_wherever_it_stands(out: io.StringIO, slip: str, as_json: bool) -> None:
    log = logger(as_json=as_json, out=out)
    log.info(slip, error=slip, many=[slip], of={slip: {"deep": slip}}, fault=OSError(slip))
    raise_and_log(log, slip)
    with forwarding(log):
        logging.getLogger("urllib3").warning("Retrying %s", slip)
    assert SECRET not in out.getvalue()
    assert "hunter2" not in out.getvalue()
    assert len(re.findall(r"\*\*\*", out.getvalue())) >= 8


@pytest.mark.parametrize("name", ["password", "nextToken", "SessionToken", "SecretAccessKey", "X-Amz-Signature"])
def test_a_field_with_a_secrets_name_is_masked(log: FilteringBoundLogger, out: io.StringIO, name: str) -> None:
    log.info("asked", request={name: SECRET}, **{name: SECRET})
    assert fields(out) == {"level": "info", "event": "asked", "request": {name: "***"}, name: "***"}


def test_what_surrounds_a_secret_is_still_told(log: FilteringBoundLogger, out: io.StringIO) -> None:
    log.info(
        "failed",
        database=f"postgresql://etl:{SECRET}@db.internal/cleanrooms?sslmode=require",
        url=f"/jobs?nextToken={SECRET}&maxResults=100",
    )
    assert fields(out) == {
        "level": "info",
        "event": "failed",
        "database": "postgresql://etl:***@db.internal/cleanrooms?sslmode=require",
        "url": "/jobs?nextToken=***&maxResults=100",
    }


@pytest.mark.parametrize("words", HARMLESS)
def test_words_without_a_secret_stay_as_they_are(log: FilteringBoundLogger, out: io.StringIO, words: str) -> None:
    log.info(words)
    assert fields(out)["event"] == words


passwords = st.text(st.characters(exclude_categories=("Cs", "Z", "Cc")), min_size=1)


@given(password=passwords, before=st.text(), after=st.text())
def test_no_password_of_a_url_is_written(password: str, before: str, after: str) -> None:
    planted = f"<{password}>"
    out = io.StringIO()
    logger(as_json=True, out=out).info(f"{before} postgresql://etl:{planted}@db.internal/x {after}")
    assert planted not in objects(out)[0]["event"].removeprefix(before).removesuffix(after)


# What libraries say


@pytest.fixture
def stranger() -> logging.Logger:
    """A library's logger."""
    return logging.getLogger("botocore.stranger")


def test_what_libraries_warn_of_is_a_line_like_ours(
    log: FilteringBoundLogger, out: io.StringIO, stranger: logging.Logger
) -> None:
    with forwarding(log):
        stranger.warning("retry %d\n", 3)
    assert fields(out) == {"level": "warning", "event": "retry 3", "logger": "botocore.stranger"}


def test_errors_of_libraries_are_errors_with_their_traceback(
    log: FilteringBoundLogger, out: io.StringIO, stranger: logging.Logger
) -> None:
    with forwarding(log):
        try:
            fail("why")
        except ValueError:
            stranger.exception("the job failed")
    assert fields(out)["level"] == "error"
    assert fields(out)["exception"].endswith("ValueError: why")


def test_what_libraries_tell_below_warning_is_not_written(
    log: FilteringBoundLogger, out: io.StringIO, stranger: logging.Logger
) -> None:
    stranger.setLevel(logging.DEBUG)
    with forwarding(log):
        stranger.info("found credentials")
    stranger.setLevel(logging.NOTSET)
    assert out.getvalue() == ""


def in_process(script: str, stdout: int | IO[Any]) -> str:
    """Run a script that has a logger on stdout, in a process of its own; what it says to stderr."""
    program = f"""
import logging, sys, warnings
from etl.log import forwarding, logger
log = logger(as_json=True, out=sys.stdout)
{script}
sys.stderr.write("alive")
"""
    command = [sys.executable, "-c", program]
    process = subprocess.run(  # noqa: S603 - our own code
        command, stdout=stdout, stderr=subprocess.PIPE, timeout=30, text=True, check=False
    )
    return process.stderr


def test_a_library_that_misuses_logging_is_heard_all_the_same(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        said = in_process("with forwarding(log): logging.warning('retry %d of %d', 3)", file)
    assert json.loads((tmp_path / "log").read_text())["event"] == "retry %d of %d"
    assert said == "alive"


def test_a_warning_of_python_is_a_line(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        in_process("with forwarding(log): warnings.warn('this will go away')", file)
    line = json.loads((tmp_path / "log").read_text())
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert line["event"].endswith("UserWarning: this will go away")


def test_logging_is_left_as_it_was_found() -> None:
    script = """
with forwarding(log):
    pass
warnings.warn("for stderr")
logging.warning("for stderr too")
"""
    said = in_process(script, subprocess.DEVNULL)
    assert re.search("UserWarning: for stderr\\n.*for stderr too\n", said)


# A stream that takes no more

MANY_LINES = "for _ in range(1000): log.info('line', padding='x' * 500)"


def test_a_pipe_that_nobody_reads_any_more_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert in_process(MANY_LINES, writer).startswith("alive")
    os.close(writer)


def test_a_full_disk_ends_nothing() -> None:
    with Path("/dev/full").open("w") as full:
        assert in_process(MANY_LINES, full).startswith("alive")


def test_a_closed_stream_ends_nothing(log: FilteringBoundLogger, out: io.StringIO) -> None:
    out.close()
    log.info("lost")


def test_lines_are_whole_again_once_the_stream_takes_them() -> None:
    class Disk(io.RawIOBase):
        """A disk that is full for a while."""

        def __init__(self) -> None:
            self.is_full = False
            self.held = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            if self.is_full:
                raise OSError(28, "No space left on device")
            self.held += bytes(data)
            return len(data)

    disk = Disk()
    log = logger(as_json=True, out=io.TextIOWrapper(io.BufferedWriter(disk), encoding="utf-8"))
    for disk.is_full, event in ((False, "one"), (True, "two"), (False, "three")):
        log.info(event, padding="x" * 20_000)
    events = [json.loads(line)["event"] for line in disk.held.decode().splitlines()]
    assert events[0] == "one"
    assert events[-1] == "three"


def test_help_does_not_wait_for_logs_metrics_or_http() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "etl", "--help"]
    imported = subprocess.run(command, check=True, capture_output=True, text=True).stderr  # noqa: S603 - our own
    assert "etl.console" in imported
    assert not re.search(r"\| +(structlog|prometheus_client|http\.server|etl\.(log|metrics|monitor))\n", imported)


def test_a_reader_who_does_not_read_holds_up_one_line_and_loses_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("etl.log._PATIENCE", 0.3)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as out:
        said = logger(as_json=True, out=out)
        began = time.monotonic()
        for number in range(5_000):
            said.info("line", number=number, fill="x" * 100)
        assert time.monotonic() - began < 10
        held = os.read(reading, 1_000_000)
        said.info("read again")
        held += os.read(reading, 1_000_000)
    os.close(reading)
    lines = [json.loads(line) for line in held.splitlines()]
    assert [line["number"] for line in lines[:-1]] == list(range(len(lines) - 1))
    assert 100 < len(lines) < 5_000
    assert lines[-1]["event"] == "read again"


def test_a_line_longer_than_a_pipe_takes_at_once_comes_whole() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as out:
        logger(as_json=True, out=out).info("long", fill="x" * 20_000)
    with os.fdopen(reading) as read:
        assert json.loads(read.read())["fill"] == "x" * 20_000
