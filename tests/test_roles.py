"""What a role costs: one STS call a backoff while it cannot be assumed, and none too many while it can."""

import gc
import logging
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from traceback import walk_tb
from typing import Any

import botocore.retries.standard
import botocore.session
import pytest
from botocore.config import Config as ClientConfig
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from etl import source
from etl.demo import answers
from etl.demo.endpoint import Endpoint
from etl.demo.request import ASSUME_ROLE, JOBS
from etl.demo.world import World
from etl.loading import from_mapping
from etl.roles import AssumedRole, Refusals, Role

ROLE = "arn:aws:iam::111122223333:role/etl-reader"
DENIED = answers.error("AccessDenied")


@pytest.fixture(autouse=True)
def _no_pause_before_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda _self, _context: 0.0)


# Memberships that share a role


def listing(endpoint: Endpoint, region: str = "us-east-1", **settings: Any) -> source.Listing:
    """The listing of one more membership, with the role."""
    membership = endpoint.world.add_membership(region=region)
    listed = {"id": membership.id, "region": region, "role_arn": ROLE, **settings}
    aws = {"endpoint_url": endpoint.url}
    config = from_mapping({"aws": aws, "membership": [listed]}, {})
    return source.Listing(config.aws, config.memberships[0])


def error_of(listing: source.Listing) -> tuple[str, str]:
    with pytest.raises(source.SourceError) as raised:
        list(listing.pages())
    return raised.value.code, str(raised.value)


def errors_of(*listings: source.Listing) -> set[tuple[str, str]]:
    """List them all at once, a thread for each."""
    ready = Barrier(len(listings))

    def go(listing: source.Listing) -> tuple[str, str]:
        ready.wait(10)
        return error_of(listing)

    with ThreadPoolExecutor(len(listings)) as executor:
        return set(executor.map(go, listings))


def test_a_role_that_cannot_be_assumed_is_asked_for_once_by_eight_threads_and_two_regions(
    endpoint: Endpoint,
) -> None:
    endpoint.on(ASSUME_ROLE, answers.slow(0.2, DENIED), times=None)
    listings = [listing(endpoint, region) for region in ["us-east-1", "eu-west-1"] * 4]
    [(code, error)] = errors_of(*listings)
    assert (code, error.split(";")[0]) == ("AccessDenied", f"the role {ROLE} cannot be assumed")
    assert endpoint.counts == {ASSUME_ROLE: 1}
    assert {each.calls.requests for each in listings} == {0}


def test_who_comes_later_is_told_the_same_without_a_call(endpoint: Endpoint) -> None:
    first = error_of(listing(endpoint))
    assert error_of(listing(endpoint)) == error_of(listing(endpoint, "eu-west-1")) == first
    assert endpoint.counts == {ASSUME_ROLE: 1}


def test_another_role_and_another_external_id_are_asked_for_by_themselves(endpoint: Endpoint) -> None:
    for settings in ({}, {"role_arn": ROLE + "-too"}, {"external_id": "between-us"}):
        error_of(listing(endpoint, **settings))
    assert endpoint.counts == {ASSUME_ROLE: 3}


def test_another_endpoint_is_asked_by_itself(endpoint: Endpoint, world: World) -> None:
    error_of(listing(endpoint))
    with Endpoint(world) as another:
        another.add_role(ROLE)
        list(listing(another).pages())
        assert another.counts == {ASSUME_ROLE: 1, JOBS: 1}


def test_an_sts_that_is_down_is_not_asked_again_at_once(endpoint: Endpoint) -> None:
    endpoint.on(ASSUME_ROLE, answers.reset(), times=None)
    assert {code for code, _ in errors_of(*(listing(endpoint) for _ in range(3)))} == {"ConnectionClosedError"}
    assert endpoint.counts == {ASSUME_ROLE: 5}  # botocore's own attempts at one call


HUSH = b"<AssumeRoleResponse><AssumeRoleResult><Credentials><SecretAccessKey>hush</SecretAccessKey>"


@pytest.mark.parametrize(
    "said",
    [
        answers.body(b"<html>Log in first</html>"),
        answers.body(b"<html>Log in first</html>", status=403),
        answers.body(b"", status=403),
        answers.body(b"{}", status=429),
        answers.body(b"<ErrorResponse><Error/></ErrorResponse>", status=400),
        answers.body(HUSH),
        answers.body(HUSH + b"</Credentials></AssumeRoleResult></AssumeRoleResponse>"),
    ],
)
def test_what_a_proxy_answers_in_place_of_sts_is_one_clear_line(said: answers.Answer, endpoint: Endpoint) -> None:
    endpoint.on(ASSUME_ROLE, said, times=None)
    told = (
        "CredentialRetrievalError",
        f"Error when retrieving credentials from STS: for the role {ROLE} came an answer that cannot be read; look"
        " for a proxy that answers in its place",
    )
    assert error_of(listing(endpoint)) == error_of(listing(endpoint)) == told
    assert endpoint.counts == {ASSUME_ROLE: 1}


# One role in the course of time


@dataclass
class Account:
    """Credentials of the role by a clock that the test moves, and the answers of its STS."""

    endpoint: Endpoint
    now: float = 1_000.0
    refusals: Refusals = field(init=False)

    def __post_init__(self) -> None:
        self.refusals = Refusals(lambda: self.now)

    def credentials(
        self, new_session: Callable[[str], Session] = lambda _: botocore.session.get_session()
    ) -> Callable[[], ReadOnlyCredentials]:
        """What a new client asks for credentials before each request."""
        role = Role(ROLE, None, self.endpoint.url)
        config = ClientConfig(retries={"mode": "standard", "total_max_attempts": 1})
        assumed = AssumedRole(role, "us-east-1", new_session, config, self.refusals)
        return assumed.load().get_frozen_credentials

    @property
    def calls(self) -> int:
        return self.endpoint.counts[ASSUME_ROLE]


