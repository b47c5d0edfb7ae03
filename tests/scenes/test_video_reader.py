"""Frames out of videos: what was written comes back, and what ffmpeg cannot read is said."""

import os
import re
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import frames as frames_module
from nerfkit.scenes.readers import video
from nerfkit.scenes.readers._profiles import bt2020_profile
from nerfkit.scenes.readers.frames import read_frames

DATA = Path(os.environ.get("NERFKIT_TEST_DATA", "absent"))


def burst(n=5, shape=(24, 32, 3), seed=0):
    """Smooth frames, which codecs keep; each is brighter than the one before."""
    coarse = np.random.default_rng(seed).integers(30, 180, (n, 3, 4, 3), dtype=np.uint8)
    big = [np.asarray(Image.fromarray(c).resize(shape[1::-1], Image.Resampling.BICUBIC)) for c in coarse]
    return np.stack([b // 2 + np.uint8(20 * (i % 6)) for i, b in enumerate(big)])


def write(path, pixels, *options, fps=8):
    """Encode frames with ffmpeg's own choice for the suffix, plus options."""
    h, w = pixels.shape[1:3]
    layout = {1: "gray", 3: "rgb24"}[pixels.shape[3] if pixels.ndim == 4 else 1]
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", layout),
        *("-s", f"{w}x{h}", "-r", str(fps), "-i", "pipe:0", *options, str(path)),
    ]
    subprocess.run(command, input=pixels.tobytes(), check=True)
    return path


def read_video(path, n_frames=None):
    return video.read_video(path, n_frames).pixels


def error_of(path, n_frames=None):
    with pytest.raises(NerfkitError) as caught:
        read_frames(path, n_frames)
    return str(caught.value)


@pytest.mark.parametrize("pix_fmt", ["bgr24", "bgra", "gbrp", "yuv444p"])
def test_lossless_video_comes_back(tmp_path, pix_fmt):
    pixels = burst()
    codec = "ffv1" if pix_fmt in ("gbrp", "yuv444p") else "rawvideo"
    path = write(tmp_path / "f.avi", pixels, "-c:v", codec, "-pix_fmt", pix_fmt)
    read = read_video(path)
    assert read.dtype == np.uint8 and read.shape == pixels.shape
    # a round trip through 8-bit YUV 4:4:4 costs two levels
    assert np.abs(read.astype(int) - pixels).max() <= (2 if pix_fmt == "yuv444p" else 0)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "y4m", "gif"])
def test_every_container(tmp_path, suffix):
    pixels = burst()
    options = () if suffix == "gif" else ("-pix_fmt", "yuv420p")
    frames = read_frames(write(tmp_path / f"clip.{suffix}", pixels, *options))
    assert (len(frames), frames.size, frames.bit_depth, frames.name) == (5, (32, 24), 8, "clip")
    assert frames.files == ["0", "1", "2", "3", "4"] and frames.is_indexed and not frames.is_cut
    # in order, and nearly as written: the frames differ by 20 levels or more; ffmpeg's gif has 8 levels a channel
    error = np.abs(frames.images - pixels / 255).mean(axis=(1, 2, 3)).max()
    assert error < (18 if suffix == "gif" else 5) / 255


def test_more_than_8_bits_are_kept(tmp_path):
    ramp = np.linspace(0, 65535, 32 * 24).astype("<u2").reshape(1, 24, 32)
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "gray16le"),
        *("-s", "32x24", "-i", "pipe:0", "-c:v", "ffv1", str(tmp_path / "f.mkv")),
    ]
    subprocess.run(command, input=ramp.tobytes(), check=True)
    read = read_video(tmp_path / "f.mkv")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, ramp)
    assert read_frames(tmp_path / "f.mkv").bit_depth == 16


def test_grey_stored_as_colour_is_grey(tmp_path):
    grey = burst()[..., 0]
    for options in (("-c:v", "rawvideo", "-pix_fmt", "bgr24"), ("-c:v", "ffv1", "-pix_fmt", "gray")):
        read = read_video(write(tmp_path / "f.avi", grey, *options))
        np.testing.assert_array_equal(read, grey)


def test_one_coloured_pixel_makes_colour(tmp_path):
    pixels = np.repeat(burst()[..., :1], 3, axis=-1)
    pixels[-1, -1, -1, 2] += 1
    path = write(tmp_path / "f.avi", pixels, "-c:v", "rawvideo", "-pix_fmt", "bgr24")
    np.testing.assert_array_equal(read_video(path), pixels)


