"""Which of two states of a job is believed: order of update times, of sights in a listing, and of runs."""

from datetime import datetime
from typing import Any

import pytest
from conftest import MINUTE, NOON, Etl

from etl import batches
from etl.demo.answers import error
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.resources import Job, wire_time
from etl.demo.world import World

STORED = NOON + 10 * MINUTE
OLDER = NOON + 5 * MINUTE
NEWER = NOON + 15 * MINUTE


@pytest.fixture
def job(etl: Etl, world: World, membership: Membership) -> Job:
    """A job stored as ACTIVE since ten past twelve."""
    job = world.create_job(membership, status="ACTIVE", create_time=NOON, update_time=STORED)
    etl.sync()
    return job


def show(world: World, job: Job, status: str, update_time: datetime) -> None:
    """Let the listing show a state of the job, be it the truth or not."""
    world.override(job, {"status": status, "updateTime": wire_time(update_time)})


def item(job: Job, status: str, update_time: datetime) -> dict[str, object]:
    """Another item of the job, for the same listing."""
    return job.wire() | {"status": status, "updateTime": wire_time(update_time)}


def stored(etl: Etl, job: Job) -> tuple[str, datetime]:
    (row,) = etl.query("SELECT * FROM cleanrooms_etl.inference_job WHERE job_arn = :arn", arn=job.arn)
    return row["status"], row["update_time"]


def statuses(etl: Etl, job: Job) -> list[str]:
    """The statuses of the job's history, first to last."""
    return [row["to_status"] for row in transitions(etl, job)]


def transitions(etl: Etl, job: Job) -> list[dict[str, Any]]:
    return etl.query(
        "SELECT * FROM cleanrooms.status_transitions WHERE job_arn = :arn ORDER BY changed_time", arn=job.arn
    )


def in_pages_of(items: int, etl: Etl) -> None:
    aws = etl.config.aws.model_copy(update={"page_size": items})
    etl.config = etl.config.model_copy(update={"aws": aws})


# An older update time


def test_an_older_state_never_overwrites_a_newer_one_and_is_counted(etl: Etl, world: World, job: Job) -> None:
    show(world, job, "CREATE_IN_PROGRESS", OLDER)
    world.edit(job, touch=False, name="of old")
    report = etl.sync()
    assert (report.outcome, report.counts.jobs_stale, report.counts.jobs_changed) == ("complete", 1, 0)
    assert stored(etl, job) == ("ACTIVE", STORED)
    assert statuses(etl, job) == ["ACTIVE"]
    assert etl.query("SELECT * FROM cleanrooms_etl.job_edit") == []
    assert etl.query("SELECT name FROM cleanrooms.inference_jobs") == [{"name": "scoring"}]


def test_an_older_state_is_believed_at_the_third_complete_run_in_a_row(etl: Etl, world: World, job: Job) -> None:
    show(world, job, "CREATE_IN_PROGRESS", OLDER)
    reports = [etl.sync() for _ in range(3)]
    assert [report.counts.jobs_stale for report in reports] == [1, 1, 0]
    assert [report.counts.jobs_changed for report in reports] == [0, 0, 1]
    assert stored(etl, job) == ("CREATE_IN_PROGRESS", OLDER)
    last = transitions(etl, job)[-1]
    assert (last["from_status"], last["to_status"]) == ("ACTIVE", "CREATE_IN_PROGRESS")
    assert (last["time_basis"], last["not_before"]) == ("observed", NOON)  # it may have lain ahead
    assert last["changed_time"] == last["observed_at"]


def test_an_older_state_of_the_same_status_is_believed_without_a_transition(
    etl: Etl, world: World, job: Job
) -> None:
    show(world, job, "ACTIVE", OLDER)
    for _ in range(3):
        etl.sync()
    assert (stored(etl, job), statuses(etl, job)) == (("ACTIVE", OLDER), ["ACTIVE"])


def test_two_kinds_of_older_states_in_a_row_are_one_row(etl: Etl, world: World, job: Job) -> None:
    for status, update_time in (("CREATE_PENDING", NOON), ("CREATE_IN_PROGRESS", OLDER), ("CREATE_PENDING", NOON)):
        show(world, job, status, update_time)
        etl.sync()
    assert stored(etl, job) == ("CREATE_PENDING", NOON)


