"""`nerfkit fit`: from pictures to fields and back, the same from Python; stopped runs go on; mistakes are named."""

import json
import os
import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from skimage import data as skimage_data

import nerfkit
from nerfkit.cli import main
from nerfkit.fitting import Budget
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields.named import FIELD_NAMES, RECIPES
from nerfkit.scenes.readers.picture import read_picture
from nerfkit.workbench import choosing, job, pretraining
from nerfkit.workbench.choosing import choose_knob, choose_rate, detailed_part, hold_out
from nerfkit.workbench.held_fields import picture_field
from nerfkit.workbench.interpolation import scattered_cubic
from nerfkit.workbench.pictures import spectrum
from nerfkit.workbench.regression import known_error, sample_picture

QUICK: dict[str, Any] = {"n_params": 2000, "steps": 20, "scale": 6.0, "learning_rate": 8e-3}


@pytest.fixture
def photo(tmp_path):
    """32 x 24 pixels of a photograph."""
    pixels = np.asarray(Image.fromarray(skimage_data.camera()).resize((32, 24), Image.Resampling.BOX))
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def command(capsys, *words):
    """Exit code and the JSON of a command."""
    code = main(["fit", *map(str, words), "--json", "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    return code, json.loads(lines[-1]) if lines else {}


# image


def test_a_picture_goes_in_and_comes_out_at_any_size(photo, tmp_path, capsys):
    out = tmp_path / "out.png"
    code, found = command(
        capsys, "image", photo, "-o", out, "--params", 6000, "--steps", 150, "--scale", 8, "--size", "64x48"
    )
    assert code == 0 and found["task"] == "image" and found["output"] == str(out)
    assert found["field"] == "tiled" and 2000 < found["n_params"] <= 6000
    assert Image.open(out).size == (64, 48)
    metrics = found["metrics"]
    assert metrics["fitted_psnr"] > 28 and 0 < metrics["holdout"] < 0.2
    assert metrics["holdout_psnr"] == pytest.approx(-20 * np.log10(metrics["holdout"]), abs=1e-3)
    chosen = found["chosen"]
    assert found["baselines"]["cubic"]["how"] and (chosen["field"], chosen["scale"]) == ("tiled", 8.0)
    assert [chosen["learning_rate"], max(psnr for _, psnr in chosen["rates_tried"])] in chosen["rates_tried"]
    run = nerfkit.load(tmp_path / "out")
    assert run.render(size=(64, 48), crop=(10, 4, 20, 8)).shape == (8, 20)
    np.testing.assert_allclose(
        run.render(size=(64, 48), crop=(10, 4, 20, 8)), run.render(size=(64, 48))[4:12, 10:30], atol=1e-5
    )
    np.testing.assert_allclose(run.render(size=(64, 48)).clip(0, 1), np.asarray(Image.open(out)) / 255, atol=0.003)
    for name in ("input", "error", "gradient", "laplacian"):
        shown = Image.open(tmp_path / "out" / "pictures" / f"{name}.png")
        assert shown.size == (32, 24) and np.ptp(np.asarray(shown)) > 50, name
    page = (tmp_path / "out" / "report.html").read_text()
    for words in ("Laplacian", "length of the gradient", "Power at each frequency", "held out"):
        assert words in page
    assert main(["render", str(tmp_path / "out"), "--size", "16x12", "--out", str(tmp_path / "small.png")]) == 0
    assert Image.open(tmp_path / "small.png").size == (16, 12)


@pytest.mark.parametrize("name", FIELD_NAMES)
def test_every_field_holds_a_picture(photo, tmp_path, name, monkeypatch):
    monkeypatch.setattr(pretraining, "STEPS", 5)
    knob = RECIPES[name].knob
    settings: dict[str, Any] = {"n_params": 3000, "steps": 10, "holdout": 0.0} | ({knob: 6.0} if knob else {})
    found = nerfkit.fit("image", photo, tmp_path / "out.png", field=name, **settings)
    assert found.figures["field"] == name and "holdout" not in found.figures["metrics"]
    again = nerfkit.load(tmp_path / "out").render()
    np.testing.assert_array_equal(again, found.render())


def test_colour_alpha_depth_and_floats_are_channels(tmp_path):
    rgba = np.random.default_rng(0).random((12, 16, 4)).astype(np.float32) * 50 - 20
    np.save(tmp_path / "in.npy", rgba)
    np.save(tmp_path / "depth.npy", np.linspace(100, 900, 192).reshape(12, 16))
    settings: dict[str, Any] = QUICK | {"steps": 300}
    found = nerfkit.fit("image", [tmp_path / "in.npy", tmp_path / "depth.npy"], tmp_path / "out.npy", **settings)
    written = np.load(tmp_path / "out.npy")
    assert written.shape == (12, 16, 4) and found.render().shape == (12, 16, 5)
    # a picture of the run has the picture's channels: depth is no alpha
    assert main(["render", str(tmp_path / "out"), "--out", str(tmp_path / "again.tif"), "--quiet"]) == 0
    assert read_picture(tmp_path / "again.tif").values.shape == (12, 16, 4)
    depth = np.load(tmp_path / "out" / "depth.npy")
    assert depth.shape == (12, 16) and np.corrcoef(depth.ravel(), np.linspace(100, 900, 192))[0, 1] > 0.95
    assert written.min() < -5 and written.max() > 15


def test_the_box_of_a_pixel_is_what_it_measured(photo, tmp_path):
    """A field whose means are the pixels is sharper at twice the size than one whose points are."""
    sharp = {}
    for pixel in ("point", "box"):
        out = tmp_path / f"{pixel}.npy"
        nerfkit.fit("image", photo, out, pixel=pixel, output_size=(64, 48), holdout=0.0, scale=8.0, steps=200)
        sharp[pixel] = np.abs(np.diff(np.load(out), axis=1)).mean()
    assert sharp["box"] > 1.02 * sharp["point"]


def test_the_truth_is_compared_with(photo, tmp_path):
    truth = tmp_path / "truth.png"
    Image.open(photo).resize((64, 48), Image.Resampling.BICUBIC).save(truth)
    found = nerfkit.fit("image", photo, tmp_path / "out.png", truth=truth, output_size=(64, 48), **QUICK)
    written = np.asarray(Image.open(tmp_path / "out.png")) / 255
    mse = np.square(written - np.asarray(Image.open(truth)) / 255).mean()
    assert found.figures["metrics"]["psnr"] == pytest.approx(-10 * np.log10(mse), abs=1e-3)
    assert {"psnr", "how"} <= set(found.figures["baselines"]["bicubic"])


def test_depth_beside_grey_is_no_alpha_and_the_profile_stays(photo, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.open(photo).save(tmp_path / "in.png", icc_profile=profile)
    np.save(tmp_path / "depth.npy", np.random.default_rng(0).random((24, 32)))
    nerfkit.fit("image", [tmp_path / "in.png", tmp_path / "depth.npy"], tmp_path / "out.png", **QUICK)
    nerfkit.load(tmp_path / "out").write(tmp_path / "again.png")
    for name in ("out.png", "again.png"):
        with Image.open(tmp_path / name) as image:
            assert image.mode == "L" and image.info["icc_profile"] == profile


def test_the_same_seed_gives_the_same_bits(photo, tmp_path):
    pictures = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        nerfkit.fit("image", photo, tmp_path / f"{name}.npy", seed=seed, **QUICK)
        pictures.append(np.load(tmp_path / f"{name}.npy"))
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_how_fine_is_chosen_by_held_out_pixels(monkeypatch):
    """Fine stripes want a higher frequency than a smooth slope."""
    monkeypatch.setattr(choosing, "TRIAL_STEPS", 60)
    xs = torch.arange(48.0)[None].expand(48, 48)
    known, found = torch.ones(48, 48, dtype=torch.bool), {}
    for name, values in (("stripes", 0.5 + 0.5 * torch.sin(2.0 * xs)), ("slope", xs / 48)):
        found[name] = choose_knob("siren", values[..., None].contiguous(), known, [[0.0, 1.0]], 3000, seed=0)
        assert found[name]["value"] == max(found[name]["tried"], key=lambda pair: pair[1])[0]
    assert found["stripes"]["value"] > found["slope"]["value"]


def test_a_learning_rate_that_is_too_high_is_lowered(monkeypatch):
    monkeypatch.setattr(choosing, "TRIAL_STEPS", 60)
    values = 0.5 + 0.5 * torch.sin(0.5 * torch.arange(32.0))[None].expand(32, 32)
    picture, known = values[..., None].contiguous(), torch.ones(32, 32, dtype=torch.bool)
    recipe = choosing.RECIPES["siren"]
    for rate, is_lowered in ((recipe.learning_rate, False), (16 * recipe.learning_rate, True)):
        monkeypatch.setitem(choosing.RECIPES, "siren", replace(recipe, learning_rate=rate))
        found = choose_rate("siren", picture, known, [[0.0, 1.0]], 2000, None, seed=0)
        assert (found["value"] < rate) == is_lowered
        assert found["value"] == max(found["tried"], key=lambda pair: pair[1])[0]


def test_a_limit_never_makes_the_picture_worse_than_the_fit_before(photo, tmp_path, monkeypatch):
    """A single step of the last fit, as on a busy machine: it goes on from the one that left pixels out."""
    before: Any = job.fit

    def hurried(problem, budget, **options):
        is_last = options["checkpoints"].folder.name == "fit"
        return before(problem, Budget(steps=1) if is_last else budget, **options)

    monkeypatch.setattr(job, "fit", hurried)
    found = nerfkit.fit("image", photo, tmp_path / "out.png", n_params=6000, steps=150, scale=8.0)
    assert found.figures["metrics"]["fitted_psnr"] > 28


# stopping and going on


def test_a_run_that_was_stopped_goes_on(photo, tmp_path, monkeypatch, capsys):
    before: Any = job.fit

    def stopped(problem, budget, **options):
        seen = options["on_progress"]

        def follow(progress):
            seen(progress)
            if progress.step == 7:
                os.kill(os.getpid(), signal.SIGINT)

        return before(problem, budget, **options | {"on_progress": follow})

    out = tmp_path / "out.png"
    words = ["image", photo, "-o", out, "--params", 2000, "--steps", 20, "--scale", 6]
    monkeypatch.setattr(job, "fit", stopped)
    code, found = command(capsys, *words)
    assert code == 130 and found["run"] == str(tmp_path / "out") and not out.exists()
    with pytest.raises(NerfkitError, match="stopped before it had a result"):
        nerfkit.load(tmp_path / "out").render()
    monkeypatch.setattr(job, "fit", before)
    code, found = command(capsys, "--resume", tmp_path / "out")
    assert code == 0 and out.exists()
    assert main(["fit", *map(str, words), "--quiet", "--overwrite"]) == 0
    whole = nerfkit.load(tmp_path / "out").figures
    assert found["metrics"] == whole["metrics"]


def test_what_cannot_be_resumed_is_named(photo, tmp_path, capsys):
    nerfkit.fit("image", photo, tmp_path / "out.png", **QUICK)
    photo.unlink()
    code, found = command(capsys, "--resume", tmp_path / "out")
    assert code == 2 and "its input is not there any more" in found["error"]["what"]
    code, found = command(capsys, "image", photo, "--resume", tmp_path / "out")
    assert code == 2 and "takes no TASK" in found["error"]["what"]
    code, found = command(capsys, "--resume", tmp_path)
    assert code == 2 and "no run folder" in found["error"]["what"]


# mistakes


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "no TASK given"),
        (["image"], "no INPUT given"),
        (["sharpen", "{photo}", "-o", "{out}.png"], "no task 'sharpen'"),
        (["image", "{photo}"], "no output given"),
        (["image", "{photo}", "-o", "{out}.jpg"], "image writes .png, .tif, .tiff, .npy; got .jpg"),
        (["image", "absent.png", "-o", "{out}.png"], "there is no such file"),
        (["image", "{photo}", "-o", "{photo}"], "is there already"),
        (["image", "{photo}", "-o", "{out}.png", "--field", "hash", "--scale", "3"], "scale is none of the field hash"),
        (["image", "{photo}", "-o", "{out}.png", "--set", "holdout=0.7"], "holdout must be between 0 and 0.5"),
        (["image", "{photo}", "-o", "{out}.png", "--params", "3"], "n_params must be between 16"),
        (["image", "{photo}", "-o", "{out}.png", "--simulate", "noise=1"], "nothing that could be simulated"),
        (["image", "{photo}", "-o", "{out}.png", "--simulate", "noise"], "wanted KEY=VALUE"),
        (["compare", "{photo}", "-o", "{out}.png", "--truth", "{photo}"], "compare has no truth"),
        (["compare", "{photo}", "{photo}", "-o", "{out}.png"], "compare takes 1 file; got 2"),
        (["denoise", "{photo}", "{photo}", "-o", "{out}.png"], "denoise takes 1 file; got 2"),
        (
            ["image", "{photo}", "-o", "{out}.png", "--size", "9x9", "--truth", "{photo}"],
            "that of the output is [9, 9, 1]",
        ),
        (["compare", "{photo}", "-o", "{out}.png", "--set", "fields=[tiled, sirene]"], "fields must be of"),
    ],
)
def test_every_mistake_is_named_and_nothing_is_written(photo, tmp_path, capsys, words, what):
    filled = [word.format(photo=photo, out=tmp_path / "out") for word in words]
    code, found = command(capsys, *filled)
    assert code == 2 and what in found["error"]["what"] and found["error"]["fix"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]


