"""SIMD building blocks: one gene a lane, rows of `LANES` numbers held in vector registers.

Numba leaves vectorising to LLVM, which must assume that any two arrays overlap and so reloads and
stores every sum. These intrinsics say what is meant: they keep their sums in registers over the
whole loop and reach most of the arithmetic peak of a core. A row is two registers of AVX-512, so
that a factor that was loaded serves both; elsewhere LLVM splits it further.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""Genes that are solved together."""

BLOCK = 8
"""Rows of sums that are held in registers together; their count must be a multiple of it."""

_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_WORD = ir.IntType(64)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)


@njit(cache=True)  # type: ignore[untyped-decorator]
def padded(size: int) -> int:
    """Round `size` up to a multiple of `BLOCK`."""
    return (size + BLOCK - 1) // BLOCK * BLOCK


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def copy(source: Any, target: Any) -> None:
    """Copy rows of lanes; `target` may have fewer than `source`."""
    for row in range(target.shape[0]):
        for lane in range(LANES):
            target[row, lane] = source[row, lane]


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data


def _row(builder: Any, data: Any, row: Any) -> Any:
    """Give the address of a row of `LANES` numbers."""
    place = builder.mul(row, ir.Constant(_WORD, LANES))
    return builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer())


def _load(builder: Any, address: Any) -> Any:
    vector = builder.load(address)
    vector.align = 8
    return vector


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, address).align = 8


def _spread(builder: Any, scalar: Any) -> Any:
    """Give a vector of copies of `scalar`."""
    one = builder.insert_element(
        ir.Constant(_VECTOR, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), mask)


def _fuse(builder: Any, left: Any, right: Any, total: Any) -> None:
    """Add the product to `total`, in one instruction where there is one."""
    product = builder.fmul(left, right, flags=("contract",))
    builder.store(builder.fadd(product, builder.load(total), flags=("contract",)), total)


def _product(overwrite: bool) -> Any:
    """Give the code generator of `add_product` and `set_product`."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        out_data, factor_data, lane_data, row_data = (
            _data(context, builder, kind, value)
            for kind, value in zip(kinds[:4], arguments[:4], strict=True)
        )
        shape = context.make_array(kinds[0])(context, builder, arguments[0]).shape
        width = builder.extract_value(shape, 0)
        blocks = builder.udiv(width, ir.Constant(_WORD, BLOCK))
        with cgutils.for_range(builder, blocks) as outer:
            first = builder.mul(outer.index, ir.Constant(_WORD, BLOCK))
            places = [
                _row(builder, out_data, builder.add(first, ir.Constant(_WORD, at)))
                for at in range(BLOCK)
            ]
            sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(BLOCK)]
            for total, place in zip(sums, places, strict=True):
                builder.store(_ZERO if overwrite else _load(builder, place), total)
            with cgutils.for_range(builder, arguments[4]) as inner:
                k = builder.load(builder.gep(row_data, [inner.index]))
                vector = _load(builder, _row(builder, lane_data, k))
                start = builder.add(builder.mul(k, width), first)
                for at, total in enumerate(sums):
                    address = builder.gep(factor_data, [builder.add(start, ir.Constant(_WORD, at))])
                    factor = _spread(builder, builder.load(address))
                    _fuse(builder, factor, vector, total)
            for total, place in zip(sums, places, strict=True):
                _store(builder, builder.load(total), place)
        return context.get_dummy_value()

    return build


@intrinsic  # type: ignore[misc]
def add_product(
    typing_context: Any, out: Any, factors: Any, lanes: Any, rows: Any, count: Any
) -> Any:
    """Add ``sum over k in rows[:count] of factors[k, t] * lanes[k, :]`` to every ``out[t, :]``.

    Parameters
    ----------
    out : (t, LANES) float64
        Added to; t is a multiple of `BLOCK`.
    factors : (k, t) float64
    lanes : (k, LANES) float64
    rows : (count,) int64
        All arrays C-ordered; nothing is checked.
    """
    return types.void(out, factors, lanes, rows, types.int64), _product(overwrite=False)


@intrinsic  # type: ignore[misc]
def set_product(
    typing_context: Any, out: Any, factors: Any, lanes: Any, rows: Any, count: Any
) -> Any:
    """As `add_product`, but overwrite `out`."""
    return types.void(out, factors, lanes, rows, types.int64), _product(overwrite=True)


@intrinsic  # type: ignore[misc]
def reduce_row(
    typing_context: Any,
    left: Any,
    left_row: Any,
    right: Any,
    right_row: Any,
    out_row: Any,
    count: Any,
    scale_row: Any,
) -> Any:
    """Set a row to ``(row - sum over i < count of left_i * right_i) * scale``, lane by lane.

    Parameters
    ----------
    left, right : (rows, LANES) float64
        `left_row` and `right_row` are where the sums start, `out_row` is a row of `right`.
    scale_row : int
        Row of `left` to multiply by; -1 for none.
    """
    word = types.int64
    signature = types.void(left, word, right, word, word, word, word)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left_data = _data(context, builder, signature.args[0], arguments[0])
        right_data = _data(context, builder, signature.args[2], arguments[2])
        place = _row(builder, right_data, arguments[4])
        total = cgutils.alloca_once(builder, _VECTOR)
        builder.store(_load(builder, place), total)
        with cgutils.for_range(builder, arguments[5]) as loop:
            a = _load(builder, _row(builder, left_data, builder.add(arguments[1], loop.index)))
            b = _load(builder, _row(builder, right_data, builder.add(arguments[3], loop.index)))
            _fuse(builder, builder.fneg(a), b, total)
        wanted = builder.icmp_signed(">=", arguments[6], ir.Constant(_WORD, 0))
        with builder.if_then(wanted):
            scale = _load(builder, _row(builder, left_data, arguments[6]))
            builder.store(builder.fmul(builder.load(total), scale), total)
        _store(builder, builder.load(total), place)
        return context.get_dummy_value()

    return signature, build


@intrinsic  # type: ignore[misc]
def shrink(
    typing_context: Any,
    values: Any,
    thresholds: Any,
    inverses: Any,
    shrunk: Any,
    weights: Any,
    active: Any,
) -> Any:
    """Soft-threshold every row and scale it; give the number of rows that are not all zero.

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
    signature = types.int64(values, thresholds, inverses, shrunk, weights, active)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, limits, factors, target, marks, chosen = (
            _data(context, builder, kind, value)
            for kind, value in zip(signature.args, arguments, strict=True)
        )
        shape = context.make_array(signature.args[1])(context, builder, arguments[1]).shape
        count = cgutils.alloca_once_value(builder, ir.Constant(_WORD, 0))
        with cgutils.for_range(builder, builder.extract_value(shape, 0)) as loop:
            value = _load(builder, _row(builder, source, loop.index))
            limit = _spread(builder, builder.load(builder.gep(limits, [loop.index])))
            factor = _spread(builder, builder.load(builder.gep(factors, [loop.index])))
            above = builder.fsub(value, limit)
            below = builder.fadd(value, limit)
            is_above = builder.fcmp_ordered(">", above, _ZERO)
            is_below = builder.fcmp_ordered("<", below, _ZERO)
            kept = builder.select(is_above, above, builder.select(is_below, below, _ZERO))
            is_active = builder.or_(is_above, is_below)
            _store(builder, builder.fmul(kept, factor), _row(builder, target, loop.index))
            mark = builder.select(is_active, factor, _ZERO)
            _store(builder, mark, _row(builder, marks, loop.index))
            here = builder.load(count)
            builder.store(loop.index, builder.gep(chosen, [here]))
            bits = builder.bitcast(is_active, ir.IntType(LANES))
            more = builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))
            builder.store(builder.add(here, builder.zext(more, _WORD)), count)
        return builder.load(count)

    return signature, build


