"""Quick sweeps: few requests, the history that full ones would record, and what turns one into a full one."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest
from botocore.retries import standard
from conftest import MINUTE, Etl, MakeEtl
from faults.proxy import Cut, Proxy
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from test_daemon import running

from etl import database, pace, quick, verify, writer
from etl.config import Database
from etl.demo.answers import Answer, Reply, error
from etl.demo.clock import real_time
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import Request
from etl.demo.resources import Job, to_json
from etl.demo.world import World
from etl.order import NewestFirst
from etl.run import Progress, StoppedError
from etl.sync import SyncReport, sync_membership

LIST = "ListTrainedModelInferenceJobs"
GET = "GetTrainedModelInferenceJob"
PAGE = 10
OLD = 100
"""Jobs that are there and done before a test begins: ten pages."""

AWS = {"page_size": PAGE, "max_concurrency": 1}
"""With one request at a time no full listing is split, however slow the machine is."""

QUICKLY = {"full_every": "6h"}
PATIENCE = 60  # seconds that a test waits for another process before it fails
LIFE = {
    "CREATE_PENDING": ("CREATE_IN_PROGRESS", "CREATE_FAILED", "CANCEL_PENDING"),
    "CREATE_IN_PROGRESS": ("ACTIVE", "CREATE_FAILED", "CANCEL_PENDING"),
    "CANCEL_PENDING": ("CANCEL_IN_PROGRESS",),
    "CANCEL_IN_PROGRESS": ("INACTIVE", "CANCEL_FAILED"),
}
"""What may follow each open status."""


@pytest.fixture(autouse=True)
def _no_pause_between_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda *_: 0)


@pytest.fixture
def world() -> World:
    """A world that runs by real time: windows are about moments of our own, too."""
    return World(random=Random(11))  # noqa: S311 - a simulation


@pytest.fixture
def membership(world: World) -> Membership:
    """A membership with many jobs that are done, one a minute until an hour ago."""
    membership = world.add_membership()
    add_old(world, membership, OLD)
    return membership


@pytest.fixture
def etl(make_etl: MakeEtl, membership: Membership, endpoint: Endpoint) -> Etl:
    """The product, with quick sweeps, once it has listed all of it."""
    assert membership
    etl = make_etl(aws=AWS, sync=QUICKLY)
    assert kinds(etl.sync()) == ("complete", "full")
    endpoint.forget_requests()
    return etl


@pytest.fixture
def paged_by_hundreds(make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint) -> Etl:
    """The product with pages as large as AWS gives them, once it has listed five."""
    assert endpoint
    add_old(world, membership, 500 - OLD)
    etl = make_etl(aws={"max_concurrency": 1}, sync=QUICKLY)
    assert kinds(etl.sync()) == ("complete", "full")
    return etl


def add_old(world: World, membership: Membership, number: int) -> list[Job]:
    first = real_time() - timedelta(hours=1) - number * MINUTE
    born = [first + nth * MINUTE for nth in range(number)]
    return [world.create_job(membership, status="ACTIVE", create_time=each, update_time=each) for each in born]


def kinds(report: SyncReport) -> tuple[str, str]:
    return report.outcome, report.kind


def sync_full(etl: Etl) -> SyncReport:
    return sync_membership(etl.config, etl.config.memberships[0], full=True)


def asked(endpoint: Endpoint, work: Callable[[], SyncReport], kind: str = "quick") -> tuple[int, int]:
    """Count the pages and the single jobs that a complete sweep asks for."""
    endpoint.forget_requests()
    assert kinds(work()) == ("complete", kind)
    counts = endpoint.counts
    assert sum(counts.values()) == counts[LIST] + counts[GET]
    return counts[LIST], counts[GET]


def stored(etl: Etl, job: Job) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms_etl.inference_job WHERE job_arn = :arn", arn=job.arn)[0]


def history(etl: Etl) -> dict[str, list[dict[str, Any]]]:
    rows = etl.query(
        "SELECT job_arn, changed_time, from_status, from_time, to_status, time_basis, not_before, observed_at"
        " FROM cleanrooms_etl.status_transition JOIN cleanrooms_etl.inference_job USING (job_key)"
        " ORDER BY job_arn, changed_time"
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.pop("job_arn"), []).append(row)
    return found


def last(etl: Etl, job: Job) -> dict[str, Any]:
    return history(etl)[job.arn][-1]


def listed(etl: Etl) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms_etl.membership")[0]


def runs(etl: Etl) -> list[dict[str, Any]]:
    return etl.query("SELECT * FROM cleanrooms_etl.sync_run ORDER BY run_id")


def broken_rules(etl: Etl) -> list[str]:
    with database.connect(etl.config.database.address()) as connection:
        return [finding.check.name for finding in verify.findings(connection) if finding.broken]


def known(etl: Etl) -> set[str]:
    return {row["job_arn"] for row in etl.query("SELECT job_arn FROM cleanrooms_etl.inference_job")}


def all_jobs(world: World, membership: Membership) -> set[str]:
    return {job.arn for job in world.jobs(membership)}


def stop_after(pages: int) -> Callable[[Progress], None]:
    """Make a watcher that ends a sync once so many pages have come."""

    def watch(progress: Progress) -> None:
        if progress.jobs_listed >= pages * PAGE:
            raise StoppedError

    return watch


# Requests


def test_five_open_jobs_and_twenty_changes_take_three_requests(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    add_old(world, membership, 1_900)
    etl = make_etl(aws={"max_concurrency": 1}, sync=QUICKLY)
    five = [world.create_job(membership) for _ in range(5)]
    assert asked(endpoint, etl.sync, "full") == (21, 0)
    for job in five:
        world.set_status(job, "CREATE_IN_PROGRESS")
    for status in ("CREATE_PENDING", "CREATE_IN_PROGRESS", "ACTIVE", "CREATE_FAILED") * 5:
        world.create_job(membership, status=status)
    pages, questions = asked(endpoint, etl.sync)
    assert pages + questions <= 3
    assert known(etl) == all_jobs(world, membership)
    assert {stored(etl, job)["status"] for job in five} == {"CREATE_IN_PROGRESS"}
    assert broken_rules(etl) == []


def test_where_nothing_is_open_and_nothing_new_one_page_does(etl: Etl, endpoint: Endpoint) -> None:
    before = history(etl)
    rows = etl.query("SELECT xmin::text, job_key FROM cleanrooms_etl.inference_job ORDER BY job_key")
    assert asked(endpoint, etl.sync) == (1, 0)
    assert history(etl) == before
    assert etl.query("SELECT xmin::text, job_key FROM cleanrooms_etl.inference_job ORDER BY job_key") == rows


def test_it_reads_on_while_pages_tell_anything_new(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    for _ in range(2 * PAGE + 1):
        world.create_job(membership, status="ACTIVE")
    assert asked(endpoint, etl.sync) == (4, 0)
    assert known(etl) == all_jobs(world, membership)


@pytest.mark.parametrize(("born", "pages"), [(50, 1), (51, 2)])
def test_fifty_known_jobs_at_the_end_of_a_page_are_enough(
    paged_by_hundreds: Etl, world: World, membership: Membership, endpoint: Endpoint, born: int, pages: int
) -> None:
    for _ in range(born):
        world.create_job(membership, status="ACTIVE")
    assert asked(endpoint, paged_by_hundreds.sync) == (pages, 0)
    assert known(paged_by_hundreds) == all_jobs(world, membership)


def test_it_reads_on_where_news_stands_among_the_last_fifty_of_a_page(
    paged_by_hundreds: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    edited = world.jobs(membership)[-60]
    world.edit(edited, name="renamed")
    assert asked(endpoint, paged_by_hundreds.sync) == (2, 0)
    assert stored(paged_by_hundreds, edited)["name"] == "renamed"


def test_an_open_job_that_has_changed_is_expected_and_ends_the_sweep_all_the_same(
    paged_by_hundreds: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    running = world.jobs(membership)[-90]
    world.set_status(running, "CANCEL_PENDING")
    assert kinds(sync_full(paged_by_hundreds)) == ("complete", "full")
    world.set_status(running, "INACTIVE")
    world.create_job(membership, status="ACTIVE")
    assert asked(endpoint, paged_by_hundreds.sync) == (1, 0)
    assert stored(paged_by_hundreds, running)["status"] == "INACTIVE"
    assert known(paged_by_hundreds) == all_jobs(world, membership)


def test_items_that_are_written_otherwise_and_tell_the_same_are_no_news(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    for job in world.jobs(membership):
        world.override(job, {"createTime": job.create_time.isoformat()})
    assert asked(endpoint, etl.sync) == (1, 0)
    assert asked(endpoint, etl.sync) == (1, 0)


@pytest.mark.parametrize(("pushed", "pages"), [(50, 2), (51, 3)])
def test_what_newer_jobs_push_to_the_next_page_is_not_counted_among_the_fifty(
    paged_by_hundreds: Etl, world: World, membership: Membership, endpoint: Endpoint, pushed: int, pages: int
) -> None:

    def create(number: int) -> None:
        for _ in range(number):
            world.create_job(membership, status="ACTIVE")

    create(100)
    before_page(endpoint, 2, lambda: create(pushed))
    assert asked(endpoint, paged_by_hundreds.sync) == (pages, 0)


@pytest.mark.parametrize(
    ("places", "requests"),
    [
        ([55], (1, 1)),
        ([15], (1, 1)),
        ([11, 12], (2, 0)),
        ([11, 12, 13, 95], (2, 1)),
        ([35, 36, 37, 38, 39], (4, 0)),
        ([75, 76, 77], (1, 3)),
    ],
)
def test_open_jobs_deep_in_the_list_are_asked_for_only_where_that_is_cheaper(
    make_etl: MakeEtl,
    world: World,
    membership: Membership,
    endpoint: Endpoint,
    places: list[int],
    requests: tuple[int, int],
) -> None:
    newest_first = list(reversed(world.jobs(membership)))
    for place in places:
        world.set_status(newest_first[place], "CANCEL_PENDING")
    etl = make_etl(aws=AWS, sync=QUICKLY)
    assert etl.sync().kind == "full"
    assert asked(endpoint, etl.sync) == requests


def test_open_jobs_that_were_created_at_one_moment_are_looked_for_where_the_last_of_them_may_stand(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    now = real_time()
    for _ in range(25):
        world.create_job(membership, create_time=now)
    etl = make_etl(aws=AWS, sync=QUICKLY)
    assert etl.sync().kind == "full"
    assert asked(endpoint, etl.sync) == (3, 0)


def test_what_get_tells_is_stored_with_its_window_and_the_next_full_listing_writes_its_digest_once(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    deep = world.jobs(membership)[3]
    world.set_status(deep, "CANCEL_PENDING")
    assert kinds(sync_full(etl)) == ("complete", "full")
    assert asked(endpoint, etl.sync) == (1, 1)
    quick_run = runs(etl)[-1]
    world.set_status(deep, "CANCEL_IN_PROGRESS", details=("WAIT", "told by Get alone"))
    assert asked(endpoint, etl.sync) == (1, 1)
    moved = last(etl, deep)
    assert (moved["to_status"], moved["time_basis"]) == ("CANCEL_IN_PROGRESS", "update_time")
    assert moved["not_before"] == quick_run["started_at"] < deep.update_time == moved["changed_time"]
    assert (runs(etl)[-1]["jobs_changed"], runs(etl)[-1]["transitions"]) == (1, 1)
    before, world_before = history(etl), stored(etl, deep)
    assert kinds(sync_full(etl)) == ("complete", "full")
    settled = stored(etl, deep)
    assert (world_before["digest"], settled["digest"] is not None, settled["last_listed_at"]) == (None, True, None)
    assert kinds(sync_full(etl)) == ("complete", "full")
    assert stored(etl, deep)["changed_at"] == settled["changed_at"]
    assert history(etl) == before
    assert etl.query("SELECT * FROM cleanrooms_etl.job_edit") == []
    assert broken_rules(etl) == []


def test_what_get_tells_keeps_fields_that_this_release_does_not_know(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    deep = world.jobs(membership)[3]
    world.set_status(deep, "CANCEL_PENDING")
    world.override(deep, {"newField": {"a": [1, None]}, "description": "für Jürgen"})
    sync_full(etl)
    world.set_status(deep, "CANCEL_IN_PROGRESS")
    assert asked(endpoint, etl.sync) == (1, 1)
    assert stored(etl, deep)["extra"] == {"newField": {"a": [1, None]}}
    edits = etl.query("SELECT * FROM cleanrooms_etl.job_edit")
    sync_full(etl)
    assert etl.query("SELECT * FROM cleanrooms_etl.job_edit") == edits


def test_a_short_listing_is_read_whole(make_etl: MakeEtl, world: World, endpoint: Endpoint) -> None:
    add_old(world, world.add_membership(), 3 * PAGE)
    etl = make_etl(aws=AWS, sync=QUICKLY)
    assert etl.sync().kind == "full"
    assert asked(endpoint, etl.sync, "full") == (3, 0)


places_of_open_jobs = st.lists(st.integers(0, 200), min_size=1, max_size=6)


@given(places_of_open_jobs, st.integers(1, 8), st.integers(1, 12))
def test_it_asks_at_once_where_no_other_plan_takes_fewer_requests(
    places: list[int], pages: int, page_size: int
) -> None:
    """A plan: read on to some page, then ask for each job that has not been listed by then."""

    def requests(more: int) -> int:
        read = range(pages * page_size, (pages + more) * page_size)
        return more + sum(place not in read for place in places)

    best = min(requests(more) for more in range(1, 202))
    assert quick.is_cheaper_to_ask(places, pages, page_size) is (len(places) <= best)


pages_of_moments = st.lists(st.lists(st.integers(0, 9), max_size=3))


def is_sorted_down(moments: list[int]) -> bool:
    return moments == sorted(moments, reverse=True)


@given(pages_of_moments)
def test_a_listing_comes_newest_first_only_where_no_job_is_newer_than_the_one_before(
    listing: list[list[int]],
) -> None:
    order = NewestFirst()
    before: list[int] = []
    is_falling = True
    for page in listing:
        order.take(page)
        went_on = [*before[-1:], *(moment for moment in page if moment not in before)]
        is_falling = is_falling and all(is_sorted_down(part) for part in (page, went_on))
        before = page or before
        assert is_falling or not order.holds


@given(st.lists(st.integers(0, 9)), st.integers(1, 3), st.lists(st.integers(0, 3)))
def test_a_listing_comes_newest_first_though_new_jobs_push_others_down(
    moments: list[int], page_size: int, arriving: list[int]
) -> None:
    jobs = sorted(moments, reverse=True)
    order = NewestFirst()
    for number, new in enumerate(arriving):
        order.take(jobs[number * page_size : (number + 1) * page_size])
        assert order.holds
        jobs = [10 + number] * min(new, page_size) + jobs


@pytest.mark.parametrize(
    ("page", "is_in_order"),
    [
        ([7, 5, 5, 4], True),
        ([5, 5, 4], True),
        ([5, 4], True),
        ([7, 5, 4], False),  # one of two that were created at once
        ([7, 4], False),
        ([7], False),
        ([9, 7, 5, 5], False),
        ([9, 8, 7, 5, 5], True),
    ],
)
def test_a_page_that_repeats_a_part_of_the_end_of_the_page_before_is_out_of_order(
    page: list[int], is_in_order: bool
) -> None:
    order = NewestFirst()
    order.take([9, 8, 7, 5, 5])
    order.take(page)
    assert order.holds is is_in_order


def test_where_all_pages_tell_something_new_the_listing_is_read_once(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    for job in world.jobs(membership):
        world.edit(job, description="new")
    assert asked(endpoint, etl.sync, "full") == (10, 0)


# History and windows


@pytest.fixture
def twin(make_etl: MakeEtl, membership: Membership, empty_database_url: str) -> Etl:
    """The product with another database, which is swept fully each time."""
    assert membership
    with database.connect(empty_database_url) as connection:
        database.upgrade(connection)
    twin = make_etl(aws=AWS, database={"url": empty_database_url})
    assert kinds(twin.sync()) == ("complete", "full")
    return twin


class Moving:
    """A world that moves at random, as far as quick sweeps promise to follow: new jobs, and open ones."""

    def __init__(self, world: World, membership: Membership, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - a simulation
        self._world = world
        self._membership = membership
        for job in self._random.sample(world.jobs(membership), 3):
            world.set_status(job, "CANCEL_PENDING")  # open, and deep in the list

    def go_on(self) -> None:
        for _ in range(self._random.choice([0, 0, 1, 2, 4, 25])):
            self._world.create_job(self._membership, status=self._random.choice([*LIFE, "ACTIVE"]))
        for job in self._world.open_jobs(self._membership):
            while job.is_open and self._random.random() < 0.3:
                Event().wait(0.002)  # AWS tells whole milliseconds: no two changes at one moment
                self._world.set_status(job, self._random.choice(LIFE[job.status]))
            if self._random.random() < 0.15:
                Event().wait(0.002)
                self._world.edit(job, description=f"note {self._random.random()}")


def check_windows_hold_the_truth(etl: Etl, jobs: list[Job]) -> None:
    told = history(etl)
    for job in jobs:
        moments = dict(job.truth)
        ends = {status: moment for (status, _), (_, moment) in pairwise(job.truth)}
        for moved in told[job.arn][1:]:
            assert moved["not_before"] <= ends[moved["from_status"]]
            assert moments[moved["to_status"]] <= moved["changed_time"]


def since_round(rounds: list[datetime], moment: datetime) -> int:
    """Return how many rounds of sweeps had begun at that moment."""
    return sum(began <= moment for began in rounds)


@pytest.mark.parametrize("seed", range(3))
def test_the_history_is_that_of_full_sweeps_and_its_windows_are_as_narrow_and_hold_the_truth(
    etl: Etl, twin: Etl, world: World, membership: Membership, endpoint: Endpoint, seed: int
) -> None:
    moving = Moving(world, membership, seed)
    rounds = [real_time()]
    sync_full(etl)
    twin.sync()
    requests = 0
    for _ in range(6):
        moving.go_on()
        rounds.append(real_time())
        endpoint.forget_requests()
        assert kinds(etl.sync()) == ("complete", "quick")
        requests += len(endpoint.requests)
        assert kinds(twin.sync()) == ("complete", "full")
        mine, others = history(etl), history(twin)
        assert mine.keys() == others.keys() == all_jobs(world, membership)
        for arn, moves in mine.items():
            for one, other in zip(moves, others[arn], strict=True):
                own = ("changed_time", "from_status", "from_time", "to_status", "time_basis")
                assert [one[name] for name in own] == [other[name] for name in own]
                assert since_round(rounds, one["not_before"]) == since_round(rounds, other["not_before"])
    check_windows_hold_the_truth(etl, world.jobs(membership))
    check_windows_hold_the_truth(twin, world.jobs(membership))
    assert requests < 6 * 10
    assert kinds(sync_full(etl)) == ("complete", "full")
    facts = "SELECT * FROM cleanrooms.inference_jobs ORDER BY job_arn"
    ours = {"first_seen_at", "changed_at", "age_seconds"}
    for one, other in zip(etl.query(facts), twin.query(facts), strict=True):
        assert {name: one[name] for name in one if name not in ours} == {
            name: other[name] for name in other if name not in ours
        }
    assert broken_rules(etl) == broken_rules(twin) == []


def test_the_views_take_a_quick_sweep_for_a_witness_of_open_jobs_alone(
    etl: Etl, world: World, membership: Membership
) -> None:
    job = world.create_job(membership, status="CREATE_IN_PROGRESS")
    done = world.jobs(membership)[50]
    for _ in range(3):
        assert kinds(etl.sync()) == ("complete", "quick")
    first, *_, latest = runs(etl)
    lower = "SELECT seconds_lower FROM cleanrooms.status_durations WHERE job_arn = :arn"
    for each, witness in ((job, latest), (done, first)):
        [told] = etl.query(lower, arn=each.arn)
        surely = (witness["started_at"] - each.update_time).total_seconds()
        assert told["seconds_lower"] == pytest.approx(surely, abs=1e-3)
    [fresh] = etl.query("SELECT * FROM cleanrooms.sync_freshness")
    assert (fresh["state"], fresh["last_complete_at"], fresh["last_full_at"]) == (
        "ok",
        latest["started_at"],
        first["started_at"],
    )


def test_a_quick_sweep_is_no_witness_of_a_job_that_was_not_open(
    etl: Etl, world: World, membership: Membership
) -> None:
    deep = world.jobs(membership)[50]
    assert kinds(etl.sync()) == ("complete", "quick")
    world.set_status(deep, "CANCEL_PENDING")
    assert kinds(sync_full(etl)) == ("complete", "full")
    assert last(etl, deep)["not_before"] == runs(etl)[0]["started_at"]


# What forbids a quick sweep


def let_pass(etl: Etl, hours: float) -> None:
    etl.execute(
        "UPDATE cleanrooms_etl.membership SET listed_at = listed_at - make_interval(secs => :seconds)",
        seconds=3_600 * hours,
    )


def test_a_full_listing_comes_when_full_every_is_over(etl: Etl) -> None:
    let_pass(etl, 5.9)
    assert kinds(etl.sync()) == ("complete", "quick")
    let_pass(etl, 0.2)
    assert kinds(etl.sync()) == ("complete", "full")
    assert kinds(etl.sync()) == ("complete", "quick")


def test_quick_sweeps_do_not_put_off_the_full_one(etl: Etl) -> None:
    before = listed(etl)
    etl.sync()
    after = listed(etl)
    assert (before["listed_at"], before["unsplit_at"]) == (after["listed_at"], after["unsplit_at"])
    assert before["open_listed_at"] < after["open_listed_at"] == runs(etl)[-1]["started_at"]


def test_a_full_one_can_be_asked_for(etl: Etl, endpoint: Endpoint) -> None:
    assert asked(endpoint, lambda: sync_full(etl), "full") == (10, 0)


def test_without_full_every_there_is_none(make_etl: MakeEtl, membership: Membership) -> None:
    assert membership
    etl = make_etl(aws=AWS, sync={"full_every": "0s"})
    assert [etl.sync().kind for _ in range(3)] == ["full"] * 3


def test_where_aws_lists_the_oldest_first_there_is_none(
    make_etl: MakeEtl, world: World, membership: Membership
) -> None:
    assert membership
    world.newest_first = False
    etl = make_etl(aws=AWS, sync=QUICKLY)
    assert [etl.sync().kind for _ in range(2)] == ["full"] * 2
    assert listed(etl)["newest_first"] is False
    world.newest_first = True
    assert [etl.sync().kind for _ in range(2)] == ["full", "quick"]


def test_one_job_out_of_order_deep_in_the_list_is_enough_for_none(
    etl: Etl, world: World, membership: Membership
) -> None:
    jobs = world.jobs(membership)
    world.override(jobs[5], {"createTime": to_wire(jobs[7].create_time)})
    assert kinds(sync_full(etl)) == ("complete", "full")
    assert listed(etl)["newest_first"] is False
    assert kinds(etl.sync()) == ("complete", "full")


def to_wire(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def with_filter(make_etl: MakeEtl, membership: Membership, **wanted: str) -> Etl:
    only = {"id": membership.id, "region": membership.region, **wanted}
    return make_etl(memberships=[only], aws=AWS, sync=QUICKLY)


def test_another_filter_asks_for_a_full_one(
    etl: Etl, make_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    [model] = membership.models
    filtered = with_filter(make_etl, membership, trained_model_arn=model.arn)
    assert asked(endpoint, filtered.sync, "full") == (10, 0)
    assert asked(endpoint, filtered.sync) == (1, 0)
    assert asked(endpoint, etl.sync, "full") == (10, 0)
    assert asked(endpoint, etl.sync) == (1, 0)


def test_a_filtered_listing_minds_the_open_jobs_of_its_own_scope(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    other = world.add_trained_model(membership, "another")
    stranger, own = world.create_job(membership, other), world.create_job(membership)
    unfiltered = make_etl(aws=AWS, sync=QUICKLY)
    assert unfiltered.sync().kind == "full"
    filtered = with_filter(make_etl, membership, trained_model_arn=membership.models[0].arn)
    assert filtered.sync().kind == "full"
    for job in (stranger, own):
        world.set_status(job, "CREATE_IN_PROGRESS")
    assert asked(endpoint, filtered.sync) == (1, 0)
    assert (stored(filtered, own)["status"], stored(filtered, stranger)["status"]) == (
        "CREATE_IN_PROGRESS",
        "CREATE_PENDING",
    )
    seen = listed(filtered)["listed_at"]
    assert unfiltered.sync().kind == "full"
    assert last(unfiltered, stranger)["not_before"] < seen


# Runs that end early


def test_a_sweep_that_was_stopped_between_its_pages_hides_nothing(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    for _ in range(3 * PAGE):
        world.create_job(membership, status="ACTIVE")
    report = sync_membership(etl.config, etl.config.memberships[0], stop_after(2))
    assert (report.outcome, report.error_class) == ("partial", "Stopped")
    assert len(known(etl)) < OLD + 3 * PAGE
    assert asked(endpoint, etl.sync, "full")[0] >= 13
    assert known(etl) == all_jobs(world, membership)
    assert kinds(etl.sync()) == ("complete", "quick")


def test_a_sweep_to_which_aws_answered_no_more_hides_nothing(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    for _ in range(3 * PAGE):
        world.create_job(membership, status="ACTIVE")
    endpoint.on(lambda request: "nextToken" in request.query, error("AccessDeniedException"))
    assert etl.sync().outcome == "partial"
    assert kinds(etl.sync()) == ("complete", "full")
    assert known(etl) == all_jobs(world, membership)


def test_a_sweep_that_failed_before_its_first_page_leaves_nothing_open(etl: Etl, endpoint: Endpoint) -> None:
    endpoint.on(LIST, error("AccessDeniedException"))
    assert etl.sync().outcome == "failed"
    assert kinds(etl.sync()) == ("complete", "quick")


def test_a_full_listing_that_ended_early_asks_for_another(etl: Etl, world: World, membership: Membership) -> None:
    world.create_job(membership)
    report = sync_membership(etl.config, etl.config.memberships[0], stop_after(4), full=True)
    assert report.outcome == "partial"
    assert kinds(etl.sync()) == ("complete", "full")
    assert kinds(etl.sync()) == ("complete", "quick")


def test_what_is_still_due_stays_so_when_the_next_run_fails(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    world.create_job(membership)
    sync_membership(etl.config, etl.config.memberships[0], stop_after(1))
    endpoint.on(LIST, error("AccessDeniedException"))
    assert etl.sync().outcome == "failed"
    assert kinds(etl.sync()) == ("complete", "full")


SYNC = "from etl.cli import main; main()"


@pytest.fixture
def killed(etl: Etl, world: World, membership: Membership, endpoint: Endpoint, tmp_path: Path) -> Etl:
    """The product, after a process of it was killed when it asked for the third page of four with new jobs."""
    for _ in range(4 * PAGE):
        world.create_job(membership, status="ACTIVE")
    file = tmp_path / "etl.toml"
    entry = etl.config.memberships[0]
    file.write_text(
        f"database.url = {json.dumps(etl.config.database.address())}\n"
        f'aws = {{ endpoint_url = "{endpoint.url}", page_size = {PAGE}, max_concurrency = 1 }}\n'
        f'membership = [{{ id = "{entry.id}", region = "{entry.region}" }}]\n'
    )
    argv = [sys.executable, "-c", SYNC, "sync", "--config", str(file)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - every word of it is ours
        before_page(endpoint, 3, process.kill)
        assert process.wait(PATIENCE) == -signal.SIGKILL
    endpoint.before_page = None
    return etl


def before_page(endpoint: Endpoint, number: int, work: Callable[[], object]) -> None:
    """Do something once, right before the endpoint reads its nth page from now on."""
    pages: list[Request] = []

    def hook(request: Request) -> None:
        pages.append(request)
        if len(pages) == number:
            work()

    endpoint.before_page = hook


def sync_when_free(work: Callable[[], SyncReport]) -> SyncReport:
    """Sync as soon as the server has noticed that the session before it is gone."""
    for _ in range(PATIENCE * 50):
        if (report := work()).outcome != "busy":
            return report
        Event().wait(0.02)
    raise AssertionError("still busy")


def test_a_sweep_that_was_killed_between_its_pages_hides_nothing(
    killed: Etl, world: World, membership: Membership
) -> None:
    assert OLD < len(known(killed)) < OLD + 4 * PAGE
    assert kinds(sync_when_free(killed.sync)) == ("complete", "full")
    assert known(killed) == all_jobs(world, membership)
    assert [run["outcome"] for run in runs(killed)] == ["complete", "abandoned", "complete"]
    assert broken_rules(killed) == []


def test_after_a_killed_sweep_one_that_fails_leaves_the_full_one_due(
    killed: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.on(LIST, error("AccessDeniedException"))
    assert sync_when_free(killed.sync).outcome == "failed"
    assert kinds(killed.sync()) == ("complete", "full")
    assert known(killed) == all_jobs(world, membership)


def test_jobs_that_push_others_down_while_it_reads_hide_nothing(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    """The second page is the first once more, and known by then; what is new stands behind it."""
    for _ in range(2 * PAGE):
        world.create_job(membership, status="ACTIVE")

    def push() -> None:
        for _ in range(PAGE):
            world.create_job(membership, status="ACTIVE")

    before_page(endpoint, 2, push)
    assert kinds(etl.sync()) == ("complete", "quick")
    assert kinds(etl.sync()) == ("complete", "quick")
    assert known(etl) == all_jobs(world, membership)


class Disturbed:
    """Syncs that are stopped, refused or overrun by new jobs, at random."""

    def __init__(self, etl: Etl, world: World, membership: Membership, endpoint: Endpoint, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - a simulation
        self._etl = etl
        self._world = world
        self._membership = membership
        self._endpoint = endpoint

    def create(self) -> None:
        for _ in range(self._random.choice([0, 1, 5, PAGE, 3 * PAGE])):
            self._world.create_job(self._membership, status=self._random.choice(["ACTIVE", "CREATE_PENDING"]))

    def finish_some(self) -> None:
        for job in self._world.open_jobs(self._membership):
            if self._random.random() < 0.5:
                self._world.set_status(job, "CREATE_FAILED")

    def sync(self) -> SyncReport:
        self._endpoint.forget_plan()
        self._endpoint.before_page = None
        watch: Callable[[Progress], None] = stop_after(1_000)
        match self._random.choice(["stop", "refuse", "push", "push", "nothing", "nothing"]):
            case "stop":
                watch = stop_after(self._random.randint(1, 4))
            case "refuse":
                self._endpoint.on(self._nth_page(self._random.randint(1, 5)), error("AccessDeniedException"))
            case "push":
                before_page(self._endpoint, self._random.randint(1, 4), self.create)
        return sync_membership(self._etl.config, self._etl.config.memberships[0], watch)

    @staticmethod
    def _nth_page(number: int) -> Callable[[Request], bool]:
        pages = iter(range(1, 10_000))
        return lambda request: request.operation == LIST and next(pages) == number


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happened_before_a_complete_sweep_leaves_no_job_hidden(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint, seed: int
) -> None:
    disturbed = Disturbed(etl, world, membership, endpoint, seed)
    told: list[tuple[str, str]] = []
    for _ in range(15):
        disturbed.create()
        disturbed.finish_some()
        before = all_jobs(world, membership)
        told.append(kinds(disturbed.sync()))
        if told[-1][0] == "complete":
            assert before <= known(etl)
    assert {("complete", "full"), ("complete", "quick")} < set(told)
    assert broken_rules(etl) == []


# Oddities that turn it into a full one


def test_a_head_out_of_order_is_read_on_to_the_end(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    new = [world.create_job(membership) for _ in range(2)]
    world.override(new[1], {"createTime": to_wire(new[0].create_time - MINUTE)})
    assert asked(endpoint, etl.sync, "full") == (11, 0)
    assert listed(etl)["newest_first"] is False
    assert kinds(etl.sync()) == ("complete", "full")


def test_an_older_state_of_a_job_is_read_on_from(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    newest = world.jobs(membership)[-1]
    world.set_status(newest, "CREATE_IN_PROGRESS", update_time=newest.update_time - MINUTE)
    assert asked(endpoint, etl.sync, "full") == (10, 0)
    assert stored(etl, newest)["status"] == "ACTIVE"
    assert kinds(etl.sync()) == ("complete", "full")
    assert kinds(etl.sync()) == ("complete", "full")
    assert stored(etl, newest)["status"] == "CREATE_IN_PROGRESS"  # the third that says so is believed


def test_an_older_state_deep_in_the_list_is_looked_for_by_full_listings_until_it_is_believed(
    etl: Etl, world: World, membership: Membership
) -> None:
    deep = world.jobs(membership)[50]
    world.set_status(deep, "CREATE_IN_PROGRESS", update_time=deep.update_time - MINUTE)
    assert kinds(sync_full(etl)) == ("complete", "full")
    assert [kinds(etl.sync()) for _ in range(2)] == [("complete", "full")] * 2
    assert stored(etl, deep)["status"] == "CREATE_IN_PROGRESS"


def test_a_malformed_item_is_read_on_from(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    broken = world.put_raw(membership, {"broken": True})
    report = etl.sync()
    assert (report.outcome, report.kind, report.error_class) == ("partial", "full", "RejectedItems")
    assert endpoint.counts[LIST] == 11
    world.remove(membership, broken)
    assert kinds(etl.sync()) == ("complete", "full")
    assert kinds(etl.sync()) == ("complete", "quick")


@pytest.fixture
def deep(etl: Etl, world: World, membership: Membership, endpoint: Endpoint) -> Job:
    """An open job on the last page of the listing."""
    deep = world.jobs(membership)[3]
    world.set_status(deep, "CANCEL_PENDING")
    sync_full(etl)
    endpoint.forget_requests()
    return deep


def without_arn(request: Request) -> Answer:
    assert request.resource
    return Reply(b'{"status": "ACTIVE"}')


@pytest.mark.parametrize(
    "answer",
    [
        error("AccessDeniedException"),
        error("ResourceNotFoundException"),
        error("ValidationException"),
        Reply(b"<html>"),
        without_arn,
    ],
)
def test_where_get_tells_nothing_the_listing_is_read_on(
    etl: Etl, world: World, deep: Job, endpoint: Endpoint, answer: Answer
) -> None:
    world.set_status(deep, "INACTIVE")
    endpoint.on(GET, answer, times=None)
    assert kinds(etl.sync()) == ("complete", "full")
    assert endpoint.counts[LIST] == 10
    assert stored(etl, deep)["status"] == "INACTIVE"
    assert broken_rules(etl) == []


def get_tells(endpoint: Endpoint, job: Job, **fields: object) -> None:
    endpoint.on(GET, Reply(to_json(job.details() | fields)))


def test_an_older_state_that_get_tells_is_not_taken(etl: Etl, deep: Job, endpoint: Endpoint) -> None:
    get_tells(endpoint, deep, status="ACTIVE", updateTime=to_wire(deep.update_time - MINUTE))
    assert kinds(etl.sync()) == ("complete", "full")
    assert stored(etl, deep)["status"] == "CANCEL_PENDING"


def test_the_answer_about_another_job_is_not_taken(
    etl: Etl, world: World, membership: Membership, deep: Job, endpoint: Endpoint
) -> None:
    another = world.jobs(membership)[4]
    assert another is not deep
    get_tells(endpoint, another, updateTime=to_wire(deep.update_time))  # no older than what is stored
    assert kinds(etl.sync()) == ("complete", "full")


def test_an_answer_of_get_that_is_no_job_is_not_taken(etl: Etl, deep: Job, endpoint: Endpoint) -> None:
    get_tells(endpoint, deep, createTime="yesterday")
    assert kinds(etl.sync()) == ("complete", "full")


def test_another_status_with_the_same_update_time_is_recorded_as_observed(
    etl: Etl, world: World, deep: Job, endpoint: Endpoint
) -> None:
    before = listed(etl)["open_listed_at"]
    world.set_status(deep, "CANCEL_IN_PROGRESS", update_time=deep.update_time)
    assert asked(endpoint, etl.sync) == (1, 1)
    moved = last(etl, deep)
    assert (moved["to_status"], moved["time_basis"]) == ("CANCEL_IN_PROGRESS", "observed")
    assert before <= moved["not_before"] <= dict(deep.truth)["CANCEL_IN_PROGRESS"] <= moved["changed_time"]


def test_an_open_job_that_is_gone_is_looked_for_by_full_listings_until_that_is_concluded(
    etl: Etl, world: World, membership: Membership, deep: Job, endpoint: Endpoint
) -> None:
    world.remove(membership, deep)
    assert kinds(etl.sync()) == ("complete", "full")
    assert stored(etl, deep)["status"] == "CANCEL_PENDING"
    assert kinds(etl.sync()) == ("complete", "full")
    assert stored(etl, deep)["status"] == "NOT_LISTED"
    assert kinds(etl.sync()) == ("complete", "full")
    assert asked(endpoint, etl.sync) == (1, 0)
    assert broken_rules(etl) == []


def test_a_quick_sweep_concludes_nothing_of_a_job_that_is_not_listed(
    etl: Etl, world: World, membership: Membership
) -> None:
    gone = world.jobs(membership)[50]
    world.remove(membership, gone)
    assert [etl.sync().kind for _ in range(6)] == ["quick"] * 6
    assert stored(etl, gone)["absent_listings"] == 0
    assert [sync_full(etl).kind for _ in range(2)] == ["full"] * 2
    assert stored(etl, gone)["status"] == "NOT_LISTED"


def test_an_open_job_that_aws_knows_and_does_not_list_keeps_an_honest_window(
    etl: Etl, world: World, membership: Membership, deep: Job, endpoint: Endpoint
) -> None:
    membership.items.remove(deep)  # Get knows it
    assert asked(endpoint, lambda: sync_full(etl), "full") == (10, 0)
    assert asked(endpoint, etl.sync, "full") == (10, 1)
    assert asked(endpoint, etl.sync) == (1, 1)
    seen = runs(etl)[-1]["started_at"]
    world.set_status(deep, "INACTIVE")
    assert asked(endpoint, etl.sync) == (1, 1)
    moved = last(etl, deep)
    assert (moved["to_status"], moved["time_basis"]) == ("INACTIVE", "update_time")
    assert moved["not_before"] == seen
    assert broken_rules(etl) == []


def test_a_full_listing_is_no_witness_of_an_open_job_that_it_did_not_show(
    etl: Etl, world: World, membership: Membership, deep: Job
) -> None:
    seen = runs(etl)[-1]["started_at"]
    membership.items.remove(deep)  # Get knows it
    sync_full(etl)
    world.put_back(membership, deep)
    world.set_status(deep, "INACTIVE")
    sync_full(etl)
    assert (last(etl, deep)["to_status"], last(etl, deep)["not_before"]) == ("INACTIVE", seen)


def test_a_job_that_is_gone_from_the_head_is_noticed(etl: Etl, world: World, membership: Membership) -> None:
    gone = world.jobs(membership)[-3]
    world.remove(membership, gone)
    assert [kinds(etl.sync()) for _ in range(3)] == [("complete", "full")] * 3
    assert stored(etl, gone)["status"] == "NOT_LISTED"
    assert kinds(etl.sync()) == ("complete", "quick")


# Lost COMMITs and lost leases

COMMITS = 10
READS, WRITES = (2, 3, 5, 7, 8, 9), (4, 6, 10)
"""Of the sweep below: its beginning; the open jobs; three lookups, two with a batch; whom to ask for; the end."""


@pytest.fixture
def proxy(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(writer, "_PAUSES", (0.02,) * 400)
    with Proxy(database_url) as proxy:
        yield proxy


def check_a_sweep_through(proxy: Proxy, etl: Etl, world: World, membership: Membership, deep: Job) -> None:
    """Sweep quickly: two pages tell of new jobs, the third of none, and Get of one that has changed."""
    for _ in range(PAGE + 2):
        world.create_job(membership, status="ACTIVE")
    world.set_status(deep, "INACTIVE")
    config = etl.config.model_copy(update={"database": Database(url=SecretStr(proxy.url))})
    report = sync_membership(config, config.memberships[0])
    assert kinds(report) == ("complete", "quick")
    counts, run, home = report.counts, runs(etl)[-1], listed(etl)
    assert (counts.pages, counts.jobs_listed, counts.jobs_unchanged) == (3, 3 * PAGE, 2 * PAGE - 2)
    assert (counts.jobs_new, counts.jobs_changed, counts.transitions) == (PAGE + 2, 1, PAGE + 3)
    assert (run["outcome"], run["kind"], run["batches"], run["transitions"]) == ("complete", "quick", 3, PAGE + 3)
    assert (home["open_listed_at"], home["full_due"], home["lease_until"]) == (run["started_at"], False, None)
    assert known(etl) == all_jobs(world, membership)
    assert [moved["to_status"] for moved in history(etl)[deep.arn]][-1] == "INACTIVE"
    assert broken_rules(etl) == []


def test_undisturbed_the_sweep_above_has_so_many_commits(
    proxy: Proxy, etl: Etl, world: World, membership: Membership, deep: Job
) -> None:
    check_a_sweep_through(proxy, etl, world, membership, deep)
    assert proxy.commits == COMMITS


@pytest.mark.parametrize(
    "cut", [*((number, "before") for number in READS), *product(WRITES, ("before", "late", "after"))]
)
def test_a_connection_lost_around_a_commit_leaves_no_trace(
    proxy: Proxy, etl: Etl, world: World, membership: Membership, deep: Job, cut: tuple[int, Cut]
) -> None:
    number, how = cut
    proxy.cut = {number: how}.get
    check_a_sweep_through(proxy, etl, world, membership, deep)
    assert proxy.commits > number


def test_a_sweep_that_is_overtaken_between_its_pages_writes_no_more_and_hides_nothing(
    make_etl: MakeEtl, etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    assert etl
    two_at_once = make_etl(aws=AWS | {"max_concurrency": 2}, sync=QUICKLY)
    for _ in range(3 * PAGE):
        world.create_job(membership, status="ACTIVE")
    others: list[SyncReport] = []

    def take_over() -> None:
        two_at_once.execute("UPDATE cleanrooms_etl.membership SET lease_until = clock_timestamp()")
        endpoint.on(lambda request: "nextToken" in request.query, error("AccessDeniedException"))
        others.append(two_at_once.sync())

    before_page(endpoint, 2, take_over)
    assert two_at_once.sync().outcome == "fenced"
    assert [kinds(report) for report in others] == [("partial", "full")]
    assert len(known(two_at_once)) < OLD + 3 * PAGE
    assert kinds(two_at_once.sync()) == ("complete", "full")
    assert known(two_at_once) == all_jobs(world, membership)
    assert [run["outcome"] for run in runs(two_at_once)] == ["complete", "fenced", "partial", "complete"]
    assert broken_rules(two_at_once) == []


# The daemon


def test_a_daemon_polls_a_membership_at_every_open_while_it_has_open_jobs(
    make_etl: MakeEtl, world: World, membership: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.daemon._TICK", 0.1)
    quiet = world.add_membership()
    job = world.create_job(membership)
    etl = make_etl(
        aws=AWS | {"requests_per_second": 1_000},
        sync=QUICKLY,
        schedule={"every": "1h", "every_open": "1s"},
        daemon={"listen": "127.0.0.1:0"},
    )
    with running(etl) as daemon:

        def synced(member: Membership) -> list[str]:
            return [line["kind"] for line in daemon.lines("synced") if line["membership"] == member.id]

        daemon.until(lambda: len(synced(membership)) >= 3, "three syncs of an open job")
        world.set_status(job, "CREATE_FAILED")
        daemon.until(lambda: stored(etl, job)["status"] == "CREATE_FAILED", "the end of the job")
        daemon.until(lambda: len(runs(etl)) == len(daemon.lines("synced")), "the end of the sync")
        number = len(runs(etl))
        Event().wait(2.5)
        assert len(runs(etl)) == number
        assert (synced(quiet), set(synced(membership)[1:])) == (["full"], {"quick"})
    pace.share_among(1)  # whoever tests the pace in this process is alone again
