"""Photos: modes, EXIF orientation, area averaging, sizes and every way a file can be broken."""

import logging

import numpy as np
import pytest
from photo_folders import frames, one_photo, save_photo, write_transforms
from PIL import Image

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import load_photos, read_posed_photos
from nerfkit.scenes.readers.photos import area_resize, map_in_threads, read_photo


def save_exif(path, pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def load_one(folder, *args, size=(8, 6), **options):
    return load_photos(one_photo(folder, size=size, **options), [0], *args)


@pytest.mark.parametrize(
    "mode, colour, want",
    [
        ("RGB", (200, 100, 50), [200, 100, 50]),
        ("RGBA", (200, 100, 50, 255), [200, 100, 50]),
        ("RGBA", (200, 100, 50, 128), [200, 100, 50, 128]),
        ("L", 77, [77, 77, 77]),
        ("LA", (77, 10), [77, 77, 77, 10]),
        ("1", 1, [255, 255, 255]),
        ("I;16", 514, [2, 2, 2]),
    ],
)
def test_modes_become_rgb_or_rgba(tmp_path, mode, colour, want):
    save_photo(tmp_path / "photo.png", colour=colour, mode=mode)
    image = load_one(tmp_path).images[0]
    assert image.dtype == np.uint8 and image.shape == (6, 8, len(want))
    assert image[3, 4].tolist() == want


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (8, 6), 1)
    image.putpalette([9, 9, 9, 10, 20, 30])
    image.save(tmp_path / "photo.png")
    assert load_one(tmp_path).images[0][0, 0].tolist() == [10, 20, 30]
    image.save(tmp_path / "photo.png", transparency=1)
    assert load_one(tmp_path).images[0][0, 0].tolist() == [10, 20, 30, 0]


@pytest.mark.parametrize("mode", ["I;16", "RGB"])
def test_sixteen_bits_are_said(tmp_path, caplog, mode):
    save_photo(tmp_path / "photo.png", colour=514 if mode == "I;16" else 0, mode=mode)
    if mode == "RGB":
        # Pillow writes no 16-bit colour; libpng-style header and rows by hand
        cv2 = pytest.importorskip("cv2", exc_type=ImportError)
        cv2.imwrite(str(tmp_path / "photo.png"), np.full((6, 8, 3), 514, np.uint16))
    with caplog.at_level(logging.INFO):
        image = load_one(tmp_path).images[0]
    assert "1 photos have 16 bits a channel and are read as 8: photo.png" in caplog.text
    assert (image == 2).all()


def test_float_pixels_are_refused(tmp_path):
    Image.new("F", (8, 6), 0.5).save(tmp_path / "photo.tiff")
    with pytest.raises(NerfkitError, match=r"photo\.tiff: has 'F' pixels, 0\.5 to 0\.5; .*save it as PNG"):
        read_photo(tmp_path / "photo.tiff")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_photo_upright(tmp_path, orientation):
    upright = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    # what the camera stores, so that the viewer's turn (EXIF 2.32, table 6) gives `upright`
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)
    save_exif(tmp_path / "photo.png", np.ascontiguousarray(stored), orientation)
    np.testing.assert_array_equal(load_one(tmp_path).images[0], upright)
    as_stored = load_one(tmp_path, size=stored.shape[1::-1], uses_exif=[False]).images[0]
    np.testing.assert_array_equal(as_stored, stored)


def test_damaged_exif_does_not_lose_the_photo(tmp_path):
    save_photo(tmp_path / "photo.png", exif=b"Exif\x00\x00XX not a TIFF header")
    assert load_one(tmp_path).images[0].shape == (6, 8, 3)


def test_area_average_at_whole_factors_is_pillows_box():
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    want = np.asarray(Image.fromarray(image).resize((5, 4), Image.Resampling.BOX))
    assert np.abs(area_resize(image, 5, 4).astype(int) - want).max() <= 1


def test_area_average_at_fractional_factors_is_exact():
    # 5 columns to 2: the middle column belongs half to each
    image = np.array([[10, 20, 100, 30, 50]], np.uint8)[..., None].repeat(3, -1)
    want = [(10 + 20 + 50) / 2.5, (50 + 30 + 50) / 2.5]
    assert area_resize(image, 2, 1)[0, :, 0].tolist() == want


def test_area_average_keeps_the_mean_and_a_flat_colour():
    image = np.random.default_rng(0).integers(0, 256, (97, 61, 3), dtype=np.uint8)
    small = area_resize(image, 13, 20)
    assert small.shape == (20, 13, 3)
    np.testing.assert_allclose(small.mean((0, 1)), image.mean((0, 1)), atol=0.3)
    assert (area_resize(np.full((97, 61, 3), 255, np.uint8), 13, 20) == 255).all()


