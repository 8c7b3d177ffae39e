"""Tests of program scores, and what all tests share: empirical p-values and their adjustment."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kstest
from statsmodels.stats.multitest import multipletests

from tuner_plugins.perturbseq.errors import AnalysisError
from tuner_plugins.perturbseq.inference.kernels import permuted_sums, van_elteren


def empirical_p(exceeding: ArrayLike, n_permutations: int) -> NDArray[np.float64]:
    """Return (b + 1) / (B + 1): the p-value of b of B permutations at least as extreme.

    Never 0 (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585).

    Examples
    --------
    >>> empirical_p([0, 4], 99).tolist()
    [0.01, 0.05]
    """
    return (np.asarray(exceeding, dtype=np.float64) + 1.0) / (n_permutations + 1.0)


def adjust(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Benjamini and Hochberg (1995), all of them at once.

    Parameters
    ----------
    p : array-like of any shape
        NaN marks what was not tested: it stays NaN and does not count.

    Returns
    -------
    ndarray
        Same shape.

    Examples
    --------
    >>> adjust([0.01, 0.04, np.nan, 0.03]).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    tested = ~np.isnan(values)
    if tested.any():
        adjusted[tested] = multipletests(values[tested], method="fdr_bh")[1]
    return adjusted


def note_on_floor(  # noqa: PLR0913  two numbers of permutations, and words
    p: ArrayLike,
    n_permutations: int,
    q_threshold: float,
    *,
    what: str,
    n_null: int | None = None,
    instead: str = "",
) -> list[str]:
    """Return a note where permutations are too few for any q below the threshold.

    Parameters
    ----------
    p : array-like of any shape
        Of all tests that are adjusted together.
    what : str
        What was tested.
    n_null : int, optional
        Null values that each p rests on: as many as permutations, unless they are pooled.
    instead : str
        Another remedy.

    Examples
    --------
    >>> p = np.full((30, 10), 0.5)
    >>> p[0, 0] = 1 / 301  # beyond all of 10 permutations of 30 genes
    >>> [note] = note_on_floor(p, 10, 0.05, what="coefficients", n_null=300)
    >>> note.endswith("ask for 200 permutations or more.")
    True
    """
    values = np.asarray(p, dtype=np.float64)
    values = values[np.isfinite(values)]
    each = 1 if n_null is None else n_null / n_permutations
    floor = 1 / (each * n_permutations + 1)
    at_floor = int((values <= floor * (1 + 1e-9)).sum())
    least = floor * len(values) / max(at_floor, 1)
    if not at_floor or values.min() < floor * (1 - 1e-9) or least <= q_threshold:
        return []
    more = int((least / floor / q_threshold - 1) / each) + 1
    return [
        f"{at_floor} of {len(values)} {what} are beyond all permutations, yet no q can be below "
        f"{least:.2g}: {n_permutations} permutations give no p below {floor:.2g}; ask for {more} "
        f"permutations or more{instead}."
    ]


def any_effect(p: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Test whether anything happens along an axis; return p-values adjusted over the other one.

    Significant coefficients may be false at the rate that was asked for, and those false ones are
    spread over many rows: of rows with at least one of them, a larger share is false. Rows are
    therefore tested as such: the p-values of each are joined by Simes (1986,
    doi:10.1093/biomet/73.3.751) and these adjusted (Benjamini & Bogomolov 2014,
    doi:10.1111/rssb.12028).

    Parameters
    ----------
    p : ndarray, (genes, perturbations)
        NaN for what was not tested.
    axis : {0, 1}
        The one that is joined: 1 gives an answer for each gene.

    Returns
    -------
    ndarray, (genes,) or (perturbations,)
        NaN where nothing was tested.

    Examples
    --------
    >>> p = np.array([[0.001, 0.9], [0.5, 0.7]])  # the first gene answers
    >>> any_effect(p, 1).round(3).tolist()
    [0.004, 0.7]
    """
    values = np.sort(np.moveaxis(np.asarray(p, dtype=np.float64), axis, 1), axis=1)  # NaN last
    tested = np.isfinite(values).sum(axis=1, keepdims=True)
    ranks = np.arange(1, values.shape[1] + 1)
    joined = np.nanmin(np.where(tested > 0, values * tested / ranks, np.inf), axis=1, initial=1.0)
    return adjust(np.where(tested[:, 0] > 0, joined, np.nan))


