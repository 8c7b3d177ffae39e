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
from tuner_plugins.enet.cross_validation import Problem, cross_validate, refit
from tuner_plugins.enet.cv_results import Sweep, standard_error
from tuner_plugins.enet.path import alpha_max
from tuner_plugins.perturbseq.data.dataset import Dataset
from tuner_plugins.perturbseq.inference.exchangeable_units import Units
from tuner_plugins.perturbseq.inference.held_out_effects import perturbation_table
from tuner_plugins.perturbseq.inference.permutation_schemes import (
    arrangements,
    exchangeable,
    smallest_p,
    whole_folds,
)

if TYPE_CHECKING:
    from tuner_plugins.perturbseq.inference.permutation_test import Null

NULL_ALPHAS = 10
NULL_RATIOS = 3
SMALLEST_ALPHA = 1e-3
SMALL_BYTES = 64 << 20


@dataclass(frozen=True)
class Loaded:
    """A screen that is ready to be fitted, and what the user should know of it.

    `units` exchange their labels as one; None for single cells.
    """

    dataset: Dataset
    problem: Problem
    notes: tuple[str, ...]
    units: Units | None = None

    @property
    def is_small(self) -> bool:
        """Whether its statistics may be kept from one reading to what needs them next."""
        return self.problem.statistics.cross.nbytes <= SMALL_BYTES


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
    alphas = grid_alphas(problem, grid)
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


def grid_alphas(problem: Problem, grid: SurfaceSection) -> np.ndarray:
    """Return log-spaced alphas, rising to where all penalised coefficients are zero."""
    ratio = max(max(grid.l1_ratios), 0.1)
    top = alpha_max(problem.whole, ratio, problem.penalty_factor)
    top = top if top > 0 else 1.0
    return np.geomspace(SMALLEST_ALPHA * top, top, grid.alphas)


def tables_of(
    loaded: Loaded, summary: Summary, alpha: float, l1_ratio: float
) -> Mapping[str, pd.DataFrame]:
    """Tabulate: surface, choice, genes, perturbations, null, notes."""
    tables = {
        "surface": _surface_table(summary.surface),
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


def _surface_table(surface: Sweep) -> pd.DataFrame:
    alphas, ratios = np.meshgrid(surface.alphas, surface.l1_ratios, indexing="ij")
    columns = {
        "alpha": alphas,
        "l1_ratio": ratios,
        "r2": surface.r2,
        "r2_se": surface.r2_se,
        "r2_mean": surface.r2_mean,
        "r2_covariates": np.broadcast_to(surface.r2_covariates, surface.r2.shape),
        "delta_r2": surface.delta_r2,
        "delta_r2_se": standard_error(surface.delta_r2_folds),
        "partial_r2": surface.partial_r2,
        "nonzeros": surface.nonzeros,
    }
    return pd.DataFrame({name: values.reshape(-1) for name, values in columns.items()})


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


def shuffle_notes(dataset: Dataset, units: Units | None, permutations: int) -> list[str]:
    """Return where labels are moved along the plate, or can be arranged in too few ways."""
    if units is None or not permutations:
        return []
    strata = exchangeable(units, dataset.screen.batches, dataset.folds)
    ways = arrangements(units, strata)
    if units.places is not None:
        least = smallest_p(units, strata, permutations, whole_folds(units, dataset.folds))
        return [
            f"the units of '{units.name}' that share a perturbation stand side by side on the "
            f"plate (obs column '{units.well}'): the permutation test moves labels along it, in "
            f"{ways - 1:.0f} ways, and p cannot be below {least:.2g}; data.well: null exchanges "
            "them freely and takes what neighbours share for an effect; next time randomise the "
            "layout"
        ]
    if ways > permutations:
        return []
    return [
        f"the {units.count} units of '{units.name}' can exchange their labels in {ways:.0f} ways "
        f"only: the p-value of the permutation test cannot be below {1 / ways:.2g}"
    ]


def _thinned(values: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of the values, the first and the last among them."""
    if len(values) <= count:
        return values
    return np.asarray(values[np.linspace(0, len(values) - 1, count).round().astype(int)])
