"""Super-resolution: the choice is right, solutions are near; the command from frames to picture, bad options named."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from lowres_scenes import FINE, MARGIN, SIDE, fine_scene, make_frames, means, measured, rms, run, write, write_csv
from PIL import Image

from nerfkit.cli import main
from nerfkit.heldout import Trial
from nerfkit.limits import Limit
from nerfkit.picture_files import png_bytes_of_depth
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.transfer import Transfer
from nerfkit.solvers.grid import Prior, busy_map, solve
from nerfkit.superresolution.priors import choose_contrast, choose_local, choose_prior
from nerfkit.superresolution.rendering import render_image
from nerfkit.superresolution.scoring import score
from nerfkit.superresolution.settings import plan_grids
from nerfkit.superresolution.solving import _softened
from nerfkit.superresolution.trials import SHARP_TRIAL_STEPS, Trials

# choice and solution


def solved(stack, view, grid, start, prior, n_steps, **known):
    equations = view.equations(grid, stack.values, stack.weights)
    return solve(equations, start, view.psf, grid, prior, n_steps, **known)


def test_solution_agrees_with_the_frames_and_beats_bicubic():
    frames, shifts, truth = make_frames()
    stack, view = measured(frames, shifts)
    grid = view.grid(4)
    image = solved(stack, view, grid, grid.enlarge(stack.values[0]), Prior(0.5, 0.006), 300, learning_rate=0.03)
    samples, _ = view.sample(grid, image)
    assert float((samples.values - stack.values).square().mean().sqrt()) < 0.01
    fine = torch.nn.functional.avg_pool2d(grid.crop(image)[None, None], 2)[0, 0].numpy()
    enlarged = torch.nn.functional.interpolate(stack.values[:1, None], scale_factor=2, mode="bicubic")[0, 0].numpy()
    assert (score(fine, truth, 2)["psnr"] or 0) > (score(enlarged, truth, 2)["psnr"] or 99) + 5


def trials_of(frames, shifts, cells=4, **known):
    stack, view = measured(frames, shifts)
    return Trials(stack, view, view.grid(cells), 0, **known)


def test_choice_finds_the_noise_and_a_range_that_the_scene_has():
    trials = trials_of(*make_frames(noise=0.01)[:2])
    fraction = float(trials.is_out.float().mean())
    assert fraction == pytest.approx(0.1, abs=0.02) and float(trials.fitted.weights[trials.is_out].max()) == 0
    found, percentiles = choose_prior(trials)
    assert 0.004 < found.setting.sigma < 0.02 and percentiles is not None
    assert found.setting.bounds is not None and found.setting.bounds[1] == pytest.approx(0.9, abs=0.03)
    assert found.mse < 4 * 0.01**2


def test_a_choice_without_time_is_its_first_prior_and_says_so():
    limit = Limit(-1)
    found, percentiles = choose_prior(trials_of(*make_frames(4, side=16)[:2], limit=limit))
    assert percentiles is None and found.setting.bounds is None and found.setting.tv_weight == 0.5
    assert limit.cut == ["trials of priors"]


def test_a_local_factor_is_a_factor_on_the_total_variation():
    stack, view = measured(*make_frames(4)[:2])
    grid, prior = view.grid(2), Prior(1.0, 0.02)
    start, twice = grid.enlarge(stack.values[0]), torch.full(grid.shape, 2.0)

    def image(prior, **known):
        return solved(stack, view, grid, start, prior, 5, **known)

    torch.testing.assert_close(image(prior, tv_map=twice), image(prior.scaled(2)))
    local = replace(prior, is_local=True)
    torch.testing.assert_close(image(local, tv_map=twice), image(local.scaled(2)))


def test_two_values_are_found_where_a_scene_has_them_and_only_there():
    frames, shifts, truth = make_frames(noise=0.01)

    def ranged_and_sharp(frames, shifts):
        trials = trials_of(frames, shifts)
        ranged = trials.attempt(Prior(0.5, 0.01, (0.1, 0.9)), trials.first(Prior(0.5, 0.01)))
        assert ranged is not None
        fine = trials.seen_by(trials.view, 8, SHARP_TRIAL_STEPS)
        assert torch.equal(fine.is_out, trials.is_out)
        return trials, ranged, fine, choose_contrast(fine, ranged, 2.0)

    trials, ranged, fine, found = ranged_and_sharp(frames, shifts)
    assert found.setting.contrast > 0 and found.image.shape == fine.grid.shape and found.mse < ranged.mse

    def error(trial, grid):
        pixels = torch.nn.functional.avg_pool2d(grid.crop(trial.image)[None, None], grid.cells // 2)[0, 0]
        return rms(pixels.numpy()[4:-4, 4:-4], truth[4:-4, 4:-4])

    assert error(found, fine.grid) < error(ranged, trials.grid)
    # a ramp has every value between its ends
    x = np.broadcast_to(np.linspace(0.1, 0.9, SIDE), (len(frames), SIDE, SIDE)).astype(np.float32)
    ramp = x + np.random.default_rng(0).normal(0, 0.01, x.shape).astype(np.float32)
    _, ranged, _, found = ranged_and_sharp(ramp, np.zeros_like(shifts))
    assert found is ranged


def test_an_anchor_holds_what_nothing_else_does():
    stack, view = measured(torch.full((1, 8, 8), 0.5), [[0.0, 0.0]])
    grid = view.grid(4)
    start, anchor = torch.full(grid.shape, 0.5), torch.full(grid.shape, 0.5)
    # no low-res pixel sees the difference of two neighbouring cells
    anchor[:, ::2], anchor[:, 1::2] = 0.6, 0.4
    prior = Prior(1e-4, 0.1)
    free = solved(stack, view, grid, start, prior, 100)
    held = solved(stack, view, grid, start, prior, 100, anchor=anchor)
    inner = slice(8, -8), slice(8, -8)
    assert (free - 0.5)[inner].abs().max() < 0.01
    assert (held - anchor)[inner].abs().max() < 0.05


def test_solutions_are_the_same_in_any_time_that_is_enough_and_hastened_in_less():
    stack, view = measured(*make_frames(4, side=16)[:2])
    grid, limit = view.grid(4), Limit(600)
    start = grid.enlarge(stack.values[0])
    one, other = (solved(stack, view, grid, start, Prior(0.5, 0.02), 20, seconds=s, limit=limit) for s in (600, 1e4))
    assert torch.equal(one, other) and limit.estimate(1) > 0
    # no time at all is one step
    hastened = solved(stack, view, grid, start, Prior(0.5, 0.02), 20, seconds=0.0)
    torch.testing.assert_close(hastened, solved(stack, view, grid, start, Prior(0.5, 0.02), 1))


def test_what_is_averaged_over_output_pixels_keeps_their_means():
    generator = torch.Generator().manual_seed(0)
    _, view = measured(torch.zeros(1, 6, 6), [[0.0, 0.0]])
    fine, pixels = view.grid(16), view.grid(4)
    image = (torch.rand(fine.shape, generator=generator) > 0.5).float()
    soft = _softened(image, pixels)
    averaged = torch.nn.functional.avg_pool2d(image[None], 4)[0]
    assert soft.shape == image.shape and float(soft.min()) >= 0 and float(soft.max()) <= 1
    assert rms(torch.nn.functional.avg_pool2d(soft[None], 4)[0], averaged) < 0.3 * float(averaged.std())
    assert soft.diff(dim=0).abs().max() < 0.5 < image.diff(dim=0).abs().max()


def test_two_values_are_nearer_to_the_scene_after_a_second_descent():
    stack, view = measured(*make_frames(8)[:2])
    truth = torch.from_numpy(means(fine_scene(), 0, 0, SIDE, FINE // 4))
    grid, prior = view.grid(16), Prior(0.3, 0.01, (0.15, 0.9), contrast=10.0)
    smooth = solved(stack, view, grid, grid.enlarge(stack.values[0]), replace(prior, contrast=0.0), 300)
    once = solved(stack, view, grid, smooth, prior, 100)

    def error(image):
        return rms(torch.nn.functional.avg_pool2d(grid.crop(image)[None], 4)[0][8:-8, 8:-8], truth[8:-8, 8:-8])

    soft = _softened(once, view.grid(4))
    again = solved(stack, view, grid, soft, prior, 150, anchor=soft)
    as_long = solved(stack, view, grid, once, prior, 150)
    assert error(again) < 0.985 * error(as_long)


def half_busy_frames():
    """Frames of a plain half and one of small squares of all values, and their shifts."""
    n, rng = (SIDE + 2 * MARGIN) * FINE, np.random.default_rng(0)
    fine = np.full((n, n), 0.5)
    squares = np.kron(rng.random((n // 6 + 1, n // 6 + 1)), np.ones((6, 6)))[:n, :n]
    fine[:, n // 2 :] = squares[:, n // 2 :]
    shifts = np.round(rng.uniform(-1, 1, (16, 2)) * FINE) / FINE
    frames = np.stack([means(fine, dx, dy, SIDE, FINE) for dx, dy in shifts])
    return (frames + rng.normal(0, 0.02, frames.shape)).astype(np.float32), shifts


def test_variation_weighs_less_where_it_is_busy_if_that_predicts_better():
    image = torch.full((64, 64), 0.5)
    image[:, 40:] += 0.4 * (torch.arange(24) % 4 < 2)
    factors = busy_map(image, 8)
    assert factors[:, :20].min() > 1.9 and factors[20:40, 50:60].max() < 1
    trials = trials_of(*half_busy_frames())
    free, _ = choose_prior(trials)
    found = choose_local(trials, free)
    assert found.setting.is_local and found.mse < 0.99 * free.mse
    # each starts from the image without a map, and so does what follows
    assert found.image is free.image
    beaten = Trial(free.setting, free.image, torch.zeros(1))
    assert choose_local(trials, beaten).setting == free.setting


def test_each_used_frame_is_held_out_whole_in_one_fold():
    _, view = measured(torch.rand(8, 9, 9), np.zeros((8, 2)))
    weights = torch.ones(8, 9, 9)
    weights[3] = 0
    weights[:, 0] = 0
    stack = FrameStack(torch.rand(8, 9, 9), weights)
    folds = [Trials(stack, view, view.grid(2), 0, fold=fold, n_folds=3) for fold in range(3)]
    together = torch.stack([trials.is_out for trials in folds]).sum(0)
    assert torch.equal(together, (weights > 0).long())
    # an error for each frame that was held out
    errors = [trials.first(Prior(0.5, 0.02), n_steps=2).squares for trials in folds]
    assert sorted(map(len, errors)) == [2, 2, 3]


def test_weights_of_a_prior_follow_the_cells():
    prior = Prior(0.8, 0.01, (0.0, 1.0), contrast=4.0, is_local=True)
    finer = prior.on_finer(2)
    # the energy's two parts: differences weigh half, values a quarter
    assert finer.tv_weight == 0.4 and finer.contrast * finer.tv_weight == prior.contrast * prior.tv_weight / 4
    assert finer.plain() == Prior(0.4, 0.01, (0.0, 1.0))


@pytest.mark.parametrize("scale", [2, 3, 4, 8, 2.5, 16])
def test_grids_are_whole_multiples_of_the_output(scale):
    plan = plan_grids(scale, (84, 84))
    assert plan.final % math.ceil(scale) == 0 and plan.final % plan.output == 0 and plan.trial >= 8


def test_output_that_memory_cannot_hold_is_refused():
    with pytest.raises(NerfkitError, match="megapixels"):
        plan_grids(16, (4000, 3000))


# pictures


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_png_holds_every_bit(tmp_path, bits, shape):
    image = np.random.default_rng(0).random(shape)
    payload = png_bytes_of_depth(image, bits, b"some profile")
    (tmp_path / "a.png").write_bytes(payload)
    from nerfkit.scenes.readers.frames import read_frames

    back = read_frames(tmp_path / "a.png")
    assert back.bit_depth == bits
    np.testing.assert_allclose(back.images[0], image, atol=0.51 / (2**bits - 1))
    assert Image.open(tmp_path / "a.png").info["icc_profile"] == b"some profile"
    with pytest.raises(ValueError, match="8 or 16"):
        png_bytes_of_depth(image, 12)


def test_any_size_is_the_same_image_averaged():
    from nerfkit.scenes.fields.siren import SirenConfig
    from nerfkit.scenes.fields.tiled_siren import TiledSiren

    field = TiledSiren(SirenConfig(), (12.0, 9.0), torch.tensor([[0.0, 1.0]]), torch.Generator().manual_seed(0))
    large = render_image(field, Transfer("linear", 1), (96, 72), 8)
    small = render_image(field, Transfer("linear", 1), (48, 36), 8)
    np.testing.assert_allclose(large.reshape(36, 2, 48, 2).mean((1, 3)), small, atol=1e-5)
    part = render_image(field, Transfer("linear", 1), (96, 72), 8, (10, 20, 30, 40))
    np.testing.assert_allclose(part, large[20:60, 10:40], atol=1e-5)


def test_score_leaves_two_low_res_pixels_out():
    truth = np.full((40, 40), 0.5, np.float32)
    image = truth.copy()
    image[:4] = 0
    found = score(image, truth, 2)
    assert found["psnr_interior"] is None and found["psnr"] == pytest.approx(-10 * math.log10(0.025), abs=1e-3)
    assert score(image[:10], truth[:10], 3)["ssim"] is None


# the command


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    root = tmp_path_factory.mktemp("superres")
    frames, shifts, truth = make_frames()
    folder = write(root / "frames", frames, 16)
    write_csv(root / "shifts.csv", shifts)
    (root / "truth.png").write_bytes(png_bytes_of_depth(truth, 16))
    return root, folder, shifts


def test_frames_to_picture_and_back_from_the_run(sequence, tmp_path, capsys):
    root, folder, _ = sequence
    out = tmp_path / "new" / "a.png"
    code, result = run(
        capsys, "superres", folder, "-o", out, "--scale", 2, "--shifts", root / "shifts.csv", "--exact-shifts",
        "--truth", root / "truth.png", "--seconds", 300, "--psf-width", 1,
    )  # fmt: skip
    assert code == 0
    wanted = {"output", "run", "size", "scale", "registered", "holdout_psnr", "psnr", "ssim", "psnr_interior"}
    assert wanted <= set(result)
    assert result["size"] == [48, 48] and len(result["registered"]) == 16
    assert set(result["registered"][0]) == {"file", "dx", "dy", "used"}
    metrics = json.loads((tmp_path / "new" / "a" / "metrics.json").read_text())["superres"]
    assert result["psnr_interior"] > metrics["bicubic"]["psnr_interior"] + 4
    picture = np.asarray(Image.open(out))
    assert picture.dtype.kind in "iu" and picture.max() > 255 and picture.shape == (48, 48)
    assert (
        (tmp_path / "new" / "a" / "registered.csv")
        .read_text()
        .startswith("file,dx,dy,used,residual,weight,gain,offset\nf0.png,")
    )
    assert (tmp_path / "new" / "a" / "report.html").is_file()
    diagnosis = json.loads((tmp_path / "new" / "a" / "diagnosis.json").read_text())
    assert 0.001 < diagnosis["residuals"]["median"] < 0.02 and diagnosis["uncertainty"]["white"] > 0
    assert set(diagnosis["spectra"]) == {"nerfkit", "bicubic", "aligned mean"}
    # the run renders its picture again, a part of it, and a larger one
    run_folder = tmp_path / "new" / "a"
    code, again = run(capsys, "render", run_folder, "--out", tmp_path / "again.png")
    assert code == 0 and again["size"] == [48, 48]
    assert np.abs(np.asarray(Image.open(tmp_path / "again.png")).astype(int) - picture).max() <= 1
    code, _ = run(capsys, "render", run_folder, "--size", "96x96", "--crop", "8,10,40,20", "--out", tmp_path / "c.png")
    assert code == 0 and Image.open(tmp_path / "c.png").size == (40, 20)
    for arguments, said in (
        (("--crop", "90,0,10,10", "--out", "x.png"), "not within"),
        (("--crop", "a"), "X,Y,WIDTH"),
        (("--out", "x.mp4"), "written as PNG"),
        (("--frames", "3"), "--frames cannot be used here: this run holds a super-resolved image"),
    ):
        code, failed = run(capsys, "render", run_folder, *arguments)
        assert code == 2 and said in failed["error"]["what"]
    if not torch.cuda.is_available():
        assert run(capsys, "render", run_folder, "--device", "cuda")[0] == 3
    # what is there is not replaced unasked
    code, failed = run(capsys, "superres", folder, "-o", out)
    assert code == 2 and "is there already" in failed["error"]["what"]
    # a damaged run is named
    (run_folder / "config.yml").write_text("task: superres\nscale: 2\n")
    code, failed = run(capsys, "render", run_folder, "--out", tmp_path / "d.png")
    assert code == 2 and "damaged" in failed["error"]["what"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A sequence that is soon solved, the options of a small network, and its result."""
    root = tmp_path_factory.mktemp("tiny")
    folder = write(root / "f", make_frames(5, side=12)[0])
    options = ["--scale", "2", "--psf-width", "1", "--set", "width=8", "--set", "n_layers=1", "--quiet"]
    assert main(["superres", str(folder), "-o", str(root / "a.png"), "--seconds", "300", *options]) == 0
    return root, folder, options


