"""The views: the names and types that analysts rely on, and what they say of small worlds."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from conftest import MINUTE, NOON, Etl, MakeEtl
from sqlalchemy.exc import DBAPIError

from etl import database
from etl.demo import answers
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.resources import Job
from etl.demo.world import World
from etl.loading import from_mapping
from etl.run import Progress, StoppedError
from etl.sync import sync_membership

LIST = "ListTrainedModelInferenceJobs"

CONTRACT = {
    "inference_jobs": """
        job_arn text, job_id text, name text, description text, status text,
        status_since timestamp with time zone, is_open boolean, is_listed boolean,
        create_time timestamp with time zone, update_time timestamp with time zone, region text, account_id text,
        membership_id text, collaboration_id text, trained_model_arn text, trained_model_id text,
        trained_model_version_identifier text, configured_model_algorithm_association_arn text,
        output_accept text, output_account_ids text[], payer_account_id text, metrics_status text,
        metrics_status_details text, logs_status text, logs_status_details text, age_seconds double precision,
        first_seen_at timestamp with time zone, changed_at timestamp with time zone, extra jsonb
    """,
    "status_history": """
        job_arn text, membership_id text, status text, valid_from timestamp with time zone,
        valid_to timestamp with time zone, is_current boolean, seconds double precision, previous_status text,
        next_status text, not_before timestamp with time zone, observed_at timestamp with time zone,
        time_basis text, is_first_sight boolean, superseded_at timestamp with time zone, name text,
        trained_model_arn text
    """,
    "status_transitions": """
        job_arn text, membership_id text, changed_time timestamp with time zone, from_status text, to_status text,
        from_time timestamp with time zone, seconds_in_from_status double precision,
        not_before timestamp with time zone, uncertainty_seconds double precision,
        observed_at timestamp with time zone, time_basis text, skipped_states text[]
    """,
    "sync_freshness": """
        membership_id text, region text, account_id text, last_complete_at timestamp with time zone,
        age_seconds double precision, expected_seconds double precision, state text, consecutive_failures bigint,
        last_error_class text, last_error text,
        next_due_at timestamp with time zone, last_full_at timestamp with time zone
    """,
    "sync_runs": """
        run_id bigint, membership_id text, outcome text, started_at timestamp with time zone,
        finished_at timestamp with time zone, seconds double precision, pages bigint, api_calls bigint,
        retries bigint, throttles bigint, jobs_listed bigint, jobs_new bigint, jobs_changed bigint,
        transitions bigint, jobs_unchanged bigint, jobs_stale bigint, jobs_rejected bigint, jobs_absent bigint,
        replaced_characters bigint, rejections jsonb, unknown_statuses jsonb, error_class text, error text,
        worker text, version text, overruns bigint, kind text, listings bigint
    """,
    "status_dim": """
        status text, is_open boolean, is_terminal boolean, is_success boolean, sort_order bigint, meaning text
    """,
    "status_durations": """
        job_arn text, membership_id text, trained_model_arn text, create_time timestamp with time zone,
        status text, seconds double precision, seconds_lower double precision, seconds_upper double precision,
        visits bigint, is_current boolean, left_censored boolean, right_censored boolean
    """,
    "job_timings": """
        job_arn text, job_id text, name text, membership_id text, trained_model_arn text, trained_model_id text,
        trained_model_version_identifier text, status text, outcome text, create_time timestamp with time zone,
        started_time timestamp with time zone, ended_time timestamp with time zone,
        queue_seconds double precision, queue_seconds_lower double precision, queue_seconds_upper double precision,
        run_seconds double precision, run_seconds_lower double precision, run_seconds_upper double precision,
        cancel_seconds double precision, cancel_seconds_lower double precision,
        cancel_seconds_upper double precision, total_seconds double precision,
        total_seconds_lower double precision, total_seconds_upper double precision
    """,
    "model_reliability": """
        membership_id text, trained_model_arn text, trained_model_id text, trained_model_version_identifier text,
        week timestamp with time zone, jobs bigint, succeeded bigint, failed bigint, cancelled bigint,
        cancel_failed bigint, not_ended bigint, success_rate double precision, p50_total_seconds double precision,
        p95_total_seconds double precision, p50_run_seconds double precision, p95_run_seconds double precision
    """,
    "status_counts_hourly": """
        hour timestamp with time zone, membership_id text, region text, account_id text, status text,
        jobs_held bigint, jobs_entered bigint, is_tracked boolean
    """,
    "capacity": """
        hour timestamp with time zone, membership_id text, region text, account_id text, open_jobs bigint,
        most_open_jobs bigint, quota bigint, quota_used double precision, account_open_jobs bigint,
        account_quota bigint, account_quota_used double precision, is_tracked boolean
    """,
    "open_jobs": """
        job_arn text, job_id text, name text, membership_id text, region text, account_id text,
        trained_model_arn text, trained_model_id text, trained_model_version_identifier text, status text,
        status_since timestamp with time zone, create_time timestamp with time zone,
        seconds_in_status double precision, age_seconds double precision,
        model_p95_total_seconds double precision, model_jobs_ended bigint, age_to_p95 double precision,
        is_unusual boolean
    """,
    "history_gaps": """
        job_arn text, membership_id text, changed_time timestamp with time zone, from_status text, to_status text,
        kind text, why text, not_before timestamp with time zone, uncertainty_seconds double precision,
        observed_at timestamp with time zone, time_basis text
    """,
}

_JOB_AT = """
    job_arn text, job_id text, name text, membership_id text, trained_model_arn text, status text,
    status_since timestamp with time zone, seconds_in_status double precision, is_open boolean, is_listed boolean,
    not_before timestamp with time zone, time_basis text
