"""One picture of any kind and depth; each mistake is named."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.picture import read_map, read_mask, read_picture

GREY = (np.arange(12).reshape(3, 4) * 20).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels", "n_channels", "depth"),
    [
        (GREY, 1, 8),
        (np.dstack([GREY] * 3), 3, 8),
        (np.dstack([GREY] * 4), 4, 8),
        (GREY.astype(np.uint16) * 257, 1, 16),
    ],
)
def test_pictures_of_whole_numbers_become_fractions(tmp_path, pixels, n_channels, depth):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read_picture(tmp_path / "a.png")
    assert found.values.shape == (3, 4, n_channels) and found.bit_depth == depth and found.size == (4, 3)
    np.testing.assert_allclose(found.values[..., 0], GREY / 255, atol=1e-7)
    assert found.range == (0.0, 1.0)


def test_floats_stay_what_they_are(tmp_path):
    values = np.linspace(-3, 40, 12, dtype=np.float32).reshape(3, 4)
    tifffile.imwrite(tmp_path / "a.tif", values)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", other=np.zeros(3), image=values)
    for name in ("a.tif", "a.npy", "a.npz"):
        found = read_picture(tmp_path / name)
        np.testing.assert_array_equal(found.values[..., 0], values)
        assert found.bit_depth == 32 and found.range == (-3.0, 40.0)


def test_a_flat_picture_has_a_range():
    from nerfkit.scenes.readers.picture import PictureFile

    assert PictureFile(np.full((2, 2, 1), 7, np.float32), 32).range == (6.5, 7.5)


def test_masks_are_white_where_known(tmp_path):
    Image.fromarray(np.where(GREY > 100, 255, 0).astype(np.uint8)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", (4, 3)), GREY > 100)
    np.save(tmp_path / "m.npy", GREY > 100)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.npy", (4, 3)), GREY > 100)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([[1.0, np.nan], [0, 0]]), "1 of its 4 values are NaN or infinite, the first at row 0, column 1"),
        (np.zeros((2, 0)), r"has shape \(2, 0(, 1)?\)"),
        (np.zeros((2, 2, 2, 2)), r"has shape \(2, 2, 2, 2\)"),
        (np.zeros((2, 2), complex), "holds complex128 values; real numbers are wanted"),
        (np.array([[{}]], dtype=object), "cannot be read"),
    ],
)
def test_what_is_wrong_with_an_array_is_named(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(NerfkitError, match=words) as error:
        read_picture(tmp_path / "a.npy")
    assert error.value.fix and "a.npy" in error.value.where


def test_what_is_no_picture_is_named(tmp_path):
    with pytest.raises(NerfkitError, match="there is no such file"):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(NerfkitError, match="is a folder"):
        read_picture(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(NerfkitError, match="cannot be read"):
        read_picture(tmp_path / "text.png")
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(NerfkitError, match="it holds no array"):
        read_picture(tmp_path / "empty.npz")


def test_a_mask_or_a_map_of_another_size_is_named(tmp_path):
    np.save(tmp_path / "m.npy", GREY)
    with pytest.raises(NerfkitError, match="the mask has 4x3 pixels, the picture 5x3"):
        read_mask(tmp_path / "m.npy", (5, 3))
    with pytest.raises(NerfkitError, match="it has 4x3 pixels, the picture 4x4"):
        read_map(tmp_path / "m.npy", (4, 4))
    np.save(tmp_path / "rgb.npy", np.dstack([GREY] * 3))
    with pytest.raises(NerfkitError, match="has 3 values a pixel; one is wanted"):
        read_map(tmp_path / "rgb.npy", (4, 3))
