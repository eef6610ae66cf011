"""Requests sent to AWS, each counted for whoever sends it: by events of botocore, in the sender's thread."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from math import inf
from typing import Any

from botocore.awsrequest import AWSPreparedRequest
from botocore.client import BaseClient

from etl import codes


@dataclass
class Calls:
    """Requests sent to AWS, with the retries and the refusals for going too fast among them."""

    requests: int = 0
    retries: int = 0
    throttles: int = 0
    token: str = field(default="", repr=False)
    """The session token that the last request carried, so that whoever tells of its answer can leave it out."""
    wait: float = inf
    """The shortest time in seconds for which an answer was waited while this process had nothing to compute."""
    _sent: tuple[float, float] = (0.0, 0.0)

    def begin(self, request: AWSPreparedRequest) -> None:
        """Note a request that is being sent."""
        token = request.headers.get("X-Amz-Security-Token", "")
        self.token = token.decode() if isinstance(token, bytes) else token
        self._sent = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """Count a request that has had its answer, or none."""
        began, computed = self._sent
        wait = (time.perf_counter() - began) - (time.process_time() - computed)
        self.wait = min(self.wait, wait)
        self.requests += 1

    @classmethod
    def together(cls, every: "Iterable[Calls]") -> "Calls":
        """Return the sum of several."""
        counted = list(every)
        return cls(
            sum(calls.requests for calls in counted),
            sum(calls.retries for calls in counted),
            sum(calls.throttles for calls in counted),
        )


_current: ContextVar[Calls] = ContextVar("_current")


@contextmanager
def counted(calls: Calls) -> Iterator[None]:
    """Count in `calls` what this thread sends meanwhile, for one answer."""
    before = calls.requests
    token = _current.set(calls)
    try:
        yield
    finally:
        _current.reset(token)
        calls.retries += max(0, calls.requests - before - 1)


def count_on(client: BaseClient, service: str) -> None:
    """Let the client's requests be counted for whoever sends them."""
    client.meta.events.register(f"before-send.{service}", _begin)
    client.meta.events.register(f"response-received.{service}", _end)


def _begin(request: AWSPreparedRequest, **_: object) -> None:
    """Note that a request is being sent (botocore's event ``before-send``)."""
    _current.get().begin(request)


def _end(parsed_response: dict[str, Any] | None, **_: object) -> None:
    """Count one request on the wire (botocore's event ``response-received``)."""
    calls = _current.get()
    calls.end()
    calls.throttles += is_throttle(parsed_response)


def is_throttle(parsed_response: dict[str, Any] | None) -> bool:
    """Tell whether AWS answered that it is asked too often; None is no answer."""
    if parsed_response is None:
        return False
    status = parsed_response["ResponseMetadata"].get("HTTPStatusCode")
    code = parsed_response.get("Error", {}).get("Code")
    return status == HTTPStatus.TOO_MANY_REQUESTS or code in codes.THROTTLES
