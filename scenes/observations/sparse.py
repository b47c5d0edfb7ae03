"""Matrices of scipy as torch's, which multiplies several vectors at once and a row a core."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["sparse_tensor"]

# entries that int32 can number; torch wants both index arrays of one kind
INT32_ENTRIES = 2**31 - 1


def sparse_tensor(matrix: Any, device: str | torch.device = "cpu") -> Tensor:
    """A matrix in compressed rows, float32; shares the memory of what is of the right kind already.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array or csr_matrix
        Of any shape.
    device : str or torch.device
        Where the products are made.
    """
    kind = np.int32 if matrix.nnz <= INT32_ENTRIES else np.int64
    starts, columns = (torch.from_numpy(part.astype(kind, copy=False)) for part in (matrix.indptr, matrix.indices))
    values = torch.from_numpy(matrix.data.astype(np.float32, copy=False))
    with warnings.catch_warnings():
        # torch says once that this layout is new, and that it does not check what scipy has made
        warnings.filterwarnings("ignore", message="Sparse")
        return torch.sparse_csr_tensor(starts, columns, values, matrix.shape).to(device)
