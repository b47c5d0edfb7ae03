"""Shapes as instances: truncated distances on a lattice over the frame of each, and how these are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.surface import read_surface
from nerfkit.scenes.surfaces import Mesh
from nerfkit.workbench.many.networks import lattice_points
from nerfkit.workbench.shapes.frame import BOX, Frame
from nerfkit.workbench.shapes.mesh_distance import MeshDistance
from nerfkit.workbench.shapes.samples import truncated
from nerfkit.workbench.shapes.views import SIDE, shaded_views

__all__ = ["TRUNCATION", "lattice_mesh", "read_shapes", "shaded_lattice"]

# distance from which on the sign alone counts, frame units: one and a half cells of a lattice of 32 a side
TRUNCATION = 0.1
# points of a surface that are drawn: a sheet has dozens of them
N_DRAWN = 30_000


def read_shapes(files: Sequence[Path], n_cells: int) -> tuple[NDArray[np.float32], list[str]]:
    """Distances of meshes on a lattice, and what was odd about the files.

    Parameters
    ----------
    files : sequence of Path
        A mesh each. The longest side of each becomes 1.8 of the lattice's 2, whatever its unit.
    n_cells : int
        Along each side of the lattice.

    Returns
    -------
    values : ndarray, shape (n, n_cells, n_cells, n_cells, 1)
        t tanh(d / t) of the signed distance d at the cells' centres, x along the last axis but one; t is
        ``TRUNCATION``.
    said : list of str

    Raises
    ------
    NerfkitError
        A file cannot be read, or holds points.
    """
    points = lattice_points((n_cells,) * 3).double().numpy() * BOX
    found, said = [], []
    for file in files:
        mesh = read_surface(file)
        if not isinstance(mesh, Mesh):
            raise NerfkitError(
                "holds points; many shapes are learned from meshes", where=file,
                fix=f"make its mesh: nerfkit fit shape {file.name} -o {file.stem}_mesh.ply",
            )  # fmt: skip
        said += [f"{file.name}: {text}" for text in mesh.said]
        distances = MeshDistance(Frame.around(mesh.bounds).mesh_inward(mesh)).signed(points)
        found.append(truncated(distances, TRUNCATION).astype(np.float32).reshape(n_cells, n_cells, n_cells, 1))
    return np.stack(found), said


def lattice_mesh(values: NDArray) -> Mesh:
    """The surface where values [d, h, w] at the cells of a lattice are 0, in the frame; closed at the border."""
    from skimage.measure import marching_cubes

    padded = np.pad(values, 1, constant_values=1.0)
    if not padded.min() < 0:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    vertices, faces, _, _ = marching_cubes(padded, 0.0)
    # the first cell's centre is vertex 1, half a cell from the lattice's border
    places = (2 * (vertices.astype(np.float64) - 0.5) - values.shape) / max(values.shape)
    # axes turned round turn the faces, too
    return Mesh(BOX * places[:, ::-1], faces[:, ::-1].astype(np.int64))


def shaded_lattice(values: NDArray) -> NDArray[np.float32]:
    """A grey view [SIDE, SIDE, 1] of the surface where values [d, h, w] are 0; white where there is none."""
    mesh = lattice_mesh(values)
    if not len(mesh.faces):
        return np.ones((SIDE, SIDE, 1), np.float32)
    frame = Frame(np.zeros(3), 1.0, np.full(3, 2 * BOX))
    return shaded_views(mesh, frame, np.random.default_rng(0), n_drawn=N_DRAWN, n_views=1)[..., None]
