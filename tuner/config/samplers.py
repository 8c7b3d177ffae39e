"""Samplers and pruners by name, with their options: Optuna's, OptunaHub's and others'."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import BaseModel, ConfigDict, model_validator

from tuner.config.catch_up import CatchUpPruner
from tuner.config.long_studies import BruteForce, LongGrid, LongTPE
from tuner.config.space import Space
from tuner.plugin import InputError, registry
from tuner.plugin.words import did_you_mean

SAMPLERS = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "random": "RandomSampler",
    "qmc": "QMCSampler",
    "grid": "GridSampler",
    "brute-force": "BruteForceSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
}
PRUNERS = {
    "nop": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "threshold": "ThresholdPruner",
    "patient": "PatientPruner",
    "wilcoxon": "WilcoxonPruner",
    "catch-up": "CatchUpPruner",
}
EXHAUSTIVE = ("grid", "brute-force")
GRID_POINTS = 7
HUB = "optunahub:"
"""A sampler of OptunaHub: this, then its package, and a class where that has several."""

_LONG: Mapping[str, Any] = {"tpe": LongTPE, "grid": LongGrid, "brute-force": BruteForce}

_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_OURS = {"seed", "search_space", "constraints_func", "independent_sampler", "source_trials"}


class Choice(BaseModel):
    """A sampler or pruner: a name, and whatever options its constructor takes.

    In YAML either the bare name, or a mapping ``{name: tpe, n_startup_trials: 20}``.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> Mapping[str, Any]:
        """Options as given."""
        return self.model_extra or {}

    def checked(self, offered: Mapping[str, str], kind: str) -> Choice:
        """Return the choice with its name in our spelling; ValueError where there is none such."""
        name = self.name.lower().replace("_", "-")
        by_class = {value.lower(): key for key, value in offered.items()}
        name = by_class.get(name, by_class.get(name + kind, name))
        others = registry.names(registry.SAMPLERS) if kind == "sampler" else []
        is_place = kind == "sampler" and ":" in self.name
        if name not in offered and (is_place or self.name in others):
            name = self.name
        elif name not in offered:
            names = [*offered, *others]
            hint = did_you_mean(name, names)
            raise ValueError(
                f"no {kind} called '{self.name}'; expected one of {', '.join(names)}{hint}"
            )
        cls = _sampler(name) if kind == "sampler" else _pruner(name)
        parameters = inspect.signature(cls).parameters
        known = set(parameters) - _OURS
        known |= {"points"} if name == "grid" else set()
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if (unknown := sorted(set(self.options) - known)) and not takes_any:
            raise ValueError(
                f"{kind} '{name}' has no option '{unknown[0]}'; "
                f"it has: {', '.join(sorted(known)) or 'none'}"
            )
        _check_values(f"{kind} '{name}'", cls, self.options)
        return self.model_copy(update={"name": name})


def _check_values(what: str, cls: type[Any], options: Mapping[str, Any]) -> None:
    """Raise ValueError where an option is missing, of another type, or a count below zero.

    Optuna takes the values as they are, and fails or is silent in the midst of a study.
    """
    parameters = inspect.signature(cls).parameters
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind not in _REST
        if name not in options and required and name not in _OURS:
            raise ValueError(f"{what} needs the option '{name}'")
    for name, value in options.items():
        kind = parameters[name].annotation if name in parameters else None
        kinds = (kind if isinstance(kind, str) else getattr(kind, "__name__", "")).split(" | ")
        if value is None or not _TYPES.keys() >= {*kinds} - {"None"}:
            continue
        given = type(value).__name__
        fits = given in kinds or (given == "int" and "float" in kinds)
        if not fits or (given == "int" and value < 0):
            names = " or ".join(_TYPES[kind] for kind in kinds if kind != "None")
            raise ValueError(f"{what}: '{name}': expected {names}, got {value!r}")


_TYPES = {"int": "a whole number from 0", "float": "a number", "str": "a text", "bool": "a switch"}


def make_sampler(
    choice: Choice, space: Space, seed: int, several_objectives: bool
) -> optuna.samplers.BaseSampler:
    """Make Optuna's sampler.

    Raises
    ------
    InputError
        Where it lacks a package, cannot serve the objectives, or refuses its options.
    """
    name, options = choice.name, dict(choice.options)
    if name == "gp" and importlib.util.find_spec("torch") is None:
        raise InputError(
            "study.sampler: 'gp' needs the package 'torch', which is not installed; "
            "install it, or use 'tpe'"
        )
    if name == "cmaes" and several_objectives:
        raise InputError("study.sampler: 'cmaes' serves one objective; use 'tpe' or 'nsgaii'")
    if name == "cmaes":
        if importlib.util.find_spec("cmaes") is None:
            raise InputError("study.sampler: 'cmaes' needs the package 'cmaes'; install it")
        ranges = [d for d in space.searched.values() if not isinstance(d, CategoricalDistribution)]
        if len(ranges) < 2:
            raise InputError(
                f"study.sampler: 'cmaes' searches at least two ranges of numbers, got {len(ranges)}"
                "; the rest is drawn at random; use 'tpe'"
            )
    if name == "grid":
        points = options.pop("points", GRID_POINTS)
        options["search_space"] = grid(space, points)
    cls = _sampler(name)
    if "seed" in inspect.signature(cls).parameters:
        options["seed"] = seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            made = cls(**options)
        except (TypeError, ValueError) as error:
            raise InputError(f"study.sampler: '{name}' refuses its options: {error}") from None
    if not isinstance(made, optuna.samplers.BaseSampler):
        raise InputError(f"study.sampler: '{name}' is no optuna.samplers.BaseSampler: {made!r:.60}")
    return made


