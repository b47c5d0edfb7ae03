"""Photos in a mapped file: the same pixels, decoded once, and nothing half there."""

import os

import numpy as np
import pytest
import torch
from photo_folders import frames, write_transforms
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.measurements.photo_pixels import PhotoPixels
from nerfkit.scenes.readers import photos as photos_module
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.readers.photos import PhotoStore, load_photos


def scene(folder, holed=()):
    """Six photos of noise [16, 20], those of ``holed`` with a transparent pixel."""
    rng = np.random.default_rng(0)
    write_transforms(folder, n=6, photos=False, w=20, h=16)
    (folder / "images").mkdir()
    for i, entry in enumerate(frames(6)):
        pixels = rng.integers(0, 255, (16, 20, 4)).astype(np.uint8)
        pixels[..., 3] = 255
        if i in holed:
            pixels[3, 4, 3] = 0
        Image.fromarray(pixels).save(folder / entry["file_path"])
    return read_posed_photos(folder)


@pytest.mark.parametrize("holed", [(), (1, 3)])
def test_the_same_pixels(tmp_path, holed):
    source, store = scene(tmp_path / "data", holed), PhotoStore(tmp_path / "cache", 10**6)
    order = [4, 1, 2, 3]
    plain, mapped = load_photos(source, order, 2), load_photos(source, order, 2, store=store)
    assert mapped.cameras == plain.cameras and mapped.downscale == 2
    for a, b in zip(mapped.images, plain.images, strict=True):
        np.testing.assert_array_equal(a, b)
    assert mapped.stored is not None and plain.stored is None
    generator = lambda: torch.Generator().manual_seed(1)  # noqa: E731
    ours = PhotoPixels(mapped.images, "cpu", None, mapped.stored.rows(order)).draw(500, generator())
    theirs = PhotoPixels(plain.images, "cpu").draw(500, generator())
    assert torch.equal(ours.rgb, theirs.rgb) and torch.equal(ours.pixels, theirs.pixels)
    assert (ours.alphas is None) == (theirs.alphas is None) == (not holed)
    if ours.alphas is not None and theirs.alphas is not None:
        assert torch.equal(ours.alphas, theirs.alphas)


def test_rows_of_some_of_them(tmp_path):
    stored = load_photos(scene(tmp_path / "data"), [0, 1, 2, 3], store=PhotoStore(tmp_path / "cache", 10**6)).stored
    assert stored is not None
    rows = stored.rows([1, 2])
    assert rows is not None and rows.base is not None and len(rows) == 2 * 16 * 20
    np.testing.assert_array_equal(rows[: 16 * 20, :3].reshape(16, 20, 3), stored.images[1])
    assert stored.rows([0, 2]) is None


def test_photos_are_decoded_once(tmp_path, monkeypatch):
    source, store = scene(tmp_path / "data"), PhotoStore(tmp_path / "cache", 10**6)
    seen = []
    monkeypatch.setattr(photos_module, "LONG_DECODING", 6 * 16 * 20)
    load_photos(source, range(6), store=store, on_photo=lambda done, total: seen.append((done, total)))
    assert sorted(seen) == [(i, 6) for i in range(1, 7)]
    before = load_photos(source, range(6), store=store).images[0].copy()
    with monkeypatch.context() as patched:
        patched.setattr(photos_module, "read_listed", lambda *_: pytest.fail("decoded again"))
        np.testing.assert_array_equal(load_photos(source, range(6), store=store).images[0], before)
    # another photo under the name
    path = source.root / source.files[0]
    Image.new("RGB", (20, 16), (1, 2, 3)).save(path)
    os.utime(path, (1, 1))
    assert load_photos(source, range(6), store=store).images[0].max() == 3


def test_a_damaged_photo_is_named_and_leaves_nothing(tmp_path):
    source, folder = scene(tmp_path / "data"), tmp_path / "cache"
    path = source.root / source.files[4]
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(NerfkitError, match=r"04\.png: cannot be decoded"):
        load_photos(source, range(6), store=PhotoStore(folder, 10**6))
    assert list(folder.iterdir()) == []


def test_what_is_in_memory_is_let_go_before_it_passes_the_limit(tmp_path):
    stored = load_photos(scene(tmp_path / "data"), [0, 1], store=PhotoStore(tmp_path / "cache", 2**20)).stored
    assert stored is not None
    advised = []
    before = stored.images[0].copy()
    stored.note_looks(10)
    np.testing.assert_array_equal(stored.images[0], before)
    stored._map = type("Map", (), {"madvise": lambda self, what: advised.append(what)})()
    stored.note_looks(10)
    assert len(advised) == 1
    stored.note_looks(5)
    assert len(advised) == 1
    stored.note_bytes(2**20)
    assert len(advised) == 2
