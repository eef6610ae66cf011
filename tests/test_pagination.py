"""A listing is complete, or it is told that it is not: what pages can do to it, over real HTTP."""

import json
from collections.abc import Callable
from typing import Any

import botocore.retries.standard
import pytest
from conftest import Etl, MakeEtl

from etl import batches, source
from etl.demo import answers
from etl.demo.answers import Answer
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import JOB, JOBS, Request
from etl.demo.resources import Job
from etl.demo.world import World
from etl.loading import from_mapping
from etl.order import NewestFirst, OrderedPage

DAMAGED: dict[str, Answer] = {
    "no list": answers.page({}),
    "null for a list": answers.page({"trainedModelInferenceJobs": None}),
    "an object for a list": answers.page({"trainedModelInferenceJobs": {}}),
    "another list": answers.page({"trainedModels": []}),
    "a token and no list": answers.page({"nextToken": "x"}),
    "a list": answers.page([]),
    "null": answers.page(None),
    "text": answers.page("trainedModelInferenceJobs"),
    "a number for a token": answers.page({"trainedModelInferenceJobs": [], "nextToken": 7}),
    "an empty token": answers.page({"trainedModelInferenceJobs": [], "nextToken": ""}),
    "HTML": answers.body(b"<html>Please log in</html>"),
    "HTML as JSON": answers.body(b"<html>Please log in</html>", content_type="application/json"),
    "nothing": answers.body(b"", content_type="application/json"),
    "nothing, and says so": answers.body(b"", status=204),
    "spaces": answers.body(b" \n "),
    "cut JSON": answers.body(b'{"trainedModelInferenceJobs": [{"name": "a"}, {"na'),
    "two pages": answers.body(b'{"trainedModelInferenceJobs": []}{"trainedModelInferenceJobs": []}'),
    "no UTF-8": answers.body(b'{"trainedModelInferenceJobs": [], "nextToken": "\xff"}'),
    "an abyss": answers.body(b'{"trainedModelInferenceJobs": [' + b"[" * 100_000),
    "a body cut short": answers.truncated(),
    "a connection reset": answers.reset(),
    "a server's error": answers.error("InternalServiceException"),
    "a proxy's error": answers.body(b"<html>Bad gateway</html>", status=502),
}
PAGES_OF_ONE = {"page_size": 1}


@pytest.fixture(autouse=True)
def _no_pause_before_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda _self, _context: 0.0)


@pytest.fixture
def etl(make_etl: MakeEtl, membership: Membership) -> Etl:
    """The product for one membership, in pages of one job."""
    assert membership
    return make_etl(aws=PAGES_OF_ONE)


@pytest.fixture
def listing(membership: Membership, endpoint: Endpoint) -> source.Listing:
    """The pages of the membership, and no database."""
    listed = {"id": membership.id, "region": membership.region}
    config = from_mapping({"aws": {"endpoint_url": endpoint.url, **PAGES_OF_ONE}, "membership": [listed]}, {})
    return source.Listing(config.aws, config.memberships[0])


@pytest.fixture
def jobs(world: World, membership: Membership) -> list[Job]:
    """Three jobs, so three pages."""
    return [world.create_job(membership, name=name) for name in ("first", "second", "third")]


def is_first_page(request: Request) -> bool:
    return request.operation == JOBS and "nextToken" not in request.query


def is_later_page(request: Request) -> bool:
    return request.operation == JOBS and "nextToken" in request.query


def with_token(token: str, *jobs: Job) -> Answer:
    return answers.page({"trainedModelInferenceJobs": [job.wire() for job in jobs], "nextToken": token})


def stored(etl: Etl) -> set[str]:
    return {row["name"] for row in etl.query("SELECT name FROM cleanrooms.inference_jobs WHERE is_listed")}


def outcome(etl: Etl) -> tuple[str, str | None]:
    """Sync, and return the outcome and the class of the error, as the record has them."""
    report = etl.sync()
    [row] = etl.query("SELECT outcome, error_class FROM cleanrooms.sync_runs ORDER BY run_id DESC LIMIT 1")
    assert row == {"outcome": report.outcome, "error_class": report.error_class}
    assert report.is_fine == (report.outcome == "complete")
    return report.outcome, report.error_class


