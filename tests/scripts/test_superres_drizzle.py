"""Drizzle, which nerfkit is compared with: pixels land where the frames look, gaps are filled, weights count."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from lowres_scenes import measured

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def drizzle():
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield importlib.import_module("superres_drizzle")
    finally:
        sys.path.remove(str(SCRIPTS))


def frames_at(*shifts, values=None):
    values = torch.rand(len(shifts), 6, 8, generator=torch.Generator().manual_seed(0)) if values is None else values
    return measured(values, shifts)


def test_quarters_of_a_pixel_fill_the_output_with_the_frames_own_values(drizzle):
    stack, view = frames_at((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))
    image = drizzle.shift_and_add(stack, view, (16, 12))
    for index, (row, col) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        torch.testing.assert_close(image[row::2, col::2], stack.values[index])


def test_gaps_are_filled_from_the_reference_and_weights_count(drizzle):
    stack, view = frames_at((0.0, 0.0), (0.0, 0.0))
    assert drizzle.shift_and_add(stack, view, (32, 24)).isfinite().all()
    weights = torch.tensor([1.0, 3.0])[:, None, None].expand_as(stack.values)
    image = drizzle.shift_and_add(stack.with_weights(weights), view, (8, 6))
    torch.testing.assert_close(image, (stack.values[0] + 3 * stack.values[1]) / 4)


def test_turned_frames_land_where_their_matrices_say(drizzle):
    # a half turn about the middle of the frame
    turn = torch.tensor([[[-1.0, 0, 8], [0, -1, 6], [0, 0, 1]]], dtype=torch.float64)
    stack, view = measured(frames_at((0.0, 0.0))[0].values, turn)
    torch.testing.assert_close(drizzle.shift_and_add(stack, view, (8, 6)), stack.values[0].flip(0, 1))


def test_frames_are_laid_down_in_chunks(drizzle, monkeypatch):
    stack, view = measured(torch.rand(5, 6, 8), torch.rand(5, 2))
    whole = drizzle.shift_and_add(stack, view, (16, 12))
    monkeypatch.setattr(drizzle, "CHUNK", 50)
    torch.testing.assert_close(drizzle.shift_and_add(stack, view, (16, 12)), whole)
