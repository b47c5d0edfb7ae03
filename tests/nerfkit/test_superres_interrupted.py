"""Whenever a super-resolution is interrupted or out of time there is a picture, and a run that gives it again."""

import math
import os
import signal

import numpy as np
import pytest
from lowres_scenes import make_frames, motion_of, run, write, write_csv
from PIL import Image

from nerfkit.checkpoints import DivergedError
from nerfkit.limits import Limit
from nerfkit.superresolution import alignment, network_fit, outputs, reconstruct, refiner, running, settings
from nerfkit.superresolution.alignment import Alignment
from nerfkit.superresolution.outputs import Outputs
from nerfkit.superresolution.settings import SuperresSettings

N, FRAME = 6, 20


@pytest.fixture
def source(tmp_path):
    frames, shifts, _ = make_frames(N, side=FRAME)
    write(tmp_path / "frames", frames, 16)
    return tmp_path / "frames", write_csv(tmp_path / "shifts.csv", shifts)


def ctrl_c_at(monkeypatch, owner, name, call=1):
    """Send Ctrl-C when a function is called for the n-th time, which then goes on."""
    before, calls = getattr(owner, name), []

    def interrupted(*given, **known):
        calls.append(None)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return before(*given, **known)

    monkeypatch.setattr(owner, name, interrupted)