def test_transparent_pixels_give_no_colour_to_their_neighbours():
    image = np.array([[[255, 0, 0, 255], [0, 255, 0, 0]]], np.uint8)
    assert area_resize(image, 1, 1)[0, 0].tolist() == [255, 0, 0, 128]
    assert area_resize(np.zeros((2, 2, 4), np.uint8), 1, 1)[0, 0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "downscale, max_side, want, factor",
    [
        (None, None, (80, 60), 1.0),
        (4.8, None, (17, 12), 4.8),
        (None, 20, (20, 15), 4.0),
        (None, 100, (80, 60), 1.0),
        (2.0, 20, (40, 30), 2.0),  # an explicit factor wins
        (500.0, None, (1, 1), 500.0),
    ],
)
def test_downscale_sets_the_size_and_scales_the_camera(tmp_path, downscale, max_side, want, factor):
    save_photo(tmp_path / "photo.png", size=(80, 60))
    loaded = load_one(tmp_path, downscale, max_side, size=(80, 60))
    (image,), (camera,) = loaded.images, loaded.cameras
    assert image.shape[1::-1] == (camera.width, camera.height) == want
    assert loaded.downscale == factor
    assert camera.fx == pytest.approx(10.0 * want[0] / 80) and camera.fy == pytest.approx(10.0 * want[1] / 60)
    assert (camera.cx, camera.cy) == pytest.approx((want[0] / 2, want[1] / 2))


def test_max_side_holds_for_the_whole_scene_whatever_is_loaded(tmp_path):
    save_photo(tmp_path / "photo.png")
    photos = one_photo(tmp_path)
    photos.cameras.append(Camera(80, 60, 10.0, 10.0, 40.0, 30.0))
    assert load_photos(photos, [0], max_side=40).downscale == 2.0


def test_indices_and_threads_keep_their_order(tmp_path):
    for i in range(5):
        save_photo(tmp_path / f"{i}.png", colour=(i, 0, 0))
    photos = one_photo(tmp_path)
    photos.files, photos.cameras = [f"{i}.png" for i in range(5)], photos.cameras * 5
    for threads in (1, 3, None):
        loaded = load_photos(photos, [4, 0, 2], threads=threads)
        assert [image[0, 0, 0] for image in loaded.images] == [4, 0, 2]


def test_photo_of_another_size_rescales_the_camera_or_is_refused(tmp_path):
    save_photo(tmp_path / "photo.png", size=(16, 12))
    camera = load_one(tmp_path).cameras[0]
    assert (camera.width, camera.height, camera.fx, camera.cx) == (16, 12, 20.0, 8.0)
    save_photo(tmp_path / "photo.png", size=(8, 8))
    with pytest.raises(NerfkitError, match=r"photo\.png: the photo has 8x8 pixels, its intrinsics are for 8x6"):
        load_one(tmp_path)


@pytest.mark.parametrize("downscale", [0.5, 0, -1, float("nan")])
def test_rejects_a_downscale_below_one(tmp_path, downscale):
    with pytest.raises(NerfkitError, match="downscale must be 1 or more; got"):
        load_one(tmp_path, downscale)


def test_rejects_a_max_side_below_one(tmp_path):
    with pytest.raises(NerfkitError, match="max_side must be 1 pixel or more; got 0"):
        load_one(tmp_path, None, 0)


def test_truncated_empty_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for content, message in [
        (whole[: len(whole) // 2], "cannot be decoded .*truncated"),
        (b"", r"the photo is empty \(0 bytes\)"),
        (b"<html>404 not found</html>", "is not an image that can be read"),
    ]:
        path.write_bytes(content)
        with pytest.raises(NerfkitError, match=rf"photo\.jpg: {message}.*--skip-bad"):
            read_photo(path)


def test_decompression_bomb_is_named(tmp_path, monkeypatch):
    save_photo(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(NerfkitError, match=r"photo\.png: declares too many pixels"):
        read_photo(tmp_path / "photo.png")


def test_the_first_error_in_order_is_raised():
    def fail(i):
        raise ValueError(i)

    with pytest.raises(ValueError, match="7"):
        map_in_threads(fail, [7, 8, 9], threads=3)


def grey_scene(folder, low, high):
    """Nine grey photos of 16 bits whose values go from ``low`` to ``high``."""
    rng = np.random.default_rng(0)
    write_transforms(folder, n=9, photos=False)
    (folder / "images").mkdir()
    for entry in frames(9):
        values = rng.integers(low, high + 1, (6, 8)).astype(np.uint16)
        values[0, :2] = low, high
        Image.fromarray(values).save(folder / entry["file_path"])
    return read_posed_photos(folder)


def test_narrow_photos_of_16_bits_are_stretched_alike(tmp_path):
    photos, findings = grey_scene(tmp_path / "scene", 51241, 52181), Findings()
    assert photos.value_range == (51241, 52181)
    images = load_photos(photos, range(9), findings=findings).images
    assert all((image[0, 0, 0], image[0, 1, 0]) == (0, 255) for image in images)
    assert len(np.unique(np.stack(images))) > 100
    assert "the values 51241 to 52181, all that they use, become 0 to 255" in findings[0].what


def test_wide_photos_of_16_bits_keep_black_and_white(tmp_path):
    photos = grey_scene(tmp_path / "scene", 0, 40000)
    assert photos.value_range is None
    assert load_photos(photos, [0], findings=Findings()).images[0].max() == 156
