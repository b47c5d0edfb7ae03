"""A mesh of where a field is 0: marching cubes, in the blocks alone where a surface can be."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.surfaces import Mesh
from nerfkit.workbench.shapes.frame import BOX, LONGEST

__all__ = ["MAX_CELLS", "MIN_CELLS", "check_cells", "level_set"]

# cells along the longest side
MIN_CELLS, MAX_CELLS = 8, 1024
# cells of the coarse grid along the longest side, about: fewer would overlook what is thin
COARSE = 64
# factor on how far the values of a fitted field change at most over a length
STEEPNESS = 1.25
# room round the input, in the frame: what is fitted may lie a little beyond it
MARGIN = 0.05
# values of a grid: 2 GiB of floats
MAX_VALUES = 2**29


def level_set(
    evaluate: Callable[[NDArray[np.float32]], NDArray[np.float32]], sides: NDArray[np.float64], n_cells: int, *,
    bound: Callable[[float], float] = lambda distance: math.inf, near: NDArray[np.floating] | None = None,
    reach: float = 0.0,
) -> Mesh:  # fmt: skip
    """The surface where a field is 0 within a box round the origin, normals towards greater values.

    Parameters
    ----------
    evaluate : callable
        From points [n, 3] to the field's values [n]; NaN with ``near`` alone.
    sides : ndarray, shape (3,)
        Of the box that the shape is in, frame units; a margin is added.
    n_cells : int
        Cells along the longest side, ``MIN_CELLS`` to ``MAX_CELLS``.
    bound : callable
        From a length to the greatest size of value that a point so far from the surface has; infinite: nothing is known
        but the sign.
    near : ndarray, shape (m, 3), optional
        Points such that the surface lies within ``reach`` of them; they replace the coarse grid and ``bound``. The
        surface is then open where it meets the border of the grid or values that are NaN.
    reach : float
        Frame units.

    Returns
    -------
    mesh : Mesh
        In the frame; without faces where the field has one sign.

    Raises
    ------
    NerfkitError
        The number of cells is out of range, or its grid too large for the memory.
    """
    from skimage.measure import marching_cubes

    check_cells(n_cells)
    step = LONGEST / n_cells
    factor = max(1, n_cells // COARSE)
    blocks = np.ceil(np.minimum(sides + 2 * MARGIN, 2 * BOX) / (step * factor)).astype(int)
    shape = blocks * factor + 1
    if shape.prod() > MAX_VALUES:
        raise NerfkitError(
            "a grid of {} x {} x {} values needs more than 2 GB".format(*shape), where="--size",
            fix=f"lower it: {n_cells // 2}",
        )  # fmt: skip
    axes = [(np.arange(n) - (n - 1) / 2).astype(np.float32) * np.float32(step) for n in shape]
    if near is None:
        values, mask = _closed_values(evaluate, axes, factor, bound(STEEPNESS * math.sqrt(3) / 2 * step * factor))
    else:
        nothing = np.full(blocks + 1, np.nan, np.float32)
        values, mask = _refined(
            evaluate, nothing, _blocks_round(near, reach, axes, step * factor, blocks), axes, factor
        )
        values, mask = _without_unknown(values, mask)
    if not values.min() < 0 < values.max():
        return _nothing()
    try:
        vertices, faces, _, _ = marching_cubes(values, 0.0, mask=mask)
    except RuntimeError:
        # the sign changes in cells alone that are masked
        return _nothing()
    corner = np.array([axis[0] for axis in axes], np.float64)
    return Mesh(corner + vertices.astype(np.float64) * step, faces.astype(np.int64))


def check_cells(n_cells: int) -> None:
    """Raise NerfkitError unless the number of cells along the longest side is possible."""
    if not MIN_CELLS <= n_cells <= MAX_CELLS:
        raise NerfkitError(
            f"{n_cells} cells along the longest side; {MIN_CELLS} to {MAX_CELLS} are possible", where="--size",
            fix="for example 256",
        )  # fmt: skip


def _nothing() -> Mesh:
    return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))


def _closed_values(
    evaluate: Callable, axes: list[NDArray[np.float32]], factor: int, least: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Values on the grid, positive on its border, and which cells may hold a surface; None: all."""
    values = _closed(_on_grid(evaluate, [axis[::factor] for axis in axes]))
    if factor == 1:
        return values, None
    values, mask = _refined(evaluate, values, _active(values, least), axes, factor)
    return _closed(values), mask