STAGES = {
    "phase correlation": (alignment, "phase_correlation"),
    "registration": (refiner, "refine"),
    "the PSF's width": (Alignment, "estimate_width"),
    "choice": (reconstruct, "choose_prior"),
    "two values": (reconstruct, "choose_local"),
    "solution": (reconstruct, "solve_everywhere"),
    "networks": (running, "fit_networks"),
    "rendering": (running, "render_image"),
    "expectation": (outputs, "expect"),
    "diagnosis": (outputs, "power_spectrum"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt_at_any_stage_leaves_a_picture_and_its_run(source, tmp_path, capsys, monkeypatch, stage):
    ctrl_c_at(monkeypatch, *STAGES[stage])
    picture = tmp_path / "a.png"
    code, result = run(capsys, "superres", source[0], "-o", picture, "--scale", 2, "--set", "width=8")
    assert code == 130 and result["exit"] == 130
    assert Image.open(picture).size == (2 * FRAME, 2 * FRAME)
    assert (tmp_path / "a" / "report.html").is_file() and (tmp_path / "a" / "registered.csv").is_file()
    assert run(capsys, "render", tmp_path / "a", "--out", tmp_path / "b.png")[0] == 0
    assert (tmp_path / "b.png").read_bytes() == picture.read_bytes()


@pytest.mark.parametrize(("owner", "name", "call"), [(reconstruct, "solve_everywhere", 1), (network_fit, "fit", 2)])
def test_an_interrupt_in_the_parts_of_large_frames_leaves_a_picture(
    source, tmp_path, capsys, monkeypatch, owner, name, call
):
    def plan(scale, size, before=settings.plan_grids):
        return before(scale, size).__class__(**{**before(scale, size).__dict__, "side": 10})

    monkeypatch.setattr(alignment, "plan_grids", plan)
    monkeypatch.setattr(network_fit, "WINDOW", 10)
    ctrl_c_at(monkeypatch, owner, name, call)
    picture, given = tmp_path / "a.png", ["--shifts", source[1], "--exact-shifts", "--psf-width", 1]
    code, _ = run(capsys, "superres", source[0], "-o", picture, "--scale", 2, "--set", "width=8", *given)
    assert code == 130
    shown = np.asarray(Image.open(picture), float) / 65535
    assert shown.shape == (2 * FRAME, 2 * FRAME) and 0.1 < shown.mean() < 0.95
    assert run(capsys, "render", tmp_path / "a", "--out", tmp_path / "b.png")[0] == 0


def test_what_a_limit_cuts_is_left_out_whole_and_said(source, tmp_path, capsys, monkeypatch):
    """A limit that is over when work begins: nothing is chosen or fitted, and there is a picture all the same."""
    monkeypatch.setattr(running, "Limit", lambda *_: Limit(-1))
    code, result = run(capsys, "superres", source[0], "-o", tmp_path / "a.png", "--scale", 2)
    assert code == 0 and result["holds"] == "grid" and "steps" not in result
    assert result["holds_because"] == "no time was left for networks"
    for part in ("the registration of some frames", "trials of priors", "the networks (the solved image is kept)"):
        assert part in result["cut"]
    # only the reference has a place: the others were not registered
    assert [row["used"] for row in result["registered"]] == [True] + [False] * (N - 1)
    shown = np.asarray(Image.open(tmp_path / "a.png"), float) / 65535
    bicubic = np.asarray(Image.open(tmp_path / "a" / "bicubic.png"), float) / 65535
    assert np.sqrt(np.mean((shown - bicubic) ** 2)) < 0.05


def test_time_that_was_kept_for_the_solution_is_free_for_the_fit(source):
    frames, shifts, _ = make_frames(N, side=FRAME)
    limit = Limit(1e6)
    reconstruct.reconstruct(frames, SuperresSettings(scale=2, exact_shifts=True), motion=motion_of(shifts), limit=limit)
    assert limit.reserve == 0


def test_networks_that_diverge_leave_the_solved_image(source, tmp_path, capsys, monkeypatch):
    def diverge(*_, **__):
        raise DivergedError("the fit diverged: at step 3 the loss is nan")

    monkeypatch.setattr(running, "fit_networks", diverge)
    code, result = run(capsys, "superres", source[0], "-o", tmp_path / "a.png", "--scale", 2, "--shifts", source[1])
    assert code == 0 and result["holds"] == "grid" and Image.open(tmp_path / "a.png").size == (2 * FRAME, 2 * FRAME)
    assert result["holds_because"] == "the networks' fit diverged: at step 3 the loss is nan"
    assert run(capsys, "render", tmp_path / "a", "--out", tmp_path / "b.png")[0] == 0


def test_where_no_pixel_lies_within_the_picture_networks_are_not_judged(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Outputs, "error", lambda *_: math.nan)
    code, result = run(
        capsys, "superres", source[0], "-o", tmp_path / "a.png", "--scale", 2, "--shifts", source[1],
        "--set", "width=8", "--exact-shifts", "--psf-width", 1, "--seconds", 600,
    )  # fmt: skip
    assert code == 0 and result["holds"] == "tiled" and result["frames_psnr"] is None
    assert result["holds_because"] == ""


def test_networks_that_are_worse_than_the_image_are_not_written(source, tmp_path, capsys, monkeypatch):
    given = ["superres", source[0], "-o", tmp_path / "a.png", "--scale", 2, "--shifts", source[1], "--exact-shifts",
             "--psf-width", 1, "--seconds", 600, "--overwrite"]  # fmt: skip
    monkeypatch.setattr(network_fit, "STEPS", 1)
    code, poor = run(capsys, *given)
    assert code == 0 and poor["holds"] == "grid" and poor["steps"] == 1
    assert poor["holds_because"].startswith("the networks predict the frames with ")
    assert "pixel by pixel, is the picture" in (tmp_path / "a" / "report.html").read_text()
    written = np.asarray(Image.open(tmp_path / "a.png"), float)
    assert run(capsys, "render", tmp_path / "a", "--out", tmp_path / "b.png")[0] == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png"), float), written)
    # at another size, too
    assert run(capsys, "render", tmp_path / "a", "--size", "30x30", "--out", tmp_path / "c.png")[0] == 0
    monkeypatch.undo()
    code, good = run(capsys, *given)
    assert code == 0 and good["holds"] == "tiled"
    # each figure is that of the picture that was written
    assert abs(good["frames_psnr"] - poor["frames_psnr"]) < 0.3
