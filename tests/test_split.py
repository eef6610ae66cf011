"""Full listings that are split by model and version, read side by side, and proved by those that are not."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from random import Random
from threading import Event
from typing import Any

import pytest
from botocore.retries import standard
from conftest import MINUTE, Etl, MakeEtl
from hypothesis import given
from hypothesis import strategies as st

from etl import batches, database, plan, sweep, verify
from etl.demo.answers import Answer, Reply, error, slow
from etl.demo.clock import real_time
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership, TrainedModel
from etl.demo.request import Request
from etl.demo.resources import Job, to_json
from etl.demo.world import World
from etl.plan import Share, Wait
from etl.run import Progress, StoppedError
from etl.scope import Scope
from etl.sync import SyncReport, sync_membership

LIST = "ListTrainedModelInferenceJobs"
MODELS = "ListTrainedModels"
VERSIONS = "ListTrainedModelVersions"
PAGE = 10
AT_ONCE = 4
PATIENCE = 20.0
VERSION_IDS = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002")
UNUSED_ID = "00000000-0000-4000-8000-000000000003"


@pytest.fixture(autouse=True)
def _no_pause_between_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0)


@pytest.fixture(autouse=True)
def _any_wait_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_LONG_WAIT", -1.0)  # the endpoint computes in this process


@pytest.fixture
def world() -> World:
    return World(random=Random(11))  # noqa: S311 - a simulation


@pytest.fixture
def models(world: World, membership: Membership) -> list[TrainedModel]:
    """Four models with twenty-five jobs each, all done."""
    models = [world.add_trained_model(membership, name) for name in "abcd"]
    fill(world, membership, models, 100)
    return models


@pytest.fixture
def etl(make_etl: MakeEtl, models: list[TrainedModel]) -> Etl:
    """The product, before its first sync."""
    assert models
    return make_etl(aws={"page_size": PAGE, "max_concurrency": AT_ONCE}, sync={"full_every": "6h"})


def fill(world: World, membership: Membership, models: list[TrainedModel], number: int) -> None:
    """Create jobs that are done, of each model in turn, one a minute until an hour ago."""
    first = real_time() - timedelta(hours=1) - number * MINUTE
    for nth in range(number):
        born = first + nth * MINUTE
        model = models[nth % len(models)]
        world.create_job(membership, model, status="ACTIVE", create_time=born, update_time=born)


def sync_full(etl: Etl) -> SyncReport:
    return sync_membership(etl.config, etl.config.memberships[0], full=True)


def list_twice(etl: Etl) -> None:
    """Sync for the first time, and once more: the second listing, which is not split, proves the first."""
    etl.sync()
    etl.sync()


def last_run(etl: Etl) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms_etl.sync_run ORDER BY run_id DESC LIMIT 1")[0]


def listed(etl: Etl) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms_etl.membership")[0]


def stored(etl: Etl, job: Job) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms_etl.inference_job WHERE job_arn = :arn", arn=job.arn)[0]


def known(etl: Etl) -> set[str]:
    return {row["job_arn"] for row in etl.query("SELECT job_arn FROM cleanrooms_etl.inference_job")}


def all_jobs(world: World, membership: Membership) -> set[str]:
    return {job.arn for job in world.jobs(membership)}


def broken_rules(etl: Etl) -> list[str]:
    with database.connect(etl.config.database.address()) as connection:
        return [finding.check.name for finding in verify.findings(connection) if finding.broken]


def pages(endpoint: Endpoint) -> Counter[tuple[str | None, str | None]]:
    """How many pages were asked for, by the model's name and the version of the listing."""
    asked = [request.query for request in endpoint.requests if request.operation == LIST]
    return Counter(
        (_name(query.get("trainedModelArn")), query.get("trainedModelVersionIdentifier")) for query in asked
    )


def _name(model_arn: str | None) -> str | None:
    return model_arn.rpartition("/")[2] if model_arn else None


Pages = dict[tuple[str | None, str | None], int]
"""How many pages of each listing, by the model's name and the version."""

WHOLE: Pages = {(None, None): 10}
BY_MODEL: Pages = {(None, None): 1, ("a", None): 3, ("b", None): 3, ("c", None): 3, ("d", None): 3}


def asked(endpoint: Endpoint, work: Callable[[], SyncReport]) -> Pages:
    """Count the pages of each listing that a complete full sweep asks for."""
    endpoint.forget_requests()
    report = work()
    assert (report.outcome, report.kind) == ("complete", "full"), report
    return dict(pages(endpoint))


