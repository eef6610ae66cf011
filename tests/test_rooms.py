"""The rooms of the house: who may import whom, who reads the environment, who reads the clock."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What each room may import of ours; the modules of the demo are one room. An import that is not here is a new way
# through the house: ask first whether the room should not be given a value instead.
MAY_IMPORT = {
    "__init__": set(),
    "jobs": set(),
    "release": set(),
    "transport": set(),
    "sessions": set(),
    "tokens": {"sessions", "transport"},
    "cron": set(),
    "kinds": {"cron"},
    "config": {"cron", "kinds", "tokens", "transport", "scope"},
    "loading": {"config", "kinds"},
    "console": set(),
    "tables": {"jobs"},
    "demo": set(),
    "postgres_binaries": set(),
    "postgres_cluster": {"postgres_binaries"},
    "local_postgres": {"postgres_binaries", "postgres_cluster"},
    "database": {"tables", "tokens"},
    "verify": {"tables"},
    "access": {"database", "tables"},
    "dictionary": {"tables"},
    "milestones": {"jobs"},
    "reconcile": {"jobs", "milestones", "tables"},
    "rollups": {"tables"},
    "absence": {"jobs", "reconcile", "tables"},
    "wire": set(),
    "pace": set(),
    "codes": set(),
    "roles": {"backoff", "sessions"},
    "calls": {"codes"},
    "onward": {"wire"},
    "clients": {"calls", "config", "onward", "pace", "release", "roles", "sessions", "wire"},
    "source": {"calls", "clients", "codes", "config", "masking", "onward", "wire"},
    "order": set(),
    "scope": set(),
    "plan": {"scope"},
    "batches": {"jobs", "known", "order", "staging", "store"},
    "quick": {"jobs", "leases", "scope"},
    "known": {"jobs", "leases", "plan", "quick", "scope", "tables"},
    "reading": {"ahead", "calls", "config", "order", "plan", "scope", "source"},
    "settling": {"batches", "known", "leases", "order", "staging", "store", "writer"},
    "glance": {
        "known", "leases", "quick", "reading", "scope", "settling", "source", "staging", "writer",
    },
    "staging": {"jobs", "reconcile"},
    "store": {"absence", "leases", "reconcile", "rollups", "scope", "staging", "tables"},
    "roster": {"tables"},
    "leases": {"backoff", "scope", "tables"},
    "writer": {"database", "leases", "tables"},
    "ahead": set(),
    "backoff": {"codes"},
    "timetable": {"backoff", "config", "cron"},
    "run": {
        "absence", "config", "database", "glance", "known", "leases", "order", "plan", "quick", "reading",
        "rollups", "scope", "settling", "source", "staging", "store", "timetable", "writer",
    },
    "sync": {"config", "database", "leases", "release", "run", "store"},
    "sweep": {"config", "database", "roster", "run", "sync"},
    "cores": set(),
    "crew": {"config", "cores", "run", "sweep", "sync"},
    "agenda": {"config", "database", "leases", "roster", "sweep"},
    "masking": set(),
    "log": {"console", "masking"},
    "trouble": set(),
    "metrics": {"pace", "release", "sync", "tables"},
    "monitor": {"console"},
    "daemon": {
        "agenda", "clients", "config", "database", "metrics", "monitor", "pace", "release", "run", "sync",
        "trouble", "workers",
    },
    "workers": {"config"},
    "doctor": {
        "access", "ahead", "clients", "codes", "config", "console", "database", "loading", "local_postgres",
        "masking", "roles", "sessions", "source", "tables", "transport",
    },
    "report": {"console"},
    "tour": {"config", "console", "database", "demo", "loading", "report", "sweep"},
    "cli": {
        "access",
        "config",
        "console",
        "crew",
        "daemon",
        "database",
        "dictionary",
        "doctor",
        "kinds",
        "loading",
        "local_postgres",
        "log",
        "report",
        "run",
        "sweep",
        "sync",
        "tables",
        "tour",
        "verify",
    },
    "__main__": {"cli"},
    "migrations": {"database", "loading", "local_postgres", "tables"},
}  # fmt: skip

# What is known of AWS, and what is known of the database.
AWS = {"calls", "clients", "onward", "reading", "roles", "source", "wire"}
DATABASE = {
    "tables",
    "milestones",
    "reconcile",
    "absence",
    "rollups",
    "leases",
    "known",
    "settling",
    "staging",
    "store",
    "writer",
    "database",
    "access",
    "dictionary",
    "verify",
}

# Where the shell begins: these are handed the operator's environment, or tell the time to people.
SHELL = {"cli", "tour", "demo", "migrations"}


def files() -> Iterator[tuple[str, Path]]:
    """Every file with its room."""
    for file in sorted((ROOT / "etl").rglob("*.py")):
        yield file.relative_to(ROOT / "etl").with_suffix("").parts[0], file
    for file in sorted((ROOT / "migrations").rglob("*.py")):
        yield "migrations", file


def imports_of(file: Path) -> set[str]:
    """The rooms that a file imports, wherever in it, for types included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        match node:
            case ast.Import():
                names.update(alias.name for alias in node.names)
            case ast.ImportFrom():
                assert node.level == 0, f"{file}: imports are absolute"
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.split(".")[1] for name in names if name.startswith("etl.")}


