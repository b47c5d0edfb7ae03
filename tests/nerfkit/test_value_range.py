"""How much of their scale files use is no matter, and frames that show nothing are named and left out."""

import numpy as np
import pytest
import torch
from lowres_scenes import make_frames, run, write, write_csv
from PIL import Image

from nerfkit.doctor import examine_data
from nerfkit.scenes.noise import contrast
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.transfer import CURVES, Transfer
from nerfkit.superresolution.blank_frames import is_blank

SIDE = 20
RANGES = {"full": (0, 65535), "twelve bits": (0, 4095), "thermal": (51241, 51641)}


def counts(name):
    """Frames of 16 bits that use a part of their scale, and their shifts."""
    frames, shifts, _ = make_frames(8, side=SIDE)
    low, high = RANGES[name]
    return np.round(low + np.clip(frames, 0, 1) * (high - low)).astype(np.uint16), shifts


@pytest.mark.parametrize("curve", ["linear", *CURVES])
@pytest.mark.parametrize("value_range", [(0.0, 1.0), (0.25, 0.3), (0.02, 0.9)])
def test_file_values_come_back_from_radiance_of_any_range(curve, value_range):
    transfer = Transfer(curve, 1, value_range)
    low, high = value_range
    values = torch.linspace(low, high, 41, dtype=torch.float64)
    radiance = transfer.decode(values)
    assert radiance[0] == 0 and radiance[-1] == pytest.approx(1)
    np.testing.assert_allclose(transfer.image(radiance.view(1, 1, -1))[0], values, atol=1e-9)
    np.testing.assert_allclose(transfer.encode(radiance), (values - low) / (high - low), atol=1e-9)
    slope = transfer.slope(radiance)
    if slope is not None:
        middles = (radiance[1:] + radiance[:-1]) / 2
        measured = transfer.encode(radiance).diff() / radiance.diff()
        # at the knee of a curve a difference is none of the slope
        np.testing.assert_allclose(np.asarray(transfer.slope(middles))[4:], measured[4:], rtol=0.15)


