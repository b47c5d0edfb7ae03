"""Shift-and-add: pixels land where the frames look, gaps are filled, weights count."""

import torch

from nerfkit.scenes.observations.lowres_frames import LowresFrames, Psf
from nerfkit.superres.shift_and_add import shift_and_add


def frames_at(*shifts, values=None):
    values = torch.rand(len(shifts), 6, 8, generator=torch.Generator().manual_seed(0)) if values is None else values
    return LowresFrames(values, torch.tensor(shifts, dtype=torch.float64), Psf())


def test_quarters_of_a_pixel_fill_the_output_with_the_frames_own_values():
    frames = frames_at((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
    image = shift_and_add(frames, (16, 12))
    for index, (row, col) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        torch.testing.assert_close(image[row::2, col::2], frames.frames[index])


def test_gaps_are_filled_from_the_reference_and_weights_count():
    frames = frames_at((0.0, 0.0), (0.0, 0.0))
    assert shift_and_add(frames, (32, 24)).isfinite().all()
    image = shift_and_add(frames, (8, 6), weights=torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(image, (frames.frames[0] + 3 * frames.frames[1]) / 4)


def test_turned_frames_land_where_their_matrices_say():
    # a half turn about the middle of the frame
    turn = torch.tensor([[[-1.0, 0, 8], [0, -1, 6], [0, 0, 1]]], dtype=torch.float64)
    frames = frames_at((0.0, 0.0))
    turned = LowresFrames(frames.frames, frames.shifts, Psf(), turn)
    torch.testing.assert_close(shift_and_add(turned, (8, 6)), frames.frames[0].flip(0, 1))
