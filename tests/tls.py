"""Stands before Postgres and speaks TLS, which the private server cannot."""

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread

import trustme

from etl import database

_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_ASK_FOR_PASSWORD = struct.pack("!cII", b"R", 8, 3)


class Front(ThreadingTCPServer):
    """Passes on what it hears in TLS; who does not ask for TLS is turned away."""

    def __init__(self, url: str, certificate: trustme.LeafCert) -> None:
        super().__init__(("127.0.0.1", 0), _Client)
        self.hears_password: Callable[[str], None] | None = None
        """Called with what a client gives for its password, before Postgres hears of it."""
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(self.context)
        self.behind = database.parse(url)

    def url(self, host: str, **parameters: str) -> str:
        """Return the URL of the same database by way of here, where `host` is to be found."""
        parameters = {"hostaddr": "127.0.0.1", **parameters}
        address = self.behind.set(host=host, port=self.server_address[1], query=parameters)
        return address.render_as_string(hide_password=False)


class _Client(BaseRequestHandler):
    server: Front
    request: socket.socket

    def handle(self) -> None:
        if self.request.recv(8, socket.MSG_WAITALL) != _SSL_REQUEST:
            return
        self.request.sendall(b"S")
        with (
            suppress(OSError),  # whoever does not trust us hangs up
            self.server.context.wrap_socket(self.request, server_side=True) as client,
        ):
            self._introduce(client)

    def _introduce(self, client: ssl.SSLSocket) -> None:
        """Log a client in to Postgres, and pass on what they say."""
        hello = client.recv(65536)
        password = self._password_of(client) if self.server.hears_password else b""
        with socket.create_connection((self.server.behind.host, self.server.behind.port)) as postgres:
            postgres.sendall(hello)
            if password and postgres.recv(len(_ASK_FOR_PASSWORD), socket.MSG_WAITALL) == _ASK_FOR_PASSWORD:
                postgres.sendall(password)
            self._pass_on(client, postgres)

    def _password_of(self, client: ssl.SSLSocket) -> bytes:
        """Ask for a password, as Postgres asks; return the message that holds it."""
        client.sendall(_ASK_FOR_PASSWORD)
        message = client.recv(65536)
        if message and self.server.hears_password:
            self.server.hears_password(message[5:-1].decode())
        return message

    def _pass_on(self, client: ssl.SSLSocket, postgres: socket.socket) -> None:
        """Pass on both ways, in one thread: TLS of Python takes no two."""
        while True:
            heard = [client] if client.pending() else select([client, postgres], [], [])[0]
            for each in heard:
                if not (said := each.recv(65536)):
                    return
                (postgres if each is client else client).sendall(said)


@contextmanager
def front(url: str, certificate: trustme.LeafCert) -> Iterator[Front]:
    """Serve for a while."""
    with Front(url, certificate) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def roots(authority: trustme.CA, folder: Path) -> str:
    """Write an authority's certificate, and return its file for `sslrootcert`."""
    file = folder / "roots.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)
