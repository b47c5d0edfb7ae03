"""Pixels that look elsewhere than one motion of the whole frame says: splines, steps, optical flow, and the whole."""

import numpy as np
import torch
from lowres_scenes import make_frames, run, two_planes
from PIL import Image

from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.superresolution.displacement import displacement_step, splines
from nerfkit.superresolution.flow import displaced_by_flow

N, SIDE = 20, 40


def test_splines_hold_planes():
    for n in (5, 12, 40):
        values = splines(n).double()
        torch.testing.assert_close(values.sum(1), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-6)
        # a sum of them is any straight line
        fitted = values @ torch.linalg.lstsq(values, torch.arange(n).double()[:, None]).solution
        torch.testing.assert_close(fitted[:, 0], torch.arange(n).double(), rtol=0, atol=1e-4)


def test_a_step_finds_a_smooth_displacement_of_what_has_texture():
    cells, side = 4, 30
    g = torch.Generator().manual_seed(0)
    grid = Grid(side, side, cells, 2)
    image = torch.nn.functional.avg_pool2d(torch.rand(1, 1, *(n + 8 for n in grid.shape), generator=g), 9, 1)[0, 0] * 5
    y, _ = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    true = torch.stack([0.3 * torch.sin(y / 10), torch.zeros(side, side)], -1)[None]
    still = Motion.of_shifts(torch.zeros(1, 2))
    measured = LowresView(still.displaced(true), (side, side)).sample(grid, image)[0].values
    moves = torch.zeros(1, side, side, 2)
    for _ in range(4):
        samples, is_known = LowresView(still.displaced(moves), (side, side)).sample(grid, image)
        moves = displacement_step(measured, samples, is_known.float(), moves, cells)
    assert float((moves - true).square().mean().sqrt()) < 0.25 * float(true.square().mean().sqrt())
    # where nothing is told, nothing moves
    assert torch.equal(displacement_step(measured, samples, torch.zeros_like(measured), 0 * moves, cells), 0 * moves)


def test_flow_tells_two_planes_apart():
    frames, drift, _ = two_planes()
    motion = displaced_by_flow(frames, Motion.of_shifts(torch.zeros(N, 2)), 0)
    assert motion.displacement is not None and not motion.displacement[0].any()
    moves, half = motion.displacement, SIDE // 2
    upper, lower = (part.flatten(1, 2).median(1).values for part in (moves[:, 3 : half - 3], moves[:, half + 3 : -3]))
    parallax = lower - upper
    np.testing.assert_allclose(parallax[:, 0], drift, atol=0.4)
    np.testing.assert_allclose(parallax[:, 1], 0, atol=0.4)


def superresolved(tmp_path, capsys, frames, *options):
    np.savez(tmp_path / "f.npz", frames=frames)
    code, result = run(
        capsys, "superres", tmp_path / "f.npz", "-o", tmp_path / "a.png", "--scale", 2, "--psf-width", 1, "--seconds",
        300, "--set", "width=8", "--reference", "0", "--overwrite", *options,
    )  # fmt: skip
    assert code == 0
    return result, np.asarray(Image.open(tmp_path / "a.png"), float) / 65535


def test_a_scene_of_two_planes_is_sharp(tmp_path, capsys):
    frames, _, truth = two_planes()
    errors = []
    for options in ((), ("--register", "affine")):
        result, picture = superresolved(tmp_path, capsys, frames, *options)
        assert (result["displacement"] > 0.25) == (not options)
        inner = np.s_[4:-4, 4:-4]
        errors.append(np.sqrt(np.mean((picture[inner] - truth[inner]) ** 2)))
    assert errors[0] < 0.7 * errors[1]


def test_frames_that_shift_are_not_displaced(tmp_path, capsys):
    frames, _, _ = make_frames(N)
    result, _ = superresolved(tmp_path, capsys, frames.astype(np.float32))
    assert result["displacement"] == 0 and result["register"] == "shift"


def test_parts_of_displaced_frames_look_where_they_did():
    moves = torch.randn(3, 12, 10, 2, generator=torch.Generator().manual_seed(0))
    view = LowresView(Motion.of_shifts(torch.zeros(3, 2)).displaced(moves), (10, 12))
    part = view.window(4, 2, 5, 6)
    for whole, cut, corner in zip(view.motion.looks_at((10, 12)), part.motion.looks_at((6, 5)), (2, 4), strict=True):
        torch.testing.assert_close(cut, whole[:, 4:9, 2:8] - corner)


def test_displaced_frames_have_an_exact_adjoint():
    g = torch.Generator().manual_seed(0)
    moves = torch.randn(3, 12, 10, 2, generator=g)
    view = LowresView(Motion.of_shifts(torch.rand(3, 2, generator=g)).displaced(moves), (10, 12))
    grid = view.grid(3)
    image, values = torch.randn(grid.shape, generator=g), torch.randn(3, 12, 10, generator=g)
    samples, is_known = view.sample(grid, image)
    values = values * is_known
    laid_back = view.adjoint(values, grid).double()
    left, right = (samples.values.double() * values).sum(), (image.double() * laid_back).sum()
    assert abs(float(left - right)) < 1e-6 * float(image.norm() * laid_back.norm())
