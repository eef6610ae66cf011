"""Accepts connections on this machine, and gives each a thread of its own."""

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread

_BACKLOG = 128
_PATIENCE_SECONDS = 5  # with a test's own code that still waits for something in a connection's thread
_POLL_SECONDS = 0.01  # how long close() waits at most for the accepting thread


class Server:
    """Calls `serve` with each connection, which is closed when it returns."""

    def __init__(self, port: int, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._connections: dict[socket.socket, Thread] = {}
        self._closing = Event()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        self._listener.settimeout(_POLL_SECONDS)
        self.port: int = self._listener.getsockname()[1]
        self._thread = Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut all connections, and wait for their threads."""
        self._closing.set()
        self._thread.join()
        self._listener.close()
        for connection, thread in list(self._connections.items()):
            with suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(_PATIENCE_SECONDS)

    def _accept(self) -> None:
        while not self._closing.is_set():
            with suppress(OSError):  # nobody came, or left at once
                self._start(self._listener.accept()[0])

    def _start(self, connection: socket.socket) -> None:
        # A daemon: a server that nobody closes must not keep a process alive.
        thread = Thread(target=self._hold, args=(connection,), daemon=True)
        self._connections[connection] = thread
        thread.start()

    def _hold(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._serve(connection)
        finally:
            del self._connections[connection]
