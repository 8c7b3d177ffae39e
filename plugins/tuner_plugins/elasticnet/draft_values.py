"""Where the values of a screen are that a draft of its configuration names, and what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tuner.plugin import InputError
from tuner_plugins.perturbseq.data.values import FRACTIONAL, LARGEST_LOG, LOG1P, WHOLE

SCALED = "scaled"
LOOKED_AT = 100_000
"""Values that are read to tell counts from what is normalised."""
WHOLE_SHARE = 0.1
"""Of corrected counts more are whole numbers; logarithms hardly ever are."""


def values_in(file: h5py.File, path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the keys that say where the values are and what, and notes on them.

    Raises
    ------
    InputError
        Where no matrix holds any that can be fitted.
    """
    layers = [f"layers/{name}" for name in sorted(file.get("layers", ()), key=_as_counts)]
    kinds = {place: _kind(file[place]) for place in ("X", *layers, "raw/X") if place in file}
    for kind in (WHOLE, FRACTIONAL, LOG1P):
        if place := next((place for place in kinds if kinds[place] == kind), None):
            name = {"raw/X": "raw"}.get(place, place.removeprefix("layers/"))
            keys = {} if name == "X" else {"layer": name}
            if kind == WHOLE:
                return keys, [f"counts are in {name}"]
            what = {FRACTIONAL: "corrected counts", LOG1P: "log1p of normalised counts"}[kind]
            note = f"values: {kind}, because those of {name} look like {what}: there are no counts"
            return {**keys, "values": kind}, ["no whole counts", f"{note} in whole numbers"]
    for place in kinds:
        if kinds[place] == SCALED and place != "raw/X":
            name = place.removeprefix("layers/")
            note = (
                f"response: {name}, because its values are below 0 (scaled) and there are no "
                "counts: they are fitted as they are, and nothing made from counts can be asked for"
            )
            return {"response": name}, ["no counts", note]
    raise InputError(
        f"{path}: neither X, nor a layer, nor raw holds counts (whole numbers), or other finite "
        "values; the fit takes counts: put them into a layer"
    )


def _as_counts(name: str) -> tuple[bool, str]:
    return "count" not in name.lower(), name


def _kind(item: Any) -> str | None:
    """Return what the first values of a matrix look like; None for zeros, or what is not finite."""
    values = item["data"][:LOOKED_AT] if isinstance(item, h5py.Group) else item[:100]
    values = np.asarray(values, dtype=float)
    values = values[values != 0]
    if not values.size or not np.isfinite(values).all():
        return None
    if (values < 0).any():
        return SCALED
    whole = float((values == np.round(values)).mean())
    if whole == 1:
        return WHOLE
    return LOG1P if values.max() <= LARGEST_LOG and whole < WHOLE_SHARE else FRACTIONAL
