"""What a request can be answered with: the truth, an error, any bytes, or a connection that breaks."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from etl.demo.request import OPERATIONS, Request

_STATUS_OF = {
    "AccessDenied": 403,
    "AccessDeniedException": 403,
    "ExpiredToken": 403,
    "ExpiredTokenException": 403,
    "InternalServiceException": 500,
    "InvalidClientTokenId": 403,
    "MissingAuthenticationToken": 403,
    "MissingAuthenticationTokenException": 403,
    "ResourceNotFoundException": 404,
    "ThrottlingException": 429,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}


@dataclass(frozen=True)
class Normal:
    """What the world says."""


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"


@dataclass(frozen=True)
class Error:
    """An error of AWS, in the wire format of the service that is asked."""

    code: str
    status: int
    message: str


@dataclass(frozen=True)
class Truncated:
    """What the world says, cut: less than its Content-Length declares, then the connection closes."""

    keep: float
    stall_seconds: float


@dataclass(frozen=True)
class Reset:
    """No answer: the connection is reset."""


@dataclass(frozen=True)
class Slow:
    """Another answer, late."""

    seconds: float
    then: "Answer"


Answer = Normal | Reply | Error | Truncated | Reset | Slow
Planned = Answer | Callable[[Request], Answer]
Match = str | Callable[[Request], bool]


def normal() -> Normal:
    """Answer with what the world says."""
    return Normal()


def error(code: str, status: int | None = None, message: str = "Simulated.") -> Error:
    """Answer with an error; the status follows from the code where AWS has one for it (else 400)."""
    return Error(code, status or _STATUS_OF.get(code, 400), message)


def body(content: bytes, status: int = 200, content_type: str = "text/html") -> Reply:
    """Answer with any bytes: a proxy's HTML, cut JSON, nothing at all."""
    return Reply(content, status, content_type)


def page(content: object, status: int = 200) -> Reply:
    """Answer with a literal JSON page."""
    return Reply(json.dumps(content).encode(), status)


def truncated(keep: float = 0.5, stall_seconds: float = 0.0) -> Truncated:
    """Send a share of the true body, be silent for a while, and close the connection."""
    return Truncated(keep, stall_seconds)


def reset() -> Reset:
    """Reset the connection (RST) instead of an answer."""
    return Reset()


def slow(seconds: float, then: Answer = Normal()) -> Slow:
    """Answer late."""
    return Slow(seconds, then)


@dataclass
class _Rule:
    match: Match
    answers: tuple[Planned, ...]
    left: int | None  # None: for ever
    given: int = 0

    def matches(self, request: Request) -> bool:
        if self.left == 0:
            return False
        return request.operation == self.match if isinstance(self.match, str) else self.match(request)

    def take(self) -> Planned:
        answer = self.answers[self.given % len(self.answers)]
        self.given += 1
        self.left = None if self.left is None else self.left - 1
        return answer


class Plan:
    """The answers that are waiting for their requests."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._lock = Lock()

    def add(self, match: Match, answers: tuple[Planned, ...], times: int | None) -> None:
        """Add a rule; it has its say after all earlier ones."""
        if not answers:
            raise ValueError("a plan needs at least one answer")
        if isinstance(match, str) and match not in OPERATIONS:
            raise ValueError(f"{match!r} is none of {', '.join(sorted(OPERATIONS))}")
        with self._lock:
            self._rules.append(_Rule(match, answers, None if times is None else times * len(answers)))

    def clear(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def answer(self, request: Request) -> Answer:
        """Take the next answer of the first rule that matches and is not used up."""
        with self._lock:
            rule = next((rule for rule in self._rules if rule.matches(request)), None)
            planned = rule.take() if rule else Normal()
        # Outside the lock: an answer may wait for another request.
        return planned(request) if callable(planned) else planned
