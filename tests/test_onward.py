"""The pages after the first of a listing: what goes out for them, and what boto3 makes of what comes back."""

import hashlib
import hmac
from functools import reduce
from typing import Any
from urllib.parse import urlsplit

import botocore.retries.standard
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.httpsession import URLLib3Session
from botocore.retries.quota import RetryQuota

from etl import clients, source
from etl.calls import counted
from etl.demo import answers
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import JOBS, Request
from etl.demo.world import World
from etl.loading import from_mapping

PAGES = 4
ODD = "a+/=&?# \u00e9\U0001f600\\\"'%20~"


@pytest.fixture(autouse=True)
def _no_pause_before_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda _self, _context: 0.0)


@pytest.fixture
def listing(world: World, membership: Membership, endpoint: Endpoint) -> source.Listing:
    model = world.add_trained_model(membership, "model")
    for _ in range(PAGES):
        world.create_job(membership, model)
    entry = {"id": membership.id, "region": membership.region, "trained_model_arn": model.arn}
    aws = {"endpoint_url": endpoint.url, "page_size": 1}
    config = from_mapping({"aws": aws, "membership": [entry]}, {})
    return source.Listing(config.aws, config.memberships[0])


@pytest.fixture
def composed(listing: source.Listing) -> list[dict[str, object]]:
    """Return the parameters of each request that boto3 composes from now on."""
    seen: list[dict[str, object]] = []
    events = clients.client(listing.aws, listing.membership).meta.events
    events.register("before-parameter-build", lambda params, **_: seen.append(params))
    return seen


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[AWSPreparedRequest]:
    """Return the requests that go out from now on."""
    requests: list[AWSPreparedRequest] = []
    send = URLLib3Session.send

    def noted(self: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
        requests.append(request)
        return send(self, request)

    monkeypatch.setattr(URLLib3Session, "send", noted)
    return requests


def read(listing: source.Listing) -> int:
    return sum(len(items) for items in listing.pages())


def headers(request: AWSPreparedRequest) -> dict[str, str]:
    return {
        name.lower(): word.decode() if isinstance(word, bytes) else str(word)
        for name, word in request.headers.items()
    }


def test_boto3_composes_the_first_request_of_a_listing_alone(
    listing: source.Listing, composed: list[dict[str, object]], endpoint: Endpoint
) -> None:
    assert read(listing) == PAGES
    assert len(composed) == 1
    assert endpoint.counts == {JOBS: PAGES}
    assert (listing.calls.requests, listing.calls.retries) == (PAGES, 0)


def test_the_others_say_what_boto3_s_own_would_say(
    listing: source.Listing, endpoint: Endpoint, sent: list[AWSPreparedRequest]
) -> None:
    def said(request: AWSPreparedRequest) -> tuple[object, ...]:
        passing = {"authorization", "x-amz-date", "amz-sdk-invocation-id"}
        lasting = {name: word for name, word in headers(request).items() if name not in passing}
        return request.method, request.url, lasting, request.body

    read(listing)
    ours = [said(request) for request in sent]
    tokens = [request.query.get("nextToken") for request in endpoint.requests]
    sent.clear()
    asked = {"membershipIdentifier": listing.membership.id, "maxResults": 1}
    asked["trainedModelArn"] = listing.membership.trained_model_arn
    client: Any = clients.client(listing.aws, listing.membership)
    with counted(listing.calls):
        for token in tokens:
            client.list_trained_model_inference_jobs(**asked, **({"nextToken": token} if token else {}))
    assert [said(request) for request in sent] == ours
    assert len(ours) == PAGES


def signature(request: AWSPreparedRequest, secret: str) -> str:
    """Sign what was sent once more, as "Create a signed AWS API request" of the IAM User Guide says."""
    said = headers(request)
    url = urlsplit(request.url)
    said["host"] = url.netloc
    credential, names, _ = (part.split("=", 1)[1] for part in said["authorization"].split(" ", 1)[1].split(", "))
    scope = credential.split("/", 1)[1]
    query = "&".join(sorted(url.query.split("&")))
    lines = [f"{name}:{said[name]}" for name in names.split(";")]
    nothing = hashlib.sha256(b"").hexdigest()
    canonical = "\n".join([request.method, url.path, query, *lines, "", names, nothing])
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = reduce(
        lambda key, word: hmac.digest(key, word.encode(), "sha256"), scope.split("/"), f"AWS4{secret}".encode()
    )
    text = "\n".join(["AWS4-HMAC-SHA256", said["x-amz-date"], scope, hashed])
    return hmac.digest(key, text.encode(), "sha256").hex()


def test_each_is_signed_as_aws_reckons_it(
    listing: source.Listing,
    endpoint: Endpoint,
    sent: list[AWSPreparedRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of ours")
    page: dict[str, object] = {"trainedModelInferenceJobs": []}
    endpoint.on(JOBS, answers.page(page | {"nextToken": ODD}), answers.page(page))
    read(listing)
    first, second = sent
    assert endpoint.requests[1].query["nextToken"] == ODD
    for request in (first, second):
        assert headers(request)["authorization"].endswith(f"Signature={signature(request, 'a secret of ours')}")


TROUBLES = [
    answers.error("ThrottlingException"),
    answers.error("InternalServiceException"),
    answers.body(b"<html>"),
    answers.body(b"", status=502),
    answers.truncated(),
    answers.reset(),
]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_is_no_page_is_asked_for_again(
    trouble: answers.Answer, listing: source.Listing, composed: list[dict[str, object]], endpoint: Endpoint
) -> None:
    endpoint.on(JOBS, answers.normal(), answers.normal(), *[trouble] * 3)
    assert read(listing) == PAGES
    assert len(composed) == 1
    assert (listing.calls.requests, listing.calls.retries) == (PAGES + 3, 3)
    assert [request.attempt for request in endpoint.requests] == [1, 1, 1, 2, 3, 4, 1]
    assert listing.calls.throttles == (3 if trouble == answers.error("ThrottlingException") else 0)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_it_is_asked_for_five_times_in_all(
    trouble: answers.Answer, listing: source.Listing, endpoint: Endpoint
) -> None:
    endpoint.on(JOBS, answers.normal())
    endpoint.on(lambda request: "nextToken" in request.query, trouble, times=None)
    with pytest.raises(source.SourceError):
        read(listing)
    assert endpoint.counts == {JOBS: 6}
    assert (listing.calls.requests, listing.calls.retries) == (6, 4)


@pytest.mark.parametrize("times", [3, 5])
def test_a_connection_that_cannot_be_made_is_tried_again(
    times: int, listing: source.Listing, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, tried = URLLib3Session.send, 0

    def fragile(self: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
        nonlocal tried
        tried += 1
        if 1 < tried <= 1 + times:
            raise EndpointConnectionError(endpoint_url=request.url, error="refused")
        return send(self, request)

    monkeypatch.setattr(URLLib3Session, "send", fragile)
    if times < 5:
        assert read(listing) == PAGES
        assert endpoint.counts == {JOBS: PAGES}
    else:
        with pytest.raises(source.SourceError, match="Could not connect"):
            read(listing)
    assert listing.calls.retries == min(times, 4)


def test_a_refusal_is_told_by_its_name(listing: source.Listing, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, answers.normal(), answers.error("ConflictException", 409, "Not now."))
    with pytest.raises(source.SourceError, match=r"^Not now\.$") as refused:
        read(listing)
    assert refused.value.code == "ConflictException"
    assert isinstance(refused.value.__cause__, ClientError)


def test_pages_that_come_give_back_what_retries_have_taken_of_botocore_s_quota(
    listing: source.Listing, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    release = RetryQuota.release

    def noted(self: RetryQuota, amount: int) -> None:
        release(self, amount)
        left.append(self.available_capacity)

    monkeypatch.setattr(RetryQuota, "release", noted)
    broken = answers.error("InternalServiceException")
    # The second and the third time of one page: what all but the last retry has taken only good pages give back.
    endpoint.on(JOBS, broken, answers.normal(), broken, broken)
    read(listing)
    full = RetryQuota.INITIAL_CAPACITY
    assert left == [full, full - 14, full - 13, full - 12]


def test_who_has_other_credentials_by_now_asks_with_those(
    listing: source.Listing,
    composed: list[dict[str, object]],
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def change(_: Request) -> None:
        endpoint.before_page = None
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANEWONE")
        clients.begin_anew(listing.aws, listing.membership)

    endpoint.before_page = change
    assert read(listing) == PAGES
    assert {request.access_key for request in endpoint.requests[1:]} == {"AKIANEWONE"}
    assert len(composed) == 1
