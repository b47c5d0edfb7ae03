"""What frames see of an image: positions against the convention, frames against a finer scene, the exact adjoint."""

import numpy as np
import pytest
import torch
from lowres_scenes import measured, motion_of

from nerfkit.scenes.fields.grid import Grid, GridField
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.psf import Psf


def box_means(fine, cells, dx, dy, size, margin):
    """Frames of a fine image [.., ..] of ``cells`` cells a low-res pixel, shifted by whole cells, as plain means."""
    top, left = (margin * cells + round(shift * cells) for shift in (dy, dx))
    part = fine[top : top + size * cells, left : left + size * cells]
    return part.reshape(size, cells, size, cells).mean((1, 3))


def test_prediction_equals_plain_means_at_every_whole_cell():
    g = torch.Generator().manual_seed(0)
    shifts = [[0.0, 0.0], [0.25, -0.5], [-1.0, 0.75]]
    view = LowresView(motion_of(shifts), (6, 6))
    grid = view.grid(4)
    fine = torch.rand(grid.shape, generator=g)
    samples, is_known = view.sample(grid, fine)
    assert bool(is_known.all())
    for index, (dx, dy) in enumerate(shifts):
        want = box_means(fine, 4, dx, dy, 6, grid.margin)
        torch.testing.assert_close(samples.values[index], want, rtol=1e-5, atol=1e-5)


def test_shift_between_cells_is_the_exact_integral():
    # a box that starts 0.3 cells into one: 0.7 of it, three whole cells and 0.3 of the last
    view = LowresView(motion_of([[0.3 / 4, 0.0]]), (1, 1))
    grid = Grid(1, 1, 4, 1)
    row = torch.arange(12.0).square()
    samples, _ = view.sample(grid, row.expand(12, 12).contiguous())
    want = (0.7 * row[4] + row[5] + row[6] + row[7] + 0.3 * row[8]) / 4
    assert float(samples.values) == pytest.approx(float(want), rel=1e-5)


def test_positive_dx_looks_to_the_right_and_slopes_tell_the_way():
    ramp = torch.arange(32.0).expand(32, 32).contiguous()
    samples, _ = LowresView(motion_of([[0.0, 0.0], [0.5, 0.25]]), (4, 4)).sample(Grid(4, 4, 4, 2), ramp)
    torch.testing.assert_close(samples.values[1] - samples.values[0], torch.full((4, 4), 2.0))
    torch.testing.assert_close(samples.d_cols, torch.ones(2, 4, 4))
    torch.testing.assert_close(samples.d_rows, torch.zeros(2, 4, 4))


