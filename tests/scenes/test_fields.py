"""Interlaced video is told by its rows' times, which fine stripes, noise and stillness are not taken for."""

import os
import shlex
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from nerfkit.doctor import examine_data
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers._fields import field_order
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.superresolution.frame_choice import SharpestOfEachStretch

DATA = Path(os.environ.get("NERFKIT_TEST_DATA", "absent"))
# samples of the scene along a pixel
FINE = 4


def scene(kind, rng):
    """A picture of 448 x 512 samples with a deviation of 1."""
    picture = gaussian_filter(rng.normal(size=(448, 512)), 0.8 * FINE, mode="wrap")
    picture /= picture.std()
    rows = np.arange(448)[:, None] / FINE
    if kind == "stripes":  # two rows a period
        picture += 3 * np.sign(np.sin(np.pi * (rows + 0.1)))
    if kind == "grating":
        picture = np.sin(2 * np.pi * (rows / 2.2 + np.arange(512) / FINE / 20)) + 0.1 * picture
    return picture


def times(kind="texture", n=40, speed=0.8, noise=0.02, seed=0):
    """Frames [n, 96, 112] of a scene that moves smoothly on a path of its own."""
    rng = np.random.default_rng(seed)
    picture = scene(kind, rng)
    moves = gaussian_filter(rng.normal(size=(n, 2)), (4, 0), mode="wrap")
    path = np.cumsum(speed * moves / moves.std(), axis=0)
    frames = [np.roll(picture, tuple(np.rint(FINE * at).astype(int)), (0, 1)) for at in path]
    means = np.stack(frames).reshape(n, 112, FINE, 128, FINE).mean((2, 4))[:, 8:-8, 8:-8]
    return 0.5 + 0.1 * (means + rng.normal(0, 10 * noise, means.shape))


def woven(frames, first=0):
    """Every other frame, with the rows of the one that follows it in those that do not begin at ``first``."""
    found = frames[0::2].copy()
    found[:, 1 - first :: 2] = frames[1::2, 1 - first :: 2]
    return found


def pixels(frames):
    return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)


def save(folder, frames):
    folder.mkdir()
    for index, frame in enumerate(pixels(frames)):
        Image.fromarray(frame).save(folder / f"f{index:03}.png")
    return folder


def said_of(path, **options):
    findings = Findings()
    read_frames(path, findings=findings, **options)
    return [finding for finding in findings if "interlaced" in finding.what]


@pytest.mark.parametrize("speed", [0.3, 0.8, 2.0])
def test_woven_fields_are_found_and_their_order(speed):
    for seed in range(3):
        frames = times(speed=speed, seed=seed)
        assert field_order(woven(frames)) == "top"
        assert field_order(woven(frames, first=1)) == "bottom"


@pytest.mark.parametrize("kind", ["texture", "stripes", "grating"])
@pytest.mark.parametrize("speed", [0.1, 0.8, 3.0])
def test_whole_frames_are_not_taken_for_fields_even_of_fine_stripes(kind, speed):
    for seed in range(3):
        frames = times(kind, speed=speed, seed=seed)
        assert field_order(frames) is field_order(frames[:8]) is None


def test_a_small_thing_that_moves_is_enough_and_stillness_tells_nothing():
    moving, still = times(speed=0.8), np.broadcast_to(times(n=1, seed=3), (40, 96, 112)).copy()
    still += np.random.default_rng(0).normal(0, 0.003, still.shape)
    assert field_order(woven(still)) is None
    still[:, 30:60, 40:70] = moving[:, 30:60, 40:70]
    assert field_order(still) is None and field_order(woven(still)) == "top"


@pytest.mark.parametrize("shape", [(6, 24, 30), (8, 40, 40), (32, 57, 49)])
def test_noise_is_not_taken_for_fields(shape):
    assert all(field_order(np.random.default_rng(seed).random(shape)) is None for seed in range(20))


def test_too_few_frames_or_rows_tell_nothing():
    frames = woven(times())
    assert field_order(frames[:5]) is field_order(frames[:, :20]) is field_order(frames[:, :2, :2]) is None


@pytest.mark.parametrize("name", ["text/text.avi", "bookcase_color/frames", "alpaca/frames", "eia/frames"])
def test_real_sequences_are_whole_frames_and_found_when_woven(name):
    path = DATA / "sr" / name
    if not path.exists():
        pytest.skip("no sequences here")
    grey = read_frames(path).grey
    assert field_order(grey[:32]) is field_order(grey[::2]) is None
    # of the last one the fields hardly move
    assert name == "eia/frames" or field_order(woven(grey[: len(grey) // 2 * 2])) == "top"


def test_it_is_said_with_the_command_that_helps_which_does(tmp_path):
    folder = save(tmp_path / "frames", woven(times()))
    (found,) = said_of(folder)
    assert found.level == "warning" and "the top field was taken first" in found.what
    command = shlex.split(found.fix.split("`")[1])
    assert command[0] == "ffmpeg" and command[-1] == "fields.mkv"
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *command[1:]], cwd=tmp_path, check=True)
    assert not said_of(tmp_path / "fields.mkv") and len(read_frames(tmp_path / "fields.mkv")) == 40
    report = examine_data(folder)
    assert any("interlaced" in problem.what for problem in report.problems)
    assert not said_of(save(tmp_path / "whole", times()))


def test_a_video_and_an_array_are_told_too_and_a_part_that_begins_at_an_odd_row(tmp_path):
    frames = pixels(woven(times()))
    np.save(tmp_path / "f.npy", frames)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "gray", "-s", "112x96"]
    command += ["-r", "25", "-i", "pipe:0", "-c:v", "ffv1", str(tmp_path / "v.mkv")]
    subprocess.run(command, input=frames.tobytes(), check=True)
    (of_video,), (of_array,) = said_of(tmp_path / "v.mkv"), said_of(tmp_path / "f.npy")
    assert f"-i {tmp_path / 'v.mkv'} -vf bwdif=parity=tff" in of_video.fix and "FRAMES/*.png" in of_array.fix
    (of_part,) = said_of(tmp_path / "v.mkv", crop=(8, 9, 80, 60))
    assert "the top field" in of_part.what
    # chosen frames do not follow one another: those before the choice are looked at
    (of_long,) = said_of(tmp_path / "v.mkv", choose=SharpestOfEachStretch(4))
    assert "the top field" in of_long.what
