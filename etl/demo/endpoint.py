"""Serves a world over real HTTP on this machine: sockets, threads, faults, and the record of requests."""

import secrets
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from sys import exc_info
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

from etl.demo import service
from etl.demo.answers import Answer, Error, Match, Normal, Plan, Planned, Reply, Reset, Slow, Truncated
from etl.demo.request import JOBS, Request, parse
from etl.demo.sts import Sts
from etl.demo.world import World

_CLOSE_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST instead of FIN
_PATIENCE_SECONDS = 5  # with a test's own code that still waits for something in a connection's thread
_POLL_SECONDS = 0.01  # how long close() waits at most for the accepting thread


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
        self._server = _Server(self, port)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        self._thread.start()

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
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

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


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # an endpoint that nobody closes must not keep a process alive
    request_queue_size = 128

    def __init__(self, endpoint: Endpoint, port: int) -> None:
        self.endpoint = endpoint
        self._connections: dict[socket.socket, Thread] = {}
        super().__init__(("127.0.0.1", port), _Connection)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's would look up a host name, which may take seconds
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._connections[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self._connections.pop(request, None)

    def server_close(self) -> None:
        super().server_close()
        for connection, thread in list(self._connections.items()):
            _cut(connection)
            thread.join(_PATIENCE_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        failure = exc_info()[1]
        if isinstance(failure, Exception) and not isinstance(failure, ConnectionError):
            self.endpoint.failures.append(failure)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = parse(self.command, self.path, self.headers, content)
        endpoint = self.server.endpoint
        endpoint.begin(request)
        try:
            self._give(endpoint.answer(request), request)
        finally:
            endpoint.end()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's signature
        """Say nothing: requests are on record."""

    def _give(self, answer: Answer, request: Request) -> None:
        endpoint = self.server.endpoint
        match answer:
            case Slow():
                endpoint.pause(answer.seconds)
                self._give(answer.then, request)
            case Reset():
                self._reset()
            case Truncated():
                head, content = self._message(endpoint.reply(request), request)
                self._cut_short(head + content[: int(len(content) * answer.keep)], answer.stall_seconds)
            case Normal():
                self.wfile.write(b"".join(self._message(endpoint.reply(request), request)))
            case _:
                self.wfile.write(b"".join(self._message(answer, request)))

    def _message(self, answer: Reply | Error, request: Request) -> tuple[bytes, bytes]:
        """Head and body, to be sent in one go: two sends would wait for each other's acknowledgement."""
        reply = service.worded(answer, request) if isinstance(answer, Error) else answer
        lines = [
            f"HTTP/1.1 {reply.status} {service.phrase(reply.status)}",
            f"Date: {self.server.endpoint.date()}",
            f"Content-Type: {reply.content_type}",
            f"Content-Length: {len(reply.body)}",
            f"x-amzn-RequestId: {secrets.token_hex(16)}",
        ]
        if isinstance(answer, Error) and not request.is_sts:
            lines.append(f"x-amzn-errortype: {answer.code}")
        return "\r\n".join([*lines, "", ""]).encode(), reply.body

    def _cut_short(self, part: bytes, stall_seconds: float) -> None:
        self.wfile.write(part)
        self.server.endpoint.pause(stall_seconds)
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_AT_ONCE)
        self.rfile.close()  # it holds the socket open
        self.connection.close()
        self.close_connection = True


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the client was faster
        return
