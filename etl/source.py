"""All that is known of AWS: clients, a membership's pages as raw items, and what can go wrong on the wire.

boto3 does the talking: credentials, signing, endpoints, retries and throttling are its own. Only the body of
a successful page is ours, since botocore takes a damaged one for an empty success.
"""

import json
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Literal

import boto3
import botocore.session
import msgspec
from botocore.client import BaseClient
from botocore.config import Config as ClientConfig
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from etl.config import Aws, Membership
from etl.jobs import storable

MAX_PAGES = 100_000
"""A listing longer than ten million jobs is taken for one that never ends."""

_SERVICE = "cleanroomsml"
_LIST = "ListTrainedModelInferenceJobs"
_REQUESTS = 5  # in all, for one page: the first and four retries
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException"}

Cure = Literal["restart", "refresh"]


class SourceError(Exception):
    """AWS did not give what was asked: `code` is its error code, or the name of what we found wrong.

    `cure` says what may help once: list again from the start, or do so with new credentials.
    """

    def __init__(self, code: str, message: str, cure: Cure | None = None) -> None:
        super().__init__(" ".join(storable(message).split()))
        self.code = code
        self.cure = cure


@dataclass
class Calls:
    """Requests sent to AWS, with the retries and the refusals for going too fast among them."""

    requests: int = 0
    retries: int = 0
    throttles: int = 0


@dataclass
class Listing:
    """The jobs of one membership as AWS lists them now, and the calls that it took to learn of them."""

    aws: Aws
    membership: Membership
    calls: Calls = field(default_factory=Calls)

    def pages(self) -> Iterator[list[bytes]]:
        """Yield each page's raw items until AWS says that there are no more; raises `SourceError`.

        A refused token and expired credentials each start the listing again, once: what was listed before
        then comes a second time.
        """
        tried: set[Cure] = set()
        while True:
            try:
                yield from self._pages_of_one_pass()
            except SourceError as error:
                if error.cure is None or error.cure in tried:
                    raise
                tried.add(error.cure)
                if error.cure == "refresh":
                    _forget_client(self.aws, self.membership)
            else:
                return

    def exists(self, job_arn: str) -> bool | None:
        """Ask AWS for this one job: True, False, or None where we are not permitted to ask.

        Raises `SourceError` for any other answer.
        """
        try:
            self._call(
                "get_trained_model_inference_job",
                membershipIdentifier=self.membership.id,
                trainedModelInferenceJobArn=job_arn,
            )
        except SourceError as error:
            answers = {"ResourceNotFoundException": False, "AccessDeniedException": None}
            if error.code not in answers:
                raise
            return answers[error.code]
        return True

    def _pages_of_one_pass(self) -> Iterator[list[bytes]]:
        request = self._request()
        tokens: set[bytes] = set()
        for _ in range(MAX_PAGES):
            response = self._call("list_trained_model_inference_jobs", **request)
            page = _page_of(response)
            yield page.items
            if page.token is None:
                return
            # Digests, since a token may be 10 kB long; botocore would page round a cycle for ever.
            mark = blake2b(page.token.encode(), digest_size=16).digest()
            if mark in tokens:
                raise SourceError("RepeatedToken", "AWS gave the same nextToken twice: its pages go round")
            tokens.add(mark)
            request["nextToken"] = page.token
        raise SourceError("TooManyPages", f"the listing did not end within {MAX_PAGES:,} pages")

    def _request(self) -> dict[str, Any]:
        request = {
            "membershipIdentifier": self.membership.id,
            "maxResults": self.aws.page_size,
            "trainedModelArn": self.membership.trained_model_arn,
            "trainedModelVersionIdentifier": self.membership.trained_model_version_identifier,
        }
        return {name: value for name, value in request.items() if value is not None}

    def _call(self, method: str, **request: Any) -> dict[str, Any]:
        before = self.calls.requests
        token = _current_calls.set(self.calls)
        try:
            response: dict[str, Any] = getattr(_client(self.aws, self.membership), method)(**request)
        except ClientError as error:
            raise self._refusal(error, "nextToken" in request) from error
        except BotoCoreError as error:
            raise SourceError(type(error).__name__, str(error)) from error
        finally:
            _current_calls.reset(token)
            self.calls.retries += max(0, self.calls.requests - before - 1)
        return response

    def _refusal(self, error: ClientError, midway: bool) -> SourceError:
        code = error.response["Error"]["Code"]
        message = error.response["Error"].get("Message", "")
        if error.operation_name == "AssumeRole":
            return SourceError(code, f"the role {self.membership.role_arn} cannot be assumed: {message}")
        if code == "AccessDeniedException":
            return SourceError(code, self._missing_permission(error.operation_name, message))
        if code in _EXPIRED:
            return SourceError(code, message, cure="refresh")
        refused_token = midway and code == "ValidationException"
        return SourceError(code, message, cure="restart" if refused_token else None)

    def _missing_permission(self, operation: str, message: str) -> str:
        """Name what AWS does not: the second permission that every call with a membership needs."""
        who = self.membership.role_arn or "the default credentials"
        partition = _client(self.aws, self.membership).meta.partition
        region, name = self.membership.region, self.membership.id
        return (
            f"{who} may not call {operation} for membership {name}; allow cleanrooms-ml:{operation}"
            " and cleanrooms:PassMembership on"
            f" arn:{partition}:cleanrooms:{region}:<account>:membership/{name} (AWS: {message})"
        )


@dataclass(frozen=True)
class _Page:
    items: list[bytes]
    token: str | None