@cache
def rooms() -> dict[str, set[str]]:
    """Each room with the others that it imports."""
    found: dict[str, set[str]] = {}
    for room, file in files():
        found.setdefault(room, set()).update(imports_of(file) - {room})
    return found


def reach(room: str) -> set[str]:
    """All that a room imports, and what those import."""
    imported, reached = rooms(), {room}
    while more := {found for each in reached for found in imported[each]} - reached:
        reached |= more
    return reached - {room}


@cache
def attributes_of(file: Path) -> set[str]:
    """What a file reaches for with dots: `os.environ`, `datetime.now`."""
    return {
        ast.unparse(node)
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_room_imports_only_what_its_duty_allows(room: str) -> None:
    assert rooms()[room] <= MAY_IMPORT[room]


def test_the_list_names_no_room_and_no_way_that_is_not_there() -> None:
    assert rooms() == MAY_IMPORT


def test_the_readme_tells_what_each_room_is_for() -> None:
    rows = re.findall(r"^\| (`etl/.*?) \|", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`etl/(\w+)(?:\.py|/)`", row)}
    assert told == set(MAY_IMPORT) - {"__init__", "__main__", "migrations"}


def test_aws_and_the_database_meet_in_a_run_in_the_daemon_and_at_the_doctor_s_alone() -> None:
    asking = {room for room, imported in rooms().items() if imported & AWS}
    assert asking == {"clients", "onward", "source", "reading", "glance", "run", "daemon", "doctor"}
    assert not any(reach(room) & AWS for room in DATABASE)
    assert not any(reach(room) & DATABASE for room in AWS)


def test_nobody_imports_the_command_line() -> None:
    assert [room for room, imported in rooms().items() if "cli" in imported] == ["__main__"]


def test_no_two_rooms_import_each_other_by_whatever_detour() -> None:
    left = rooms()
    while leaves := {room for room, imported in left.items() if not imported & left.keys()}:
        left = {room: imported for room, imported in left.items() if room not in leaves}
    assert left == {}


@pytest.mark.parametrize(
    "name",
    ["os.environ", "os.getenv", "os.environb", "datetime.now", "datetime.utcnow", "date.today", "time.time"],
)
def test_nobody_below_the_command_line_reads_the_environment_or_the_hosts_clock(name: str) -> None:
    readers = {room for room, file in files() if name in attributes_of(file)}
    assert readers <= SHELL


def test_no_room_is_a_cupboard() -> None:
    cupboards = {"util", "utils", "helper", "helpers", "common", "base", "manager", "misc", "core"}
    assert not cupboards & {file.stem for _, file in files()}