def permute_within(strata: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return row numbers permuted within strata: ``labels[rows]`` are the permuted labels."""
    rows = np.arange(len(strata))
    for stratum in np.unique(strata):
        here = np.flatnonzero(strata == stratum)
        rows[here] = rng.permutation(here)
    return rows


def stratum_codes(strata: ArrayLike | None, n: int) -> NDArray[np.int64]:
    """Return the number of the stratum of each row, by name; all 0 where none are given."""
    if strata is None:
        return np.zeros(n, dtype=np.int64)
    values = pd.Series(np.asarray(strata))
    if values.isna().any():
        raise AnalysisError(f"{int(values.isna().sum())} cells have no batch: name it or drop them")
    return np.asarray(pd.factorize(values.astype(str), sort=True)[0], dtype=np.int64)


def _test_one(
    scores: NDArray[np.float64],
    treated: NDArray[np.bool_],
    strata: NDArray[np.int64],
    n_permutations: int,
    seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Test one perturbation: `scores` of its cells and of controls, in batches that have both."""
    order = np.argsort(strata, kind="stable")
    scores, treated, strata = scores[order], treated[order], strata[order]
    sizes = np.bincount(strata)
    drawn = np.bincount(strata, weights=treated).astype(np.int64)
    means = np.zeros((len(sizes), scores.shape[1]))
    np.add.at(means, strata, scores)
    centred = scores - (means / sizes[:, None])[strata]
    observed = centred[treated].sum(axis=0)
    # Within a stratum the treated sum of centred scores is n_t n_c / n times the difference.
    overlap = (drawn * (sizes - drawn) / sizes).sum()
    starts = np.concatenate([[0], np.cumsum(sizes)])
    null = permuted_sums(np.ascontiguousarray(centred), starts, drawn, n_permutations, seed)
    slack = 1e-9 * np.abs(centred).max(axis=0, initial=0.0)  # equal sums, added in another order
    exceeding = (np.abs(null) >= np.abs(observed) - slack).sum(axis=0)
    difference = observed / overlap
    residual = centred - difference * (treated[:, None] - (drawn / sizes)[strata][:, None])
    degrees = max(len(scores) - len(sizes) - 1, 1)
    spread = np.sqrt((residual**2).sum(axis=0) / degrees)
    z, p = van_elteren(scores, treated, strata)
    return {
        "mean": scores[treated].mean(axis=0),
        "mean_control": scores[~treated].mean(axis=0),
        "difference": difference,
        "effect_size": np.divide(
            difference, spread, out=np.zeros_like(difference), where=spread > 0
        ),
        "p_permutation": empirical_p(exceeding, n_permutations),
        "z_mannwhitney": z,
        "p_mannwhitney": p,
    }


def compare_programs(
    scores: pd.DataFrame,
    design: pd.DataFrame,
    control: NDArray[np.bool_],
    *,
    strata: ArrayLike | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test every program in every perturbation against the control cells.

    Two tests: the difference of means under permutation of the labels within batches, and
    Mann-Whitney by ranks within batches. Both are adjusted over all programs and perturbations.

    Parameters
    ----------
    scores : pandas.DataFrame, (cells, programs)
        Of cells that did not take part in finding the programs; otherwise the choice of the genes
        favours the perturbations and p-values are too small.
    design : pandas.DataFrame, (cells, perturbations)
        Non-zero where a cell has the perturbation. May be sparse-backed or multi-hot.
    control : ndarray of bool, (cells,)
        Control cells.
    strata : array-like, (cells,), optional
        Batches.
    n_permutations : int
        Smallest p-value is 1 / (n_permutations + 1).
    seed : int
        Each perturbation draws from its own stream; tables do not depend on threads.

    Returns
    -------
    pandas.DataFrame
        One row a test: ``program``, ``perturbation``, ``n_compared`` and ``n_control`` cells,
        ``mean``, ``mean_control``, ``difference`` (within batches), ``effect_size`` (difference
        over the standard deviation within groups), ``p_permutation``, ``q_permutation``,
        ``z_mannwhitney``, ``p_mannwhitney``, ``q_mannwhitney``. NaN where no batch holds both
        the perturbation and controls.

    Raises
    ------
    AnalysisError
        Without control cells, or scores that are not finite.

    Examples
    --------
    >>> scores = pd.DataFrame({"P0": [2.0, 3.0, 2.5, 2.5, 0.0, 0.5, 0.2, 0.1]})
    >>> design = pd.DataFrame({"STAT1": [1, 1, 1, 1, 0, 0, 0, 0]})
    >>> table = compare_programs(scores, design, design["STAT1"].to_numpy() == 0)
    >>> table[["program", "perturbation", "n_compared", "difference"]]
      program perturbation  n_compared  difference
    0      P0        STAT1           4         2.3
    >>> bool(table["p_permutation"].item() < 0.05)
    True
    """
    control = np.asarray(control, dtype=bool)
    if not control.any():
        raise AnalysisError("testing programs needs control cells; there are none: name the label")
    values = scores.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise AnalysisError("program scores must be finite; some are not")
    codes = stratum_codes(strata, len(scores))
    controlled = np.bincount(codes[control], minlength=codes.max() + 1) > 0
    children = np.random.SeedSequence(seed).spawn(design.shape[1])
    frames = []
    for name, child in zip(design.columns, children, strict=True):
        treated = (design[name].to_numpy() != 0) & ~control
        shared = controlled & (np.bincount(codes[treated], minlength=len(controlled)) > 0)
        used = (treated | control) & shared[codes]
        result: dict[str, object] = {"program": scores.columns, "perturbation": name}
        result["n_compared"] = int((used & treated).sum())
        result["n_control"] = int((used & control).sum())
        if used.any():
            compact = np.unique(codes[used], return_inverse=True)[1]
            stream = int(child.generate_state(1, np.uint32)[0])
            result |= _test_one(values[used], treated[used], compact, n_permutations, stream)
        frames.append(pd.DataFrame(result))
    if not frames or not scores.shape[1]:
        return pd.DataFrame(columns=[*_TEST_COLUMNS])
    table = pd.concat(frames, ignore_index=True).reindex(columns=[*_TEST_COLUMNS])
    table["q_permutation"] = adjust(table["p_permutation"])
    table["q_mannwhitney"] = adjust(table["p_mannwhitney"])
    return table


_TEST_COLUMNS = (
    *("program", "perturbation", "n_compared", "n_control", "mean", "mean_control", "difference"),
    *("effect_size", "p_permutation", "q_permutation"),
    *("z_mannwhitney", "p_mannwhitney", "q_mannwhitney"),
)


def uniformity(p: ArrayLike) -> float:
    """Return the Kolmogorov-Smirnov p-value of uniform p-values: small means miscalibrated.

    Examples
    --------
    >>> uniformity(np.linspace(0.0, 1.0, 50)) > 0.9, uniformity(np.linspace(0.0, 0.5, 50)) < 0.01
    (True, True)
    """
    values = np.asarray(p, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    if not len(values):
        raise AnalysisError("no p-value to check for uniformity")
    return float(kstest(values, "uniform").pvalue)
