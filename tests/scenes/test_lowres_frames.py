"""Low-res frames: footprints against integrals, positions against the convention, frames against a finer scene."""

import math

import pytest
import torch

from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames, Psf


def box_means(fine, cells, dx, dy, size, margin):
    """Frames of a fine image [.., ..] of ``cells`` cells a low-res pixel, shifted by whole cells, as plain means."""
    top, left = (margin * cells + round(shift * cells) for shift in (dy, dx))
    part = fine[top : top + size * cells, left : left + size * cells]
    return part.reshape(size, cells, size, cells).mean((1, 3))


def test_box_taps_are_the_integral_over_each_cell():
    assert Psf("box", 1).taps(8).tolist() == [0.125] * 8
    # 2.4 cells wide: one whole cell and 0.7 of its neighbours
    torch.testing.assert_close(Psf("box", 0.6).taps(4), torch.tensor([0.7, 1.0, 0.7]) / 2.4)
    assert Psf("box", 0.1).taps(4).tolist() == [1.0]


@pytest.mark.parametrize(("kind", "width"), [("box", 1.0), ("box", 1.7), ("gaussian", 0.3), ("gaussian", 1.1)])
def test_taps_sum_to_one_are_symmetric_and_as_wide_as_the_footprint(kind, width):
    cells = 9
    taps = Psf(kind, width).taps(cells).double()
    torch.testing.assert_close(taps.sum(), torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(taps, taps.flip(0))
    x = torch.arange(len(taps)) - (len(taps) - 1) / 2
    # a cell's own width adds 1/12 of its square to a Gaussian; a box of cells has it already
    variance = float((taps * x.square()).sum()) / cells**2
    wanted = width**2 / 12 - 1 / (12 * cells**2) if kind == "box" else width**2 + 1 / (12 * cells**2)
    assert variance == pytest.approx(wanted, rel=2e-2 if kind == "box" else 5e-3)


def test_gaussian_taps_are_the_bell_over_each_cell():
    taps = Psf("gaussian", 0.5).taps(2)  # sigma of one cell
    middle = len(taps) // 2
    assert float(taps[middle]) == pytest.approx(math.erf(1 / math.sqrt(2)) / 2, rel=1e-3)


@pytest.mark.parametrize("psf", [("disc", 1.0), ("box", 0.0), ("box", math.inf)])
def test_footprint_that_is_none_is_refused(psf):
    with pytest.raises(ValueError, match=r"kind must|width must"):
        Psf(*psf)


def test_prediction_equals_plain_means_at_every_whole_cell():
    g = torch.Generator().manual_seed(0)
    shifts = torch.tensor([[0.0, 0.0], [0.25, -0.5], [-1.0, 0.75]], dtype=torch.float64)
    frames = LowresFrames(torch.zeros(3, 6, 6), shifts, Psf())
    grid = frames.grid(4)
    fine = torch.rand(grid.shape, generator=g)
    samples, is_known = frames.predict(grid, fine)
    assert bool(is_known.all())
    for index, (dx, dy) in enumerate(shifts.tolist()):
        want = box_means(fine, 4, dx, dy, 6, grid.margin)
        torch.testing.assert_close(samples.values[index], want, rtol=1e-5, atol=1e-5)


def test_shift_between_cells_is_the_exact_integral():
    # a box that starts 0.3 cells into one: 0.7 of it, three whole cells and 0.3 of the last
    frames = LowresFrames(torch.zeros(1, 1, 1), torch.tensor([[0.3 / 4, 0.0]], dtype=torch.float64), Psf())
    grid = Grid(1, 1, 4, 1)
    row = torch.arange(12.0).square()
    samples, _ = frames.predict(grid, row.expand(12, 12).contiguous())
    want = (0.7 * row[4] + row[5] + row[6] + row[7] + 0.3 * row[8]) / 4
    assert float(samples.values) == pytest.approx(float(want), rel=1e-5)


def test_positive_dx_looks_to_the_right_and_slopes_tell_the_way():
    ramp = torch.arange(32.0).expand(32, 32).contiguous()
    shifts = torch.tensor([[0.0, 0.0], [0.5, 0.25]], dtype=torch.float64)
    frames = LowresFrames(torch.zeros(2, 4, 4), shifts, Psf())
    samples, _ = frames.predict(Grid(4, 4, 4, 2), ramp)
    torch.testing.assert_close(samples.values[1] - samples.values[0], torch.full((4, 4), 2.0))
    torch.testing.assert_close(samples.d_cols, torch.ones(2, 4, 4))
    torch.testing.assert_close(samples.d_rows, torch.zeros(2, 4, 4))


def test_homography_of_a_shift_equals_the_shift():
    shift = torch.tensor([[0.0, 0.0], [0.4, -0.7]], dtype=torch.float64)
    matrices = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    matrices[:, :2, 2] = shift
    values = torch.zeros(2, 5, 7)
    grid = Grid(5, 7, 3, 2)
    plain = LowresFrames(values, shift, Psf()).positions(grid)
    general = LowresFrames(values, torch.zeros_like(shift), Psf(), matrices).positions(grid)
    for a, b in zip(plain, general, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_homography_maps_frame_to_reference_with_a_division():
    matrix = torch.tensor([[[1.1, 0.1, 0.2], [0.0, 0.9, -0.3], [0.01, 0.0, 1.0]]], dtype=torch.float64)
    frames = LowresFrames(torch.zeros(1, 4, 6), torch.zeros(1, 2, dtype=torch.float64), Psf(), matrix)
    rows, cols = frames.positions(Grid(4, 6, 2, 3))
    x, y = 4.5, 2.5
    w = 0.01 * x + 1
    # two taps: the filtered cell is centred one cell after its index
    assert float(cols[0, 2, 4]) == pytest.approx(((1.1 * x + 0.1 * y + 0.2) / w + 3) * 2 - 1, abs=1e-4)
    assert float(rows[0, 2, 4]) == pytest.approx(((0.9 * y - 0.3) / w + 3) * 2 - 1, abs=1e-4)


def test_window_sees_what_the_whole_frame_sees_there():
    g = torch.Generator().manual_seed(0)
    shifts = torch.tensor([[0.0, 0.0], [0.3, 0.6]], dtype=torch.float64)
    matrices = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    matrices[1, 0, 1] = 0.05
    for transforms in (None, matrices):
        whole = LowresFrames(torch.rand(2, 12, 12, generator=g), shifts, Psf(), transforms)
        part = whole.window(3, 5, 6, 4)
        assert torch.equal(part.frames, whole.frames[:, 3:9, 5:9])
        rows, cols = whole.positions(Grid(12, 12, 4, 2))
        part_rows, part_cols = part.positions(Grid(6, 4, 4, 2))
        torch.testing.assert_close(part_rows, rows[:, 3:9, 5:9] - 12, rtol=0, atol=1e-4)
        torch.testing.assert_close(part_cols, cols[:, 3:9, 5:9] - 20, rtol=0, atol=1e-4)


def test_pixels_beyond_the_grid_are_not_known_and_count_for_nothing():
    shifts = torch.tensor([[0.0, 0.0], [30.0, 0.0]], dtype=torch.float64)
    frames = LowresFrames(torch.ones(2, 8, 8), shifts, Psf())
    grid = frames.grid(2)
    samples, is_known = frames.predict(grid, torch.ones(grid.shape))
    assert bool(is_known[0].all()) and not bool(is_known[1].any())
    assert float(samples.values[1].abs().max()) == 0
    alone = LowresFrames(torch.ones(1, 8, 8), shifts[:1], Psf())
    for a, b in zip(frames.equations(grid), alone.equations(grid), strict=True):
        torch.testing.assert_close(a, b)


def test_grid_crops_to_the_frame_and_starts_smooth():
    grid = Grid(3, 5, 4, 2)
    assert grid.shape == (28, 36)
    assert grid.crop(torch.zeros(2, *grid.shape)).shape == (2, 12, 20)
    assert torch.allclose(grid.enlarge(torch.full((3, 5), 0.4)), torch.tensor(0.4))


def test_shifts_of_another_number_are_refused():
    with pytest.raises(ValueError, match="need shifts"):
        LowresFrames(torch.zeros(3, 4, 4), torch.zeros(2, 2, dtype=torch.float64), Psf())