def test_a_fresh_sight_in_between_begins_the_count_anew(etl: Etl, world: World, job: Job) -> None:
    for status, update_time in (
        ("CREATE_PENDING", OLDER),
        ("CREATE_PENDING", OLDER),
        ("ACTIVE", STORED),
        ("CREATE_PENDING", OLDER),
        ("CREATE_PENDING", OLDER),
    ):
        show(world, job, status, update_time)
        etl.sync()
    assert statuses(etl, job) == ["ACTIVE"]
    etl.sync()
    assert statuses(etl, job) == ["ACTIVE", "CREATE_PENDING"]


def test_a_run_without_the_job_in_between_begins_the_count_anew(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    show(world, job, "CREATE_PENDING", OLDER)
    etl.sync()
    etl.sync()
    world.remove(membership, job)
    etl.sync()
    world.put_back(membership, job)
    etl.sync()
    etl.sync()
    assert statuses(etl, job) == ["ACTIVE"]


def test_a_newer_state_in_between_begins_the_count_anew(etl: Etl, world: World, job: Job) -> None:
    for status, update_time in (
        ("CREATE_PENDING", OLDER),
        ("CREATE_PENDING", OLDER),
        ("INACTIVE", NEWER),
        ("CREATE_PENDING", OLDER),
        ("CREATE_PENDING", OLDER),
    ):
        show(world, job, status, update_time)
        etl.sync()
    assert statuses(etl, job) == ["ACTIVE", "INACTIVE"]


def test_a_newer_state_in_a_partial_run_begins_the_count_anew_too(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    show(world, job, "CREATE_PENDING", OLDER)
    etl.sync()
    etl.sync()
    show(world, job, "INACTIVE", NEWER)
    broken = world.put_raw(membership, {"broken": True})
    assert etl.sync().outcome == "partial"
    world.remove(membership, broken)
    show(world, job, "CREATE_PENDING", OLDER)
    etl.sync()
    assert statuses(etl, job) == ["ACTIVE", "INACTIVE"]


def test_partial_runs_do_not_make_an_older_state_believed(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    show(world, job, "CREATE_PENDING", OLDER)
    broken = world.put_raw(membership, {"broken": True})
    reports = [etl.sync() for _ in range(4)]
    assert {report.outcome for report in reports} == {"partial"}
    world.remove(membership, broken)
    etl.sync()
    etl.sync()
    assert statuses(etl, job) == ["ACTIVE"]
    etl.sync()
    assert statuses(etl, job) == ["ACTIVE", "CREATE_PENDING"]


def test_a_newer_state_after_a_believed_one_goes_on_from_there(etl: Etl, world: World, job: Job) -> None:
    show(world, job, "CREATE_PENDING", OLDER)
    for _ in range(3):
        etl.sync()
    show(world, job, "INACTIVE", NEWER)
    etl.sync()
    assert statuses(etl, job) == ["ACTIVE", "CREATE_PENDING", "INACTIVE"]
    assert stored(etl, job) == ("INACTIVE", NEWER)


# An equal update time


def test_another_status_at_the_same_update_time_is_believed_as_observed(etl: Etl, world: World, job: Job) -> None:
    show(world, job, "CANCEL_PENDING", STORED)
    report = etl.sync()
    assert report.counts.jobs_stale == 0
    assert (stored(etl, job), statuses(etl, job)) == (("CANCEL_PENDING", STORED), ["ACTIVE", "CANCEL_PENDING"])
    assert transitions(etl, job)[-1]["time_basis"] == "observed"


def test_two_statuses_at_one_update_time_make_a_history_however_often_they_alternate(
    etl: Etl, world: World, job: Job
) -> None:
    for status in ("CANCEL_PENDING", "ACTIVE", "CANCEL_PENDING"):
        show(world, job, status, STORED)
        etl.sync()
    assert statuses(etl, job) == ["ACTIVE", "CANCEL_PENDING", "ACTIVE", "CANCEL_PENDING"]


# Two items of one job in a listing


@pytest.mark.parametrize("one_is_later", [True, False], ids=["newest last", "newest first"])
@pytest.mark.parametrize("batch", [1, 100], ids=["in two batches", "in one batch"])
def test_of_two_items_the_newest_wins_in_whatever_order_they_come(
    etl: Etl, world: World, job: Job, monkeypatch: pytest.MonkeyPatch, one_is_later: bool, batch: int
) -> None:
    monkeypatch.setattr(batches, "ITEMS", batch)
    in_pages_of(1, etl)
    world.newest_first = False
    states = [("CANCEL_IN_PROGRESS", NOON + 20 * MINUTE), ("INACTIVE", NOON + 30 * MINUTE)]
    first, second = states if one_is_later else reversed(states)
    show(world, job, *first)
    world.put_raw(world.memberships[job.membership_id], item(job, *second))
    report = etl.sync()
    assert (report.outcome, report.counts.jobs_listed) == ("complete", 2)
    assert stored(etl, job) == ("INACTIVE", NOON + 30 * MINUTE)
    seen_both = batch == 1 and one_is_later
    assert statuses(etl, job) == ["ACTIVE", *(["CANCEL_IN_PROGRESS"] if seen_both else []), "INACTIVE"]
    assert report.counts.jobs_stale == (1 if batch == 1 and not one_is_later else 0)


def test_of_two_items_as_new_as_each_other_the_one_read_later_wins(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    world.newest_first = False
    show(world, job, "CANCEL_PENDING", NEWER)
    world.put_raw(membership, item(job, "CANCEL_FAILED", NEWER))
    etl.sync()
    assert (stored(etl, job), statuses(etl, job)) == (("CANCEL_FAILED", NEWER), ["ACTIVE", "CANCEL_FAILED"])


def test_an_older_item_beside_the_one_known_is_no_news(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    world.put_raw(membership, item(job, "CREATE_PENDING", OLDER))
    for _ in range(4):
        report = etl.sync()
        assert (report.counts.jobs_unchanged, report.counts.jobs_stale) == (1, 1)
    assert (stored(etl, job), statuses(etl, job)) == (("ACTIVE", STORED), ["ACTIVE"])


def test_a_job_listed_twice_is_one_job(etl: Etl, world: World, membership: Membership, job: Job) -> None:
    new = world.create_job(membership)
    for each in (job, new):
        world.put_raw(membership, each.rendered())
    report = etl.sync()
    assert (report.counts.jobs_listed, report.counts.jobs_new, report.counts.jobs_unchanged) == (4, 1, 3)
    assert (statuses(etl, job), statuses(etl, new)) == (["ACTIVE"], ["CREATE_PENDING"])


# Batches


def test_a_listing_of_many_batches_is_stored_like_one(
    etl: Etl, world: World, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ITEMS", 10)
    in_pages_of(4, etl)
    membership = world.memberships[job.membership_id]
    others = [world.create_job(membership) for _ in range(32)]
    report = etl.sync()
    committed = etl.query("SELECT max(batches) AS n FROM cleanrooms_etl.sync_run")[0]["n"]
    assert (report.counts.pages, committed) == (9, 5)  # batches of 12, 12 and 9, the counts, and the end
    assert (report.counts.jobs_new, report.counts.jobs_unchanged, report.counts.transitions) == (32, 1, 32)
    assert all(statuses(etl, each) == ["CREATE_PENDING"] for each in others[::8])
    counts = etl.query("SELECT * FROM cleanrooms_etl.sync_run ORDER BY run_id")[-1]
    assert (counts["jobs_listed"], counts["jobs_new"], counts["transitions"]) == (33, 32, 32)


def test_what_was_read_before_a_listing_broke_off_is_kept(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint, job: Job
) -> None:
    in_pages_of(1, etl)
    endpoint.on(lambda request: "nextToken" in request.query, error("AccessDeniedException"))
    new = world.create_job(membership)
    show(world, job, "INACTIVE", NEWER)
    report = etl.sync()
    assert (report.outcome, report.error_class) == ("partial", "AccessDeniedException")
    assert (statuses(etl, new), statuses(etl, job)) == (["CREATE_PENDING"], ["ACTIVE"])
    assert etl.sync().outcome == "complete"
    assert statuses(etl, job) == ["ACTIVE", "INACTIVE"]
