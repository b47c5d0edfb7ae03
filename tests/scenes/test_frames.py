"""Frames of super-resolution from folders, patterns, images of every depth, and arrays."""

import os
import re
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import frames as module
from nerfkit.scenes.readers.frames import natural_key, read_frames

DATA = Path(os.environ.get("NERFKIT_TEST_DATA") or "absent")
# data/MANIFEST.md: frames, then width and height
SEQUENCES = {
    "eia": (16, (90, 90), 3),
    "text": (30, (49, 57), 3),
    "alpaca": (55, (128, 96), 3),
    "bookcase_color": (30, (121, 91), 4),
}


def noise(shape, dtype: Any = np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def save(folder, name, pixels, **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def save_cv2(folder, name, pixels):
    """RGB(A) in whatever depth; written by OpenCV, which keeps 16 bits and floats."""
    order = [2, 1, 0, 3][: pixels.shape[2]] if pixels.ndim == 3 else slice(None)
    assert cv2.imwrite(str(folder / name), pixels[..., order] if pixels.ndim == 3 else pixels)
    return folder / name


def save_three(folder, names=("frame1.png", "frame2.png", "frame10.png"), shape=(4, 6)):
    for i, name in enumerate(names):
        save(folder, name, noise(shape, seed=i))
    return folder


def error_of(path, n_frames=None):
    with pytest.raises(NerfkitError) as caught:
        read_frames(path, n_frames)
    return str(caught.value)


# --- where frames come from ---


def test_folder_is_read_in_natural_order_and_other_files_are_ignored(tmp_path):
    save_three(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "._frame1.png").write_bytes(b"macOS leaves these")
    (tmp_path / "sub.png").mkdir()
    frames = read_frames(tmp_path)
    assert frames.files == ["frame1.png", "frame2.png", "frame10.png"]
    assert frames.images.shape == (3, 4, 6) and frames.images.dtype == np.float32
    assert (frames.size, frames.bit_depth, frames.name) == ((6, 4), 8, tmp_path.name)
    assert frames.root == tmp_path and frames.shifts_file is None and not frames.is_indexed
    np.testing.assert_array_equal(frames.images[2], noise((4, 6), seed=2) / np.float32(255))


def test_shifts_csv_in_the_folder_is_reported(tmp_path):
    save_three(tmp_path)
    (tmp_path / "shifts.csv").write_text("file,dx,dy\n")
    assert read_frames(tmp_path).shifts_file == tmp_path / "shifts.csv"
    assert read_frames(tmp_path / "frame*.png").shifts_file == tmp_path / "shifts.csv"
    assert read_frames(tmp_path / "frame1.png").shifts_file is None


def test_natural_order_of_awkward_names():
    names = ["b2.png", "b10.png", "10.png", "9.png", "b02.png", "a.png", "b.png"]
    assert sorted(names, key=natural_key) == ["9.png", "10.png", "a.png", "b02.png", "b2.png", "b10.png", "b.png"]


def test_pattern_takes_what_matches_relative_to_its_fixed_part(tmp_path):
    save_three(tmp_path, ("a/x10.png", "b/x2.png", "b/y1.png"))
    (tmp_path / "a/x3.txt").write_text("no image")
    frames = read_frames(tmp_path / "*" / "x*")
    assert frames.files == ["a/x10.png", "b/x2.png"] and frames.root == tmp_path
    assert frames.name == tmp_path.name


def test_pattern_in_the_working_folder(tmp_path, monkeypatch):
    save_three(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert read_frames("frame?.png").files == ["frame1.png", "frame2.png"]
    assert read_frames("frame?.png").name == tmp_path.name


def test_name_with_brackets_that_exists_is_no_pattern(tmp_path):
    save_three(tmp_path / "burst[1]")
    assert len(read_frames(tmp_path / "burst[1]")) == 3


def test_pattern_of_one_array_is_that_array(tmp_path):
    np.savez(tmp_path / "burst.npz", noise((2, 4, 6)))
    assert read_frames(tmp_path / "*.npz").files == ["0", "1"]


def test_single_image_is_one_frame(tmp_path):
    save_three(tmp_path)
    frames = read_frames(str(tmp_path / "frame2.png"))
    assert (frames.files, frames.images.shape, frames.name) == (["frame2.png"], (1, 4, 6), "frame2")
    assert frames.root == tmp_path


def test_first_frames_only(tmp_path):
    save_three(tmp_path)
    frames = read_frames(tmp_path, 2)
    assert frames.files == ["frame1.png", "frame2.png"] and frames.is_cut
    assert not read_frames(tmp_path, 3).is_cut


# --- pixels ---


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_8_bits(tmp_path, suffix, shape):
    pixels = noise(shape)
    frames = read_frames(save(tmp_path, f"f.{suffix}", pixels))
    assert frames.bit_depth == 8
    np.testing.assert_array_equal(frames.images[0], pixels / np.float32(255))


def test_jpeg(tmp_path):
    pixels = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    frames = read_frames(save(tmp_path, "f.JPG", pixels, quality=95))
    np.testing.assert_allclose(frames.images[0], pixels / 255, atol=2 / 255)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_16_bits_are_kept(tmp_path, suffix, shape):
    pixels = noise(shape, np.uint16)
    frames = read_frames(save_cv2(tmp_path, f"f.{suffix}", pixels))
    assert frames.bit_depth == 16 and frames.images.shape == (1, *shape)
    np.testing.assert_array_equal(frames.images[0], pixels / np.float32(65535))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_of_every_depth_is_kept(tmp_path, suffix, dtype):
    pixels = noise((4, 6, 4), dtype)
    frames = read_frames(save_cv2(tmp_path, f"f.{suffix}", pixels))
    white = np.float32(np.iinfo(dtype).max)
    np.testing.assert_array_equal(frames.images[0], pixels[..., :3] / white)
    assert frames.alpha is not None
    np.testing.assert_array_equal(frames.alpha[0], pixels[..., 3] / white)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_float_tiff(tmp_path, dtype, shape):
    pixels = np.random.default_rng(0).random(shape).astype(dtype)
    frames = read_frames(save_cv2(tmp_path, "f.tif", pixels))
    assert frames.bit_depth == 32
    np.testing.assert_array_equal(frames.images[0], pixels.astype(np.float32))


def test_floats_keep_the_noise_outside_0_and_1(tmp_path):
    np.save(tmp_path / "f.npy", np.array([[[-0.03, 1.04]]]))
    np.testing.assert_allclose(read_frames(tmp_path / "f.npy").images, [[[-0.03, 1.04]]])


def test_black_and_white_and_palettes(tmp_path):
    bits = np.array([[True, False, True]])
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_frames(tmp_path / "bits.png").images[0], bits)
    colours = np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_frames(tmp_path / "palette.png").images[0], colours / 255)


def test_opaque_alpha_is_dropped_silently(tmp_path, caplog):
    save(tmp_path, "f.png", np.dstack([noise((4, 6, 3)), np.full((4, 6), 255, np.uint8)]))
    frames = read_frames(tmp_path)
    assert frames.images.shape == (1, 4, 6, 3) and frames.alpha is None and not caplog.records


def test_grey_with_alpha_stays_grey(tmp_path):
    Image.merge("LA", [Image.new("L", (6, 4), 51), Image.new("L", (6, 4), 9)]).save(tmp_path / "f.png")
    frames = read_frames(tmp_path)
    assert frames.images.shape == (1, 4, 6) and np.allclose(frames.images, 0.2)
    assert frames.alpha is not None and np.allclose(frames.alpha, 9 / 255)


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (noise((4, 6, 3)), "8 bits of RGB"),
        (noise((4, 6), np.uint16), "16 bits of grey"),
        (noise((4, 6, 4)), "8 bits of RGB with alpha"),
    ],
)
def test_frames_of_different_kinds_are_named(tmp_path, pixels, kind):
    save(tmp_path, "1.png", noise((4, 6)))
    save_cv2(tmp_path, "2.png", pixels)
    wanted = f"different kinds: 1.png has 8 bits of grey, 2.png has {kind}; frames must be of one size and kind"
    assert wanted in error_of(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exif_orientation(tmp_path, orientation, suffix, dtype):
    # Pillow's own turning of a PNG is the truth
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = noise((4, 6), dtype)
    turned = ImageOps.exif_transpose(Image.open(save(tmp_path, "truth.png", pixels, exif=exif)))
    frames = read_frames(save(tmp_path, f"f.{suffix}", pixels, exif=exif))
    np.testing.assert_array_equal(frames.images[0], np.asarray(turned) / np.float32(np.iinfo(dtype).max))


def test_exif_orientation_of_16_bit_colour(tmp_path):
    pixels = noise((4, 6, 3), np.uint16)
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    plain = save_cv2(tmp_path, "f.png", pixels).read_bytes()
    chunk = b"eXIf" + exif
    chunk = len(exif).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    (tmp_path / "f.png").write_bytes(plain[:33] + chunk + plain[33:])  # after IHDR
    np.testing.assert_array_equal(read_frames(tmp_path).images[0], np.rot90(pixels, -1) / np.float32(65535))


def test_colour_profiles_are_kept(tmp_path, caplog):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save(tmp_path, "1.png", noise((4, 6, 3)), icc_profile=profile)
    save(tmp_path, "2.png", noise((4, 6, 3)))
    assert read_frames(tmp_path).icc_profiles == [profile, None]
    assert "1 of 2 frames: has another profile than 1.png (2.png)" in caplog.text


# --- arrays ---


@pytest.mark.parametrize(("dtype", "bit_depth"), [(np.uint8, 8), (np.uint16, 16), (np.float16, 32), (np.float64, 32)])
@pytest.mark.parametrize("shape", [(3, 4, 6), (3, 4, 6, 3)])
def test_arrays(tmp_path, dtype, bit_depth, shape):
    is_float = np.dtype(dtype).kind == "f"
    pixels = np.random.default_rng(0).random(shape).astype(dtype) if is_float else noise(shape, dtype)
    np.savez(tmp_path / "burst.npz", whatever=pixels)
    frames = read_frames(tmp_path / "burst.npz")
    assert (frames.files, frames.bit_depth, frames.name) == (["0", "1", "2"], bit_depth, "burst")
    assert frames.is_indexed and frames.images.dtype == np.float32
    white = 1 if is_float else np.iinfo(dtype).max
    np.testing.assert_array_equal(frames.images, pixels.astype(np.float32) / np.float32(white))


def test_array_of_big_endian_or_with_alpha_or_one_channel(tmp_path):
    for i, pixels in enumerate((noise((2, 4, 6, 4)), noise((2, 4, 6, 1)))):
        np.save(tmp_path / f"{i}.npy", pixels)
    with_alpha = read_frames(tmp_path / "0.npy")
    assert with_alpha.images.shape == (2, 4, 6, 3) and with_alpha.alpha is not None
    np.testing.assert_array_equal(with_alpha.alpha, np.load(tmp_path / "0.npy")[..., 3] / np.float32(255))
    assert read_frames(tmp_path / "1.npy").images.shape == (2, 4, 6)
    np.save(tmp_path / "big.npy", np.full((1, 2, 2), 65535, ">u2"))
    assert (read_frames(tmp_path / "big.npy").images == 1).all()


def test_array_is_chosen_by_its_name(tmp_path):
    np.savez(tmp_path / "f.npz", y=noise((5, 4, 6)), truth=noise((1, 8, 12)))
    assert len(read_frames(tmp_path / "f.npz")) == 5
    frames = read_frames(tmp_path / "f.npz", 2)
    assert len(frames) == 2 and frames.is_cut
    np.savez(tmp_path / "f.npz", a=noise((5, 4, 6)), truth=noise((1, 8, 12)))
    assert "found a, truth; one of frames, images, y is wanted" in error_of(tmp_path / "f.npz")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 6, 3), np.uint8), r"have shape \(4, 6, 3\); .*a\[None\] if it is one frame of 3 colours"),
        (np.zeros((2, 6, 7, 5), np.uint8), r"have shape \(2, 6, 7, 5\)"),
        (np.zeros((0, 4, 6), np.uint8), r"have shape \(0, 4, 6\)"),
        (np.zeros((2, 4, 6), complex), r"are complex128"),
        (np.array([[["a"]]]), r"are <U1"),
        (np.array([[[None]]]), r"cannot be read \(Object arrays.*np\.stack"),
    ],
)
def test_wrong_array(tmp_path, array, message):
    np.savez(tmp_path / "f.npz", array)
    assert re.search(message, error_of(tmp_path / "f.npz"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY\x01\x00"])
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_broken_array_file(tmp_path, content, suffix):
    (tmp_path / f"f.{suffix}").write_bytes(content)
    assert "this array cannot be read" in error_of(tmp_path / f"f.{suffix}")


def test_array_file_cut_short(tmp_path):
    np.savez(tmp_path / "f.npz", noise((3, 40, 60)))
    content = (tmp_path / "f.npz").read_bytes()
    (tmp_path / "f.npz").write_bytes(content[: len(content) // 2])
    assert "this array cannot be read" in error_of(tmp_path / "f.npz")


# --- errors ---


def test_no_such_path(tmp_path):
    assert error_of(tmp_path / "absent") == (
        f"{tmp_path / 'absent'}: no such file or folder; give a folder of frames, or {module.KINDS}"
    )


def test_pattern_without_match(tmp_path):
    save_three(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.txt").write_text("x")
    assert "nothing matches; give a pattern" in error_of(tmp_path / "x*.png")
    assert "2 files match and none is an image: a.txt, b.txt" in error_of(tmp_path / "*.txt")


def test_folder_without_frames_says_what_is_there(tmp_path):
    assert "no frames in this folder; found an empty folder" in error_of(tmp_path)
    save_three(tmp_path / "frames")
    (tmp_path / "burst.avi").write_bytes(b"x")
    assert "found burst.avi, frames/; give the folder that the frames are in" in error_of(tmp_path)


def test_file_of_another_kind(tmp_path):
    (tmp_path / "burst.mat").write_bytes(b"x")
    assert "frames cannot be read from a .mat; give" in error_of(tmp_path / "burst.mat")
    (tmp_path / "burst").write_bytes(b"x")
    assert "frames cannot be read from a file without suffix" in error_of(tmp_path / "burst")


def test_frames_of_different_sizes_names_the_first_two(tmp_path):
    save_three(tmp_path)
    save(tmp_path, "frame3.png", noise((4, 7)))
    save(tmp_path, "frame4.png", noise((5, 7)))
    message = "different sizes: frame1.png has 6x4 pixels, frame3.png has 7x4 pixels; frames must be of one size"
    assert message in error_of(tmp_path)
    assert len(read_frames(tmp_path, 2)) == 2  # only those taken are compared


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
@pytest.mark.parametrize("what", ["empty", "text", "truncated"])
def test_unreadable_frame_is_named(tmp_path, suffix, what):
    save_three(tmp_path)
    path = save(tmp_path, f"frame3.{suffix}", noise((40, 60, 3)))
    content = {"empty": b"", "text": b"no image", "truncated": path.read_bytes()[: path.stat().st_size // 2]}
    path.write_bytes(content[what])
    message = error_of(tmp_path)
    assert message.startswith(f"{path}: this frame cannot be read (")
    assert message.endswith("; replace it, or take it out of the folder")
    assert ("empty, 0 bytes" in message) == (what == "empty")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word on the same damage
@pytest.mark.parametrize("pixels", [noise((40, 60, 3), np.uint16), np.full((40, 60, 3), 0.5, np.float32)])
def test_truncated_deep_frame(tmp_path, pixels):
    path = save_cv2(tmp_path, "f.png" if pixels.dtype == np.uint16 else "f.tif", pixels)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "this frame cannot be read" in error_of(tmp_path)


def test_32_bit_integers_are_refused(tmp_path):
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(tmp_path / "f.tif")
    assert "32-bit pixels, 0 to 70000; 8 or 16 bits or floats can be read" in error_of(tmp_path)


def test_absurdly_large_frame(tmp_path, monkeypatch):
    save_three(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    assert "decompression bomb" in error_of(tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path, bad):
    pixels = np.zeros((3, 4, 6), np.float32)
    pixels[1, 2, 3] = bad
    np.save(tmp_path / "f.npy", pixels)
    assert "frame 1: 1 of its 24 values are NaN or infinite, the first at row" in error_of(tmp_path / "f.npy")
    save_cv2(tmp_path, "1.tif", pixels[1])
    assert "frame 1.tif: 1 of its" in error_of(tmp_path)


def test_floats_in_another_unit(tmp_path):
    save_cv2(tmp_path, "f.tif", np.array([[0.0, 254.5]], np.float32))
    message = "frame f.tif holds floats from 0 to 254.5; 0 to 1 is wanted; divide all frames by the value of white"
    assert message in error_of(tmp_path / "f.tif")


@pytest.mark.parametrize("n_frames", [0, -1])
def test_number_of_frames_below_one(tmp_path, n_frames):
    save_three(tmp_path)
    assert f"--frames: the number of frames must be 1 or more; got {n_frames}" in error_of(tmp_path, n_frames)


def test_more_frames_than_there_are(tmp_path):
    save_three(tmp_path)
    np.save(tmp_path / "f.npy", noise((3, 4, 6)))
    for path in (tmp_path, tmp_path / "f.npy"):
        assert "4 frames are wanted, there are 3; give --frames 3 or less" in error_of(path, 4)


def test_frames_that_do_not_fit_in_memory(tmp_path, monkeypatch):
    save_three(tmp_path)
    np.save(tmp_path / "f.npy", noise((3, 4, 6)))
    monkeypatch.setattr(module, "_physical_memory", lambda: 2 * 4 * 72 - 1)  # three frames of 24 floats
    for path in (tmp_path, tmp_path / "f.npy"):
        assert "half of this machine's memory" in error_of(path)
        assert len(read_frames(path, 2)) == 2


# --- real sequences ---


@pytest.mark.parametrize("name", SEQUENCES)
def test_real_sequences(name):
    folder = DATA / "sr" / name / "frames"
    if not folder.is_dir():
        pytest.skip(f"NERFKIT_TEST_DATA has no sr/{name}")
    n_frames, size, n_dims = SEQUENCES[name]
    frames = read_frames(folder)
    assert (len(frames), frames.size, frames.images.ndim, frames.bit_depth) == (n_frames, size, n_dims, 8)
    assert frames.files[:2] == ["frame_001.png", "frame_002.png"] and 0.05 < frames.images.std() < 0.5


def test_real_folder_with_its_truth_among_the_frames():
    folder = DATA / "sr" / "carta_with_gt"
    if not folder.is_dir():
        pytest.skip("NERFKIT_TEST_DATA has no sr/carta_with_gt")
    assert "carta_1.png has 62x62 pixels, cartaOriginal.png has 124x124 pixels" in error_of(folder)
    frames = read_frames(folder / "carta_*.png")
    assert (len(frames), frames.size) == (5, (62, 62))
