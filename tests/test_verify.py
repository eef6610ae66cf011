"""What `etl verify` finds: nothing in a history of our own making, each kind of damage done by a superuser."""

from typing import NamedTuple

import pytest
from conftest import MINUTE, NOON, Etl, MakeEtl

from etl import database, verify
from etl.demo.clock import Clock
from etl.demo.membership import Membership
from etl.demo.resources import Job
from etl.demo.world import World
from etl.verify import CHECKS, Finding, findings
from etl.verify.check import Check


class Damage(NamedTuple):
    """What a superuser does with triggers and foreign keys switched off, and the checks that notice."""

    name: str
    statements: str
    noticed_by: set[str]


UNPROTECTED = """
    SET LOCAL search_path = cleanrooms_etl;
    SET LOCAL session_replication_role = replica;
    CREATE TEMPORARY VIEW lived AS SELECT job_key FROM inference_job WHERE name = 'lived';
    CREATE TEMPORARY VIEW other AS SELECT job_key FROM inference_job WHERE name = 'other';
"""

DAMAGES = (
    Damage(
        "a status that never happened",
        "UPDATE inference_job SET status = 'CREATE_FAILED' WHERE name = 'lived'",
        {"current_status"},
    ),
    Damage(
        "a status that is not the last",  # the foreign key cannot see this
        "UPDATE inference_job SET (status, status_since) = (SELECT to_status, changed_time FROM status_transition"
        " WHERE job_key = (TABLE lived) AND from_status IS NULL) WHERE name = 'lived'",
        {"current_status"},
    ),
    Damage(
        "a job without a history",
        "DELETE FROM status_transition WHERE job_key = (TABLE other)",
        {"current_status", "one_first_sight", "counted_transitions", "hourly_counts"},
    ),
    Damage(
        "a second first sight",
        "ALTER TABLE status_transition DROP CONSTRAINT uq_status_transition_job_key_from_time;"
        "INSERT INTO status_transition SELECT job_key, changed_time - interval '1 hour', NULL, NULL, 'EARLIER',"
        " not_before - interval '1 hour', observed_at, 'observed', run_id, membership_key FROM status_transition"
        " WHERE job_key = (TABLE other)",
        {"one_first_sight", "unbroken_chain", "counted_transitions", "hourly_counts", "constraints_in_force"},
    ),
    Damage(
        "a gap",
        "DELETE FROM status_transition WHERE job_key = (TABLE lived) AND to_status = 'CREATE_IN_PROGRESS'",
        {"unbroken_chain", "counted_transitions", "milestones", "hourly_counts"},
    ),
    Damage(
        "a lie about the past",
        "UPDATE status_transition SET from_status = 'INACTIVE'"
        " WHERE job_key = (TABLE lived) AND to_status = 'ACTIVE'",
        {"unbroken_chain", "milestones", "hourly_counts"},
    ),
    Damage(
        "a window behind its change",
        "ALTER TABLE status_transition DROP CONSTRAINT ck_status_transition_window;"
        "UPDATE status_transition SET not_before = changed_time + interval '1 s' WHERE job_key = (TABLE lived)",
        {"possible_times", "constraints_in_force", "milestones"},
    ),
    Damage(
        "a change seen long before it happened",
        "UPDATE status_transition SET observed_at = changed_time - interval '7 s' WHERE job_key = (TABLE lived)",
        {"possible_times"},
    ),
    Damage(
        "the later seen earlier",
        "UPDATE status_transition SET run_id = (SELECT max(run_id) FROM sync_run JOIN inference_job"
        " USING (membership_key) WHERE name = 'lived') WHERE job_key = (TABLE lived) AND from_status IS NULL",
        {"rising_observation", "counted_transitions"},
    ),
    Damage(
        "a change of nothing",
        "ALTER TABLE status_transition DROP CONSTRAINT ck_status_transition_change;"
        "UPDATE status_transition SET to_status = from_status"
        " WHERE job_key = (TABLE lived) AND to_status = 'ACTIVE';"
        "UPDATE inference_job SET status = 'CREATE_IN_PROGRESS' WHERE name = 'lived'",
        {"real_changes", "milestones", "hourly_counts", "constraints_in_force"},
    ),
    Damage(
        "an absence with AWS's time",
        "UPDATE status_transition SET to_status = 'NOT_LISTED'"
        " WHERE job_key = (TABLE lived) AND to_status = 'ACTIVE';"
        "UPDATE inference_job SET status = 'NOT_LISTED' WHERE name = 'lived'",
        {"real_changes", "milestones", "hourly_counts"},
    ),
    Damage(
        "a change recorded by another membership's run",
        "UPDATE status_transition SET run_id = (SELECT max(run_id) FROM sync_run WHERE membership_key <>"
        " (SELECT membership_key FROM inference_job WHERE name = 'lived')) WHERE job_key = (TABLE lived)",
        {"own_runs", "counted_transitions"},
    ),
    Damage(
        "an edit recorded by another membership's run",
        "INSERT INTO job_edit SELECT (TABLE lived), now(), now(), '{}', max(run_id) FROM sync_run WHERE"
        " membership_key <> (SELECT membership_key FROM inference_job WHERE name = 'lived')",
        {"own_runs"},
    ),
    Damage(
        "a change recorded by a run that never was",
        "UPDATE status_transition SET run_id = 0 WHERE job_key = (TABLE lived)",
        {"own_runs", "counted_transitions"},
    ),
    Damage(
        "a history of no job",
        "INSERT INTO status_transition SELECT 0, changed_time, NULL, NULL, to_status, not_before, observed_at,"
        " time_basis, run_id, membership_key FROM status_transition WHERE job_key = (TABLE other)",
        {"own_runs", "counted_transitions", "hourly_counts"},
    ),
    Damage(
        "a job of no membership",
        "UPDATE inference_job SET membership_key = 0 WHERE name = 'other'",
        {"own_runs", "own_membership", "weekly_counts"},
    ),
    Damage(
        "a run that counted wrong",
        "UPDATE sync_run SET transitions = transitions + 1 WHERE run_id = 1",
        {"counted_transitions"},
    ),
    Damage(
        "a change under another membership",
        "UPDATE status_transition SET membership_key = 3 - membership_key WHERE job_key = (TABLE other)",
        {"own_membership", "hourly_counts"},
    ),
    *(
        Damage(
            f"a job that {what} at another moment",
            f"UPDATE inference_job SET {column} = {column} + interval '1 us' WHERE name = 'lived'",  # noqa: S608
            noticed_by,
        )
        for what, column, noticed_by in (
            ("started", "started_time", {"milestones", "weekly_counts"}),
            ("started no earlier than", "started_not_before", {"milestones"}),
            ("stopped", "stopped_time", {"milestones", "weekly_counts"}),
            ("stopped no earlier than", "stopped_not_before", {"milestones"}),
            ("ended", "ended_time", {"milestones", "weekly_counts"}),
            ("ended no earlier than", "ended_not_before", {"milestones"}),
        )
    ),
    Damage(
        "a job that was cancelled when it was not",
        "UPDATE inference_job SET (cancel_time, cancel_not_before) = (status_since, status_since)"
        " WHERE name = 'lived'",
        {"milestones"},
    ),
    Damage(
        "a job that ended otherwise",
        "UPDATE inference_job SET ended_status = 'INACTIVE' WHERE name = 'lived'",
        {"milestones", "weekly_counts"},
    ),
    Damage(
        "an hour that held one more",
        """UPDATE status_hour SET held = held || '{"ACTIVE": 2}'""",
        {"hourly_counts"},
    ),
    Damage(
        "an hour that held what nothing changed to",
        """UPDATE status_hour SET held = held || '{"INACTIVE": 1}'""",
        {"hourly_counts"},
    ),
    Damage(
        "an hour that was entered twice",
        """UPDATE status_hour SET entered = entered || '{"ACTIVE": 2}'""",
        {"hourly_counts"},
    ),
    Damage(
        "an hour with more open at once", "UPDATE status_hour SET most_open = most_open + 1", {"hourly_counts"}
    ),
    Damage(
        "an hour that held one more of one status, one less of another",
        """UPDATE status_hour SET held = held || '{"CREATE_PENDING": 1, "CREATE_IN_PROGRESS": -1}'
        WHERE held -> 'CREATE_PENDING' = '0'""",
        {"hourly_counts"},
    ),
    Damage(
        "the time after the last hour that holds one more",
        """UPDATE status_hour SET held = held || '{"ACTIVE": 2}' WHERE hour = 'infinity'""",
        {"hourly_counts"},
    ),
    Damage("an hour that is not there", "DELETE FROM status_hour WHERE hour < 'infinity'", {"hourly_counts"}),
    Damage("no time after the last hour", "DELETE FROM status_hour WHERE hour = 'infinity'", {"hourly_counts"}),
    Damage(
        "an hour in which nothing happened",
        "INSERT INTO status_hour SELECT membership_key, hour + interval '1 day', held, entered, most_open"
        " FROM status_hour WHERE hour < 'infinity'",
        {"hourly_counts"},
    ),
    *(
        Damage(
            f"a week with other {column}",
            f"UPDATE model_week SET {column} = {value}",  # noqa: S608 - what stands below
            {"weekly_counts"},
        )
        for column, value in (
            ("jobs", "jobs + 1"),
            ("succeeded", "succeeded + 1"),
            ("failed", "failed + 1"),
            ("cancelled", "cancelled + 1"),
            ("cancel_failed", "cancel_failed + 1"),
            ("total_seconds", "'{1,1}'"),
            ("run_seconds", "'{1,1}'"),
        )
    ),
    Damage("a week that is not there", "DELETE FROM model_week", {"weekly_counts"}),
    Damage(
        "a week of no job",
        "INSERT INTO model_week SELECT membership_key, week + interval '7 days', trained_model_arn,"
        " trained_model_version_identifier, jobs, succeeded, failed, cancelled, cancel_failed FROM model_week",
        {"weekly_counts"},
    ),
    Damage(
        "two runs at once",
        "UPDATE sync_run SET outcome = 'running', finished_at = NULL",
        {"one_run_at_a_time"},
    ),
    Damage(
        "a unique index dropped",
        "DROP INDEX uq_inference_job_job_arn_membership_key",
        {"constraints_in_force"},
    ),
    Damage(
        "a constraint dropped",
        "ALTER TABLE inference_job DROP CONSTRAINT fk_inference_job_current_status",
        {"constraints_in_force"},
    ),
    Damage(
        "a constraint that old rows were not held against",
        "ALTER TABLE status_transition DROP CONSTRAINT ck_status_transition_forward;"
        "ALTER TABLE status_transition ADD CONSTRAINT ck_status_transition_forward"
        " CHECK (changed_time > from_time) NOT VALID",
        {"constraints_in_force"},
    ),
    Damage(
        "foreign keys switched off",
        "ALTER TABLE status_transition DISABLE TRIGGER ALL",
        {"triggers_in_force"},
    ),
    Damage(
        "a history that can be changed",
        "DROP TRIGGER append_only ON job_edit",
        {"triggers_in_force"},
    ),
)