# Damaged pages


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_page_is_asked_for_again_and_never_taken_for_the_end(
    kind: str, listing: source.Listing, jobs: list[Job], endpoint: Endpoint
) -> None:
    endpoint.on(is_first_page, *[DAMAGED[kind]] * 4)
    endpoint.on(is_later_page, *[DAMAGED[kind]] * 4)
    assert len(list(listing.pages())) == len(jobs)
    assert endpoint.counts == {JOBS: 3 + 4 + 4}
    endpoint.on(is_later_page, DAMAGED[kind], times=None)
    pages = listing.pages()
    assert len(next(pages)) == 1
    with pytest.raises(source.SourceError) as raised:
        next(pages)
    assert raised.value.code in {"DamagedPage", "ConnectionClosedError", "InternalServiceException", "502"}
    assert endpoint.counts == {JOBS: 11 + 1 + 5}


@pytest.mark.parametrize(
    ("is_page", "expected"),
    [(is_first_page, ("failed", "DamagedPage")), (is_later_page, ("partial", "DamagedPage"))],
    ids=["first", "later"],
)
def test_a_listing_with_a_damaged_page_says_nothing_of_the_jobs_that_it_did_not_show(
    is_page: Callable[[Request], bool], expected: tuple[str, str], etl: Etl, jobs: list[Job], endpoint: Endpoint
) -> None:
    assert outcome(etl) == ("complete", None)
    endpoint.on(is_page, DAMAGED["null for a list"], times=None)
    for _ in range(2):
        assert outcome(etl) == expected
    assert len(stored(etl)) == len(jobs)
    missed = etl.query("SELECT * FROM cleanrooms_etl.inference_job WHERE absent_listings > 0")
    assert missed == []


def test_a_damaged_page_says_what_was_wrong_with_it(etl: Etl, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, DAMAGED["null for a list"], times=None)
    assert etl.sync().error == (
        "what AWS answers cannot be read: Expected `array`, got `null` - at `$.trainedModelInferenceJobs`"
    )


def test_what_came_before_a_damaged_page_is_kept(etl: Etl, jobs: list[Job], endpoint: Endpoint) -> None:
    assert jobs
    endpoint.on(is_later_page, DAMAGED["HTML"], times=None)
    assert outcome(etl) == ("partial", "DamagedPage")
    assert stored(etl) == {"third"}


def test_a_good_page_of_an_odd_content_type_is_taken(etl: Etl, jobs: list[Job], endpoint: Endpoint) -> None:
    body = json.dumps({"trainedModelInferenceJobs": [job.wire() for job in jobs]}, indent=2).encode()
    endpoint.on(JOBS, answers.body(body, content_type="text/plain; charset=utf-16"))
    assert outcome(etl) == ("complete", None)
    assert stored(etl) == {"first", "second", "third"}


def test_unknown_fields_beside_the_list_do_no_harm(etl: Etl, jobs: list[Job], endpoint: Endpoint) -> None:
    content = {"total": 3, "nextToken": None, "trainedModelInferenceJobs": [job.wire() for job in jobs]}
    endpoint.on(JOBS, answers.page(content))
    assert outcome(etl) == ("complete", None)
    assert stored(etl) == {"first", "second", "third"}


# Tokens


def test_an_empty_listing_is_complete(etl: Etl) -> None:
    assert outcome(etl) == ("complete", None)


def test_an_empty_page_with_a_token_is_followed(etl: Etl, jobs: list[Job], endpoint: Endpoint) -> None:
    endpoint.on(
        JOBS,
        with_token("a"),
        with_token("b", jobs[0]),
        with_token("c"),
        answers.page({"trainedModelInferenceJobs": [jobs[1].wire()]}),
    )
    assert outcome(etl) == ("complete", None)
    assert [request.query.get("nextToken") for request in endpoint.requests] == [None, "a", "b", "c"]
    assert stored(etl) == {"first", "second"}


def test_a_token_goes_back_as_it_came(etl: Etl, endpoint: Endpoint) -> None:
    token = "a+/=&?# \u00e9\U0001f600\\\"'" + "x" * 4_000
    endpoint.on(JOBS, with_token(token), answers.page({"trainedModelInferenceJobs": []}))
    assert outcome(etl) == ("complete", None)
    assert endpoint.requests[1].query["nextToken"] == token


