"""A study in optuna-dashboard: its metrics and its infeasible trials are there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.browser.pages import Browser
from tests.driver import Driver

pytestmark = pytest.mark.slow  # a browser takes seconds to come up


@pytest.mark.usefixtures("toy", "undrawn")
def test_a_study_opens_in_optuna_dashboard(
    chromium: Any,
    driver: Driver,
    write_config: Callable[..., Path],
    workplace: Path,
    shots: Path | None,
) -> None:
    pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")
    write_config(
        plugin="toy",
        study={"trials": 12, "sampler": "random", "max_failures": 99},
        data={"seconds": 0.02},
        search_space={"x": {"low": -3, "high": 3}, "size": {}},
        objective=["fit", "time"],
        limits={"case_time": 0.07},
        timing={"finalists": 0, "nulls": 0, "fixed_cost_repeats": 0},
        tracking={"enabled": False},
    )
    done = driver.run("run", "study.yaml")
    assert done.returncode == 0, done.stderr
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "dashboard", "study.yaml", "--no-browser"],
        env=os.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().removeprefix("optuna-dashboard: ").strip()
        base = address.partition("dashboard/")[0]
        assert base.startswith("http://127.0.0.1:")
        context = chromium.new_context(viewport={"width": 1440, "height": 1600})
        browser = Browser(context.new_page(), base)
        page = browser.open(address.removeprefix(base))
        page.get_by_text("fit", exact=False).first.wait_for(timeout=30_000)
        page.wait_for_timeout(1500)
        browser.shoot(shots, "dashboard")
        trials = optuna.load_study(study_name="study", storage="sqlite:///tuner.db").get_trials()
        number = next(trial.number for trial in trials if trial.constraints)
        pages = f"{address.removeprefix(base)}/trials?numbers="
        browser.open(f"{pages}1").get_by_text("speedup").first.wait_for(timeout=30_000)
        text = browser.open(f"{pages}{number}").get_by_text("infeasible: case 'target3' took")
        text.first.wait_for(timeout=30_000)
        browser.shoot(shots, "dashboard-trials")
        context.close()
        assert browser.complaints == []
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0
