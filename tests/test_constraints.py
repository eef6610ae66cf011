"""What the database refuses, whoever writes to it: the history's chain is held by constraints, not by hopes."""

import re

import psycopg
import pytest
from conftest import MINUTE, NOON, Etl
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from etl import database
from etl.demo.membership import Membership
from etl.demo.world import World

ADD = """
    INSERT INTO cleanrooms_etl.status_transition
        (job_key, changed_time, from_status, from_time, to_status, not_before, observed_at, time_basis, run_id,
         membership_key)
    SELECT job_key, {changed_time}, {from_status}, {from_time}, {to_status}, {not_before}, now(), {basis}, {run},
        membership_key
    FROM cleanrooms_etl.inference_job
"""
NEXT_STEP = {
    "changed_time": "status_since + interval '1 minute'",
    "from_status": "status",
    "from_time": "status_since",
    "to_status": "'INACTIVE'",
    "not_before": "status_since",
    "basis": "'update_time'",
    "run": "(SELECT max(run_id) FROM cleanrooms_etl.sync_run)",
}


@pytest.fixture
def history(etl: Etl, world: World, membership: Membership) -> Etl:
    """The product, with one job that went from CREATE_PENDING (noon) to ACTIVE (a minute later)."""
    job = world.create_job(membership)
    etl.sync()
    world.set_status(job, "ACTIVE", at=NOON + MINUTE)
    world.edit(job, touch=False, name="renamed")
    etl.sync()
    return etl


def step(**changes: str) -> str:
    """The statement that adds the job's next transition, or one that differs from it."""
    return ADD.format(**NEXT_STEP | changes)


def another_job(arn: str) -> str:
    """The statement that adds a job like the one there is, with the ARN of an SQL expression."""
    return f"""
        INSERT INTO cleanrooms_etl.inference_job
        SELECT (jsonb_populate_record(job, jsonb_build_object('job_key', 1000, 'job_arn', {arn}))).*
        FROM cleanrooms_etl.inference_job AS job
    """  # noqa: S608 - a constant of this file


def refused(etl: Etl, statement: str) -> str:
    """What refuses a statement: the constraint's name, or the first words of the trigger."""
    with pytest.raises(DBAPIError) as caught:
        etl.execute(statement)
    origin = caught.value.orig
    assert isinstance(origin, psycopg.Error)
    return origin.diag.constraint_name or origin.diag.column_name or str(origin).splitlines()[0]


def test_the_next_step_is_taken(history: Etl) -> None:
    """All refusals below are one change away from this."""
    history.execute(step())
    assert len(history.query("SELECT 1 FROM cleanrooms_etl.status_transition")) == 3


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"from_status": "NULL", "from_time": "NULL"}, "uq_status_transition_job_key_from_time"),
        (
            {"from_status": "'CREATE_PENDING'", "from_time": "create_time"},
            "uq_status_transition_job_key_from_time",
        ),
        ({"from_status": "'CREATE_PENDING'"}, "fk_status_transition_previous"),
        ({"from_time": "status_since - interval '1 second'"}, "fk_status_transition_previous"),
        ({"changed_time": "status_since"}, "ck_status_transition_forward"),
        ({"changed_time": "status_since - interval '1 second'"}, "ck_status_transition_forward"),
        ({"to_status": "status"}, "ck_status_transition_change"),
        ({"from_status": "NULL"}, "ck_status_transition_first"),
        ({"from_time": "NULL"}, "ck_status_transition_first"),
        ({"not_before": "status_since + interval '61 seconds'"}, "ck_status_transition_window"),
        ({"basis": "'guessed'"}, "ck_status_transition_time_basis"),
        ({"not_before": "NULL"}, "not_before"),
        ({"to_status": "NULL"}, "to_status"),
    ],
    ids=[
        "a second first sight",
        "a branch",
        "a wrong status before",
        "a gap",
        "two changes at one instant",
        "a step back in time",
        "no change",
        "a time of no status",
        "a status of no time",
        "a window after the change",
        "an unknown basis",
        "no window",
        "no status",
    ],
)
def test_a_history_that_cannot_be_is_refused(history: Etl, changes: dict[str, str], constraint: str) -> None:
    assert refused(history, step(**changes)) == constraint


