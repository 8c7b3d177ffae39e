"""A plug-in in a package of its own is built, installed, listed, tuned, tracked and frozen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "parabola"
version = "0.1"
[project.entry-points."tuner.plugins"]
parabola = "parabola:Parabola"
"""

PLUGIN = """
from optuna.distributions import FloatDistribution
from pydantic import BaseModel, ConfigDict
from tuner.plugin import Case, Cases, Plugin


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")
    data: dict[str, float] = {"left": 1.0, "right": 2.0}


class Parabola(Plugin[Config]):
    name, Config, metrics = "parabola", Config, {"height": "maximize"}

    def search_space(self):
        return {"x": FloatDistribution(-5, 5)}

    def baseline(self):
        return {"x": 0.0}

    def load(self):
        return Cases([Case(name, top) for name, top in self.config.data.items()])

    def run(self, case, params, seed):
        return 1 - (params["x"] - case.data) ** 2

    def score(self, case, output):
        return {"height": output}

    def freeze(self, params, path, provenance):
        path.write_text(f"print({params['x']})  # study {provenance.study}")

    @classmethod
    def tiny(cls, folder):
        return {"data": {"only": 1.0}}
"""


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Build the package for real and install it where only this test sees it."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "parabola.py").write_text(textwrap.dedent(PLUGIN))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(site)]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", *options]
    subprocess.run([*pip, str(source)], check=True, timeout=120)
    return {**os.environ, "PYTHONPATH": str(site)}


def test_an_external_plugin_needs_no_change_to_the_engine(
    installed: dict[str, str], workplace: Path
) -> None:
    (workplace / "study.yaml").write_text("plugin: parabola\nstudy: {trials: 5}\n")

    def tuner(*arguments: str) -> str:
        command = [sys.executable, "-m", "tuner", *arguments]
        done = subprocess.run(command, env=installed, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = {entry["name"]: entry for entry in json.loads(tuner("plugins", "--json"))}
    assert listed["parabola"]["package"] == "parabola"
    result = json.loads(tuner("run", "study.yaml", "--json"))
    assert result["trials"]["complete"] == 5
    assert result["tracking"]["run_id"]
    assert result["tracking"]["problems"] == []
    script = Path(result["export"])
    frozen = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert float(frozen.stdout) == result["best"]["params"]["x"]
