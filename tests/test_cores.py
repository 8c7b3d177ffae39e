"""One timed measurement at a time on a core, and whole processes on the clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_study import Harness
from tuner.config import load_config
from tuner.cores import Cores
from tuner.fixedcost import FIXED_COSTS
from tuner.plugin import InputError

HOLD = """
import sys, time
from pathlib import Path
from tuner.cores import Cores
with Cores(Path(sys.argv[1]), 999).reserve():
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_wants_a_busy_core_waits(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    with hold(tmp_path, 0.5):
        began = time.monotonic()
        with Cores(tmp_path, 1).reserve():
            assert time.monotonic() - began > 0.2
            assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_the_wait_lasts_until_the_holder_ends(tmp_path: Path) -> None:
    process = hold(tmp_path, 60)
    began = time.monotonic()
    with pytest.raises(TimeoutError), Impatient(0.3), Cores(tmp_path, 1).reserve():
        pytest.fail("a busy core was taken")
    assert time.monotonic() - began >= 0.3
    process.kill()
    process.communicate()
    with Cores(tmp_path, 1).reserve():
        assert time.monotonic() - began < 30


class Impatient:
    """Raises `TimeoutError` in this thread after some seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        import signal

        def ring(number: int, frame: object) -> None:
            raise TimeoutError

        self.before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *error: object) -> None:
        import signal

        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


@pytest.mark.usefixtures("toy")
def test_whole_scripts_are_timed_in_the_search_on_request(
    write_config: Callable[..., Path],
) -> None:
    path = write_config(
        plugin="toy",
        study={"trials": 3, "sampler": "random"},
        search_space={"x": {"low": 1, "high": 5}},
        data={"seconds": 0.02, "start_up": 0.1},
        timing={"mode": "process"},
    )
    study = Harness(path)
    study.run()
    baseline, *trials = (record.cases[0] for record in study.records)
    assert baseline.seconds > 0.1 + 5 * 0.02
    for case in trials:
        assert 0.12 < case.seconds < baseline.seconds
        assert case.run_seconds is None
        assert set(case.metrics) >= {"fit", "speedup", "score"}
    assert json.loads(study.study.user_attrs[FIXED_COSTS])["seconds"] == {}
    assert [p for p in path.parent.iterdir() if p.name.startswith(".tuner-")] == []


def test_whole_scripts_need_a_command(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, toy: Path
) -> None:
    from tuner_toy import Toy

    from tuner.plugin import Plugin

    monkeypatch.setattr(Toy, "command", Plugin.command)
    path = write_config(plugin="toy", timing={"mode": "process"})
    with pytest.raises(InputError, match="timing.mode: plug-in 'toy' gives no command to time"):
        load_config(path)
