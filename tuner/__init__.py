"""Tune a method by its score and its clock, and freeze the best setting into a script.

>>> import tuner
>>> result = tuner.optimize(lambda x: (x - 1) ** 2, {"x": (-5.0, 5.0)}, trials=50)  # doctest: +SKIP
>>> result = tuner.run("config.yaml")  # doctest: +SKIP

What stands here is imported where it is used: to import tuner takes nothing.
"""

import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.config.load import load_config
    from tuner.plugin import Case, Cases, Plugin
    from tuner.run.study import optimize, run

    __version__: str

POSIX_ONLY = "expected Linux or macOS, got Windows: install and run tuner in WSL 2 (wsl --install)"

_HOMES = {
    "Plugin": "tuner.plugin",
    "Case": "tuner.plugin",
    "Cases": "tuner.plugin",
    "load_config": "tuner.config.load",
    "optimize": "tuner.run.study",
    "run": "tuner.run.study",
}
__all__ = ["Case", "Cases", "Plugin", "__version__", "load_config", "optimize", "run"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("tunefreeze")  # as in tuner.export.provenance, which takes imports
    if name not in _HOMES:
        raise AttributeError(f"module 'tuner' has no attribute '{name}'")
    if sys.platform == "win32" and name in ("optimize", "run"):
        raise ImportError(POSIX_ONLY)
    with warnings.catch_warnings():  # Optuna imports tqdm, which asks a notebook for ipywidgets
        warnings.filterwarnings("ignore", "IProgress not found")
        home = import_module(_HOMES[name])
    return import_module("tuner.run") if name == "run" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
