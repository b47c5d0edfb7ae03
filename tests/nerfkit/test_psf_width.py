"""PSFs that a user names, gives or leaves to the frames, from the command line to what is written down."""

import json

import numpy as np
import pytest
import torch
import yaml
from lowres_scenes import FINE, MARGIN, SIDE, fine_scene, measured

from nerfkit.cli import main
from nerfkit.limits import Limit
from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.observations.psf import Psf
from nerfkit.scenes.transfer import LINEAR
from nerfkit.superresolution.alignment import Alignment
from nerfkit.superresolution.psf_width import MIN_FRAMES, USUAL_WIDTHS, choose_width, doubt
from nerfkit.superresolution.settings import SuperresSettings
from nerfkit.superresolution.trials import Trials


def seen_with(psf, n=24, noise=0.005, side=SIDE):
    """Frames of the made scene with a PSF."""
    rng = np.random.default_rng(1)
    shifts = np.vstack([[0, 0], rng.uniform(-1, 1, (n - 1, 2))])
    stack, view = measured(torch.zeros(n, side, side), shifts, psf)
    samples, is_known = view.sample(Grid(side, side, FINE, MARGIN), torch.from_numpy(fine_scene(side=side)).float())
    assert bool(is_known.all())
    values = samples.values + noise * torch.randn(samples.values.shape, generator=torch.Generator().manual_seed(0))
    return stack.with_values(values), view


def trials_of(stack, view, cells=4, **known):
    return Trials(stack, view, view.grid(cells), 0, **known)


@pytest.mark.parametrize("psf", [Psf("box", 0.625), Psf("box", 1.0), Psf("box", 1.5), Psf("gaussian", 0.35)], ids=str)
def test_width_is_found_by_what_is_held_out(psf):
    stack, view = seen_with(psf)
    found = choose_width(trials_of(stack, view.with_psf(Psf("box", 3.0))), psf.kind, USUAL_WIDTHS[psf.kind])
    assert found.kind == psf.kind and found.width == pytest.approx(psf.width, abs=0.126, rel=0.2)


def test_no_width_is_tried_that_the_limit_does_not_allow():
    limit = Limit(-1)
    trials = trials_of(*seen_with(Psf("box", 1.5), n=4), limit=limit)
    assert choose_width(trials, "gaussian", 0.42) == Psf("gaussian", 0.42)
    assert limit.cut == ["trials of the PSF's width"]


@pytest.mark.parametrize(
    ("seen", "taken"),
    [(Psf("box", 0.5), 1.0), (Psf("box", 1.0), 1.0), (Psf("box", 1.5), 1.0), (Psf("gaussian", 0.5), 1.0)],
    ids=str,
)
def test_a_psf_is_doubted_where_it_is_wrong(seen, taken):
    stack, view = seen_with(seen)
    view = view.with_psf(Psf(seen.kind, taken))
    # not which way: an image that is blurred explains frames of a wide PSF by a narrow one
    assert (doubt(stack, view, 0, LINEAR) is None) == (seen.width == taken)
    weights = stack.weights.clone()
    weights[MIN_FRAMES - 1 :] = 0
    assert doubt(stack.with_weights(weights), view, 0, LINEAR) is None, "too few frames to tell"


def frames_file(path, psf, side=SIDE):
    np.savez(path, frames=seen_with(psf, side=side)[0].values.clamp(0, 1).numpy())
    return str(path)


def test_width_by_the_frames_is_said_and_written_down(tmp_path, capsys):
    source = frames_file(tmp_path / "f.npz", Psf("box", 1.5), side=16)
    arguments = ["superres", source, "-o", str(tmp_path / "o.png"), "--scale", "2", "--seconds", "300"]
    assert main([*arguments, "--psf-width", "auto", "--set", "width=8"]) == 0
    said = capsys.readouterr().out
    assert "PSF: box, its width by the frames" in said and "PSF: a box, side 1." in said
    config = yaml.safe_load((tmp_path / "o" / "config.yml").read_text())
    # what was asked is in config.yml, what was found in metrics.json
    assert config["psf_width"] == "auto"
    psf = json.loads((tmp_path / "o" / "metrics.json").read_text())["superres"]["psf"]
    assert psf == {"kind": "box", "width": pytest.approx(1.5, abs=0.13), "estimated": True}


@pytest.mark.parametrize(("asked", "found"), [(None, 0.5), (1.0, 1.0)])
def test_frames_may_contradict_the_usual_psf_but_not_a_given_one(asked, found):
    stack, view = seen_with(Psf("box", 0.5))
    settings, said = SuperresSettings(scale=2, exact_shifts=True, psf_width=asked), []
    aligned = Alignment(stack.values.numpy(), settings, motion=view.motion, say=said.append)
    aligned.register()
    aligned.estimate_width()
    assert aligned.view.psf.width == pytest.approx(found, abs=0.126 if asked is None else 0)
    doubted = "a PSF of 1 does not explain these frames; --psf-width 1 keeps it nevertheless"
    assert (doubted in said) == (asked is None)


def test_psf_of_a_file_is_used_and_kept_in_the_run(tmp_path, capsys):
    x = np.arange(-4, 5)
    bell = np.exp(-0.5 * (x[:, None] ** 2 + x**2) / 1.6**2)
    np.save(tmp_path / "psf.npy", bell)
    source = frames_file(tmp_path / "f.npz", Psf("gaussian", 0.4), side=12)
    code = main(
        ["superres", source, "-o", str(tmp_path / "o.png"), "--scale", "4", "--seconds", "300", "--json", "--psf",
         str(tmp_path / "psf.npy")]
    )  # fmt: skip
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    # a sample is a pixel of the output: nine of them, four a low-res pixel
    assert code == 0 and result["psf"] == {"kind": "file", "width": 2.25, "estimated": False}
    np.testing.assert_allclose(np.load(tmp_path / "o" / "psf.npy"), bell / bell.sum(), atol=1e-4)
    assert set(result["expected"]) == {"gain_db", "measured_share", "frames_per_pixel", "limit"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--psf-width", "wide"), "psf_width must be a number or 'auto' or null; got 'wide'"),
        (("--psf-width", "9"), "at most 8"),
        (("--psf", "disc"), "--psf is box, gaussian or a file"),
        (("--psf", "PSF", "--psf-width", "auto"), "not of a file"),
        (("--psf", "PSF", "--psf-width", "17"), "at most 16"),
        (("--psf", "PSF", "--psf-width", "15"), "samples are 15 low-res pixels wide; at most 12"),
    ],
)
def test_psfs_that_cannot_be_are_named(tmp_path, capsys, arguments, said):
    np.save(tmp_path / "psf.npy", np.ones((3, 3)))
    source = frames_file(tmp_path / "f.npz", Psf())
    arguments = [str(tmp_path / "psf.npy") if part == "PSF" else part for part in arguments]
    assert main(["superres", source, "-o", str(tmp_path / "o.png"), "--json", *arguments]) == 2
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert said in error["what"] and error["fix"]
    assert not (tmp_path / "o.png").exists()
