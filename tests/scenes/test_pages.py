"""Files of several frames: TIFF stacks of every depth, compression and origin, animations, folders of stacks."""

from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.readers.shifts import read_shifts, write_shifts

N, HEIGHT, WIDTH = 5, 24, 30


def noise(*shape, dtype: Any = np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def pictures(*shape, dtype: Any = np.uint8):
    return [Image.fromarray(noise(*shape, dtype=dtype, seed=i)) for i in range(N)]


def save_all(path, images, **options):
    images[0].save(path, save_all=True, append_images=images[1:], **options)
    return path


def error_of(path, n_frames=None):
    with pytest.raises(NerfkitError) as caught:
        read_frames(path, n_frames)
    return str(caught.value)


def said_of(path):
    findings = Findings()
    return read_frames(path, findings=findings), [finding.what for finding in findings]


# --- TIFF ---


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("colours", [(), (3,)])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"compression": "zlib"}, {"byteorder": ">"}])
def test_pages_are_frames(tmp_path, dtype, colours, options):
    stack = noise(N, HEIGHT, WIDTH, *colours, dtype=np.uint16)
    is_float, white = np.dtype(dtype).kind == "f", 65535
    if dtype == np.uint8:
        stack, white = stack >> 8, 255
    pixels = (stack / white).astype(dtype) if is_float else stack.astype(dtype)
    tifffile.imwrite(tmp_path / "stack.tif", pixels, photometric="rgb" if colours else "minisblack", **options)
    frames = read_frames(tmp_path / "stack.tif")
    assert frames.files == ["0", "1", "2", "3", "4"] and frames.is_indexed and frames.name == "stack"
    assert frames.bit_depth == (32 if is_float else 8 if dtype == np.uint8 else 16)
    np.testing.assert_allclose(frames.images, stack / white, atol=1e-7)


def test_colour_in_planes(tmp_path):
    stack = noise(N, 3, HEIGHT, WIDTH, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "f.tif", stack, photometric="rgb", planarconfig="separate")
    np.testing.assert_allclose(read_frames(tmp_path / "f.tif").images, np.moveaxis(stack, 1, -1) / 65535, atol=1e-7)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_deflate"])
@pytest.mark.parametrize("colours", [(), (3,), (4,)])
def test_compressions_of_8_bits(tmp_path, compression, colours):
    images = pictures(HEIGHT, WIDTH, *colours)
    frames = read_frames(save_all(tmp_path / "f.tif", images, compression=compression))
    pixels = np.stack([np.asarray(image) for image in images])
    np.testing.assert_allclose(frames.images, pixels[..., :3] / 255 if colours else pixels / 255, atol=1e-7)
    assert (frames.alpha is not None) == (colours == (4,))


