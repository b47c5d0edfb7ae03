"""Large frames: parts that overlap give the image of the whole, and blocks of networks hold it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from lowres_scenes import make_frames, motion_of, rms, run, write, write_csv

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.fitting import FitResult
from nerfkit.heldout import Trial
from nerfkit.limits import Limit
from nerfkit.metrics import MetricsLog
from nerfkit.scenes.fields.siren import SirenConfig
from nerfkit.scenes.fields.tiled_siren import TiledSiren
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.transfer import Transfer
from nerfkit.solvers.grid import Prior
from nerfkit.superresolution import alignment, network_fit, settings, solving
from nerfkit.superresolution.alignment import Alignment
from nerfkit.superresolution.network_fit import fit_networks
from nerfkit.superresolution.registration import still_pixels
from nerfkit.superresolution.rendering import render_image
from nerfkit.superresolution.settings import SuperresSettings
from nerfkit.superresolution.solving import Chosen, solve_everywhere
from nerfkit.superresolution.tiles import Cut, look_into, make_tiles


def small_parts(monkeypatch, side):
    """Cut frames into parts of ``side`` low-res pixels."""

    def plan(scale, frame_size):
        return replace(settings.plan_grids(scale, frame_size), side=side)

    monkeypatch.setattr(alignment, "plan_grids", plan)
    monkeypatch.setattr(network_fit, "WINDOW", side)


@pytest.mark.parametrize("size", [(50, 40), (200, 129), (16, 16), (17, 300)])
def test_shares_of_all_parts_sum_to_one(size):
    total = torch.zeros(size[0] * 4, size[1] * 4)
    for tile in make_tiles(size[0], size[1], 32):
        assert max(tile.shape) <= 32 + 16
        tile.blend(total, torch.ones(tile.shape[0] * 4, tile.shape[1] * 4), 4)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize(("is_turned", "is_displaced"), [(False, False), (True, False), (True, True)])
def test_pixels_of_a_part_look_where_they_did(is_turned, is_displaced):
    h, w = 60, 70
    turn = torch.tensor([[1.0, -0.02, 3], [0.02, 1, -2], [0, 0, 1]], dtype=torch.float64)
    turned = torch.stack([torch.eye(3, dtype=torch.float64), turn])
    motion = Motion.of_matrices(turned) if is_turned else motion_of([[0.0, 0.0], [7.3, -4.6]])
    if is_displaced:
        motion = motion.displaced(torch.randn(2, h, w, 2, generator=torch.Generator().manual_seed(0)))
    # each pixel says where it looks
    where = torch.stack(motion.looks_at((w, h)), -1).float().numpy()
    tile = make_tiles(h, w, 30)[3]
    seen, part, is_inside = look_into(where, motion, tile)
    x, y = part.looks_at((tile.shape[1], tile.shape[0]))
    assert is_inside.float().mean() > 0.7
    np.testing.assert_allclose((seen[..., 0] - tile.cols.first)[is_inside], x[is_inside], atol=1e-4)
    np.testing.assert_allclose((seen[..., 1] - tile.rows.first)[is_inside], y[is_inside], atol=1e-4)
    # what is added to where it was taken from is there
    cut = Cut.of_frames(motion, tile, (w, h))
    back = np.zeros_like(where)
    cut.add(back, seen)
    assert is_inside.any() and set(np.unique((back - where)[back.any(-1)])) == {0}
    assert int(back.any(-1).sum()) == int(is_inside.sum())
    # the part is seen by every frame, however far that is away
    assert float((x.mean((1, 2)) - tile.shape[1] / 2).abs().max()) < 1
    # what lies beyond a frame is known to
    beyond = look_into(where, motion, make_tiles(h, w, 30)[0])[2]
    assert not bool(beyond[0, :2].any()) and bool(beyond[0, 2:, 2:].all())


def aligned_and_chosen(frames, shifts, prior, cells=8, side=128, limit=None):
    """What a search might have found, for frames of which those without contrast are outliers."""
    config = SuperresSettings(scale=2, exact_shifts=True, bit_depth=32)
    aligned = Alignment(frames, config, motion=motion_of(shifts), limit=limit)
    aligned.plan = replace(aligned.plan, side=side)
    aligned.weights = torch.tensor([float(frame.std() > 1e-3) for frame in frames])
    trial = Trial(prior, torch.zeros(1, 1), torch.empty(0))
    pixels = still_pixels(aligned.stack, aligned.view, alignment.COARSE_CELLS).weights
    return aligned, Chosen(trial, cells, [prior], pixels)


@pytest.mark.parametrize(("seconds", "n_softened"), [(1e6, 1), (-1.0, 0)])
def test_two_values_are_averaged_only_if_there_is_time_for_a_second_descent(monkeypatch, seconds, n_softened):
    softened, average = [], solving._softened
    monkeypatch.setattr(solving, "_softened", lambda image, pixels: softened.append(pixels) or average(image, pixels))
    frames, shifts, _ = make_frames(6, side=16)
    prior = Prior(0.5, 0.01, (0.15, 0.9), contrast=10.0)
    aligned, chosen = aligned_and_chosen(frames, shifts, prior, 16, limit=Limit(seconds))
    solve_everywhere(aligned, chosen, 0.0)
    assert [pixels.cells for pixels in softened] == [aligned.plan.output] * n_softened


def test_parts_give_the_image_of_the_whole():
    # too few frames to tell what moves: at the border the part that a pixel is in would decide that
    frames, shifts, _ = make_frames(5, side=48)
    # farther than a part reaches
    frames[3], shifts[3] = 0.9, (30.0, 0.0)
    aligned, chosen = aligned_and_chosen(frames, shifts, Prior(0.5, 0.01))
    plan = aligned.plan
    whole, bounds, fractions = solve_everywhere(aligned, chosen, 0.0)
    parts: list[tuple[int, int]] = []
    aligned.plan = replace(plan, side=24)
    tiled, other_bounds, other_fractions = solve_everywhere(aligned, chosen, 0.0, lambda *done: parts.append(done))
    assert parts == [(1, 4), (2, 4), (3, 4), (4, 4)] and tiled.shape == whole.shape == (1, 96, 96)
    difference = (tiled - whole)[0]
    # steps are finite: solutions differ a little anywhere, and no more where the parts meet
    inside = float(difference[8:-8, 8:-8].square().mean().sqrt())
    assert inside < 0.003
    assert float(difference[46:50, 8:-8].square().mean().sqrt()) < max(1.5 * inside, 0.0015)
    # the frame's border is seen by few pixels
    assert float(difference.square().mean().sqrt()) < 0.005
    torch.testing.assert_close(bounds, other_bounds, atol=0.02, rtol=0)
    torch.testing.assert_close(other_fractions, fractions, atol=1e-5, rtol=0)


def test_a_part_that_the_window_does_not_speak_for_has_a_prior_of_its_own(monkeypatch):
    frames, shifts, _ = make_frames(12, noise=0.01, side=40)
    y, x = np.mgrid[:40, :40] / 40
    noise = np.random.default_rng(0).normal(0, 0.01, frames.shape)
    smooth = (0.5 + 0.4 * np.sin(7 * x) * np.cos(5 * y) + noise).astype(np.float32)
    ours = Prior(0.3, 0.01, (0.15, 0.9), contrast=2.0)
    used: list[Chosen] = []

    def note(solver, *_):
        used.append(solver.chosen)
        return torch.zeros(solver.part.view.grid(max(solver.plan.final, solver.chosen.cells)).shape)

    monkeypatch.setattr(solving._PartSolver, "_solve_channel", note)
    for seen, where in ((frames, shifts), (smooth, np.zeros_like(shifts))):
        solve_everywhere(*aligned_and_chosen(seen, where, ours, 16, side=24), 0.0)
    # the search's where that predicts better, and none of its range where values lie beyond or between
    assert len(used) == 8 and any(chosen.trial.setting.bounds == (0.15, 0.9) for chosen in used[:4])
    assert all(chosen.trial.setting.contrast == 0 and chosen.cells == 8 for chosen in used[4:])
    assert all(chosen.priors[0] == chosen.trial.setting for chosen in used)


def test_blocks_of_networks_hold_the_image_without_seams(tmp_path, monkeypatch):
    monkeypatch.setattr(network_fit, "WINDOW", 12)
    y, x = np.mgrid[: 20 * 8, : 24 * 8] / 8
    image = torch.from_numpy(0.5 + 0.3 * np.sin(x) * np.cos(0.7 * y)).float()[None]
    network = TiledSiren(SirenConfig(), (24.0, 20.0), torch.tensor([[0.0, 1.0]]), torch.Generator().manual_seed(0))
    folder, metrics = CheckpointFolder(tmp_path / "c"), MetricsLog(tmp_path / "m.jsonl")
    blocks: list[tuple[int, int]] = []
    done = fit_networks(
        network, image, "tiled", 1000, folder, metrics, lambda *done: blocks.append(done), n_steps=200
    )  # fmt: skip
    metrics.close()
    assert (done.steps, done.is_complete, done.is_cut) == (800, True, False) and blocks == [
        (1, 4),
        (2, 4),
        (3, 4),
        (4, 4),
    ]
    assert len((tmp_path / "m.jsonl").read_text().splitlines()) == 4
    shown = render_image(network, Transfer("linear", 1), (192, 160), 8)
    errors = np.abs(shown - image[0].numpy())
    assert np.sqrt(np.mean(errors**2)) < 0.01 and errors.max() < 0.06
    # the seam of the blocks lies on a border of squares, 11 low-res pixels from the left
    assert np.sqrt(np.mean(errors[:, 84:92] ** 2)) < 0.012
    saved = folder.load_newest()["task"]["field"]
    other = TiledSiren(SirenConfig(), (24.0, 20.0), torch.tensor([[0.0, 1.0]]), torch.Generator())
    other.load_state_dict(saved)
    np.testing.assert_array_equal(render_image(other, Transfer("linear", 1), (192, 160), 8), shown)


@pytest.mark.parametrize("window", [12, 99], ids=["blocks", "together"])
def test_networks_depend_on_the_limit_only_where_it_cuts_them(tmp_path, monkeypatch, window):
    monkeypatch.setattr(network_fit, "WINDOW", window)
    image = torch.rand(1, 40, 48, generator=torch.Generator().manual_seed(0))

    def fitted(seconds, n_steps):
        network = TiledSiren(
            SirenConfig(8), (24.0, 20.0), torch.tensor([[0.0, 1.0]]), torch.Generator().manual_seed(0)
        )  # fmt: skip
        folder, metrics = CheckpointFolder(tmp_path / "c"), MetricsLog(tmp_path / "m.jsonl")
        done = fit_networks(network, image, "tiled", seconds, folder, metrics, n_steps=n_steps)
        metrics.close()
        return done, network.state_dict()

    (a, first), (b, second) = fitted(300, 10), fitted(3000, 10)
    assert a == b and not a.is_cut
    assert all(torch.equal(first[name], second[name]) for name in first)
    cut, _ = fitted(0.0, 10**6)
    assert cut.is_cut and cut.is_complete and not cut.is_interrupted


def test_a_part_of_the_networks_is_the_same_image():
    network = TiledSiren(SirenConfig(), (33.0, 27.5), torch.tensor([[0.0, 1.0]]), torch.Generator().manual_seed(0))
    part = network.part(range(1, 4), range(2, 5))
    ys, xs = torch.arange(8) + 7.0, torch.arange(10) + 12.5
    whole, alone = (
        network.evaluate_lattice(network.lattice(ys, xs)),
        part.evaluate_lattice(part.lattice(ys - 5.5, xs - 11.0)),
    )
    torch.testing.assert_close(alone, whole)
    with torch.no_grad():
        for weight in part.parameters():
            weight += 0.1
    network.take(part, range(1, 4), range(2, 5))
    torch.testing.assert_close(
        network.evaluate_lattice(network.lattice(ys, xs)), part.evaluate_lattice(part.lattice(ys - 5.5, xs - 11.0))
    )


def test_large_frames_by_the_command(tmp_path, capsys, monkeypatch):
    frames, shifts, truth = make_frames(6, side=24)
    small_parts(monkeypatch, 16)
    folder, listed = write(tmp_path / "f", frames, 16), write_csv(tmp_path / "s.csv", shifts)
    code, result = run(
        capsys, "superres", folder, "-o", tmp_path / "a.png", "--scale", 2, "--shifts", listed, "--exact-shifts",
        "--seconds", 300, "--psf-width", 1, "--set", "width=16",
    )  # fmt: skip
    assert code == 0 and result["steps"] > 4
    code, _ = run(capsys, "render", tmp_path / "a", "--out", tmp_path / "b.png")
    assert code == 0 and (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    from nerfkit.scenes.readers.frames import read_frames

    assert rms(read_frames(tmp_path / "a.png").images[0][4:-4, 4:-4], truth[4:-4, 4:-4]) < 0.12
    assert json.loads((tmp_path / "a" / "diagnosis.json").read_text())["residuals"]["white"] > 0


def test_interrupted_blocks_are_no_run(tmp_path, monkeypatch):
    monkeypatch.setattr(network_fit, "WINDOW", 12)
    network = TiledSiren(SirenConfig(), (24.0, 20.0), torch.tensor([[0.0, 1.0]]), torch.Generator().manual_seed(0))

    monkeypatch.setattr(network_fit, "fit", lambda *_, **__: FitResult(1, 0.1, True))
    folder, metrics = CheckpointFolder(tmp_path / "c"), MetricsLog(tmp_path / "m.jsonl")
    done = fit_networks(network, torch.rand(1, 160, 192), "tiled", 1, folder, metrics)
    metrics.close()
    assert done.is_interrupted and not done.is_complete and not folder.steps()


def test_plan_of_large_frames():
    plan = settings.plan_grids(4, (1000, 1000))
    assert (plan.final, plan.contrast, plan.output, plan.side) == (8, 16, 4, 128)
    assert settings.plan_grids(4, (500, 500)).output == 4
