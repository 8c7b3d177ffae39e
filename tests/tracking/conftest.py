"""A store that was made once for all tests: its tables take seconds."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = """
    import sys, time
    from pathlib import Path
    from tests.studies import make_study, make_summary, make_trials
    from tuner.tracking.tracker import MlflowTracker
    assert "mlflow" not in sys.modules
    trials = make_trials(3)
    tracker = MlflowTracker("sqlite:///mlflow.db", "made", Path("spool"))
    started = time.perf_counter()
    tracker.start(make_study(), [])
    assert time.perf_counter() - started < 0.2
    for trial in trials:
        tracker.log_trial(trial)
    report = tracker.finish(make_summary(trials))
    assert not report.problems, report.problems
"""


def making_a_store(folder: Path) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Path, str]:
    """Return a store, and what was said while it was made: its tables take seconds.

    It is one for all processes of the suite, and nobody may write to it.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "made-store"
    home.mkdir(exist_ok=True)
    said = home / "said.txt"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            process = making_a_store(home)
            text = "".join(process.communicate(timeout=200))
            assert process.returncode == 0, text
            said.write_text(text)
    return home / "mlflow.db", said.read_text()
