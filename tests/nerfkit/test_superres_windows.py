"""Large frames are registered by several windows over them, which agree where one alone would be extrapolated."""

import math

import numpy as np
import pytest
import torch
from lowres_scenes import make_frames, rms

from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames, Psf
from nerfkit.superres import alignment, windows
from nerfkit.superres.alignment import Alignment
from nerfkit.superres.grid_solve import Deadline
from nerfkit.superres.reconstruct import reconstruct
from nerfkit.superres.settings import SuperresSettings
from nerfkit.superres.windows import Seen, choose_windows, fit_motion, register_by_windows, windows_for

UNHURRIED = Deadline.after(1e6)
HEIGHT, WIDTH, CELLS, MARGIN = 130, 170, 4, 6


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of 40 x 40, the busiest of 64 x 64: what is large is smaller, and seconds are fewer."""
    monkeypatch.setattr(windows, "SIDE", 40)
    monkeypatch.setattr(windows, "STEP", 5)
    monkeypatch.setattr(windows, "PASSES", 1)
    monkeypatch.setattr(alignment, "WINDOW", 64)
    monkeypatch.setattr(alignment, "FROM_SCRATCH", ((6, 20), (2, 20)))


def drawn(matrices, seed=0, noise=0.005):
    """Frames of a patchwork of smooth greys, as means of bilinear samples."""
    generator = torch.Generator().manual_seed(seed)
    grid = Grid(HEIGHT, WIDTH, CELLS, MARGIN)
    rows, cols = (size // 10 for size in grid.shape)
    greys = torch.rand(1, 1, rows, cols, generator=generator)
    fine = torch.nn.functional.interpolate(greys, grid.shape, mode="bicubic")[0, 0]
    empty, still = torch.zeros(len(matrices), HEIGHT, WIDTH), torch.zeros(len(matrices), 2, dtype=torch.float64)
    lowres = LowresFrames(empty, still, Psf(), torch.from_numpy(matrices))
    values = lowres.predict(grid, fine)[0].values
    return lowres.with_values(values + noise * torch.randn(values.shape, generator=generator))


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


def registered(frames, settings, deadline, say=lambda line: None):
    aligned = Alignment(frames, settings, deadline, say=say)
    aligned.register()
    return aligned


def places(frames):
    """Where frames but the first look, on a lattice [n, 2, m]."""
    x, y = np.meshgrid(np.arange(5, WIDTH, 10.0), np.arange(5, HEIGHT, 10.0))
    there = frames.matrices().numpy()[1:] @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    return there[:, :2] / there[:, 2:]


def extrapolated(frames, seed=1):
    """The same frames with errors of a registration in the first 60 x 60 pixels: right only there."""
    rng = np.random.default_rng(seed)
    errors = np.tile(np.eye(3), (len(frames), 1, 1))
    errors[1:, :2, :2] += rng.normal(0, 3e-3, (len(frames) - 1, 2, 2))
    errors[1:, :2, 2] -= (errors[1:, :2, :2] - np.eye(2)).sum(2) * 30
    return frames.moved(frames.shifts, torch.from_numpy(errors) @ frames.transforms)


def test_windows_are_spread_and_leave_out_what_is_plain():
    frame = torch.rand(300, 500, generator=torch.Generator().manual_seed(0))
    corners = choose_windows(frame, (10, 20))
    assert len(corners) == 9 and len({(top // 94, left // 154) for top, left in corners}) >= 8
    assert all(10 <= top <= 300 - 74 and 20 <= left <= 500 - 84 for top, left in corners)
    frame[:, 250:] = 0.5
    assert all(left < 250 for _, left in choose_windows(frame, (0, 0)))
    # stripes leave a shift along them open
    frame[:150, :250] = (torch.arange(250) % 9) / 9
    assert all(top + 64 > 150 for top, _ in choose_windows(frame, (0, 0)))
    assert choose_windows(frame[:150, :250], (0, 0)) == []
    assert len(choose_windows(torch.rand(20, 300), (9, 9))) == 3


def test_turned_frames_agree_all_over_the_frame(small_windows):
    matrices = turned(n=5)
    true = drawn(matrices)
    start = extrapolated(true)
    said = []
    corners = windows_for(start, "affine", 0)
    found, motion, votes = register_by_windows(start, corners, torch.ones(5), "affine", 0, UNHURRIED, said.append)
    assert motion == "affine" and votes.shape == (9, 5) and float(votes.mean(0).min()) > 0.5
    before, after = (rms(places(frames), places(true)) for frames in (start, found))
    assert before > 0.1 and after < 0.02
    np.testing.assert_array_equal(found.matrices()[0].numpy(), np.eye(3))
    assert len(said) == 2 and "9 windows were 0." in said[1]


def seen_by(motion, n_frames=4, noise=0.01, seed=0):
    """What nine windows would see of random steps of a motion, and the steps."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(n_frames, windows.N_PARAMETERS[motion], generator=generator, dtype=torch.float64)
    steps[0] = 0
    centres = torch.tensor([(x, y) for x in (40.0, 150.0, 260.0) for y in (50.0, 100.0, 150.0)], dtype=torch.float64)
    basis = windows._basis(centres, (300, 200))[..., : steps.shape[1]]
    moves = torch.einsum("wip,fp->wfi", basis, steps)
    moves = moves + noise * torch.randn(moves.shape, generator=generator, dtype=torch.float64)
    moves[:, 0] = 0
    information = (torch.eye(2, dtype=torch.float64) / 0.01**2).expand(n_frames, 2, 2)
    ones = torch.ones(n_frames)
    return [Seen((float(x), float(y)), m, information, ones) for (x, y), m in zip(centres, moves, strict=True)], steps


