"""The pages of a listing: boto3 composes the call for the first one, and it goes out again for each that follows.

They differ by their token alone: what becomes of parameters and endpoint rules, and what handlers of the events up
to `before-call` do, is the same each time, and takes a seventh of a page's processor time. What sends the call,
signs it, waits for its turn, tries again and reads the answer is botocore's `Endpoint`, as ever.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from botocore.client import BaseClient
from botocore.endpoint import Endpoint
from botocore.exceptions import ClientError
from botocore.model import OperationModel
from botocore.utils import percent_encode

from etl import wire


@dataclass(frozen=True)
class _Composed:
    """A call as boto3 composed it, and what it goes out through."""

    endpoint: Endpoint
    operation: OperationModel
    request: dict[str, Any]

    def call(self, client: BaseClient, token: str) -> dict[str, Any]:
        """Call with a token; returns and raises what the client's own method would."""
        url = f"{self.request['url']}&nextToken={percent_encode(token)}"
        request = self.request | {"url": url, "context": dict(self.request["context"])}
        answer, parsed = self.endpoint.make_request(self.operation, request)
        # As the client does: a handler gives back what retries have taken of their quota.
        client.meta.events.emit(
            f"after-call.{self.operation.service_model.service_id.hyphenize()}.{self.operation.name}",
            http_response=answer,
            parsed=parsed,
            model=self.operation,
            context=request["context"],
        )
        if answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            code = parsed.get("Error", {}).get("Code")
            refusal = cast("type[ClientError]", client.exceptions.from_code(code))
            raise refusal(parsed, self.operation.name)
        return cast("dict[str, Any]", parsed)


def remember_on(client: BaseClient, service: str) -> None:
    """Let what the client returns tell how it was called."""
    client.meta.events.register(f"before-call.{service}", _keep)
    client.meta.events.register(f"needs-retry.{service}", _tell)


def _keep(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    """Keep a call's request before `Endpoint` changes it (botocore's event ``before-call``)."""
    context["composed"] = params | {"context": dict(context)}


def _tell(
    response: tuple[object, dict[str, Any]] | None,
    endpoint: Endpoint,
    operation: OperationModel,
    request_dict: dict[str, Any],
    **_: object,
) -> None:
    """Add the call to its answer (botocore's event ``needs-retry``, which alone hands out the endpoint)."""
    composed = request_dict["context"].get("composed")
    if response and composed:
        response[1]["composed"] = _Composed(endpoint, operation, composed)


class Pages:
    """The pages of one listing: `method` is the client's, `request` what it is asked beside the token."""

    def __init__(self, method: str, request: dict[str, Any]) -> None:
        self._method = method
        self._request = request
        self._first: tuple[BaseClient, _Composed] | None = None

    def read(self, client: BaseClient, token: str | None) -> wire.Page[Any]:
        """Ask for the page of this token, None for the first; raises what boto3 and `wire.taken` raise."""
        if token is None:
            response = getattr(client, self._method)(**self._request)
            self._first = client, response["composed"]
        elif self._first and self._first[0] is client:
            response = self._first[1].call(client, token)
        else:  # other credentials have come in between: rare enough to compose each page that is left
            response = getattr(client, self._method)(**self._request, nextToken=token)
        return cast("wire.Page[Any]", wire.taken(response))