"""
FUNCTIONS = {"jobs_as_of": _JOB_AT, "jobs_known_as_of": f"{_JOB_AT}, observed_at timestamp with time zone"}


def one(rows: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(rows) == 1
    return rows[0]


def history_of(etl: Etl, job: Job) -> list[dict[str, Any]]:
    return etl.query(
        "SELECT * FROM cleanrooms.status_history WHERE job_arn = :arn ORDER BY valid_from", arn=job.arn
    )


def freshness(etl: Etl) -> dict[str, Any]:
    return one(etl.query("SELECT * FROM cleanrooms.sync_freshness"))


def as_of(etl: Etl, moment: datetime) -> list[tuple[str, str]]:
    rows = etl.query("SELECT * FROM cleanrooms.jobs_as_of(:moment) ORDER BY name", moment=moment)
    return [(row["name"], row["status"]) for row in rows]


@pytest.fixture
def lived(etl: Etl, world: World, clock: Clock, membership: Membership) -> Job:
    """A job seen at noon pending, from 12:10 on in progress, from 12:30 on active."""
    job = world.create_job(membership, name="lived")
    etl.sync()
    for minutes, status in ((10, "CREATE_IN_PROGRESS"), (30, "ACTIVE")):
        clock.set(NOON + minutes * MINUTE)
        world.set_status(job, status)
        etl.sync()
    return job


# The contract


@pytest.mark.parametrize("view", CONTRACT)
def test_a_view_has_the_columns_and_plain_types_of_the_contract(etl: Etl, view: str) -> None:
    columns = one(
        etl.query(
            "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) AS all"
            " FROM pg_attribute WHERE attrelid = CAST(:view AS regclass) AND attnum > 0",
            view=f"cleanrooms.{view}",
        )
    )
    assert columns["all"] == " ".join(CONTRACT[view].split())


def test_the_contract_holds_these_views_and_functions_and_nothing_else(etl: Etl) -> None:
    relations = etl.query("SELECT relname FROM pg_class WHERE relnamespace = 'cleanrooms'::regnamespace")
    assert {row["relname"] for row in relations} == set(CONTRACT)
    functions = etl.query(
        "SELECT oid::regprocedure::text AS name, pg_get_function_result(oid) AS result FROM pg_proc"
        " WHERE pronamespace = 'cleanrooms'::regnamespace"
    )
    assert {row["name"]: row["result"] for row in functions} == {
        f"cleanrooms.{name}(timestamp with time zone)": f"TABLE({' '.join(columns.split()).replace(' ,', ',')})"
        for name, columns in FUNCTIONS.items()
    }


@pytest.fixture
def analyst(etl: Etl) -> Iterator[Etl]:
    """Someone who may look at schema cleanrooms, and at nothing else."""
    etl.execute("CREATE ROLE analyst")
    etl.execute("GRANT USAGE ON SCHEMA cleanrooms TO analyst")
    etl.execute("GRANT SELECT ON ALL TABLES IN SCHEMA cleanrooms TO analyst")
    url = database.parse(etl.config.database.address()).update_query_dict({"options": "-crole=analyst"})
    yield Etl(from_mapping({"database": {"url": url.render_as_string(hide_password=False)}}, {}))
    etl.execute("DROP OWNED BY analyst")
    etl.execute("DROP ROLE analyst")


@pytest.mark.parametrize("what", [*CONTRACT, *(f"{name}(now())" for name in FUNCTIONS)])
def test_an_analyst_with_rights_on_the_views_alone_reads_all_of_them(
    etl: Etl, world: World, membership: Membership, lived: Job, analyst: Etl, what: str
) -> None:
    world.create_job(membership, status="CREATE_IN_PROGRESS")  # an open one, and one that skipped a status
    etl.sync()
    rows = analyst.query(f"SELECT * FROM cleanrooms.{what}")  # noqa: S608 - our own words
    assert {row.get("membership_id", lived.membership_id) for row in rows} == {lived.membership_id}
    with pytest.raises(DBAPIError, match="permission denied for schema cleanrooms_etl"):
        analyst.query("SELECT * FROM cleanrooms_etl.inference_job")


# inference_jobs


def test_a_job_is_shown_with_all_that_aws_says_of_it(etl: Etl, world: World, membership: Membership) -> None:
    model = world.add_trained_model(membership, version_identifier="v2")
    told = {
        "name": "scoring",
        "description": "every night",
        "configured_model_algorithm_association_arn": "arn:aws:cleanrooms-ml:an-association",
        "output_accept": "text/csv",
        "payer_account_id": "444455556666",
        "metrics_status": "PUBLISH_FAILED",
        "metrics_status_details": "no bucket",
        "logs_status": "PUBLISH_SUCCEEDED",
        "logs_status_details": "all of them",
    }
    job = world.create_job(membership, model, job_id="night/7", update_time=NOON + MINUTE, **told)
    world.override(job, {"costCenter": 7})
    etl.sync()
    row = one(etl.query("SELECT * FROM cleanrooms.inference_jobs"))
    now = datetime.now(NOON.tzinfo)
    assert abs(row.pop("age_seconds") - (now - NOON).total_seconds()) < 60
    assert abs(row.pop("first_seen_at") - now) < MINUTE
    assert abs(row.pop("changed_at") - now) < MINUTE
    assert row == told | {
        "job_arn": job.arn,
        "job_id": "night/7",
        "status": "CREATE_PENDING",
        "status_since": NOON + MINUTE,
        "is_open": True,
        "is_listed": True,
        "create_time": NOON,
        "update_time": NOON + MINUTE,
        "region": "us-east-1",
        "account_id": "111122223333",
        "membership_id": membership.id,
        "collaboration_id": membership.collaboration_id,
        "trained_model_arn": model.arn,
        "trained_model_id": model.arn.rpartition("trained-model/")[2],
        "trained_model_version_identifier": "v2",
        "output_account_ids": ["111122223333"],
        "extra": {"costCenter": 7},
    }


@pytest.mark.parametrize(
    ("status", "is_open"),
    [
        ("CREATE_PENDING", True),
        ("CREATE_IN_PROGRESS", True),
        ("CANCEL_PENDING", True),
        ("CANCEL_IN_PROGRESS", True),
        ("ACTIVE", False),
        ("CREATE_FAILED", False),
        ("CANCEL_FAILED", False),
        ("INACTIVE", False),
        ("ON_THE_MOON", False),
    ],
)
def test_a_job_is_open_while_it_counts_against_the_quota(
    etl: Etl, world: World, membership: Membership, status: str, is_open: bool
) -> None:
    world.create_job(membership, status=status)
    etl.sync()
    assert one(etl.query("SELECT is_open FROM cleanrooms.inference_jobs"))["is_open"] is is_open
    assert one(etl.query("SELECT is_open FROM cleanrooms.jobs_as_of(now())"))["is_open"] is is_open


def test_a_job_that_aws_lists_no_more_is_shown_as_such(etl: Etl, world: World, membership: Membership) -> None:
    job = world.create_job(membership, name="gone", status="ACTIVE")
    etl.sync()
    world.remove(membership, job)
    etl.sync()
    etl.sync()
    shown = one(etl.query("SELECT status, is_open, is_listed FROM cleanrooms.inference_jobs"))
    assert shown == {"status": "NOT_LISTED", "is_open": False, "is_listed": False}
    assert [row["status"] for row in history_of(etl, job)] == ["ACTIVE", "NOT_LISTED"]
    assert as_of(etl, NOON) == [("gone", "ACTIVE")]


def test_each_job_stands_under_its_own_membership(make_etl: MakeEtl, world: World) -> None:
    memberships = [world.add_membership(), world.add_membership()]
    jobs = [world.create_job(each, name="same") for each in memberships]
    etl = make_etl()
    etl.sweep()
    pairs = {(job.arn, job.membership_id) for job in jobs}
    for view in ("inference_jobs", "status_history", "status_transitions", "jobs_as_of(now())"):
        rows = etl.query(f"SELECT job_arn, membership_id FROM cleanrooms.{view}")  # noqa: S608 - our own words
        assert len(rows) == len(pairs)
        assert {(row["job_arn"], row["membership_id"]) for row in rows} == pairs


# status_history


def test_the_intervals_of_a_history_join(etl: Etl, lived: Job) -> None:
    rows = history_of(etl, lived)
    told = [
        (row["previous_status"], row["status"], row["next_status"], row["valid_from"], row["valid_to"])
        for row in rows
    ]
    half_past = NOON + 30 * MINUTE
    assert told == [
        (None, "CREATE_PENDING", "CREATE_IN_PROGRESS", NOON, NOON + 10 * MINUTE),
        ("CREATE_PENDING", "CREATE_IN_PROGRESS", "ACTIVE", NOON + 10 * MINUTE, half_past),
        ("CREATE_IN_PROGRESS", "ACTIVE", None, half_past, None),
    ]
    assert [row["seconds"] for row in rows[:2]] == [600.0, 1200.0]
    assert [row["is_current"] for row in rows] == [False, False, True]
    assert [row["is_first_sight"] for row in rows] == [True, False, False]


def test_the_length_of_the_present_interval_is_that_until_now(etl: Etl, lived: Job) -> None:
    present = history_of(etl, lived)[-1]
    until_now = datetime.now(NOON.tzinfo) - present["valid_from"]
    assert abs(present["seconds"] - until_now.total_seconds()) < 60


def test_a_history_says_since_when_a_change_can_have_happened_and_what_its_time_rests_on(
    etl: Etl, lived: Job
) -> None:
    rows = history_of(etl, lived)
    assert [row["not_before"] for row in rows] == [NOON, NOON, NOON + 10 * MINUTE]
    assert {row["time_basis"] for row in rows} == {"update_time"}
    assert all(abs(row["observed_at"] - datetime.now(NOON.tzinfo)) < MINUTE for row in rows)


# status_transitions


def test_a_transition_says_from_what_to_what_after_how_long_and_how_sure_that_is(etl: Etl, lived: Job) -> None:
    rows = etl.query("SELECT * FROM cleanrooms.status_transitions ORDER BY changed_time")
    first, _, last = rows
    assert (first["from_status"], first["from_time"], first["seconds_in_from_status"]) == (None, None, None)
    assert (first["to_status"], first["changed_time"]) == ("CREATE_PENDING", NOON)
    assert first["uncertainty_seconds"] == 0.0
    del last["observed_at"]
    assert last == {
        "job_arn": lived.arn,
        "membership_id": lived.membership_id,
        "changed_time": NOON + 30 * MINUTE,
        "from_status": "CREATE_IN_PROGRESS",
        "to_status": "ACTIVE",
        "from_time": NOON + 10 * MINUTE,
        "seconds_in_from_status": 1200.0,
        "not_before": NOON + 10 * MINUTE,
        "uncertainty_seconds": 1200.0,
        "time_basis": "update_time",
        "skipped_states": [],
    }


@pytest.mark.parametrize(
    ("before", "after", "skipped"),
    [
        (None, "CREATE_PENDING", []),
        (None, "ACTIVE", ["CREATE_PENDING", "CREATE_IN_PROGRESS"]),
        (None, "CREATE_FAILED", ["CREATE_PENDING"]),
        (None, "INACTIVE", ["CREATE_PENDING", "CANCEL_PENDING", "CANCEL_IN_PROGRESS"]),
        (None, "ON_THE_MOON", []),
        ("CREATE_PENDING", "CREATE_IN_PROGRESS", []),
        ("CREATE_PENDING", "ACTIVE", ["CREATE_IN_PROGRESS"]),
        ("CREATE_PENDING", "CREATE_FAILED", []),
        ("CREATE_PENDING", "INACTIVE", ["CANCEL_PENDING", "CANCEL_IN_PROGRESS"]),
        ("CREATE_IN_PROGRESS", "CANCEL_PENDING", []),
        ("CREATE_IN_PROGRESS", "CANCEL_IN_PROGRESS", ["CANCEL_PENDING"]),
        ("ACTIVE", "CANCEL_FAILED", ["CANCEL_PENDING", "CANCEL_IN_PROGRESS"]),
        ("ON_THE_MOON", "ACTIVE", []),
        ("CREATE_PENDING", "ON_THE_MOON", []),
    ],
)
def test_skipped_states_are_those_that_a_job_must_have_passed_through_unseen(
    etl: Etl, world: World, clock: Clock, before: str | None, after: str, skipped: list[str]
) -> None:
    (membership,) = world.memberships.values()
    job = world.create_job(membership, status=before or after)
    etl.sync()
    clock.advance(MINUTE)
    if before:
        world.set_status(job, after)
        etl.sync()
    found = one(etl.query("SELECT * FROM cleanrooms.status_transitions WHERE to_status = :after", after=after))
    assert (found["from_status"], found["skipped_states"]) == (before, skipped)


def test_a_job_that_comes_back_has_skipped_nothing(etl: Etl, world: World, membership: Membership) -> None:
    job = world.create_job(membership, status="ACTIVE")
    etl.sync()
    world.remove(membership, job)
    etl.sync()
    etl.sync()
    world.put_back(membership, job)
    etl.sync()
    rows = etl.query("SELECT from_status, skipped_states FROM cleanrooms.status_transitions ORDER BY changed_time")
    assert rows[-1] == {"from_status": "NOT_LISTED", "skipped_states": []}


# jobs_as_of


def test_jobs_as_of_shows_the_status_that_held_at_an_instant(
    etl: Etl, lived: Job, world: World, membership: Membership
) -> None:
    world.create_job(membership, name="younger", create_time=NOON + 20 * MINUTE)
    etl.sync()
    instant = timedelta(microseconds=1)
    assert as_of(etl, NOON - instant) == []
    assert as_of(etl, NOON) == [("lived", "CREATE_PENDING")]
    assert as_of(etl, NOON + 10 * MINUTE - instant) == [("lived", "CREATE_PENDING")]
    assert as_of(etl, NOON + 10 * MINUTE) == [("lived", "CREATE_IN_PROGRESS")]
    assert as_of(etl, NOON + 20 * MINUTE) == [("lived", "CREATE_IN_PROGRESS"), ("younger", "CREATE_PENDING")]
    assert as_of(etl, NOON + 30 * MINUTE) == [("lived", "ACTIVE"), ("younger", "CREATE_PENDING")]
    assert len(as_of(etl, datetime.now(NOON.tzinfo))) == 2
    assert lived.name == "lived"


def test_jobs_as_of_says_all_of_the_status_that_held(etl: Etl, lived: Job) -> None:
    held = one(etl.query("SELECT * FROM cleanrooms.jobs_as_of(:moment)", moment=NOON + 12 * MINUTE))
    assert held == {
        "job_arn": lived.arn,
        "job_id": lived.arn.rpartition("trained-model-inference-job/")[2],
        "name": "lived",
        "membership_id": lived.membership_id,
        "trained_model_arn": lived.trained_model_arn,
        "status": "CREATE_IN_PROGRESS",
        "status_since": NOON + 10 * MINUTE,
        "seconds_in_status": 120.0,
        "is_open": True,
        "is_listed": True,
        "not_before": NOON,
        "time_basis": "update_time",
    }


# capacity


def test_capacity_is_measured_by_the_quotas_that_are_configured_now(make_etl: MakeEtl, world: World) -> None:
    for membership in (world.add_membership(), world.add_membership()):
        for _ in range(2):
            world.create_job(membership)
    make_etl().sweep()
    quotas = "SELECT DISTINCT quota, quota_used, account_quota, account_quota_used FROM cleanrooms.capacity"
    latest = f"{quotas} WHERE hour = date_trunc('hour', now(), 'UTC')"
    assert one(make_etl().query(latest)) == {
        "quota": 5,
        "quota_used": 0.4,
        "account_quota": 10,
        "account_quota_used": 0.4,
    }
    raised = make_etl(quota={"membership": 8, "account": 16})
    raised.sweep()
    assert one(raised.query(latest)) == {
        "quota": 8,
        "quota_used": 0.25,
        "account_quota": 16,
        "account_quota_used": 0.25,
    }


@pytest.mark.usefixtures("lived")
def test_hours_are_tracked_from_the_first_complete_sweep_on(etl: Etl) -> None:
    tracked = """
        SELECT is_tracked, now() - max(hour) < interval '1 hour' AS to_this_hour, count(DISTINCT hour) = 3 AS three
        FROM (
            SELECT hour, is_tracked FROM cleanrooms.capacity
            UNION SELECT hour, is_tracked FROM cleanrooms.status_counts_hourly
        ) AS each GROUP BY is_tracked ORDER BY is_tracked
    """
    etl.execute(
        "UPDATE cleanrooms_etl.sync_run SET started_at = date_trunc('hour', now(), 'UTC') - interval '2 hours'"
        " WHERE run_id = (SELECT min(run_id) FROM cleanrooms_etl.sync_run)"
    )
    assert etl.query(tracked) == [
        {"is_tracked": False, "to_this_hour": False, "three": False},
        {"is_tracked": True, "to_this_hour": True, "three": True},
    ]
    etl.execute("UPDATE cleanrooms_etl.sync_run SET outcome = 'partial'")
    assert [row["is_tracked"] for row in etl.query(tracked)] == [False]


# sync_freshness


def test_a_membership_just_synced_is_ok(etl: Etl, lived: Job) -> None:
    row = freshness(etl)
    now = datetime.now(NOON.tzinfo)
    assert row.pop("last_full_at") == row["last_complete_at"]
    assert abs(row.pop("last_complete_at") - now) < MINUTE
    assert 0 <= row.pop("age_seconds") < 60
    assert now < row.pop("next_due_at") <= now + 16 * MINUTE
    assert row == {
        "membership_id": lived.membership_id,
        "region": "us-east-1",
        "account_id": "111122223333",
        "expected_seconds": 900.0,
        "state": "ok",
        "consecutive_failures": 0,
        "last_error_class": None,
        "last_error": None,
    }


@pytest.mark.parametrize(("minutes", "state"), [(29, "ok"), (31, "late")])
def test_a_membership_is_late_once_a_whole_sweep_was_missed(etl: Etl, minutes: int, state: str) -> None:
    etl.sync()
    listed_at = datetime.now(NOON.tzinfo) - minutes * MINUTE
    etl.execute(
        "UPDATE cleanrooms_etl.membership SET listed_at = :listed_at, open_listed_at = :listed_at",
        listed_at=listed_at,
    )
    assert freshness(etl)["state"] == state


def test_a_quick_sweep_keeps_a_membership_fresh_and_tells_when_all_was_listed(
    make_etl: MakeEtl, world: World, membership: Membership
) -> None:
    for _ in range(4):
        world.create_job(membership)
    etl = make_etl(aws={"page_size": 1}, sync={"full_every": "6h"})
    etl.sync()
    etl.sync()
    runs = etl.query("SELECT kind, listings, started_at FROM cleanrooms.sync_runs ORDER BY run_id")
    assert [(run["kind"], run["listings"]) for run in runs] == [("full", 1), ("quick", 1)]
    row = freshness(etl)
    assert [row["last_full_at"], row["last_complete_at"]] == [run["started_at"] for run in runs]


def test_a_membership_fails_from_its_first_failure_until_its_next_complete_listing(
    etl: Etl, endpoint: Endpoint
) -> None:
    etl.sync()
    endpoint.on(LIST, answers.error("AccessDeniedException"), answers.error("ValidationException", message="No."))
    etl.sync()
    etl.sync()
    row = freshness(etl)
    assert (row["state"], row["consecutive_failures"]) == ("failing", 2)
    assert (row["last_error_class"], row["last_error"]) == ("ValidationException", "No.")
    etl.sync()
    row = freshness(etl)
    assert (row["state"], row["consecutive_failures"], row["last_error"]) == ("ok", 0, None)


def test_a_membership_that_never_succeeded_is_shown_with_the_reason(etl: Etl, endpoint: Endpoint) -> None:
    endpoint.on(LIST, answers.error("ValidationException", message="No."))
    etl.sync()
    row = freshness(etl)
    assert (row["state"], row["last_complete_at"], row["age_seconds"]) == ("never", None, None)
    assert (row["consecutive_failures"], row["last_error"]) == (1, "No.")


def test_a_run_that_was_asked_to_stop_is_no_failure(etl: Etl) -> None:
    def stop(_: Progress) -> None:
        raise StoppedError

    etl.sync()
    report = sync_membership(etl.config, etl.config.memberships[0], stop)
    assert (report.outcome, report.error_class) == ("partial", "Stopped")
    assert (freshness(etl)["state"], freshness(etl)["consecutive_failures"]) == ("ok", 0)


def test_a_membership_taken_out_of_the_configuration_is_not_shown_though_its_jobs_are(
    make_etl: MakeEtl, world: World
) -> None:
    kept, dropped = world.add_membership(), world.add_membership()
    world.create_job(dropped)
    make_etl().sweep()
    etl = make_etl(memberships=[{"id": kept.id, "region": kept.region}])
    etl.sweep()
    assert freshness(etl)["membership_id"] == kept.id
    assert one(etl.query("SELECT membership_id FROM cleanrooms.inference_jobs"))["membership_id"] == dropped.id


# sync_runs


def test_a_run_is_shown_with_its_counts(etl: Etl, lived: Job, world: World, membership: Membership) -> None:
    world.put_raw(membership, {"no": "job"})
    etl.sync()
    row = etl.query("SELECT * FROM cleanrooms.sync_runs ORDER BY run_id")[-1]
    duration = row.pop("finished_at") - row.pop("started_at")
    assert row.pop("seconds") == pytest.approx(duration.total_seconds())
    assert [entry["item"] for entry in row.pop("rejections")] == ['{"no":"job"}']
    assert row.pop("error") != ""
    assert row.pop("worker") != ""
    assert row == {
        "run_id": 4,
        "membership_id": lived.membership_id,
        "outcome": "partial",
        "pages": 1,
        "api_calls": 1,
        "retries": 0,
        "throttles": 0,
        "jobs_listed": 2,
        "jobs_new": 0,
        "jobs_changed": 0,
        "transitions": 0,
        "jobs_unchanged": 1,
        "jobs_stale": 0,
        "jobs_rejected": 1,
        "jobs_absent": 0,
        "replaced_characters": 0,
        "unknown_statuses": {},
        "error_class": "RejectedItems",
        "version": "0.1.0",
        "overruns": 0,
        "kind": "full",
        "listings": 1,
    }
