"""How the triangles of a mesh hang together: borders, holes, parts, and which way they face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Topology", "consistently_oriented", "face_components", "topology"]


@dataclass(frozen=True)
class Topology:
    """Counts of a mesh.

    Parameters
    ----------
    n_boundary_edges : int
        Edges of one face: a closed surface has none.
    n_holes : int
        Connected borders.
    n_branching_edges : int
        Edges of three faces or more.
    n_turned_edges : int
        Edges whose two faces look to opposite sides.
    n_components : int
        Parts that share no vertex.
    """

    n_boundary_edges: int
    n_holes: int
    n_branching_edges: int
    n_turned_edges: int
    n_components: int

    @property
    def is_closed(self) -> bool:
        """Whether each edge has two faces."""
        return self.n_boundary_edges == 0 and self.n_branching_edges == 0


def topology(faces: NDArray[np.int64]) -> Topology:
    """Count the borders and parts of ``faces`` [m, 3].

    Examples
    --------
    >>> topology(np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1]]))  # a tetrahedron without its bottom
    Topology(n_boundary_edges=3, n_holes=1, n_branching_edges=0, n_turned_edges=0, n_components=1)
    """
    starts, ends = _half_edges(faces)
    # an edge by its vertices, the lesser first: all of its half edges have one number
    _, which, counts = np.unique(_keys(starts, ends), return_inverse=True, return_counts=True)
    forward = np.bincount(which, weights=starts < ends, minlength=len(counts)).astype(np.int64)
    is_border = counts[which] == 1
    border = np.stack([starts[is_border], ends[is_border]], 1)
    return Topology(
        n_boundary_edges=int(is_border.sum()), n_holes=_count_parts(border), n_branching_edges=int((counts > 2).sum()),
        n_turned_edges=int(((counts == 2) & (forward != 1)).sum()), n_components=int(face_components(faces).max()) + 1,
    )  # fmt: skip


def face_components(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number, from 0, of the part that each face belongs to [m]; parts share no vertex."""
    if not len(faces):
        return np.full(0, -1, np.int64)
    labels = _vertex_parts(np.concatenate([faces[:, :2], faces[:, 1:]]), int(faces.max()) + 1)
    return np.unique(labels[faces[:, 0]], return_inverse=True)[1].astype(np.int64)


def consistently_oriented(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """``faces`` [m, 3], some of them turned so that neighbours across an edge look to the same side.

    The first face of each part stays. A surface with one side alone, such as a Moebius strip, keeps a seam.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    starts, ends = _half_edges(faces)
    keys = _keys(starts, ends)
    order = np.argsort(keys, kind="stable")
    keys, owner, is_forward = keys[order], (order % len(faces)), (starts < ends)[order]
    # half edges of edges of exactly two faces
    begins = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    pairs = begins[np.diff(np.r_[begins, len(keys)]) == 2]
    a, b, is_turned = owner[pairs], owner[pairs + 1], is_forward[pairs] == is_forward[pairs + 1]
    n = len(faces)
    # 1 joins faces that agree, 2 those that do not
    joined: Any = coo_matrix((1 + is_turned.astype(np.int8), (a, b)), (n, n)).tocsr()
    joined = joined.maximum(joined.T)
    flip = np.zeros(n, bool)
    for root in np.unique(connected_components(joined, directed=False)[1], return_index=True)[1]:
        found, before = breadth_first_order(joined, root, directed=False)
        if len(found) == 1:
            # scipy indexes by no entries at all to another kind
            continue
        turns = np.asarray(joined[before[found[1:]], found[1:]]).ravel() == 2
        for face, turned in zip(found[1:].tolist(), turns.tolist(), strict=True):
            flip[face] = flip[before[face]] != turned
    return np.where(flip[:, None], faces[:, ::-1], faces)


def _half_edges(faces: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last vertices of the edges of all faces [3 m]: the first edges of all, the second, the third."""
    return faces[:, [0, 1, 2]].T.ravel(), faces[:, [1, 2, 0]].T.ravel()


def _keys(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    n = max(int(starts.max(initial=0)), int(ends.max(initial=0))) + 1
    return np.minimum(starts, ends) * n + np.maximum(starts, ends)


def _vertex_parts(edges: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Number of the part that each of ``n`` vertices belongs to."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), (n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _count_parts(edges: NDArray[np.int64]) -> int:
    """Connected sets of edges [k, 2]."""
    if not len(edges):
        return 0
    labels = _vertex_parts(edges, int(edges.max()) + 1)
    return len(np.unique(labels[edges[:, 0]]))
