"""How wide the weights of a cloud's distances are, and how noisy its points: told by points that are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from nerfkit.scenes.surfaces import PointCloud
from nerfkit.workbench.shapes.cloud_distance import MAX_NEIGHBOURS, sphere_distances
from nerfkit.workbench.shapes.cloud_winding import point_areas

__all__ = ["Bandwidth", "choose_bandwidth"]

# widths that are tried, in distances between neighbours, and points that judge each
WIDTHS, N_JUDGED = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0), 4000
# weights narrower than this many deviations of the noise would follow the outlier that is nearest
LEAST_WIDTH = 2.0


@dataclass(frozen=True)
class Bandwidth:
    """What points that were left out tell.

    Parameters
    ----------
    width : float
        Of the weights.
    noise : float
        Standard deviation of the points along the normal, at most: what bends faster than points tell counts too.
    curve : list of (width, error)
        Root mean square distance of points to what their neighbours say, of which the least was chosen.
    """

    width: float
    noise: float
    curve: list[tuple[float, float]]


def choose_bandwidth(cloud: PointCloud, rng: np.random.Generator) -> Bandwidth:
    """The width whose surfaces come nearest to points that they were not made from."""
    assert cloud.normals is not None
    points, tree = cloud.points, KDTree(cloud.points)
    area = float(np.median(point_areas(points, tree)))
    judged = rng.permutation(len(points))[:N_JUDGED]
    # the first is the point itself
    near = np.asarray(tree.query(points[judged], min(MAX_NEIGHBOURS + 1, len(points)))[1])[:, 1:]
    offsets = points[near] - points[judged, None]
    # along the surface alone: neighbours of an outlier that are near in space are outliers to the same side
    along = np.einsum("nki,nki->nk", offsets, offsets) - np.einsum("nki,ni->nk", offsets, cloud.normals[judged]) ** 2
    curve, shares = [], []
    for factor in WIDTHS:
        width = factor * area**0.5
        weights = np.exp(-(along - along.min(1, keepdims=True)) / width**2)
        off = sphere_distances(points[judged], points[near], cloud.normals[near], weights)
        # the median: sharp edges and outliers are few
        curve.append((width, float(np.median(np.abs(off)) / 0.6745)))
        shares.append(_share_of_neighbours(weights))
    best = int(np.argmin([error for _, error in curve]))
    width, error = curve[best]
    # what is left is the point's own noise and that of the mean of its neighbours
    noise = error / (1 + shares[best]) ** 0.5
    return Bandwidth(max(width, LEAST_WIDTH * noise), noise, curve)


def _share_of_neighbours(weights: NDArray[np.float64]) -> float:
    """Variance of a weighted mean of neighbours, of one's own."""
    parts = weights / weights.sum(1, keepdims=True)
    return float(np.median((parts**2).sum(1)))
