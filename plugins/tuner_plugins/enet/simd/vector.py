"""A number for every SIMD lane as one value of compiled code: `Lanes`, and `Mask` for conditions.

Numba leaves vectorising to LLVM, which must assume that any two arrays overlap, and gives up where
a loop divides, takes roots or has conditions. With these types a kernel says what happens to all
lanes at once, in the plain operators ``+ - * / < <= > == |``, whose right side may be a number,
with `abs`, `math.sqrt` and the functions of `penalty`; sums stay in registers. They exist in
compiled code only.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, ParamSpec

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    overload,
    register_jitable,
    register_model,
)

from tuner_plugins.enet.penalty import choose, soft_threshold, violation

LANES = 16
"""Genes that are solved together: two registers of AVX-512, so that a factor loaded serves both."""

DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
WORD = ir.IntType(64)
ZEROS = ir.Constant(DOUBLES, [0.0] * LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)
FAST = {"contract", "nsz"}
"""Fast-math flags of kernels: a product may be fused with a sum, a zero may lose its sign."""

_FUSE = ("contract",)
_SECOND_CACHE = 2
_P = ParamSpec("_P")


def typed_intrinsic(function: Callable[Concatenate[Any, _P], Any]) -> Callable[_P, Any]:
    """Make an intrinsic, typed as compiled code calls it: without the typing context."""
    return intrinsic(function)  # type: ignore[return-value]  # typed as if Python could call it


class _LanesType(types.Type):
    """`LANES` numbers."""


class _MaskType(types.Type):
    """`LANES` truth values."""


_lanes, _mask = _LanesType("Lanes"), _MaskType("Mask")


for _kind, _vector in ((_LanesType, DOUBLES), (_MaskType, _BITS)):
    register_model(_kind)(partial(models.PrimitiveModel, be_type=_vector))


def data_of(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Return the address of the numbers of an array."""
    return context.make_array(kind)(context, builder, value).data


def row_of(builder: Any, data: Any, row: Any) -> Any:
    """Return the address of a row of `LANES` numbers."""
    place = builder.mul(row, ir.Constant(WORD, LANES))
    return builder.bitcast(builder.gep(data, [place]), DOUBLES.as_pointer())


def load_row(builder: Any, address: Any) -> Any:
    """Load a row."""
    vector = builder.load(address)
    vector.align = 8
    return vector


def store_row(builder: Any, value: Any, address: Any) -> None:
    """Store a row."""
    builder.store(value, address).align = 8


def spread_of(builder: Any, scalar: Any) -> Any:
    """Return a vector of copies of `scalar`."""
    one = builder.insert_element(
        ir.Constant(DOUBLES, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
    )
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(DOUBLES, ir.Undefined), mask)


def _any_of(builder: Any, bits: Any) -> Any:
    """Return whether any of the truth values holds."""
    word = ir.IntType(LANES)
    return builder.icmp_unsigned("!=", builder.bitcast(bits, word), ir.Constant(word, 0))


def _operator(function: Any, operands: Any, result: Any, build: Any) -> None:
    """Let compiled code use an operator on lanes or masks."""

    @infer_global(function)
    class _Template(ConcreteTemplate):
        cases = [signature(result, *operands)]

    @lower_builtin(function, *operands)  # type: ignore[untyped-decorator]  # numba has no types here
    def _lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return build(builder, *arguments)


def _binary(function: Any, result: Any, build: Callable[[Any, Any, Any], Any]) -> None:
    """Let compiled code use an operator on lanes and lanes, or lanes and a number."""

    def with_number(builder: Any, left: Any, right: Any) -> Any:
        return build(builder, left, spread_of(builder, right))

    _operator(function, (_lanes, _lanes), result, build)
    _operator(function, (_lanes, types.float64), result, with_number)


def _compare(sign: str) -> Callable[[Any, Any, Any], Any]:
    return lambda builder, left, right: builder.fcmp_ordered(sign, left, right)


def _call(name: str) -> Callable[[Any, Any], Any]:
    """Return the code of a function that LLVM has for vectors."""

    def build(builder: Any, value: Any) -> Any:
        kind = ir.FunctionType(DOUBLES, [DOUBLES])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f64")
        return builder.call(function, [value])

    return build


_binary(operator.add, _lanes, lambda builder, a, b: builder.fadd(a, b, flags=_FUSE))
_binary(operator.sub, _lanes, lambda builder, a, b: builder.fsub(a, b, flags=_FUSE))
_binary(operator.mul, _lanes, lambda builder, a, b: builder.fmul(a, b, flags=_FUSE))
_binary(operator.truediv, _lanes, lambda builder, a, b: builder.fdiv(a, b))
for _function, _sign in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">")):
    _binary(_function, _mask, _compare(_sign))
