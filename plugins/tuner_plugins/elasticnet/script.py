"""The command line of the stand-alone script ``fit_elasticnet.py``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from tuner.export.outputs import OutputError, write_output
from tuner_plugins.elasticnet.script_arguments import arguments_of
from tuner_plugins.enet.solvers.numpy_solver import solve
from tuner_plugins.perturbseq.data.files import Files, Source
from tuner_plugins.perturbseq.data.label_notes import notes_on_labels
from tuner_plugins.perturbseq.data.screen import Recipe, Screen, open_screen, recipe_of
from tuner_plugins.perturbseq.data.sense import Totals, notes_on_values, require_groups
from tuner_plugins.perturbseq.data.stored import CellsError
from tuner_plugins.perturbseq.data.transform import Transform, blocks, learn

SETTING: Mapping[str, Any] = {}
"""The frozen setting, put here when the script is made."""

RECIPE: Mapping[str, Any] = {}
"""How a screen becomes X and Y, put here when the script is made."""

ANALYSIS: Mapping[str, Any] = {}
"""Options of the analysis, put here when the script is made."""

TOLERATED_RESIDUAL = 1e-9


@dataclass(frozen=True)
class Sums:
    """Z'Z, Z'Y and diag(Y'Y) over all cells, with Z = [1, X - x_shift] and Y - y_shift."""

    gram: np.ndarray
    cross: np.ndarray
    squares: np.ndarray
    x_shift: np.ndarray
    y_shift: np.ndarray


def sum_blocks(screen: Screen, transform: Transform) -> Sums:
    """Sum over the cells in one pass; covariates are shifted by the means of the first block."""
    k = len(screen.design.names)
    totals: Sums | None = None
    for _, X, Y in blocks(screen, transform):
        design, covariates = X[:, :k], X[:, k:].toarray()
        if totals is None:
            p, genes = X.shape[1] + 1, Y.shape[1]
            totals = Sums(
                np.zeros((p, p)),
                np.zeros((p, genes)),
                np.zeros(genes),
                np.concatenate([np.zeros(k), covariates.mean(axis=0)]),
                np.zeros(genes) if sparse.issparse(Y) else Y.mean(axis=0),
            )
        dense = np.column_stack([np.ones(X.shape[0]), covariates - totals.x_shift[k:]])
        at = np.concatenate([[0], np.arange(k + 1, X.shape[1] + 1)])
        totals.gram[np.ix_(at, at)] += dense.T @ dense
        mixed = design.T @ dense
        totals.gram[1 : k + 1, at] += mixed
        totals.gram[at, 1 : k + 1] += mixed.T
        totals.gram[1 : k + 1, 1 : k + 1] += (design.T @ design).toarray()
        if isinstance(Y, np.ndarray):
            values = Y - totals.y_shift
            totals.cross[at] += dense.T @ values
            totals.cross[1 : k + 1] += design.T @ values
            totals.squares[:] += (values**2).sum(axis=0)
        else:
            totals.cross[at] += (Y.T @ dense).T
            totals.cross[1 : k + 1] += (design.T @ Y).toarray()
            totals.squares[:] += np.asarray(Y.multiply(Y).sum(axis=0)).reshape(-1)
    assert totals is not None, "a design has at least one cell"
    return totals


def fit_screen(
    source: Source,
    recipe: Recipe,
    setting: Mapping[str, Any],
    say: Callable[[str], object] = lambda note: None,
) -> anndata.AnnData:
    """Fit a screen with the frozen setting.

    Parameters
    ----------
    source : Path, AnnData or Files
        The screen.
    recipe : Recipe
        How it becomes X and Y.
    setting : mapping
        ``alpha``, ``l1_ratio``, ``penalise_covariates``, ``scale_genes``.
    say : callable
        Takes what is to be known of the screen, a line at a time.

    Returns
    -------
    AnnData
        One row a gene, one column a perturbation: coefficients, on the scale of the response.
        ``obs``: ``intercept``, ``nonzeros``, ``symbol`` where asked for; ``obsm["covariates"]``:
        their coefficients, on the scale of the covariates; ``var``: ``cells``;
        ``uns["elasticnet"]``: setting and residual.

    Raises
    ------
    CellsError
        Anything in the screen that does not fit the recipe, or that makes its fit mean nothing.
    """
    screen = open_screen(source, recipe)
    require_groups(screen)
    guide = ANALYSIS.get("guide")
    on_labels = notes_on_labels(screen, guide if guide in screen.obs.columns else None)
    for note in (*screen.counts.notes, *screen.design.notes, *screen.covariates.notes, *on_labels):
        say(note)
    screen, transform = learn(screen, np.zeros(len(screen.obs), dtype=np.int64))
    totals = sum_blocks(screen, transform)
    k, covariates = len(screen.design.names), screen.covariates.names
    order = np.concatenate([[0], transform.columns[-1] + 1])
    gram, cross = totals.gram[np.ix_(order, order)], totals.cross[order]
    x_scale, y_scale = np.ones(len(order)), np.ones(cross.shape[1])
    factor = np.concatenate([[0.0], np.ones(k), np.zeros(len(covariates))])
    n = gram[0, 0]
    for note in notes_on_values(screen, transform, Totals(gram, cross[0], totals.squares)):
        say(note)
    if setting["penalise_covariates"]:
        factor[k + 1 :] = 1.0
        x_scale[k + 1 :] = _deviation(gram.diagonal()[k + 1 :] / n, gram[0, k + 1 :] / n)
    if setting["scale_genes"]:
        y_scale = _deviation(totals.squares / n, cross[0] / n)
    coef, residual = solve(
        gram / np.outer(x_scale, x_scale),
        cross / np.outer(x_scale, y_scale),
        totals.squares / y_scale**2,
        factor,
        setting["alpha"],
        setting["l1_ratio"],
    )
    if not residual <= TOLERATED_RESIDUAL:
        raise CellsError(
            f"the fit did not converge (residual {residual:.2g}); are perturbations or penalised "
            "covariates collinear? leave one out, or use an l1_ratio below 1"
        )
    coef = coef * y_scale / x_scale[:, None]
    if not coef[factor > 0].any():
        say(f"no coefficient is non-zero: alpha {setting['alpha']:g} leaves covariates alone")
    shift = totals.x_shift[order[1:] - 1]
    intercept = coef[0] + totals.y_shift - shift @ coef[1:]
    obs = pd.DataFrame(
        {"intercept": intercept, "nonzeros": (coef[factor > 0] != 0).sum(axis=0)},
        index=transform.responses.astype(str),
    )
    if recipe.symbols is not None:
        symbols = dict(zip(screen.counts.genes, screen.counts.symbols, strict=True))
        obs["symbol"] = [symbols.get(name, name) for name in transform.responses]
    cells = np.asarray(screen.design.matrix.sum(axis=0)).reshape(-1).astype(np.int64)
    found = anndata.AnnData(
        np.ascontiguousarray(coef[1 : k + 1].T),
        obs=obs,
        var=pd.DataFrame({"cells": cells}, index=screen.design.names),
    )
    # a slash in a name is a folder to HDF5
    names = [name.replace("/", "_") for name in covariates]
    found.obsm["covariates"] = pd.DataFrame(coef[k + 1 :].T, obs.index, names)
    found.uns["elasticnet"] = {**setting, "response": recipe.response, "kkt": residual}
    return found


def _deviation(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return standard deviations; 1 for what is constant."""
    variance = square - mean**2
    return np.where(variance > 1e-12 * square, np.sqrt(np.maximum(variance, 0.0)), 1.0)


def save(found: anndata.AnnData, path: Path) -> None:
    """Write .h5ad, or a table as .parquet or .csv: one row a gene; whole, where `path` leads.

    Raises
    ------
    CellsError
        It cannot be written.
    """
    write: Callable[[Path], object] = found.write_h5ad
    if path.suffix != ".h5ad":
        table = pd.concat([found.obs, found.to_df(), found.obsm["covariates"]], axis=1)
        table.index.name = "gene"
        write = table.to_parquet if path.suffix == ".parquet" else table.to_csv
    try:
        write_output(path, write)
    except OutputError as error:
        raise CellsError(f"-o: {error}") from error


def analysis_library() -> tuple[Callable[..., list[Path]], tuple[type[Exception], ...]]:
    """Return the library's function and the errors that it raises for bad input.

    Raises
    ------
    CellsError
        It is not installed: a fit needs little, the biology of its coefficients a lot.
    """
    try:
        # by name: the script stands alone but for this option
        library = importlib.import_module("tuner_plugins.perturbseq.report.command")
    except ImportError as error:
        raise CellsError(
            f"--analyse needs more packages than the fit ({error.name} is not here); first: "
            "pip install 'tunefreeze[perturbseq]'"
        ) from error
    return library.analyse_file, library.BAD_INPUT


def analyse(source: Files, folder: Path, gene_sets: Path | None) -> None:
    """Go on from the setting to the biology; raise `CellsError` for bad input."""
    analyse_file, bad_input = analysis_library()
    options = {**ANALYSIS, **({} if gene_sets is None else {"gene_sets": gene_sets})}
    limit = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(limit) if limit.isdigit() else os.cpu_count() or 1
    try:
        analyse_file(source, RECIPE, SETTING, options, folder, threads=threads)
    except bad_input as error:
        raise CellsError(str(error)) from error


def _say(line: str) -> None:
    """Write a line to standard error, after the script's name."""
    print(f"{os.path.basename(sys.argv[0])}: {line}", file=sys.stderr)


def main(given: Sequence[str] | None = None) -> int:
    """Fit a screen from the command line; return the exit code."""
    try:
        arguments, notes = arguments_of(given, SETTING), list[str]()
        if arguments.analyse is not None:
            analysis_library()  # refuse before the work
        source = Files(arguments.input, arguments.cells)
        found = fit_screen(source, recipe_of(RECIPE), SETTING, notes.append)
        for note in notes:
            _say(note)
        save(found, arguments.output)
        if arguments.analyse is not None:
            analyse(source, arguments.analyse, arguments.gene_sets)
    except CellsError as error:
        _say(str(error))
        return 2
    print(
        f"{arguments.output}: {found.n_obs} genes x {found.n_vars} perturbations, "
        f"{int((found.X != 0).sum())} non-zero, KKT residual {found.uns['elasticnet']['kkt']:.1e}"
    )
    if arguments.analyse is not None:
        print(f"analysis: {arguments.analyse / 'report.html'}")
    return 0