@pytest.fixture
def account(endpoint: Endpoint) -> Account:
    return Account(endpoint)


def refused(ask: Callable[[], ReadOnlyCredentials]) -> ClientError | BotoCoreError:
    with pytest.raises((ClientError, BotoCoreError)) as raised:
        ask()
    assert isinstance(raised.value, (ClientError, BotoCoreError))
    return raised.value


@pytest.mark.parametrize(
    ("answer", "first"),
    [(DENIED, 60), (answers.error("Throttling"), 5), (answers.reset(), 15)],
    ids=["denied", "throttled", "unreachable"],
)
def test_sts_is_asked_again_when_the_backoff_is_over_and_that_doubles(
    answer: answers.Answer, first: float, account: Account, endpoint: Endpoint
) -> None:
    endpoint.on(ASSUME_ROLE, answer, times=None)
    ask = account.credentials()
    refused(ask)
    for calls, pause in enumerate([first, 2 * first, 4 * first], 1):
        account.now += pause - 1
        refused(ask)
        assert account.calls == calls
        account.now += 1
        refused(ask)
        assert account.calls == calls + 1


def test_a_mended_role_is_noticed_when_the_backoff_is_over(account: Account, endpoint: Endpoint) -> None:
    ask = account.credentials()
    refused(ask)
    endpoint.add_role(ROLE)
    account.now += 60
    assert ask().token
    assert account.calls == 2


def test_a_success_forgets_the_refusals(account: Account, endpoint: Endpoint) -> None:
    endpoint.on(ASSUME_ROLE, DENIED, DENIED, answers.normal(), DENIED)
    endpoint.add_role(ROLE)
    for pause in (60, 120):
        refused(account.credentials())
        account.now += pause
    account.credentials()()
    refused(account.credentials())
    account.now += 60
    account.credentials()()
    assert account.calls == 5


def test_each_is_told_with_an_error_of_its_own(account: Account) -> None:
    # One error raised again and again would gather a traceback without end.
    ask = account.credentials()
    refused(ask)
    again = [refused(ask) for _ in range(5)]
    assert len({id(error) for error in again}) == 5
    assert len({len(list(walk_tb(error.__traceback__))) for error in again}) == 1


def test_a_remembered_refusal_holds_nothing_of_the_call(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "botocore")  # a record that is kept for the test would hold it too
    sessions: list[weakref.ref[Session]] = []

    def new_session(_: str) -> Session:
        session = botocore.session.get_session()
        sessions.append(weakref.ref(session))
        return session

    refused(account.credentials(new_session))
    gc.collect()
    assert [session() for session in sessions] == [None]


# Credentials that are still good


def outlasting(world: World, minutes: int) -> Endpoint:
    return Endpoint(world, credential_lifetime=timedelta(minutes=minutes))


def test_a_refusal_in_advance_takes_no_credentials_away_and_costs_one_call(world: World) -> None:
    # botocore would like to renew what has less than fifteen minutes left, and must at ten.
    with outlasting(world, 12) as endpoint:
        endpoint.on(ASSUME_ROLE, answers.normal(), DENIED, answers.normal())
        endpoint.add_role(ROLE)
        account = Account(endpoint)
        ask = account.credentials()
        good = ask()
        assert [ask() for _ in range(3)] == [good] * 3
        assert account.calls == 2
        account.now += 60
        assert ask() != good
        assert account.calls == 3


def test_credentials_that_must_be_renewed_are_not_used_any_longer(world: World) -> None:
    with outlasting(world, 9) as endpoint:
        endpoint.on(ASSUME_ROLE, answers.normal(), DENIED)
        endpoint.add_role(ROLE)
        account = Account(endpoint)
        ask = account.credentials()
        ask()
        for _ in range(3):
            refused(ask)
        assert account.calls == 2


# Our own credentials


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Write the credentials file anew; nothing stands in the environment."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    lines = "[default]\naws_access_key_id = {}\naws_secret_access_key = worthless\n"
    return lambda key: file.write_text(lines.format(key))


def test_a_role_is_asked_for_with_the_credentials_that_the_file_holds_by_then(
    own: Callable[[str], object], world: World
) -> None:
    with outlasting(world, 9) as endpoint:
        endpoint.add_role(ROLE)
        ask = Account(endpoint).credentials()
        for key in ("AKIAFIRST", "AKIASECOND"):
            own(key)
            ask()
        assert [request.access_key for request in endpoint.requests] == ["AKIAFIRST", "AKIASECOND"]


def test_without_own_credentials_nobody_asks_and_the_file_is_looked_at_again_later(
    own: Callable[[str], object], account: Account, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE)
    ask = account.credentials()
    assert type(refused(ask)).__name__ == "NoCredentialsError"
    own("AKIALATE")
    account.now += 60
    assert ask().token
    assert account.calls == 1


def test_a_membership_without_a_role_finds_credentials_that_come_later(
    own: Callable[[str], object], endpoint: Endpoint
) -> None:
    without = listing(endpoint, role_arn=None)
    assert error_of(without)[0] == "NoCredentialsError"
    own("AKIALATE")
    assert list(without.pages()) == [[]]
    assert endpoint.requests[0].access_key == "AKIALATE"


def test_roles_that_can_be_assumed_are_asked_for_once_a_client(endpoint: Endpoint) -> None:
    endpoint.add_role(ROLE)
    for region in ["us-east-1", "eu-west-1"] * 2:
        list(listing(endpoint, region).pages())
    assert endpoint.counts == {ASSUME_ROLE: 2, JOBS: 4}
