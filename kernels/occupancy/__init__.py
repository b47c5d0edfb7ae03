"""One update of an occupancy grid: the public function, its contract and the choice of implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl

from ._reference import update_occupancy_reference

__all__ = ["update_occupancy", "update_occupancy_reference"]


def update_occupancy(
    densities: Tensor,
    bits: Tensor,
    cells: Tensor,
    found: Tensor,
    *,
    decay: float,
    threshold: float,
    impl: str = "auto",
) -> None:
    """Let remembered densities fade, raise those that were seen again, and set the bits anew, in place.

    ``densities *= decay``, ``densities[cells] = max(densities[cells], found)`` (instant-ngp, arXiv:2201.05989, appendix
    E.2); a cell is occupied where its density is above ``threshold``, or above half the mean of all where that is less.

    Parameters
    ----------
    densities : Tensor, shape (n_cells,)
        Remembered density of each cell, 0 or more, float32, contiguous; n_cells is a multiple of 8. Changed.
    bits : Tensor, shape (n_cells / 8,)
        The field of bits that :func:`nerfkit.kernels.march.march` reads, uint8, contiguous. Changed.
    cells : Tensor, shape (n,)
        Cells that were looked at, int64; one may be there more than once.
    found : Tensor, shape (n,)
        Density that was found in each, float32.
    decay : float
        What is left of a density that is not seen again, [0, 1].
    threshold : float
        Density from which on a cell is occupied whatever the mean.
    impl : {"auto", "triton", "reference"}
        ``"auto"`` takes Triton for CUDA tensors.

    Notes
    -----
    Nothing waits for the device, and no order of the cells changes anything. All implementations agree bit for bit
    where the mean, summed in float64, rounds to the same float32.

    Examples
    --------
    >>> import torch
    >>> densities, bits = torch.tensor([4.0] * 7 + [0.0]), torch.zeros(1, dtype=torch.uint8)
    >>> update_occupancy(densities, bits, torch.tensor([7, 7]), torch.tensor([1.0, 9.0]), decay=0.5, threshold=3.0)
    >>> densities, bits  # the mean is 2.9
    (tensor([2., 2., 2., 2., 2., 2., 2., 9.]), tensor([255], dtype=torch.uint8))
    """
    if torch.compiler.is_compiling():
        from nerfkit.kernels._eager import call_eagerly

        call_eagerly(update_occupancy, densities, bits, cells, found, decay=decay, threshold=threshold, impl=impl)
        return
    n_cells = len(densities)
    wanted = {
        "densities": (densities, torch.float32, (n_cells,)),
        "bits": (bits, torch.uint8, (n_cells // 8,)),
        "cells": (cells, torch.int64, (len(cells),)),
        "found": (found, torch.float32, (len(cells),)),
    }
    for name, (tensor, dtype, shape) in wanted.items():
        if tensor.dtype != dtype or tuple(tensor.shape) != shape or tensor.device != densities.device:
            raise ValueError(
                f"{name} must be {dtype} of shape {shape} on {densities.device}; "
                f"got {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
            )
    if n_cells % 8 or not n_cells or not densities.is_contiguous() or not bits.is_contiguous():
        raise ValueError(f"densities and bits must be contiguous, with a multiple of 8 cells; got {n_cells} cells")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1]; got {decay}")
    # imported here so that a machine without Triton can still import nerfkit.kernels
    if choose_impl("occupancy", densities, impl, ("triton",)) == "triton":
        from ._triton import update_occupancy_triton as run
    else:
        run = update_occupancy_reference
    run(densities, bits, cells, found, decay, threshold)
