"""Slices as averages over boxes: exact where axes agree, an adjoint that is one, both ways of computing alike."""

import numpy as np
import pytest
import torch

from nerfkit.scenes.observations.slice_averages import SliceAverages, box_overlaps, parallel_axes
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid

SIDE = 8
GRID = VoxelGrid((SIDE, SIDE, SIDE), np.diag([2.0, 2.0, 2.0, 1.0]))


def rotation(angle):
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def stack_of(order, step, thickness, shape, first=None):
    """A stack of nothing whose i, j, k are along ``order`` of the grid, slices ``step`` cells apart."""
    to_grid = np.zeros((4, 4))
    to_grid[list(order), range(3)] = 1, 1, step
    to_grid[order[2], 3] = (thickness - 1) / 2 if first is None else first
    to_grid[3, 3] = 1
    return Volume(np.zeros(shape, np.float32), GRID.affine @ to_grid, thickness * GRID.spacing[0])


def image(seed=0):
    return torch.rand(GRID.shape, generator=torch.Generator().manual_seed(seed))


def test_thick_slices_are_means_of_their_cells():
    u = image()
    found = SliceAverages(GRID, stack_of((0, 1, 2), 4, 4, (2, SIDE, SIDE))).predict(u)
    torch.testing.assert_close(found, u.view(2, 4, SIDE, SIDE).mean(1))
    # across x: i along y, j along z
    found = SliceAverages(GRID, stack_of((1, 2, 0), 2, 2, (4, SIDE, SIDE))).predict(u)
    torch.testing.assert_close(found, u.view(SIDE, SIDE, 4, 2).mean(-1).permute(2, 0, 1))
    # thin slices with gaps, the second cell of each pair
    found = SliceAverages(GRID, stack_of((0, 1, 2), 2, 1, (4, SIDE, SIDE), first=1)).predict(u)
    torch.testing.assert_close(found, u[1::2])


def test_fractions_of_cells_count_as_such():
    matrix = box_overlaps(np.array([0.5, 2.25]), 1.5, 4).toarray()
    np.testing.assert_allclose(matrix, [[0.5, 0.5, 0, 0], [0, 0, 2 / 3, 1 / 3]], atol=1e-12)
    # half of a box beyond the border is left out, more of it makes its value unknown
    np.testing.assert_allclose(box_overlaps(np.array([-0.5, -0.6]), 2.0, 3).toarray(), [[1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_the_adjoint_is_the_transpose(angle):
    stack = stack_of((0, 1, 2), 3, 2.5, (3, SIDE, SIDE))
    stack = Volume(stack.values, rotation(angle) @ stack.affine, stack.thickness)
    at = SliceAverages(GRID, stack)
    x, y = image(1), torch.rand(stack.shape, generator=torch.Generator().manual_seed(2))
    assert torch.sum(at.predict(x) * y).item() == pytest.approx(torch.sum(x * at.adjoint(y)).item(), rel=1e-5)
    assert at.is_seen.any() and (angle == 0 or not at.is_seen.all())


def test_an_oblique_stack_sees_a_plane_as_it_is():
    stack = stack_of((0, 1, 2), 2, 2, (3, 4, 4), first=0.5)
    shifted = stack.affine.copy()
    shifted[:3, 3] += 4.1
    stack = Volume(stack.values, rotation(0.2) @ shifted, stack.thickness)
    assert parallel_axes(GRID, stack) is None
    z, y, x = np.meshgrid(*[np.arange(SIDE) * 2.0] * 3, indexing="ij")
    at = SliceAverages(GRID, stack)
    found = at.predict(torch.from_numpy((x + 2 * y - 3 * z).astype(np.float32)))
    k, j, i = np.meshgrid(*map(np.arange, stack.shape), indexing="ij")
    expected = stack.to_mm(np.stack([i, j, k], -1)) @ np.array([1.0, 2.0, -3.0])
    inside = at.is_seen.numpy()[:, 1:-1, 1:-1]
    assert inside.all()
    np.testing.assert_allclose(found.numpy()[1:-1, 1:-1, 1:-1], expected[1:-1, 1:-1, 1:-1], atol=2e-3)


def test_both_ways_of_computing_agree():
    u = image(3)
    whole = SliceAverages(GRID, stack_of((0, 1, 2), 4, 4, (2, SIDE, SIDE)))
    from nerfkit.scenes.observations import slice_averages

    oblique = slice_averages._oblique(GRID, stack_of((0, 1, 2), 4, 4, (2, SIDE, SIDE)))
    np.testing.assert_allclose(oblique @ u.numpy().ravel(), whole.predict(u).numpy().ravel(), rtol=1e-5)
