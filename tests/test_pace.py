"""How fast an account and Region are asked: buckets by a clock of the test's own, requests over real HTTP."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from threading import Event
from typing import Any

import botocore.retries.standard
import pytest

from etl import clients, pace, source
from etl.config import Aws
from etl.demo import answers
from etl.demo.endpoint import Endpoint
from etl.demo.request import ASSUME_ROLE, JOBS, Request
from etl.demo.world import World
from etl.loading import from_mapping

_accounts = count(100_000_000_000)


@dataclass
class Time:
    """A clock that only sleeping moves; what happens `meanwhile` happens in the first sleep."""

    now: float = 1_000.0
    meanwhile: list[Callable[[], object]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        while self.meanwhile:
            self.meanwhile.pop()()
        self.now += seconds + 1e-6  # nobody wakes too early, and rounding does not stop the hands

    def of(self, *turns: Callable[[], object]) -> list[float]:
        """Take the turns one after the other, and return when each was over."""
        began, over = self.now, []
        for turn in turns:
            turn()
            over.append(self.now - began)
        return over


@pytest.fixture
def hands() -> Time:
    return Time()


def bucket_of(limit: float, hands: Time) -> pace.Bucket:
    return pace.Bucket(limit, hands.monotonic, hands.sleep)


def turns(bucket: pace.Bucket, limit: float, number: int) -> list[Callable[[], object]]:
    return [lambda: bucket.take(limit)] * number


def rate_of(bucket: pace.Bucket) -> float:
    return bucket.state("", "").requests_per_second


# The bucket


@pytest.mark.parametrize(("limit", "distance"), [(4.0, 0.25), (0.1, 10.0)])
def test_the_first_request_goes_at_once_and_the_others_at_their_distance(
    limit: float, distance: float, hands: Time
) -> None:
    went = hands.of(*turns(bucket_of(limit, hands), limit, 4))
    assert went == pytest.approx([0, distance, 2 * distance, 3 * distance], abs=0.001)


def test_a_quarter_of_a_second_may_go_at_once(hands: Time) -> None:
    went = hands.of(*turns(bucket_of(20, hands), 20, 7))
    assert went == pytest.approx([0, 0, 0, 0, 0, 0.05, 0.1], abs=0.001)


def test_who_shares_a_limit_keeps_to_a_part_of_it(hands: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_sharers", 1)
    bucket = bucket_of(4, hands)
    pace.share_among(2)
    assert hands.of(*turns(bucket, 4, 3)) == pytest.approx([0, 0.5, 1.0], abs=0.001)
    pace.share_among(0)
    assert bucket.state("", "").limit == 2
    bucket.take(4)
    assert bucket.state("", "").limit == 4


def test_a_long_rest_saves_up_no_more_than_that(hands: Time) -> None:
    bucket = bucket_of(4, hands)
    hands.now += 3_600
    assert bucket.state("", "").tokens == 1
    assert hands.of(*turns(bucket, 4, 3)) == pytest.approx([0, 0.25, 0.5], abs=0.001)


def test_a_throttle_halves_the_rate_and_with_it_the_next_distances(hands: Time) -> None:
    bucket = bucket_of(4, hands)
    bucket.slow_down()
    assert rate_of(bucket) == 2
    assert hands.of(*turns(bucket, 4, 2))[1] == pytest.approx(0.5, abs=0.02)


def test_with_the_rate_what_may_go_at_once_shrinks(hands: Time) -> None:
    bucket = bucket_of(40, hands)
    bucket.slow_down()
    hands.now += 0.01
    assert bucket.state("", "").tokens == pytest.approx(5, abs=0.1)


def test_of_one_throttle_that_many_hear_the_rate_is_halved_once(hands: Time) -> None:
    bucket = bucket_of(4, hands)
    for _ in range(8):
        bucket.slow_down()
        hands.now += 0.12
    assert rate_of(bucket) == pytest.approx(2, abs=0.1)
    hands.now += 0.05
    bucket.slow_down()
    assert rate_of(bucket) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("limit", "floor"), [(4.0, 0.5), (0.1, 0.1)])
def test_no_throttle_stops_it_all(limit: float, floor: float, hands: Time) -> None:
    bucket = bucket_of(limit, hands)
    for _ in range(20):
        hands.now += 1
        bucket.slow_down()
    assert rate_of(bucket) == floor


def test_the_rate_recovers_within_a_minute_and_no_further(hands: Time) -> None:
    bucket = bucket_of(4, hands)
    bucket.slow_down()
    hands.now += 15
    assert rate_of(bucket) == pytest.approx(3)
    hands.now += 16
    assert rate_of(bucket) == 4
    assert hands.of(*turns(bucket, 4, 3))[2] == pytest.approx(0.5, abs=0.001)


def test_what_is_granted_while_the_rate_recovers_is_what_it_was_in_between(hands: Time) -> None:
    bucket = bucket_of(4, hands)
    for _ in range(3):
        bucket.slow_down()
        hands.now += 1
    # From 0.6 to 4 a second in 51 s, which is 117, and then 4 a second.
    went = hands.of(*turns(bucket, 4, 158))
    assert went[117] == pytest.approx(51, abs=1)
    assert went[157] - went[117] == pytest.approx(10, abs=0.2)


def test_another_limit_takes_effect_at_once_with_the_share_that_throttles_left(hands: Time) -> None:
    bucket = bucket_of(4, hands)
    bucket.take(8)
    assert bucket.state("a", "r")[:4] == ("a", "r", 8, 8)
    bucket.slow_down()
    bucket.take(2)
    assert rate_of(bucket) == pytest.approx(1, abs=0.1)
    bucket.take(0.5)
    assert bucket.state("a", "r")[:4] == ("a", "r", 0.5, 0.5)


def test_who_waits_already_hears_of_a_higher_limit_within_a_second(hands: Time) -> None:
    bucket = bucket_of(0.1, hands)
    bucket.take(0.1)
    hands.meanwhile = [lambda: bucket.take(100)]
    assert hands.of(lambda: bucket.take(0.1))[0] < 1.1


def test_who_waits_is_told_as_tokens_below_zero(hands: Time) -> None:
    bucket = bucket_of(4, hands)
    waiting: list[float] = []
    hands.meanwhile = [lambda: waiting.append(bucket.state("", "").tokens)]
    hands.of(*turns(bucket, 4, 2))
    assert waiting == [-1]


def test_eight_threads_have_their_turns_in_order() -> None:
    now = [0.0]
    bucket = pace.Bucket(1, lambda: now[0], lambda _: time.sleep(0.001))
    bucket.take(1)
    went: list[int] = []

    def go(number: int) -> None:
        bucket.take(1)
        went.append(number)

    def comes_to(look: Callable[[], float], least: int) -> bool:
        return any(look() >= least or Event().wait(0.005) for _ in range(4_000))

    with ThreadPoolExecutor(8) as executor:
        for number in range(8):
            executor.submit(go, number)
            assert comes_to(lambda: -bucket.state("", "").tokens, number + 1)
        for number in range(8):
            now[0] += 1.001
            assert comes_to(lambda: len(went), number + 1)
    assert went == [*range(8)]


# The requests


@pytest.fixture(autouse=True)
def _no_pause_before_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda _self, _context: 0.0)


@dataclass
class Account:
    """Memberships of an account that no other test asks, listed with a role of it, one job a page."""

    id: str
    world: World
    endpoint: Endpoint

    def aws(self, limit: float | None) -> Aws:
        settings = {"endpoint_url": self.endpoint.url, "page_size": 1, "requests_per_second": limit}
        return from_mapping({"aws": {key: value for key, value in settings.items() if value is not None}}, {}).aws

    def listing(
        self, limit: float | None, *, pages: int = 1, role: str = "etl-reader", **settings: Any
    ) -> source.Listing:
        """The listing of one more membership."""
        membership = self.world.add_membership(region=settings.get("region", "us-east-1"))
        for _ in range(pages):
            self.world.create_job(membership)
        role_arn = f"arn:aws:iam::{self.id}:role/{role}"
        listed = {"id": membership.id, "region": membership.region, "role_arn": role_arn, **settings}
        [configured] = from_mapping({"membership": [listed]}, {}).memberships
        return source.Listing(self.aws(limit), configured)

    def state(self, region: str = "us-east-1") -> pace.PaceState:
        [found] = [state for state in pace.states() if (state.account, state.region) == (self.id, region)]
        return found


@pytest.fixture
def account(endpoint: Endpoint) -> Account:
    found = Account(str(next(_accounts)), endpoint.world, endpoint)
    endpoint.add_role(f"arn:aws:iam::{found.id}:role/etl-reader")
    return found


def seconds_of(*listings: source.Listing) -> float:
    """List them all at once, a thread for each, and return how long that took."""
    began = time.monotonic()
    with ThreadPoolExecutor(len(listings)) as executor:
        list(executor.map(lambda listing: list(listing.pages()), listings))
    return time.monotonic() - began


def test_twenty_requests_a_second_are_what_comes_over_the_wire(account: Account, endpoint: Endpoint) -> None:
    seconds = seconds_of(account.listing(20, pages=10), account.listing(20, pages=10))
    assert endpoint.counts[JOBS] == 20
    assert seconds > 0.74  # five at once, fifteen at their distance


def test_without_a_limit_there_is_no_bucket(account: Account) -> None:
    seconds_of(account.listing(None, pages=3))
    assert account.id not in {state.account for state in pace.states()}


def test_each_retry_waits_for_a_turn_of_its_own(account: Account, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, answers.error("InternalServiceException"), answers.reset(), times=2)
    listing = account.listing(10)
    assert seconds_of(listing) > 0.2  # two and a half at once, the others at their distance
    assert (listing.calls.requests, listing.calls.retries) == (5, 4)


def test_what_boto3_tries_again_has_had_its_turn(
    account: Account, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[float] = []
    monkeypatch.setattr(pace.Bucket, "take", lambda _self, limit: turns.append(limit))
    endpoint.on(JOBS, answers.normal(), answers.error("InternalServiceException"), answers.reset())
    listing = account.listing(10, pages=3)
    seconds_of(listing)
    assert len(turns) == listing.calls.requests == 5


def test_a_request_is_signed_when_its_turn_has_come(account: Account) -> None:
    # A signature is good for five minutes, and so long somebody may well wait.
    listing, signed = account.listing(4, pages=2), []
    client = clients.client(listing.aws, listing.membership)
    client.meta.events.register("before-sign.cleanroomsml", lambda **_: signed.append(time.monotonic()))
    seconds_of(listing)
    assert signed[1] - signed[0] > 0.2


@pytest.mark.parametrize(
    "throttle",
    [answers.error("ThrottlingException"), answers.error("Throttling"), answers.body(b"Slow down", status=429)],
)
def test_a_throttle_slows_the_account_and_region_down(
    throttle: answers.Answer, account: Account, endpoint: Endpoint
) -> None:
    endpoint.on(JOBS, throttle)
    seconds_of(account.listing(100), account.listing(100, region="eu-west-1", pages=0))
    rates = sorted([account.state().requests_per_second, account.state("eu-west-1").requests_per_second])
    assert rates == [pytest.approx(50, rel=0.1), 100]


def test_another_trouble_slows_nothing_down(account: Account, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, answers.error("InternalServiceException"), answers.reset(), answers.body(b""))
    seconds_of(account.listing(100))
    assert account.state().requests_per_second == 100


def test_without_a_limit_a_throttle_is_counted_all_the_same(account: Account, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, answers.error("ThrottlingException"))
    listing = account.listing(None)
    seconds_of(listing)
    assert (listing.calls.requests, listing.calls.throttles) == (2, 1)


def test_a_new_client_does_not_reset_the_bucket(account: Account, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, answers.error("ThrottlingException"))

    def before_page(_: Request) -> None:
        if endpoint.counts[JOBS] == 2:
            endpoint.expire_credentials()

    endpoint.before_page = before_page
    seconds_of(account.listing(100))
    assert endpoint.counts == {ASSUME_ROLE: 2, JOBS: 3}
    assert account.state().requests_per_second == pytest.approx(50, rel=0.1)


def test_a_reload_with_another_limit_keeps_the_bucket(account: Account, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, answers.error("ThrottlingException"))
    seconds_of(account.listing(100))
    seconds_of(account.listing(200))
    assert account.state().limit == 200
    assert account.state().requests_per_second == pytest.approx(100, rel=0.1)


def test_the_roles_of_an_account_share_its_bucket(account: Account, endpoint: Endpoint) -> None:
    endpoint.add_role(f"arn:aws:iam::{account.id}:role/another")
    seconds = seconds_of(account.listing(10, pages=3), account.listing(10, pages=3, role="another"))
    assert seconds > 0.3


def test_the_default_credentials_have_a_bucket_of_their_own(account: Account) -> None:
    listing = account.listing(100, region="eu-south-2")
    default = source.Listing(listing.aws, listing.membership.model_copy(update={"role_arn": None}))
    seconds_of(default)
    assert ("default", "eu-south-2") in {state[:2] for state in pace.states()}


def test_a_role_that_cannot_be_assumed_takes_no_turn_from_the_others(account: Account) -> None:
    refused = account.listing(0.1, role="nobody")
    for _ in range(3):
        with pytest.raises(source.SourceError):
            list(refused.pages())
    assert account.state().tokens == 1
    assert seconds_of(account.listing(0.1)) < 5


def test_one_page_does_not_wait_for_the_many_of_another_membership(account: Account) -> None:
    huge = [account.listing(40, pages=8) for _ in range(7)]
    small = account.listing(40)
    with ThreadPoolExecutor(1) as executor:
        running = executor.submit(seconds_of, *huge)
        time.sleep(0.2)
        seconds_of(small)  # no more than seven go before
        assert not running.done()
        running.result()