@pytest.mark.parametrize("cycle", ["a", "ab", "abc"])
def test_tokens_that_go_round_end_the_listing(cycle: str, etl: Etl, jobs: list[Job], endpoint: Endpoint) -> None:
    endpoint.on(JOBS, *(with_token(token, jobs[0]) for token in cycle), times=None)
    assert outcome(etl) == ("partial", "RepeatedToken")
    assert endpoint.counts == {JOBS: len(cycle) + 1}
    assert stored(etl) == {"first"}


def test_a_listing_that_never_ends_is_ended(etl: Etl, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_PAGES", 4)
    endpoint.on(JOBS, *(with_token(str(number)) for number in range(20)))
    assert outcome(etl) == ("partial", "TooManyPages")
    assert endpoint.counts == {JOBS: 4}


def test_a_listing_of_just_as_many_pages_is_complete(
    etl: Etl, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "MAX_PAGES", len(jobs))
    assert outcome(etl) == ("complete", None)


REFUSED_TOKEN = answers.error("ValidationException", message="Invalid nextToken")


def test_a_refused_token_begins_the_listing_again(etl: Etl, jobs: list[Job], endpoint: Endpoint) -> None:
    assert jobs
    endpoint.on(is_later_page, answers.normal(), REFUSED_TOKEN)
    report = etl.sync()
    assert (report.outcome, report.error) == ("complete", None)
    assert (report.counts.pages, report.counts.jobs_listed, report.counts.jobs_new) == (5, 5, 3)
    assert endpoint.counts == {JOBS: 6}
    assert stored(etl) == {"first", "second", "third"}


def test_a_token_that_is_refused_again_ends_the_listing(etl: Etl, jobs: list[Job], endpoint: Endpoint) -> None:
    assert jobs
    endpoint.on(is_later_page, answers.normal(), REFUSED_TOKEN, times=2)
    assert outcome(etl) == ("partial", "ValidationException")
    assert stored(etl) == {"second", "third"}


def test_a_first_page_that_is_refused_is_not_asked_for_again(etl: Etl, endpoint: Endpoint) -> None:
    endpoint.on(is_first_page, REFUSED_TOKEN)
    assert outcome(etl) == ("failed", "ValidationException")
    assert endpoint.counts == {JOBS: 1}


def test_a_listing_begun_again_may_meet_the_same_tokens(etl: Etl, jobs: list[Job], endpoint: Endpoint) -> None:
    last = answers.page({"trainedModelInferenceJobs": [jobs[2].wire()]})
    endpoint.on(JOBS, with_token("a", jobs[0]), with_token("b", jobs[1]), REFUSED_TOKEN)
    endpoint.on(JOBS, with_token("a", jobs[0]), with_token("b", jobs[1]), last)
    assert outcome(etl) == ("complete", None)
    assert stored(etl) == {"first", "second", "third"}


# Slow, and refused for going too fast


@pytest.mark.parametrize(
    ("refusals", "expected"), [(4, ("complete", None)), (5, ("partial", "ThrottlingException"))]
)
def test_a_storm_of_throttling_midway_is_outlived_or_told(
    refusals: int, expected: tuple[str, str | None], etl: Etl, jobs: list[Job], endpoint: Endpoint
) -> None:
    assert jobs
    endpoint.on(is_later_page, *[answers.error("ThrottlingException")] * refusals)
    assert outcome(etl) == expected
    assert etl.query("SELECT throttles FROM cleanrooms.sync_runs") == [{"throttles": refusals}]


def test_slow_pages_are_waited_for(etl: Etl, jobs: list[Job], endpoint: Endpoint) -> None:
    assert jobs
    endpoint.latency_seconds = 0.05
    report = etl.sync()
    assert (report.outcome, report.counts.retries) == ("complete", 0)
    assert report.seconds > 0.15


# A world that moves while it is listed


def between(endpoint: Endpoint, page: int, move: Callable[[], Any]) -> None:
    """Move the world just before this page (1, 2, ...) is made."""
    seen = 0

    def before_page(_: Request) -> None:
        nonlocal seen
        seen += 1
        if seen == page:
            move()

    endpoint.before_page = before_page


def test_a_job_that_comes_meanwhile_pushes_another_to_two_pages(
    etl: Etl, world: World, membership: Membership, jobs: list[Job], endpoint: Endpoint
) -> None:
    assert jobs
    between(endpoint, 2, lambda: world.create_job(membership, name="newest"))
    report = etl.sync()
    assert report.outcome == "complete"
    assert (report.counts.jobs_listed, report.counts.jobs_new, report.counts.transitions) == (4, 3, 3)
    assert stored(etl) == {"first", "second", "third"}
    assert outcome(etl) == ("complete", None)
    assert stored(etl) == {"first", "second", "third", "newest"}


@pytest.fixture
def _batches_of_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "ITEMS", 1)


