"""Measurements and domains: rows stay together, what is held out is gone, points are where they should be."""

import pytest
import torch

from nerfkit.scenes.backgrounds import Background
from nerfkit.scenes.cameras import Camera, CameraBatch
from nerfkit.scenes.fields.image_field import Lattice
from nerfkit.scenes.measurements.domains import Box, BoxBoundary
from nerfkit.scenes.measurements.lattice_values import LatticeMeasurements, cell_centres
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.measurements.photo_pixels import PhotoPixels
from nerfkit.scenes.measurements.photo_rays import PhotoRays
from nerfkit.scenes.rays import Rays


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(n=100):
    rows = torch.arange(float(n))
    return Measurements(rows[:, None].expand(n, 2), rows[:, None] * 2, rows * 3, torch.arange(n) * 4)


def are_rows(part):
    first = part.where[:, 0]
    return all(
        torch.equal(column.float().flatten(), first * factor)
        for column, factor in ((part.values, 2), (part.weights, 3), (part.ids, 4))
    )


def test_a_batch_keeps_rows_together_and_is_drawn_anew():
    source, draws = numbered(), generator()
    first, second = source.draw(50, draws), source.draw(50, draws)
    assert len(first) == 50 and are_rows(first) and not torch.equal(first.where, second.where)
    assert torch.equal(first.where, source.draw(50, generator()).where)


@pytest.mark.parametrize(("fraction", "n_held_out"), [(0.1, 10), (0.004, 1), (0.999, 99)])
def test_what_is_held_out_is_not_fitted(fraction, n_held_out):
    known, held_out = numbered().hold_out(fraction, generator())
    assert len(held_out) == n_held_out and len(known) == 100 - n_held_out and are_rows(known) and are_rows(held_out)
    assert torch.equal(torch.cat([known.where, held_out.where]).sort(0).values, numbered().where)


@pytest.mark.parametrize(("n", "fraction"), [(100, 0.0), (100, 1.0), (1, 0.5)])
def test_a_fraction_that_leaves_nothing_is_refused(n, fraction):
    with pytest.raises(ValueError, match=f"a fraction between 0 and 1 of 2 or more .*; got {fraction} of {n}"):
        numbered(n).hold_out(fraction, generator())


def test_places_may_have_several_columns():
    rays = Rays(torch.arange(12.0).view(4, 3), torch.ones(4, 3), None, torch.arange(4.0))
    source = Measurements(rays)
    batch = source.take(torch.tensor([2, 0]))
    assert len(source) == 4 and len(batch) == 2 and isinstance(batch.where, Rays)
    assert batch.where.jitter is not None and batch.where.jitter.tolist() == [2, 0]
    assert batch.where.bkgd_rgb is None and batch.values is None


def test_a_box_is_drawn_from_evenly():
    points = Box([(0, 1), (-2, 2), (5, 6)]).draw(4000, generator()).where
    assert points.shape == (4000, 3)
    torch.testing.assert_close(points.mean(0), torch.tensor([0.5, 0.0, 5.5]), atol=0.1, rtol=0)
    assert points[:, 1].min() < -1.9 and points[:, 1].max() > 1.9


def test_a_boundary_is_drawn_from_evenly():
    points = BoxBoundary([(0, 1), (0, 3)]).draw(8000, generator()).where
    on_x, on_y = ((points[:, axis] == 0) | (points[:, axis] == side) for axis, side in ((0, 1), (1, 3)))
    assert (on_x | on_y).all()
    # the edges across x are 3 long, those across y 1
    assert float(on_x.float().mean()) == pytest.approx(0.75, abs=0.03)
    assert float((points[on_x, 0] == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    ends = BoxBoundary([(2, 7)]).draw(100, generator()).where
    assert set(ends.flatten().tolist()) == {2.0, 7.0}


def test_an_empty_box_is_refused():
    with pytest.raises(ValueError, match=r"pairs \(least, greatest\) of coordinates; got \[\(1, 1\)\]"):
        Box([(1, 1)])


@pytest.mark.parametrize("background", [Background("none", None), Background("random", (1.0, 1.0, 1.0))])
def test_photos_are_rays_and_colours(background):
    photos = [torch.full((4, 6, 4), 255, dtype=torch.uint8).numpy() for _ in range(3)]
    for photo in photos:
        photo[:, :3, 3] = 0  # the left half is transparent
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 2, 3] = torch.arange(3.0)
    cameras = CameraBatch([Camera(6, 4, 5.0, 5.0, 3.0, 2.0)] * 3)
    batch = PhotoRays(PhotoPixels(photos, "cpu"), cameras, poses, background).draw(200, generator())
    rays = batch.where
    assert len(batch) == 200 and batch.ids is not None and torch.equal(rays.rays_o[:, 2], batch.ids.float())
    torch.testing.assert_close(rays.rays_d.norm(dim=-1), torch.ones(200))
    assert (rays.jitter >= 0).all() and (rays.jitter < 1).all()
    is_left = rays.rays_d[:, 0] < 0
    assert (batch.values[~is_left] == 1).all()
    if background.is_random:
        assert torch.equal(batch.values[is_left], rays.bkgd_rgb[is_left]) and rays.bkgd_rgb.std() > 0.2
    else:
        assert rays.bkgd_rgb is None and (batch.values[is_left] == 0).all()


def test_every_cell_of_a_lattice_has_its_turn():
    values = torch.arange(35.0).view(1, 5, 7)

    def prepare(ys, xs):
        return Lattice((len(ys), len(xs)), torch.cartesian_prod(ys, xs))

    source = LatticeMeasurements(values, (cell_centres(5, 5.0), cell_centres(7, 7.0)), prepare)
    whole = source.draw(35, generator())
    assert torch.equal(whole.values, values) and whole.where.shape == (5, 7)
    draws, seen = generator(), set()
    for _ in range(40):
        batch = source.draw(9, draws)
        seen |= set(batch.values.flatten().tolist())
        # row 1, column 2 of the image is at (1.5, 2.5)
        rows, columns = batch.where.points.unbind(-1)
        assert torch.equal((rows - 0.5) * 7 + columns - 0.5, batch.values.flatten().double())
    assert seen == set(range(35))


def test_centres_of_cells():
    assert cell_centres(4, 2.0).tolist() == [0.25, 0.75, 1.25, 1.75]