def test_a_picture_of_a_pixel_is_refused(tmp_path, capsys):
    Image.fromarray(np.zeros((1, 5), np.uint8)).save(tmp_path / "a.png")
    code, found = command(capsys, "image", tmp_path / "a.png", "-o", tmp_path / "b.png")
    assert code == 2 and "has 5x1 pixels; two a side at least are wanted" in found["error"]["what"]


# compare


def test_fields_are_compared_over_the_iterations(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choosing, "TRIAL_STEPS", 5)
    monkeypatch.setattr(pretraining, "STEPS", 5)
    out = tmp_path / "out.png"
    code, found = command(
        capsys, "compare", photo, "-o", out, "--set", "fields=[hash, siren, relu-pretrained, grid]", "--steps", 12,
        "--set", "n_params=3000",
    )  # fmt: skip
    assert code == 0 and set(found["baselines"]) | {found["field"]} == {"hash", "siren", "relu-pretrained", "grid"}
    rows = {**found["baselines"], found["field"]: found["metrics"]}
    assert rows[found["field"]]["holdout_psnr"] == max(row["holdout_psnr"] for row in rows.values())
    run = tmp_path / "out"
    steps = [json.loads(line)["step"] for line in (run / "evolution" / "siren" / "evolution.jsonl").open()]
    assert steps == list(range(1, 13))
    assert (run / "evolution.mp4").stat().st_size > 1000
    page = (run / "report.html").read_text()
    assert "Held out, over the time" in page and "data:video/mp4" in page
    assert min(Image.open(out).size) > 300
    assert nerfkit.load(run).render().shape == (24, 32)


