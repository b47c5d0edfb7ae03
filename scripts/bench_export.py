"""How near exported surfaces are to the made scene's own, whose distances are known.

python scripts/bench_export.py [RUN] [--seconds 120] [--sizes 256] [--json FILE]

RUN is one that was trained on the lighthouse; without it the photos are made (60 of 200 x 200) and trained on. The
truth is a mesh of the lighthouse's signed distance with 512 cells a side, and for completeness the points of it that
cameras like those of training see. The lighthouse is 1.9 units wide.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, publish
from numba import njit
from numpy.typing import NDArray

import nerfkit
from nerfkit.scenes.readers.surface import read_surface
from nerfkit.scenes.surfaces import Mesh
from nerfkit.scenes.synthetic import lighthouse, trace_view, write_posed_scene
from nerfkit.scenes.synthetic.dataset import CAMERA_ANGLE_X, camera_poses
from nerfkit.scenes.synthetic.shapes import EXTENT, FAR, scene_distance
from nerfkit.workbench.shapes.frame import Frame
from nerfkit.workbench.shapes.marching import level_set
from nerfkit.workbench.shapes.mesh_distance import MeshDistance

__all__ = ["compare", "measure", "true_mesh", "visible_points"]

# points of a surface that are measured
N_POINTS = 50_000
# cells of the true mesh, and pixels a side of the pictures that tell what is visible
TRUE_CELLS, SIDE = 512, 160


@njit
def _distances(scene: Any, points: NDArray) -> NDArray:
    found = np.empty(len(points))
    for i in range(len(points)):
        found[i] = scene_distance(scene, points[i, 0], points[i, 1], points[i, 2], FAR)[0]
    return found


def true_mesh(n_cells: int = TRUE_CELLS) -> Mesh:
    """The lighthouse's surface, in its own unit."""
    scene, frame = lighthouse(), Frame.around(np.array([[-EXTENT] * 3, [EXTENT] * 3]))

    def evaluate(points: NDArray[np.float32]) -> NDArray[np.float32]:
        return _distances(scene, frame.outward(points.astype(np.float64))).astype(np.float32)

    found = level_set(evaluate, frame.sides, n_cells, bound=lambda distance: distance * frame.scale)
    return Mesh(frame.outward(found.vertices), found.faces)


def visible_points(n: int = N_POINTS, seed: int = 0) -> NDArray[np.float64]:
    """Points [n, 3] of the surface that cameras like those of training see, by the pixels of their views."""
    scene, found = lighthouse(), []
    for pose in camera_poses(60, seed=0, phase=0.0):
        depth = trace_view(scene, pose, camera_angle_x=CAMERA_ANGLE_X, size=(SIDE, SIDE), supersample=1)[1]
        rows, columns = np.nonzero(depth)
        focal = 0.5 * SIDE / np.tan(0.5 * CAMERA_ANGLE_X)
        rays = np.stack([(columns + 0.5 - SIDE / 2) / focal, -(rows + 0.5 - SIDE / 2) / focal, -np.ones(len(rows))], 1)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        found.append(pose[:3, 3] + depth[rows, columns, None] * (rays @ pose[:3, :3].T))
    return np.random.default_rng(seed).permutation(np.concatenate(found))[:n]


def compare(mesh: Mesh, truth: MeshDistance, visible: NDArray[np.float64]) -> dict[str, float]:
    """Distances in the scene's unit.

    Parameters
    ----------
    mesh : Mesh
        What was exported.
    truth : MeshDistance
        Of the true surface.
    visible : ndarray, shape (n, 3)
        Points of it that are seen.

    Returns
    -------
    figures : dict
        ``accuracy``, the mean distance of the mesh's points to the truth; ``completeness``, that of visible points to
        the mesh; ``chamfer``, the mean of both; ``missed``, the fraction of visible points farther than 0.02.
    """
    there = truth.nearest(mesh.sample(N_POINTS, np.random.default_rng(1))[0])[0]
    back = MeshDistance(mesh).nearest(visible)[0]
    return {
        "chamfer": float(there.mean() + back.mean()) / 2, "accuracy": float(there.mean()),
        "completeness": float(back.mean()), "missed": float((back > 0.02).mean()),
    }  # fmt: skip


def measure(run: Path, sizes: Sequence[int]) -> list[Row]:
    """Rows of a mesh of each size."""
    truth, visible = MeshDistance(true_mesh()), visible_points()
    rows, scene = [], nerfkit.load(run)
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            out = Path(folder) / f"{size}.ply"
            told = scene.export(out, size=size)
            mesh = read_surface(out)
            assert isinstance(mesh, Mesh)
            command = f"nerfkit export RUN -o mesh.ply --size {size}"
            figures = compare(mesh, truth, visible) | {
                key: told[key] for key in ("faces", "holes", "floaters", "seconds")
            }
            rows += [Row(f"{size} cells: {name}", value, "", "", command) for name, value in figures.items()]
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run
        if run is None:
            run = Path(folder) / "run"
            nerfkit.train(write_posed_scene(Path(folder) / "lighthouse"), run, seconds=options.seconds)
        publish(measure(run, options.sizes), options.json)


if __name__ == "__main__":
    main()