_binary(operator.eq, _mask, _compare("=="))
_operator(operator.neg, (_lanes,), _lanes, lambda builder, a: builder.fneg(a))
_operator(abs, (_lanes,), _lanes, _call("fabs"))
_operator(math.sqrt, (_lanes,), _lanes, _call("sqrt"))
_operator(operator.or_, (_mask, _mask), _mask, lambda builder, a, b: builder.or_(a, b))


@typed_intrinsic
def get(typing_context: Any, array: Any, row: Any) -> Any:
    """Return a row of a C-ordered float64 array (rows, LANES); nothing is checked."""
    _require_rows(array)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = data_of(context, builder, signature.args[0], arguments[0])
        return load_row(builder, row_of(builder, data, arguments[1]))

    return _lanes(array, types.int64), build


def _require_rows(array: Any) -> None:
    """Refuse to compile for arrays whose rows do not follow each other in memory."""
    if array.layout != "C":
        raise TypingError(f"rows of lanes must be C-ordered, got {array}")


def _element_of(context: Any, builder: Any, kind: Any, arguments: Any) -> tuple[Any, Any]:
    """Return the address of an element of a C-ordered matrix, and its type."""
    matrix = context.make_array(kind)(context, builder, arguments[0])
    width = builder.extract_value(matrix.shape, 1)
    place = builder.add(builder.mul(arguments[1], width), arguments[2])
    return builder.gep(matrix.data, [place]), context.get_data_type(kind.dtype)


@typed_intrinsic
def prefetch(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    """Have the numbers of a later `fetch` brought near."""
    _require_rows(array)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place, element = _element_of(context, builder, signature.args[0], arguments)
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        line = 64 // (signature.args[0].dtype.bitwidth // 8)
        for start in range(0, LANES, line):
            address = builder.gep(place, [ir.Constant(WORD, start)])
            options = [ir.Constant(word, value) for value in (0, _SECOND_CACHE, 1)]
            builder.call(function, [builder.bitcast(address, pointer), *options])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), build


@typed_intrinsic
def fetch(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    """Return `LANES` numbers from `column` on in a row of a C-ordered matrix, unchecked."""
    _require_rows(array)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        place, element = _element_of(context, builder, kind, arguments)
        address = builder.bitcast(place, ir.VectorType(element, LANES).as_pointer())
        values = builder.load(address)
        values.align = kind.dtype.bitwidth // 8
        return values if element == ir.DoubleType() else builder.fpext(values, DOUBLES)

    return _lanes(array, types.int64, types.int64), build


@typed_intrinsic
def put(typing_context: Any, array: Any, row: Any, value: Any) -> Any:
    """Set a row of a C-ordered float64 array (rows, LANES); nothing is checked."""
    _require_rows(array)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = data_of(context, builder, signature.args[0], arguments[0])
        store_row(builder, arguments[2], row_of(builder, data, arguments[1]))
        return context.get_dummy_value()

    return types.void(array, types.int64, _lanes), build


@typed_intrinsic
def spread(typing_context: Any, value: Any) -> Any:
    """Return the same number to all lanes."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return spread_of(builder, arguments[0])

    return _lanes(types.float64), build


@typed_intrinsic
def _select(typing_context: Any, condition: Any, yes: Any, no: Any) -> Any:
    """Return `yes` in the lanes where `condition` holds, `no` in the others."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return _lanes(_mask, _lanes, _lanes), build


@overload(choose)
def _choose(condition: Any, yes: Any, no: Any) -> Any:
    # Numba compares signatures with these, annotations included.
    def of_lanes(condition: Any, yes: Any, no: Any) -> Any:
        return _select(condition, yes, no)

    def of_numbers(condition: Any, yes: Any, no: Any) -> Any:
        return yes if condition else no

    return of_lanes if condition is _mask else of_numbers


for _formula in (soft_threshold, violation):
    register_jitable(_formula)


@typed_intrinsic
def some(typing_context: Any, condition: Any) -> Any:
    """Return whether `condition` holds in any lane."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _any_of(builder, arguments[0])

    return types.boolean(_mask), build


@typed_intrinsic
def every(typing_context: Any, condition: Any) -> Any:
    """Return whether `condition` holds in all lanes."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.not_(_any_of(builder, builder.not_(arguments[0])))

    return types.boolean(_mask), build
