"""What those who watch the daemon are answered, by HTTP."""

import email.utils
import http.client
import logging
import os
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from etl.monitor import CONNECTIONS, Monitor

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""What a Prometheus server says that it accepts."""


@dataclass
class Health:
    """As well as a test wants it."""

    dead: str | None = None
    unready: str | None = None

    def is_alive(self) -> str | None:
        return self.dead

    def is_ready(self) -> str | None:
        return self.unready


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: str


@pytest.fixture(scope="module")
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("answer", "To everything", ["who"], registry=registry).labels("Grüße").set(42)
    return registry


@pytest.fixture(scope="module")
def patient(registry: CollectorRegistry) -> Iterator[tuple[Monitor, Health]]:
    """One monitor for the tests that only ask: the end of each takes a moment."""
    health = Health()
    with Monitor("127.0.0.1:0", health, registry) as monitor:
        yield monitor, health


@pytest.fixture
def health(patient: tuple[Monitor, Health]) -> Health:
    """What the monitor is told; all is well until a test says otherwise."""
    _, health = patient
    health.dead = health.unready = None
    return health


@pytest.fixture
def monitor(patient: tuple[Monitor, Health], health: Health) -> Monitor:
    assert health == Health()
    return patient[0]


def place(monitor: Monitor) -> tuple[str, int]:
    assert monitor.address
    host, _, port = monitor.address.rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def client(monitor: Monitor) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection(*place(monitor), timeout=10)) as connection:
        yield connection


def ask(monitor: Monitor, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    with client(monitor) as connection:
        return ask_on(connection, path, method, body, **headers)


def ask_on(
    connection: http.client.HTTPConnection,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    **headers: str,
) -> Answer:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read().decode())


def raw(monitor: Monitor, request: bytes) -> bytes:
    """All that is answered to these bytes, until the connection is closed."""
    with socket.create_connection(place(monitor), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        parts: list[bytes] = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def silent_client(monitor: Monitor) -> socket.socket:
    return socket.create_connection(place(monitor), timeout=10)


def reset(client: socket.socket) -> None:
    """Leave without a word of goodbye: with RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def serving_threads() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def soon(condition: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# The probes


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/healthz?verbose"])
def test_who_is_well_says_ok(monitor: Monitor, path: str) -> None:
    answer = ask(monitor, path)
    assert (answer.status, answer.body) == (200, "ok\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_who_is_not_alive_says_why(monitor: Monitor, health: Health) -> None:
    health.dead = "the scheduler has not ticked for 61 s"
    answer = ask(monitor, "/healthz")
    assert (answer.status, answer.body) == (503, "the scheduler has not ticked for 61 s\n")
    assert ask(monitor, "/readyz").status == 200


def test_who_is_not_ready_says_why_and_is_still_alive(monitor: Monitor, health: Health) -> None:
    health.unready = "Grüße:\x1b[31m\nthe database is away"
    answer = ask(monitor, "/readyz")
    assert (answer.status, answer.body) == (503, "Grüße:\\x1b[31m\\nthe database is away\n")
    assert ask(monitor, "/healthz").status == 200


def test_a_probe_is_answered_anew_each_time(monitor: Monitor, health: Health) -> None:
    statuses = []
    for health.unready in ("away", None, "away"):
        statuses.append(ask(monitor, "/readyz").status)
    assert statuses == [503, 200, 503]
    assert ask(monitor, "/readyz").headers["Cache-Control"] == "no-store"


def test_a_fault_of_the_daemon_is_an_answer_and_a_line_of_its_log(
    health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty:
        def collect(self) -> Iterator[GaugeMetricFamily]:
            raise ValueError("secret of the daemon")

    registry = CollectorRegistry()
    registry.register(Faulty())
    with Monitor("127.0.0.1:0", health, registry) as monitor:
        answer = ask(monitor, "/metrics")
        assert ask(monitor, "/healthz").status == 200
    assert (answer.status, answer.body) == (500, "a fault of this program: its log tells more\n")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "secret of the daemon" in caplog.text


# Metrics


def test_metrics_are_text_that_prometheus_reads(monitor: Monitor) -> None:
    answer = ask(monitor, "/metrics")
    [family] = parse_text(answer.body)
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"who": "Grüße"}, 42)]
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_prometheus_gets_the_format_that_it_likes_best(monitor: Monitor) -> None:
    answer = ask(monitor, "/metrics", Accept=PROMETHEUS)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    [family] = parse_openmetrics(answer.body)  # type: ignore[no-untyped-call]  # types left out
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"who": "Grüße"}, 42)]


