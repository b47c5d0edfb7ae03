"""Line integrals of a picture, as a tomograph measures them: means over the bins of its detector."""

from __future__ import annotations

import math

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor

from nerfkit.kernels.strips import strip_matrix
from nerfkit.scenes.observations.sparse import sparse_tensor
from nerfkit.scenes.scan_geometry import ScanGeometry

__all__ = ["LineIntegrals"]


class LineIntegrals:
    """The sinogram of a picture of square pixels round the axis of rotation.

    Parameters
    ----------
    scan : ScanGeometry
        Where the rays run.
    shape : (int, int)
        Rows and columns of the picture.
    pixel : float
        Side of a pixel, millimetres.

    Examples
    --------
    >>> import torch
    >>> scan = ScanGeometry("parallel", (0.0, 90.0), 4, 1.0, 1.5)
    >>> LineIntegrals(scan, (4, 4), 1.0).product(torch.ones(4, 4)).tolist()
    [[4.0, 4.0, 4.0, 4.0], [4.0, 4.0, 4.0, 4.0]]
    """

    def __init__(self, scan: ScanGeometry, shape: tuple[int, int], pixel: float) -> None:
        self.scan, self.shape, self.pixel = scan, shape, pixel
        self.values_shape = (len(scan.angles), scan.n_bins)
        strips = strip_matrix(shape, pixel, scan.radians, scan.edges, scan.source_distance, scan.detector_distance)
        size = math.prod(shape), math.prod(self.values_shape)
        self._transposed = csr_array((strips.values, strips.columns, strips.starts), shape=size)
        # by rows both: torch turns a transposed matrix round at every product
        self._backward, self._forward = sparse_tensor(self._transposed), sparse_tensor(csr_array(self._transposed.T))

    @property
    def squares(self) -> float:
        """Sum of the squares of the matrix."""
        return float(np.square(self._transposed.data, dtype=np.float64).sum())

    def one_angle(self, k: int) -> csr_array:
        """The transposed matrix [h * w, n_bins] of the angle ``k`` alone."""
        return self._transposed[:, k * self.scan.n_bins : (k + 1) * self.scan.n_bins]

    def adjoint(self, values: Tensor) -> Tensor:
        """The transpose of :meth:`product`: values [..., n_angles, n_bins] laid back on pictures [..., h, w]."""
        return _each(self._backward, values, self.values_shape, self.shape)

    def product(self, picture: Tensor) -> Tensor:
        """Line integrals [..., n_angles, n_bins] of pictures [..., h, w], in their unit times millimetres."""
        return _each(self._forward, picture, self.shape, self.values_shape)


def _each(matrix: Tensor, values: Tensor, shape: tuple[int, int], found_shape: tuple[int, int]) -> Tensor:
    """``matrix`` times each of ``values`` [..., *shape], which are taken together: the matrix is read once."""
    columns = values.detach().to(matrix.device).float().reshape(-1, math.prod(shape)).T
    found = matrix @ (columns[:, 0] if columns.shape[1] == 1 else columns)
    return found.view(math.prod(found_shape), -1).T.reshape(*values.shape[:-2], *found_shape).to(values.device)
