"""The encoding of a block of samples for the CPU loops: a hash grid, or Fourier features.

Which of the two is known when the loops are compiled: by the length of ``features``, a tuple of F numbers for a hash
grid, an empty one for Fourier features.
"""

# numba takes stubs for functions, and types its own options by what it happens to take; a type checker cannot know
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from __future__ import annotations

import numpy as np
from numba.extending import overload

from nerfkit.kernels.fourier._cpu import features_of_row
from nerfkit.kernels.hashgrid._cpu import BLOCK, forward_block

__all__ = ["encode"]


def encode(encodings, columns, table, levels, count, axes, features):
    """Rows 0 to count - 1 of ``encodings`` from positions in ``columns`` [3, n]."""
    raise NotImplementedError("for compiled code only")


@overload(encode, jit_options={"cache": True, "error_model": "numpy"})
def _encode(encodings, columns, table, levels, count, axes, features):
    return _encode_hash if features.count else _encode_fourier


def _encode_hash(encodings, columns, table, levels, count, axes, features):
    for start in range(0, count, BLOCK):
        forward_block(encodings, columns, table, levels, start, min(BLOCK, count - start), axes, features)


def _encode_fourier(encodings, columns, table, levels, count, axes, features):
    real = encodings.dtype.type
    x = np.empty(3, encodings.dtype)
    for i in range(count):
        for axis in range(3):
            x[axis] = columns[axis, i]
            encodings[i, axis] = x[axis] * real(2) - real(1)
        features_of_row(encodings[i, 3:], x, table)
