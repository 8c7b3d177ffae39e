"""Effects beside the coefficients: fold changes from counts, own genes, pairs, distances."""

from __future__ import annotations

from collections.abc import Mapping

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import norm

from tuner_plugins.perturbseq.inference.energy import energy_distances
from tuner_plugins.perturbseq.inference.epistasis import epistasis
from tuner_plugins.perturbseq.inference.fold_changes import FEWEST_CELLS, fold_changes
from tuner_plugins.perturbseq.inference.program_tests import adjust, note_on_floor
from tuner_plugins.perturbseq.model.resampling import Model
from tuner_plugins.perturbseq.programs.grouping import own_gene
from tuner_plugins.perturbseq.report.options import Analysis, AnalysisOptions
from tuner_plugins.perturbseq.report.progress import step

FOLD_CHANGES = ("log2fc", "log2fc_low", "log2fc_high", "log2fc_p")
"""Keys of ``varm``, and columns of the table of coefficients."""

LEVEL = 0.95
"""Of the intervals."""

WITHOUT_COUNTS = (
    "Fold changes were left out: the values are log-normalised, and intervals follow from counts."
)


def fold_changes_of(
    adata: ad.AnnData, model: Model, level: float = LEVEL, threads: int | None = None
) -> dict[str, pd.DataFrame]:
    """Return `FOLD_CHANGES` from the raw counts in X, each genes by perturbations."""
    counts, at = sparse.csr_matrix(adata.X), adata.var_names.get_indexer(model.genes)
    if len(at) < adata.n_vars or (np.diff(at) != 1).any():
        counts = counts[:, at]
    sizes = model.sizes
    if sizes is None or (sizes == 1).all():  # of a response that is no matter of depth
        sizes = np.asarray(adata.X.sum(axis=1), dtype=np.float64).reshape(-1)
    found = fold_changes(
        counts,
        np.maximum(sizes, 1.0),  # cells of a panel that shows none of their counts
        model.design,
        model.covariates,
        level=level,
        threads=model.threads if threads is None else threads,
    )
    return {
        key: model.framed(values) for key, values in zip(FOLD_CHANGES, found.values(), strict=True)
    }


def note_on_untested(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return a note where genes have fold changes and no p."""
    changes, p = (tables[key].notna().any(axis=1) for key in ("log2fc", "log2fc_p"))
    untested = int((changes & ~p).sum())
    return [
        f"{untested} of {len(p)} genes have counts in too few cells (fewer than {FEWEST_CELLS}, or "
        "than twice the covariates) for p-values of their fold changes."
    ] * bool(untested)


def own_effects(table: pd.DataFrame, q_threshold: float = 0.05) -> pd.DataFrame:
    """Tabulate what each perturbation leaves of its own gene, and the power to see that.

    Parameters
    ----------
    table : DataFrame
        Coefficients with `FOLD_CHANGES`, every gene by every perturbation.
    q_threshold : float
        False discovery rate, which says at what p a change is seen.

    Returns
    -------
    DataFrame
        One row a perturbation whose gene was fitted, the strongest fall first: ``perturbation``,
        ``gene``, ``n_cells``, ``remaining`` (2^log2fc), ``log2fc``, its interval, ``log2fc_p``,
        ``log2fc_q`` (Benjamini-Hochberg over all genes and perturbations), ``seen`` (``log2fc_q``
        below the threshold), ``power``: the chance that a fall to one half would have been seen.
    """
    q = adjust(table["log2fc_p"])
    genes, targets = table["gene"].unique(), table["perturbation"].unique()
    own = own_gene(genes, targets).ravel()
    rows = table[own].assign(remaining=np.exp2(table["log2fc"][own]), log2fc_q=q[own])
    reached = table["log2fc_p"][q < q_threshold]
    limit = reached.max() if len(reached) else q_threshold / max(int(np.isfinite(q).sum()), 1)
    error = (rows["log2fc_high"] - rows["log2fc_low"]) / (2 * norm.ppf((1 + LEVEL) / 2))
    error, missed = error.where(np.isfinite(error)), norm.isf(limit / 2)  # no count, no power
    rows["seen"] = rows["log2fc_q"] < q_threshold
    rows["power"] = norm.sf(missed - 1 / error) + norm.sf(missed + 1 / error)
    columns = ["perturbation", "gene", "n_cells", "remaining", *FOLD_CHANGES]
    columns += ["log2fc_q", "seen", "power"]
    return rows[columns].sort_values("remaining", ignore_index=True)


def add_fold_changes(found: Analysis, model: Model, options: AnalysisOptions) -> None:
    """Write fold changes beside the coefficients, own genes, and pairs where there are any."""
    if not options.fold_changes:
        return
    if isinstance(options.view.size_factor, float):
        found.notes.append(WITHOUT_COUNTS)
        return
    step(f"estimating fold changes of {len(model.genes):,} genes")
    tables = fold_changes_of(found.adata, model)
    coefficients = found.tables["coefficients"]
    for key, table in tables.items():
        found.adata.varm[key] = table.reindex(found.adata.var_names)
        coefficients[key] = table.to_numpy().ravel()
    found.notes += note_on_untested(tables)
    coefficients["log2fc_q"] = adjust(coefficients["log2fc_p"])
    own = own_effects(coefficients, options.q_threshold)
    if len(own):
        found.tables["knockdown"] = own
    found.notes.append(_note_on_own(own, len(model.targets), options.q_threshold))
    pairs = epistasis(tables, options.q_threshold)
    if len(pairs):
        found.tables["epistasis"] = found.adata.uns["epistasis"] = pairs
        classes = pairs["class"][pairs["class"] != ""].value_counts()
        said = ", ".join(f"{n:,} {kind}" for kind, n in classes.items())
        found.notes.append(f"Pairs of perturbations against the sum of both: {said}.")


def _note_on_own(own: pd.DataFrame, targets: int, q_threshold: float) -> str:
    if own.empty:
        return (
            f"None of {targets} perturbations is named after a gene that was fitted: nothing is "
            "said of knock-down and of the power on positive controls."
        )
    return (
        f"Positive controls: {int(own['seen'].sum())} of {len(own)} perturbations change their own "
        f"gene at q < {q_threshold:g}; in the median {100 * own['remaining'].median():.0f} % of it "
        f"is left, and a fall to one half would be seen with a probability of "
        f"{own['power'].median():.2f}."
    )


def add_distances(found: Analysis, model: Model, options: AnalysisOptions) -> None:
    """Test how far the cells of each perturbation lie from control in principal components."""
    if not options.n_distance_permutations:
        return
    step(f"measuring distances to control, {options.n_distance_permutations} permutations")
    coordinates: NDArray[np.float64] = np.asarray(found.adata.obsm["X_pca"], dtype=np.float64)
    table = energy_distances(
        coordinates,
        model.design,
        model.targets,
        strata=model.strata,
        n_permutations=options.n_distance_permutations,
        seed=options.seed,
    )
    found.tables["edistance"] = found.adata.uns["edistance"] = table
    far = int((table["q"] < options.q_threshold).sum())
    found.notes.append(
        f"Cells of {far} of {len(table)} perturbations lie apart from control (energy distance in "
        f"principal components, q < {options.q_threshold:g})."
    )
    found.notes += note_on_distances(table, options.n_distance_permutations, options.q_threshold)


def note_on_distances(
    table: pd.DataFrame, n_permutations: int, q_threshold: float = 0.05
) -> list[str]:
    """Return a note where permutations are too few for any distance to be significant."""
    return note_on_floor(table["p"], n_permutations, q_threshold, what="distances")
