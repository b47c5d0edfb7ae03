"""A stack of frames: weights, parts, and what is held out of it."""

import pytest
import torch

from nerfkit.scenes.measurements.frames import FrameStack


def test_weights_of_frames_are_those_of_their_pixels():
    values = torch.rand(3, 4, 5)
    assert FrameStack.of(values).weights.min() == 1
    stack = FrameStack.of(values, torch.tensor([1.0, 0.0, 0.5]))
    assert len(stack) == 3 and stack.is_used.tolist() == [True, False, True]
    assert stack.weights[:, 0, 0].tolist() == [1.0, 0.0, 0.5] and stack.weights.shape == values.shape
    part = stack.window(1, 2, 3, 2)
    assert torch.equal(part.values, values[:, 1:4, 2:4]) and part.weights.shape == (3, 3, 2)
    other = stack.with_values(1 - values).with_weights(torch.ones_like(values))
    assert torch.equal(other.values, 1 - values) and other.is_used.all()


def test_held_out_pixels_are_those_of_the_seed_and_weigh_nothing():
    stack = FrameStack.of(torch.rand(6, 20, 20), torch.tensor([1.0, 1, 1, 0, 1, 1]))
    kept, is_out = stack.hold_out(0.1, torch.Generator().manual_seed(3))
    again = stack.hold_out(0.1, torch.Generator().manual_seed(3))[1]
    assert torch.equal(is_out, again) and not torch.equal(is_out, stack.hold_out(0.1, torch.Generator())[1])
    assert not is_out[3].any() and float(is_out[:3].float().mean()) == pytest.approx(0.1, abs=0.03)
    torch.testing.assert_close(kept.weights, stack.weights * ~is_out)


def test_held_out_frames_are_whole_and_of_those_in_use():
    stack = FrameStack.of(torch.rand(9, 4, 4), torch.tensor([1.0, 1, 0, 1, 1, 1, 1, 1, 1]))
    _, is_out = stack.hold_out_frames(1, 4, torch.Generator().manual_seed(0))
    fractions = is_out.float().mean((1, 2))
    assert sorted(fractions.tolist()) == [0.0] * 7 + [1.0] * 2 and fractions[2] == 0


def test_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 3, 4\) and \(2,\)"):
        FrameStack(torch.zeros(2, 3, 4), torch.ones(2))
