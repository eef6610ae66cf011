"""Serves a world over real HTTP on this machine: its faults, and the record of requests."""

import secrets
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event, Lock
from types import TracebackType
from typing import Self

import h11

from etl.demo import service
from etl.demo.answers import Answer, Error, Match, Normal, Plan, Planned, Reply, Reset, Slow, Truncated
from etl.demo.connection import Connection
from etl.demo.request import JOBS, Request, parse
from etl.demo.server import Server
from etl.demo.sts import Sts
from etl.demo.world import World


class Endpoint:
    """A context manager that serves `world` at `url`.

    On leaving, what hooks, predicates and answers of tests raised in the server's threads is raised here.
    """

    def __init__(
        self,
        world: World,
        *,
        port: int = 0,
        latency_seconds: float = 0.0,
        credential_lifetime: timedelta = timedelta(hours=1),
    ) -> None:
        self.world = world
        self.latency_seconds = latency_seconds
        self.clock_skew = timedelta(0)
        self.before_page: Callable[[Request], None] | None = None
        self.peak_in_flight = 0
        self.failures: list[Exception] = []
        self._sts = Sts(credential_lifetime)
        self._plan = Plan()
        self._requests: list[Request] = []
        self._in_flight = 0
        self._lock = Lock()
        self._closing = Event()
        self._server = Server(port, self._serve)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is not None:
            for failure in self.failures:
                error.add_note(f"raised in the simulated endpoint before: {failure!r}")
        elif self.failures:
            raise ExceptionGroup("raised in the simulated endpoint", self.failures)

    @property
    def requests(self) -> list[Request]:
        """A copy of all requests so far, in the order of their arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def counts(self) -> Counter[str]:
        """How often each operation was asked for."""
        return Counter(request.operation for request in self.requests)

    def forget_requests(self) -> None:
        """Start the record anew."""
        with self._lock:
            self._requests.clear()
            self.peak_in_flight = self._in_flight

    def on(self, match: Match, *answers: Planned, times: int | None = 1) -> None:
        """Answer the requests that match (an operation, or a predicate) with each of `answers` in turn.

        The sequence is gone through `times` times (None: for ever). Earlier rules have the first say, a rule
        that is used up has none, and without a rule the world answers.
        """
        self._plan.add(match, answers, times)

    def forget_plan(self) -> None:
        """Answer normally again."""
        self._plan.clear()

    def add_role(
        self, arn: str, *, external_id: str | None = None, memberships: Iterable[str] | None = None
    ) -> None:
        """Let a role be assumed (no other can be); it may read all memberships, or only those given."""
        self._sts.add_role(arn, external_id, memberships)

    def expire_credentials(self) -> None:
        """Refuse all session credentials given out so far as expired, whatever they say of themselves."""
        self._sts.expire_all()

    def close(self) -> None:
        """End at once: open connections are cut, waiting answers are not waited for."""
        if not self._closing.is_set():
            self._closing.set()
            self._server.close()

    # What the connections' threads ask for

    def begin(self, request: Request) -> None:
        """Record a request."""
        with self._lock:
            self._requests.append(request)
            self._in_flight += 1
            self.peak_in_flight = max(self.peak_in_flight, self._in_flight)

    def end(self) -> None:
        """Note that a request has had its answer."""
        with self._lock:
            self._in_flight -= 1

    def answer(self, request: Request) -> Answer:
        """Decide what a request gets, by the plan."""
        answer = self._plan.answer(request)
        if not request.is_sts:
            self.pause(self.latency_seconds)
        return answer

    def reply(self, request: Request) -> Reply | Error:
        """Ask the world."""
        if self.before_page is not None and request.operation == JOBS:
            self.before_page(request)
        return service.reply(self.world, self._sts, request)

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than the endpoint lives."""
        if seconds > 0:
            self._closing.wait(seconds)

    def date(self) -> str:
        """Tell the endpoint's idea of now, for the Date header."""
        return format_datetime(datetime.now(UTC) + self.clock_skew, usegmt=True)

    def _serve(self, peer: socket.socket) -> None:
        try:
            connection = Connection(peer)
            for head, body in connection.requests():
                self._exchange(connection, parse(head, body))
        except ConnectionError:
            return  # the client, or close(), was faster
        except Exception as failure:  # noqa: BLE001 - a test's own code may raise anything
            self.failures.append(failure)

    def _exchange(self, connection: Connection, request: Request) -> None:
        self.begin(request)
        try:
            self._give(connection, self.answer(request), request)
        finally:
            self.end()

    def _give(self, connection: Connection, answer: Answer, request: Request) -> None:
        match answer:
            case Slow():
                self.pause(answer.seconds)
                self._give(connection, answer.then, request)
            case Reset():
                connection.reset()
            case Truncated():
                head, body = self._message(self.reply(request), request)
                connection.send_part(head, body[: int(len(body) * answer.keep)])
                self.pause(answer.stall_seconds)
            case Normal():
                connection.send(*self._message(self.reply(request), request))
            case _:
                connection.send(*self._message(answer, request))

    def _message(self, answer: Reply | Error, request: Request) -> tuple[h11.Response, bytes]:
        reply = service.worded(answer, request) if isinstance(answer, Error) else answer
        headers = [
            ("Date", self.date()),
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            ("x-amzn-RequestId", secrets.token_hex(16)),
        ]
        if isinstance(answer, Error) and not request.is_sts:
            headers.append(("x-amzn-errortype", answer.code))
        reason = service.phrase(reply.status).encode()
        return h11.Response(status_code=reply.status, headers=headers, reason=reason), reply.body
