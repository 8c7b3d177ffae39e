"""A screen that is open: labels, covariates, and blocks of checked counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from tuner_plugins.perturbseq.data.covariates import (
    TOTAL,
    Covariates,
    numbers_of,
    read_covariates,
)
from tuner_plugins.perturbseq.data.files import SAME, Reading, Source, open_source
from tuner_plugins.perturbseq.data.guide_calls import GuideCalling, obs_with_calls
from tuner_plugins.perturbseq.data.guide_counts import read_modality, read_obsm
from tuner_plugins.perturbseq.data.labels import Design, Labels, column_of, read_design
from tuner_plugins.perturbseq.data.matrix import Cells
from tuner_plugins.perturbseq.data.response import GeneChoice
from tuner_plugins.perturbseq.data.stored import CellsError, did_you_mean
from tuner_plugins.perturbseq.data.values import (
    LOG1P,
    WHOLE,
    require_counts,
    require_finite,
    require_logged,
)

LOG = "log1p_cp10k"
COUNTS = "counts"

NORMALISED = (
    "the values are log-normalised (data.values): they are fitted as they are; what is made from "
    "counts is made from normalised ones, since nothing tells how many counts a cell had"
)


@dataclass(frozen=True)
class Recipe:
    """How a screen becomes X and Y.

    Attributes
    ----------
    labels : Labels
        How perturbations are read.
    layer : str, optional
        Where the counts are: X, ``raw`` or a layer.
    batch : str, optional
        Column of obs.
    covariates : sequence of str
        Columns of obs, or what can be computed.
    response : str
        ``log1p_cp10k``, ``counts``, or the name of a layer.
    symbols : str, optional
        Column of var with gene symbols: what mitochondrial and cell-cycle genes are found by.
    size_factor : str
        Column of obs with the counts of a cell; ``total_counts`` is summed where obs has none.
    genes : GeneChoice
        Which genes are fitted.
    y_obs : sequence of str
        Columns of obs that are fitted as well.
    modality, join : str
        What is read of files with several modalities, and of several files: see `Reading`.
    values : {"counts", "fractional", "log1p"}
        What the layer holds: raw counts; counts that were corrected and are no whole numbers; or
        log1p of normalised counts, which are fitted as they are.
    calling : GuideCalling, optional
        How labels are made from counts of guides.
    """

    labels: Labels
    layer: str | None = None
    batch: str | None = None
    covariates: Sequence[str] = ()
    response: str = LOG
    size_factor: str = "total_counts"
    genes: GeneChoice = GeneChoice()
    y_obs: Sequence[str] = ()
    symbols: str | None = None
    modality: str | None = None
    join: str = SAME
    values: str = WHOLE
    calling: GuideCalling | None = None


def recipe_of(plain: Mapping[str, Any]) -> Recipe:
    """Make a recipe from plain data, as ``dataclasses.asdict`` gives it."""
    made: dict[str, Any] = {
        "labels": Labels(**plain["labels"]),
        "genes": GeneChoice(**plain["genes"]),
    }
    if plain.get("calling") is not None:
        made["calling"] = GuideCalling(**plain["calling"])
    return Recipe(**{**plain, **made})


@dataclass(frozen=True)
class Screen:
    """A screen that is open but not read: labels, covariates and where the values are.

    Attributes
    ----------
    recipe : Recipe
        What was asked for.
    counts : Cells
        All cells of the file, and their counts.
    response : Cells or None
        The layer that is fitted, where it is one.
    obs : DataFrame
        Annotation of the cells that stay.
    design : Design
        Their perturbations.
    covariates : Covariates
        Their covariates.
    batches : array of str, shape (cells,)
        ``""`` everywhere without a batch column.
    extra : array, shape (cells, len(y_obs))
        Further responses.
    guide_table : DataFrame, optional
        What was called of each guide, see `GuideCalls`; where labels were called.
    """

    recipe: Recipe
    counts: Cells
    response: Cells | None
    obs: pd.DataFrame
    design: Design
    covariates: Covariates
    batches: np.ndarray
    extra: np.ndarray
    guide_table: pd.DataFrame | None = None

    @property
    def needs_counts(self) -> bool:
        """Whether anything is made from counts."""
        choice = self.recipe.genes
        chosen = choice.min_cells or choice.highly_variable is not None or choice.limits
        made = self.covariates.counted or self.covariates.scored
        return self.response is None or bool(chosen) or bool(made)


def open_screen(source: Source, recipe: Recipe) -> Screen:
    """Read labels and covariates; the counts stay where they are.

    Parameters
    ----------
    source : Path, AnnData or Files
        See `open_source`.
    recipe : Recipe
        What becomes of it.

    Raises
    ------
    CellsError
        Anything in the annotation that does not fit the recipe.

    Examples
    --------
    >>> from anndata import AnnData
    >>> adata = AnnData(np.array([[3.0, 0.0], [1.0, 2.0], [0.0, 4.0]]))
    >>> adata.obs["perturbation"] = ["A", "control", "control"]
    >>> screen = open_screen(adata, Recipe(Labels()))
    >>> screen.design.names, screen.counts.matrix.shape, screen.needs_counts
    (['A'], (3, 2), True)
    """
    reading = Reading(recipe.layer, recipe.symbols, recipe.modality, recipe.join)
    counts = open_source(source, reading)
    layered = recipe.response not in (LOG, COUNTS)
    if layered:
        _require_response(recipe.response, counts.layers)
    response = open_source(source, reading._replace(layer=recipe.response)) if layered else None
    if response is not None and not response.genes.equals(counts.genes):
        raise CellsError(
            f"response {recipe.response} and the counts ({recipe.layer or 'X'}) have different "
            "genes; give both in one matrix's layers"
        )
    if recipe.values == LOG1P:
        _require_depth(counts.obs, recipe)
        counts = replace(counts, notes=(*counts.notes, NORMALISED))
    called: list[str] = []
    guide_table = None
    if recipe.calling is not None:
        calling = recipe.calling
        if calling.modality is None:
            guides = read_obsm(source, calling.obsm)
        else:
            guides = read_modality(source, calling.modality, counts.obs.index)
        column = recipe.labels.perturbation
        obs, guide_table, note = obs_with_calls(counts.obs, guides, calling, column)
        counts, called = replace(counts, obs=obs), [note]
    design = read_design(counts.obs, recipe.labels)
    design = replace(design, notes=[*called, *design.notes])
    obs = counts.obs.iloc[design.rows]
    batches = np.full(len(obs), "")
    if recipe.batch is not None:
        batches = column_of(obs, recipe.batch, "batch").astype(str).to_numpy(dtype=str)
    covariates = read_covariates(obs, counts.symbols, recipe.covariates, recipe.batch)
    clash = [name for name in covariates.names if name in set(design.names)]
    if clash:
        raise CellsError(f"'{clash[0]}' is both a perturbation and a covariate; rename one")
    extra = _further_responses(obs, counts.genes, recipe.y_obs)
    parts = recipe, counts, response, obs, design, covariates, batches, extra
    return Screen(*parts, guide_table)


def _require_depth(obs: pd.DataFrame, recipe: Recipe) -> None:
    """Raise `CellsError` where log-normalised values are asked for what only counts tell."""
    why = "data.values is log1p: normalised values do not tell"
    if recipe.response == COUNTS:
        raise CellsError(f"{why} counts; take response {LOG}, which fits them as they are")
    if recipe.size_factor != TOTAL:
        raise CellsError(f"{why} counts to divide by {recipe.size_factor}; leave size_factor out")
    if TOTAL in recipe.covariates and TOTAL not in obs.columns:
        raise CellsError(
            f"{why} how many counts a cell had; leave {TOTAL} out of the covariates, or give an "
            f"obs column '{TOTAL}'"
        )


def _require_response(name: str, layers: Sequence[str]) -> None:
    """Raise `CellsError` for a response that is neither made from counts nor a layer."""
    if name not in layers:
        known = (LOG, COUNTS, *(layer for layer in layers if layer != LOG))
        close = did_you_mean(f"no response '{name}'", name, known)
        raise CellsError(f"{close} ({LOG} and {COUNTS} are made from counts; others are layers)")


def _further_responses(obs: pd.DataFrame, genes: pd.Index, names: Sequence[str]) -> np.ndarray:
    clash = [name for name in names if name in genes]
    if clash:
        raise CellsError(f"y_obs '{clash[0]}' is the name of a gene as well; rename the obs column")
    columns = [numbers_of(column_of(obs, name, "y_obs"), name) for name in names]
    return np.column_stack(columns) if columns else np.empty((len(obs), 0))


def count_blocks(screen: Screen, *, checked: bool) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """Return the counts of the cells that stay in blocks (cells, genes), checked or once more.

    Of log-normalised values these are the normalised counts.
    """
    source, kind = screen.counts, screen.recipe.values
    for where, block in source.matrix.blocks(screen.design.rows):
        if checked:
            named = (block, screen.obs.index[where], source.genes, source.matrix)
            if kind == LOG1P:
                require_logged(*named)
            else:
                require_counts(*named, source.layers, whole=kind == WHOLE)
        counts = sparse.csr_matrix(block)
        yield where, counts.expm1() if kind == LOG1P else counts


def paired_blocks(
    screen: Screen,
) -> Iterator[tuple[slice, sparse.csr_matrix | None, sparse.csr_matrix | np.ndarray | None]]:
    """Return counts and the layer that is fitted side by side; None for what is not needed.

    The counts have been checked by the first pass, which reads them wherever they are needed.
    """
    if screen.response is None:
        for where, counts in count_blocks(screen, checked=False):
            yield where, counts, None
        return
    source = screen.response
    read = count_blocks(screen, checked=False) if screen.needs_counts else None
    for where, layer in source.matrix.blocks(screen.design.rows):
        require_finite(layer, screen.obs.index[where], source.genes, source.matrix)
        yield where, next(read)[1] if read is not None else None, layer