def test_frames_are_neither_repeated_nor_dropped(tmp_path):
    # 5 frames of very unequal duration: a player's clock would make many of them
    pixels = burst()
    path = write(tmp_path / "f.mkv", pixels, "-c:v", "ffv1", "-pix_fmt", "bgra", "-vf", "setpts='N*N/TB/8'")
    np.testing.assert_array_equal(read_video(path), pixels)


def test_odd_sizes(tmp_path):
    pixels = burst(shape=(25, 33, 3))
    path = write(tmp_path / "f.avi", pixels, "-c:v", "rawvideo", "-pix_fmt", "bgr24")
    np.testing.assert_array_equal(read_video(path), pixels)


def test_black_and_white_video(tmp_path):
    bits = (burst(shape=(24, 32, 3))[..., 0] > 90).astype(np.uint8) * 255
    path = write(tmp_path / "f.mkv", bits, "-c:v", "png", "-pix_fmt", "monob")
    assert set(np.unique(read_video(path))) == {0, 255}


@pytest.mark.parametrize(
    "options, turn",
    [
        (["-display_rotation", "90"], lambda f: np.rot90(f, axes=(1, 2))),
        (["-display_rotation", "180"], lambda f: f[:, ::-1, ::-1]),
        (["-display_rotation", "270"], lambda f: np.rot90(f, -1, axes=(1, 2))),
        (["-display_hflip"], lambda f: f[:, :, ::-1]),
        (["-display_vflip"], lambda f: f[:, ::-1]),
        (["-display_rotation", "90", "-display_hflip"], lambda f: np.rot90(f, axes=(1, 2))[:, :, ::-1]),
    ],
)
def test_video_is_turned_and_mirrored_upright(tmp_path, options, turn):
    pixels = burst()
    write(tmp_path / "plain.mp4", pixels, "-c:v", "libx264rgb", "-crf", "0")
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *options),
        *("-i", str(tmp_path / "plain.mp4"), "-c", "copy", str(tmp_path / "f.mp4")),
    ]
    subprocess.run(command, check=True)
    np.testing.assert_array_equal(read_video(tmp_path / "f.mp4"), turn(pixels))


def test_first_frames_only(tmp_path):
    path = write(tmp_path / "f.avi", burst(), "-c:v", "rawvideo", "-pix_fmt", "bgr24")
    frames = read_frames(path, 2)
    assert frames.files == ["0", "1"] and frames.is_cut
    message = f"{path}: 6 frames are wanted, the video has 5; give --frames 5 or less, or leave it out"
    assert error_of(path, 6) == message


def test_chroma_is_interpolated(tmp_path):
    pixels = burst(shape=(96, 128, 3))
    flags = ("-sws_flags", "bicubic+full_chroma_int+accurate_rnd")
    path = write(tmp_path / "f.mkv", pixels, "-c:v", "ffv1", "-pix_fmt", "yuv420p", *flags)
    assert np.sqrt(np.mean((read_video(path) - pixels.astype(float)) ** 2)) < 1  # the nearest chroma: 1.5


@pytest.mark.parametrize("name", ["http:a %d.avi", "-y.avi"])
def test_name_that_ffmpeg_could_mistake(tmp_path, monkeypatch, name):
    write(tmp_path / "f.avi", burst(), "-c:v", "rawvideo", "-pix_fmt", "bgr24").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read_video(name)) == 5


# --- what the file says of its values and their shape ---


def tagged(path, curve, pixels=None):
    """Frames stored without loss, with the name of a transfer curve."""
    pixels = burst() if pixels is None else pixels
    tags = ("-vf", f"setparams=color_primaries=bt709:color_trc={curve}:colorspace=gbr", "-color_trc", curve)
    return write(path, pixels, "-c:v", "libx264rgb", "-crf", "0", *tags)


@pytest.mark.parametrize(
    ("curve", "name"),
    [
        ("bt709", "bt709"), ("bt2020-10", "bt709"), ("bt470m", "gamma22"), ("bt470bg", "gamma28"),
        ("linear", "linear"),
        ("iec61966-2-1", "srgb"), ("smpte2084", "srgb"), ("arib-std-b67", "srgb"), ("log100", "srgb"),
    ],
)  # fmt: skip
def test_the_curve_is_the_one_that_the_file_names(tmp_path, curve, name):
    findings = Findings()
    frames = read_frames(tagged(tmp_path / "f.mp4", curve), findings=findings)
    assert frames.curve == name
    is_hdr = curve in ("smpte2084", "arib-std-b67", "log100")
    assert any("high dynamic range" in finding.what for finding in findings) == is_hdr
    assert np.array_equal(frames.images, np.float32(burst()) / np.float32(255)) != is_hdr


