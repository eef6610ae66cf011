"""Stands between the product and Postgres: cuts connections around a COMMIT, or lets them fall silent."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event, Thread
from typing import Literal

from etl import database

COMMIT = b"COMMIT\0"
LATE = 0.3  # seconds that a COMMIT is under way after its client has lost the connection

Cut = Literal["before", "late", "after", "never"]
"""before: the server never sees the COMMIT. late: it arrives some time after the client has lost its connection.
after: it takes place, but its answer never arrives. never: nothing passes any more, and nobody is told.
"""


def uncut(_: int) -> Cut | None:
    """Let all COMMITs pass."""
    return None


class Proxy(ThreadingTCPServer):
    """Passes all on, but for the COMMITs that `cut` names by their numbers, from 1."""

    request_queue_size = 64

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Link)
        self.commits = 0
        self.cut: Callable[[int], Cut | None] = uncut
        self.flows = Event()
        self.flows.set()
        self.links: set[socket.socket] = set()
        self.ends = Event()
        self._behind = database.parse(url)
        self.url = self._behind.set(port=self.server_address[1]).render_as_string(hide_password=False)
        self._thread = Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def server_close(self) -> None:
        """End, once the connections have ended."""
        self.ends.set()
        self.shutdown()
        self._thread.join()
        super().server_close()

    def lead_to(self, url: str) -> None:
        """Connect whoever comes from now on to another server, as an address does that moves with the primary."""
        self._behind = database.parse(url)

    def connect(self) -> socket.socket:
        assert self._behind.host
        assert self._behind.port
        return socket.create_connection((self._behind.host, self._behind.port))

    def plan(self, said: bytes) -> Cut | None:
        """Decide what becomes of what a client said."""
        if COMMIT not in said:
            return None
        self.commits += 1
        return self.cut(self.commits)

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Let nothing through for a while, and end the connections that fell silent."""
        self.flows.clear()
        try:
            yield
        finally:
            hang_up(*self.links.copy())
            self.flows.set()


class _Link(BaseRequestHandler):
    """One connection: two sockets, and a thread for each direction."""

    server: Proxy
    request: socket.socket
    is_muted = False
    is_lost = False

    def handle(self) -> None:
        try:
            self.postgres = self.server.connect()
        except OSError:
            return  # the server is away: so is the proxy
        self.server.links.add(self.request)
        with self.postgres:
            answers = Thread(target=self._pass_answers)
            answers.start()
            self._pass_words()
            answers.join()
        self.server.links.discard(self.request)

    def _pass_words(self) -> None:
        for said in self._heard(self.request):
            how = self.server.plan(said)
            if how == "before":
                break
            if how == "never":
                self.is_lost = True
                self.server.ends.wait()
                break
            self.is_muted = how is not None
            if how == "late":
                hang_up(self.request)
                time.sleep(LATE)
            with suppress(OSError):
                self.postgres.sendall(said)
            if how:
                return  # the answer ends the connection
        hang_up(self.request, self.postgres)

    def _pass_answers(self) -> None:
        for said in self._heard(self.postgres):
            if self.is_muted:
                break
            with suppress(OSError):
                self.request.sendall(said)
        if self.is_lost:
            self.server.ends.wait()
        hang_up(self.request, self.postgres)

    def _heard(self, speaker: socket.socket) -> Iterator[bytes]:
        with suppress(OSError):
            while said := speaker.recv(65536):
                self.server.flows.wait()
                yield said


def hang_up(*sockets: socket.socket) -> None:
    """Close connections, whatever their state."""
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
