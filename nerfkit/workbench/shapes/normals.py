"""Normals of points: planes through neighbours, turned to one side along a tree, outside told by the winding number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from nerfkit.workbench.shapes.cloud_winding import point_areas, winding

__all__ = ["estimated_normals"]

Floats = NDArray[np.float64]
# neighbours along which normals are turned
N_JOINED = 10
# rounds in which points that the rest contradicts are turned, and how far beside them that is asked, in spacings
ROUNDS, BESIDE = 4, 1.0


def estimated_normals(points: Floats, n_neighbours: int) -> Floats:
    """Unit normals [n, 3] that point outward.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        On a surface.
    n_neighbours : int
        Points whose plane of least squares has the normal.

    Notes
    -----
    Hoppe et al. 1992: neighbours' normals agree along the spanning tree whose edges join normals that are nearly
    parallel. Each part then faces outward by the volume that it encloses, and points where the winding number of all
    the others (Barill et al. 2018) grows outward are turned.
    """
    tree = KDTree(points)
    near = np.asarray(tree.query(points, min(n_neighbours, len(points)))[1])
    offsets = points[near] - points[near].mean(1, keepdims=True)
    normals = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))[1][..., 0]
    normals = _agreeing(points, normals, near[:, : N_JOINED + 1])
    return _corrected(points, normals, tree)


def _agreeing(points: Floats, normals: Floats, near: NDArray[np.int64]) -> Floats:
    """Normals turned to agree along a spanning tree of each part, each part outward by its volume."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

    n = len(points)
    a, b = np.repeat(np.arange(n), near.shape[1] - 1), near[:, 1:].ravel()
    # 0 would be no edge
    costs = 1.0 + 1e-3 - np.abs((normals[a] * normals[b]).sum(1))
    tree = minimum_spanning_tree(coo_matrix((costs, (a, b)), (n, n)).tocsr())
    n_parts, part = connected_components(tree, directed=False)
    turned = normals.copy()
    for root in np.unique(part, return_index=True)[1]:
        order, before = breadth_first_order(tree, root, directed=False)
        for child in order[1:].tolist():
            if turned[child] @ turned[before[child]] < 0:
                turned[child] *= -1
    # the volume of a part by the divergence theorem: its sign is that of the normals
    middles = np.stack([np.bincount(part, points[:, k]) for k in range(3)], 1) / np.bincount(part)[:, None]
    flux = np.bincount(part, ((points - middles[part]) * turned).sum(1), minlength=n_parts)
    return np.where((flux[part] < 0)[:, None], -turned, turned)


def _corrected(points: Floats, normals: Floats, tree: KDTree) -> Floats:
    """Normals turned where the winding number is greater on the side that they point to."""
    areas, spacing = point_areas(points, tree), np.asarray(tree.query(points, 2)[0])[:, 1]
    step = BESIDE * np.median(spacing)
    for _ in range(ROUNDS):
        beside = step * normals
        both = np.concatenate([points + beside, points - beside])
        outer, inner = np.split(winding(points, normals, areas, both), 2)
        rises = outer > inner
        if not rises.any():
            break
        normals = np.where(rises[:, None], -normals, normals)
    return normals
