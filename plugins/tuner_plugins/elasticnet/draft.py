"""A configuration for a screen: which columns of obs say what, and where its counts are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from tuner.plugin import Draft, InputError
from tuner_plugins.perturbseq.data.labels import UNASSIGNED
from tuner_plugins.perturbseq.data.stored import read_frame

CONTROL = re.compile(
    r"non[-_ ]?target.*|nt\d*|ntc|neg(ative)?([-_ ]?(control|ctrl))?|(control|ctrl)s?|"
    r"safe[-_ ]?(target|harbou?r).*|scrambled?|unperturbed|mock|vehicle|dmso",
    re.I,
)
"""Labels of control cells, as screens have them."""

NAMES = ("perturb", "target", "gene", "condition", "treatment", "label")
GUIDE = re.compile(r"guide|sg_?rna|grna", re.I)
BATCH = re.compile(r"batch|lane|replicate|gem_?group|donor|plate|library", re.I)
SEPARATORS = ("+", "|", ";", ",")
NUMBERS = ("pct_counts_mt", "S_score", "G2M_score")
SIZES = ("total_counts", "nCount_RNA", "nUMI", "n_counts", "ncounts")
"""Columns of obs with the counts of a cell, as scanpy, Seurat and others call them."""
FEWEST_CELLS = 20
LOOKED_AT = 100_000
"""Values that are read to tell counts from what is normalised."""


def draft_for(folder: Path) -> Draft | None:
    """Return sections for the first .h5ad file in a folder, or for the file; None without one.

    Raises
    ------
    InputError
        Where no column of obs has labels of controls, or no matrix holds counts.
    """
    files = sorted(folder.glob("*.h5ad")) if folder.is_dir() else [folder]
    files = [path for path in files if path.suffix == ".h5ad"]
    if not files:
        return None
    path, others = files[0], len(files) - 1
    with h5py.File(path) as file:
        obs = read_frame(file, "obs", path)
        layer = _layer_of(file, path)
    column = _perturbation(obs, path)
    data: dict[str, Any] = {"counts": path, **({} if layer is None else {"layer": layer})}
    notes = [f"{len(obs):,} cells; counts are in {layer or 'X'}"]
    notes += [f"{others} more .h5ad files are left out"] if others else []
    data |= _labels(obs[column], notes)
    columns = {name: value for name, value in obs.items() if name != column}
    for key, pattern in (("guide", GUIDE), ("batch", BATCH)):
        fits = [n for n, v in columns.items() if pattern.search(str(n)) and _is_labels(v)]
        if key == "guide":
            fits = [n for n in fits if _is_finer(obs[n], obs[column])]
        if fits:
            data[key] = fits[0]
    if sizes := [name for name in SIZES if name in obs]:
        data["size_factor"] = sizes[0]
    data["covariates"] = [n for n in (*sizes[:1], *NUMBERS) if n in obs and obs[n].nunique() > 1]
    notes.append("columns of obs: " + ", ".join(map(str, obs.columns)))
    space = {
        "alpha": {"low": 1e-5, "high": 0.1, "log": True},
        "l1_ratio": {"low": 0.05, "high": 1.0},
    }
    return Draft({"data": data, "search_space": space, "objective": "r2"}, notes)


def _layer_of(file: h5py.File, path: Path) -> str | None:
    """Return the layer with counts: None for X."""
    layers = [f"layers/{name}" for name in sorted(file.get("layers", ()), key=_as_counts)]
    for place in ("X", *layers, "raw/X"):
        if place in file and _holds_counts(file[place]):
            return {"X": None, "raw/X": "raw"}.get(place, place.removeprefix("layers/"))
    raise InputError(
        f"{path}: neither X, nor a layer, nor raw holds counts (whole numbers); the fit takes "
        "counts: put them into a layer"
    )


def _as_counts(name: str) -> tuple[bool, str]:
    return "count" not in name.lower(), name


def _holds_counts(item: Any) -> bool:
    values = item["data"][:LOOKED_AT] if isinstance(item, h5py.Group) else item[:100]
    values = np.asarray(values, dtype=float)
    return bool((values >= 0).all() and (values == np.round(values)).all() and values.any())


def _perturbation(obs: pd.DataFrame, path: Path) -> str:
    """Return the column with labels of controls; of several the one that is named so."""
    fits = [str(name) for name, values in obs.items() if any(_controls(values))]
    if not fits:
        raise InputError(
            f"{path}: no column of obs has labels of control cells, such as non-targeting; it has "
            f"{', '.join(map(str, obs.columns)) or 'none'}: name control cells so in one"
        )

    def rank(name: str) -> tuple[bool, int, int]:
        places = [i for i, part in enumerate(NAMES) if part in name.lower()]
        return bool(GUIDE.search(name)), min(places, default=len(NAMES)), obs[name].nunique()

    return min(fits, key=rank)


def _controls(values: pd.Series) -> Iterator[str]:
    """Yield the labels that mean control cells, and no more than that."""
    names = [str(value) for value in values.dropna().unique()] if _is_labels(values) else []
    found = {name for name in names if CONTROL.fullmatch(name.strip())}
    for name in sorted(found):
        if not any(set(name.split(s)) & (found - {name}) for s in SEPARATORS):
            yield name


def _is_labels(values: pd.Series) -> bool:
    few = 1 < values.nunique() <= max(2, len(values) // 2)
    return bool(few and not pd.api.types.is_float_dtype(values))


def _labels(values: pd.Series, notes: list[str]) -> dict[str, Any]:
    """Return the keys that say how a column of labels is read."""
    counts = values.astype(object).value_counts()
    names = [str(name) for name in counts.index]
    found: dict[str, Any] = {"perturbation": str(values.name), "control": list(_controls(values))}
    notes.append(f"perturbation: {values.name}, control: {', '.join(found['control'])}")
    if values.isna().any() or set(names) & set(UNASSIGNED):
        found["unassigned"] = "drop"
        notes.append("cells without a label are left out (unassigned: drop)")
    several = {s: [n for n in names if set(n.split(s)) & {*names} - {n}] for s in SEPARATORS}
    if (separator := max(several, key=lambda s: len(several[s]))) and several[separator]:
        found |= {"separator": separator, "multiple": "drop"}
        notes.append(f"cells with several perturbations ({several[separator][0]}) are left out")
    if counts.min() < FEWEST_CELLS:
        found["min_cells"] = FEWEST_CELLS
        notes.append(f"perturbations with fewer than {FEWEST_CELLS} cells are left out")
    return found


def _is_finer(guides: pd.Series, labels: pd.Series) -> bool:
    """Return whether every guide is of one perturbation, and some perturbation has two."""
    pairs = pd.DataFrame({"guide": guides.astype(str), "label": labels.astype(str)})
    pairs = pairs.drop_duplicates()
    return bool(pairs["guide"].is_unique and len(pairs) > pairs["label"].nunique())
