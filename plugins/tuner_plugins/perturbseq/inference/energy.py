"""How far the cells of each perturbation lie from control cells: energy distance and its test.

Szekely & Rizzo (2013), doi:10.1016/j.jspi.2013.03.018; for screens Peidli et al. (2024),
doi:10.1038/s41592-023-02144-y, who take squared distances, which see means alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import euclidean_distances
from threadpoolctl import threadpool_limits

from tuner_plugins.perturbseq.inference.program_tests import adjust, empirical_p

MOST_CELLS = 1000
"""Cells of a perturbation, and of its controls, that are compared: drawn where there are more."""


def energy_distances(  # noqa: PLR0913  keywords
    coordinates: NDArray[np.float64],
    design: sparse.csr_matrix,
    targets: list[str],
    *,
    strata: NDArray[np.int64],
    n_permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test every perturbation against control by its energy distance, 2 E|x-y| - E|x-x'| - E|y-y'|.

    Parameters
    ----------
    coordinates : ndarray, (cells, dimensions)
        Such as principal components.
    design : csr_matrix, (cells, perturbations)
        Rows of zeros are control cells.
    targets : list of str
    strata : ndarray of int, (cells,)
        Batches: labels are permuted within them, and batches without control cells left out.

    Returns
    -------
    DataFrame
        One row a perturbation: ``perturbation``, ``n_cells``, those that were compared
        (``n_compared``, ``n_control``), ``edistance`` (unbiased, so that it may be below 0), ``p``
        and ``q`` (Benjamini-Hochberg); NaN with fewer than two cells of either kind.

    Examples
    --------
    >>> rng, labels = np.random.default_rng(0), np.repeat([[1.0], [0.0]], 40, axis=0)
    >>> x = rng.normal(size=(80, 2)) + labels
    >>> design, strata = sparse.csr_matrix(labels), np.zeros(80, dtype=np.int64)
    >>> found = energy_distances(x, design, ["A"], strata=strata, n_permutations=99)
    >>> found["edistance"].item() > 0.1, found["p"].item()
    (True, 0.01)
    """
    control = np.diff(design.indptr) == 0
    columns, rows = design.tocsc(), []
    children = np.random.SeedSequence(seed).spawn(design.shape[1])
    for at, name in enumerate(targets):
        rng = np.random.default_rng(children[at])
        treated = np.zeros(len(control), dtype=bool)
        treated[columns.indices[columns.indptr[at] : columns.indptr[at + 1]]] = True
        shared = np.intersect1d(strata[treated], strata[control])
        chosen = [np.flatnonzero(one & np.isin(strata, shared)) for one in (treated, control)]
        chosen = [rng.permutation(one)[:MOST_CELLS] for one in chosen]
        sizes = [len(one) for one in chosen]
        found = (np.nan, np.nan)
        if min(sizes) > 1:
            cells = np.concatenate(chosen)
            mine = np.arange(len(cells)) < sizes[0]
            found = _test(coordinates[cells], mine, strata[cells], n_permutations, rng)
        rows.append((name, int(treated.sum()), *sizes, *found))
    names = ["perturbation", "n_cells", "n_compared", "n_control", "edistance", "p"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(q=adjust(table["p"]))


def _test(
    x: NDArray[np.float64],
    mine: NDArray[np.bool_],
    strata: NDArray[np.int64],
    n_permutations: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the distance of the cells `mine` from the others, and its p-value."""
    drawn = np.zeros((len(x), n_permutations + 1))
    drawn[:, 0] = mine
    for stratum in np.unique(strata):
        here = np.flatnonzero(strata == stratum)
        ranks = rng.random((len(here), n_permutations)).argsort(axis=0)
        drawn[here, 1:] = ranks < mine[here].sum()
    with threadpool_limits(1):  # the same bits on any machine
        distances = euclidean_distances(x)
        np.fill_diagonal(distances, 0.0)
        inside = ((distances @ drawn) * drawn).sum(axis=0)
        reach = distances.sum(axis=0) @ drawn
    n, m = int(mine.sum()), int((~mine).sum())
    across, outside = reach - inside, distances.sum() - 2 * reach + inside
    energy = 2 * across / (n * m) - inside / (n * (n - 1)) - outside / (m * (m - 1))
    exceeding = int((energy[1:] >= energy[0] - 1e-12 * abs(distances).max()).sum())
    return float(energy[0]), float(empirical_p(exceeding, n_permutations))
