"""The arrays that describe a problem to the solvers, and those that take what they find.

The compiled solvers are told where they lie, in this order: `kernels/problem.h`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Sets(NamedTuple):
    """Statistics of the training sets and of the cells held out of each.

    Attributes
    ----------
    gram, held_gram : (sets, columns + 1, columns + 1)
        Z'Z of the training set, and of the cells held out.
    total : (columns + 1, genes)
        Z'Y of all cells.
    held : (sets, columns + 1, genes)
        Z'Y of the cells held out; the training set has the rest.
    squares, held_squares : (sets, genes)
    norms : (sets, columns + 1)
        Square root of the diagonal of `gram`: the unit of residuals.
    weights : (columns + 1,)
        Penalty factor of every column; 0 for the intercept.
    cells : (sets,)
        Cells in the training set.
    """

    gram: Floats
    held_gram: Floats
    total: Floats
    held: Floats
    squares: Floats
    held_squares: Floats
    norms: Floats
    weights: Floats
    cells: Floats


class Projection(NamedTuple):
    """Each training set with its free columns projected out.

    Attributes
    ----------
    free, penalised : (f,), (p,)
        Where these columns stand in Z.
    inverse : (sets, f, f)
        Inverse of the free block; zero rows for free columns that depend on earlier ones.
    slopes : (sets, f, p)
        inverse @ Z_free' Z_penalised.
    gram : (sets, p, p)
        What is left of the Gram matrix of the penalised columns.
    norms : (sets, p)
        Unit of the residuals; 0 for columns of which nothing is left.
    """

    free: Ints
    penalised: Ints
    inverse: Floats
    slopes: Floats
    gram: Floats
    norms: Floats


class OneHot(NamedTuple):
    """Each training set split into a block D with disjoint columns and the scaled rest R.

    Attributes
    ----------
    eliminated, rest : (k,), (q,)
        Where the columns of D and of R stand in Z.
    scale : (sets, q)
        What the columns of R were multiplied by, to unit norm.
    d : (sets, k)
        Diagonal of D'D.
    m, away : (sets, k, q), (sets, q, k)
        D'R and -R'D.
    mm : (sets, k + 1, q (q + 1) / 2)
        Products -m_i m_j of every row, i >= j, row by row of the lower triangle; last, R'R.
    g : (sets, q, q)
        R'R.
    pinned : (sets, q)
        Columns of R that are held at zero: empty, or dependent on earlier free ones.
    held_d, held_m, held_g
        D'D, 2 D'R and R'R of the cells held out, in the same units.
    """

    eliminated: Ints
    rest: Ints
    scale: Floats
    d: Floats
    m: Floats
    away: Floats
    mm: Floats
    g: Floats
    pinned: NDArray[np.bool_]
    held_d: Floats
    held_m: Floats
    held_g: Floats


class Grid(NamedTuple):
    """Penalties to fit: alphas falling, and ratios; tolerance (1,), relative to a gene's norm."""

    alphas: Floats
    ratios: Floats
    tolerance: Floats


class Output(NamedTuple):
    """What the fits give; `coef` may have no genes where it is not wanted.

    Attributes
    ----------
    sse : (sets, alphas, ratios, genes)
        Held-out sums of squared errors.
    nonzero : (sets, alphas, ratios, genes)
        Penalised columns with a non-zero coefficient.
    coef : (sets, alphas, ratios, columns + 1, genes)
        Coefficients of Z, so that the intercept belongs to the shifted columns.
    kkt : (genes,)
        Largest residual of the optimality conditions over all fits of a gene.
    """

    sse: Floats
    nonzero: NDArray[np.int32]
    coef: Floats
    kkt: Floats