class _Body(msgspec.Struct):
    trainedModelInferenceJobs: list[msgspec.Raw]  # noqa: N815 - the name on the wire
    nextToken: str | None = None  # noqa: N815 - the name on the wire


_decode_body = msgspec.json.Decoder(_Body).decode


def _split(body: bytes) -> _Page:
    """Split a page into its items without decoding them; raises ValueError if it is not a whole page."""
    try:
        page = _decode_body(body)
        items, token = [bytes(item) for item in page.trainedModelInferenceJobs], page.nextToken
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Half a surrogate pair in one item must not cost the page: the standard library reads it.
        document = json.loads(body.decode("utf-8", "surrogateescape"))
        page = msgspec.convert(document, _Body)
        items, token = (
            [json.dumps(item).encode() for item in document["trainedModelInferenceJobs"]],
            page.nextToken,
        )
    if token == "":
        raise ValueError("its nextToken is empty")
    return _Page(items, token)


def _take_page(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Take a successful page's bytes before botocore parses them (its event ``before-parse``).

    botocore's own parsing costs two thirds of a sync and drops fields that it does not know. A body that is
    no page becomes an error that botocore retries; left alone it would pass for an empty last page.
    """
    if response_dict["status_code"] >= HTTPStatus.MULTIPLE_CHOICES:
        return
    try:
        page = _split(response_dict["body"])
    except (ValueError, RecursionError) as error:
        response_dict["status_code"] = 500
        response_dict["headers"]["x-amzn-errortype"] = "RequestTimeout"
        response_dict["body"] = json.dumps({"message": str(error)}).encode()
    else:
        customized_response_dict["page"] = page
        response_dict["body"] = b""


def _page_of(response: dict[str, Any]) -> _Page:
    page = response.get("page")
    if not isinstance(page, _Page):  # the HTTP status was 200, so botocore raised nothing
        why = response.get("Error", {}).get("Message", "")
        raise SourceError("DamagedPage", f"AWS answered {_REQUESTS} times without a page of jobs: {why}")
    return page


_current_calls: ContextVar[Calls] = ContextVar("_current_calls")


def _count_call(parsed_response: dict[str, Any] | None, **_: object) -> None:
    """Count one request on the wire for whoever sent it (botocore's event ``response-received``)."""
    calls = _current_calls.get()
    calls.requests += 1
    status = parsed_response["ResponseMetadata"].get("HTTPStatusCode") if parsed_response else None
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        calls.throttles += 1


_clients: dict[tuple[object, ...], BaseClient] = {}
_clients_lock = threading.Lock()  # making a client is not thread-safe, using one is


def _client_key(aws: Aws, membership: Membership) -> tuple[object, ...]:
    return aws, membership.region, membership.role_arn, membership.external_id


def _client(aws: Aws, membership: Membership) -> BaseClient:
    """Return the one client of this role and region, shared by all threads."""
    key = _client_key(aws, membership)
    with _clients_lock:
        if key not in _clients:
            _clients[key] = _new_client(aws, membership)
        return _clients[key]


def _forget_client(aws: Aws, membership: Membership) -> None:
    """Let the next call make a new client, which looks for credentials again."""
    with _clients_lock:
        _clients.pop(_client_key(aws, membership), None)


def _new_client(aws: Aws, membership: Membership) -> BaseClient:
    session = botocore.session.get_session()
    if membership.role_arn:
        role = _AssumedRole(aws, membership.role_arn, membership.external_id, membership.region)
        session.register_component("credential_provider", CredentialResolver([role]))
    client: BaseClient = boto3.Session(botocore_session=session).client(
        _SERVICE,
        region_name=membership.region,
        endpoint_url=aws.endpoint_url,
        config=_client_config(aws),
    )
    client.meta.events.register(f"before-parse.{_SERVICE}.{_LIST}", _take_page)
    client.meta.events.register(f"response-received.{_SERVICE}", _count_call)
    return client


def _client_config(aws: Aws) -> ClientConfig:
    settings: dict[str, Any] = {
        "connect_timeout": 10,
        "read_timeout": 60,
        "retries": {"mode": "standard", "total_max_attempts": _REQUESTS},
        "max_pool_connections": aws.max_concurrency,
        # Signed requests go where the configuration says, not where AWS_ENDPOINT_URL points.
        "ignore_configured_endpoint_urls": True,
    }
    return ClientConfig(**settings)


class _AssumedRole(CredentialProvider):
    """Credentials of a membership's role, through STS, renewed by botocore before they expire."""

    METHOD = "assume-role"

    def __init__(self, aws: Aws, role_arn: str, external_id: str | None, region: str) -> None:
        super().__init__()
        self._endpoint_url = aws.sts_endpoint_url or aws.endpoint_url
        self._config = _client_config(aws)
        self._role_arn = role_arn
        self._external_id = external_id
        self._region = region

    def load(self) -> DeferredRefreshableCredentials:
        """Return credentials that call STS when they are first needed."""
        ours = botocore.session.get_session()
        source = ours.get_credentials()
        if source is None:
            raise NoCredentialsError
        create_sts_client = partial(
            ours.create_client,
            region_name=self._region,
            endpoint_url=self._endpoint_url,
            config=self._config,
        )
        fetcher = AssumeRoleCredentialFetcher(
            create_sts_client, source, self._role_arn, extra_args=self._role_arguments()
        )
        return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method=self.METHOD)

    def _role_arguments(self) -> dict[str, str]:
        named = {"RoleSessionName": "cleanroomsml-etl"}
        return named | {"ExternalId": self._external_id} if self._external_id else named
