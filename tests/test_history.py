"""What a sync writes of a job: its first sight, its changes with their moments, and nothing if nothing changed."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from conftest import MINUTE, NOON, Etl, MakeEtl

from etl import jobs
from etl.demo.clock import Clock
from etl.demo.membership import Membership
from etl.demo.resources import Job
from etl.demo.world import World

TICK = timedelta(microseconds=1)
ONE_VERSION = "11111111-1111-4111-8111-111111111111"
ANOTHER_VERSION = "22222222-2222-4222-8222-222222222222"


class Move(NamedTuple):
    """A row of `status_transition`, without the bookkeeping."""

    from_status: str | None
    to_status: str
    from_time: datetime | None
    changed_time: datetime
    not_before: datetime
    time_basis: str


def moves(etl: Etl, job: Job) -> list[Move]:
    rows = etl.query(
        "SELECT * FROM cleanrooms_etl.status_transition JOIN cleanrooms_etl.inference_job USING (job_key)"
        " WHERE job_arn = :arn ORDER BY changed_time",
        arn=job.arn,
    )
    return [Move(*(row[name] for name in Move._fields)) for row in rows]


def last_move(etl: Etl, job: Job) -> Move:
    return moves(etl, job)[-1]


def stored(etl: Etl, job: Job) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms_etl.inference_job WHERE job_arn = :arn", arn=job.arn)[0]


def edits(etl: Etl) -> list[dict[str, Any]]:
    return [row["changes"] for row in etl.query("SELECT * FROM cleanrooms_etl.job_edit ORDER BY observed_at")]


def started(etl: Etl, nth: int) -> datetime:
    """When the nth run began (1: the first)."""
    runs = etl.query("SELECT started_at FROM cleanrooms_etl.sync_run ORDER BY run_id")
    return _moment(runs[nth - 1]["started_at"])


def database_now(etl: Etl) -> datetime:
    return _moment(etl.query("SELECT clock_timestamp() AS now")[0]["now"])


def in_a_moment(etl: Etl) -> datetime:
    """A moment of the database's clock that AWS can name: whole milliseconds, later than all that is stored."""
    time.sleep(0.002)
    now = database_now(etl)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _moment(value: Any) -> datetime:
    assert isinstance(value, datetime)
    return value


