"""A configuration for a screen: which columns of obs say what, and where its counts are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from tuner.plugin import Draft, InputError
from tuner_plugins.elasticnet.draft_values import values_in
from tuner_plugins.perturbseq.data.guide_calls import NUMBER_OF_GUIDE
from tuner_plugins.perturbseq.data.label_notes import LIKE_CONTROL, LIKE_NONE
from tuner_plugins.perturbseq.data.labels import UNASSIGNED
from tuner_plugins.perturbseq.data.stored import CellsError, listed, read_frame, unreadable

NAMES = ("perturb", "target", "gene", "condition", "treatment", "label")
GUIDE = re.compile(r"guide|sg_?rna|grna", re.I)
BATCH = re.compile(r"batch|lane|replicate|gem_?group|donor|plate|library", re.I)
SEPARATORS = ("+", "|", ";", ",")
NUMBERS = ("pct_counts_mt", "S_score", "G2M_score")
SIZES = ("total_counts", "nCount_RNA", "nUMI", "n_counts", "ncounts")
"""Columns of obs with the counts of a cell, as scanpy, Seurat and others call them."""
FEWEST_CELLS = 20
SPACE = {
    "alpha": {"low": 1e-5, "high": 0.1, "log": True},
    "l1_ratio": {"low": 0.05, "high": 1.0},
}


def draft_for(folder: Path) -> Draft | None:
    """Return sections for the .h5ad file of a folder, or for the file; None without one.

    Raises
    ------
    InputError
        Where there are several, or a matrix of Cell Ranger, which has no labels; where neither
        obs nor obsm tells which cells are controls, or no matrix holds what can be fitted.
    """
    inside = sorted(folder.iterdir()) if folder.is_dir() else [folder]
    files = [path for path in inside if path.suffix == ".h5ad"]
    if not files:
        _require_no_cell_ranger(inside)
        return None
    if len(files) > 1:
        files.sort(key=lambda path: not _is_screen(path))
        raise InputError(f"{folder} holds {len(files)} .h5ad files; name one: {listed(files)}")
    (path,) = files
    if not h5py.is_hdf5(path):
        raise unreadable(path, "it is no HDF5 file")
    with h5py.File(path) as file:
        obs, genes = read_frame(file, "obs", path), _genes(file, path)
        read, notes = values_in(file, path)
        column = _perturbation(obs, genes)
        called = _called(file, obs, path) if column is None else {}
    notes = [f"{len(obs):,} cells; {notes[0]}", *notes[1:]]
    data: dict[str, Any] = {"counts": path, **read}
    if column is None:
        data |= called
        notes.append(
            f"guides are called from obsm '{called['guide_counts']['obsm']}', as no column of obs "
            f"has labels of controls; control: {', '.join(called['control'])}; cells without a "
            "guide, or with several, are left out"
        )
    else:
        data |= _labels(obs[column], genes, notes)
    data |= _further_columns(obs, column, data)
    notes.append("columns of obs: " + ", ".join(map(str, obs.columns)))
    return Draft({"data": data, "search_space": SPACE, "objective": "r2"}, notes)


def _further_columns(obs: pd.DataFrame, column: str | None, data: dict[str, Any]) -> dict[str, Any]:
    """Return the keys for guides, batches, sizes and covariates, by what `data` has already."""
    found: dict[str, Any] = {}
    named = [name for name in obs if name != column and _is_labels(obs[name])]
    if column is not None:
        kept = obs[_singly_labelled(obs[column], data)]
        guides = [name for name in named if GUIDE.search(str(name))]
        if finer := [name for name in guides if _is_finer(kept[[name, column]])]:
            found["guide"] = finer[0]
    if batches := [name for name in named if BATCH.search(str(name))]:
        found["batch"] = batches[0]
    sizes = [name for name in SIZES if name in obs][:1]
    if sizes and "response" not in data and data.get("values") != "log1p":
        found["size_factor"] = sizes[0]
    found["covariates"] = [n for n in (*sizes, *NUMBERS) if n in obs and obs[n].nunique() > 1]
    return found


def _require_no_cell_ranger(files: Sequence[Path]) -> None:
    """Raise `InputError` for counts of Cell Ranger: which cells are controls is not in them."""
    names = [path.name for path in files]
    if len(files) == 1 and files[0].is_file():  # the matrix itself: its names lie beside it
        names = [path.name for path in files[0].parent.iterdir()]
    for path in files:
        matrix = path.name.endswith((".mtx", ".mtx.gz")) and any("barcodes.tsv" in n for n in names)
        if matrix or _is_10x(path):
            raise InputError(
                f"{path} has counts, and no labels of cells: they are needed as a table, names of "
                "cells in its first column; write plugin: elasticnet, data: {counts: "
                f"{path.name}, cells: labels.csv, perturbation: COLUMN, control: [LABEL]}}"
                " (docs/elasticnet.md)"
            )


def _is_10x(path: Path) -> bool:
    if path.suffix != ".h5" or not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        groups = [item for item in file.values() if isinstance(item, h5py.Group)]
        return any({"barcodes", "indptr"} <= set(group) for group in groups)


def _is_screen(path: Path) -> bool:
    """Return whether obs has labels of controls, and no fit of ours is in the file."""
    try:
        with h5py.File(path) as file:
            genes = _genes(file, path)
            labelled = _perturbation(read_frame(file, "obs", path), genes) is not None
            return labelled and "uns/elasticnet" not in file
    except (OSError, CellsError):
        return False


def _genes(file: h5py.File, path: Path) -> set[str]:
    """Return the names of genes, and what var calls them besides: WT1 is one, not a control."""
    var = read_frame(file, "var", path)
    columns = [var[name] for name in var if not pd.api.types.is_numeric_dtype(var[name])]
    return {str(name) for names in (var.index, *columns) for name in names}


def _perturbation(obs: pd.DataFrame, genes: set[str]) -> str | None:
    """Return the column with labels of controls; of several the one that is named so."""
    fits = [str(name) for name, values in obs.items() if any(_controls(values, genes))]

    def rank(name: str) -> tuple[bool, int, int]:
        places = [i for i, part in enumerate(NAMES) if part in name.lower()]
        return bool(GUIDE.search(name)), min(places, default=len(NAMES)), obs[name].nunique()

    return min(fits, key=rank, default=None)


def _called(file: h5py.File, obs: pd.DataFrame, path: Path) -> dict[str, Any]:
    """Return the keys that call labels from counts of guides, a table of obsm.

    Raises
    ------
    InputError
        Where there is no such table, or none of its guides is named as a control.
    """
    seen = []
    for key, item in file.get("obsm", {}).items():
        names = [str(name) for name in item.attrs.get("column-order", ())]
        targets = dict.fromkeys(NUMBER_OF_GUIDE.sub("", name) for name in names)
        if control := [name for name in targets if LIKE_CONTROL.search(name)]:
            drop = {"unassigned": "drop", "multiple": "drop", "min_cells": FEWEST_CELLS}
            return {"guide_counts": {"obsm": key}, "control": control, **drop}
        seen += [key] if GUIDE.search(key) else []
    hint = (
        f", or make obsm '{key}' a table (DataFrame) whose columns name guides, those of controls "
        "among them"
        for key in seen
    )
    raise InputError(
        f"{path}: no column of obs has labels of control cells, such as non-targeting; it has "
        f"{', '.join(map(str, obs.columns)) or 'none'}: name control cells so in one"
        + next(hint, "")
    )


def _controls(values: pd.Series, genes: set[str]) -> Iterator[str]:
    """Yield the labels that mean control cells, and no more than that."""
    names = {str(value) for value in values.dropna().unique()} if _is_labels(values) else set()
    like = {name for name in names if LIKE_CONTROL.search(name.strip())}
    found = like - genes
    others = genes | names - like
    for name in sorted(found):
        joins = any(set(name.split(s)) & (found - {name}) for s in SEPARATORS)
        if not joins and others.isdisjoint(part.strip() for part in re.split(r"[+,;|&_]", name)):
            yield name


def _is_labels(values: pd.Series) -> bool:
    few = 1 < values.nunique() <= max(2, len(values) // 2)
    return bool(few and not pd.api.types.is_float_dtype(values))


def _labels(values: pd.Series, genes: set[str], notes: list[str]) -> dict[str, Any]:
    """Return the keys that say how a column of labels is read."""
    counts = values.astype(object).value_counts()
    counts.index = counts.index.astype(str)
    control = list(_controls(values, genes))
    found: dict[str, Any] = {"perturbation": str(values.name), "control": control}
    notes.append(f"perturbation: {values.name}, control: {', '.join(control)}")
    none = [n for n in counts.index if n in UNASSIGNED or (LIKE_NONE.search(n) and n not in genes)]
    if none or values.isna().any():
        found["unassigned"] = "drop"
        named = f" ({listed(none)})" if none else ""
        notes.append(f"cells without a label{named} are left out (unassigned: drop)")
    if not set(none) <= set(UNASSIGNED):
        found["unassigned_labels"] = none
    counts = counts.drop(none)
    names = list(counts.index)
    several = {s: [n for n in names if set(n.split(s)) & {*names} - {n}] for s in SEPARATORS}
    if (separator := max(several, key=lambda s: len(several[s]))) and several[separator]:
        found |= {"separator": separator, "multiple": "drop"}
        notes.append(f"cells with several perturbations ({several[separator][0]}) are left out")
    if counts.min() < FEWEST_CELLS:
        found["min_cells"] = FEWEST_CELLS
        notes.append(f"perturbations with fewer than {FEWEST_CELLS} cells are left out")
    return found


def _singly_labelled(values: pd.Series, data: dict[str, Any]) -> pd.Series:
    """Return which cells have one label."""
    names = values.astype(str)
    kept = values.notna() & ~names.isin([*UNASSIGNED, *data.get("unassigned_labels", ())])
    if "separator" in data:
        kept &= ~names.str.contains(data["separator"], regex=False)
    return kept


def _is_finer(columns: pd.DataFrame) -> bool:
    """Return whether every guide is of one perturbation, and some perturbation has two."""
    pairs = columns.astype(str).drop_duplicates().set_axis(["guide", "label"], axis=1)
    return bool(pairs["guide"].is_unique and len(pairs) > pairs["label"].nunique())