def _blocks_round(
    near: NDArray[np.floating], reach: float, axes: list[NDArray[np.float32]], side: float, blocks: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Blocks of that side with a point in them, and those within ``reach`` of these and next to them."""
    from scipy.ndimage import maximum_filter

    active = np.zeros(blocks, bool)
    corner = np.array([axis[0] for axis in axes])
    where = np.floor((near - corner) / side).astype(np.int64)
    where = where[((where >= 0) & (where < blocks)).all(1)]
    active[tuple(where.T)] = True
    return np.asarray(maximum_filter(active, 2 * math.ceil(max(reach / side, 1)) + 1), bool)


def _without_unknown(
    values: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The values with 1 for those that are NaN, and the mask without cells that have such a corner."""
    unknown = np.isnan(values)
    for corner in np.ndindex(2, 2, 2):
        # from the last vertex of each cell to its other ones
        last = tuple(slice(c, None) for c in corner)
        mask[last] &= ~unknown[tuple(slice(n - c) for c, n in zip(corner, values.shape, strict=True))]
    return np.where(unknown, np.float32(1), values), mask


def _on_grid(evaluate: Callable, axes: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    return evaluate(points.reshape(-1, 3)).reshape(points.shape[:3]).astype(np.float32)


def _closed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values, positive on the border of the grid: the shape ends before it, and so does its mesh."""
    for axis in range(3):
        ends = np.moveaxis(values, axis, 0)[[0, -1]]
        np.moveaxis(values, axis, 0)[[0, -1]] = np.maximum(np.abs(ends), np.finfo(np.float32).eps)
    return values


def _active(values: NDArray[np.float32], least: float) -> NDArray[np.bool_]:
    """Blocks that may hold a surface: a corner's value is small, or the sign changes within or next to the block."""
    from scipy.ndimage import maximum_filter, minimum_filter

    def over(function: Callable, grid: NDArray) -> NDArray:
        """Of the eight corners of each block."""
        for axis in range(3):
            parts = np.moveaxis(grid, axis, 0)
            grid = np.moveaxis(function(parts[:-1], parts[1:]), 0, axis)
        return grid

    low, high = over(np.minimum, values), over(np.maximum, values)
    changes = (minimum_filter(low, 3) <= 0) & (maximum_filter(high, 3) >= 0)
    return changes | (over(np.minimum, np.abs(values)) < least)


def _refined(
    evaluate: Callable, coarse: NDArray[np.float32], active: NDArray[np.bool_], axes: list[NDArray[np.float32]],
    factor: int,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # fmt: skip
    """Values on the fine grid, those of inactive blocks by their corner, and whether each cell is in an active one."""
    fine = coarse
    cells = active
    for axis in range(3):
        fine = np.repeat(fine, factor, axis)
        cells = np.repeat(cells, factor, axis)
    fine = np.ascontiguousarray(fine[tuple(slice(len(a)) for a in axes)])
    needed = np.zeros(fine.shape, bool)
    for corner in np.ndindex(2, 2, 2):
        needed[tuple(slice(c, c + n) for c, n in zip(corner, cells.shape, strict=True))] |= cells
    where = np.nonzero(needed)
    fine[where] = evaluate(np.stack([axis[index] for axis, index in zip(axes, where, strict=True)], 1))
    # skimage counts a cell by its last vertex
    mask = np.zeros(fine.shape, bool)
    mask[tuple(slice(1, n + 1) for n in cells.shape)] = cells
    return fine, mask
