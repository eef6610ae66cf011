"""The configuration read: from file and environment to one value, all complaints together."""

import difflib
import logging
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from etl.config import Aws, Config, ConfigError, Daemon, Database, Membership, Quota, Schedule, Sync
from etl.kinds import UUID

DEFAULT_FILE = Path("etl.toml")


def load(file: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the file given, else ``$ETL_CONFIG``, else ``./etl.toml`` if there is one; the environment wins.

    Warns of each risk and of each variable that is nearly ours, once a process. Raises `ConfigError` with every
    complaint at once.
    """
    path = origin(file, environ)
    may_be_missing = file is None and not environ.get("ETL_CONFIG")
    settings = {} if may_be_missing and not path.exists() else _read(path)
    config = from_mapping(settings, environ, str(path))
    if config.database.url is None and "ETL_DATABASE_URL" in environ:  # history would go where nobody looks for it
        raise ConfigError(["ETL_DATABASE_URL is empty: write a URL, or unset it to use a private local Postgres"])
    for key, risk in config.risks():
        _warn(f"{key}: {risk}")
    for variable, meant in _misspelt(environ):
        _warn(f"{variable}: is no variable of ours and sets nothing, did you mean {meant}?")
    return config


@cache
def _warn(risk: str) -> None:
    logging.getLogger(__name__).warning(risk)


def origin(file: Path | None, environ: Mapping[str, str]) -> Path:
    """Name the file that is read: the one given, else ``$ETL_CONFIG``, else ``./etl.toml``."""
    return file or Path(environ.get("ETL_CONFIG") or DEFAULT_FILE)


def from_mapping(settings: Mapping[str, Any], environ: Mapping[str, str], origin: str = "configuration") -> Config:
    """Make the value from what a file holds and the environment; raises `ConfigError`."""
    try:
        return Config.model_validate(_overlaid(settings, environ))
    except ValidationError as error:
        variables: dict[tuple[int | str, ...], str] = {
            (section, key): variable for variable, section, key, _ in _variables(environ)
        }
        complaints = [
            f"{variables.get(detail['loc']) or _place(settings, origin, detail)}: {_complaint(detail)}"
            for detail in error.errors()
        ]
    raise ConfigError(complaints)  # outside: a traceback would tell the error that holds what was given


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))  # some editors begin a file with a mark
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError:
        raise ConfigError([f"{file}: is not UTF-8: save it as that"]) from None
    except (ValueError, RecursionError) as error:  # both come of 5,000 digits or brackets, too
        raise ConfigError([f"{file}: is not TOML: {error}"]) from None


_MODELS: Mapping[str, type[BaseModel]] = {
    "database": Database, "aws": Aws, "sync": Sync, "schedule": Schedule, "daemon": Daemon,
    "quota": Quota, "membership": Membership,
}  # fmt: skip
"""The sections of the file, by their names there."""

_SHORT_FORMS = {"db": "database"}
_CLOSE = 0.85  # as `databse` is, and `metadatabase` is not

_RIVALS = {"every": "cron", "cron": "every"}  # each takes the place of the other


def _overlaid(settings: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Lay ``ETL_<SECTION>_<KEY>`` over the file's sections; an empty variable is as good as none."""
    given: dict[str, dict[str, str]] = {}
    for _, section, key, value in _variables(environ):
        given.setdefault(section, {})[key] = value
    merged = dict(settings)
    for section, values in given.items():
        filed = merged.get(section, {})
        if isinstance(filed, Mapping):
            merged[section] = {key: old for key, old in filed.items() if _RIVALS.get(key) not in values} | values
    return merged


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the variables that set something: name, section, key and value."""
    sections = [name for name in Config.model_fields if name != "memberships"]
    for variable, value in sorted(environ.items()):
        prefix, _, rest = variable.partition("_")
        section, _, key = rest.lower().partition("_")
        if prefix == "ETL" and section in sections and key and value.strip():
            yield variable, section, key, value.strip()  # secret stores like to add an end of line


def _misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables that are nearly ours, each with the one that was probably meant.

    Without a section of ours they are taken for another program's, so that nothing else would tell. Nearly ours is
    the name of a section but for a letter or two, or its short form, with a key of that section behind it.
    """
    sections = {name: model for name, model in _MODELS.items() if name in Config.model_fields}
    for variable, value in sorted(environ.items()):
        prefix, _, rest = variable.upper().partition("_")
        word, _, key = rest.lower().partition("_")
        if prefix == "ETL" and word not in sections and value.strip():
            for near in difflib.get_close_matches(_SHORT_FORMS.get(word, word), sections, n=1, cutoff=_CLOSE):
                if key in sections[near].model_fields:
                    yield variable, f"ETL_{near}_{key}".upper()


def _place(settings: Mapping[str, Any], origin: str, detail: ErrorDetails) -> str:
    """Name where in the file a complaint belongs: memberships by their number and id."""
    match detail["loc"]:
        case ("membership", int(index), *keys):
            given = settings["membership"][index]
            name = given.get("id") if isinstance(given, Mapping) else None
            is_id = isinstance(name, str) and re.fullmatch(UUID, name)
            return ": ".join([origin, f"[[membership]] {index + 1}" + f" ({name})" * bool(is_id), *map(str, keys)])
        case path:
            return f"{origin}: {'.'.join(map(str, path))}"


_WORDS = {
    "missing": "is missing",
    "string_type": "must be a text in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must be at least {min_length} characters long",
    "string_too_long": "must be at most {max_length} characters long",
    "model_type": "must be a section with keys of its own",
    "tuple_type": "each one is a section of its own, in double brackets: [[membership]]",
}
"""What pydantic complains of, in the words of somebody who edits the file."""


def _complaint(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return f"unknown key{_nearest([str(part) for part in detail['loc']])}"
    if words := _WORDS.get(detail["type"]):
        return words.format(**detail.get("ctx", {}))
    return detail["msg"].removeprefix("Value error, ")


def _nearest(path: Sequence[str]) -> str:
    """Name the known key that an unknown one was probably meant to be."""
    known = list(_MODELS[path[0]].model_fields if len(path) > 1 else _MODELS)
    close = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    return f", did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
