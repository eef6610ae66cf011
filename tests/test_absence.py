"""When a job that is listed no more is believed to be gone, and when nothing is concluded."""

import time
from array import array
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.retries import standard
from conftest import MINUTE, NOON, Etl, MakeEtl

from etl.absence import LISTINGS_COUNTED, count_distinct
from etl.demo.answers import Answer, error, normal
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.resources import Job
from etl.demo.world import World

GET = "GetTrainedModelInferenceJob"
NOT_PERMITTED = error("AccessDeniedException")


@pytest.fixture(autouse=True)
def _no_pause_between_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0)


@pytest.fixture
def job(world: World, membership: Membership) -> Job:
    """A job of a membership with another one, which stays."""
    world.create_job(membership, create_time=NOON - MINUTE)
    return world.create_job(membership, status="ACTIVE", create_time=NOON, update_time=NOON + MINUTE)


def statuses(etl: Etl, job: Job) -> list[str]:
    """The statuses of the job's history, first to last."""
    return [row["to_status"] for row in transitions(etl, job)]


def transitions(etl: Etl, job: Job) -> list[dict[str, Any]]:
    return etl.query(
        "SELECT * FROM cleanrooms.status_transitions WHERE job_arn = :arn ORDER BY changed_time", arn=job.arn
    )


def stored(etl: Etl, job: Job) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms_etl.inference_job WHERE job_arn = :arn", arn=job.arn)[0]


def runs(etl: Etl) -> list[dict[str, Any]]:
    return etl.query("SELECT * FROM cleanrooms_etl.sync_run ORDER BY run_id")


def gone(etl: Etl) -> int:
    """How many jobs are concluded to be listed no more."""
    return len(etl.query("SELECT 1 FROM cleanrooms.inference_jobs WHERE NOT is_listed"))


def sync(etl: Etl, times: int = 1) -> None:
    for _ in range(times):
        assert etl.sync().outcome == "complete"


def hide(membership: Membership, job: Job) -> None:
    """Leave a job out of the listings, though Get knows it."""
    membership.items.remove(job)


def filtered(make_etl: MakeEtl, membership: Membership, model_arn: str) -> Etl:
    only = {"id": membership.id, "region": membership.region, "trained_model_arn": model_arn}
    return make_etl(memberships=[only])


# Whether any is missing


@pytest.mark.parametrize(
    ("keys", "number"),
    [
        ([], 0),
        ([7], 1),
        ([9, 7, 9, 8], 3),
        ([1, 1 + 2**25], 2),
        ([1, 2 + 2**25], None),
        ([-(2**63), 2**63 - 1], None),
    ],
)
def test_different_keys_are_counted_where_they_lie_close_together(keys: list[int], number: int | None) -> None:
    assert count_distinct(array("q", keys)) == number


# Two listings and an answer


def test_a_job_that_two_listings_and_get_do_not_know_is_not_listed(
    etl: Etl, world: World, membership: Membership, job: Job, endpoint: Endpoint
) -> None:
    sync(etl, 2)
    world.remove(membership, job)
    sync(etl)
    assert (statuses(etl, job), endpoint.counts[GET]) == (["ACTIVE"], 0)
    report = etl.sync()
    assert (report.counts.jobs_absent, report.counts.transitions, report.counts.jobs_changed) == (1, 1, 0)
    assert endpoint.counts[GET] == 1
    last_with_it, first_without, second_without = runs(etl)[1:4]
    last = transitions(etl, job)[-1]
    assert (last["from_status"], last["to_status"], last["time_basis"]) == ("ACTIVE", "NOT_LISTED", "observed")
    assert last["from_time"] == NOON + MINUTE
    assert last["not_before"] == last_with_it["started_at"]
    # The first listing without it may only have skipped it.
    assert (
        first_without["finished_at"] < second_without["started_at"] < last["changed_time"] == last["observed_at"]
    )
    row = stored(etl, job)
    assert (row["status"], row["status_since"]) == ("NOT_LISTED", last["changed_time"])


def test_a_job_that_is_gone_keeps_its_row_and_is_asked_for_no_more(
    etl: Etl, world: World, membership: Membership, job: Job, endpoint: Endpoint
) -> None:
    sync(etl)
    world.remove(membership, job)
    sync(etl, 2)
    row = stored(etl, job)
    sync(etl, 3)
    assert stored(etl, job) == row
    assert endpoint.counts[GET] == 1
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED"]


