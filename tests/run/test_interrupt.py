"""A signal is noted at any moment, be the program in the midst of a write or of an import."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tuner.run.interrupt import StopOnInterrupt

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

INTERRUPTED = """
import os, random, signal, threading, time
from tuner.report.terminal import make_console, outlast_readers
from tuner.run.interrupt import StopOnInterrupt

outlast_readers()
console = make_console(stderr=True)
ready = threading.Event()
times = 200

def interrupt():
    for _ in range(times):
        ready.wait()
        ready.clear()
        time.sleep(random.Random(_).uniform(0, 0.003))
        os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
lines = 0
for _ in range(times):
    stop = StopOnInterrupt()
    ready.set()
    while not stop():
        console.print("a line")
        lines += 1
print(lines)
"""


def test_ctrl_c_in_the_midst_of_a_write_is_noted_and_answered() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = "stopping after the running trials; press Ctrl-C again to stop at once"
    assert done.stderr.count(f"{answer}\n") == 200
    assert done.stderr.count("a line") == int(done.stdout)


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """Return the signals that come to who had them before a study, and have them after it."""
    numbers: list[int] = []
    before = {n: signal.signal(n, lambda n, _: numbers.append(n)) for n in SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_handlers_are_put_back_and_who_is_to_end_is_told_again(
    heard: list[int], number: int
) -> None:
    with StopOnInterrupt() as stop:
        assert not stop()
        signal.raise_signal(number)
        assert stop()
        assert heard == []
    assert heard == ([] if number == signal.SIGINT else [number])
    signal.raise_signal(number)
    assert heard[-1] == number


def test_handlers_are_put_back_after_a_second_one(heard: list[int]) -> None:
    with StopOnInterrupt():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGINT]


def test_a_thread_that_is_not_the_main_one_leaves_signals_alone(heard: list[int]) -> None:
    asked: list[bool] = []

    def run() -> None:
        with StopOnInterrupt() as stop:
            asked.append(stop())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert asked == [False]
    signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGINT]