@pytest.fixture
def synced(make_etl: MakeEtl, world: World, clock: Clock) -> Etl:
    """Two memberships, each synced three times; `lived` has passed through three statuses, `other` through one."""
    job = world.create_job(world.add_membership(), name="lived")
    world.create_job(world.add_membership(), name="other", status="ACTIVE")
    etl = make_etl()
    etl.sweep()
    for status in ("CREATE_IN_PROGRESS", "ACTIVE"):
        clock.advance(10 * MINUTE)
        world.set_status(job, status)
        etl.sweep()
    return etl


def damage(etl: Etl, statements: str) -> None:
    etl.execute(f"{UNPROTECTED} {statements}")


def found_in(etl: Etl) -> dict[str, Finding]:
    with database.connect(etl.config.database.address()) as connection:
        return {finding.check.name: finding for finding in findings(connection)}


def broken(etl: Etl) -> set[str]:
    return {name for name, finding in found_in(etl).items() if finding.broken}


def test_nothing_is_wrong_with_a_history_of_our_own_making(synced: Etl) -> None:
    assert broken(synced) == set()


def test_nothing_is_wrong_with_a_version_that_is_empty_beside_one_that_is_not_there(
    etl: Etl, world: World, membership: Membership
) -> None:
    model = world.create_job(membership).trained_model_arn
    world.create_job(membership, trained_model_arn=model).trained_model_version_identifier = ""
    etl.sync()
    assert len(etl.query("SELECT FROM cleanrooms_etl.model_week")) == 2
    assert broken(etl) == set()