def test_the_same_command_gives_the_same_picture_however_busy_the_machine_is(tiny, tmp_path):
    root, folder, options = tiny
    wanted = (root / "a.png").read_bytes()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            assert main(["superres", str(folder), "-o", str(tmp_path / "b.png"), "--seconds", "400", *options]) == 0
        finally:
            busy.kill()
    assert (tmp_path / "b.png").read_bytes() == wanted
    metrics = [json.loads((path / "metrics.json").read_text())["superres"] for path in (root / "a", tmp_path / "b")]
    assert metrics[0]["holdout_psnr"] == metrics[1]["holdout_psnr"] and metrics[0]["cut"] == metrics[1]["cut"] == []
    assert (root / "a" / "registered.csv").read_text() == (tmp_path / "b" / "registered.csv").read_text()


def test_a_limit_that_is_met_is_said_and_still_gives_a_picture(sequence, tmp_path, capsys):
    _, folder, _ = sequence
    code, result = run(capsys, "superres", folder, "-o", tmp_path / "c.png", "--scale", 4, "--seconds", 1)
    assert code == 0 and result["cut"] and result["seconds"] < 30
    assert Image.open(tmp_path / "c.png").size == (96, 96)
    assert json.loads((tmp_path / "c" / "metrics.json").read_text())["superres"]["cut"] == result["cut"]


