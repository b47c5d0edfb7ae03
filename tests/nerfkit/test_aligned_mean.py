"""The mean of the aligned frames: each lies where it looks, weights count, and what none sees is filled."""

import torch
from lowres_scenes import measured

from nerfkit.superresolution import aligned_mean as module
from nerfkit.superresolution.aligned_mean import aligned_mean


def ramp(shifts, slope=(1.0, 0.5), side=(8, 6)):
    """Frames of a plane that rises along x and y, as each sees it at its shift."""
    y, x = torch.meshgrid(torch.arange(side[1]) + 0.5, torch.arange(side[0]) + 0.5, indexing="ij")
    return torch.stack([slope[0] * (x + dx) + slope[1] * (y + dy) for dx, dy in shifts])


def test_shifted_frames_of_a_plane_have_that_plane_as_their_mean():
    shifts = [(0.0, 0.0), (0.4, -0.3), (-0.7, 0.2)]
    stack, view = measured(ramp(shifts), shifts)
    image = aligned_mean(stack, view, (32, 24))
    y, x = torch.meshgrid((torch.arange(24) + 0.5) / 4, (torch.arange(32) + 0.5) / 4, indexing="ij")
    # cubics continue the border of a frame within two of its pixels
    inner = (slice(12, -12), slice(12, -12))
    torch.testing.assert_close(image[inner], (x + 0.5 * y)[inner])


def test_turned_frames_land_where_their_matrices_say():
    # a half turn about the middle of the frame
    turn = torch.tensor([[[-1.0, 0, 8], [0, -1, 6], [0, 0, 1]]], dtype=torch.float64)
    values = torch.rand(1, 6, 8, generator=torch.Generator().manual_seed(0))
    stack, view = measured(values, turn)
    torch.testing.assert_close(aligned_mean(stack, view, (8, 6)), values[0].flip(0, 1))


def test_displaced_pixels_land_where_they_look():
    y, _ = torch.meshgrid(torch.arange(12) + 0.5, torch.arange(16) + 0.5, indexing="ij")
    moves = torch.zeros(2, 12, 16, 2)
    moves[1, ..., 0] = 0.8 * torch.sin(y / 4)
    stack, view = measured(ramp([(0, 0), (0.3, 0)], side=(16, 12)), [(0.0, 0.0), (0.3, 0.0)])
    view = view.moved(view.motion.displaced(moves))
    values = stack.values + moves[..., 0]
    image = aligned_mean(stack.with_values(values), view, (32, 24))[6:-6, 6:-6]
    y, x = torch.meshgrid((torch.arange(24) + 0.5) / 2, (torch.arange(32) + 0.5) / 2, indexing="ij")
    # cubics alone are off by 0.07 between the pixels of a plane, the mean without a displacement by 0.4
    torch.testing.assert_close(image, (x + 0.5 * y)[6:-6, 6:-6], atol=0.1, rtol=0)


def test_weights_count_and_frames_without_are_left_out():
    values = torch.tensor([1.0, 3.0, 100.0])[:, None, None].expand(3, 6, 8).contiguous()
    stack, view = measured(values, torch.zeros(3, 2))
    weights = torch.tensor([3.0, 1.0, 0.0])[:, None, None].expand_as(values)
    torch.testing.assert_close(aligned_mean(stack.with_weights(weights), view, (16, 12)), torch.full((12, 16), 1.5))


def test_what_no_frame_sees_shows_the_border_of_the_nearest():
    stack, view = measured(torch.ones(1, 6, 8), [(4.0, 0.0)])
    torch.testing.assert_close(aligned_mean(stack, view, (16, 12)), torch.ones(12, 16))


def test_large_pictures_are_made_in_strips(monkeypatch):
    stack, view = measured(torch.rand(3, 6, 8), torch.rand(3, 2))
    whole = aligned_mean(stack, view, (16, 12))
    monkeypatch.setattr(module, "STRIP", 50)
    torch.testing.assert_close(aligned_mean(stack, view, (16, 12)), whole)