def test_nothing_is_wrong_after_the_clock_of_the_server_was_set_back(synced: Etl) -> None:
    damage(
        synced,
        "UPDATE status_transition SET observed_at = observed_at - interval '1 hour',"
        " changed_time = from_time + interval '1 us' WHERE to_status = 'ACTIVE' AND from_time IS NOT NULL;"
        "UPDATE inference_job SET status_since = (SELECT max(changed_time) FROM status_transition AS moved"
        " WHERE moved.job_key = inference_job.job_key)",
    )
    assert not broken(synced) & {"possible_times", "rising_observation"}


def test_nothing_is_wrong_with_an_empty_database(etl: Etl) -> None:
    assert broken(etl) == set()


@pytest.mark.parametrize("done", DAMAGES, ids=lambda done: done.name)
def test_damage_is_noticed_by_the_checks_that_it_concerns_and_no_others(synced: Etl, done: Damage) -> None:
    damage(synced, done.statements)
    assert broken(synced) == done.noticed_by


def test_every_check_can_fail() -> None:
    assert set.union(*(done.noticed_by for done in DAMAGES)) == {check.name for check in CHECKS}


def test_a_finding_counts_all_and_names_five(etl: Etl, world: World, membership: Membership) -> None:
    jobs: list[Job] = [world.create_job(membership, create_time=NOON) for _ in range(7)]
    etl.sync()
    damage(etl, "UPDATE inference_job SET status = 'CREATE_FAILED'")
    finding = found_in(etl)["current_status"]
    assert finding.broken == 7
    assert len(finding.examples) == 5
    assert set(finding.examples) < {job.arn for job in jobs}


@pytest.mark.parametrize(
    ("setting", "value"), [("transaction_isolation", "repeatable read"), ("transaction_read_only", "on")]
)
def test_all_checks_look_at_one_state_and_cannot_change_it(
    etl: Etl, monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    tells = Check("tells", "what the database says of the transaction", f"SELECT current_setting('{setting}')")
    monkeypatch.setattr(verify, "CHECKS", (tells,))
    assert found_in(etl)["tells"].examples == [value]
