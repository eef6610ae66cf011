"""The data dictionary: the comments in the database, for people and for programs, and as a page that keeps up."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Etl
from test_cli import Cli

from etl import database, dictionary
from etl.dictionary import Column, Entry, UnknownEntryError

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/data-dictionary.md"
ENTRIES = [Entry(name, "view", None, (), ()) for name in ("open_jobs", "status_history", "sync_runs")]

Described = Callable[..., list[dict[str, object]]]


@pytest.fixture
def cli(tmp_path: Path, database_url: str) -> Cli:
    cli = Cli(tmp_path)
    cli.configure(database={"url": database_url})
    return cli


@pytest.fixture
def describe(cli: Cli) -> Described:
    """What `etl db describe` tells programs."""

    def run(*words: str) -> list[dict[str, object]]:
        said = cli.run("db", "describe", *words)
        assert (said.code, said.err) == (0, "")
        return said.objects

    return run


def entries(etl: Etl) -> list[Entry]:
    with database.connect(etl.config.database.address()) as connection:
        return dictionary.entries(connection)


# What is there


def test_each_view_and_function_of_the_schema_is_listed_once_and_nothing_else(etl: Etl) -> None:
    there = etl.query(
        "SELECT relname AS name, 'view' AS kind FROM pg_class WHERE relnamespace = 'cleanrooms'::regnamespace"
        " UNION ALL SELECT proname, 'function' FROM pg_proc WHERE pronamespace = 'cleanrooms'::regnamespace"
    )
    listed = [(entry.name, entry.kind) for entry in entries(etl)]
    assert sorted(listed) == sorted((row["name"], row["kind"]) for row in there)


def test_nothing_of_it_goes_without_a_comment(etl: Etl) -> None:
    known = entries(etl)
    silent = [entry.name for entry in known if not entry.comment]
    silent += [
        f"{entry.name}.{column.name}"
        for entry in known
        if entry.kind == "view"
        for column in entry.columns
        if not column.comment
    ]
    assert silent == []


def test_a_new_comment_is_told_at_once(etl: Etl) -> None:
    etl.execute("COMMENT ON COLUMN cleanrooms.sync_runs.pages IS 'Pages, read | counted'")
    runs = dictionary.find(entries(etl), "sync_runs")
    assert Column("pages", "bigint", "Pages, read | counted") in runs.columns
    assert "| `pages` | bigint | Pages, read \\| counted |" in list(dictionary.section(runs))


def test_a_function_has_its_arguments_and_the_columns_of_what_it_returns(etl: Etl) -> None:
    as_of = dictionary.find(entries(etl), "jobs_as_of")
    assert as_of.arguments == (Column("moment", "timestamp with time zone"),)
    rows = etl.query("SELECT * FROM (SELECT) AS one LEFT JOIN cleanrooms.jobs_as_of(now()) ON true")
    assert [column.name for column in as_of.columns] == list(rows[0])


def test_a_view_has_the_columns_that_a_query_has_in_their_order(etl: Etl) -> None:
    rows = etl.query("SELECT * FROM (SELECT) AS one LEFT JOIN cleanrooms.status_history ON true")
    columns = dictionary.find(entries(etl), "status_history").columns
    assert [column.name for column in columns] == list(rows[0])


# What is asked for


@pytest.mark.parametrize("name", ["sync_runs", "cleanrooms.sync_runs", "Cleanrooms.SYNC_RUNS"])
def test_a_view_is_found_with_and_without_its_schema(name: str) -> None:
    assert dictionary.find(ENTRIES, name).name == "sync_runs"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sync_run", "did you mean sync_runs?"),
        ("cleanrooms.histroy", "did you mean status_history?"),
        ("x", "known are open_jobs, status_history, sync_runs"),
    ],
)
def test_an_unknown_view_is_answered_with_the_nearest_one(name: str, hint: str) -> None:
    with pytest.raises(UnknownEntryError, match=f"{re.escape(name)}: no view or function .*{re.escape(hint)}"):
        dictionary.find(ENTRIES, name)


# The command


def test_without_a_name_the_command_lists_all(describe: Described, etl: Etl) -> None:
    assert [(row["name"], row["kind"], row["comment"]) for row in describe()] == [
        (entry.name, entry.kind, entry.comment) for entry in entries(etl)
    ]


def test_a_view_is_described_by_a_line_for_itself_and_one_for_each_column(describe: Described, etl: Etl) -> None:
    freshness = dictionary.find(entries(etl), "sync_freshness")
    head, *columns = describe("sync_freshness")
    assert head == {"name": "sync_freshness", "kind": "view", "comment": freshness.comment}
    assert columns == [
        {"table": "columns", "name": each.name, "type": each.type, "comment": each.comment}
        for each in freshness.columns
    ]


def test_a_function_is_described_with_its_arguments_first(describe: Described) -> None:
    _, argument, first, *_ = describe("jobs_known_as_of")
    assert argument == {"table": "arguments", "name": "moment", "type": "timestamp with time zone"}
    assert first == {"table": "columns", "name": "job_arn", "type": "text"}


def test_for_people_it_is_a_table(cli: Cli) -> None:
    said = cli.run("db", "describe", "status_dim", "--text")
    assert said.code == 0
    assert re.search(r"│ is_open +│ boolean +│ Whether a job in it is pending", said.out)


def test_an_unknown_name_is_one_line_and_exit_code_2(cli: Cli) -> None:
    said = cli.run("db", "describe", "status_histroy")
    assert (said.code, said.out) == (2, "")
    line = "etl: status_histroy: no view or function of schema cleanrooms, did you mean status_history?"
    assert said.complaints == [line]


def test_a_database_that_is_not_migrated_is_one_line_and_exit_code_3(cli: Cli, empty_database_url: str) -> None:
    said = cli.run("db", "describe", ETL_DATABASE_URL=empty_database_url)
    assert (said.code, said.complaints) == (3, ["etl: the database is not migrated: run `etl db upgrade`"])


def test_one_view_can_be_had_as_markdown_alone(cli: Cli) -> None:
    lines = cli.run("db", "describe", "jobs_as_of", "--markdown").out.splitlines()
    assert lines[0] == "## jobs_as_of"
    assert "Call it as `cleanrooms.jobs_as_of(moment timestamp with time zone)`. It returns:" in lines
    assert [line for line in lines if line.startswith("## ")] == ["## jobs_as_of"]


# The page


def test_the_page_is_what_the_command_prints(cli: Cli) -> None:
    said = cli.run("db", "describe", "--markdown")
    assert said.out == PAGE.read_text("utf-8"), "run `make docs`"


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    page = PAGE.read_text("utf-8")
    links = re.findall(r"\(#([^)]+)\)", page)
    assert links == re.findall(r"^## (.+)$", page, re.MULTILINE)


def generate(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "docs.generate", *words], check=False, cwd=ROOT, capture_output=True, text=True
    )


def test_the_page_is_written_and_one_that_drifted_is_refused_with_its_lines(tmp_path: Path) -> None:
    page = tmp_path / "dictionary.md"
    assert generate(page).returncode == 0
    assert generate("--check", page).returncode == 0
    page.write_text(page.read_text("utf-8").replace("## sync_runs", "## sync_walks"), "utf-8")
    said = generate("--check", page)
    assert said.returncode == 1
    assert "-## sync_walks\n+## sync_runs\n" in said.stderr
    assert said.stderr.endswith("is not what the database says: run `make docs`\n")


def test_a_page_that_is_missing_has_drifted(tmp_path: Path) -> None:
    assert generate("--check", tmp_path / "none.md").returncode == 1