def written(etl: Etl) -> dict[str, int]:
    """Rows inserted, updated and deleted so far, by table, once every other session has told its own."""
    others = (
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    while etl.query(others)[0]["n"]:
        time.sleep(0.01)
    rows = etl.query(
        "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS n FROM pg_stat_user_tables WHERE relname IN"
        " ('inference_job', 'status_transition', 'job_edit')"
    )
    return {row["relname"]: row["n"] for row in rows}


def wal_bytes(etl: Etl, work: Callable[[], object]) -> int:
    """Bytes that the server logs while it does `work`."""
    before = etl.query("SELECT pg_current_wal_insert_lsn() AS lsn")[0]["lsn"]
    work()
    rows = etl.query("SELECT pg_current_wal_insert_lsn() - CAST(:lsn AS pg_lsn) AS bytes", lsn=before)
    return int(rows[0]["bytes"])


@pytest.fixture
def job(world: World, membership: Membership) -> Job:
    """A job created at noon of a day long past."""
    return world.create_job(membership, status="CREATE_IN_PROGRESS", create_time=NOON, update_time=NOON + MINUTE)


# First sight


@pytest.mark.parametrize("status", ["CREATE_PENDING", "CREATE_FAILED", "ACTIVE", "CANCEL_IN_PROGRESS", "INACTIVE"])
def test_a_first_sight_is_one_transition_however_far_the_job_has_come(
    etl: Etl, world: World, membership: Membership, status: str
) -> None:
    job = world.create_job(membership, status=status, create_time=NOON, update_time=NOON + 5 * MINUTE)
    etl.sync()
    assert moves(etl, job) == [Move(None, status, None, NOON + 5 * MINUTE, NOON, "update_time")]
    assert stored(etl, job)["status_since"] == NOON + 5 * MINUTE


def test_a_status_that_aws_adds_one_day_is_stored_and_counted(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    world.create_job(membership, status="ARCHIVED")
    world.create_job(membership, status="ARCHIVED")
    report = etl.sync()
    world.set_status(job, "ARCHIVING", at=NOON + 2 * MINUTE)
    second = etl.sync()
    assert report.counts.unknown_statuses == {"ARCHIVED": 2}
    assert second.counts.unknown_statuses == {"ARCHIVING": 1}
    assert last_move(etl, job).to_status == stored(etl, job)["status"] == "ARCHIVING"
    told = etl.query("SELECT unknown_statuses FROM cleanrooms_etl.sync_run ORDER BY run_id")
    assert [row["unknown_statuses"] for row in told] == [{"ARCHIVED": 2}, {"ARCHIVING": 1}]


def test_a_first_sight_ahead_of_our_clock_is_stored_as_of_now_and_clamped(
    etl: Etl, world: World, membership: Membership
) -> None:
    before = database_now(etl)
    job = world.create_job(membership, create_time=NOON, update_time=before + MINUTE)
    etl.sync()
    (move,) = moves(etl, job)
    assert before < move.changed_time < database_now(etl)
    assert (move.not_before, move.time_basis) == (NOON, "clamped")


def test_a_job_created_ahead_of_our_clock_has_a_window_all_the_same(
    etl: Etl, world: World, membership: Membership
) -> None:
    job = world.create_job(membership, create_time=database_now(etl) + MINUTE)
    etl.sync()
    (move,) = moves(etl, job)
    assert move.not_before == move.changed_time < database_now(etl)
    assert move.time_basis == "clamped"


def test_a_first_sight_updated_before_its_creation_is_clamped_to_the_creation(
    etl: Etl, world: World, membership: Membership
) -> None:
    job = world.create_job(membership, create_time=NOON, update_time=NOON - MINUTE)
    etl.sync()
    assert moves(etl, job) == [Move(None, "CREATE_PENDING", None, NOON, NOON, "clamped")]
    assert stored(etl, job)["update_time"] == NOON - MINUTE


# The moment of a change


def test_a_change_happened_at_awss_update_time(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    world.set_status(job, "ACTIVE", at=NOON + 9 * MINUTE)
    report = etl.sync()
    move = last_move(etl, job)
    assert (move.from_status, move.to_status) == ("CREATE_IN_PROGRESS", "ACTIVE")
    assert (move.from_time, move.changed_time) == (NOON + MINUTE, NOON + 9 * MINUTE)
    assert move.time_basis == "update_time"
    assert stored(etl, job)["status_since"] == NOON + 9 * MINUTE
    assert (report.counts.jobs_changed, report.counts.transitions) == (1, 1)


def test_states_that_nobody_saw_are_not_invented(
    etl: Etl, world: World, membership: Membership, clock: Clock
) -> None:
    job = world.create_job(membership)
    etl.sync()
    for status in ("CREATE_IN_PROGRESS", "ACTIVE", "CANCEL_PENDING", "CANCEL_IN_PROGRESS", "INACTIVE"):
        clock.advance(MINUTE)
        world.set_status(job, status)
    etl.sync()
    assert [(move.from_status, move.to_status) for move in moves(etl, job)] == [
        (None, "CREATE_PENDING"),
        ("CREATE_PENDING", "INACTIVE"),
    ]


def test_a_status_left_and_taken_again_between_two_sights_is_no_transition(
    etl: Etl, world: World, job: Job
) -> None:
    etl.sync()
    world.set_status(job, "ACTIVE", at=NOON + 2 * MINUTE)
    world.set_status(job, "CREATE_IN_PROGRESS", at=NOON + 3 * MINUTE)
    etl.sync()
    assert len(moves(etl, job)) == 1
    assert (stored(etl, job)["update_time"], edits(etl)) == (NOON + 3 * MINUTE, [])


def test_up_to_five_seconds_ahead_awss_clock_is_believed(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    soon = in_a_moment(etl) + timedelta(seconds=4)
    world.set_status(job, "ACTIVE", update_time=soon)
    etl.sync()
    assert last_move(etl, job)[3:] == (soon, started(etl, 1), "update_time")


def test_further_ahead_the_change_is_stored_as_of_now_and_clamped(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    before = in_a_moment(etl)
    world.set_status(job, "ACTIVE", update_time=before + timedelta(seconds=30))
    etl.sync()
    move = last_move(etl, job)
    assert started(etl, 2) < move.changed_time < database_now(etl)
    assert (move.not_before, move.time_basis) == (started(etl, 1), "clamped")
    assert stored(etl, job)["update_time"] == before + timedelta(seconds=30)


def test_a_change_after_one_that_ran_ahead_does_not_take_the_future_for_a_witness(
    etl: Etl, world: World, job: Job
) -> None:
    future = in_a_moment(etl) + MINUTE
    etl.sync()
    world.set_status(job, "ACTIVE", update_time=future)
    etl.sync()
    world.set_status(job, "CANCEL_PENDING", update_time=future + MINUTE)
    etl.sync()
    clamped, last = moves(etl, job)[1:]
    assert last.from_time == clamped.changed_time
    assert (last.not_before, last.time_basis) == (started(etl, 2), "clamped")


def test_an_update_time_before_the_last_change_is_clamped_to_just_after_it(
    etl: Etl, world: World, job: Job
) -> None:
    etl.sync()
    world.set_status(job, "ACTIVE", update_time=NOON + MINUTE)  # did not move: stored as observed, so now
    etl.sync()
    world.set_status(job, "CANCEL_PENDING", at=NOON + 2 * MINUTE)
    etl.sync()
    observed, last = moves(etl, job)[1:]
    assert last.changed_time == observed.changed_time + TICK
    assert last.time_basis == "clamped"
    # The true moment, noon and two minutes, lies in the window.
    assert last.not_before == NOON + MINUTE


def test_a_change_without_a_moved_update_time_is_stored_as_observed(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    before = database_now(etl)
    world.set_status(job, "ACTIVE", update_time=NOON + MINUTE)
    etl.sync()
    move = last_move(etl, job)
    assert before < move.changed_time < database_now(etl)
    assert move.changed_time == stored(etl, job)["status_since"]
    assert (move.not_before, move.time_basis) == (started(etl, 1), "observed")


# Since when a change is possible


def test_the_last_complete_listing_is_a_witness_of_the_old_status(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    etl.sync()
    world.set_status(job, "ACTIVE", at=in_a_moment(etl))
    etl.sync()
    assert last_move(etl, job).not_before == started(etl, 2)


def test_the_previous_update_time_is_a_witness_of_the_old_status(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    world.override(job, {"updateTime": "2026-03-02T12:05:00.000Z"})
    etl.sync()
    world.override(job, {"updateTime": "2026-03-02T12:09:00.000Z", "status": "ACTIVE"})
    etl.sync()
    assert last_move(etl, job)[2:5] == (NOON + MINUTE, NOON + 9 * MINUTE, NOON + 5 * MINUTE)


@pytest.mark.parametrize("is_told", [True, False])
def test_when_we_stored_the_old_status_is_no_witness_since_the_job_was_shown_before(
    etl: Etl, world: World, job: Job, is_told: bool
) -> None:
    etl.sync()
    world.set_status(job, "ACTIVE", update_time=NOON + MINUTE)
    etl.sync()
    world.set_status(job, "CANCEL_PENDING", update_time=in_a_moment(etl) if is_told else NOON + MINUTE)
    etl.sync()
    observed, last = moves(etl, job)[1:]
    assert last.not_before == started(etl, 2) < observed.changed_time == last.from_time


@pytest.mark.parametrize("step", [timedelta(), -MINUTE])
def test_an_update_time_that_does_not_go_on_makes_no_witness_of_the_one_before(
    etl: Etl, world: World, job: Job, step: timedelta
) -> None:
    etl.sync()
    ahead = in_a_moment(etl) + timedelta(seconds=0.5)
    world.set_status(job, "CREATE_IN_PROGRESS", update_time=ahead)
    etl.sync()
    moment = database_now(etl)
    world.set_status(job, "ACTIVE", update_time=ahead + step)
    time.sleep(0.6)
    for _ in range(3):  # an older state is believed when it is shown again and again
        etl.sync()
    move = last_move(etl, job)
    assert (move.to_status, move.time_basis) == ("ACTIVE", "observed")
    assert move.not_before <= moment < ahead < move.changed_time


def test_where_nothing_else_can_be_believed_the_job_s_creation_is_a_witness(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    world.put_raw(membership, {"broken": True})  # so that no listing is complete
    ahead = in_a_moment(etl) + MINUTE
    for number, status in enumerate(("ACTIVE", "CANCEL_PENDING"), 1):
        world.set_status(job, status, update_time=ahead + number * MINUTE)
        etl.sync()
    assert last_move(etl, job).from_status == "ACTIVE"
    assert last_move(etl, job).not_before == stored(etl, job)["create_time"] == NOON


def test_a_listing_that_showed_the_old_status_after_awss_update_time_was_stale_and_is_no_witness(
    etl: Etl, world: World, job: Job
) -> None:
    etl.sync()  # long after the change below
    world.set_status(job, "ACTIVE", at=NOON + 3 * MINUTE)
    etl.sync()
    assert last_move(etl, job)[3:] == (NOON + 3 * MINUTE, NOON + MINUTE, "update_time")


def test_a_partial_listing_is_no_witness(etl: Etl, world: World, membership: Membership, job: Job) -> None:
    etl.sync()
    broken = world.put_raw(membership, {"broken": True})
    assert etl.sync().outcome == "partial"
    world.remove(membership, broken)
    world.set_status(job, "ACTIVE", at=in_a_moment(etl))
    etl.sync()
    assert last_move(etl, job).not_before == started(etl, 1)


def test_a_listing_that_showed_an_older_state_is_no_witness(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    world.override(job, {"updateTime": "2026-03-02T12:00:30.000Z", "status": "CREATE_PENDING"})
    assert etl.sync().counts.jobs_stale == 1
    moment = in_a_moment(etl).isoformat()
    world.override(job, {"updateTime": moment, "status": "ACTIVE"})
    etl.sync()
    assert last_move(etl, job).not_before == NOON + MINUTE


def test_a_listing_without_the_job_is_no_witness(etl: Etl, world: World, membership: Membership, job: Job) -> None:
    etl.sync()
    world.remove(membership, job)
    etl.sync()
    world.put_back(membership, job)
    world.set_status(job, "ACTIVE", at=in_a_moment(etl))
    etl.sync()
    assert last_move(etl, job).not_before == started(etl, 1)


def test_a_listing_without_the_job_is_no_witness_though_aws_said_that_the_job_exists(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    etl.sync()
    membership.items.remove(job)  # gone from the list, but Get knows it
    etl.sync()
    etl.sync()
    world.put_back(membership, job)
    world.set_status(job, "ACTIVE", update_time=NOON + MINUTE)
    etl.sync()
    assert last_move(etl, job)[4:] == (started(etl, 1), "observed")


def test_a_listing_after_an_older_state_is_no_witness_of_a_job_it_does_not_show(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    etl.sync()
    world.override(job, {"updateTime": "2026-03-02T12:00:30.000Z", "status": "CREATE_PENDING"})
    etl.sync()  # stale
    world.remove(membership, job)
    etl.sync()  # absent
    world.put_back(membership, job)
    world.override(job, {"updateTime": "2026-03-02T12:01:00.000Z", "status": "ACTIVE"})
    etl.sync()
    assert last_move(etl, job)[4:] == (NOON, "observed")


@pytest.mark.parametrize("version", [None, ONE_VERSION])
def test_a_filtered_listing_is_a_witness_for_the_jobs_that_it_asks_for_alone(
    make_etl: MakeEtl, world: World, membership: Membership, version: str | None
) -> None:
    mine = world.add_trained_model(membership, "mine", version_identifier=version)
    name = "mine" if version else "another"
    other = world.add_trained_model(membership, name, version_identifier=ANOTHER_VERSION)
    inside = world.create_job(membership, mine)
    outside = world.create_job(membership, other)
    whole = make_etl()
    whole.sync()
    scope = {"trained_model_arn": mine.arn, "trained_model_version_identifier": version}
    filtered = make_etl(memberships=[{"id": membership.id, "region": membership.region, **scope}])
    assert filtered.sync().outcome == "complete"
    for job in (inside, outside):
        world.set_status(job, "CREATE_IN_PROGRESS", at=in_a_moment(whole))
    whole.sync()
    assert last_move(whole, inside).not_before == started(whole, 2)
    assert last_move(whole, outside).not_before == NOON


# What is no change of status


@pytest.mark.parametrize(
    ("field", "value", "edit"),
    [
        ("name", "renamed", {"name": ["scoring", "renamed"]}),
        ("description", "x", {"description": [None, "x"]}),
        ("metrics_status", "PUBLISH_FAILED", {"metrics_status": [None, "PUBLISH_FAILED"]}),
        ("metrics_status_details", "no", {"metrics_status_details": [None, "no"]}),
        ("logs_status", "PUBLISH_SUCCEEDED", {"logs_status": [None, "PUBLISH_SUCCEEDED"]}),
        ("logs_status_details", "no", {"logs_status_details": [None, "no"]}),
        ("payer_account_id", "1" * 12, {"payer_account_id": [None, "1" * 12]}),
        ("output_accept", None, {"output_accept": ["text/csv", None]}),
        ("output_account_ids", ("2" * 12,), {"output_account_ids": [["111122223333"], ["2" * 12]]}),
        ("trained_model_version_identifier", "v2", {"trained_model_version_identifier": [None, "v2"]}),
        ("collaboration_id", "c", {"collaboration_id": ["...", "c"]}),
        ("overrides", {"newField": [1]}, {"extra": [{}, {"newField": [1]}]}),
    ],
)
def test_a_change_of_another_field_is_an_edit_and_no_transition(
    etl: Etl, world: World, job: Job, field: str, value: object, edit: dict[str, list[object]]
) -> None:
    etl.sync()
    if field == "collaboration_id":
        edit = {field: [job.collaboration_id, value]}
    world.edit(job, touch=False, **{field: value})
    report = etl.sync()
    assert edits(etl) == [edit]
    assert len(moves(etl, job)) == 1
    assert (report.counts.jobs_changed, report.counts.transitions) == (1, 0)


def test_an_edit_says_when_it_was_seen_by_whom_and_how_old_the_state_was(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    world.now = lambda: NOON + 7 * MINUTE
    world.edit(job, name="renamed")
    report = etl.sync()
    (edit,) = etl.query("SELECT * FROM cleanrooms_etl.job_edit")
    assert (edit["update_time"], edit["run_id"]) == (NOON + 7 * MINUTE, report.run_id)
    assert edit["observed_at"] == stored(etl, job)["changed_at"] > started(etl, 2)


def test_fields_that_change_together_are_one_edit_beside_the_transition(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    world.set_status(job, "ACTIVE", at=NOON + 2 * MINUTE)
    world.edit(job, touch=False, metrics_status="PUBLISH_SUCCEEDED", logs_status="PUBLISH_FAILED")
    etl.sync()
    assert edits(etl) == [{"metrics_status": [None, "PUBLISH_SUCCEEDED"], "logs_status": [None, "PUBLISH_FAILED"]}]
    assert [move.to_status for move in moves(etl, job)] == ["CREATE_IN_PROGRESS", "ACTIVE"]


def test_an_update_time_that_moves_alone_is_neither_edit_nor_transition(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    world.now = lambda: NOON + 7 * MINUTE
    world.edit(job)
    report = etl.sync()
    assert stored(etl, job)["update_time"] == NOON + 7 * MINUTE
    assert (edits(etl), len(moves(etl, job))) == ([], 1)
    assert report.counts.jobs_changed == 1


# Where nothing changed, nothing is written


def test_an_unchanged_world_writes_no_row_and_hardly_any_log(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    for _ in range(500):
        world.create_job(membership)
    etl.sync()
    world.set_status(job, "ACTIVE", at=NOON + 2 * MINUTE)
    etl.sync()
    before = written(etl)
    logged = wal_bytes(etl, etl.sync)
    assert written(etl) == before == {"inference_job": 502, "status_transition": 502, "job_edit": 0}
    # 501 rows rewritten would be 400 kB; the run's own record, with whole pages after a checkpoint, is below 100.
    assert logged < 150_000


def test_another_order_of_the_keys_writes_no_row(etl: Etl, world: World, membership: Membership, job: Job) -> None:
    etl.sync()
    before = written(etl)
    turned = json.dumps(dict(reversed(job.wire().items())), indent=1).encode()
    world.remove(membership, job)
    world.put_raw(membership, turned)
    report = etl.sync()
    assert written(etl) == before == {"inference_job": 1, "status_transition": 1, "job_edit": 0}
    assert (report.counts.jobs_unchanged, report.counts.jobs_changed) == (1, 0)


def test_an_older_state_repeated_is_written_no_more_once_it_is_believed(etl: Etl, world: World, job: Job) -> None:
    etl.sync()
    world.override(job, {"updateTime": "2026-03-02T12:00:30.000Z"})
    for _ in range(3):
        etl.sync()
    before = written(etl)
    etl.sync()
    assert written(etl) == before


def test_an_item_already_known_is_not_decoded_again(
    etl: Etl, world: World, membership: Membership, job: Job, decoded: list[bytes]
) -> None:
    for _ in range(3):
        world.create_job(membership)
    etl.sync()
    assert len(decoded) == 4
    world.set_status(job, "ACTIVE", at=NOON + 2 * MINUTE)
    report = etl.sync()
    assert decoded[4:] == [job.rendered()]
    assert (report.counts.jobs_listed, report.counts.jobs_unchanged) == (4, 3)


def test_the_same_job_in_other_bytes_is_known_by_them_after_a_day(
    etl: Etl, world: World, membership: Membership, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.create_job(membership)
    etl.sync()
    monkeypatch.setattr(jobs, "_DECODER", b"another")
    etl.sync()
    etl.execute("UPDATE cleanrooms_etl.inference_job SET changed_at = changed_at - interval '25 hours'")
    before, facts = written(etl), {**stored(etl, job), "digest": None, "changed_at": None}
    etl.sync()
    assert written(etl) == {**before, "inference_job": before["inference_job"] + 2}
    assert {**stored(etl, job), "digest": None, "changed_at": None} == facts
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "decode", None)  # nothing is decoded
        assert etl.sync().counts.jobs_unchanged == 2
    monkeypatch.setattr(jobs, "_DECODER", b"yet another")  # within a day
    etl.sync()
    assert written(etl) == {**before, "inference_job": before["inference_job"] + 2}


def test_a_job_that_was_missing_and_exists_is_known_by_its_bytes_again_once_it_was_seen(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    etl.sync()
    membership.items.remove(job)  # gone from the list, but Get knows it
    etl.sync()
    etl.sync()
    world.put_back(membership, job)
    etl.sync()
    before = written(etl)
    etl.sync()
    assert stored(etl, job)["digest"] is not None
    assert written(etl) == before


def test_every_change_adds_up_in_the_views_and_to_verify(
    etl: Etl, world: World, membership: Membership, clock: Clock
) -> None:
    job = world.create_job(membership)
    etl.sync()
    for status in ("CREATE_IN_PROGRESS", "ACTIVE"):
        clock.advance(MINUTE)
        world.set_status(job, status)
        etl.sync()
    rows = etl.query("SELECT status, valid_from, valid_to FROM cleanrooms.status_history ORDER BY valid_from")
    assert [tuple(row.values()) for row in rows] == [
        ("CREATE_PENDING", NOON, NOON + MINUTE),
        ("CREATE_IN_PROGRESS", NOON + MINUTE, NOON + 2 * MINUTE),
        ("ACTIVE", NOON + 2 * MINUTE, None),
    ]
    assert rows[0]["valid_from"].astimezone(UTC) == job.create_time
