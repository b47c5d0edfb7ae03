"""Rows of F features as one vector register, for numba; from loops this short LLVM makes scalar code.

``features`` is a tuple of length F: the length is part of its type, hence known when a function is compiled.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

__all__ = ["dot", "load_row", "multiply_add", "store_row", "zero_row"]

# one rounding instead of two; sums are not reordered
_FUSE = ("contract",)


class RowType(types.Type):
    """``length`` numbers of type ``dtype``."""

    def __init__(self, dtype: types.Type, length: int) -> None:
        self.dtype, self.length = dtype, length
        super().__init__(name=f"Row({dtype}, {length})")


@register_model(RowType)
class _RowModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        element = dmm.lookup(fe_type.dtype).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.length))


def _pointer(context, builder, array_type, array, index, row_type):
    data = context.make_array(array_type)(context, builder, array).data
    vector = context.get_value_type(row_type)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _splat(builder, scalar, vector):
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, first, lanes)


@intrinsic
def zero_row(typingctx, array, features):
    """A row of zeros of the array's dtype."""
    row = RowType(array.dtype, len(features))

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(row), [0.0] * row.length)

    return row(array, features), codegen


@intrinsic
def load_row(typingctx, array, index, features):
    """Row number ``index`` of a C-ordered array seen as [.., F]."""
    row = RowType(array.dtype, len(features))

    def codegen(context, builder, signature, args):
        first = builder.mul(args[1], ir.Constant(args[1].type, row.length))
        pointer = _pointer(context, builder, array, args[0], first, row)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return row(array, types.int64, features), codegen


@intrinsic
def store_row(typingctx, array, index, row):
    """Write a row where :func:`load_row` reads it."""

    def codegen(context, builder, signature, args):
        first = builder.mul(args[1], ir.Constant(args[1].type, row.length))
        pointer = _pointer(context, builder, array, args[0], first, row)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, row), codegen


@intrinsic
def multiply_add(typingctx, total, scale, row):
    """``total + scale * row``, rounded once."""

    def codegen(context, builder, signature, args):
        scaled = builder.fmul(_splat(builder, args[1], args[2].type), args[2], flags=_FUSE)
        return builder.fadd(args[0], scaled, flags=_FUSE)

    return row(row, row.dtype, row), codegen


@intrinsic
def dot(typingctx, row, other):
    """Sum of the products of two rows."""

    def codegen(context, builder, signature, args):
        products = builder.fmul(args[0], args[1], flags=_FUSE)
        total = cgutils.get_null_value(products.type.element)
        for lane in range(row.length):
            part = builder.extract_element(products, ir.Constant(ir.IntType(32), lane))
            total = part if lane == 0 else builder.fadd(total, part, flags=_FUSE)
        return total

    return row.dtype(row, row), codegen
