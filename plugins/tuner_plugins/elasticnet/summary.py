"""Everything about a screen that is computed once, for figures and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tuner.measure.luck import LUCKY
from tuner_plugins.elasticnet.config import SurfaceSection
from tuner_plugins.elasticnet.nested import Nested, nested
from tuner_plugins.enet.cross_validation import cross_validate, refit
from tuner_plugins.enet.cv_results import Sweep, standard_error
from tuner_plugins.perturbseq.inference.held_out_effects import perturbation_table
from tuner_plugins.perturbseq.model.reading import Loaded
from tuner_plugins.perturbseq.model.surface import grid_alphas, surface_table

if TYPE_CHECKING:
    from tuner_plugins.perturbseq.inference.permutation_test import Null

NULL_ALPHAS = 10
NULL_RATIOS = 3


@dataclass(frozen=True)
class Summary:
    """The whole surface and what is concluded from it.

    `chosen` is the sweep at the chosen setting alone; `nonzeros` counts the penalised coefficients
    of each response in the fit to all cells.
    """

    surface: Sweep
    chosen: Sweep
    nested: Nested | None
    null: Null | None
    perturbations: pd.DataFrame
    nonzeros: pd.Series


def summary_of(
    loaded: Loaded, alpha: float, l1_ratio: float, grid: SurfaceSection, seed: int, threads: int
) -> Summary:
    """Compute the summary of a screen at a chosen setting; `seed` is that of the permutations."""
    # its kernels take a second to import, which no trial needs
    from tuner_plugins.perturbseq.inference.permutation_test import permutation_null

    problem, dataset = loaded.problem, loaded.dataset
    alphas = grid_alphas(problem, grid.alphas, grid.l1_ratios)
    surface = cross_validate(problem, alphas, grid.l1_ratios, threads=threads)
    null = None
    if grid.permutations:
        null = permutation_null(
            dataset,
            problem,
            _thinned(alphas, NULL_ALPHAS),
            _thinned(np.array(grid.l1_ratios), NULL_RATIOS),
            permutations=grid.permutations,
            seed=seed,
            units=loaded.units,
            threads=threads,
        )
    last = np.flatnonzero(problem.chosen[-1])
    coef = refit(problem, alpha, l1_ratio, threads=threads).coef
    penalised = problem.penalty_factor > 0
    return Summary(
        surface,
        cross_validate(problem, [alpha], [l1_ratio], threads=threads),
        nested(problem, surface, threads=threads),
        null,
        perturbation_table(dataset, problem, alpha, l1_ratio, seed=seed, threads=threads),
        pd.Series((coef[:, penalised] != 0).sum(axis=1), dataset.transform.responses[last]),
    )


def tables_of(
    loaded: Loaded, summary: Summary, alpha: float, l1_ratio: float
) -> Mapping[str, pd.DataFrame]:
    """Tabulate: surface, choice, genes, perturbations, null, notes."""
    tables = {
        "surface": surface_table(summary.surface),
        "choice": _choice_table(summary, alpha, l1_ratio),
        "genes": _gene_table(loaded, summary),
        "perturbations": summary.perturbations,
    }
    if summary.null is not None:
        placed = loaded.units is not None and loaded.units.places is not None
        how = "moved" if placed else "shuffled"
        tables["permutation_null"] = pd.DataFrame(
            {
                "permutation": np.arange(len(summary.null.shuffled) + 1),
                "labels": ["as they are"] + [how] * len(summary.null.shuffled),
                "best_partial_r2": np.concatenate(([summary.null.observed], summary.null.shuffled)),
            }
        )
    if loaded.notes:
        tables["notes"] = pd.DataFrame({"note": loaded.notes})
    return tables


def findings_of(summary: Summary) -> list[str]:
    """Return what perturbations add to covariates, and whether luck gives as much, in words."""
    chosen, null = summary.chosen, summary.null
    r2, covariates, added = (
        float(values[0, 0]) for values in (chosen.r2, chosen.r2_covariates, chosen.delta_r2)
    )
    does = "add to" if added > 0 else "add nothing to"
    found = [
        f"perturbations {does} the held-out R2 of covariates: delta_r2 {added:+.4f} "
        f"(r2 {r2:.4f}, covariates alone {covariates:.4f})"
    ]
    if not summary.nonzeros.any():
        found.insert(
            0,
            f"the best setting (alpha {float(chosen.alphas[0]):g}) has no non-zero coefficient: it "
            "predicts nothing but the covariates; search smaller alphas",
        )
    if null is not None:
        judged = "better than luck" if null.p < LUCKY else "not distinguishable from luck"
        found.append(
            f"the best partial R2 of the surface, {null.observed:.4f}, is {judged}: p {null.p:.3g} "
            f"({len(null.shuffled)} permutations among {null.among})"
        )
    return found


def _choice_table(summary: Summary, alpha: float, l1_ratio: float) -> pd.DataFrame:
    surface = summary.surface
    rows = [_point("chosen", summary.chosen, (0, 0), alpha, l1_ratio)]
    for name, at in (
        ("best of the grid", surface.best_index),
        ("one standard error", surface.one_standard_error()),
    ):
        rows.append(
            _point(name, surface, at, float(surface.alphas[at[0]]), float(surface.l1_ratios[at[1]]))
        )
    if summary.nested is not None:
        rows.append(
            {
                "choice": "nested",
                "r2": summary.nested.r2,
                "delta_r2": summary.nested.delta_r2,
                "partial_r2": summary.nested.partial_r2,
            }
        )
    if summary.null is not None:
        rows[0]["p_of_best_partial_r2"] = summary.null.p
        rows[0]["labels_shuffled_among"] = summary.null.among
    return pd.DataFrame(rows)


def _point(
    name: str, surface: Sweep, at: tuple[int, int], alpha: float, l1_ratio: float
) -> dict[str, object]:
    of_genes = surface.r2_genes[at][surface.mask.any(axis=0)]
    low, middle, high = np.quantile(of_genes, [0.1, 0.5, 0.9])
    return {
        "choice": name,
        "alpha": alpha,
        "l1_ratio": l1_ratio,
        "r2": surface.r2[at],
        "r2_se": surface.r2_se[at],
        "r2_mean": surface.r2_mean[at],
        "r2_q10": low,
        "r2_median": middle,
        "r2_q90": high,
        "r2_covariates": np.broadcast_to(surface.r2_covariates, surface.r2.shape)[at],
        "delta_r2": surface.delta_r2[at],
        "delta_r2_se": standard_error(surface.delta_r2_folds)[at],
        "partial_r2": surface.partial_r2[at],
        "nonzeros": surface.nonzeros[at],
        "kkt": surface.kkt,
    }


def _gene_table(loaded: Loaded, summary: Summary) -> pd.DataFrame:
    chosen = summary.chosen
    counts = chosen.mask.any(axis=0)
    responses = loaded.dataset.transform.responses
    table = pd.DataFrame(
        {
            "gene": responses,
            "r2": chosen.r2_genes[0, 0],
            "delta_r2": chosen.delta_r2_genes[0, 0],
            "partial_r2": chosen.partial_r2_genes[0, 0],
            "nonzeros": summary.nonzeros.reindex(responses).to_numpy(),
        }
    )
    if loaded.dataset.screen.recipe.symbols is not None:
        cells = loaded.dataset.screen.counts
        symbols = pd.Series(cells.symbols, index=cells.genes)
        table.insert(1, "symbol", symbols.reindex(responses).to_numpy())
    return table[counts].sort_values("delta_r2", ascending=False, ignore_index=True)


def _thinned(values: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of the values, the first and the last among them."""
    if len(values) <= count:
        return values
    return np.asarray(values[np.linspace(0, len(values) - 1, count).round().astype(int)])
