"""A plug-in whose truth is known and that can be told to misbehave."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import BaseModel, ConfigDict, Field

from tuner.config.schema import InputPath
from tuner.plugin import Case, Cases, InputError, Plugin, Tried

SCRIPT = """#!/usr/bin/env python3
import json, sys, time
PARAMS = json.loads({params!r})
if len(sys.argv) > 1 and sys.argv[1] != "--help":
    time.sleep(float(sys.argv[1]) + float(sys.argv[2]) * PARAMS["size"])
    time.sleep(0.3 * (PARAMS["mode"] == {slow_mode!r}))
print(json.dumps(PARAMS))
"""


class Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    targets: list[float] = [3.0]
    held_out: list[float] = []
    file: InputPath | None = None
    seconds: float = 0.0
    start_up: float | None = None
    slow_mode: str | None = None
    null: float | None = None
    log: str | None = None
    has_baseline: bool = True
    baseline_mode: str = "reference"
    width: int = Field(default=1, ge=1)
    luck: float = 0.0
    told: bool = False


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    data: Data = Data()


class Toy(Plugin[Config]):
    """Fit ``-(x - target)**2``; ``size`` makes it slow, ``mode`` makes it fail."""

    name = "toy"
    Config = Config
    metrics = {"fit": "maximize", "error": "minimize"}

    def search_space(self) -> Mapping[str, Any]:
        return {
            "x": FloatDistribution(-10.0, 10.0),
            "size": IntDistribution(1, 5),
            "mode": CategoricalDistribution(
                ["fine", "raise", "die", "hang", "hog", "nan", "input", "reference"]
            ),
        }

    def defaults(self) -> Mapping[str, Any]:
        return {"x": 0.0, "size": 1, "mode": "fine"}

    def baseline(self) -> Mapping[str, Any] | None:
        if not self.config.data.has_baseline:
            return None
        return {"x": 0.0, "size": 5, "mode": self.config.data.baseline_mode}

    def check(self, params: Mapping[str, Any]) -> None:
        if abs(params["x"]) > 1000:
            raise InputError(f"x: expected at most 1000 in size, got {params['x']}")

    def inputs(self) -> list[Path]:
        return [self.config.data.file] if self.config.data.file else []

    def notes(self) -> list[str]:
        if self.config.data.width == 12:
            raise InputError("data.width: 12 cannot be looked at; give another")
        return [f"{len(self.config.data.targets)} targets"] if self.config.data.told else []

    def load(self) -> Cases:
        if self.config.data.width == 13:
            raise InputError("data.width: 13 is unlucky; give another")
        data = self.config.data
        tuned = [Case(f"target{t:g}", t) for t in data.targets]
        return Cases(tuned, [Case(f"held{t:g}", t) for t in data.held_out])

    def run(self, case: Case, params: Mapping[str, Any], seed: int) -> float:
        if self.config.data.log:
            with open(self.config.data.log, "a") as stream:
                stream.write(json.dumps({"case": case.name, "pid": os.getpid(), **params}) + "\n")
        time.sleep(self.config.data.seconds * params["size"])
        match params["mode"]:
            case "raise":
                words = os.environ.get("TOY_WORDS", "this setting is broken")
                raise ValueError(words.encode().decode("unicode_escape"))
            case "die":
                print("last words of the worker", file=sys.stderr, flush=True)
                os._exit(7)
            case "hang":
                time.sleep(3600)
            case "hog":
                hoard = bytearray(2_000_000_000)
                hoard[::4096] = b"x" * len(hoard[::4096])
                time.sleep(3600)
            case "input":
                raise InputError("data.targets: cannot be used; give others")
            case "nan":
                return float("nan")
        lucky = int(abs(params["x"]) * 1e6) % 8 == 1
        return -((params["x"] - case.data) ** 2) + lucky * self.config.data.luck

    def score(self, case: Case, output: float) -> Mapping[str, float]:
        return {"fit": output, "error": -output}

    def null_metrics(self, case: Case, output: float, seed: int, count: int) -> list[float]:
        return [self.config.data.null - i for i in range(count)] if self.config.data.null else []

    def one_standard_error(self, best: Tried, tried: Sequence[Tried]) -> tuple[Tried, str]:
        smallest = min(tried, key=lambda trial: abs(trial.params["x"]))
        return smallest, "the smallest x"

    def figures(self, results: Any) -> Mapping[str, Any]:
        if "TOY_UNDRAWN" in os.environ:
            return {}
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([result.metrics["fit"] for result in results])
        return {"fits": figure}

    def tables(self, results: Any) -> Mapping[str, Any]:
        if "TOY_UNDRAWN" in os.environ:
            return {}
        import pandas as pd

        return {"fits": pd.DataFrame({"fit": [result.metrics["fit"] for result in results]})}

    def files(self, results: Any, folder: Path) -> None:
        if "TOY_UNDRAWN" not in os.environ:
            (folder / "cases.txt").write_text(" ".join(result.case.name for result in results))

    def freeze(self, params: Mapping[str, Any], path: Path, provenance: Any) -> None:
        text = json.dumps(dict(params))
        path.write_text(SCRIPT.format(params=text, slow_mode=self.config.data.slow_mode))

    def cost_params(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"mode": params["mode"]} if params["mode"] == self.config.data.slow_mode else {}

    def command(self, case: Case, script: Path, output: Path) -> list[str] | None:
        if self.config.data.start_up is None:
            return None
        data = self.config.data
        return [sys.executable, "-S", str(script), str(data.start_up), str(data.seconds)]

    def usage(self, path: Path) -> tuple[list[str], str]:
        return [str(path)], "Python alone"

    def analyse(self, params: Mapping[str, Any], folder: Path) -> None:
        (folder / "analysis.json").write_text(json.dumps(dict(params)))

    @classmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        return {"data": {"targets": [1.0, 2.0], "held_out": [2.5]}}


class Hollow(Plugin[Config]):
    """Has none of its verbs."""


def simulate(folder: Path, *, seed: int, points: int = 3, kind: str = "plain") -> None:
    """Write a few numbers."""
    if kind == "broken":
        raise RuntimeError("this simulator breaks half-way")
    (folder / "points.json").write_text(json.dumps([seed + i for i in range(points)]))
