"""The mesh: pixels of the frames in a picture are told from what a scene repeats by itself."""

import pytest
import torch
from lowres_scenes import fine_scene

from nerfkit.superresolution.mesh import MOST_MESH, mesh

SIDE, CELLS = 64, 4


def scene(seed=0):
    """Strokes on paper as an image of ``CELLS`` cells a low-res pixel."""
    fine = torch.from_numpy(fine_scene(seed, SIDE))
    return torch.nn.functional.avg_pool2d(fine[None, None], 2)[0, 0, : SIDE * CELLS, : SIDE * CELLS].contiguous()


def enlarged(image, mode):
    small = torch.nn.functional.avg_pool2d(image[None, None], CELLS)
    return torch.nn.functional.interpolate(small, scale_factor=CELLS, mode=mode)[0, 0]


def halftone(period, degrees):
    """Dots of a size that varies over the picture, at a period in cells."""
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    angle = torch.deg2rad(torch.tensor(float(degrees)))
    u, v = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    dots = torch.cos(2 * torch.pi * u / period) + torch.cos(2 * torch.pi * v / period)
    return (0.5 + 0.4 * torch.sin(x / 20) * torch.cos(y / 30) > 0.5 + 0.25 * dots).float()


def test_pixels_of_the_frames_are_a_mesh_and_strokes_are_none():
    image = scene()
    assert mesh(image, CELLS) < 1.5
    # most of the paper is plain: blocks all over are twice as far above
    assert mesh(enlarged(image, "nearest"), CELLS) > 3
    # whatever the contrast, and where the values begin
    assert mesh(0.01 * image + 3, CELLS) == pytest.approx(mesh(image, CELLS), rel=1e-3)


@pytest.mark.parametrize(("period", "degrees"), [(4.2, 0), (5.3, 0), (3.7, 45), (4.0, 45), (8.0, 0), (8.0, 45)])
def test_a_halftone_is_no_mesh(period, degrees):
    assert mesh(halftone(period, degrees), CELLS) < MOST_MESH


def test_noise_and_plain_pictures_have_no_mesh():
    generator = torch.Generator().manual_seed(1)
    assert mesh(torch.rand(128, 128, generator=generator), CELLS) < 1
    assert mesh(torch.zeros(128, 128), CELLS) == 0


@pytest.mark.parametrize("cells", [2, 3, 8])
def test_any_scale_shows_the_mesh(cells):
    blocks = torch.rand(24, 24, generator=torch.Generator().manual_seed(2))
    image = blocks.repeat_interleave(cells, 0).repeat_interleave(cells, 1)
    assert mesh(image, cells) > MOST_MESH


def test_too_small_pictures_tell_nothing():
    assert mesh(torch.rand(32, 32), CELLS) == 0
    assert mesh(torch.rand(64, 64), 1) == 0


def test_of_a_large_picture_the_middle_is_looked_at():
    blocks = torch.rand(300, 40, generator=torch.Generator().manual_seed(2))
    assert mesh(blocks.repeat_interleave(4, 0).repeat_interleave(4, 1), 4) > MOST_MESH
