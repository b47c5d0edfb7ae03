"""Cells over a frame: where they are, how they start, and the field that they are."""

import pytest
import torch

from nerfkit.scenes.fields.grid import Grid, GridField


def test_grid_crops_to_the_frame_and_starts_smooth():
    grid = Grid(3, 5, 4, 2)
    assert grid.shape == (28, 36)
    assert grid.crop(torch.zeros(2, *grid.shape)).shape == (2, 12, 20)
    assert torch.allclose(grid.enlarge(torch.full((3, 5), 0.4)), torch.tensor(0.4))


def test_images_of_the_same_extent_are_resized():
    grid, finer = Grid(3, 5, 2, 1), Grid(3, 5, 4, 1)
    image = torch.rand(grid.shape)
    assert grid.resize(image) is image
    fine = finer.resize(torch.linspace(0, 1, grid.shape[1]).expand(grid.shape).contiguous())
    assert fine.shape == finer.shape and (fine.diff(dim=1) >= 0).all()


def test_field_is_linear_between_centres_of_cells_in_low_res_pixels():
    grid = Grid(4, 6, 2, 1)
    y, x = torch.meshgrid(*((torch.arange(n) + 0.5) / 2 - 1 for n in grid.shape), indexing="ij")
    field = GridField(torch.stack([x, 3 * y - x]), grid)
    assert (field.n_dims, field.n_outputs) == (2, 2)
    points = torch.tensor([[[0.0, 0.0], [5.3, 1.2]], [[-0.5, 4.1], [2.25, 3.0]]])
    wanted = torch.stack([points[..., 0], 3 * points[..., 1] - points[..., 0]], -1)
    torch.testing.assert_close(field(points), wanted, atol=1e-5, rtol=0)
    # beyond the grid its border goes on
    torch.testing.assert_close(field(torch.tensor([[99.0, 2.0]]))[0, 0], x.max())


def test_cells_are_the_parameters():
    grid = Grid(2, 2, 1)
    field = GridField(torch.zeros(1, 2, 2), grid)
    field(torch.tensor([[1.0, 1.0]])).sum().backward()
    torch.testing.assert_close(field.values.grad, torch.full((1, 2, 2), 0.25))
    assert field.parameter_groups(0.1) == [{"params": [field.values], "lr": 0.1}]


def test_values_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"must be \[n_outputs, 4, 6\]; got \(4, 6\)"):
        GridField(torch.zeros(4, 6), Grid(2, 3, 2))


def test_a_lattice_is_its_points():
    field = GridField(torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(0)), Grid(4, 6, 2))
    ys, xs = torch.tensor([0.3, 2.0]), torch.tensor([0.5, 3.1, 5.9])
    assert field.size == (6.0, 4.0)
    values = field.evaluate_lattice(field.lattice(ys, xs))
    assert values.shape == (3, 2, 3)
    torch.testing.assert_close(values[:, 1, 2], field(torch.tensor([5.9, 2.0])))
