"""The pages of a listing: boto3 asks for the first one, and its request goes out again for each that follows.

They differ by their token alone, and to compose each anew, by way of its parameters, endpoint rules and events,
takes boto3 a quarter of a page's processor time. Signatures and connections are botocore's here, too. What comes
back and is no page becomes the first answer to a call of boto3's own, with its retries, pauses and errors.
"""

from dataclasses import dataclass
from typing import Any, cast

from botocore.awsrequest import AWSPreparedRequest
from botocore.client import BaseClient
from botocore.endpoint import Endpoint
from botocore.exceptions import HTTPClientError
from botocore.model import OperationModel
from botocore.utils import percent_encode

from etl import calls, wire


@dataclass(frozen=True)
class _Sent:
    """A request as boto3 sent it."""

    endpoint: Endpoint
    operation: OperationModel
    request: dict[str, Any]

    def again(self, token: str) -> AWSPreparedRequest:
        """Return it signed now, with a token (botocore's event ``request-created`` waits for its turn, too)."""
        url = f"{self.request['url']}&nextToken={percent_encode(token)}"
        # Without what this very request has been through.
        context = {name: value for name, value in self.request["context"].items() if name != "retries"}
        request = self.request | {"url": url, "context": context}
        signed: AWSPreparedRequest = self.endpoint.create_request(request, self.operation)
        return signed


def remember_on(client: BaseClient, service: str) -> None:
    """Let the client's answers tell what they answer; botocore tells it at its event ``needs-retry``."""
    client.meta.events.register(f"needs-retry.{service}", _remember)


def _remember(
    response: tuple[object, dict[str, Any]] | None,
    endpoint: Endpoint,
    operation: OperationModel,
    request_dict: dict[str, Any],
    **_: object,
) -> None:
    if response is not None:
        response[1]["sent"] = _Sent(endpoint, operation, request_dict)


class Pages:
    """The pages of one listing: `method` is the client's, `request` what it is asked beside the token."""

    def __init__(self, method: str, request: dict[str, Any]) -> None:
        self._method = method
        self._request = request
        self._first: tuple[BaseClient, _Sent] | None = None

    def read(self, client: BaseClient, token: str | None) -> wire.Page[Any]:
        """Ask for the page of this token, None for the first; raises what boto3 and `wire.taken` raise."""
        if token is None:
            response = getattr(client, self._method)(**self._request)
            if sent := response.get("sent"):
                self._first = client, sent
            return cast("wire.Page[Any]", wire.taken(response))
        if self._first is None or self._first[0] is not client:  # other credentials have come in between
            return self._composed(client, token)
        answer, page = _ask(self._first[1], token)
        if page is None:
            with calls.given(answer):
                return self._composed(client, token)
        return page

    def _composed(self, client: BaseClient, token: str) -> wire.Page[Any]:
        return cast("wire.Page[Any]", wire.taken(getattr(client, self._method)(**self._request, nextToken=token)))


def _ask(sent: _Sent, token: str) -> tuple[calls.Answer, wire.Page[Any] | None]:
    request = sent.again(token)
    calls.current().begin(request)
    try:
        answer = sent.endpoint.http_session.send(request)
    except HTTPClientError as error:
        return error, None
    page = wire.page(sent.operation.name, answer.status_code, answer.content)
    if page:
        calls.current().end()
    return answer, page
