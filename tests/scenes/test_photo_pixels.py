"""Pixels drawn from photos: every one can come, equally often, with its own colour and place."""

import numpy as np
import pytest
import torch
from support import DEVICE

from nerfkit.scenes.measurements.photo_pixels import PhotoPixels


def photos(*shapes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]


def draw(images, n, seed=0):
    return PhotoPixels(images, DEVICE).draw(n, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "images",
    [
        photos((5, 7, 3), (8, 4, 3), (1, 9, 3)),
        photos((5, 7, 4), (8, 4, 4)),
        photos((5, 7, 3), (3, 4, 4), (6, 2, 3)),
    ],
    ids=["opaque", "alpha", "mixed"],
)
def test_every_pixel_comes_with_its_own_colour_and_place(images):
    batch = draw(images, 4000)
    photo_ids, pixels = batch.photo_ids.cpu().numpy(), batch.pixels.cpu().numpy()
    drawn = np.concatenate([photo_ids[:, None], pixels], -1)
    everything = [(i, x + 0.5, y + 0.5) for i, im in enumerate(images) for y, x in np.ndindex(im.shape[:2])]
    assert {tuple(row) for row in drawn.tolist()} == set(everything)
    truth = np.array(
        [images[i][int(y), int(x)].tolist() + [255] * (images[i].shape[2] == 3) for i, x, y in drawn.astype(int)]
    )
    np.testing.assert_allclose(batch.rgb.cpu() * 255, truth[:, :3], atol=1e-4)
    if any(image.shape[2] == 4 for image in images):
        assert batch.alphas is not None
        np.testing.assert_allclose(batch.alphas.cpu() * 255, truth[:, 3:], atol=1e-4)
    else:
        assert batch.alphas is None


def test_pixels_of_small_and_large_photos_come_equally_often():
    images = photos((2, 3, 3), (10, 20, 3), (1, 1, 3))
    n_pixels, n = 207, 207 * 500
    batch = draw(images, n)
    starts = torch.tensor([0, 6, 206], device=DEVICE)
    widths = torch.tensor([3, 20, 1], device=DEVICE)
    x, y = batch.pixels.long().T
    flat = starts[batch.photo_ids] + y * widths[batch.photo_ids] + x
    counts = torch.bincount(flat, minlength=n_pixels).double()
    # chi square of 206 degrees of freedom: mean 206, standard deviation 20
    assert ((counts - 500) ** 2 / 500).sum() < 206 + 5 * 20


def test_the_range_of_values_is_0_to_1():
    images = [np.array([[[0, 255, 128]]], np.uint8)]
    batch = draw(images, 1)
    assert batch.rgb.dtype == torch.float32
    torch.testing.assert_close(batch.rgb.cpu(), torch.tensor([[0.0, 1.0, 128 / 255]]))
    assert batch.pixels.tolist() == [[0.5, 0.5]] and batch.photo_ids.tolist() == [0]


def test_equal_seeds_draw_equal_pixels_and_the_generator_moves_on():
    pixels = PhotoPixels(photos((5, 7, 3), (8, 4, 3)), DEVICE)
    generator = torch.Generator().manual_seed(3)
    first, second = pixels.draw(100, generator), pixels.draw(100, generator)
    again = pixels.draw(100, torch.Generator().manual_seed(3))
    assert torch.equal(first.pixels, again.pixels) and torch.equal(first.photo_ids, again.photo_ids)
    assert not torch.equal(first.pixels, second.pixels)


def test_the_photos_may_be_views_and_read_only_and_stay_as_they_are():
    image = photos((6, 8, 3))[0]
    flipped = image[::-1, ::2]
    flipped.flags.writeable = False
    pixels = PhotoPixels([flipped, image.transpose(1, 0, 2)], DEVICE)
    assert (pixels.n_photos, len(pixels), pixels.has_alpha) == (2, 6 * 4 + 6 * 8, False)
    batch = pixels.draw(50, torch.Generator().manual_seed(0))
    for photo, (x, y), rgb in zip(batch.photo_ids.tolist(), batch.pixels.long().tolist(), batch.rgb.cpu(), strict=True):
        truth = (flipped, image.transpose(1, 0, 2))[photo][y, x]
        np.testing.assert_allclose(rgb * 255, truth, atol=1e-4)


def test_no_pixels_can_be_drawn():
    batch = draw(photos((2, 2, 4)), 0)
    assert batch.pixels.shape == (0, 2) and batch.rgb.shape == (0, 3)
    assert batch.alphas is not None and batch.alphas.shape == (0, 1)


@pytest.mark.skipif(DEVICE != "cpu", reason="on a GPU the bytes are elsewhere")
def test_photos_are_in_memory_once():
    images = [np.full((4, 5, 3), 7, np.uint8), np.full((2, 3, 4), 9, np.uint8)]
    before = [image.copy() for image in images]
    pixels = PhotoPixels(images, DEVICE)
    assert images[0].shape == (4, 5, 4) and (images[0][..., 3] == 255).all()
    for image, old in zip(images, before, strict=True):
        np.testing.assert_array_equal(image[..., : old.shape[2]], old)
        assert np.shares_memory(image, pixels._bytes.numpy())


def test_pixels_that_do_not_count_are_never_drawn():
    images = [np.full((4, 5, 3), 10 * (i + 1), np.uint8) for i in range(3)]
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = mask[3, 4] = True
    pixels = PhotoPixels(images, "cpu", [None, mask, np.zeros((4, 5), bool)])
    assert len(pixels) == 22
    batch = pixels.draw(2000, torch.Generator().manual_seed(0))
    counts = torch.bincount(batch.photo_ids, minlength=3).tolist()
    assert counts[2] == 0 and counts[1] == pytest.approx(2000 * 2 / 22, abs=40)
    of_masked = {tuple(pixel) for pixel in batch.pixels[batch.photo_ids == 1].tolist()}
    assert of_masked == {(2.5, 1.5), (4.5, 3.5)}
    assert torch.equal((batch.rgb[:, 0] * 255).round(), 10.0 * (batch.photo_ids + 1))


def test_no_pixel_counts():
    with pytest.raises(ValueError, match="no pixel of the photos counts"):
        PhotoPixels([np.zeros((2, 2, 3), np.uint8)], "cpu", [np.zeros((2, 2), bool)])
