"""What the machine made a call wait is taken off its time, and nothing else."""

from __future__ import annotations

import sys
import time

import pytest

from tuner.measure import stopwatch
from tuner.measure.stopwatch import timed, timed_process

PUT_ASIDE = 0.05


@pytest.fixture(autouse=True)
def put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let others have the core whenever this process has read how long it waited."""
    waited = [0.0]

    def reading(path: str) -> float:
        found = waited[0] if "self" in path else 0.0
        time.sleep(PUT_ASIDE)
        waited[0] += PUT_ASIDE
        return found

    monkeypatch.setattr(stopwatch, "_waited", reading)


def test_what_is_waited_outside_of_a_call_is_not_taken_off() -> None:
    assert timed(lambda: time.sleep(0.02)).own_seconds >= 0.02


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's figures are Linux's")
def test_nor_what_is_waited_outside_of_a_process() -> None:
    watch = timed_process([sys.executable, "-S", "-c", "import time; time.sleep(0.02)"])
    assert watch.waited == 0.0
    assert watch.own_seconds == pytest.approx(watch.seconds)
