"""A store that was made once for all tests: its tables take seconds."""

from __future__ import annotations

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


@pytest.fixture(scope="module")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a store, and what was said while it was made: its tables take seconds."""
    home = tmp_path_factory.mktemp("store")
    process = making_a_store(home)
    said = "".join(process.communicate(timeout=200))
    assert process.returncode == 0, said
    return home / "mlflow.db", said
