"""The options that every command has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def with_options(command: F) -> F:
    """Give a command `--config` (as `file`) and `--json/--text` (as `as_json`, None: as the output is)."""
    command = click.option(
        "--json/--text", "as_json", default=None, help="JSON lines or text. [default: text on a terminal]"
    )(command)
    return click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help="Configuration file. [default: $ETL_CONFIG, else ./etl.toml]",
    )(command)
