"""Large frames: registered by a window first, then all over, where the window alone would be extrapolated."""

import math

import numpy as np
import pytest
import torch
from lowres_scenes import measured, rms

from nerfkit.scenes.fields.grid import Grid
from nerfkit.superresolution import alignment
from nerfkit.superresolution.alignment import Alignment
from nerfkit.superresolution.settings import SuperresSettings

HEIGHT, WIDTH, CELLS, MARGIN, WINDOW = 60, 80, 4, 6, 32


@pytest.fixture(autouse=True)
def small_window(monkeypatch):
    """A window of 32 x 32: what is large is smaller."""
    monkeypatch.setattr(alignment, "WINDOW", WINDOW)


def drawn(matrices, seed=0, noise=0.005):
    """Frames of a patchwork of smooth greys, as means of bilinear samples, and their view."""
    generator = torch.Generator().manual_seed(seed)
    grid = Grid(HEIGHT, WIDTH, CELLS, MARGIN)
    rows, cols = (size // 6 for size in grid.shape)
    greys = torch.rand(1, 1, rows, cols, generator=generator)
    fine = torch.nn.functional.interpolate(greys, grid.shape, mode="bicubic")[0, 0]
    stack, view = measured(torch.zeros(len(matrices), HEIGHT, WIDTH), matrices)
    values = view.sample(grid, fine)[0].values
    return stack.with_values(values + noise * torch.randn(values.shape, generator=generator)), view


def turned(n, degrees=0.5, seed=0):
    """Matrices [n, 3, 3] of frames turned about their middle and moved by up to a pixel."""
    rng = np.random.default_rng(seed)
    middle = np.array([WIDTH, HEIGHT]) / 2
    matrices = np.tile(np.eye(3), (n, 1, 1))
    for matrix in matrices[1:]:
        angle = math.radians(rng.uniform(-degrees, degrees))
        matrix[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        matrix[:2, 2] = middle - matrix[:2, :2] @ middle + rng.uniform(-1, 1, 2)
    return matrices


def registered(frames, **known):
    said = []
    found = Alignment(
        np.asarray(frames), SuperresSettings(scale=2, frame_size=(WIDTH, HEIGHT), **known), say=said.append
    )
    found.register()
    return found, said


def places(view):
    """Where frames look, [n, h, w] of x and of y."""
    return torch.stack(view.motion.looks_at((WIDTH, HEIGHT)))[:, 1:]


@pytest.mark.parametrize("register", ["auto", "affine"])
def test_turned_frames_agree_all_over_the_frame(register):
    stack, true = drawn(turned(n=5, degrees=1.0))
    found, said = registered(stack.values, register=register)
    assert "registering: over the whole of the frames" in said and not found.has_one_window
    assert found.view.motion.model == "affine" and rms(places(found.view), places(true)) < 0.03
    np.testing.assert_array_equal(found.view.motion.matrices[0].numpy(), np.eye(3))


def test_shifts_stay_shifts():
    stack, true = drawn(turned(n=5, degrees=0.0))
    found, said = registered(stack.values)
    assert found.view.motion.model == "shift" and rms(found.view.motion.shifts, true.motion.shifts) < 0.01
    assert float(found.weights.min()) == 1 and not any("explain" in line for line in said)


def test_a_frame_of_something_else_is_left_out_and_does_not_move_the_others():
    stack, true = drawn(turned(n=7, degrees=0.0))
    frames = stack.values.numpy().copy()
    frames[5] = 1 - frames[5]
    found, _ = registered(frames)
    assert torch.nonzero(found.weights == 0).flatten().tolist() == [5]
    good = torch.tensor([1, 2, 3, 4, 6])
    assert rms(found.view.motion.shifts[good], true.motion.shifts[good]) < 0.02


def test_the_window_is_where_most_is_to_be_seen():
    frame = torch.full((HEIGHT, WIDTH), 0.5)
    frame[20:50, 44:76] = torch.rand(30, 32, generator=torch.Generator().manual_seed(0))
    top, left, height, width = alignment._busiest_window(frame)
    assert (height, width) == (WINDOW, WINDOW) and abs(top - 20) <= 4 and abs(left - 44) <= 4
    assert alignment._busiest_window(frame[:20, :20]) == (0, 0, 20, 20)
