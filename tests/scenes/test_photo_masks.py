"""Which pixels of photos count: masks, lenses, rims and transparent holes, at every size."""

import dataclasses

import numpy as np
import pytest
from photo_folders import frames, one_photo, save_photo, write_transforms
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.photo_masks import choose_alpha, find_masks, split_alpha
from nerfkit.scenes.readers import read_posed_photos


def mask_of(tmp_path, values, size=(8, 6), loaded=None):
    """The mask of a photo of ``size`` with a mask file of ``values``."""
    save_photo(tmp_path / "photo.png", size=size)
    Image.fromarray(np.asarray(values)).save(tmp_path / "mask.png")
    photos = one_photo(tmp_path, size=size, masks=[tmp_path / "mask.png"])
    camera = photos.cameras[0]
    return find_masks(photos, {0: camera.resized(*loaded) if loaded else camera}, Findings())


@pytest.mark.parametrize("white, kind", [(255, np.uint8), (1, np.uint8), (65535, np.uint16), (True, bool)])
def test_black_is_left_out(tmp_path, white, kind):
    values = np.zeros((6, 8), kind)
    values[2:, 3:] = white
    found = mask_of(tmp_path, values)[0]
    assert found.sum() == 4 * 5 and found[2:, 3:].all()


def test_a_white_mask_leaves_nothing_out(tmp_path):
    assert mask_of(tmp_path, np.full((6, 8), 255, np.uint8)) == {}


def test_a_pixel_of_a_smaller_photo_counts_where_all_of_it_does(tmp_path):
    values = np.full((6, 8), 255, np.uint8)
    values[:, :3] = 0  # one and a half of four columns
    assert mask_of(tmp_path, values, loaded=(4, 3))[0].tolist() == [[False, False, True, True]] * 3


def test_a_mask_may_be_smaller_than_its_photo(tmp_path):
    found = mask_of(tmp_path, np.array([[0, 255], [255, 255]], np.uint8), size=(8, 8))[0]
    assert not found[:4, :4].any() and found[4:].all() and found[:, 4:].all()


def test_a_mask_of_another_shape_is_named(tmp_path):
    with pytest.raises(NerfkitError, match=r"mask\.png: the mask has 2x6 pixels, its photo 8x6"):
        mask_of(tmp_path, np.zeros((6, 2), np.uint8))


def test_a_mask_that_cannot_be_read_is_named(tmp_path):
    save_photo(tmp_path / "photo.png")
    (tmp_path / "mask.png").write_bytes(b"no picture")
    photos = one_photo(tmp_path, masks=[tmp_path / "mask.png"])
    with pytest.raises(NerfkitError, match=r"mask\.png: the mask cannot be read"):
        find_masks(photos, {0: photos.cameras[0]}, Findings())


def test_what_the_lens_does_not_reach_is_said(tmp_path):
    save_photo(tmp_path / "photo.png", size=(20, 20))
    photos = one_photo(tmp_path, size=(20, 20))
    camera = dataclasses.replace(photos.cameras[0], image_circle=6.0)
    findings = Findings()
    found = find_masks(photos, {0: camera}, findings)[0]
    assert found.sum() == pytest.approx(np.pi * 36, rel=0.1)
    assert "1 photos have pixels that the lens lets no light through to" in findings[0].what


def test_a_rim_is_found_at_the_photos_size_and_said(tmp_path):
    rng = np.random.default_rng(0)
    write_transforms(tmp_path, n=9, photos=False, w=40, h=30)
    for entry in frames(9):
        pixels = rng.integers(60, 250, (30, 40, 3)).astype(np.uint8)
        pixels[:3] = pixels[-2:] = 0
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / entry["file_path"])
    photos, findings = read_posed_photos(tmp_path), Findings()
    masks = find_masks(photos, {0: photos.cameras[0].resized(20, 15), 5: photos.cameras[5]}, findings)
    # three rows and the mixed one beside them, two and the mixed one
    assert masks[5].any(1).tolist() == [False] * 4 + [True] * 23 + [False] * 3
    assert masks[0].any(1).tolist() == [False] * 2 + [True] * 11 + [False] * 2
    assert "photos of 40x30 have a rim" in findings[0].what


def with_alpha(transparent):
    image = np.full((20, 20, 4), 255, np.uint8)
    image[..., 3][transparent] = 0
    return image


Y, X = np.mgrid[:20, :20]
HOLE = (abs(X - 9) < 4) & (abs(Y - 9) < 5)


def test_what_transparent_pixels_mean_is_for_the_photos_to_say():
    around, inside, opaque = with_alpha(~HOLE), with_alpha(HOLE), np.zeros((20, 20, 3), np.uint8)
    assert choose_alpha("auto", [around] * 3) == "background"
    assert choose_alpha("auto", [opaque] * 3) == "background"
    assert choose_alpha("auto", [inside, inside, opaque]) == "ignore"
    assert choose_alpha("auto", [around, around, opaque]) == "background"
    assert choose_alpha("background", [inside]) == "background" and choose_alpha("ignore", [around]) == "ignore"
    with pytest.raises(NerfkitError, match="alpha must be one of auto, background, ignore; got 'white'"):
        choose_alpha("white", [inside])


def test_alpha_and_colour_apart():
    image, opaque = split_alpha(with_alpha(HOLE))
    assert image.shape == (20, 20, 3) and opaque is not None and (opaque == ~HOLE).all()
    again, mask = split_alpha(image)
    assert again is image and mask is None
