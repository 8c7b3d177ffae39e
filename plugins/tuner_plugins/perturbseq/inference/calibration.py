"""Perturbations that did nothing, from control cells, and whether their p-values say so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from tuner_plugins.perturbseq.errors import AnalysisError


def pseudo_perturbations(
    control: NDArray[np.bool_],
    sizes: Sequence[int],
    *,
    guides: NDArray[np.object_] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Make a design of perturbations that did nothing, from control cells alone.

    Parameters
    ----------
    control : ndarray of bool, (cells,)
    sizes : sequence of int
        Cells of the true perturbations: the mock ones have such sizes, as far as half of the
        control cells go. Not used with guides.
    guides : ndarray, (cells,), optional
        Guide of each cell: every second non-targeting guide then is a perturbation, which shows
        what guides do beyond chance.

    Returns
    -------
    pandas.DataFrame, (control cells, mock perturbations)
        Rows are numbered as the control cells are in the data.

    Raises
    ------
    AnalysisError
        If control cells, or their guides, do not suffice.

    Examples
    --------
    >>> control = np.array([True] * 8 + [False] * 4)
    >>> mock = pseudo_perturbations(control, sizes=[2, 2])
    >>> mock.sum().to_dict()
    {'mock 0': 2.0, 'mock 1': 2.0}
    """
    rows = np.flatnonzero(control)
    rng = np.random.default_rng(seed)
    if guides is not None:
        names = sorted(set(np.asarray(guides)[rows].astype(str)))
        if len(names) < 2:
            raise AnalysisError(
                f"calibration by guide needs two non-targeting guides; got {len(names)}: "
                "split control cells at random instead"
            )
        own = np.asarray(guides)[rows].astype(str)
        return pd.DataFrame({n: (own == n).astype(float) for n in names[1::2]}, index=rows)
    left = rng.permutation(len(rows))
    budget, columns = len(rows) // 2, dict[str, NDArray[np.float64]]()
    for size in sorted(sizes):
        if size > budget or size < 1:
            continue
        chosen = np.zeros(len(rows))
        chosen[left[:size]] = 1.0
        columns[f"mock {len(columns)}"] = chosen
        left, budget = left[size:], budget - size
    if not columns:
        raise AnalysisError(
            f"{len(rows)} control cells are too few to mock a perturbation of "
            f"{min(sizes, default=0)} cells; calibration needs twice as many"
        )
    return pd.DataFrame(columns, index=rows)


def inflation(p: NDArray[np.float64]) -> float:
    """Return the median chi-square of p-values over its expectation: 1 when calibrated.

    Devlin & Roeder (1999), doi:10.1111/j.0006-341X.1999.00997.x.

    Examples
    --------
    >>> round(inflation(np.linspace(0.001, 0.999, 999)), 2)
    1.0
    """
    values = np.asarray(p, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    return float(np.median(chi2.isf(values, 1)) / chi2.ppf(0.5, 1))
