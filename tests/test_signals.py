"""How a process is told to stop, and told again: real processes, real signals."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Timer

import pytest

STOPS = [signal.SIGINT, signal.SIGTERM]
AT_ONCE = 5  # seconds that a busy machine may take for what takes none
LIMIT = 20  # seconds that a program may live

PROGRAM = """
import signal, threading, time
from etl.cli.signals import Signals
signals = Signals(signal.SIGHUP)
print("ready", flush=True)
{}
print("over", flush=True)
"""
UNTIL_STOP = "for number in signals.until_stop(): print(signal.Signals(number).name, flush=True)"

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program that takes signals, and wait until it does."""
    with ExitStack() as stack:

        def run(work: str) -> "subprocess.Popen[str]":
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-c", PROGRAM.format(work)], stdout=subprocess.PIPE, text=True)  # noqa: S603
            )
            stack.callback(process.kill)
            end = Timer(LIMIT, process.kill)  # who reads from it then reads its end
            end.start()
            stack.callback(end.cancel)
            assert line(process) == "ready"
            return process

        yield run


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", STOPS)
def test_the_first_signal_asks_to_stop(start: Start, number: signal.Signals) -> None:
    process = start(UNTIL_STOP)
    process.send_signal(number)
    assert line(process) == "over"
    assert process.wait(AT_ONCE) == 0


@pytest.mark.parametrize("number", STOPS)
def test_who_is_at_work_sees_that_it_is_asked_to_stop(start: Start, number: signal.Signals) -> None:
    process = start("while not signals.is_stopping: time.sleep(0.01)")
    process.send_signal(number)
    assert line(process) == "over"


@pytest.mark.parametrize("first", STOPS)
@pytest.mark.parametrize("second", STOPS)
def test_the_second_signal_ends_the_process_with_its_number(
    start: Start, first: signal.Signals, second: signal.Signals
) -> None:
    process = start(f"{UNTIL_STOP}\nprint('stopping', flush=True)\ntime.sleep(60)")
    process.send_signal(first)
    assert line(process) == "stopping"
    process.send_signal(second)
    assert process.wait(AT_ONCE) == 128 + second


def test_another_signal_is_told_and_stops_nothing_however_often(start: Start) -> None:
    process = start(UNTIL_STOP)
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
        assert line(process) == "SIGHUP"
    process.send_signal(signal.SIGTERM)
    assert line(process) == "over"


def test_a_signal_that_comes_before_anybody_waits_is_not_lost(start: Start) -> None:
    process = start(f"signal.raise_signal(signal.SIGHUP)\n{UNTIL_STOP}")
    assert line(process) == "SIGHUP"
    process.send_signal(signal.SIGTERM)
    assert line(process) == "over"


def test_who_is_asked_to_stop_does_nothing_else_first(start: Start) -> None:
    process = start(f"signal.raise_signal(signal.SIGHUP); signal.raise_signal(signal.SIGTERM)\n{UNTIL_STOP}")
    assert line(process) == "over"


def test_a_signal_that_another_thread_gets_is_seen_too(start: Start) -> None:
    strike = "time.sleep(0.2); signal.pthread_kill(threading.get_ident(), signal.SIGTERM); time.sleep(60)"
    process = start(f"def strike(): {strike}\nthreading.Thread(target=strike, daemon=True).start()\n{UNTIL_STOP}")
    began = time.monotonic()
    assert line(process) == "over"
    assert time.monotonic() - began < AT_ONCE


def test_signals_without_end_do_no_harm(start: Start) -> None:
    process = start("for _ in signals.until_stop(): pass")
    for _ in range(2_000):
        process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert line(process) == "over"