@pytest.mark.parametrize(
    "accept",
    ["application/openmetrics-text;version=new", "text/plain;version=1.x.0", "*/*", "", ";=,;", "a\r\n b"],
)
def test_who_asks_for_an_odd_format_gets_the_usual_one(monitor: Monitor, accept: str) -> None:
    answer = raw(monitor, f"GET /metrics HTTP/1.1\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"text/plain; version=0.0.4; charset=utf-8" in answer


def test_a_format_asked_for_in_two_lines_adds_no_line_to_the_answers_head(monitor: Monitor) -> None:
    accept = "Accept: application/openmetrics-text;version=1.0.0.x\r\n evil: 1"
    head, _, _ = raw(monitor, f"GET /metrics HTTP/1.1\r\n{accept}\r\n\r\n".encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not any(line.startswith(b" ") for line in head.split(b"\r\n"))


# HTTP


def test_the_index_names_what_can_be_asked(monitor: Monitor) -> None:
    paths = ask(monitor, "/").body.split()
    assert {path: ask(monitor, path).status for path in paths} == {
        "/healthz": 200,
        "/readyz": 200,
        "/metrics": 200,
    }


@pytest.mark.parametrize("path", ["/metric", "/metrics/", "//evil", "/../etc/passwd", "/%0d%0a", "*"])
def test_anything_else_is_not_found(monitor: Monitor, path: str) -> None:
    answer = ask(monitor, path)
    assert (answer.status, answer.body) == (404, "not found\n")


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nothing"])
def test_head_is_get_without_the_body(monitor: Monitor, path: str) -> None:
    got, head = ask(monitor, path), ask(monitor, path, "HEAD")
    assert (head.status, head.body) == (got.status, "")
    assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.body.encode()))
    assert raw(monitor, f"HEAD {path} HTTP/1.1\r\n\r\n".encode()).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_any_other_method_is_refused(monitor: Monitor, method: str) -> None:
    answer = ask(monitor, "/healthz", method)
    assert (answer.status, answer.body) == (405, "Method Not Allowed\n")
    assert answer.headers["Allow"] == "GET, HEAD"


def test_who_sends_a_body_hears_that_it_is_refused(monitor: Monitor) -> None:
    with socket.create_connection(place(monitor), timeout=10) as slow:
        slow.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: 30\r\n\r\n")
        for _ in range(3):
            time.sleep(0.05)
            slow.sendall(b"0123456789")
        assert slow.recv(65536).startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("length", ["-1", "x", "9" * 18, "9" * 5_000, "1_0"])