def test_a_narrow_range_gives_the_same_picture_in_its_unit(tmp_path, capsys):
    shown = {}
    for name, (low, high) in RANGES.items():
        frames, shifts = counts(name)
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / f"f{index}.png")
        code, result = run(
            capsys, "superres", tmp_path / "f?.png", "-o", tmp_path / "a.png", "--scale", 2, "--overwrite",
            "--shifts", write_csv(tmp_path / "s.csv", shifts), "--exact-shifts", "--seconds", 300, "--set", "width=8",
        )  # fmt: skip
        assert code == 0
        picture = read_frames(tmp_path / "a.png").images[0] * 65535
        shown[name] = ((picture - low) / (high - low), result["holdout_psnr"])
        assert run(capsys, "render", tmp_path / "a", "--out", tmp_path / "b.png")[0] == 0
        assert (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    for name in ("twelve bits", "thermal"):
        # 400 counts are rounded to 0.0007 of their range
        assert np.sqrt(np.mean((shown[name][0] - shown["full"][0]) ** 2)) < 0.02
        assert shown[name][1] == pytest.approx(shown["full"][1], abs=0.5)


def test_a_check_up_finds_the_same_in_any_range(tmp_path):
    reports = {}
    for name in RANGES:
        np.savez(tmp_path / "f.npz", frames=counts(name)[0])
        reports[name] = examine_data(tmp_path / "f.npz")
        assert reports[name].ok
    full = reports["full"].facts
    for name in ("twelve bits", "thermal"):
        facts = reports[name].facts
        assert facts["scale"] == full["scale"] and facts["noise"] == pytest.approx(full["noise"], rel=0.1)
        np.testing.assert_allclose(facts["shifts"]["largest"], full["shifts"]["largest"], atol=0.051)


def test_white_is_that_of_the_sensor():
    frames, _ = counts("twelve bits")
    assert (frames == 4095).sum() == 0
    from nerfkit.scenes.readers.frames import Frames

    for most, bits, white in ((4095, 16, 4095 / 65535), (4000, 16, 1.0), (65535, 16, 1.0), (255, 8, 1.0)):
        images = np.array([[[0, most]]], np.float32) / (65535 if bits == 16 else 255)
        assert Frames(images, ["a"], bits, "a", None).white == pytest.approx(white)  # pyright: ignore[reportArgumentType]


# frames that show nothing


def faded(n_black, noise=0.0):
    frames, shifts, _ = make_frames(8, side=SIDE)
    rng = np.random.default_rng(0)
    frames[:n_black] = np.clip(0.02 + rng.normal(0, noise, frames[:n_black].shape), 0, 1) if noise else 0.0
    return frames, shifts


@pytest.mark.parametrize(("n_black", "noise"), [(1, 0.0), (3, 0.0), (2, 0.004)])
def test_blank_frames_are_named_and_the_reference_is_the_next(tmp_path, capsys, n_black, noise):
    frames, _ = faded(n_black, noise)
    folder = write(tmp_path / "f", frames)
    code, result = run(
        capsys, "superres", folder, "-o", tmp_path / "a.png", "--scale", 2, "--seconds", 300, "--set", "width=8"
    )  # fmt: skip
    names = read_frames(folder).files
    rows = {row["file"]: row for row in result["registered"]}
    assert code == 0 and set(rows) == set(names) and result["blank"] == names[:n_black]
    assert all(not rows[name]["used"] and rows[name]["dx"] is None for name in names[:n_black])
    first = rows[names[n_black]]
    assert first["used"] and (first["dx"], first["dy"]) == (0, 0)
    report = examine_data(folder)
    assert report.ok and f"{n_black} of 8 frames show nothing" in str([p.what for p in report.problems])


def test_given_shifts_of_blank_frames_are_passed_over(tmp_path, capsys):
    frames, shifts = faded(1)
    folder = write(tmp_path / "f", frames)
    code, result = run(
        capsys, "superres", folder, "-o", tmp_path / "a.png", "--scale", 2, "--seconds", 300, "--shifts",
        write_csv(tmp_path / "s.csv", shifts), "--exact-shifts", "--set", "width=8",
    )  # fmt: skip
    assert code == 0 and [row["used"] for row in result["registered"]].count(True) == 7


def test_a_sequence_of_nothing_and_a_blank_reference_are_refused(tmp_path, capsys):
    folder = write(tmp_path / "f", np.full((4, 8, 8), 0.7, np.float32))
    code, result = run(capsys, "superres", folder, "-o", tmp_path / "a.png")
    assert code == 2 and "the 4 frames show nothing" in result["error"]["what"]
    assert not examine_data(folder).ok
    frames, _ = faded(1)
    folder = write(tmp_path / "g", frames)
    name = read_frames(folder).files[0]
    code, result = run(capsys, "superres", folder, "-o", tmp_path / "a.png", "--reference", name)
    assert code == 2 and "shows nothing" in result["error"]["what"] and not (tmp_path / "a.png").exists()


def test_contrast_is_beyond_noise():
    rng = np.random.default_rng(0)
    assert contrast(rng.normal(0.5, 0.1, (64, 64))) < 0.03
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))
    assert contrast(ramp) == pytest.approx(ramp.std(), rel=1e-3)
    assert is_blank(np.stack([ramp, 1e-3 * ramp, 5 + 0.2 * ramp])).tolist() == [False, True, False]


def test_texture_as_fine_as_noise_is_not_blank():
    rng = np.random.default_rng(0)
    assert not is_blank(rng.random((12, 16, 16))).any()
    assert is_blank(np.zeros((3, 8, 8))).all()


def test_one_frame_of_one_value_gives_that_value(tmp_path, capsys):
    folder = write(tmp_path / "f", np.full((1, 12, 12), 0.4, np.float32))
    code, _ = run(capsys, "superres", folder, "-o", tmp_path / "a.png", "--scale", 2, "--seconds", 300)
    assert code == 0
    np.testing.assert_allclose(read_frames(tmp_path / "a.png").images, 0.4, atol=0.01)
