"""What deploy/ holds for BI tools fits the database. Superset and dbt themselves read it in `make check-bi`."""

import json
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from deploy.bi import descriptions, grafana
from deploy.bi.questions import QUESTIONS, compared, number
from deploy.bi.superset import BUNDLE, DATABASE_FILE, zipped
from etl import database, dictionary
from etl.dictionary import Column, Entry

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
KNOWN = [
    Entry("jobs", "view", "All jobs", (), (Column("name", "text", 'A "name"'), Column("age", "bigint", "Years")))
]

DATASET = """\
table_name: jobs
description: "Jobs"
metrics:
- metric_name: age
  description: Sum of ages
columns:
- column_name: name
  description: "What?"
- column_name: days
  expression: age * 365
- column_name: age
  description: "Years"
"""
SOURCES = """\
sources:
  - name: cleanrooms
    description: "Ours"
    tables:
      - name: jobs
        description: "All jobs"
        columns:
          - name: age
            description: "Years"
"""


@pytest.fixture
def entries(database_url: str) -> list[Entry]:
    with database.connect(database_url) as connection, connection.begin():
        return dictionary.entries(connection)


def names_of(kind: str) -> set[str]:
    """The names of what is of a kind in the bundle, from its files."""
    files = BUNDLE.rglob(f"{kind}/**/*.yaml")
    return {re.findall(r"^(?:slice_name|table_name): (.+)$", file.read_text(), re.MULTILINE)[0] for file in files}


def test_all_descriptions_are_the_comments_in_the_database(entries: list[Entry]) -> None:
    seen = list(descriptions.check(entries))
    assert [each.what for each in seen if not each.is_well] == []
    assert len(seen) == len(descriptions.FILES) == 8


def test_every_view_is_a_source_of_dbt(entries: list[Entry]) -> None:
    sources = descriptions.FILES[0].read_text()
    assert set(re.findall(r"^      - name: (\w+)$", sources, re.MULTILINE)) == {
        entry.name for entry in entries if entry.kind == "view"
    }


def test_a_description_is_written_anew_and_nothing_else() -> None:
    wanted = DATASET.replace('"Jobs"', '"All jobs"').replace('"What?"', r'"A \"name\""')
    assert descriptions.described(DATASET, KNOWN) == wanted
    assert descriptions.described(wanted, KNOWN) == wanted


def test_what_a_dataset_computes_needs_no_comment_in_the_database() -> None:
    assert list(descriptions.missing(DATASET, KNOWN)) == []


def test_a_column_that_is_not_described_is_named() -> None:
    assert list(descriptions.missing(SOURCES, KNOWN)) == ["jobs.name is not described"]


def test_a_column_that_is_there_no_more_is_named() -> None:
    gone = f'{SOURCES}          - name: size\n            description: "Metres"\n'
    assert "jobs.size is not there" in descriptions.missing(gone, KNOWN)


def test_superset_and_grafana_answer_the_same_questions() -> None:
    questions = {question.name for question in QUESTIONS}
    assert names_of("charts") == grafana.panels().keys() == questions


def test_every_dataset_is_a_view(entries: list[Entry]) -> None:
    assert names_of("datasets") <= {entry.name for entry in entries}


def test_the_bundle_holds_no_address_and_no_password() -> None:
    (uri,) = re.findall("^sqlalchemy_uri: (.*)$", (BUNDLE / DATABASE_FILE).read_text(), re.MULTILINE)
    assert uri == "postgresql+psycopg2://READER:XXXXXXXXXX@HOST:5432/cleanrooms?sslmode=verify-full"


def test_the_bundle_is_zipped_with_the_address_in_its_place_and_all_else_as_it_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(zipped(tmp_path / "bundle.zip", "postgresql://db")) as archive:
        texts = {name.removeprefix("superset/"): archive.read(name).decode() for name in archive.namelist()}
    changed = texts.pop(DATABASE_FILE)
    assert "\nsqlalchemy_uri: postgresql://db\n" in changed
    assert texts == {
        name: file.read_text()
        for file in BUNDLE.rglob("*.yaml")
        if (name := file.relative_to(BUNDLE).as_posix()) != DATABASE_FILE
    }


@pytest.mark.parametrize("title", sorted(grafana.panels()))
@pytest.mark.parametrize("grain", ["1h", "6h", "1d", "7d"])
def test_postgres_takes_the_sql_of_a_panel_at_every_grain(database_url: str, title: str, grain: str) -> None:
    (target,) = grafana.panels()[title]["targets"]
    query = grafana.interpolated(target["rawSql"], {"${membership:sqlstring}": "'m'", "$grain": grain}, NOON)
    with database.connect(database_url) as connection, connection.begin():
        columns = list(connection.execute(text(query.replace(":", r"\:"))).keys())
    assert ("time" in columns) == (target["format"] == "time_series")


def test_the_grains_that_are_tried_are_those_of_the_dashboard() -> None:
    assert grafana.variables()["grain"]["query"] == "1h,6h,1d,7d"


def test_macros_become_what_the_data_source_makes_of_them() -> None:
    query = "SELECT $__timeGroupAlias(hour, '$grain') FROM t WHERE $__timeFilter(hour)"
    assert grafana.interpolated(query, {"$grain": "6h"}, NOON) == (
        'SELECT floor(extract(epoch from hour)/21600)*21600 AS "time" FROM t'
        " WHERE hour BETWEEN '2026-01-31T12:00:00.000000Z' AND '2026-03-02T12:00:00.000000Z'"
    )


@pytest.mark.parametrize("unknown", ["$__interval", "$__timeFiltre(hour)", "$membership"])
def test_what_grafana_would_not_replace_is_refused(unknown: str) -> None:
    with pytest.raises(ValueError, match=re.escape(unknown.split("(", maxsplit=1)[0])):
        grafana.interpolated(f"SELECT {unknown}", {}, NOON)


def test_every_panel_asks_the_data_source_that_the_reader_chooses() -> None:
    asked = {json.dumps(panel["datasource"]) for panel in grafana.panels().values()}
    assert asked == {'{"type": "grafana-postgresql-datasource", "uid": "${datasource}"}'}


@pytest.mark.parametrize(
    ("column", "is_latest", "expected"), [(None, False, 9.0), ("b", False, 6.0), ("b", True, 4.0)]
)
def test_the_number_of_an_answer_is_a_sum_or_the_latest(
    column: str | None, is_latest: bool, expected: float
) -> None:
    rows = [{"time": NOON, "a": 1, "b": 2, "c": "x"}, {"time": NOON, "a": 2, "b": 4, "c": None}]
    assert number(rows, column, time="time", is_latest=is_latest) == expected


def test_nothing_has_no_latest_number_that_is_any_other() -> None:
    assert not compared(QUESTIONS[0], 0, number([], "b", is_latest=True), 0).is_well


@pytest.mark.parametrize(("rows", "shown", "is_well"), [(2, 3.0, True), (2, 3.001, False), (0, 3.0, False)])
def test_an_answer_is_well_if_it_has_rows_and_the_number_of_the_sql(
    rows: int, shown: float, is_well: bool
) -> None:
    assert compared(QUESTIONS[0], rows, shown, 3).is_well == is_well