def of(model: TrainedModel) -> Callable[[Request], bool]:
    return lambda request: request.query.get("trainedModelArn") == model.arn


# How it is split


def test_a_first_listing_is_split_by_model_and_read_side_by_side(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.latency_seconds = 0.05
    assert asked(endpoint, etl.sync) == BY_MODEL
    assert 2 <= endpoint.peak_in_flight <= AT_ONCE
    assert endpoint.counts == {LIST: 13, MODELS: 1}
    run = last_run(etl)
    assert (run["listings"], run["pages"], run["api_calls"]) == (5, 13, 14)
    assert known(etl) == all_jobs(world, membership)
    assert listed(etl)["newest_first"] is None  # of the whole
    assert asked(endpoint, etl.sync) == WHOLE
    assert listed(etl)["newest_first"] is True
    assert broken_rules(etl) == []


def test_no_batch_of_a_split_first_listing_is_settled_twice(
    etl: Etl, world: World, membership: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ITEMS", PAGE)
    etl.sync()
    [keys] = etl.query("SELECT count(*) AS jobs, max(job_key) AS last FROM cleanrooms_etl.inference_job")
    assert last_run(etl)["listings"] > 1
    assert keys["jobs"] == keys["last"] == len(all_jobs(world, membership))  # what is rolled back leaves a gap


def test_a_split_listing_of_nothing_new_writes_nothing(etl: Etl, endpoint: Endpoint) -> None:
    list_twice(etl)
    rows = etl.query("SELECT xmin::text, job_key FROM cleanrooms_etl.inference_job ORDER BY job_key")
    assert asked(endpoint, lambda: sync_full(etl)) == BY_MODEL
    assert etl.query("SELECT xmin::text, job_key FROM cleanrooms_etl.inference_job ORDER BY job_key") == rows


def test_a_model_with_most_of_the_jobs_is_split_by_version(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    small = world.add_trained_model(membership, "small")
    versions = [world.add_trained_model(membership, "big", version_identifier=version) for version in VERSION_IDS]
    fill(world, membership, [*versions, small, *versions], 100)
    world.add_trained_model(membership, "big", version_identifier=UNUSED_ID)
    etl = make_etl(aws={"page_size": PAGE, "max_concurrency": AT_ONCE}, sync={"full_every": "6h"})
    list_twice(etl)
    assert asked(endpoint, lambda: sync_full(etl)) == {
        (None, None): 1,
        ("small", None): 2,
        ("big", VERSION_IDS[0]): 4,
        ("big", VERSION_IDS[1]): 4,
        ("big", UNUSED_ID): 1,
    }
    assert endpoint.counts[VERSIONS] == 1
    assert broken_rules(etl) == []


def test_a_model_of_whose_jobs_one_names_no_version_is_not_split_by_version(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    plain = world.add_trained_model(membership, "big")
    versions = [world.add_trained_model(membership, "big", version_identifier=version) for version in VERSION_IDS]
    fill(world, membership, [*versions, world.add_trained_model(membership, "small")], 60)
    old = real_time() - timedelta(days=9)
    world.create_job(membership, plain, status="ACTIVE", create_time=old, update_time=old)
    etl = make_etl(aws={"page_size": PAGE, "max_concurrency": AT_ONCE}, sync={"full_every": "6h"})
    list_twice(etl)
    assert asked(endpoint, lambda: sync_full(etl)) == {(None, None): 1, ("big", None): 5, ("small", None): 2}
    assert known(etl) == all_jobs(world, membership)


def test_over_all_memberships_no_more_requests_are_under_way_than_allowed(
    make_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    members = [world.add_membership() for _ in range(3)]
    for each in members:
        fill(world, each, [world.add_trained_model(each, name) for name in "abcd"], 40)
    etl = make_etl(aws={"page_size": PAGE, "max_concurrency": 3}, sync={"full_every": "6h"})
    endpoint.latency_seconds = 0.02
    assert {report.outcome for report in etl.sweep().values()} == {"complete"}
    assert 2 <= endpoint.peak_in_flight <= 3
    assert len(known(etl)) == 120
    assert {row["listings"] for row in etl.query("SELECT listings FROM cleanrooms_etl.sync_run")} == {5}


# Where it is not


@pytest.mark.parametrize(
    "answer",
    [
        error("AccessDeniedException"),
        error("ThrottlingException"),
        error("UnknownOperationException"),
        Reply(b"<html>"),
        Reply(b'{"trainedModels": 7}'),
        Reply(b'{"trainedModels": [{"name": "no ARN"}]}'),
    ],
)
def test_without_the_models_it_is_read_as_it_is(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint, answer: Answer
) -> None:
    endpoint.on(MODELS, answer, times=None)
    assert asked(endpoint, etl.sync) == WHOLE
    assert last_run(etl)["listings"] == 1
    assert known(etl) == all_jobs(world, membership)


def test_without_the_versions_it_is_split_by_model_alone(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    versions = [world.add_trained_model(membership, "big", version_identifier=version) for version in VERSION_IDS]
    fill(world, membership, [*versions, world.add_trained_model(membership, "small")], 100)
    etl = make_etl(aws={"page_size": PAGE, "max_concurrency": AT_ONCE}, sync={"full_every": "6h"})
    list_twice(etl)
    endpoint.on(VERSIONS, error("AccessDeniedException"), times=None)
    assert set(asked(endpoint, lambda: sync_full(etl))) == {(None, None), ("big", None), ("small", None)}


@pytest.mark.parametrize(
    ("aws", "sync"),
    [({"max_concurrency": 1}, {}), ({}, {"full_every": "0s"}), ({"requests_per_second": 20}, {})],
)
def test_one_request_at_a_time_a_slow_pace_or_no_full_every_leave_it_whole(
    make_etl: MakeEtl, models: list[TrainedModel], endpoint: Endpoint, aws: dict[str, Any], sync: dict[str, Any]
) -> None:
    assert models
    etl = make_etl(aws={"page_size": PAGE, "max_concurrency": AT_ONCE} | aws, sync={"full_every": "6h"} | sync)
    assert asked(endpoint, etl.sync) == WHOLE


def test_a_listing_of_one_model_is_not_split(
    make_etl: MakeEtl, membership: Membership, models: list[TrainedModel], endpoint: Endpoint
) -> None:
    only = {"id": membership.id, "region": membership.region, "trained_model_arn": models[0].arn}
    etl = make_etl(memberships=[only], aws={"page_size": PAGE}, sync={"full_every": "6h"})
    assert asked(endpoint, etl.sync) == {("a", None): 3}
    assert endpoint.counts == {LIST: 3}


def test_once_in_full_every_one_is_not_split(etl: Etl, endpoint: Endpoint) -> None:
    etl.sync()
    past = "UPDATE cleanrooms_etl.membership SET unsplit_at = unsplit_at - interval '6 hours'"
    etl.execute(past)
    assert asked(endpoint, lambda: sync_full(etl)) == WHOLE
    assert listed(etl)["unsplit_at"] == last_run(etl)["started_at"]
    assert asked(endpoint, lambda: sync_full(etl)) == BY_MODEL
    assert listed(etl)["unsplit_at"] < last_run(etl)["started_at"] == listed(etl)["listed_at"]


# What a split listing may not tell


def test_a_model_that_is_not_told_of_is_found_by_the_next_listing_and_listed_from_then_on(
    etl: Etl, world: World, membership: Membership, models: list[TrainedModel], endpoint: Endpoint
) -> None:
    membership.models.remove(models[2])
    assert asked(endpoint, etl.sync) == {key: count for key, count in BY_MODEL.items() if key[0] != "c"}
    assert known(etl) < all_jobs(world, membership)
    assert asked(endpoint, etl.sync) == WHOLE
    assert known(etl) == all_jobs(world, membership)
    assert asked(endpoint, lambda: sync_full(etl)) == BY_MODEL


def test_a_job_that_is_gone_is_concluded_by_two_listings_that_are_not_split(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    list_twice(etl)
    gone = world.jobs(membership)[50]
    world.remove(membership, gone)
    first = asked(endpoint, lambda: sync_full(etl))
    assert first == BY_MODEL | {(None, None): 1 + 10}
    assert (stored(etl, gone)["absent_listings"], listed(etl)["full_due"]) == (1, True)
    assert asked(endpoint, etl.sync) == WHOLE
    assert stored(etl, gone)["status"] == "NOT_LISTED"
    assert broken_rules(etl) == []


def test_a_job_that_only_filtered_listings_do_not_show_is_not_gone(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    hidden = world.jobs(membership)[50]
    list_twice(etl)
    world.override(hidden, {"trainedModelArn": hidden.trained_model_arn})
    hidden.trained_model_arn = "of-no-model"
    before = etl.query("SELECT xmin::text, job_key FROM cleanrooms_etl.inference_job ORDER BY job_key")
    for _ in range(3):
        assert asked(endpoint, lambda: sync_full(etl)) == BY_MODEL | {(None, None): 1 + 10}
        assert asked(endpoint, lambda: sync_full(etl)) == WHOLE  # its parts were read in vain
    assert etl.query("SELECT xmin::text, job_key FROM cleanrooms_etl.inference_job ORDER BY job_key") == before
    assert listed(etl)["full_due"] is False
    assert broken_rules(etl) == []


def test_where_filters_are_ignored_all_is_told_once_for_each_and_stored_once(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    def unfiltered(request: Request) -> Answer:
        token = request.query.get("nextToken")
        return Reply(world.list_jobs(membership.id, token=token, max_results=PAGE))

    endpoint.on(lambda request: "trainedModelArn" in request.query, unfiltered, times=None)
    report = etl.sync()
    assert (report.outcome, report.counts.jobs_new) == ("complete", 100)
    assert broken_rules(etl) == []


# Listings that end early


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "ResourceNotFoundException", "InternalServiceException"]
)
def test_where_a_part_breaks_off_the_same_run_reads_the_whole(
    etl: Etl, world: World, membership: Membership, models: list[TrainedModel], endpoint: Endpoint, code: str
) -> None:
    endpoint.on(lambda request: of(models[3])(request) and "nextToken" in request.query, error(code), times=5)
    report = etl.sync()
    assert report.outcome == "complete"
    assert known(etl) == all_jobs(world, membership)
    assert listed(etl)["unsplit_at"] == listed(etl)["listed_at"]
    assert broken_rules(etl) == []


def test_where_all_breaks_off_the_run_is_partial_and_concludes_nothing(
    etl: Etl, world: World, membership: Membership, models: list[TrainedModel], endpoint: Endpoint
) -> None:
    list_twice(etl)
    for job in world.jobs(membership)[:30]:
        world.remove(membership, job)
    endpoint.on(of(models[3]), error("AccessDeniedException"))
    endpoint.on(
        lambda request: "nextToken" in request.query and "trainedModelArn" not in request.query,
        error("AccessDeniedException"),
    )
    assert sync_full(etl).outcome == "partial"
    assert {row["absent_listings"] for row in etl.query("SELECT * FROM cleanrooms_etl.inference_job")} == {0}


def readers() -> int:
    return sum(thread.name == "reads ahead" for thread in threading.enumerate())


def test_a_stop_while_several_read_leaves_no_thread_behind(etl: Etl, endpoint: Endpoint) -> None:
    endpoint.latency_seconds = 0.04

    def watch(progress: Progress) -> None:
        if progress.jobs_listed >= 3 * PAGE:
            raise StoppedError

    sweep.register(etl.config)
    report = sync_membership(etl.config, etl.config.memberships[0], watch)
    assert (report.outcome, report.error_class) == ("partial", "Stopped")
    asked_before = len(endpoint.requests)
    assert any(readers() == 0 or Event().wait(0.02) for _ in range(int(PATIENCE / 0.02)))
    assert len(endpoint.requests) - asked_before <= AT_ONCE


def test_a_request_that_hangs_keeps_nobody_else_from_asking(
    make_etl: MakeEtl, models: list[TrainedModel], endpoint: Endpoint
) -> None:
    assert models
    etl = make_etl(aws={"page_size": PAGE, "max_concurrency": 1}, sync={"deadline": "1s"})
    endpoint.on(LIST, slow(PATIENCE))
    assert etl.sync().error_class == "NoProgress"
    assert etl.sync().outcome == "complete"


# Worlds that move meanwhile


def test_jobs_that_come_while_it_is_read_are_all_known_after_the_next_sweep(
    etl: Etl, world: World, membership: Membership, models: list[TrainedModel], endpoint: Endpoint
) -> None:
    etl.sync()
    random = Random(5)  # noqa: S311 - a simulation

    def create(_: Request) -> None:
        world.create_job(membership, random.choice(models), status=random.choice(["ACTIVE", "CREATE_PENDING"]))

    for _ in range(3):
        endpoint.before_page = create
        assert sync_full(etl).outcome == "complete"
        endpoint.before_page = None
        assert etl.sync().outcome == "complete"
        assert known(etl) == all_jobs(world, membership)
    assert broken_rules(etl) == []


def test_an_order_by_model_is_not_taken_for_newest_first(
    etl: Etl, world: World, membership: Membership, models: list[TrainedModel], endpoint: Endpoint
) -> None:
    def by_model(request: Request) -> Answer:
        jobs = sorted(
            world.jobs(membership), key=lambda job: (job.trained_model_arn, -job.create_time.timestamp())
        )
        start = int(request.query.get("nextToken", 0))
        items = [job.wire() for job in jobs[start : start + PAGE]]
        more = {"nextToken": str(start + PAGE)} if start + PAGE < len(jobs) else {}
        return Reply(to_json({"trainedModelInferenceJobs": items} | more))

    endpoint.on(
        lambda request: request.operation == LIST and "trainedModelArn" not in request.query, by_model, times=None
    )
    assert etl.sync().outcome == "complete"
    world.create_job(membership, models[3])
    assert etl.sync().outcome == "complete"
    assert known(etl) == all_jobs(world, membership)


# How it is decided

A, B, C = "model/a", "model/b", "model/c"


@pytest.mark.parametrize(
    ("models", "shares", "versions", "parts"),
    [
        ([], [], [], []),
        ([A, B], [], [], [Scope(A), Scope(B)]),
        ([A], [Share(Scope(B, None), 1)], [], [Scope(B), Scope(A)]),
        ([A, A], [Share(Scope(A, "1"), 9)], ["1"], [Scope(A)]),
        (
            [A, B],
            [Share(Scope(A, "1"), 5), Share(Scope(A, "2"), 5), Share(Scope(B, None), 10)],
            ["1", "2"],
            [Scope(A), Scope(B)],
        ),
        (
            [A, B],
            [Share(Scope(A, "1"), 5), Share(Scope(A, "2"), 6), Share(Scope(B, None), 10)],
            [],
            [Scope(A), Scope(B)],
        ),
        (
            [A],
            [Share(Scope(A, "1"), 5), Share(Scope(A, "2"), 6)],
            ["3", "1"],
            [Scope(A, "1"), Scope(A, "2"), Scope(A, "3")],
        ),
        ([A], [Share(Scope(A, "1"), 5), Share(Scope(A, "2"), 6)], ["1"], [Scope(A, "1"), Scope(A, "2")]),
        ([A], [Share(Scope(A, "1"), 5), Share(Scope(A, None), 6)], ["1"], [Scope(A)]),
        ([A], [Share(Scope(B, "1"), 5), Share(Scope(C, None), 1)], ["1"], [Scope(B), Scope(C), Scope(A)]),
    ],
)
def test_the_parts(models: list[str], shares: list[Share], versions: list[str], parts: list[Scope]) -> None:
    assert plan.parts(models, shares, 2, lambda _: versions) == parts


shares_of_a_membership = st.lists(
    st.builds(
        Share,
        st.builds(Scope, st.sampled_from([A, B, C]), st.sampled_from([None, "1", "2"])),
        st.integers(1, 9),
    ),
    unique_by=lambda share: share.scope,
)


@given(st.lists(st.sampled_from([A, B, C])), shares_of_a_membership, st.lists(st.sampled_from(["1", "2", "3"])))
def test_the_parts_show_each_stored_job_of_a_model_once_and_each_model(
    models: list[str], shares: list[Share], versions: list[str]
) -> None:
    parts = plan.parts(models, shares, 2, lambda _: versions)
    for share in shares:
        assert sum(part in {Scope(share.scope.model_arn), share.scope} for part in parts) == 1
    assert {part.model_arn for part in parts} == {*models, *(share.scope.model_arn for share in shares)}
    assert len(set(parts)) == len(parts)


@pytest.mark.parametrize(
    ("number", "expected_pages", "are_few"),
    [
        (0, 100, False),
        (1, 100, False),
        (2, 4, True),
        (2, 3, False),
        (50, 100, True),
        (51, 100, False),
        (100, 0, True),
        (101, 0, False),
    ],
)
def test_so_many_listings_are_worth_a_request_more_for_each(
    number: int, expected_pages: int, are_few: bool
) -> None:
    assert plan.are_worth_it([Scope(f"model/{nth}") for nth in range(number)], expected_pages) is are_few


@pytest.mark.parametrize(
    ("wait", "is_worth_it"),
    [
        (Wait(0.06, None, 8), True),
        (Wait(0.019, None, 8), False),
        (Wait(0.06, None, 1), False),
        (Wait(0.5, 4, 8), True),
        (Wait(0.06, 4, 8), False),
    ],
)
def test_what_a_page_takes_decides_whether_others_are_read_beside_it(
    monkeypatch: pytest.MonkeyPatch, wait: Wait, is_worth_it: bool
) -> None:
    monkeypatch.undo()
    assert plan.is_worth_it(wait) is is_worth_it