def test_unknown_shifts_are_registered_and_an_outlier_is_named(tmp_path, capsys):
    frames, shifts, _ = make_frames()
    frames[5] = 1 - frames[5]
    code, result = run(
        capsys, "superres", write(tmp_path / "f", frames), "-o", tmp_path / "b.png", "--scale", 2, "--seconds", 300
    )
    assert code == 0 and [row["file"] for row in result["registered"] if not row["used"]] == ["f5.png"]
    found = np.array([[row["dx"], row["dy"]] for row in result["registered"]])
    good = np.arange(len(found)) != 5
    assert rms(found[good], shifts[good]) < 0.06
    assert np.asarray(Image.open(tmp_path / "b.png")).dtype == np.uint8


def test_colour_one_frame_and_the_single_network(tmp_path, capsys):
    frames, _, _ = make_frames(1, side=12)
    colour = np.stack([frames, frames * 0.5, 1 - frames], axis=-1)
    code = main(
        ["superres", str(write(tmp_path / "f", colour)), "-o", str(tmp_path / "c.png"), "--output-size", "30x30",
         "--seconds", "2", "--network", "single", "--psf", "gaussian", "--psf-width", "0.5"]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0 and "detail finer than its pixels is not in it" in said
    picture = Image.open(tmp_path / "c.png")
    assert picture.size == (30, 30) and picture.mode == "RGB"


def test_too_few_frames_for_a_scale_are_said(tmp_path, capsys):
    frames, shifts, _ = make_frames(4, side=16)
    folder, listed = write(tmp_path / "f", frames), write_csv(tmp_path / "s.csv", shifts)
    known = ["--shifts", str(listed), "--exact-shifts"]
    code = main(["superres", str(folder), "-o", str(tmp_path / "c.png"), "--scale", "8", "--seconds", "2", *known])
    captured = capsys.readouterr()
    assert code == 0 and "of the detail at 8x, the rest is what the prior makes of it" in captured.out + captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scale", "1"), "above 1"),
        (("--scale", "0.5"), "above 1"),
        (("--scale", "nan"), "must be finite; got nan"),
        (("--scale", "1000"), "at most 16"),
        (("--scale", "2", "--output-size", "48x48"), "not both"),
        (("--output-size", "48"), "WIDTHxHEIGHT"),
        (("--output-size", "48x20"), "equal sides"),
        (("--psf-width", "0"), "above 0"),
        (("--seconds", "0"), "must be 1 or more"),
        (("--exact-shifts",), "no shifts"),
        (("--reference", "nobody.png"), "is none of the 16 frames"),
        (("--truth", "TRUTH"), "must have the same size"),
        (("-o", "out.jpg"), "written as PNG"),
        (("-o", "."), "written as PNG"),
        (("-o", "/proc/none/a.png"), "cannot be written"),
    ],
)
def test_bad_options_are_named(sequence, tmp_path, capsys, arguments, said):
    root, folder, _ = sequence
    arguments = [str(root / "truth.png") if part == "TRUTH" else part for part in arguments]
    code, failed = run(capsys, "superres", folder, "-o", tmp_path / "a.png", *arguments)
    assert code == 2 and said in failed["error"]["what"]
    assert not (tmp_path / "a.png").exists() and not (tmp_path / "a").exists()


def test_no_output_is_named(sequence, capsys):
    code, failed = run(capsys, "superres", sequence[1])
    assert code == 2 and "no output given" in failed["error"]["what"]