def _sampler(name: str) -> Any:
    """Return the class of a sampler: Optuna's, OptunaHub's, an entry point or a place."""
    if name in _LONG:
        return _LONG[name]
    if name in SAMPLERS:
        return getattr(optuna.samplers, SAMPLERS[name])
    if name.startswith(HUB):
        return _of_hub(name)
    found = registry.load(registry.SAMPLERS, "sampler", name)
    if not callable(found):
        raise InputError(f"sampler '{name}' is no class: {found!r:.60}")
    return found


def _of_hub(name: str) -> Any:
    """Load a sampler of OptunaHub, over the network the first time."""
    package, _, wanted = name.removeprefix(HUB).partition(":")
    if importlib.util.find_spec("optunahub") is None:
        raise InputError(f"sampler '{name}' needs the package optunahub: pip install optunahub")
    try:
        module = importlib.import_module("optunahub").load_module(package)
    except Exception as error:  # noqa: BLE001 - git, GitHub, the network, and the package itself
        first = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"sampler '{name}' cannot be loaded from OptunaHub: {type(error).__name__}: {first}; "
            "see hub.optuna.org for its name and what it needs"
        ) from error
    classes = {
        key: value
        for key in getattr(module, "__all__", vars(module))
        if isinstance(value := getattr(module, key, None), type)
        and issubclass(value, optuna.samplers.BaseSampler)
        and not value.__module__.startswith(("optuna.", "optunahub."))
    }
    if len(classes) == 1 and not wanted:
        return next(iter(classes.values()))
    if wanted in classes:
        return classes[wanted]
    offered = ", ".join(f"{HUB}{package}:{key}" for key in classes) or "none"
    raise InputError(f"sampler '{name}' is not one of that package: {offered}")


def _pruner(name: str) -> type[optuna.pruners.BasePruner]:
    if name == "catch-up":
        return CatchUpPruner
    return getattr(optuna.pruners, PRUNERS[name])  # type: ignore[no-any-return]


def make_pruner(choice: Choice) -> optuna.pruners.BasePruner:
    """Make Optuna's pruner; `InputError` where it refuses its options."""
    options = dict(choice.options)
    if "wrapped_pruner" in options:
        inner = Choice.model_validate(options["wrapped_pruner"]).checked(PRUNERS, "pruner")
        options["wrapped_pruner"] = make_pruner(inner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return _pruner(choice.name)(**options)
        except (TypeError, ValueError) as error:
            raise InputError(f"study.pruner: '{choice.name}' refuses: {error}") from None


def grid(space: Space, points: int) -> dict[str, list[Any]]:
    """Return the values of each parameter on a grid.

    Choices and steps are taken whole; a range without a step gets `points` values, evenly spaced
    on its own scale.
    """
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        raise InputError(f"study.sampler: points: expected a whole number above 1, got {points!r}")
    values: dict[str, list[Any]] = {}
    for name, dist in space.searched.items():
        if isinstance(dist, CategoricalDistribution):
            values[name] = list(dist.choices)
            continue
        assert isinstance(dist, FloatDistribution | IntDistribution)
        scale = np.geomspace if dist.log else np.linspace
        if dist.step is not None and (isinstance(dist, FloatDistribution) or dist.step > 1):
            count = int(np.floor((dist.high - dist.low) / dist.step + 1e-9)) + 1
            steps = dist.low + dist.step * np.arange(count)
        else:
            steps = scale(dist.low, dist.high, points)
        if isinstance(dist, IntDistribution):
            values[name] = sorted({int(round(value)) for value in steps})
        else:
            values[name] = [min(max(float(value), dist.low), dist.high) for value in steps]
    return values


def settings_in_all(choice: Choice, space: Space) -> int | None:
    """Return how many settings a sampler that enumerates will give out; None for the others."""
    if choice.name not in EXHAUSTIVE:
        return None
    if choice.name == "grid":
        values = grid(space, choice.options.get("points", GRID_POINTS))
        return math.prod(map(len, values.values()))
    size = math.prod(map(_cardinality, space.searched.values()))
    return int(size) if math.isfinite(size) else None


def _cardinality(dist: BaseDistribution) -> int:
    """Return the number of values of a distribution; `InputError` where it is continuous."""
    if isinstance(dist, CategoricalDistribution):
        return len(dist.choices)
    assert isinstance(dist, FloatDistribution | IntDistribution)
    if dist.step is None:
        raise InputError(
            "study.sampler: 'brute-force' needs a step for every range of numbers; "
            "give 'step:', or use 'grid'"
        )
    return int((dist.high - dist.low) / dist.step + 1e-9) + 1
