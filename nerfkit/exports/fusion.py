"""Depth of many views fused to one signed distance: the mean of what each view says, cut off at a truncation.

Curless and Levoy 1996, with distances to the plane of a view's pixel, which count by the cosine between its normal and
its ray. A view says nothing of what lies behind its surface by more than the truncation, and "free" of all that lies
before it: those that look through a floater of one view outvote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.exports.depth_views import DepthView

__all__ = ["FusedDepth"]

# points looked up at once, which bounds the memory
CHUNK = 2**17
# of planes that are seen from the side: their normals are the least sure
LEAST_COSINE = 0.1


class _Look(NamedTuple):
    """What one view says of points."""

    # which of the points it says something of [m]
    which: Tensor
    # distance from the point to the plane of its pixel [m], positive before it
    distances: Tensor
    # cosine between the plane's normal and the ray [m]
    weights: Tensor
    # pixel of each [m], by rows
    pixels: Tensor
    # unit directions from the camera to the points [m, 3]
    directions: Tensor


class FusedDepth:
    """A signed distance, in units of the truncation, positive where there is nothing.

    Parameters
    ----------
    views : sequence of DepthView
        What is fused.
    truncation : float
        Normalised units.
    device : str
        Where to compute.
    """

    def __init__(self, views: Sequence[DepthView], truncation: float, device: str = "cpu") -> None:
        self.views, self.truncation, self.device = views, truncation, device
        self.depths = [torch.from_numpy(view.depths).to(device) for view in views]
        self.cosines = [torch.from_numpy(view.cosines).to(device).reshape(-1) for view in views]
        self.colors_of_views = [torch.from_numpy(view.colors).to(device).reshape(-1, 3) for view in views]

    def values(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Means [n] of the views' truncated distances at ``points`` [n, 3], -1 to 1; NaN where none says anything."""
        found = [self._values(part.to(self.device)).cpu() for part in _split(points)]
        return torch.cat(found).numpy()

    def _values(self, points: Tensor) -> Tensor:
        total, weights = (torch.zeros(len(points), device=points.device) for _ in range(2))
        for look in self._looks(points):
            total[look.which] += look.weights * (look.distances / self.truncation).clamp(max=1)
            weights[look.which] += look.weights
        # 0 / 0 is NaN
        return total / weights

    def colors(self, points: NDArray[np.floating], normals: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Mean colours [n, 3] of points of the surface in the views that see them, by the cosine to their normal."""
        found = [
            self._colors(part.to(self.device), side.to(self.device)).cpu()
            for part, side in zip(_split(points), _split(normals), strict=True)
        ]
        return torch.cat(found).numpy()

    def _colors(self, points: Tensor, normals: Tensor) -> Tensor:
        total, weights = (
            torch.zeros(len(points), 3, device=points.device),
            torch.zeros(len(points), device=points.device),
        )
        for look, colors in zip(self._looks(points), self.colors_of_views, strict=True):
            near = look.distances.abs() < self.truncation
            which = look.which[near]
            # a little from behind as well: a normal may be off, and each point is to have a colour
            cosine = (-look.directions[near] * normals[which]).sum(1).clamp(min=1e-3)
            total[which] += cosine[:, None] * colors[look.pixels[near]].float()
            weights[which] += cosine
        mean = total / weights.clamp(min=1e-12)[:, None]
        return mean.round().clamp(0, 255).to(torch.uint8)

    def _looks(self, points: Tensor) -> Iterator[_Look]:
        """What each view says of ``points`` [n, 3], one view after the other."""
        for view, depths, cosines in zip(self.views, self.depths, self.cosines, strict=True):
            yield _look(points, view, depths, cosines, self.truncation)


def _split(points: NDArray[np.floating]) -> tuple[Tensor, ...]:
    return torch.from_numpy(np.ascontiguousarray(points, np.float32)).split(CHUNK)


def _look(points: Tensor, view: DepthView, depths: Tensor, cosines: Tensor, truncation: float) -> _Look:
    camera, (height, width) = view.camera, depths.shape
    pose = torch.from_numpy(view.c2w).to(points)
    offsets = points - pose[:3, 3]
    x, y, back = (offsets @ pose[:3, :3]).unbind(1)
    u, v = camera.cx - camera.fx * x / back, camera.cy + camera.fy * y / back
    inside = (back < 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    which = torch.nonzero(inside).squeeze(-1)
    u, v, offsets = u[which], v[which], offsets[which]
    lengths = offsets.norm(dim=1)
    at, least = _depth_at(depths, u, v, truncation)
    pixels = v.long() * width + u.long()
    weights = cosines[pixels].clamp(min=LEAST_COSINE)
    distances = (at - lengths) * weights
    # beside an edge a view calls free only what lies before both of its sides: the edge is known to a pixel
    known = (distances >= -truncation) & ((distances <= truncation) | (least - lengths > truncation))
    directions = offsets / lengths.clamp(min=1e-12)[:, None]
    return _Look(which[known], distances[known], weights[known], pixels[known], directions[known])


def _depth_at(depths: Tensor, u: Tensor, v: Tensor, truncation: float) -> tuple[Tensor, Tensor]:
    """Depth at places (u, v) of a view, and the least round them.

    Bilinear within a surface, of the nearest pixel across an edge.
    """
    height, width = depths.shape
    x, y = (u - 0.5).clamp(0, width - 1), (v - 0.5).clamp(0, height - 1)
    left, top = x.long().clamp(max=max(width - 2, 0)), y.long().clamp(max=max(height - 2, 0))
    flat, below, right = depths.reshape(-1), width * (height > 1), int(width > 1)
    first = top * width + left
    four = torch.stack([flat[first], flat[first + right], flat[first + below], flat[first + below + right]])
    fx, fy = x - left, y - top
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy])
    least = four.amin(0)
    # infinity less infinity is NaN, which is not smaller
    is_one = four.amax(0) - least < truncation
    nearest = flat[v.long() * width + u.long()]
    return torch.where(is_one, (weights * four).sum(0), nearest), least