def test_homography_of_a_shift_equals_the_shift():
    plain = motion_of([[0.0, 0.0], [0.4, -0.7]])
    general = Motion(plain.matrices, "homography")
    grid = Grid(5, 7, 3, 2)
    plain, general = (LowresView(motion, (7, 5)).positions(grid) for motion in (plain, general))
    for a, b in zip(plain, general, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_homography_maps_frame_to_reference_with_a_division():
    view = LowresView(motion_of([[[1.1, 0.1, 0.2], [0.0, 0.9, -0.3], [0.01, 0.0, 1.0]]]), (6, 4))
    rows, cols = view.positions(Grid(4, 6, 2, 3))
    x, y = 4.5, 2.5
    w = 0.01 * x + 1
    # two taps: the filtered cell is centred one cell after its index
    assert float(cols[0, 2, 4]) == pytest.approx(((1.1 * x + 0.1 * y + 0.2) / w + 3) * 2 - 1, abs=1e-4)
    assert float(rows[0, 2, 4]) == pytest.approx(((0.9 * y - 0.3) / w + 3) * 2 - 1, abs=1e-4)


def test_window_sees_what_the_whole_frame_sees_there():
    turned = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    turned[1, 0, 1], turned[1, :2, 2] = 0.05, torch.tensor([0.3, 0.6])
    for given in ([[0.0, 0.0], [0.3, 0.6]], turned):
        whole = LowresView(motion_of(given), (12, 12))
        part = whole.window(3, 5, 6, 4)
        assert part.size == (4, 6) and part.motion.model == whole.motion.model
        rows, cols = whole.positions(Grid(12, 12, 4, 2))
        part_rows, part_cols = part.positions(Grid(6, 4, 4, 2))
        torch.testing.assert_close(part_rows, rows[:, 3:9, 5:9] - 12, rtol=0, atol=1e-4)
        torch.testing.assert_close(part_cols, cols[:, 3:9, 5:9] - 20, rtol=0, atol=1e-4)


def test_pixels_beyond_the_grid_are_not_known_and_count_for_nothing():
    stack, view = measured(torch.ones(2, 8, 8), [[0.0, 0.0], [30.0, 0.0]])
    grid = view.grid(2)
    samples, is_known = view.sample(grid, torch.ones(grid.shape))
    assert bool(is_known[0].all()) and not bool(is_known[1].any())
    assert float(samples.values[1].abs().max()) == 0
    both = view.equations(grid, stack.values, stack.weights)
    alone = view[:1].equations(grid, stack.values[:1], stack.weights[:1])
    for a, b in zip(both, alone, strict=True):
        torch.testing.assert_close(a, b)


def test_some_frames_at_a_time_are_all_of_them():
    view = LowresView(motion_of(torch.rand(5, 2)), (8, 6))
    parts = list(view.chunks(100))
    assert [len(some) for _, some in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([some.motion.matrices for _, some in parts]), view.motion.matrices)
    assert [part for part, _ in view.chunks(1)] == [slice(index, index + 1) for index in range(5)]


def moved(model, n=4, seed=0):
    """Matrices of frames of 16 x 12 pixels."""
    g = torch.Generator().manual_seed(seed)
    matrices = torch.eye(3, dtype=torch.float64).repeat(n, 1, 1)
    matrices[1:, :2, 2] = 2 * torch.rand(n - 1, 2, generator=g, dtype=torch.float64) - 1
    if model != "shift":
        matrices[1:, :2, :2] += 0.02 * torch.randn(n - 1, 2, 2, generator=g, dtype=torch.float64)
    if model == "homography":
        matrices[1:, 2, :2] = 1e-3 * torch.randn(n - 1, 2, generator=g, dtype=torch.float64)
    return matrices


LOPSIDED = np.array([[0, 1, 0], [2, 5, 4], [0, 0, 3.0]])


@pytest.mark.parametrize("psf", [Psf(), Psf("box", 1.3), Psf("gaussian", 0.4), Psf.of_picture(LOPSIDED, 1.5)], ids=str)
@pytest.mark.parametrize("model", ["shift", "affine", "homography"])
def test_adjoint_is_the_transpose_of_the_prediction(model, psf):
    g = torch.Generator().manual_seed(1)
    view = LowresView(motion_of(moved(model)), (16, 12), psf)
    assert view.motion.model == model
    grid = view.grid(4)
    image, values = torch.randn(grid.shape, generator=g), torch.randn(4, 12, 16, generator=g)
    field = GridField(image[None], grid)
    seen, back = view.predict(field), view.adjoint(values, grid)
    assert seen.shape == values.shape and back.shape == image.shape
    there, here = (float((a.double() * b.double()).sum()) for a, b in ((seen.detach(), values), (image, back)))
    # float32: relative to what the products could be
    assert abs(there - here) < 1e-5 * float(seen.detach().norm() * values.norm())
    # and so is its gradient
    (seen * values).sum().backward()
    assert field.values.grad is not None
    torch.testing.assert_close(field.values.grad[0], back)


def test_prediction_of_some_frames_is_a_part_of_the_prediction():
    view = LowresView(motion_of(moved("affine")), (16, 12))
    grid = view.grid(3)
    field = GridField(torch.rand(1, *grid.shape), grid)
    torch.testing.assert_close(view.predict(field, torch.tensor([2, 0])), view.predict(field)[[2, 0]])
