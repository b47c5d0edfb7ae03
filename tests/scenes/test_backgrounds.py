"""Backgrounds: what --background and the photos ask for, plain borders, and which pixels show the object."""

import numpy as np
import pytest

from nerfkit.scenes.backgrounds import Background, choose_background, object_mask, plain_color
from nerfkit.scenes.errors import NerfkitError

GREY = (200, 190, 180)


def object_photo(color=GREY, size=40, noise=0, seed=0):
    """A dark square in the middle of a plain background, with uniform noise of up to ``noise`` levels."""
    image = np.full((size, size + 8, 3), color, np.int64)
    image += np.random.default_rng(seed).integers(-noise, noise + 1, image.shape)
    image[10:30, 10:30] = 40
    return image.clip(0, 255).astype(np.uint8)


def real_photo(seed):
    """Smooth colours that fill the view, as a room or a garden does."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (5, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def with_alpha(image):
    return np.dstack([image, np.full(image.shape[:2], 128, np.uint8)])


def test_auto_is_white_for_photos_with_alpha():
    background = choose_background("auto", [real_photo(0), with_alpha(real_photo(1))])
    assert background == Background("white", (1.0, 1.0, 1.0)) and not background.is_random


def test_auto_finds_the_plain_colour_of_the_borders():
    background = choose_background("auto", [object_photo(noise=4, seed=i, size=40 + i) for i in range(5)])
    assert background.name == "plain" and background.color is not None
    np.testing.assert_allclose(np.array(background.color) * 255, GREY, atol=1)


def test_auto_is_none_where_the_scene_fills_the_view():
    assert choose_background("auto", [real_photo(i) for i in range(5)]) == Background("none", None)


def test_borders_each_plain_but_of_different_colours_are_no_plain_background():
    assert plain_color([object_photo((20 * i, 90, 200)) for i in range(6)]) is None


def test_one_view_of_ten_may_show_the_object_at_its_border_two_may_not():
    photos = [object_photo(seed=i) for i in range(10)]
    photos[3][:, :5] = 40
    color = plain_color(photos)
    assert color is not None and np.allclose(np.array(color) * 255, GREY)
    photos[6][-5:] = 40
    assert plain_color(photos) is None


def test_a_few_pixels_of_the_border_may_differ():
    photos = [object_photo(seed=i) for i in range(3)]
    for photo in photos:
        photo[0, 5:9] = 0  # 4 of 176 pixels
    assert plain_color(photos) is not None
    for photo in photos:
        photo[0, 5:25] = 0
    assert plain_color(photos) is None


@pytest.mark.parametrize("option, value", [("white", 1.0), ("black", 0.0)])
@pytest.mark.parametrize("convert", [np.asarray, with_alpha], ids=["opaque", "alpha"])
def test_a_named_colour_is_taken_whatever_the_photos_show(option, value, convert):
    assert choose_background(option, [convert(real_photo(0))]) == Background(option, (value,) * 3)


def test_random_trains_on_random_colours_and_evaluates_on_white():
    background = choose_background("random", [with_alpha(real_photo(0))])
    assert background.is_random and background.color == (1.0, 1.0, 1.0)


def test_random_needs_alpha():
    with pytest.raises(NerfkitError, match=r"random needs photos with an alpha channel.*--background auto"):
        choose_background("random", [real_photo(0)])


def test_an_unknown_option_is_named_with_those_there_are():
    with pytest.raises(NerfkitError, match=r"auto, white, black, random; got 'green'"):
        choose_background("green", [real_photo(0)])


def test_the_mask_is_where_alpha_is_above_zero():
    image = np.zeros((2, 3, 4), np.uint8)
    image[0, 1, 3], image[1, 2, 3] = 1, 255
    expected = [[False, True, False], [False, False, True]]
    assert object_mask(image, Background("white", (1.0, 1.0, 1.0))).tolist() == expected


def test_the_mask_of_an_opaque_photo_is_what_differs_from_the_background():
    photos = [object_photo(noise=4, seed=i) for i in range(4)]
    mask = object_mask(photos[0], choose_background("auto", photos))
    expected = np.zeros((40, 48), bool)
    expected[10:30, 10:30] = True
    assert np.array_equal(mask, expected)


def test_without_a_background_the_whole_photo_is_object():
    assert object_mask(real_photo(0), Background("none", None)).all()
