"""What the machine made a call wait is taken off its time, and nothing else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner.measure import stopwatch
from tuner.measure.stopwatch import timed, timed_process
from tuner.plugin import Clocked

PUT_ASIDE = 0.05


@pytest.fixture
def put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let others have the core whenever this process has read how long it waited."""
    waited = [0.0]

    def reading(path: str) -> float:
        found = waited[0] if "self" in path else 0.0
        time.sleep(PUT_ASIDE)
        waited[0] += PUT_ASIDE
        return found

    monkeypatch.setattr(stopwatch, "_waited", reading)


@pytest.mark.usefixtures("put_aside")
def test_what_is_waited_outside_of_a_call_is_not_taken_off() -> None:
    assert timed(lambda: time.sleep(0.02)).own_seconds >= 0.02


@pytest.mark.usefixtures("put_aside")
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's figures are Linux's")
def test_nor_what_is_waited_outside_of_a_process() -> None:
    watch = timed_process([sys.executable, "-S", "-c", "import time; time.sleep(0.02)"])
    assert watch.waited == 0.0
    assert watch.own_seconds == pytest.approx(watch.seconds)


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the kernel's figures be hidden, as some containers do."""
    monkeypatch.setattr(stopwatch, "_SELF", str(tmp_path / "schedstat"))
    stopwatch.tells_waiting.cache_clear()
    yield
    stopwatch.tells_waiting.cache_clear()


@pytest.mark.usefixtures("hidden")
def test_without_the_kernels_figures_times_are_measured_all_the_same() -> None:
    assert not stopwatch.tells_waiting()
    watch = timed(lambda: time.sleep(0.02))
    assert 0 < watch.own_seconds <= watch.seconds
    watch = timed_process([sys.executable, "-S", "-c", "print()"])
    assert 0 < watch.own_seconds <= watch.seconds


def test_of_a_process_that_fails_the_last_words_are_told() -> None:
    code = "import sys; sys.stderr.write('x' * 10**7 + '\\nlast words\\n'); sys.exit(3)"
    with pytest.raises(RuntimeError, match="exit code 3: x+\nlast words$") as caught:
        timed_process([sys.executable, "-S", "-c", code])
    assert len(str(caught.value)) < 100_000


def test_what_has_a_clock_of_its_own_is_taken_by_it() -> None:
    found = timed(lambda: Clocked("answer", 3.0, 2.5, 0.25))
    assert (found.output, found.seconds, found.cpu_seconds) == ("answer", 3.0, 2.5)
    assert found.own_seconds == 2.75
