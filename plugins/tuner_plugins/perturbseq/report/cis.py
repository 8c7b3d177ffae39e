"""Tests of elements and genes near them, and whether controls have none of their effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from tuner_plugins.perturbseq.data.label_notes import LIKE_CONTROL
from tuner_plugins.perturbseq.data.stored import listed
from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.calibration import inflation, pseudo_perturbations
from tuner_plugins.perturbseq.inference.cis import (
    CisOptions,
    CisPairs,
    find_pairs,
    tabulate_pairs,
)
from tuner_plugins.perturbseq.inference.coefficients import tabulate
from tuner_plugins.perturbseq.inference.program_tests import adjust
from tuner_plugins.perturbseq.model.resampling import Model
from tuner_plugins.perturbseq.report.effects import FOLD_CHANGES, fold_changes_of
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.progress import step


def pairs_of(adata: ad.AnnData, model: Model, options: CisOptions) -> CisPairs:
    """Return the pairs of a screen that are tested; `AnalysisError` where there are none."""
    ids = adata.var["gene_id"].reindex(model.genes) if "gene_id" in adata.var else None
    return find_pairs(options, model.targets, model.genes, ids)


def tabulate_effects(tables: Mapping[str, pd.DataFrame], n_cells: Sequence[int]) -> pd.DataFrame:
    """Return `FOLD_CHANGES`, each genes by perturbations, as a table that pairs are taken from."""
    change, *_, p = tables.values()
    table = tabulate(change, p.to_numpy(), n_cells)
    values = {key: part.to_numpy().ravel() for key, part in tables.items()}
    return table.rename(columns={"q": "log2fc_q"}).assign(**values)


def negative_controls(  # noqa: PLR0913  what mock perturbations are made of
    adata: ad.AnnData,
    model: Model,
    pairs: CisPairs,
    effects: pd.DataFrame,
    guides: NDArray[np.object_] | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, str]:
    """Return tests of what did nothing, on the genes of the pairs, and what it was.

    Parameters
    ----------
    adata, model, seed
        The screen.
    pairs : CisPairs
        Their genes are tested.
    effects : DataFrame
        Fold changes of the screen, see `cis.tabulate_pairs`.
    guides : ndarray, (cells,), optional
        Every second guide of the controls is then a mock perturbation.

    Returns
    -------
    table : DataFrame
        ``perturbation``, ``gene``, ``log2fc``, ``p`` and ``q`` (over these tests): of perturbations
        that are called like controls and have no position; and of mock perturbations of control
        cells, with as many cells as the true ones.
    about : str
        What they are, or why there are none.
    """
    genes = list(pairs.table["gene"].unique())
    others = set(model.targets) - pairs.placed - set(model.genes)  # WT1 is a gene
    like = [name for name in model.targets if name in others and LIKE_CONTROL.search(name)]
    named = effects[effects["perturbation"].isin(like) & effects["gene"].isin(genes)]
    parts = [named[["perturbation", "gene", "log2fc", "log2fc_p"]]]
    about = [f"perturbations that are called like controls ({listed(like)})"] * bool(like)
    sizes = [int(n) for n in np.diff(model.design.tocsc().indptr)]
    try:
        mock = pseudo_perturbations(model.control, sizes, guides=guides, seed=seed)
    except AnalysisError as error:
        about += [] if like else [str(error)]
    else:
        rows = mock.index.to_numpy()
        alone = replace(
            model.rows(rows),
            design=sparse.csr_matrix(mock.to_numpy()),
            targets=list(mock.columns),
            genes=genes,
            doubt=None,
        )
        tables = fold_changes_of(adata[rows], alone)
        parts.append(
            pd.DataFrame(
                {
                    "perturbation": np.tile(alone.targets, len(genes)),
                    "gene": np.repeat(genes, len(alone.targets)),
                    **{key: tables[key].to_numpy().ravel() for key in ("log2fc", "log2fc_p")},
                }
            )
        )
        about.append(f"{mock.shape[1]} mock perturbations of control cells")
    table = pd.concat(parts, ignore_index=True).rename(columns={"log2fc_p": "p"})
    return table.assign(q=adjust(table["p"])), " and ".join(about)


def notes_of(
    pairs: CisPairs, table: pd.DataFrame, options: CisOptions, q_threshold: float
) -> list[str]:
    """Return what was found, in a sentence."""
    untested = int(table["p"].isna().sum())
    here, everywhere = (int((table[key] < q_threshold).sum()) for key in ("q", "q_all"))
    return [
        f"Cis pairs: {pairs.note}; {here:,} of {len(table):,} pairs within "
        f"{options.distance:,} bases are significant at q < {q_threshold:g} over these pairs "
        f"({everywhere:,} over all genes and perturbations)"
        + f"; {untested:,} could not be tested" * bool(untested)
        + "."
    ]


def note_on_controls(table: pd.DataFrame, about: str, q_threshold: float) -> str:
    """Return whether negative controls are calibrated, in a sentence."""
    p = table["p"].to_numpy()[table["p"].notna()]
    if not len(p):
        return f"Negative controls of the cis pairs were left out: {about}."
    return (
        f"Negative controls of the cis pairs, {about}: p < .05 in {np.mean(p < 0.05):.1%} of "
        f"{len(p):,} tests, inflation {inflation(p):.2f} (1 is calibrated), "
        f"{int((table['q'] < q_threshold).sum()):,} at q < {q_threshold:g}."
    )


def add_cis(
    found: Analysis,
    model: Model,
    options: AnalysisOptions,
    pairs: CisPairs | None,
    guides: NDArray[np.object_] | None = None,
) -> None:
    """Test pairs of elements and genes near them, where a screen of elements was described."""
    if options.cis is None or pairs is None:
        return
    effects = found.tables["coefficients"]
    if not set(FOLD_CHANGES) <= set(effects):
        found.notes.append("Cis pairs were left out: they are tested by fold changes.")
        return
    step(f"testing {len(pairs.table):,} cis pairs")
    table = tabulate_pairs(pairs.table, effects)
    found.tables["cis_pairs"] = found.adata.uns["cis_pairs"] = table
    found.notes += notes_of(pairs, table, options.cis, options.q_threshold)
    if options.calibration == "none":
        return
    by_guide = guides if options.calibration == "guides" else None
    controls, about = negative_controls(found.adata, model, pairs, effects, by_guide, options.seed)
    if len(controls):
        found.tables["cis_controls"] = found.adata.uns["cis_controls"] = controls
    found.notes.append(note_on_controls(controls, about, options.q_threshold))
