"""What a user can mend: one clear line and its exit code. Whatever else is raised is a bug, and flies."""

import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, TextIO

import click

from etl.console import Console

# What they come from is imported when an error is there, so that `etl --help` answers at once.
# ruff: noqa: PLC0415

EXIT_TROUBLE = 1
EXIT_CONFIGURATION = 2
EXIT_DATABASE = 3
EXIT_INTERRUPTED = 128 + signal.SIGINT  # as shells have it: neither well nor wrong

_NOT_ALLOWED = "42501"  # SQLSTATE: insufficient privilege


class Etl(click.Group):
    """The command group: whatever a user can cause ends in one clear line and its exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and end with one line and its exit code whatever goes wrong before the command begins, or after."""
        try:
            sys.exit(super().main(*args, **kwargs | {"standalone_mode": False}))
        except click.ClickException as wrong:  # an option, say
            wrong.show()
            sys.exit(wrong.exit_code)
        except click.Abort as abort:  # click's for Ctrl-C, and for the end of a file that nobody awaited
            if isinstance(abort.__cause__, EOFError):
                raise abort.__cause__ from None
            fail("interrupted", EXIT_INTERRUPTED)
        except BrokenPipeError:
            raise  # whoever read our output has had enough
        except OSError as error:
            fail(*_refusal(error))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        with Path(os.devnull).open("w") as nowhere:
            # Python has none of a stream that was closed before it began.
            sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
            _let_all_be_shown(sys.stdout)
            try:
                return self._invoked(ctx)
            except (KeyboardInterrupt, click.Abort):
                fail("interrupted", EXIT_INTERRUPTED)

    def _invoked(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # click's own: --help, a wrong option
        except Exception as error:
            if trouble := _trouble(error):
                fail(*trouble)
            raise


def _let_all_be_shown(stream: TextIO) -> None:
    """Escape what a stream cannot show, as that for errors does by itself: AWS's words may hold any letter."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def fail(message: str, code: int) -> NoReturn:
    """End with a complaint and an exit code."""
    Console(as_json=False).complain(message)
    _give_up_what_cannot_be_written()
    sys.exit(code)


def _give_up_what_cannot_be_written() -> None:
    """Let what is left for standard output go nowhere, where it cannot go there: Python tries again as it ends."""
    try:
        if not sys.stdout.closed:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refusal(error: OSError) -> tuple[str, int]:
    return f"the system refused: {error}", EXIT_TROUBLE


def _trouble(error: Exception) -> tuple[str, int] | None:
    """Say what a user can mend, with its exit code; None if the error is a fault of this program."""
    from sqlalchemy.exc import DBAPIError

    from etl.config import ConfigError
    from etl.database import DatabaseError, reason
    from etl.local_postgres import LocalPostgresError

    match error:
        case ConfigError():
            return str(error), EXIT_CONFIGURATION
        case DatabaseError() | LocalPostgresError():
            return str(error), EXIT_DATABASE
        case BrokenPipeError():
            return None  # whoever read our output has had enough: click ends quietly
        case OSError():  # standard output, for one, on a full disk
            return _refusal(error)
        case DBAPIError():
            is_forbidden = getattr(error.orig, "sqlstate", None) == _NOT_ALLOWED
            hint = (
                ": only the owner may, and, to sync, who was made a writer by `etl db grant ROLE --writer`"
                if is_forbidden
                else ""
            )
            return f"the database failed: {reason(error)}{hint}", EXIT_DATABASE
        case _:
            return None
