"""A plug-in that does nothing, so that only the engine is left on the clock."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution
from pydantic import BaseModel, ConfigDict

from tuner.plugin import Case, Cases, Plugin, Provenance


class Data(BaseModel):
    """How long a trial sleeps."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seconds: float = 0.0


class Nothing(BaseModel):
    """One section."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: Data = Data()


class NothingPlugin(Plugin[Nothing]):
    """``-x**2``."""

    name = "nothing"
    Config = Nothing
    metrics = {"value": "maximize"}

    def search_space(self) -> Mapping[str, Any]:
        """Search x."""
        return {"x": FloatDistribution(-10.0, 10.0)}

    def defaults(self) -> Mapping[str, Any]:
        """Return zero."""
        return {"x": 0.0}

    def load(self) -> Cases:
        """Return one case."""
        return Cases([Case("only", None)])

    def run(self, case: Case, params: Mapping[str, Any], seed: int) -> float:
        """Return the value."""
        if self.config.data.seconds:
            time.sleep(self.config.data.seconds)
        return -(float(params["x"]) ** 2)

    def score(self, case: Case, output: float) -> Mapping[str, float]:
        """Return the value."""
        return {"value": output}

    def freeze(self, params: Mapping[str, Any], path: Path, provenance: Provenance) -> None:
        """Write the value."""
        path.write_text(f"print({-(float(params['x']) ** 2)!r})\n")

    @classmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        """Nothing is needed."""
        return {}


def install(folder: Path) -> None:
    """Make the plug-in known, as a package below `folder`, here and in worker processes."""
    site = folder / "site"
    info = site / "nothing-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tuner.plugins]\nnothing = nothing_plugin:NothingPlugin\n"
    )
    shutil.copy(__file__, site / "nothing_plugin.py")
    sys.path.insert(0, str(site))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
