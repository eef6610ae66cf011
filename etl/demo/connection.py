"""HTTP/1.1 on one socket: h11 speaks the protocol, but which bytes are sent, and when, is decided here."""

import socket
import struct
from collections.abc import Iterator

import h11

_CLOSE_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST instead of FIN
_LONGEST_HEAD = 1 << 17  # bytes: a test's nextToken may be long
_RECEIVED_AT_ONCE = 1 << 16  # bytes
_METHODS = (b"GET", b"POST")


class Connection:
    """The server's side of a connection; whoever owns the socket closes it when `requests` has ended."""

    def __init__(self, peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = peer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)

    def requests(self) -> Iterator[tuple[h11.Request, bytes]]:
        """Yield each request's head and body; it has to be answered before the next.

        They end when either side wants no more, after a broken answer, and at anything that is no HTTP.
        """
        try:
            while request := self._request():
                yield request
                if self._http.our_state is not h11.DONE:
                    return
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            headers = [("Content-Length", "0"), ("Connection", "close")]
            self._send(h11.Response(status_code=error.error_status_hint, headers=headers), h11.EndOfMessage())

    def send(self, head: h11.Response, body: bytes) -> None:
        """Answer."""
        self._send(head, h11.Data(data=body), h11.EndOfMessage())

    def send_part(self, head: h11.Response, part: bytes) -> None:
        """Send less than the head declares: the connection is good for nothing else then."""
        self._socket.sendall(self._bytes(head) + part)

    def reset(self) -> None:
        """Let the connection end with RST, unanswered."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_AT_ONCE)

    def _request(self) -> tuple[h11.Request, bytes] | None:
        head = self._event()
        if not isinstance(head, h11.Request):
            return None
        if head.method not in _METHODS:
            raise h11.RemoteProtocolError("no operation of AWS is asked for so", error_status_hint=501)
        return head, b"".join(self._body())

    def _body(self) -> Iterator[bytes]:
        while isinstance(event := self._event(), h11.Data):
            yield event.data

    def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(self._socket.recv(_RECEIVED_AT_ONCE))
        return event

    def _send(self, *events: h11.Event) -> None:
        """Send in one go: two sends would wait for each other's acknowledgement."""
        self._socket.sendall(self._bytes(*events))

    def _bytes(self, *events: h11.Event) -> bytes:
        return b"".join(self._http.send(event) or b"" for event in events)
