"""Loops over rows of lanes that must keep several sums in registers at once.

What `vector` gives is enough for most kernels. A product of matrices is at the arithmetic peak of
a core only where each number that was loaded serves many sums, and those never leave the registers:
these intrinsics spell that out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

from tuner_plugins.enet.penalty import choose, soft_threshold
from tuner_plugins.enet.simd.vector import (
    DOUBLES,
    LANES,
    WORD,
    ZEROS,
    data_of,
    every,
    get,
    load_row,
    put,
    row_of,
    some,
    spread,
    spread_of,
    store_row,
    typed_intrinsic,
)

BLOCK = 8
"""Rows of sums that are held in registers together."""

PAIR = 2
"""Rows of those that are left over; the number of all rows must be a multiple of it."""


@njit(cache=True)
def padded(size: int) -> int:
    """Round `size` up to a multiple of `PAIR`."""
    return (size + PAIR - 1) // PAIR * PAIR


@njit(cache=True, nogil=True)
def tile(rows: int) -> Any:
    """Return zeros for `rows` rows of lanes, padded."""
    return np.zeros((padded(rows), LANES))


@njit(cache=True, nogil=True)
def copy(source: Any, target: Any) -> None:
    """Copy rows of lanes; `target` may have fewer than `source`."""
    for row in range(target.shape[0]):
        put(target, row, get(source, row))


def _fuse(builder: Any, left: Any, right: Any, total: Any) -> None:
    """Add the product to `total`, in one instruction where there is one."""
    product = builder.fmul(left, right, flags=("contract",))
    builder.store(builder.fadd(product, builder.load(total), flags=("contract",)), total)


def _product(  # noqa: PLR0913 - what LLVM needs
    context: Any, builder: Any, kinds: Any, arrays: Any, rows: Any, count: Any, base: Any
) -> Any:
    """Set ``out = base + product`` for `arrays` out, factors and lanes; base may be None."""
    out_data, factor_data, lane_data, row_data = (
        data_of(context, builder, kind, value)
        for kind, value in zip(kinds, (*arrays, rows), strict=True)
    )
    shape = context.make_array(kinds[0])(context, builder, arrays[0]).shape
    width = builder.extract_value(shape, 0)
    done = ir.Constant(WORD, 0)
    for held in (BLOCK, PAIR):
        blocks = builder.udiv(builder.sub(width, done), ir.Constant(WORD, held))
        with cgutils.for_range(builder, blocks) as outer:
            first = builder.add(done, builder.mul(outer.index, ir.Constant(WORD, held)))
            places = [builder.add(first, ir.Constant(WORD, at)) for at in range(held)]
            sums = [cgutils.alloca_once(builder, DOUBLES) for _ in range(held)]
            for total, place in zip(sums, places, strict=True):
                start = ZEROS if base is None else load_row(builder, row_of(builder, base, place))
                builder.store(start, total)
            with cgutils.for_range(builder, count) as inner:
                k = builder.load(builder.gep(row_data, [inner.index]))
                vector = load_row(builder, row_of(builder, lane_data, k))
                start = builder.add(builder.mul(k, width), first)
                for at, total in enumerate(sums):
                    address = builder.gep(factor_data, [builder.add(start, ir.Constant(WORD, at))])
                    factor = spread_of(builder, builder.load(address))
                    _fuse(builder, factor, vector, total)
            for total, place in zip(sums, places, strict=True):
                store_row(builder, builder.load(total), row_of(builder, out_data, place))
        done = builder.add(done, builder.mul(blocks, ir.Constant(WORD, held)))
    return context.get_dummy_value()


@typed_intrinsic
def add_product(  # noqa: PLR0913 - with the typing context
    typing_context: Any, out: Any, base: Any, factors: Any, lanes: Any, rows: Any, count: Any
) -> Any:
    """Set every ``out[t, :]`` to ``base[t, :] + sum over k of factors[k, t] * lanes[k, :]``.

    Parameters
    ----------
    out, base : (t, LANES) float64
        May be one; t is a multiple of `PAIR`.
    factors : (k, t) float64
    lanes : (k, LANES) float64
    rows : (count,) int64
        The k to sum over. All arrays C-ordered; nothing is checked.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (out, start, *arrays, rows, count), kinds = arguments, signature.args
        base = data_of(context, builder, kinds[1], start)
        kinds = (kinds[0], *kinds[2:5])
        return _product(context, builder, kinds, (out, *arrays), rows, count, base)

    return types.void(out, base, factors, lanes, rows, types.int64), build


@typed_intrinsic
def set_product(
    typing_context: Any, out: Any, factors: Any, lanes: Any, rows: Any, count: Any
) -> Any:
    """As `add_product`, with a base of zeros."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *arrays, rows, count = arguments
        return _product(context, builder, signature.args[:4], arrays, rows, count, None)

    return types.void(out, factors, lanes, rows, types.int64), build


@njit(cache=True, nogil=True)
def shrink(
    values: Any, thresholds: Any, inverses: Any, shrunk: Any, weights: Any, active: Any
) -> int:
    """Soft-threshold every row and scale it; return the number of rows that are not all zero.

    Parameters
    ----------
    values : (rows, LANES) float64
    thresholds, inverses : (k,) float64
        Row k becomes ``soft(values[k], thresholds[k]) * inverses[k]``.
    shrunk, weights : (rows, LANES) float64
        Overwritten: the result, and ``inverses[k]`` where it is not zero.
    active : (k,) int64
        Overwritten from the start by the rows that are not all zero.
    """
    count, zero = 0, spread(0.0)
    for row in range(thresholds.shape[0]):
        value, limit, factor = get(values, row), spread(thresholds[row]), spread(inverses[row])
        is_active = abs(value) > limit
        put(shrunk, row, soft_threshold(value, limit) * factor)
        put(weights, row, choose(is_active, factor, zero))
        # Without a branch, which could not be predicted.
        active[count] = row
        count += int(some(is_active))
    return count


@njit(cache=True, nogil=True)
def list_changes(new: Any, old: Any, change: Any, rows: Any, count: int) -> int:
    """Set ``old = new``, keep by how much they differed, and return how many rows did.

    Parameters
    ----------
    new, old, change : (rows, LANES) float64
        NaN in `old` differs from everything.
    rows : (count,) int64
        Overwritten from the start by the rows that differed in any lane.
    count : int
        Rows to compare.
    """
    found = 0
    for row in range(count):
        value, before = get(new, row), get(old, row)
        put(change, row, value - before)
        put(old, row, value)
        rows[found] = row
        found += int(not every(value == before))
    return found


@njit(cache=True, nogil=True)
def add_quadratic(out: Any, coef: Any, diagonal: Any, linear: Any, rows: Any, count: int) -> None:
    """Add ``sum over k in rows[:count] of coef_k (diagonal_k coef_k - 2 linear_k)`` to `out`.

    Parameters
    ----------
    out : (LANES,) float64
    coef, linear : (k, LANES) float64
    diagonal : (k,) float64
    rows : (count,) int64
    """
    total, two = get(out, 0), spread(2.0)
    for at in range(count):
        k = rows[at]
        value = get(coef, k)
        total = total + value * (spread(diagonal[k]) * value - two * get(linear, k))
    put(out, 0, total)