def test_long_items_are_settled_in_smaller_batches() -> None:
    pages = [OrderedPage([b"x" * 1_000_000] * 3, NewestFirst()) for _ in range(6)]
    assert [len(batch.items) for batch in batches.Batches(iter(pages))] == [9, 9, 0]


@pytest.mark.usefixtures("_batches_of_one_page")
def test_a_job_that_comes_with_two_batches_of_a_first_listing_is_stored_once(
    etl: Etl, world: World, membership: Membership, jobs: list[Job], endpoint: Endpoint
) -> None:
    def move() -> None:
        world.create_job(membership)
        world.set_status(jobs[-1], "CREATE_IN_PROGRESS")

    between(endpoint, 2, move)
    report = etl.sync()
    assert (report.outcome, report.counts.jobs_listed) == ("complete", len(jobs) + 1)
    assert (report.counts.jobs_new, report.counts.jobs_changed) == (len(jobs), 1)
    assert (report.counts.transitions, report.counts.jobs_unchanged) == (len(jobs) + 1, 0)
    assert stored(etl) == {"first", "second", "third"}


def test_a_job_that_comes_twice_does_not_stand_for_one_that_is_missing(
    etl: Etl, world: World, membership: Membership, jobs: list[Job], endpoint: Endpoint
) -> None:
    assert outcome(etl) == ("complete", None)
    world.remove(membership, jobs[0])
    between(endpoint, 2, lambda: world.create_job(membership))
    assert outcome(etl) == ("complete", None)
    assert etl.query("SELECT name FROM cleanrooms_etl.inference_job WHERE absent_listings = 1") == [
        {"name": "first"}
    ]


def test_a_job_that_changes_between_two_sights_of_it_has_its_newer_state(
    etl: Etl, world: World, membership: Membership, jobs: list[Job], endpoint: Endpoint
) -> None:
    def move() -> None:
        world.create_job(membership)
        world.set_status(jobs[2], "CREATE_IN_PROGRESS")
        world.edit(jobs[2], name="moved")

    between(endpoint, 2, move)
    assert outcome(etl) == ("complete", None)
    assert etl.query("SELECT status FROM cleanrooms.inference_jobs WHERE name = 'moved'") == [
        {"status": "CREATE_IN_PROGRESS"}
    ]


@pytest.mark.usefixtures("_batches_of_one_page")
def test_of_two_states_of_one_moment_the_later_read_stands_whatever_was_stored_before(
    etl: Etl, world: World, membership: Membership, jobs: list[Job], endpoint: Endpoint
) -> None:
    def move() -> None:
        world.create_job(membership)
        world.edit(jobs[1], touch=False, name="after")

    for page in (3, 4):  # the job is shown on it once more: the last sync has stored what it shows here
        world.edit(jobs[1], touch=False, name="before")
        between(endpoint, page, move)
        assert outcome(etl) == ("complete", None)
        assert "after" in stored(etl)


def test_a_job_that_is_missed_because_another_went_is_not_concluded_absent(
    etl: Etl, world: World, membership: Membership, jobs: list[Job], endpoint: Endpoint
) -> None:
    assert outcome(etl) == ("complete", None)
    for _ in range(2):  # the newest goes, and the page behind it moves up by one: the second is on no page
        between(endpoint, 2, lambda: world.remove(membership, jobs[2]))
        assert outcome(etl) == ("complete", None)
        endpoint.before_page = None
        world.put_back(membership, jobs[2])
    assert stored(etl) == {"first", "second", "third"}
    assert endpoint.counts[JOB] == 1  # asked for the one missed twice, which is there