def test_the_same_instant_and_status_twice_is_refused(history: Etl) -> None:
    twice = "INSERT INTO cleanrooms_etl.status_transition SELECT * FROM cleanrooms_etl.status_transition"
    assert refused(history, twice) == "pk_status_transition"


@pytest.mark.parametrize(
    "change",
    ["status = 'INACTIVE'", "status_since = status_since + interval '1 second'", "status = 'CREATE_PENDING'"],
)
def test_a_current_status_that_never_happened_is_refused_at_commit(history: Etl, change: str) -> None:
    statement = f"UPDATE cleanrooms_etl.inference_job SET {change}"  # noqa: S608 - a constant of this file
    assert refused(history, statement) == "fk_inference_job_current_status"


def test_a_job_without_a_history_is_refused_at_commit(history: Etl) -> None:
    assert refused(history, another_job("'another'")) == "fk_inference_job_current_status"


@pytest.mark.parametrize("table", ["status_transition", "job_edit"])
@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("UPDATE cleanrooms_etl.{} SET observed_at = now()", "UPDATE"),
        ("DELETE FROM cleanrooms_etl.{}", "DELETE"),
        ("TRUNCATE cleanrooms_etl.{} CASCADE", "TRUNCATE"),
    ],
)
def test_history_is_never_changed(history: Etl, table: str, statement: str, word: str) -> None:
    before = history.query(f"SELECT * FROM cleanrooms_etl.{table}")  # noqa: S608 - one of the two above
    assert refused(history, statement.format(table)) == f"{table} is append-only: {word} is refused"
    assert history.query(f"SELECT * FROM cleanrooms_etl.{table}") == before != []  # noqa: S608 - likewise


@pytest.mark.parametrize("table", ["membership", "sync_run", "inference_job"])
@pytest.mark.parametrize(
    ("statement", "word"),
    [("DELETE FROM cleanrooms_etl.{}", "DELETE"), ("TRUNCATE cleanrooms_etl.{} CASCADE", "TRUNCATE")],
)
def test_what_history_refers_to_is_never_deleted(history: Etl, table: str, statement: str, word: str) -> None:
    assert refused(history, statement.format(table)) == f"rows of {table} are never deleted: {word} is refused"


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (
            "INSERT INTO cleanrooms_etl.membership (membership_id, region, configured, expected_seconds)"
            " SELECT membership_id, region, configured, expected_seconds FROM cleanrooms_etl.membership",
            "uq_membership_membership_id",
        ),
        ("UPDATE cleanrooms_etl.sync_run SET outcome = 'fine'", "ck_sync_run_outcome"),
        ("UPDATE cleanrooms_etl.sync_run SET outcome = 'running'", "ck_sync_run_finished"),
        ("UPDATE cleanrooms_etl.sync_run SET finished_at = NULL", "ck_sync_run_finished"),
        ("UPDATE cleanrooms_etl.inference_job SET absent_listings = 1", "ck_inference_job_absence"),
        ("UPDATE cleanrooms_etl.inference_job SET absent_since = now()", "ck_inference_job_absence"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(history: Etl, statement: str, constraint: str) -> None:
    assert refused(history, statement) == constraint


def test_one_membership_holds_an_arn_once(history: Etl) -> None:
    assert refused(history, another_job("job_arn")) == "uq_inference_job_job_arn_membership_key"


@pytest.mark.parametrize("view", ["inference_jobs", "job_timings", "status_history"])
def test_who_asks_for_an_arn_is_served_by_its_index(history: Etl, view: str) -> None:
    """Of few rows no index would be used: so here the planner is told that reading them all is dear."""
    with database.connect(history.config.database.address()) as connection, connection.begin():
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.scalars(text(f"EXPLAIN SELECT FROM cleanrooms.{view} WHERE job_arn = 'its ARN'"))
        assert "ix_inference_job_job_arn" in "\n".join(plan)


def test_every_refusal_has_a_name_that_says_where_to_look(history: Etl) -> None:
    names = history.query(
        "SELECT conname, conrelid::regclass::text AS table FROM pg_constraint"
        " WHERE connamespace = 'cleanrooms_etl'::regnamespace AND contype IN ('c', 'f', 'p', 'u')"
        " AND conrelid <> 'cleanrooms_etl.alembic_version'::regclass"
    )
    for row in names:
        table = row["table"].removeprefix("cleanrooms_etl.")
        assert re.match(rf"(ck|fk|pk|uq)_{table}", row["conname"]), row
