"""Line integrals of a volume under a cone of rays: means over the pixels of a flat detector."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nerfkit.kernels.cones import Cone, cone_back_project, cone_project
from nerfkit.scenes.cone_geometry import ConeGeometry

__all__ = ["ConeIntegrals"]


class ConeIntegrals:
    """The views of a volume whose middle lies on the axis of rotation, in the source's plane.

    Parameters
    ----------
    scan : ConeGeometry
        Where the rays run.
    shape : (int, int, int)
        Of the volume [d, h, w]: z rises along the first axis, y along the second, x along the last.
    pixel, height : float
        Sides of a voxel across the axis of rotation and along it, millimetres.

    Examples
    --------
    >>> from nerfkit.scenes.scan_geometry import ScanGeometry
    >>> fan = ScanGeometry("fan", (0.0, 90.0), 4, 1.0, 1.5, source_distance=1e6, detector_distance=1.0)
    >>> seen = ConeIntegrals(ConeGeometry(fan, 2, 1.0, 0.5), (2, 4, 4), 1.0, 1.0).product(torch.ones(2, 4, 4))
    >>> seen.shape, seen[0, 0].round(decimals=2).tolist()
    (torch.Size([2, 2, 4]), [4.0, 4.0, 4.0, 4.0])
    """

    def __init__(self, scan: ConeGeometry, shape: tuple[int, int, int], pixel: float, height: float) -> None:
        self.scan, self.shape = scan, shape
        self.values_shape = (len(scan.fan.angles), scan.n_rows, scan.fan.n_bins)
        fan = scan.fan
        self._cone = Cone(
            fan.radians, fan.edges, scan.row_edges, fan.source_distance, fan.detector_distance, pixel, height
        )

    def product(self, picture: Tensor) -> Tensor:
        """Line integrals [..., n_angles, n_rows, n_bins] of volumes [..., d, h, w], in their unit times millimetres."""
        volumes = picture.detach().cpu().movedim(-3, -1).numpy()
        found = [cone_project(volume, self._cone) for volume in volumes.reshape(-1, *volumes.shape[-3:])]
        values = torch.from_numpy(np.stack(found)).transpose(-1, -2).flip(-2)
        return values.reshape(*picture.shape[:-3], *self.values_shape).to(picture.device)

    def adjoint(self, values: Tensor) -> Tensor:
        """The transpose of :meth:`product`: values [..., n_angles, n_rows, n_bins] back on volumes [..., d, h, w]."""
        depth, height, width = self.shape
        views = values.detach().cpu().flip(-2).transpose(-1, -2).numpy()
        found = [
            cone_back_project(view, (height, width, depth), self._cone) for view in views.reshape(-1, *views.shape[-3:])
        ]
        volumes = torch.from_numpy(np.stack(found)).movedim(-1, -3)
        return volumes.reshape(*values.shape[:-3], *self.shape).to(values.device)