def test_a_video_that_names_no_curve_has_none(tmp_path):
    assert read_frames(write(tmp_path / "f.avi", burst(), "-c:v", "rawvideo", "-pix_fmt", "bgr24")).curve is None


def pq(light):
    """SMPTE ST 2084 of light in units of SDR white, 203 cd/m2."""
    y = np.clip(light * 203 / 10000, 0, 1) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg(light):
    """ITU-R BT.2100 of light in units of SDR white, which is 75 % of the signal."""
    e = np.clip(light * 0.2645, 0, 1)
    return np.where(
        e <= 1 / 12, np.sqrt(3 * e), 0.17883277 * np.log(np.maximum(12 * e - 0.28466892, 1e-9)) + 0.55991073
    )


@pytest.mark.parametrize(("curve", "encode"), [("smpte2084", pq), ("arib-std-b67", hlg)])
@pytest.mark.parametrize("codec", ["libx265", "ffv1"])
def test_hdr_video_is_as_bright_and_coloured_as_sdr(tmp_path, curve, encode, codec):
    # patches of 8 pixels, which chroma of half the resolution holds; the brightest is twice SDR white
    light = np.array([[0.02, 0.1, 0.4], [0.9, 0.2, 0.05], [0.1, 0.8, 0.3], [0.5, 0.5, 0.5], [2.0, 2.0, 2.0], [0.0] * 3])
    flat = np.repeat(np.repeat(light[None, None], 3, 0), 16, 1)
    signal = np.round(encode(np.repeat(flat, 16, 2)) * 65535).astype("<u2")  # [3, 16, 96, 3]
    path = tmp_path / "f.mkv"
    primaries = f"color_primaries=bt2020:color_trc={curve}:colorspace=bt2020nc"
    options = ("-x265-params", "log-level=error:lossless=1:pools=1") if codec == "libx265" else ()
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "96x16"),
        *(
            "-i",
            "pipe:0",
            "-vf",
            f"scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le,setparams={primaries}",
        ),
        *("-c:v", codec, *options, "-color_trc", curve, "-colorspace", "bt2020nc", "-color_range", "tv", str(path)),
    ]
    subprocess.run(command, input=signal.tobytes(), check=True)
    frames = read_frames(path)
    assert frames.curve == "srgb" and frames.bit_depth == 16 and frames.icc_profiles == [bt2020_profile()] * 3
    shown = frames.images[0, 8, 8::16]
    wanted = np.clip(light, 0, 1)
    wanted = np.where(wanted <= 0.0031308, wanted * 12.92, 1.055 * wanted ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(shown, wanted, atol=0.02)


@pytest.mark.parametrize(
    ("aspect", "turn", "said"),
    [
        ("32/27", None, "pixels are 32:27, not square: the frames' 72x60 are shown as 85x60; .* 1.19 times too narrow"),
        ("8/9", None, "pixels are 8:9, not square: the frames' 72x60 are shown as 72x68; .* 1.12 times too wide"),
        ("32/27", "90", "pixels are 27:32, not square: the frames' 60x72 are shown as 60x85; .* 1.19 times too wide"),
        ("1/1", None, ""),
    ],
)
def test_pixels_that_are_not_square_are_said(tmp_path, aspect, turn, said):
    path = write(tmp_path / "f.mp4", burst(shape=(60, 72, 3)), "-vf", f"setsar={aspect}", "-pix_fmt", "yuv420p")
    if turn:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-display_rotation", turn, "-i", str(path)]
        path = tmp_path / "turned.mp4"
        subprocess.run([*command, "-c", "copy", str(path)], check=True)
    findings = Findings()
    frames = read_frames(path, findings=findings)
    assert frames.size == ((60, 72) if turn else (72, 60))
    texts = [finding.what for finding in findings]
    assert bool(re.search(said, texts[0])) if said else not texts


# --- errors ---


def test_absent_or_empty_video(tmp_path):
    with pytest.raises(NerfkitError, match="no such video"):
        read_video(tmp_path / "f.mp4")
    (tmp_path / "f.mp4").touch()
    assert error_of(tmp_path / "f.mp4").startswith(f"{tmp_path / 'f.mp4'}: the video is empty (0 bytes)")


@pytest.mark.parametrize("suffix", ["mp4", "avi", "gif", "mkv", "y4m"])
def test_what_is_no_video(tmp_path, suffix):
    path = tmp_path / f"f.{suffix}"
    path.write_bytes(b"this is no video" * 100)
    message = error_of(path)
    assert "no frame can be read from this video; ffmpeg says: " in message
    assert "says: nothing" not in message and len(message) < 700 and " @ 0x" not in message


def test_file_with_sound_alone(tmp_path):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "sine=duration=1"]
    subprocess.run([*command, str(tmp_path / "f.mp4")], check=True)
    assert "this file holds no video; give one that shows frames" in error_of(tmp_path / "f.mp4")


