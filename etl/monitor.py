"""Answers those who watch the daemon, over HTTP: is it alive, is it ready, its metrics.

Nobody who watches can hold it up. A client that says nothing, or does not read, costs one thread of a few; when
all are taken, the connection that is open for longest is cut for the newcomer.
"""

import logging
import re
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Condition, Thread
from typing import Any, NamedTuple, Protocol, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from etl.console import printable

CONNECTIONS = 32
"""Connections that are served at the same time, each on a thread."""

_LOOPBACK = "127.0.0.1"
_PATIENCE_SECONDS = 3  # with a client that sends nothing, or does not read
_POLL_SECONDS = 0.2  # how long the end waits at most for the accepting thread
_ENDING_SECONDS = 0.3  # for answers under way to be sent
_LETTING_GO_SECONDS = 0.05  # for a thread whose connection was cut; one that is still at work takes longer
_PAUSE_SECONDS = 0.1  # where none can be accepted: the process may be out of files
_BODY_READ = 65_536  # bytes of a body that nobody wants

_log = logging.getLogger(__name__)


class Health(Protocol):
    """What the probes ask: None is well, a text says in a line why not. Both must answer without waiting."""

    def is_alive(self) -> str | None:
        """Say why the process should be started again."""

    def is_ready(self) -> str | None:
        """Say why it can do no work now."""


class Monitor:
    """Listens once it is made, and answers inside its context.

    `listen` is ``host:port`` or ``[::1]:port``; port 0 is any that is free. Where it cannot be had, a free port of
    the same host is taken, or else of this machine alone: a daemon must not end because somebody has its port.
    `trouble` then says so in a line; it is None where all went well.
    """

    def __init__(self, listen: str, health: Health, registry: CollectorRegistry) -> None:
        self._server, self.trouble = _listening(listen, health, registry)

    @property
    def address(self) -> str | None:
        """Where it listens, written like `listen`; None where that is nowhere."""
        return self._server.address if self._server else None

    def __enter__(self) -> Self:
        if self._server:
            Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), name="monitor", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()


def _listening(listen: str, health: Health, registry: CollectorRegistry) -> "tuple[_Server | None, str | None]":
    """Return a server that listens, where there can be one, and what was wrong with `listen`."""
    name, _, port = listen.rpartition(":")
    host = name.strip("[]")
    trouble = None
    for place in ((host, int(port)), (host, 0), (_LOOPBACK, 0)):
        try:
            server = _Server(*place, health, registry)
        except (OSError, OverflowError, UnicodeError) as error:  # the latter two: no such port, no such name
            reason = error.strerror if isinstance(error, OSError) else error
            trouble = trouble or f"daemon.listen: cannot listen on {listen}: {reason}"
        else:
            return server, trouble and f"{trouble}; listening on {server.address}"
    return None, f"{trouble}; listening nowhere"


class _Server(ThreadingTCPServer):
    """Gives each connection a thread, and has no more of them than `CONNECTIONS`."""

    allow_reuse_address = True  # the process before this one may just have left
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, health: Health, registry: CollectorRegistry) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, (address, *_) = found[0]
        self.health = health
        self.registry = registry
        self._open: dict[socket.socket, bool] = {}  # in the order of their coming: whether it was cut
        self._changed = Condition()
        super().__init__((str(address), port), _Request)  # not getaddrinfo's port, which is cut to 16 bits
        host, port = self.socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def get_request(self) -> tuple[Any, Any]:
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE_SECONDS)  # the client is still there, and would be asked for again at once
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._has_room_for(request):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.pop(request, None)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        del request, client_address
        if not isinstance(sys.exception(), OSError):  # that is a client who has left
            _log.exception("a connection to the monitor failed")

    def server_close(self) -> None:
        super().server_close()
        with self._changed:
            self._cut(self._open, socket.SHUT_RD)  # answers under way are still sent
            if not self._changed.wait_for(lambda: not self._open, _ENDING_SECONDS):
                self._cut(self._open)

    def _has_room_for(self, request: socket.socket) -> bool:
        """Take a connection in, at the cost of older ones if need be; False where none of those ends."""
        with self._changed:
            uncut = iter([each for each, is_cut in self._open.items() if not is_cut])
            while len(self._open) >= CONNECTIONS:
                if (oldest := next(uncut, None)) is None:
                    return False
                self._cut([oldest])
                self._changed.wait_for(lambda: len(self._open) < CONNECTIONS, _LETTING_GO_SECONDS)
            self._open[request] = False
            return True

    def _cut(self, connections: Iterable[socket.socket], ways: int = socket.SHUT_RDWR) -> None:
        """Let whoever waits for these connections wait no longer."""
        for connection in connections:
            self._open[connection] = True
            with suppress(OSError):  # the client was faster
                connection.shutdown(ways)


class _Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class _Request(BaseHTTPRequestHandler):
    """One connection, and the requests that come on it."""

    server: _Server
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # so that also what is no HTTP is answered with a head
    timeout = _PATIENCE_SECONDS
    disable_nagle_algorithm = True  # head and body are two packets

    def do_GET(self) -> None:
        """Answer; a request with a body is the last on its connection."""
        self.close_connection |= "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        try:
            answer = self._answer()
        except Exception:  # noqa: BLE001 - who asked is answered, whatever is wrong with us
            _log.exception("the monitor could not answer")
            answer = _Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"a fault of this program: its log tells more\n")
        self._send(answer)

    do_HEAD = do_GET  # noqa: N815 - the base class looks for this name

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no HTTP, and methods that have no function above: the base class's words name Python."""
        del message, explain
        self.close_connection = True
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
            self._read_body()
        self._send(_Answer(status, f"{status.phrase}\n".encode()))

    def log_message(self, *_: object) -> None:
        """Write no access log."""

    def _answer(self) -> _Answer:
        match self.path.partition("?")[0]:
            case "/healthz":
                return _verdict(self.server.health.is_alive())
            case "/readyz":
                return _verdict(self.server.health.is_ready())
            case "/metrics":
                return self._metrics()
            case "/":
                return _Answer(HTTPStatus.OK, b"/healthz\n/readyz\n/metrics\n")
            case _:
                return _Answer(HTTPStatus.NOT_FOUND, b"not found\n")

    def _metrics(self) -> _Answer:
        accepted = " ".join(self.headers.get("Accept", "").split())
        try:
            encode, content_type = choose_encoder(accepted)
        except TypeError:  # prometheus_client's, of a version that is no number
            encode, content_type = choose_encoder("")
        return _Answer(HTTPStatus.OK, encode(self.server.registry), content_type)

    def _send(self, answer: _Answer) -> None:
        """Send an answer, without the base class's header that names the server and its version."""
        self.send_response_only(answer.status)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _read_body(self) -> None:
        """Read what a refused client is about to send: while it sends, it hears no answer."""
        length = self.headers.get("Content-Length", "")
        self.rfile.read(min(int(length), _BODY_READ) if re.fullmatch("[0-9]{1,18}", length) else 0)


def _verdict(trouble: str | None) -> _Answer:
    if trouble is None:
        return _Answer(HTTPStatus.OK, b"ok\n")
    return _Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{printable(trouble)}\n".encode())
