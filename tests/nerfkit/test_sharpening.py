"""Frames that a camera sharpened: the mask is told by held-out pixels and undone, and pictures have no halos."""

import math

import lowres_scenes
import numpy as np
import pytest
import torch

from nerfkit.limits import Limit
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.unsharp_mask import UnsharpMask
from nerfkit.superresolution.alignment import Alignment
from nerfkit.superresolution.reconstruct import reconstruct
from nerfkit.superresolution.scoring import score
from nerfkit.superresolution.settings import SuperresSettings
from nerfkit.superresolution.sharpening import CUT, SharpenedFrames, choose_mask, undo_sharpening

SIDE = 32
SETTINGS = {"scale": 2.0, "frame_size": (SIDE, SIDE), "output_size": (2 * SIDE, 2 * SIDE), "exact_shifts": True}


def filed(frames, amount):
    """Frames [n, h, w] as a camera that sharpens them files them, in 8 bits."""
    sharpened = UnsharpMask(amount).apply(torch.from_numpy(frames)).numpy()
    return np.rint(np.clip(sharpened, 0, 1) * 255).astype(np.float32) / np.float32(255)


def sharpened_frames(values, shifts, amount, most=math.inf):
    """Values [n, h, w] as samples at shifts, clipped at 0 and at the most."""
    view = LowresView(Motion.of_shifts(torch.from_numpy(shifts)), (values.shape[2], values.shape[1]))
    ends = torch.zeros(len(values), 1, 1), torch.full((len(values), 1, 1), most)
    return SharpenedFrames(FrameStack.of(torch.from_numpy(values)), view, UnsharpMask(amount), ends)


def test_clipped_pixels_are_those_of_the_image_once_the_mask_is_undone():
    g = torch.Generator().manual_seed(0)
    view = LowresView(Motion.of_shifts(torch.zeros(2, 2)), (9, 8))
    grid = view.grid(2)
    image = torch.rand(grid.shape, generator=g)
    before = view.sample(grid, image)[0].values
    after = UnsharpMask(1.0).apply(before)
    frames = sharpened_frames(after.clamp(0.2, 0.7).numpy(), np.zeros((2, 2)), 1.0, 0.7)
    frames.ends[0].fill_(0.2)
    told = frames.before_mask(grid, image, torch.ones_like(after))
    torch.testing.assert_close(told.values, before)
    assert torch.equal(told.weights == 0, (after > 0.7) | (after < 0.2)) and 0.1 < told.weights.mean() < 0.9
    # an image that is not as bright as white contradicts it
    dark = frames.before_mask(grid, torch.full_like(image, 0.4), torch.ones_like(after))
    assert (dark.weights == 1).all()
    # what is held out tells nothing of its neighbours
    held_out = torch.ones_like(after)
    held_out[:, 4, 4] = 0
    frames.stack.values[:, 4, 4] = 0.5
    torch.testing.assert_close(frames.before_mask(grid, image, held_out).values, before)


@pytest.mark.parametrize("amount", [0.0, 1.0])
def test_the_amount_is_told_by_pixels_that_are_held_out(amount):
    frames, shifts, _ = lowres_scenes.make_frames(24, seed=1, side=SIDE)
    found = choose_mask(sharpened_frames(filed(frames, amount), shifts, 0.0, 1.0), 0, Limit())
    if amount == 0:
        assert found is None
    else:
        assert found is not None and found[0] == UnsharpMask(amount) and found[1].bounds is not None


def test_a_picture_of_sharpened_frames_has_no_halos():
    frames, shifts, truth = lowres_scenes.make_frames(24, seed=1, side=SIDE)
    motion, found = Motion.of_shifts(torch.from_numpy(shifts)), {}
    for asked in ("auto", 0.0):
        settings = SuperresSettings(sharpened=asked, **SETTINGS)
        state = reconstruct(filed(frames, 1.0), settings, motion=motion)
        found[asked] = score(np.clip(state.image[0].numpy(), 0, 1), truth, 2)["psnr_interior"]
        assert (state.aligned.mask is None) == (asked == 0)
    assert found["auto"] > found[0.0] + 5 and found["auto"] > 25


def test_an_amount_that_is_given_is_undone_in_each_colour_of_file_values():
    frames, shifts, _ = lowres_scenes.make_frames(6, side=16)
    colours = np.stack([0.3 + 0.3 * frames, 0.2 + 0.5 * frames, 0.6 - 0.4 * frames], -1)
    masked = [UnsharpMask(0.5).apply(torch.from_numpy(colour)).numpy() for colour in np.moveaxis(colours, -1, 0)]
    settings = SuperresSettings(
        scale=2.0, frame_size=(16, 16), output_size=(32, 32), n_channels=3, transfer="srgb", sharpened=0.5,
    )  # fmt: skip
    aligned = Alignment(np.stack(masked, -1), settings, motion=Motion.of_shifts(torch.from_numpy(shifts)))
    assert undo_sharpening(aligned) and aligned.mask == UnsharpMask(0.5)
    np.testing.assert_allclose(aligned.images, colours, atol=1e-5)
    assert aligned.measured is not None and aligned.measured.all()
    assert torch.equal(aligned.grey, aligned.transfer.grey(aligned.transfer.channels(torch.from_numpy(aligned.images))))


def test_frames_with_alpha_fields_and_a_limit_that_is_over_are_left_alone():
    frames, shifts, _ = lowres_scenes.make_frames(4, side=16)
    motion = Motion.of_shifts(torch.from_numpy(shifts))

    def is_undone(images=frames, measured=None, limit=None, **settings):
        settings = SuperresSettings(scale=2.0, frame_size=(16, 16), output_size=(32, 32), sharpened=1.0, **settings)
        return undo_sharpening(Alignment(images, settings, motion=motion, measured=measured, limit=limit))

    assert not is_undone(measured=torch.ones(frames.shape))
    assert not is_undone(np.stack([frames, np.ones_like(frames)], -1), n_channels=2)
    assert not is_undone(limit=Limit(0.0))
    hurried = Limit(1.0)
    hurried.record(1.0, 1e6)
    assert choose_mask(sharpened_frames(frames, shifts, 0.0), 0, hurried) is None and hurried.cut == [CUT]