@pytest.mark.parametrize("motion", ["shift", "affine", "homography"])
@pytest.mark.parametrize("window", [0, 4])
def test_a_window_in_which_something_moves_does_not_count(motion, window):
    seen, steps = seen_by(motion)
    seen[window].moves[1:] += torch.tensor([1.5, -0.8])
    found, left = fit_motion(seen, motion, (300, 200))
    assert rms(found, steps) < 0.03
    torch.testing.assert_close(left[window, 1:].mean(0), torch.tensor([1.5, -0.8]).double(), atol=0.05, rtol=0)


def test_a_richer_motion_is_advised_where_it_is_needed_and_only_there():
    size = (300, 200)

    def advice(seen, motion):
        left = fit_motion(seen, motion, size)[1]
        return windows._advice(seen, motion, windows.misfit(seen, left, windows.N_PARAMETERS[motion]), size)

    assert advice(seen_by("shift")[0], "shift") is None and advice(seen_by("affine")[0], "affine") is None
    assert advice(seen_by("homography")[0], "homography") is None
    assert "--register affine would leave 0.01" in (advice(seen_by("affine")[0], "shift") or "")
    assert "affine maps leave" in (advice(seen_by("homography")[0], "affine") or "")
    assert "--register homography would leave 0.01" in (advice(seen_by("homography")[0], "shift") or "")
    # what no motion of a plane explains
    seen = seen_by("shift", noise=0.3)[0]
    assert advice(seen, "shift") is None


@pytest.mark.parametrize("kind", ["shift", "auto"])
def test_large_frames_by_shifts_and_what_is_said_of_turned_ones(small_windows, kind):
    settings = SuperresSettings(scale=2, frame_size=(WIDTH, HEIGHT), register=kind)
    moved = turned(n=5, degrees=0.0)
    true, said = drawn(moved), []
    found = registered(true.frames.numpy(), settings, UNHURRIED, say=said.append)
    assert found.motion == "shift" and rms(found.frames.shifts, moved[:, :2, 2]) < 0.01
    assert float(found.weights.min()) == 1
    assert not any("--register" in line or "explain" in line for line in said)
    true = drawn(turned(n=5))
    found = registered(true.frames.numpy(), settings, UNHURRIED, say=said.append)
    if kind == "shift":
        assert found.motion == "shift" and any("--register affine would leave" in line for line in said)
    else:
        assert found.motion == "affine" and rms(places(found.frames), places(true)) < 0.03


def test_windows_show_a_motion_that_one_window_does_not(small_windows):
    # a turn of which a window sees a hundredth of a pixel
    true = drawn(turned(n=5, degrees=0.1))
    start, said = true.moved(true.matrices()[:, :2, 2], torch.eye(3, dtype=torch.float64).expand(5, 3, 3)), []
    corners = windows_for(start, "shift", 0)
    arguments = start, corners, torch.ones(5), "shift", 0, UNHURRIED, said.append
    assert register_by_windows(*arguments)[1] == "shift"
    found, motion, _ = register_by_windows(*arguments, may_be_richer=True)
    assert motion == "affine" and rms(places(found), places(true)) < 0.02
    assert sum("affine maps explain the frames all over, shifts do not" in line for line in said) == 1


def test_a_frame_that_something_covers_in_the_busiest_window_is_kept(small_windows):
    moved = turned(n=7, degrees=0.0)
    true = drawn(moved)
    settings = SuperresSettings(scale=2, frame_size=(WIDTH, HEIGHT))
    _, (top, left) = alignment._busiest_window(true, 0)
    frames = true.frames.numpy().copy()
    frames[3, top + 8 : top + 56, left + 8 : left + 56] = 0.5
    frames[5] = 1 - frames[5]
    found = registered(frames, settings, UNHURRIED)
    assert torch.nonzero(found.weights == 0).flatten().tolist() == [5]
    assert rms(found.frames.shifts[[1, 2, 3, 4, 6]], moved[[1, 2, 3, 4, 6], :2, 2]) < 0.02


def test_windows_that_are_too_few_and_small_frames_leave_everything_as_it_was(small_windows, monkeypatch):
    def never(*_):
        raise AssertionError("looked at windows")

    monkeypatch.setattr(alignment, "register_by_windows", never)
    true = drawn(turned(n=3))
    assert len(windows_for(true, "affine", 0)) == 9
    assert windows_for(true.window(0, 0, 130, 44), "affine", 0) == []
    # a corner with something in it
    frames = true.frames.numpy().copy()
    frames[:, 50:] = frames[:, :, 60:] = 0.5
    found = registered(frames, SuperresSettings(register="affine", frame_size=(WIDTH, HEIGHT)), Deadline.after(1))
    assert found.frames.transforms is not None
    frames, shifts, _ = make_frames(4)
    state = reconstruct(frames, SuperresSettings(scale=2), Deadline.after(1))
    assert rms(state.shifts, shifts) < 0.3
