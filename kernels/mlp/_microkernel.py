"""Products of small matrices for numba, C = start + A B, with a tile of C in registers.

LLVM does not keep the sums of a loop nest in registers by itself, so one tile, a few rows of C by one or two
vectors, is written out as vector instructions: for each k, load the vectors of B's row k, and add A[row, k] times
them to the row's sums. Vectors are 64 bytes wherever this runs; LLVM splits them where registers are shorter.
Matrices are pointers with strides in elements, so that one tile serves A, its transpose, a single row repeated
(stride 0), and no array is reference-counted in a hot loop.
"""

# numba removes the first argument of an intrinsic and fills its config when it runs; a type checker cannot know
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import config
from numba.extending import intrinsic

__all__ = ["VECTOR_BYTES", "pointer", "product"]

VECTOR_BYTES = 64
"""Rows of B, C and start are multiples of this long, padded where the matrix is narrower."""

# one rounding instead of two where the machine can; sums are not reordered, NaN and infinity keep their meaning
_FUSE = ("contract",)

# Sums that fit the registers beside a row of B: AVX-512 has 32 registers of 64 bytes, AVX2 has 16 of 32, NEON
# 32 of 16. Enough of them hide the latency of the additions, too many spill. Read from what numba compiles for.
_features = config.CPU_FEATURES if config.CPU_FEATURES is not None else llvm.get_host_cpu_features().flatten()
if "+avx512f" in _features:
    ROWS, WIDE = 8, (0, 0)
elif "+avx2" in _features:
    ROWS, WIDE = 6, (0,)
else:
    ROWS, WIDE = 4, (0,)
N_WIDE = len(WIDE)


@intrinsic
def pointer(typingctx, array, index):
    """Pointer to element ``index`` of a contiguous array seen as flat."""

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.gep(data, [args[1]])

    return types.CPointer(array.dtype)(array, types.intp), codegen


@intrinsic(prefer_literal=True)
def _tile(typingctx, c, c_row, start, start_row, a, a_row, a_k, b, b_k, n_k, row, column, n_rows, vectors):
    """Rows ``row`` to ``row + n_rows`` of C by ``len(vectors)`` vectors from ``column`` on; ``n_k`` is at least 1."""
    height, width, dtype = n_rows.literal_value, len(vectors), c.dtype
    lanes = 8 * VECTOR_BYTES // dtype.bitwidth
    index = ir.IntType(64)

    def codegen(context, builder, signature, args):
        c, c_row, start, start_row, a, a_row, a_k, b, b_k, n_k, row, column = args[:12]
        vector = ir.VectorType(context.get_value_type(dtype), lanes)
        rows = [builder.add(row, index(r)) for r in range(height)]
        columns = [builder.add(column, index(v * lanes)) for v in range(width)]

        def at(base, row, stride, column):
            address = builder.gep(base, [builder.add(builder.mul(row, stride), column)])
            return builder.bitcast(address, vector.as_pointer())

        def load(base, row, stride, column):
            # aligned to an element, not to a vector: rows of x and gradients come as they are
            return builder.load(at(base, row, stride, column), align=dtype.bitwidth // 8)

        starts = [load(start, r, start_row, v) for r in rows for v in columns]
        a_rows = [builder.gep(a, [builder.mul(r, a_row)]) for r in rows]

        before = builder.block
        body = builder.append_basic_block("k")
        after = builder.append_basic_block("store")
        builder.branch(body)
        builder.position_at_end(body)
        k = builder.phi(index)
        k.add_incoming(index(0), before)
        sums = [builder.phi(vector) for _ in starts]
        b_vectors = [load(b, k, b_k, v) for v in columns]
        k_offset = builder.mul(k, a_k)
        totals = []
        for r in range(height):
            scale = _splat(builder, builder.load(builder.gep(a_rows[r], [k_offset])), vector)
            for b_vector in b_vectors:
                added = builder.fmul(scale, b_vector, flags=_FUSE)
                totals.append(builder.fadd(sums[len(totals)], added, flags=_FUSE))
        for sum_, start_, total in zip(sums, starts, totals, strict=True):
            sum_.add_incoming(start_, before)
            sum_.add_incoming(total, body)
        following = builder.add(k, index(1))
        k.add_incoming(following, body)
        builder.cbranch(builder.icmp_signed("<", following, n_k), body, after)

        builder.position_at_end(after)
        places = [at(c, r, c_row, v) for r in rows for v in columns]
        for total, place in zip(totals, places, strict=True):
            builder.store(total, place, align=dtype.bitwidth // 8)
        return context.get_dummy_value()

    i = types.intp
    matrix = types.CPointer(dtype)
    strided = (matrix, i, matrix, i, matrix, i, i, matrix, i)
    return types.void(*strided, i, i, i, n_rows, vectors), codegen


def _splat(builder, scalar, vector):
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, first, lanes)


@njit(cache=True, error_model="numpy", nogil=True)
def _columns(c, c_row, start, start_row, a, a_row, a_k, b, b_k, n_k, n_rows, column, vectors):
    """All rows of some vectors' width of C: tiles of full height, then lower ones."""
    row = 0
    while row + ROWS <= n_rows:
        _tile(c, c_row, start, start_row, a, a_row, a_k, b, b_k, n_k, row, column, ROWS, vectors)
        row += ROWS
    if row + 4 <= n_rows:
        _tile(c, c_row, start, start_row, a, a_row, a_k, b, b_k, n_k, row, column, 4, vectors)
        row += 4
    if row + 2 <= n_rows:
        _tile(c, c_row, start, start_row, a, a_row, a_k, b, b_k, n_k, row, column, 2, vectors)
        row += 2
    if row < n_rows:
        _tile(c, c_row, start, start_row, a, a_row, a_k, b, b_k, n_k, row, column, 1, vectors)


@njit(cache=True, error_model="numpy", nogil=True)
def product(c, c_row, start, start_row, a, a_row, a_k, b, b_k, n_rows, n_cols, n_k, lanes):
    """C = start + A B, with C and start [n_rows, n_cols], A [n_rows, n_k], B [n_k, n_cols].

    ``x_row`` is the stride between rows of x, ``a_k`` and ``b_k`` those along k; columns of B, C and start are
    neighbours. ``n_cols`` is a multiple of ``lanes``, the elements of a vector; ``n_k`` is at least 1.
    ``start`` may be C.
    """
    column = 0
    while column + N_WIDE * lanes <= n_cols:
        _columns(c, c_row, start, start_row, a, a_row, a_k, b, b_k, n_k, n_rows, column, WIDE)
        column += N_WIDE * lanes
    if column < n_cols:
        _columns(c, c_row, start, start_row, a, a_row, a_k, b, b_k, n_k, n_rows, column, (0,))