@intrinsic  # type: ignore[misc]
def add_quadratic(
    typing_context: Any, out: Any, coef: Any, diagonal: Any, linear: Any, rows: Any, count: Any
) -> Any:
    """Add ``sum over k in rows[:count] of coef_k (diagonal_k coef_k - 2 linear_k)`` to `out`.

    Parameters
    ----------
    out : (LANES,) float64
    coef, linear : (k, LANES) float64
    diagonal : (k,) float64
    rows : (count,) int64
    """
    signature = types.void(out, coef, diagonal, linear, rows, types.int64)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out_data, coef_data, diagonal_data, linear_data, row_data = (
            _data(context, builder, kind, value)
            for kind, value in zip(signature.args[:5], arguments[:5], strict=True)
        )
        place = _row(builder, out_data, ir.Constant(_WORD, 0))
        total = cgutils.alloca_once(builder, _VECTOR)
        builder.store(_load(builder, place), total)
        minus_two = ir.Constant(_VECTOR, [-2.0] * LANES)
        with cgutils.for_range(builder, arguments[5]) as loop:
            k = builder.load(builder.gep(row_data, [loop.index]))
            value = _load(builder, _row(builder, coef_data, k))
            factor = _spread(builder, builder.load(builder.gep(diagonal_data, [k])))
            slope = builder.fmul(minus_two, _load(builder, _row(builder, linear_data, k)))
            slope = builder.fadd(builder.fmul(factor, value), slope)
            _fuse(builder, value, slope, total)
        _store(builder, builder.load(total), place)
        return context.get_dummy_value()

    return signature, build


@intrinsic  # type: ignore[misc]
def add_labelled(typing_context: Any, sums: Any, labels: Any, values: Any, count: Any) -> Any:
    """Add every row of `values` to the rows of `sums` that its labels name.

    Parameters
    ----------
    sums : (rows, LANES) float64
        Added to.
    labels : (count, width) int64
        Rows of `sums`: each row of `values` is added to `width` of them.
    values : (count, LANES) float64
    """
    signature = types.void(sums, labels, values, types.int64)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sum_data, label_data, value_data = (
            _data(context, builder, kind, value)
            for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
        )
        shape = context.make_array(signature.args[1])(context, builder, arguments[1]).shape
        width = builder.extract_value(shape, 1)
        with cgutils.for_range(builder, arguments[3]) as outer:
            vector = _load(builder, _row(builder, value_data, outer.index))
            start = builder.mul(outer.index, width)
            with cgutils.for_range(builder, width) as inner:
                at = builder.add(start, inner.index)
                place = _row(builder, sum_data, builder.load(builder.gep(label_data, [at])))
                _store(builder, builder.fadd(_load(builder, place), vector), place)
        return context.get_dummy_value()

    return signature, build
