"""A study that has run, for the tests that only look at it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tests.driver import PROJECT, Driver

WORDS = "<script>alert(1)</script>"
SECTIONS = {
    "plugin": "toy",
    "data": {"targets": [1.0, 2.0, 4.0], "held_out": [3.0, 3.5], "null": -6.0},
    "study": {"name": "<b>", "trials": 14, "sampler": "random", "max_failures": 99},
    "search_space": {"x": {}, "mode": {"choices": ["fine", "reference", "raise"]}},
    "objective": ["fit", "time"],
    "timing": {"finalists": 0, "nulls": 9},
    "tracking": {"enabled": False},
}


@pytest.fixture(scope="session")
def ran(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which a study ran, with trials that failed in hostile words."""
    home = tmp_path_factory.mktemp("ran")
    sections = {**SECTIONS, "study": {**SECTIONS["study"], "name": "s"}}
    (home / "study.yaml").write_text(yaml.safe_dump(sections))
    path = os.pathsep.join([str(driver.site), str(PROJECT)])
    environment = {**os.environ, "TOY_WORDS": WORDS, "PYTHONPATH": path}
    done = driver.run("run", "study.yaml", folder=home, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "report: out/s/report.html" in done.stdout
    return home
