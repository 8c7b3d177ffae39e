"""One elastic net for each gene in plain NumPy, from sums over the cells.

A single setting, as in the stand-alone script, needs no compiled kernels: free columns are
projected out, coordinate descent (Friedman, Hastie and Tibshirani, 2010, 10.18637/jss.v033.i01)
runs over the columns with all genes at once, and now and then every gene is solved exactly
by its active set. What is returned carries its optimality residual.
"""

from __future__ import annotations

import numpy as np

from tuner_plugins.enet.penalty import soft_threshold, violation

GOAL = 1e-13
GENES_AT_ONCE = 512
MOST_SWEEPS = 1_000
POLISH_EVERY = 50
STEPS_PER_COLUMN = 20


def solve(
    gram: np.ndarray,
    cross: np.ndarray,
    squares: np.ndarray,
    factor: np.ndarray,
    alpha: float,
    l1_ratio: float,
) -> tuple[np.ndarray, float]:
    """Solve the elastic net of every gene from its sums.

    Parameters
    ----------
    gram : array, shape (p, p)
        Z'Z; Z'Z[0, 0] is the number of cells.
    cross : array, shape (p, genes)
        Z'Y.
    squares : array, shape (genes,)
        diag(Y'Y), for the unit of the residual.
    factor : array, shape (p,)
        Penalty factor of each column; 0 leaves it free.
    alpha, l1_ratio : float
        As in scikit-learn's ``ElasticNet``.

    Returns
    -------
    coef : array, shape (p, genes)
        Of Z.
    residual : float
        Largest violation of the optimality conditions, in units of the norms of column and gene.
    """
    norms = np.sqrt(gram.diagonal())
    units = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    free, tied = np.flatnonzero(factor == 0), np.flatnonzero(factor)
    scaled = gram[np.ix_(free, free)] * np.outer(units[free], units[free])
    # a free column that depends on the others takes part of their share: the fit is the same
    inverse = np.linalg.pinv(scaled, rcond=1e-11, hermitian=True) * np.outer(
        units[free], units[free]
    )
    slopes = inverse @ gram[np.ix_(free, tied)]
    reduced = gram[np.ix_(tied, tied)] - gram[np.ix_(tied, free)] @ slopes
    left = cross[tied] - slopes.T @ cross[free]
    explained = reduced.diagonal() <= 1e-11 * norms[tied] ** 2
    n = gram[0, 0]
    l1, l2 = n * alpha * l1_ratio * factor, n * alpha * (1 - l1_ratio) * factor
    coef = np.zeros(cross.shape)
    weight = np.sqrt(squares)
    for start in range(0, cross.shape[1], GENES_AT_ONCE):
        part = slice(start, start + GENES_AT_ONCE)
        goal = GOAL * norms[tied, None] * weight[part]
        coef[tied, part] = _descend(reduced, left[:, part], (l1[tied], l2[tied]), ~explained, goal)
    coef[free] = inverse @ cross[free] - slopes @ coef[tied]
    excess = violation(gram @ coef - cross + l2[:, None] * coef, coef, l1[:, None])
    unit = np.outer(norms, weight)
    worst = np.divide(excess, unit, out=np.zeros_like(excess), where=unit > 0)
    return coef, float(worst.max(initial=0.0))


def _descend(
    gram: np.ndarray,
    cross: np.ndarray,
    penalties: tuple[np.ndarray, np.ndarray],
    used: np.ndarray,
    goal: np.ndarray,
) -> np.ndarray:
    """Run coordinate descent on all genes at once until each is solved, (columns, genes)."""
    l1, l2 = penalties
    coef = np.zeros(cross.shape)
    active = np.arange(cross.shape[1])
    mine, gradient = coef.copy(), -cross
    columns = np.flatnonzero(used & (gram.diagonal() + l2 > 0))
    loosest = 100.0 * goal
    for sweep in range(1, MOST_SWEEPS + 1):
        for j in columns:
            target = gram[j, j] * mine[j] - gradient[j]
            step = soft_threshold(target, l1[j]) / (gram[j, j] + l2[j]) - mine[j]
            mine[j] += step
            gradient += gram[:, j, None] * step
        if sweep % POLISH_EVERY == 0:
            for gene in range(len(active)):
                column, limit = active[gene], goal[:, active[gene]]
                _polish(gram, cross[:, column], mine[:, gene], penalties, columns, limit)
        gradient = gram @ mine - cross[:, active]
        excess = violation(gradient + l2[:, None] * mine, mine, l1[:, None])[columns]
        done = (excess <= goal[np.ix_(columns, active)]).all(axis=0)
        if done.any() or sweep == MOST_SWEEPS:
            coef[:, active[done]] = mine[:, done]
            active, mine, gradient = active[~done], mine[:, ~done], gradient[:, ~done]
        if not len(active):
            break
        if sweep % 10 == 0:
            # rounding may keep the residual of a gene above so strict a goal: relax it slowly
            goal = np.minimum(1.2 * goal, loosest)
    coef[:, active] = mine
    return coef


def _polish(
    gram: np.ndarray,
    cross: np.ndarray,
    coef: np.ndarray,
    penalties: tuple[np.ndarray, np.ndarray],
    columns: np.ndarray,
    goal: np.ndarray,
) -> None:
    """Solve one gene exactly, in place: minimise for fixed signs, stop where one changes, repeat.

    The loss falls with every step and there are finitely many sets of signs (Osborne, Presnell and
    Turlach, 2000, 10.1093/imanum/20.3.389).
    """
    l1, l2 = penalties
    for _ in range(STEPS_PER_COLUMN * len(columns)):
        on = columns[coef[columns] != 0]
        if len(on):
            signs = np.sign(coef[on])
            matrix, wanted = gram[np.ix_(on, on)] + np.diag(l2[on]), cross[on] - l1[on] * signs
            target = np.linalg.lstsq(matrix, wanted, rcond=1e-13)[0]
            flat = wanted - matrix @ target
            step = target - coef[on]
            if np.abs(flat).max() > 1e-9 * np.abs(wanted).max():
                step = flat / np.abs(flat).max()  # columns depend on each other: it falls for ever
                changes = signs * step < 0
            else:
                changes = signs * target <= 0
            if changes.any():
                way = np.where(changes, -coef[on] / np.where(changes, step, 1.0), np.inf)
                first = int(np.argmin(way))
                coef[on] += way[first] * step
                coef[on[first]] = 0.0
                continue
            coef[on] = target
        push = soft_threshold(cross - gram @ coef, l1)
        excess = np.where(coef == 0, np.abs(push), 0.0)[columns]
        if (excess <= goal[columns]).all():
            return
        enters = columns[int(np.argmax(excess / np.sqrt(gram[columns, columns])))]
        coef[enters] = push[enters] / (gram[enters, enters] + l2[enters])