def test_an_odd_length_of_a_body_is_no_fault(
    monitor: Monitor, caplog: pytest.LogCaptureFixture, length: str
) -> None:
    answer = raw(monitor, f"POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert caplog.records == []


@pytest.mark.parametrize("header", ["Content-Length: 24", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_body_of_a_request_is_not_taken_for_the_next_request(
    monitor: Monitor, method: str, header: str
) -> None:
    smuggled = b"GET /readyz HTTP/1.1\r\n\r\n"
    answers = raw(monitor, f"{method} /healthz HTTP/1.1\r\n{header}\r\n\r\n".encode() + smuggled * 2)
    assert answers.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00 who speaks TLS here", 400),
        (b"GET", 400),
        (b"GET / HTTP/9.9", 505),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200, 431),
    ],
)
def test_what_is_no_request_is_refused_in_a_line(monitor: Monitor, request_line: bytes, status: int) -> None:
    answer = raw(monitor, request_line + b"\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert str(status).encode() in (head or body).split(b"\r\n")[0]
    assert b"<html" not in answer.lower()
    assert ask(monitor, "/healthz").status == 200


def test_an_answer_does_not_name_the_software(monitor: Monitor) -> None:
    answers = [ask(monitor, "/healthz"), ask(monitor, "/x"), ask(monitor, "/", "POST")]
    assert [answer.headers["Server"] for answer in answers] == [None, None, None]
    assert b"ython" not in raw(monitor, b"nonsense nonsense nonsense\r\n\r\n")


def test_an_answer_bears_its_date(monitor: Monitor) -> None:
    date = email.utils.parsedate_to_datetime(ask(monitor, "/healthz").headers["Date"])
    assert abs((datetime.now(UTC) - date).total_seconds()) < 5


def test_a_connection_serves_many_requests(monitor: Monitor) -> None:
    with client(monitor) as connection:
        statuses = [ask_on(connection, "/healthz").status]
        kept = connection.sock
        statuses += [ask_on(connection, path).status for path in ("/nothing", "/metrics", "/readyz")]
        assert connection.sock is kept
    assert statuses == [200, 404, 200, 200]


def test_a_client_that_wants_the_connection_closed_gets_it_closed(monitor: Monitor) -> None:
    answer = raw(monitor, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert raw(monitor, b"GET /healthz HTTP/1.0\r\n\r\n").endswith(b"ok\n")


def test_requests_leave_no_line_anywhere(
    monitor: Monitor, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    ask(monitor, "/healthz")
    ask(monitor, "/nothing", "POST")
    raw(monitor, b"nonsense\r\n\r\n")
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_a_client_that_leaves_at_once_leaves_no_line(
    monitor: Monitor, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(20):
        with silent_client(monitor) as leaving:
            leaving.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            reset(leaving)
    assert ask(monitor, "/healthz").status == 200
    assert soon(lambda: serving_threads() == 0)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


# Clients that would hold it up


def test_many_silent_clients_block_nobody_and_pile_up_no_threads(monitor: Monitor) -> None:
    with ExitStack() as clients:
        for _ in range(3 * CONNECTIONS):
            clients.enter_context(silent_client(monitor))
        began = time.monotonic()
        assert ask(monitor, "/healthz").status == 200
        assert time.monotonic() - began < 2
        assert serving_threads() <= CONNECTIONS


def test_the_one_that_is_open_for_longest_makes_room(monitor: Monitor) -> None:
    with ExitStack() as clients:
        oldest, *others = [clients.enter_context(silent_client(monitor)) for _ in range(CONNECTIONS)]
        assert ask(monitor, "/healthz").status == 200
        assert oldest.recv(1) == b""
        for other in others:
            other.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert all(other.recv(12) == b"HTTP/1.1 200" for other in others)


def test_a_client_that_says_nothing_is_left_after_a_while(
    monitor: Monitor, capfd: pytest.CaptureFixture[str]
) -> None:
    with silent_client(monitor) as silent:
        began = time.monotonic()
        assert silent.recv(1) == b""
        assert 2 < time.monotonic() - began < 5
    assert capfd.readouterr() == ("", "")


def test_clients_that_do_not_read_block_nobody(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.monitor.CONNECTIONS", 3)  # they cost megabytes of buffers each
    registry = CollectorRegistry()
    Gauge("large", "x" * 12_000_000, registry=registry)
    with Monitor("127.0.0.1:0", health, registry) as monitor, ExitStack() as clients:
        asking = [clients.enter_context(silent_client(monitor)) for _ in range(3)]
        for client in asking:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        for client in asking:
            assert client.recv(1) == b"H"  # so that what is left of its answer waits to be read
        assert serving_threads() == 3
        began = time.monotonic()
        assert ask(monitor, "/healthz").status == 200
        assert time.monotonic() - began < 2


class Slow:
    """Metrics that are long in coming."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.may_go = threading.Event()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        self.asked.release()
        self.may_go.wait(10)
        return iter(())


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def slow_monitor(slow: Slow) -> Iterator[Monitor]:
    registry = CollectorRegistry()
    registry.register(slow)
    with Monitor("127.0.0.1:0", Health(), registry) as monitor:
        yield monitor
        slow.may_go.set()


def test_while_all_are_busy_no_thread_is_added_and_afterwards_all_are_served(
    slow_monitor: Monitor, slow: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as clients:
        for _ in range(CONNECTIONS):
            clients.enter_context(silent_client(slow_monitor)).sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert soon(lambda: serving_threads() == CONNECTIONS)
        newcomers = [clients.enter_context(silent_client(slow_monitor)) for _ in range(2)]
        assert newcomers[0].recv(1) == b""  # from now on nobody can make room
        began = time.monotonic()
        assert newcomers[1].recv(1) == b""
        assert time.monotonic() - began < 2.5
        assert serving_threads() == CONNECTIONS
        slow.may_go.set()
        assert soon(lambda: serving_threads() == 0)
        assert ask(slow_monitor, "/healthz").status == 200
    assert caplog.records == []


def test_busy_ones_that_cannot_make_room_leave_it_to_silent_ones(slow_monitor: Monitor, slow: Slow) -> None:
    with ExitStack() as clients:
        for _ in range(2):
            busy = clients.enter_context(silent_client(slow_monitor))
            busy.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert slow.asked.acquire(timeout=5)
        reset(busy)  # there is no connection left to be cut
        for _ in range(CONNECTIONS - 2):
            clients.enter_context(silent_client(slow_monitor))
        assert soon(lambda: serving_threads() == CONNECTIONS)
        began = time.monotonic()
        for _ in range(3):
            assert ask_on(clients.enter_context(client(slow_monitor)), "/healthz").status == 200
        assert time.monotonic() - began < 2
        assert serving_threads() <= CONNECTIONS


def test_a_process_without_free_files_waits_and_answers_again() -> None:
    script = """
import os, resource, sys, time
from prometheus_client import CollectorRegistry
from etl.monitor import Monitor

class Health:
    is_alive = is_ready = lambda self: None

with Monitor("127.0.0.1:0", Health(), CollectorRegistry()) as monitor:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    files = []
    try:
        while True:
            files.append(open(os.devnull))
    except OSError:
        print(monitor.address, flush=True)
    sys.stdin.readline()
    before = time.process_time()
    time.sleep(0.5)
    print(time.process_time() - before, flush=True)
    del files
    sys.stdin.readline()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(  # noqa: S603 - our own code
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        host, _, port = process.stdout.readline().strip().rpartition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
            connection.request("GET", "/healthz")
            process.stdin.write("\n")
            process.stdin.flush()
            assert float(process.stdout.readline()) < 0.25
            assert connection.getresponse().status == 200
        process.stdin.write("\n")


# Where it listens


def test_it_listens_where_it_is_told(health: Health, registry: CollectorRegistry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Monitor(f"127.0.0.1:{port}", health, registry) as monitor:
        assert (monitor.address, monitor.trouble) == (f"127.0.0.1:{port}", None)
        assert ask(monitor, "/healthz").status == 200


def test_a_port_that_is_taken_is_exchanged_for_a_free_one_of_the_same_host(registry: CollectorRegistry) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        listen = f"127.0.0.2:{taken.getsockname()[1]}"
        with Monitor(listen, Health(), registry) as monitor:
            assert place(monitor)[0] == "127.0.0.2"
            assert ask(monitor, "/healthz").status == 200
            assert monitor.trouble == (
                f"daemon.listen: cannot listen on {listen}: Address already in use; listening on {monitor.address}"
            )


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        ("192.0.2.1:9464", "Cannot assign requested address"),
        ("192.0.2.1:99999", "port must be 0-65535"),
        ("nowhere.invalid:9464", ""),
        ("a..b:9464", "label empty or too long"),
    ],
)
def test_an_address_that_cannot_be_had_leaves_this_machine(
    health: Health, registry: CollectorRegistry, listen: str, reason: str
) -> None:
    with Monitor(listen, health, registry) as monitor:
        assert place(monitor)[0] == "127.0.0.1"
        assert ask(monitor, "/healthz").status == 200
        assert monitor.trouble
        assert monitor.trouble.startswith(f"daemon.listen: cannot listen on {listen}: ")
        assert reason in monitor.trouble
        assert monitor.trouble.endswith(f"; listening on {monitor.address}")


def test_where_nothing_can_be_had_it_listens_nowhere_and_raises_nothing(
    health: Health, registry: CollectorRegistry
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))  # a socket would be one file too many
    try:
        with Monitor("127.0.0.1:0", health, registry) as monitor:
            assert monitor.address is None
            assert monitor.trouble
            assert monitor.trouble.endswith("Too many open files; listening nowhere")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ipv6_is_listened_on_and_shown_in_brackets(health: Health, registry: CollectorRegistry) -> None:
    with Monitor("[::1]:0", health, registry) as monitor:
        assert monitor.trouble is None
        assert monitor.address
        assert monitor.address.startswith("[::1]:")
        with urlopen(f"http://{monitor.address}/healthz") as answer:
            assert answer.status == 200


def test_a_name_is_an_address_too(health: Health, registry: CollectorRegistry) -> None:
    with Monitor("localhost:0", health, registry) as monitor:
        assert monitor.trouble is None
        assert ask(monitor, "/healthz").status == 200


# Its end


def test_it_stops_within_a_second_whoever_is_connected(health: Health, registry: CollectorRegistry) -> None:
    monitor = Monitor("127.0.0.1:0", health, registry)
    with ExitStack() as clients:
        with monitor:
            kept = clients.enter_context(client(monitor))
            ask_on(kept, "/healthz")
            silent = clients.enter_context(silent_client(monitor))
            assert soon(lambda: serving_threads() == 2)
            began = time.monotonic()
        assert time.monotonic() - began < 2.5
        assert silent.recv(1) == b""
        assert serving_threads() == 0
        with pytest.raises(ConnectionRefusedError):
            silent_client(monitor)


def test_an_answer_under_way_is_still_given(registry: CollectorRegistry) -> None:
    asked = threading.Event()

    class Slow(Health):
        def is_alive(self) -> str | None:
            asked.set()
            time.sleep(0.25)  # longer than the accepting thread takes to end
            return None

    answers: list[Answer] = []
    with Monitor("127.0.0.1:0", Slow(), registry) as monitor:
        thread = threading.Thread(target=lambda: answers.append(ask(monitor, "/healthz")))
        thread.start()
        assert asked.wait(5)
    thread.join()
    assert [answer.body for answer in answers] == ["ok\n"]


def test_the_next_process_gets_the_same_port_at_once(health: Health, registry: CollectorRegistry) -> None:
    with ExitStack() as clients, Monitor("127.0.0.1:0", health, registry) as first:
        connection = clients.enter_context(client(first))
        ask_on(connection, "/healthz")
    # The server closed first, so its port still waits for stragglers.
    assert first.address
    with Monitor(first.address, health, registry) as second:
        assert second.address == first.address


def test_a_process_that_forgets_it_still_ends() -> None:
    script = """
import sys
from prometheus_client import CollectorRegistry
from etl.monitor import Monitor
Monitor("127.0.0.1:0", None, CollectorRegistry()).__enter__()
sys.exit(3)
"""
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, timeout=10, check=False).returncode == 3  # noqa: S603 - our own code


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements(monitor: Monitor) -> None:
    with client(monitor) as connection:
        began = time.monotonic()
        for _ in range(100):
            ask_on(connection, "/healthz")
        assert time.monotonic() - began < 2.5