def test_video_of_no_frames(tmp_path):
    path = tmp_path / "f.y4m"
    path.write_bytes(b"YUV4MPEG2 W32 H24 F8:1 Ip A1:1 C420jpeg\n")
    assert "no frame can be read from this video" in error_of(path)


def test_video_cut_short_gives_what_it_has_and_warns(tmp_path, caplog):
    path = write(tmp_path / "f.mkv", burst(20, (96, 128, 3)), "-c:v", "ffv1", "-pix_fmt", "bgra")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = read_frames(path)
    assert 5 <= len(frames) < 20
    assert f"ffmpeg read {len(frames)} frames and complains: " in caplog.text


def test_damaged_frames_are_passed_over_with_a_warning(tmp_path, caplog):
    path = write(tmp_path / "f.mp4", burst(30, (96, 128, 3)), "-pix_fmt", "yuv420p")
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 3000
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    frames = read_frames(path)
    assert 5 <= len(frames) < 30
    assert f"ffmpeg read {len(frames)} frames and complains: " in caplog.text


def test_title_that_is_no_text(tmp_path):
    path = write(tmp_path / "f.mkv", burst(), "-c:v", "ffv1", "-pix_fmt", "bgra", "-metadata", "title=TITLE")
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"T\xf9TLE"))
    assert len(read_video(path)) == 5


def test_codec_that_nobody_knows(tmp_path):
    path = write(tmp_path / "f.mkv", burst(), "-c:v", "ffv1", "-pix_fmt", "bgra")
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_FFXX").replace(b"FFV1", b"FFXX"))
    assert "there is no decoder for this video's pictures; convert it to mp4" in error_of(path)


def test_frames_of_several_sizes(tmp_path):
    path = tmp_path / "f.avi"  # what is in it counts, not its name
    for number, size in enumerate([(32, 24), (32, 24), (48, 24)]):
        Image.new("RGB", size, (9 * number, 0, 0)).save(tmp_path / "one.jpg")
        with path.open("ab") as file:
            file.write((tmp_path / "one.jpg").read_bytes())
    message = "frame 2 has another size than those before: 48x24, not 32x24; give --frames 2 or less"
    assert message in error_of(path)
    assert len(read_video(path, 2)) == 2


def test_no_pyav(tmp_path, monkeypatch):
    path = write(tmp_path / "f.avi", burst(), "-c:v", "rawvideo", "-pix_fmt", "bgr24")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingCapabilityError, match=r"av: a video needs PyAV, .*; pip install av, or give a folder"):
        read_video(path)


def test_beside_opencv(tmp_path):
    # both wheels bring ffmpeg's libraries; whichever is loaded first
    path = write(tmp_path / "f.mp4", burst(), "-pix_fmt", "yuv420p")
    code = "from nerfkit.scenes.readers.video import read_video; import cv2, sys; cv2.setNumThreads(1)\n"
    code += "pixels = read_video(sys.argv[1]).pixels; print(len(pixels), cv2.GaussianBlur(pixels[0], (3, 3), 1).shape)"
    for first in ("av", "cv2"):
        command = [sys.executable, "-c", f"import {first}\n{code}", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "5 (24, 32, 3)\n" and not done.stderr


def test_video_that_does_not_fit_in_memory(tmp_path, monkeypatch):
    path = write(tmp_path / "f.avi", burst(), "-c:v", "rawvideo", "-pix_fmt", "bgr24")
    monkeypatch.setattr(frames_module, "physical_memory", lambda: 2 * 4 * 5 * 24 * 32 * 3 - 1)
    assert "half of this machine's memory" in error_of(path)
    assert len(read_frames(path, 4)) == 4


# --- real sequences ---


@pytest.mark.parametrize("file", ["eia/eia_lr.avi", "text/text.avi", "bookcase_color/Book_case1_small.avi"])
def test_real_avi_equals_its_pngs(file):
    path = DATA / "sr" / file
    if not path.is_file():
        pytest.skip(f"NERFKIT_TEST_DATA has no sr/{file}")
    video, folder = read_frames(path), read_frames(path.parent / "frames")
    np.testing.assert_array_equal(video.images, folder.images)
