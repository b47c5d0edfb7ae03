"""Fields of interlaced video become frames of half the rows, and what was filled in weighs nothing anywhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.readers.frames import Frames
from nerfkit.superresolution.inputs import read_source
from nerfkit.superresolution.interlaced import split_fields
from nerfkit.superresolution.settings import SuperresConfig


@pytest.mark.parametrize("order", ["top", "bottom"])
def test_fields_keep_their_rows_and_fill_in_the_others(order):
    ramp = (np.arange(9)[:, None] / 10 * np.ones((2, 9, 5))).astype(np.float32)
    fields, measured = split_fields(Frames(ramp, ["a", "b"], 32, "x", Path(), field_order=order))
    assert fields.files == ["a:top", "a:bottom", "b:top", "b:bottom"]
    assert measured[0, :, 0].tolist() == [1 - row % 2 for row in range(9)]
    np.testing.assert_array_equal(measured[0] + measured[1], 1)
    # a ramp is filled in exactly where rows lie on both sides
    np.testing.assert_allclose(fields.images[:, 3:6], np.repeat(ramp, 2, axis=0)[:, 3:6], atol=1e-6)
    np.testing.assert_array_equal(fields.images[1, 1::2], ramp[0, 1::2])


def test_woven_frames_are_read_as_fields_and_the_even_rows_stand_for_a_frame(tmp_path):
    x, y, moves = np.arange(48), np.arange(32)[:, None], np.arange(12)[:, None, None]
    woven = 0.5 + 0.4 * np.sin((x + y + 0.5 * moves + 0.25 * (y % 2)) / 2)
    for index, frame in enumerate(woven):
        Image.fromarray(np.rint(255 * frame).astype(np.uint8)).save(tmp_path / f"{index}.png")
    source = read_source(tmp_path, SuperresConfig(scale=2.0))
    assert source.measured is not None and len(source.files) == 24 and source.files[source.reference] == "0.png:top"
    assert any("each field is a frame of its own, 24 of half the rows" in line for line in source.describe())


def test_a_stack_gives_no_weight_to_what_was_not_measured():
    measured = torch.zeros(2, 4, 3)
    measured[0, ::2] = measured[1, 1::2] = 1
    stack = FrameStack(torch.rand(2, 4, 3), torch.ones(2, 4, 3), measured)
    weighed = stack.with_frame_weights(torch.tensor([1.0, 0.0]))
    assert weighed.weights[0].tolist() == measured[0].tolist() and not weighed.weights[1].any()
    assert weighed.with_frame_weights(torch.ones(2)).weights.tolist() == measured.tolist()
    part = stack.window(1, 0, 2, 2)
    assert part.measured is not None and part.measured[0, :, 0].tolist() == [0, 1]
    known = stack.where_measured(torch.ones(2, 4, 3, dtype=torch.bool))
    assert known.float().tolist() == measured.tolist()