def test_the_second_listing_must_come_at_least_the_grace_after_the_first(
    make_etl: MakeEtl, world: World, membership: Membership, job: Job
) -> None:
    etl = make_etl(sync={"absence_grace": "1h"})
    sync(etl)
    world.remove(membership, job)
    sync(etl, 3)
    assert statuses(etl, job) == ["ACTIVE"]
    etl.execute("UPDATE cleanrooms_etl.inference_job SET absent_since = absent_since - interval '59 minutes'")
    sync(etl)
    assert statuses(etl, job) == ["ACTIVE"]
    etl.execute("UPDATE cleanrooms_etl.inference_job SET absent_since = absent_since - interval '1 minute'")
    sync(etl)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED"]


def test_without_permission_to_ask_it_takes_four_listings(
    etl: Etl, world: World, membership: Membership, job: Job, endpoint: Endpoint
) -> None:
    endpoint.on(GET, NOT_PERMITTED, times=None)
    sync(etl)
    world.remove(membership, job)
    sync(etl, 3)
    assert statuses(etl, job) == ["ACTIVE"]
    sync(etl)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED"]


def test_without_permission_aws_is_asked_once_a_run_however_many_are_missing(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.on(GET, NOT_PERMITTED, times=None)
    jobs = [world.create_job(membership) for _ in range(6)]
    sync(etl)
    for job in jobs[:5]:
        world.remove(membership, job)
    sync(etl, 3)
    assert (endpoint.counts[GET], gone(etl)) == (2, 0)
    sync(etl)
    assert (endpoint.counts[GET], gone(etl)) == (3, 5)


def test_a_job_that_get_knows_is_not_gone_however_long_the_listings_leave_it_out(
    etl: Etl, membership: Membership, job: Job
) -> None:
    sync(etl)
    hide(membership, job)
    sync(etl, 6)
    assert statuses(etl, job) == ["ACTIVE"]


def test_an_answer_that_the_job_exists_begins_the_count_anew(
    etl: Etl, membership: Membership, job: Job, endpoint: Endpoint
) -> None:
    endpoint.on(GET, NOT_PERMITTED, normal())
    endpoint.on(GET, NOT_PERMITTED, times=None)
    sync(etl)
    hide(membership, job)
    sync(etl, 5)  # the third is told that it exists: it counts as the first of those that may not ask
    assert statuses(etl, job) == ["ACTIVE"]
    sync(etl)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED"]


def test_for_a_job_that_aws_knows_but_does_not_list_nothing_is_written_any_more(
    etl: Etl, membership: Membership, job: Job
) -> None:
    sync(etl)
    hide(membership, job)
    sync(etl, 3)
    before = etl.query("SELECT xmin, absent_listings FROM cleanrooms_etl.inference_job")
    sync(etl, 3)
    assert etl.query("SELECT xmin, absent_listings FROM cleanrooms_etl.inference_job") == before


@pytest.mark.parametrize(
    "answer",
    [error("ThrottlingException"), error("InternalServiceException"), error("ValidationException")],
    ids=lambda answer: answer.code,
)
def test_without_an_answer_nothing_is_concluded_and_the_next_run_asks_again(
    etl: Etl, world: World, membership: Membership, job: Job, endpoint: Endpoint, answer: Answer
) -> None:
    sync(etl)
    world.remove(membership, job)
    endpoint.on(GET, answer, times=None)
    sync(etl, 4)
    assert statuses(etl, job) == ["ACTIVE"]
    endpoint.forget_plan()
    sync(etl)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED"]


def test_what_aws_answered_before_it_fell_silent_is_kept(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    jobs = [world.create_job(membership) for _ in range(3)]
    sync(etl)
    for job in jobs[:2]:
        world.remove(membership, job)
    endpoint.on(GET, normal(), error("ValidationException"))
    sync(etl, 2)
    assert gone(etl) == 1
    sync(etl)
    assert gone(etl) == 2


def test_after_years_without_an_answer_the_count_stops_before_it_overflows(
    etl: Etl, membership: Membership, job: Job, endpoint: Endpoint
) -> None:
    endpoint.on(GET, error("ValidationException"), times=None)
    sync(etl)
    hide(membership, job)
    sync(etl)
    etl.execute(
        "UPDATE cleanrooms_etl.inference_job SET absent_listings = :many WHERE absent_since IS NOT NULL",
        many=LISTINGS_COUNTED,
    )
    sync(etl)
    assert stored(etl, job)["absent_listings"] == LISTINGS_COUNTED


# Listings that say nothing


def test_one_listing_without_the_job_says_nothing(
    etl: Etl, world: World, membership: Membership, job: Job, endpoint: Endpoint
) -> None:
    sync(etl)
    for _ in range(3):
        world.remove(membership, job)
        sync(etl)
        world.put_back(membership, job)
        sync(etl)
    assert statuses(etl, job) == ["ACTIVE"]
    assert etl.query("SELECT * FROM cleanrooms_etl.job_edit") == []
    assert endpoint.counts[GET] == 0


def test_a_listing_that_showed_an_older_state_of_the_job_ends_the_count(
    etl: Etl, world: World, membership: Membership, job: Job, endpoint: Endpoint
) -> None:
    endpoint.on(GET, error("ResourceNotFoundException"), times=None)
    sync(etl)
    world.remove(membership, job)
    sync(etl)
    world.put_back(membership, job)
    world.override(job, {"updateTime": "2026-03-02T12:00:30.000Z"})
    sync(etl)
    world.remove(membership, job)
    sync(etl)
    assert statuses(etl, job) == ["ACTIVE"]


def test_a_partial_listing_says_nothing(
    etl: Etl, world: World, membership: Membership, job: Job, endpoint: Endpoint
) -> None:
    sync(etl)
    world.remove(membership, job)
    world.put_raw(membership, {"rejected": "item"})
    assert [etl.sync().outcome for _ in range(6)] == ["partial"] * 6
    assert (statuses(etl, job), endpoint.counts[GET]) == (["ACTIVE"], 0)
    assert stored(etl, job)["absent_listings"] == 0


def test_a_listing_that_broke_off_says_nothing(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    etl = make_etl(aws={"page_size": 1})
    jobs = [world.create_job(membership) for _ in range(3)]
    sync(etl)
    endpoint.on(lambda request: "nextToken" in request.query, error("AccessDeniedException"), times=None)
    assert [etl.sync().outcome for _ in range(6)] == ["partial"] * 6
    assert gone(etl) == 0
    assert [stored(etl, job)["absent_listings"] for job in jobs] == [0, 0, 0]


def test_an_update_time_that_lay_ahead_is_no_witness_of_a_job_that_is_gone(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    [now] = etl.query("SELECT clock_timestamp() AS moment")
    world.edit(job, touch=False, update_time=now["moment"] + timedelta(seconds=0.5))
    sync(etl)
    [gone] = etl.query("SELECT clock_timestamp() AS moment")
    world.remove(membership, job)
    time.sleep(0.5)
    sync(etl, 2)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED"]
    assert transitions(etl, job)[1]["not_before"] <= gone["moment"]


def test_what_a_first_listing_stored_before_it_broke_off_may_be_missing_in_the_next(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    etl = make_etl(aws={"page_size": 1})
    jobs = [world.create_job(membership, create_time=NOON + n * MINUTE) for n in range(3)]
    endpoint.on(lambda request: "nextToken" in request.query, error("AccessDeniedException"))
    assert etl.sync().outcome == "partial"
    world.remove(membership, jobs[2])
    sync(etl)
    assert [stored(etl, job)["absent_listings"] for job in jobs] == [0, 0, 1]


def test_a_failure_is_no_empty_listing(etl: Etl, job: Job, endpoint: Endpoint) -> None:
    sync(etl)
    endpoint.on("ListTrainedModelInferenceJobs", error("AccessDeniedException"), times=None)
    assert [etl.sync().outcome for _ in range(6)] == ["failed"] * 6
    assert statuses(etl, job) == ["ACTIVE"]


def test_a_partial_listing_in_between_does_not_count_and_does_not_interrupt(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    sync(etl)
    world.remove(membership, job)
    sync(etl)
    broken = world.put_raw(membership, {"rejected": "item"})
    assert etl.sync().outcome == "partial"
    world.remove(membership, broken)
    sync(etl)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED"]


def test_a_sight_in_a_partial_listing_ends_the_count(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    sync(etl)
    world.remove(membership, job)
    sync(etl)
    world.put_back(membership, job)
    broken = world.put_raw(membership, {"rejected": "item"})
    assert etl.sync().outcome == "partial"
    world.remove(membership, broken)
    world.remove(membership, job)
    sync(etl)
    assert statuses(etl, job) == ["ACTIVE"]


def test_a_filtered_listing_says_nothing_of_any_absence(
    make_etl: MakeEtl, world: World, membership: Membership, job: Job, endpoint: Endpoint
) -> None:
    another = world.add_trained_model(membership, "another")
    inside = world.create_job(membership, another)
    sync(make_etl())
    world.remove(membership, inside)
    etl = filtered(make_etl, membership, another.arn)
    sync(etl, 6)
    assert (statuses(etl, job), statuses(etl, inside)) == (["ACTIVE"], ["CREATE_PENDING"])
    assert endpoint.counts[GET] == 0


def test_a_filtered_listing_that_should_show_a_job_and_does_not_is_no_witness_of_it(
    make_etl: MakeEtl, etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    sync(etl)
    world.remove(membership, job)
    sync(filtered(make_etl, membership, job.trained_model_arn))
    sync(etl, 2)
    with_it, without_it, *_ = [run["started_at"] for run in runs(etl)]
    (_, absence) = transitions(etl, job)
    assert absence["to_status"] == "NOT_LISTED"
    assert absence["not_before"] == with_it < without_it


def test_filtered_listings_in_between_leave_the_count_as_it_is(
    make_etl: MakeEtl, world: World, membership: Membership, job: Job
) -> None:
    etl = make_etl()
    sync(etl)
    world.remove(membership, job)
    sync(etl)
    sync(filtered(make_etl, membership, membership.arn_of("trained-model", "another")), 2)
    assert statuses(etl, job) == ["ACTIVE"]
    sync(etl)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED"]


# Many at once


@pytest.mark.parametrize(
    ("vanished", "of", "listings"),
    [
        (10, 20, 2),  # half of them, but no more than ten
        (11, 55, 2),  # more than ten, but a fifth of them
        (11, 54, 5),
        (12, 12, 5),  # an empty list, and yet a success
    ],
)
def test_of_more_than_ten_and_a_fifth_at_once_nothing_is_concluded_before_five_listings(
    etl: Etl, world: World, membership: Membership, vanished: int, of: int, listings: int
) -> None:
    jobs = [world.create_job(membership) for _ in range(of)]
    sync(etl)
    for job in jobs[:vanished]:
        world.remove(membership, job)
    sync(etl, listings - 1)
    assert gone(etl) == 0
    sync(etl)
    assert gone(etl) == vanished


def test_many_that_come_back_in_time_leave_no_trace(etl: Etl, world: World, membership: Membership) -> None:
    jobs = [world.create_job(membership) for _ in range(12)]
    sync(etl)
    for job in jobs:
        world.remove(membership, job)
    sync(etl, 4)
    for job in jobs:
        world.put_back(membership, job)
    sync(etl, 2)
    assert gone(etl) == 0
    assert len(etl.query("SELECT 1 FROM cleanrooms_etl.status_transition")) == 12


def test_one_run_asks_for_a_hundred_jobs_and_the_next_for_the_rest(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    jobs = [world.create_job(membership) for _ in range(110)]
    sync(etl)
    for job in jobs:
        world.remove(membership, job)
    sync(etl, 5)
    assert (gone(etl), endpoint.counts[GET]) == (100, 100)
    sync(etl)
    assert (gone(etl), endpoint.counts[GET]) == (110, 110)


# Back again


def test_a_job_that_comes_back_as_it_was_has_a_transition_from_not_listed(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    sync(etl)
    world.remove(membership, job)
    sync(etl, 2)
    world.put_back(membership, job)
    report = etl.sync()
    assert (report.counts.jobs_changed, report.counts.transitions) == (1, 1)
    _, left, back = transitions(etl, job)
    assert (back["from_status"], back["to_status"], back["time_basis"]) == ("NOT_LISTED", "ACTIVE", "observed")
    denied, listed = [run["started_at"] for run in runs(etl)[-2:]]
    assert denied == back["not_before"] < left["changed_time"] == back["from_time"]
    assert listed < back["changed_time"] == back["observed_at"]
    sync(etl, 2)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED", "ACTIVE"]


def test_that_listings_left_a_job_out_is_no_witness_that_it_was_gone(
    etl: Etl, world: World, membership: Membership, job: Job, endpoint: Endpoint
) -> None:
    """Only AWS's own word is: it may have come back, and been skipped, before it was believed to be gone."""
    endpoint.on(GET, NOT_PERMITTED, times=None)
    sync(etl, 2)
    world.remove(membership, job)
    sync(etl, 5)
    world.put_back(membership, job)
    sync(etl)
    _, left, back = transitions(etl, job)
    assert back["not_before"] == left["not_before"] == runs(etl)[1]["started_at"]
    assert back["from_time"] == left["changed_time"] == left["observed_at"]


def test_a_job_that_comes_back_changed_has_one_transition_to_its_new_status_dated_by_us(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    """Whatever AWS did to it meanwhile, it was listed again some time before we saw it."""
    sync(etl)
    world.remove(membership, job)
    sync(etl, 2)
    changed, back = etl.query("SELECT now() + interval '10 ms' * step AS at FROM generate_series(1, 2) AS step")
    world.set_status(job, "INACTIVE", at=changed["at"])
    time.sleep(0.02)
    world.put_back(membership, job)
    sync(etl)
    last = transitions(etl, job)[-1]
    assert (last["from_status"], last["to_status"], last["time_basis"]) == ("NOT_LISTED", "INACTIVE", "observed")
    assert last["not_before"] < back["at"] < last["changed_time"] == last["observed_at"]


def test_an_older_state_brings_a_job_back_only_when_three_complete_runs_in_a_row_show_it(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    sync(etl)
    world.remove(membership, job)
    sync(etl, 2)
    world.put_back(membership, job)
    world.override(job, {"updateTime": "2026-03-02T12:00:30.000Z", "status": "CREATE_PENDING"})
    sync(etl, 2)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED"]
    sync(etl)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED", "CREATE_PENDING"]


def test_an_older_state_of_a_job_that_is_gone_does_not_stand_for_one_that_is_missing(
    etl: Etl, world: World, membership: Membership, job: Job
) -> None:
    missing = world.create_job(membership)
    sync(etl)
    world.remove(membership, job)
    sync(etl, 2)
    world.put_back(membership, job)
    world.override(job, {"updateTime": "2026-03-02T12:00:30.000Z"})
    world.remove(membership, missing)
    sync(etl)
    assert (stored(etl, job)["status"], stored(etl, missing)["absent_listings"]) == ("NOT_LISTED", 1)


def test_a_job_may_go_and_come_back_many_times(
    etl: Etl, world: World, membership: Membership, job: Job, clock: Clock
) -> None:
    sync(etl)
    for _ in range(2):
        world.remove(membership, job)
        sync(etl, 2)
        world.put_back(membership, job)
        sync(etl)
        clock.advance(MINUTE)
    assert statuses(etl, job) == ["ACTIVE", "NOT_LISTED", "ACTIVE", "NOT_LISTED", "ACTIVE"]
    times = [row["changed_time"] for row in transitions(etl, job)]
    assert times == sorted(set(times))
    assert all(isinstance(each, datetime) for each in times)


# Out of the configuration


def test_a_membership_taken_out_of_the_configuration_keeps_its_jobs_listed(
    make_etl: MakeEtl, world: World, membership: Membership, job: Job
) -> None:
    another = world.add_membership()
    world.create_job(another)
    make_etl().sweep()
    only = make_etl(memberships=[{"id": another.id, "region": another.region}])
    for _ in range(3):
        only.sweep()
    configured = only.query("SELECT membership_id, configured FROM cleanrooms_etl.membership")
    assert {row["membership_id"]: row["configured"] for row in configured} == {
        membership.id: False,
        another.id: True,
    }
    assert statuses(only, job) == ["ACTIVE"]
    assert gone(only) == 0


def test_a_membership_put_back_into_the_configuration_goes_on_where_it_was(
    make_etl: MakeEtl, world: World, job: Job
) -> None:
    another = world.add_membership()
    make_etl().sweep()
    make_etl(memberships=[{"id": another.id, "region": another.region}]).sweep()
    world.set_status(job, "INACTIVE", at=NOON + 2 * MINUTE)
    etl = make_etl()
    etl.sweep()
    assert all(row["configured"] for row in etl.query("SELECT configured FROM cleanrooms_etl.membership"))
    assert statuses(etl, job) == ["ACTIVE", "INACTIVE"]
