"""An MLflow store as a study leaves it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

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
    root = Path(__file__).resolve().parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