def test_lzw_of_16_bits_of_colour(tmp_path):
    stack = noise(N, HEIGHT, WIDTH, 3, dtype=np.uint16)
    cv2.imwritemulti(str(tmp_path / "f.tif"), [page[..., ::-1] for page in stack], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    np.testing.assert_allclose(read_frames(tmp_path / "f.tif").images, stack / 65535, atol=1e-7)


@pytest.mark.parametrize("mode", ["1", "P", "L"])
def test_palettes_and_black_and_white(tmp_path, mode):
    images = [image.convert(mode) for image in pictures(HEIGHT, WIDTH, 3)]
    frames = read_frames(save_all(tmp_path / "f.tif", images))
    wanted = np.stack([np.asarray(image.convert("RGB" if mode == "P" else "L")) for image in images])
    np.testing.assert_allclose(frames.images, wanted / 255, atol=1e-7)


@pytest.mark.parametrize("axes", ["TYX", "ZYX", "CYX"])
@pytest.mark.parametrize("truncate", [False, True], ids=["directories", "one directory"])
def test_stacks_of_imagej(tmp_path, axes, truncate):
    # ImageJ writes one directory above 4 GB, with the planes behind it
    stack = noise(N, HEIGHT, WIDTH, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "f.tif", stack, imagej=True, metadata={"axes": axes}, truncate=truncate)
    np.testing.assert_allclose(read_frames(tmp_path / "f.tif").images, stack / 65535, atol=1e-7)
    assert read_frames(tmp_path / "f.tif", 2).is_cut


@pytest.mark.parametrize(("axes", "shape"), [("TCYX", (4, 2)), ("CYX", (3,)), ("ZCYX", (4, 3))])
def test_channels_are_not_frames(tmp_path, axes, shape):
    stack = noise(*shape, HEIGHT, WIDTH, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "f.tif", stack, imagej=True, metadata={"axes": axes})
    assert f"its pages are {shape[-1]} channels (" in error_of(tmp_path / "f.tif")


def test_several_heights_at_several_times_are_said(tmp_path):
    stack = noise(4, 3, HEIGHT, WIDTH, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "f.tif", stack, imagej=True, metadata={"axes": "TZYX"})
    frames, said = said_of(tmp_path / "f.tif")
    assert len(frames) == 12 and said == ["its pages are 4 T x 3 Z, and all are taken for frames of one scene"]


@pytest.mark.parametrize("options", [{}, {"subfiletype": 1}])
@pytest.mark.parametrize("n_frames", [1, 5])
@pytest.mark.parametrize("at", [0, -1])
def test_thumbnails_are_no_frames(tmp_path, options, n_frames, at):
    whole = [noise(HEIGHT, WIDTH, seed=i) for i in range(n_frames)]
    sizes = [(page, {}) for page in whole]
    sizes.insert(0 if at == 0 else len(sizes), (noise(8, 10), options))
    with tifffile.TiffWriter(tmp_path / "f.tif") as file:
        for page, tags in sizes:
            file.write(page, **tags)
    frames, said = said_of(tmp_path / "f.tif")
    np.testing.assert_array_equal(frames.images, np.stack(whole) / np.float32(255))
    assert "left out: page" in said[0] and "(10x8)" in said[0] and len(said) == 1
    assert frames.files == (["f.tif"] if n_frames == 1 else ["0", "1", "2", "3", "4"])


def test_a_pyramid_is_its_largest(tmp_path):
    with tifffile.TiffWriter(tmp_path / "f.tif") as file:
        for side in (64, 32, 16):
            file.write(noise(side, side))
    assert read_frames(tmp_path / "f.tif").images.shape == (1, 64, 64)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_stack_cut_short(tmp_path, kept, compression):
    path = save_all(tmp_path / "f.tif", pictures(HEIGHT, WIDTH), compression=compression)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert "f.tif: " in error_of(path)


def test_whole_numbers_of_32_bits_that_fit_16(tmp_path):
    stack = noise(N, HEIGHT, WIDTH, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "f.tif", stack.astype(np.uint32), photometric="minisblack")
    np.testing.assert_allclose(read_frames(tmp_path / "f.tif").images, stack / 65535, atol=1e-7)


def test_pages_of_numbers_that_are_too_large(tmp_path):
    tifffile.imwrite(tmp_path / "f.tif", np.full((3, HEIGHT, WIDTH), 70000, np.uint32), photometric="minisblack")
    assert "70000; 8 or 16 bits or floats can be read; save it with 16 bits" in error_of(tmp_path / "f.tif")


# --- animations ---


@pytest.mark.parametrize("name", ["f.webp", "f.png", "f.apng"])
@pytest.mark.parametrize("colours", [(), (3,), (4,)])
def test_animations_of_all_values(tmp_path, name, colours):
    images = pictures(HEIGHT, WIDTH, *colours)
    options = {"lossless": True, "exact": True} if name == "f.webp" else {"format": "PNG", "blend": 0}
    saved = [image.convert("RGB") if not colours and name == "f.webp" else image for image in images]
    frames = read_frames(save_all(tmp_path / name, saved, **options))
    pixels = np.stack([np.asarray(image) for image in images])
    if colours == (4,):  # where nothing is seen WebP keeps no colour
        assert frames.alpha is not None
        np.testing.assert_array_equal(frames.alpha, pixels[..., 3] / np.float32(255))
        frames.images[frames.alpha == 0] = pixels[pixels[..., 3] == 0, :3] / np.float32(255)
    np.testing.assert_allclose(frames.images, pixels[..., :3] / 255 if colours else pixels / 255, atol=1e-7)
    assert frames.files == ["0", "1", "2", "3", "4"]


def test_a_picture_for_those_who_cannot_show_the_others_is_no_frame(tmp_path):
    images = pictures(HEIGHT, WIDTH)
    frames = read_frames(save_all(tmp_path / "f.png", images, default_image=True))
    np.testing.assert_array_equal(
        frames.images, np.stack([np.asarray(image) for image in images[1:]]) / np.float32(255)
    )


def test_a_gif_alone_in_a_folder_and_beside_frames(tmp_path):
    save_all(tmp_path / "preview.gif", pictures(HEIGHT, WIDTH))
    assert len(read_frames(tmp_path)) == len(read_frames(tmp_path / "preview.gif")) == N
    for i, image in enumerate(pictures(HEIGHT, WIDTH)[:3]):
        image.save(tmp_path / f"{i}.png")
    assert read_frames(tmp_path).files == ["0.png", "1.png", "2.png"]


# --- where they lie ---


def write_stacks(folder, *names):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        stack = noise(3, HEIGHT, WIDTH, seed=i)
        tifffile.imwrite(folder / name, stack, photometric="minisblack")
    return folder


def test_a_stack_as_the_only_file_of_a_folder_and_in_a_pattern(tmp_path):
    write_stacks(tmp_path, "stack.tif")
    for path in (tmp_path, tmp_path / "*.tif", tmp_path / "stack.tif"):
        frames, said = said_of(path)
        assert frames.files == ["0", "1", "2"] and frames.is_indexed and not said


def test_several_stacks_are_said_and_their_pages_have_names(tmp_path):
    for path in (write_stacks(tmp_path, "b10.tif", "b2.tif"), tmp_path / "b*.tif"):
        frames, said = said_of(path)
        assert frames.files == [f"{name}:{i}" for name in ("b2.tif", "b10.tif") for i in range(3)]
        assert not frames.is_indexed and len(said) == 1
        assert "2 of 2 files hold several pages, each of which is taken for a frame of one scene: b2.tif (3)" in said[0]
    write_shifts(tmp_path / "shifts.csv", frames.files, np.zeros((6, 2)) + 0.25)
    assert read_shifts(tmp_path / "shifts.csv", frames).files == frames.files


@pytest.mark.parametrize(("n_frames", "is_cut"), [(1, True), (3, True), (4, True), (6, False)])
def test_first_pages_only(tmp_path, n_frames, is_cut):
    write_stacks(tmp_path, "a.tif", "b.tif")
    frames = read_frames(tmp_path, n_frames)
    assert len(frames) == n_frames and frames.is_cut == is_cut
    assert read_frames(tmp_path / "a.tif", min(n_frames, 3)).is_cut == (n_frames < 3)


def test_more_pages_than_there_are(tmp_path):
    write_stacks(tmp_path, "a.tif", "b.tif")
    assert "7 frames are wanted, there are 6" in error_of(tmp_path, 7)
    assert "4 frames are wanted, there are 3" in error_of(tmp_path / "a.tif", 4)


def test_pages_that_do_not_fit_in_memory(tmp_path, monkeypatch):
    from nerfkit.scenes.readers import frames as module

    write_stacks(tmp_path, "a.tif")
    monkeypatch.setattr(module, "physical_memory", lambda: 2 * 4 * 3 * HEIGHT * WIDTH - 1)
    assert "half of this machine's memory" in error_of(tmp_path)