# parts


def test_known_error_is_a_mean_over_the_known():
    values = torch.tensor([1.0, torch.nan, 3.0, torch.nan])
    predicted = torch.tensor([2.0, 9.0, 3.0, 9.0], requires_grad=True)
    loss = known_error(predicted, values).mean()
    loss.backward()
    assert loss.item() == 0.5 and predicted.grad is not None
    assert predicted.grad.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_pixels_are_held_out_by_chance_and_one_at_least():
    assert abs(float(hold_out((200, 200), 0.1, 0).float().mean()) - 0.1) < 0.01
    assert int(hold_out((3, 3), 1e-9, 0).sum()) == 1 and not hold_out((3, 3), 0.0, 0).any()


def test_the_part_with_most_detail_is_found():
    values = torch.zeros(40, 60, 1)
    values[20:30, 35:45] = torch.rand(10, 10, 1, generator=torch.Generator().manual_seed(0))
    part = detailed_part(values, 12)
    assert part.shape == (12, 12, 1) and float(part.sum()) == pytest.approx(float(values.sum()))


def test_a_picture_is_a_field_of_itself():
    image = torch.rand(6, 5, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample_picture(picture_field(image).field, (5, 6), (5, 6)), image)


def test_cubics_through_known_pixels_are_exact_for_planes():
    ys, xs = np.mgrid[:12, :12].astype(float)
    plane = (3 * xs - ys)[..., None]
    known = np.random.default_rng(0).random((12, 12)) < 0.6
    known[0, 0] = known[0, -1] = known[-1, 0] = known[-1, -1] = True
    np.testing.assert_allclose(scattered_cubic(np.where(known[..., None], plane, 0), known), plane, atol=1e-6)


def test_a_wave_has_its_power_at_its_frequency():
    picture = np.sin(2 * np.pi * 0.25 * np.arange(64))[None, :, None].repeat(64, 0)
    frequencies, power = spectrum(picture)
    assert abs(frequencies[int(np.argmax(power))] - 0.25) < 0.02
