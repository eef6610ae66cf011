"""What the daemon says of itself: a line an event, JSON for programs or text for people, and never a secret.

A line that cannot be written (a full disk, a pipe that nobody reads any more) is lost, and nothing else happens:
the daemon is there for the jobs, not for its log.
"""

import json
import logging
import math
import os
import select
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, TextIO

import structlog
from structlog.dev import ConsoleRenderer
from structlog.processors import TimeStamper, add_log_level, format_exc_info
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from etl.console import printable
from etl.masking import masked

_PATIENCE = 1.0  # seconds with a reader who does not read
_INDENT = "    "  # before each line of a traceback: none of them looks like an event


def logger(*, as_json: bool, out: TextIO) -> FilteringBoundLogger:
    """Return a logger that writes events of level info and above to `out`, from any thread, each flushed at once.

    A JSON line is ``{"at": ..., "level": ..., "event": ..., fields...}`` in ASCII: `at` is in UTC, `exception` is
    the traceback if there is one. Text leaves out fields that are None, and has a traceback on lines of its own.
    Loggers share nothing. A signal handler must not use one: the thread that it interrupts may be writing a line.
    """
    timestamp = TimeStamper(fmt="iso", utc=True, key="at")
    rendered: list[Processor] = [_as_json] if as_json else [_harmless, _as_text(is_terminal=out.isatty())]
    log: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(out),
        processors=[add_log_level, timestamp, format_exc_info, _plain, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind()
    return log


@contextmanager
def forwarding(log: FilteringBoundLogger, errors_only: tuple[str, ...] = ()) -> Iterator[None]:
    """Make lines of what libraries log at WARNING and above, and of Python's warnings.

    Of the libraries whose names begin with one of `errors_only`, errors alone.
    This alone is global: the standard library has one root logger. It is left as it was found.
    """
    handler = _Forwarding(log)
    handler.addFilter(lambda record: record.levelno >= logging.ERROR or not record.name.startswith(errors_only))
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        logging.getLogger().removeHandler(handler)


class _Lines:
    """A stream that takes whole lines from any thread; what it does not take is lost.

    A pipe that nobody empties, or a terminal that was stopped, holds up one line for a moment and none after it.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._encoding = out.encoding or "utf-8"
        self._lock = threading.Lock()
        self._descriptor = _descriptor(out)
        self._patience = _PATIENCE
        self._is_cut = False

    def write(self, line: str) -> None:
        # A terminal of another encoding than UTF-8 is shown escapes.
        data = line.encode(self._encoding, "backslashreplace") + b"\n"
        with self._lock, suppress(OSError, ValueError):  # ValueError: it is closed
            if self._descriptor is None:
                self._out.write(data.decode(self._encoding))
                self._out.flush()
            else:
                self._send(self._descriptor, b"\n" * self._is_cut + data)

    info = warning = error = critical = write  # structlog calls what is named like the level

    def _send(self, descriptor: int, data: bytes) -> None:
        """Write as long as there is room: `PIPE_BUF` bytes fit where there is any."""
        for start in range(0, len(data), select.PIPE_BUF):
            _, has_room, _ = select.select([], [descriptor], [], self._patience)
            self._patience = _PATIENCE if has_room else 0
            if not has_room:
                self._is_cut = self._is_cut or start > 0
                return
            os.write(descriptor, data[start : start + select.PIPE_BUF])
        self._is_cut = False


def _descriptor(out: TextIO) -> int | None:
    try:
        return out.fileno()
    except (OSError, ValueError):  # a text in memory, or closed
        return None


class _Forwarding(logging.Handler):
    """Hands the records of the standard library's logging to a logger of ours."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        say(_message(record).strip(), logger=record.name, exc_info=record.exc_info)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit are a library's own mistake, and of any kind
        return str(record.msg)


def _plain(_: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Make an event's values plain ones without secrets, those that everybody looks for first."""
    first = {key: event.pop(key) for key in ("at", "level", "event")}
    return {key: _plain_value(value, key) for key, value in {**first, **event}.items()}


def _plain_value(value: object, name: str = "") -> Any:
    """Return what JSON can hold of a value, whatever it is; `name` is its key's."""
    match value:
        case None | int():
            return value
        case float() if math.isfinite(value):
            return value
        case Mapping():
            return {masked(str(key)): _plain_value(held, str(key)) for key, held in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain_value(item) for item in value]
        case datetime():
            return value.isoformat()
        case _:
            return masked(str(value), name)


def _as_json(_: WrappedLogger, _name: str, event: EventDict) -> str:
    return json.dumps(event)


def _as_text(*, is_terminal: bool) -> ConsoleRenderer:
    return ConsoleRenderer(
        colors=is_terminal,
        timestamp_key="at",
        sort_keys=False,
        pad_level=False,
        pad_event_to=0,
    )


def _harmless(_: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Escape what must not reach a terminal, and leave out what is not known."""
    traceback = event.pop("exception", None)
    shown = {
        printable(key): printable(value) if isinstance(value, str) else value
        for key, value in event.items()
        if value is not None
    }
    if traceback:
        shown["exception"] = "\n".join(_INDENT + printable(line) for line in traceback.splitlines())
    return shown
