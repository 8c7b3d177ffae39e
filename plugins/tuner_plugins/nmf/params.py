"""What can be set of the factorisation: names, values, the ranges worth searching."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tuner.plugin import About
from tuner_plugins.nmf.model import reference
from tuner_plugins.nmf.model.signal import NAN_POLICIES, SCALINGS, TRANSFORMS
from tuner_plugins.nmf.model.start import STARTS

Setting = Mapping[str, "str | int | float | bool | None"]

LARGEST_BIN = 5000

DEFAULTS: Setting = {
    "num_iter": 1,
    "l2penalty": 1.0,
    "fl_lambda": 300.0,
    "lambda_ladder": 1.0,
    "resolution": 1000,
    "loadings_resolution": 0,
    "transform": "rank",
    "scaling": "none",
    "start": "contrast",
    "tolerance": 0.0,
    "implementation": "fast",
    "dtype": "float64",
    "seed": 0,
}
"""Good on real tracks.

``fl_lambda`` and ``l2penalty`` are per base at every ``resolution`` (bases a bin; 1 for runs).
``lambda_ladder``: loadings differ in smoothness, from ``fl_lambda`` divided by it for the first to
``fl_lambda`` times it for the last; 1 for one penalty for all.
``loadings_resolution``: solve the loadings once more at this resolution, with the weights that were
learnt at ``resolution``; 0 for no.
"""

ABOUT: Mapping[str, About] = {
    "num_iter": About("rounds of alternating least squares"),
    "l2penalty": About("ridge penalty of the loadings", "per base"),
    "fl_lambda": About(
        "penalty of steps between neighbouring positions: larger is smoother", "per base"
    ),
    "lambda_ladder": About("the first loading has fl_lambda divided by it, the last times it"),
    "resolution": About("width of the bins that tracks are averaged over; 1: as they are", "bases"),
    "loadings_resolution": About(
        "loadings are solved once more at this width, with the weights learnt; 0: not", "bases"
    ),
    "transform": About("of the tracks, before anything else"),
    "scaling": About("what each track is divided by"),
    "start": About("where the first weights come from"),
    "tolerance": About("rounds end once the weights change by less than this share; 0: never"),
    "implementation": About("fast, or the plain one that the baseline is"),
    "dtype": About("precision of the arithmetic"),
    "seed": About("of random starts"),
}

BASELINE: Setting = {
    **DEFAULTS,
    **reference.ROUNDS,
    "lambda_ladder": 1.0,
    "resolution": 1,
    "transform": "none",
    "start": reference.START,
    "implementation": "reference",
}
"""The scaffold, filled in plainly."""

GENOME_BASELINE: Setting = {**BASELINE, "resolution": 1000, "implementation": "fast"}
GENOME_BASELINE_NOTE = (
    "a case is several chromosomes, too long for the scaffold base by base: the baseline is its "
    "setting in bins of 1,000 bases, and speed-ups are over that"
)

CHOICES: Mapping[str, tuple[str | int, ...]] = {
    "transform": TRANSFORMS,
    "scaling": SCALINGS,
    "start": STARTS,
    "implementation": ("fast", "reference"),
    "dtype": ("float64", "float32"),
    "nan": NAN_POLICIES,
}

BOUNDS: Mapping[str, tuple[type, float, float]] = {
    "num_iter": (int, 1, math.inf),
    "l2penalty": (float, 0, math.inf),
    "fl_lambda": (float, 0, math.inf),
    "lambda_ladder": (float, 1, 1000),
    "resolution": (int, 1, LARGEST_BIN),
    "loadings_resolution": (int, 0, LARGEST_BIN),
    "tolerance": (float, 0, 1),
    "seed": (int, 0, 2**32 - 1),
}

_FAST_ONLY = (
    *("resolution", "loadings_resolution", "lambda_ladder", "transform", "scaling", "tolerance"),
)


def setting_problem(setting: Setting) -> str | None:
    """Describe in one line what is wrong with some params; None where nothing is."""
    for name, value in setting.items():
        if name in CHOICES and value not in CHOICES[name]:
            return f"{name}: expected one of {', '.join(map(str, CHOICES[name]))}; got {value!r}"
        if name in BOUNDS and (problem := _bound_problem(name, value)):
            return problem
    if setting.get("implementation") == "reference":
        for name in _FAST_ONLY:
            expected = BASELINE[name]
            if setting.get(name, expected) != expected:
                return (
                    f"{name}: expected {expected!r} with implementation 'reference', got "
                    f"{setting[name]!r}; use implementation 'fast'"
                )
        if setting.get("start") in ("eigh", "contrast"):
            return "start: expected randomized_svd or random with implementation 'reference'"
    return None


def _bound_problem(name: str, value: str | int | float | bool | None) -> str | None:
    kind, low, high = BOUNDS[name]
    allowed = (int,) if kind is int else (int, float)
    what = "a whole number" if kind is int else "a number"
    limits = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, allowed):
        return f"{name}: expected {what} {limits}, got {value!r}"
    if not low <= value <= high or value == math.inf:
        return f"{name}: expected {what} {limits}, got {value!r}"
    return None
