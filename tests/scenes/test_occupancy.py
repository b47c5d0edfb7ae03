"""The occupancy grid: full at the start, empty where nothing is, kept where something is, repeatable."""

import math

import pytest
import torch
from support import DEVICE

from nerfkit.scenes.occupancy import DECAY, OPACITY_THRESHOLD, OccupancyGrid

STEP = 0.05


def grid(resolution=16, **options):
    return OccupancyGrid(resolution, **options).to(DEVICE)


def ball(xyzs, density=100.0):
    """Density of a ball of radius 0.25 in the middle of the unit cube."""
    return density * ((xyzs - 0.5).norm(dim=-1) < 0.25).float()


def nothing(xyzs):
    return torch.zeros_like(xyzs[:, 0])


def cell_distances(resolution):
    """Distance [r, r, r] of each cell's centre to the middle of the cube."""
    axis = (torch.arange(resolution, device=DEVICE) + 0.5) / resolution - 0.5
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)


def test_every_cell_is_occupied_at_the_start():
    assert grid().fraction == 1.0 and grid().occupied().shape == (16, 16, 16)


def test_an_empty_scene_empties_the_grid_at_once():
    g = grid()
    g.update(nothing, STEP)
    assert g.fraction == 0.0 and not g.bits.any()


def test_cells_in_the_ball_stay_and_cells_out_of_it_go():
    g, margin = grid(), math.sqrt(3) / 2 / 16
    for _ in range(8):
        g.update(ball, STEP)
    distances = cell_distances(16)
    assert g.occupied()[distances < 0.25 - margin].all()
    assert not g.occupied()[distances > 0.25 + margin].any()
    assert g.fraction == pytest.approx(float(g.occupied().float().mean()))
    assert 4 / 3 * math.pi * 0.25**3 * 0.7 < g.fraction < 4 / 3 * math.pi * 0.25**3 * 1.6


def test_the_field_is_asked_once_in_each_cell_of_a_full_update():
    g, asked = grid(), []

    def density(xyzs):
        asked.append(xyzs)
        return nothing(xyzs)

    g.update(density, STEP)
    cells = (torch.cat(asked) * 16).long()
    flat = (cells[:, 0] * 16 + cells[:, 1]) * 16 + cells[:, 2]
    assert torch.equal(flat.sort().values, torch.arange(16**3, device=DEVICE))
    inside = torch.cat(asked) * 16 - cells
    assert inside.std() == pytest.approx(1 / math.sqrt(12), abs=0.01)


def test_a_later_update_asks_at_most_max_cells_and_prefers_the_occupied_ones():
    g, asked = grid(n_updates_full=2, max_cells=512), []

    def density(xyzs):
        asked.append(xyzs)
        return ball(xyzs)

    for _ in range(3):
        g.update(density, STEP)
    assert [len(x) for x in asked[:2]] == [16**3, 16**3] and 256 < len(asked[2]) <= 512
    cells = (asked[2] * 16).long()
    assert len(cells.unique(dim=0)) == len(cells)
    share = float(((asked[2] - 0.5).norm(dim=-1) < 0.3).float().mean())
    assert share > 0.4  # the ball and its rim fill 11 % of the cube


def test_something_new_in_a_grid_that_went_empty_is_found():
    g = grid(n_updates_full=1, max_cells=512)
    g.update(nothing, STEP)
    for _ in range(60):
        g.update(ball, STEP)
    assert g.occupied()[cell_distances(16) < 0.2].float().mean() > 0.9


def test_what_is_gone_fades_and_is_let_go():
    g, threshold = grid(), -math.log1p(-OPACITY_THRESHOLD) / STEP

    def rest(xyzs):  # a wall that stays
        return 100.0 * (xyzs[:, 2] < 1 / 16)

    g.update(lambda xyzs: ball(xyzs) + rest(xyzs), STEP)
    middle = cell_distances(16) < 0.2
    for i in range(math.ceil(math.log(threshold / 100) / math.log(DECAY))):
        assert g.occupied()[middle].all(), i
        g.update(rest, STEP)
    assert not g.occupied()[middle].any() and g.fraction == 1 / 16


def test_a_density_counts_from_the_threshold_on():
    # half of the cube dense, so that the mean is far above the threshold
    threshold = -math.log1p(-OPACITY_THRESHOLD) / STEP
    for factor, is_kept in ((0.99, False), (1.01, True)):
        g = grid()
        g.update(lambda xyzs, f=factor: torch.where(xyzs[:, 0] < 0.5, 1e4, f * threshold), STEP)
        assert g.occupied()[:8].all() and g.occupied()[8:].all() == is_kept, factor


@pytest.mark.parametrize("density", [1e-3, 1.0])
def test_a_scene_that_is_thin_everywhere_keeps_its_densest_cells(density):
    threshold = -math.log1p(-OPACITY_THRESHOLD) / 1e-3
    assert density < threshold
    g = grid()
    g.update(lambda xyzs: density * (0.1 + xyzs[:, 0]), 1e-3)
    assert g.occupied()[-4:].all() and not g.occupied()[0].any()


@pytest.mark.parametrize("density", [0.003, 0.1, 0.7])
def test_a_uniform_fog_keeps_every_cell_however_thin(density):
    g = grid()
    for _ in range(3):
        g.update(lambda xyzs: torch.full_like(xyzs[:, 0], density), 0.01)
    assert g.fraction == 1.0


def test_equal_seeds_give_equal_grids_and_others_do_not():
    def trained(seed):
        torch.manual_seed(seed + 100)  # the grid's draws must not come from here
        g = grid(seed=seed % 2, n_updates_full=1, max_cells=256)
        for _ in range(5):
            g.update(lambda xyzs: ball(xyzs) * xyzs[:, 1], STEP)
        return g

    first, same, other = trained(0), trained(2), trained(1)
    assert torch.equal(first.densities, same.densities) and torch.equal(first.bits, same.bits)
    assert not torch.equal(first.densities, other.densities)


def test_a_restored_grid_goes_on_as_the_first_would_have():
    options = {"n_updates_full": 2, "max_cells": 256}
    first = grid(seed=5, **options)
    for _ in range(4):
        first.update(ball, STEP)
    second = grid(seed=99, **options)
    second.load_state_dict(first.state_dict())
    for g in (first, second):
        for _ in range(3):
            g.update(ball, STEP)
    assert second.n_updates == 7
    assert torch.equal(first.densities, second.densities) and torch.equal(first.bits, second.bits)


def test_reset_forgets_what_was_found_and_looks_everywhere_again():
    g, sizes = grid(n_updates_full=1, max_cells=256), []
    for _ in range(3):
        g.update(nothing, STEP)
    g.reset()
    assert g.fraction == 1.0 and g.densities.abs().sum() == 0

    def density(xyzs):
        sizes.append(len(xyzs))
        return ball(xyzs)

    g.update(density, STEP)
    assert sizes == [16**3]


def test_updates_leave_no_graph_behind():
    factor = torch.ones((), device=DEVICE, requires_grad=True)
    g = grid()
    g.update(lambda xyzs: ball(xyzs) * factor, STEP)
    assert not g.densities.requires_grad


def test_a_resolution_whose_bits_fill_no_bytes_is_refused():
    with pytest.raises(ValueError, match=r"multiple of 8; got 5"):
        OccupancyGrid(5)
