"""Footprints that a user names, gives or leaves to the frames, from the command line to what is written down."""

import json

import numpy as np
import pytest
import torch
import yaml
from lowres_scenes import FINE, MARGIN, SIDE, fine_scene

from nerfkit.cli import main
from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames, Psf
from nerfkit.superres.choice import AS_FILES
from nerfkit.superres.footprint import MIN_FRAMES, START_WIDTHS, choose_width, doubt
from nerfkit.superres.grid_solve import Deadline

pytestmark = pytest.mark.usefixtures("steady_clock")


def seen_with(psf, n=16, noise=0.005, side=SIDE):
    """Frames of the made scene with a footprint, and the shifts."""
    rng = np.random.default_rng(1)
    shifts = np.vstack([[0, 0], rng.uniform(-1, 1, (n - 1, 2))])
    frames = LowresFrames(torch.zeros(n, side, side), torch.from_numpy(shifts), psf)
    samples, is_known = frames.predict(Grid(side, side, FINE, MARGIN), torch.from_numpy(fine_scene(side=side)).float())
    assert bool(is_known.all())
    values = samples.values + noise * torch.randn(samples.values.shape, generator=torch.Generator().manual_seed(0))
    return frames.with_values(values)


@pytest.mark.parametrize("psf", [Psf("box", 0.625), Psf("box", 1.0), Psf("box", 1.5), Psf("gaussian", 0.35)], ids=str)
def test_width_is_found_by_what_is_kept_out(psf):
    frames = seen_with(psf)
    wrong = frames.with_psf(Psf("box", 3.0))
    found = choose_width(
        wrong, torch.ones_like(frames.frames), AS_FILES, psf.kind, 0, 0, Deadline.after(1e6), START_WIDTHS[psf.kind]
    )
    assert found.kind == psf.kind and found.width == pytest.approx(psf.width, abs=0.126, rel=0.2)


def test_no_width_is_tried_after_the_deadline():
    frames = seen_with(Psf("box", 1.5), n=4)
    found = choose_width(frames, torch.ones_like(frames.frames), AS_FILES, "gaussian", 0, 0, Deadline.after(-1), 0.42)
    assert found == Psf("gaussian", 0.42)


@pytest.mark.parametrize(
    ("seen", "taken"),
    [(Psf("box", 0.5), 1.0), (Psf("box", 1.0), 1.0), (Psf("box", 1.5), 1.0), (Psf("gaussian", 0.5), 1.0)],
    ids=str,
)
def test_a_footprint_is_doubted_where_it_is_wrong(seen, taken):
    frames = seen_with(seen).with_psf(Psf(seen.kind, taken))
    weights = torch.ones_like(frames.frames)
    # not which way: an image that is blurred explains frames of a wide footprint by a narrow one
    assert (doubt(frames, weights, AS_FILES, 0, 0) is None) == (seen.width == taken)
    weights[MIN_FRAMES - 1 :] = 0
    assert doubt(frames, weights, AS_FILES, 0, 0) is None, "too few frames to tell"


def frames_file(path, psf, side=SIDE):
    np.savez(path, frames=seen_with(psf, side=side).frames.clamp(0, 1).numpy())
    return str(path)


def test_width_by_the_frames_is_said_and_written_down(tmp_path, capsys, unhurried):
    source = frames_file(tmp_path / "f.npz", Psf("box", 1.5))
    arguments = ["superres", source, "-o", str(tmp_path / "o.png"), "--scale", "2", "--seconds", "1"]
    assert main([*arguments, "--psf-width", "auto"]) == 0
    said = capsys.readouterr().out
    assert "PSF: box, its width by the frames" in said and "footprint: a box, side 1." in said
    config = yaml.safe_load((tmp_path / "o" / "config.yml").read_text())
    # what was asked is in config.yml, what was found in metrics.json
    assert config["psf_width"] == "auto"
    psf = json.loads((tmp_path / "o" / "metrics.json").read_text())["superres"]["psf"]
    assert psf == {"kind": "box", "width": pytest.approx(1.5, abs=0.13), "estimated": True}


@pytest.mark.parametrize("options", [[], ["--psf-width", "1"]])
def test_frames_may_contradict_the_usual_footprint_but_not_a_given_one(tmp_path, capsys, unhurried, options):
    source = frames_file(tmp_path / "f.npz", Psf("box", 0.5))
    arguments = ["superres", source, "-o", str(tmp_path / "o.png"), "--scale", "2", "--seconds", "4", *options]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    width = json.loads((tmp_path / "o" / "metrics.json").read_text())["superres"]["psf"]["width"]
    if options:
        assert "PSF: box 1 px\n" in said and width == 1
    else:
        assert "PSF: box 1 px unless they show another" in said
        assert "a footprint of 1 does not explain these frames; --psf-width 1 keeps it nevertheless" in said
        assert width == pytest.approx(0.5, abs=0.126)


def test_footprint_of_a_file_is_used_and_kept_in_the_run(tmp_path, capsys):
    x = np.arange(-4, 5)
    bell = np.exp(-0.5 * (x[:, None] ** 2 + x**2) / 1.6**2)
    np.save(tmp_path / "psf.npy", bell)
    source = frames_file(tmp_path / "f.npz", Psf("gaussian", 0.4), side=12)
    code = main(
        ["superres", source, "-o", str(tmp_path / "o.png"), "--scale", "4", "--seconds", "1", "--json", "--psf",
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
def test_footprints_that_cannot_be_are_named(tmp_path, capsys, arguments, said):
    np.save(tmp_path / "psf.npy", np.ones((3, 3)))
    source = frames_file(tmp_path / "f.npz", Psf())
    arguments = [str(tmp_path / "psf.npy") if part == "PSF" else part for part in arguments]
    assert main(["superres", source, "-o", str(tmp_path / "o.png"), "--json", *arguments]) == 2
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert said in error["what"] and error["fix"]
    assert not (tmp_path / "o.png").exists()
