"""Tune a Python function: its params are what the search space lists."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import PathFinder
from operator import attrgetter
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution

from tuner.config.own_space import listed_defaults, listed_ranges
from tuner.plugin import Case, Cases, InputError, Params, Plugin, Provenance
from tuner_plugins.function.config import FunctionConfig
from tuner_plugins.function.pickled import PickledFunction
from tuner_plugins.function.script import script_text

TINY = """
def parabola(x, size, mode="plain"):
    return {"height": 1 - (x - 1) ** 2, "size": size}
"""


class FunctionPlugin(Plugin[FunctionConfig]):
    """Call a function with params as keyword arguments; what it returns is the metric.

    Without a baseline the first trial is in the middle of the search space.
    """

    name = "function"
    Config = FunctionConfig
    metrics = {"value": "minimize"}
    afterwards = ("data.path",)  # the file's content decides, not where it lies

    def __init__(self, config: FunctionConfig) -> None:
        super().__init__(config)
        self.metrics = config.data.metrics  # each study has its own

    def search_space(self) -> Mapping[str, BaseDistribution]:
        """Return what the section lists, ints where both ends are; the engine checks the rest."""
        return listed_ranges(self.config.search_space)

    def defaults(self) -> Params:
        """Return fixed values, and the middle of what is searched."""
        return listed_defaults(self.config.search_space)

    def baseline(self) -> Params | None:
        """Return the configured baseline; what the search space fixes need not be in it."""
        given = self.config.data.baseline
        if given is None:
            return None
        defaults, searched = self.defaults(), self.search_space()
        wrong = [f"no '{name}'" for name in searched if name not in given]
        wrong += [f"'{name}', which it has not" for name in given if name not in defaults]
        if wrong:
            raise InputError(
                f"data.baseline: expected all params of the search space, got {wrong[0]}"
            )
        return {**defaults, **given}

    def check(self, params: Params) -> None:
        """Refuse params that the function does not take, where it is here to be asked."""
        self.baseline()
        function = self.config.data.function
        if isinstance(function, PickledFunction) and function.function is not None:
            _require(function.function, params)

    def inputs(self) -> Sequence[Path]:
        """Return the file of the module; nothing of it is imported."""
        function = self.config.data.function
        if isinstance(function, PickledFunction) or "@" in function:
            return ()
        name = function.partition(":")[0]
        path = [str(self.config.data.path), *sys.path]
        spec = None
        for depth, _ in enumerate(parts := name.split("."), 1):
            spec = PathFinder.find_spec(".".join(parts[:depth]), path)
            if spec is None and name not in sys.builtin_module_names:
                raise InputError(
                    f"data.function: no module '{name}' in {self.config.data.path} or on Python's "
                    "path; give its folder as data.path"
                )
            path = list(spec.submodule_search_locations or ()) if spec else []
        return [Path(spec.origin)] if spec and spec.has_location and spec.origin else []

    def notes(self) -> Sequence[str]:
        """Refuse a function that is nowhere; what is only read of its study needs none."""
        function = self.config.data.function
        if isinstance(function, str) and "@" in function:
            raise InputError(
                f"data.function: {function} was handed over in Python and is in no file; call "
                "tuner.optimize there"
            )
        return ()

    def load(self) -> Cases:
        """Import the function, or make it again from what was handed over."""
        function = self.config.data.function
        called = re.sub(r"[^\w.]", "", str(function).partition("@")[0].partition(":")[2])
        found = function.load() if isinstance(function, PickledFunction) else self._imported()
        _require(found, self.defaults())
        return Cases([Case(called, found)])

    def _imported(self) -> Callable[..., Any]:
        function = self.config.data.function
        self.notes()
        module, _, name = function.partition(":")
        if (folder := str(self.config.data.path)) not in sys.path:
            sys.path.insert(0, folder)
        try:
            found: Callable[..., Any] = attrgetter(name)(importlib.import_module(module))
        except Exception as error:  # noqa: BLE001 - a module may raise anything
            why = (str(error).splitlines() or [""])[0]
            raise InputError(
                f"data.function: {function} cannot be imported: {type(error).__name__}: {why}"
            ) from error
        if not callable(found):
            raise InputError(f"data.function: {function} is no function: {found!r:.60}")
        return found

    def run(self, case: Case, params: Params, seed: int) -> Any:
        """Call the function."""
        return case.data(**params)

    def score(self, case: Case, output: Any) -> Mapping[str, float]:
        """Return what the function gave: a number, or several by name."""
        first = next(iter(self.metrics))
        found = output if isinstance(output, Mapping) else {first: output}
        try:
            metrics = {str(name): float(value) for name, value in found.items()}
        except (TypeError, ValueError):
            raise InputError(
                f"data.function: expected '{case.name}' to return a number, or a mapping of "
                f"metrics, got {output!r:.60}"
            ) from None
        if missing := [name for name in self.metrics if name not in metrics]:
            raise InputError(
                f"data.function: '{case.name}' returned no metric '{missing[0]}', but "
                f"{', '.join(metrics) or 'nothing'}; name its metrics as in {{loss: minimize}}: "
                "data.metrics, or direction of tuner.optimize"
            )
        return metrics

    def freeze(self, params: Params, path: Path, provenance: Provenance) -> None:
        """Write the params as a script that prints them; an importable function it calls."""
        function, folder = str(self.config.data.function), self.config.data.path
        path.write_text(script_text(function, folder, params, provenance), encoding="utf-8")

    @classmethod
    def tiny(cls, folder: Path) -> Mapping[str, Any]:
        """Make a module with a parabola."""
        (folder / "tiny_function.py").write_text(TINY, encoding="utf-8")
        return {
            "data": {
                "function": "tiny_function:parabola",
                "path": str(folder),
                "metrics": {"height": "maximize"},
                "baseline": {"x": 0.0, "size": 2},
            },
            "search_space": {
                "x": {"low": -5.0, "high": 5.0},
                "size": {"low": 1, "high": 8, "log": True},
                "mode": "plain",
            },
        }


def _require(function: Callable[..., Any], params: Params) -> None:
    """Raise `InputError` where a function does not take these params; built-ins do not tell."""
    try:
        inspect.signature(function).bind(**params)
    except TypeError as error:
        named = ", ".join(params)
        raise InputError(f"the function does not take the params {named}: {error}") from None
    except ValueError:
        return
