"""Rims round photos: bars, bent edges and circles are found, plain backgrounds and scenes are not."""

import numpy as np
import pytest

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.rims import find_rims

H, W = 60, 80
Y, X = np.mgrid[:H, :W]


def scene(i):
    """Blobs that move from photo to photo, never near black."""
    waves = [np.sin(X / (5 + c) + 1.3 * i + c) * np.cos(Y / (4 + c) - 0.7 * i) for c in range(3)]
    return (140 + 80 * np.stack(waves, -1)).astype(np.uint8)


def rims_of(photos):
    cameras = [Camera(p.shape[1], p.shape[0], 50.0, 50.0, p.shape[1] / 2, p.shape[0] / 2) for p in photos]
    return find_rims(range(len(photos)), cameras, lambda i: photos[i])


def framed(inside, color=(0, 0, 0), noise=0):
    rng = np.random.default_rng(0)
    photos = [np.where(inside[..., None], scene(i), color).astype(int) for i in range(6)]
    return [np.clip(p + rng.integers(-noise, noise + 1, p.shape), 0, 255).astype(np.uint8) for p in photos]


FRAMES = {
    "a line": (X >= 2) & (Y >= 1) & (Y < H - 1),
    "bars": (Y >= 8) & (Y < H - 8),
    "one bar": X < W - 5,
    "bent": (np.abs(Y - H / 2) < H / 2 - 2 + 3 * ((X - W / 2) / W) ** 2) & (X > 1),
    "circle": (X - W / 2) ** 2 + (Y - H / 2) ** 2 < 28**2,
    "cut circle": (X - W / 2) ** 2 + (Y - H / 2) ** 2 < 38**2,
}


@pytest.mark.parametrize("color, noise", [((0, 0, 0), 0), ((0, 0, 0), 4), ((250, 250, 250), 3)])
@pytest.mark.parametrize("name", FRAMES)
def test_found(name, color, noise):
    inside = rims_of(framed(FRAMES[name], color, noise))[W, H]
    assert not (inside & ~FRAMES[name]).any()
    # all that is lost is the pixel beside it
    assert (FRAMES[name] & ~inside).sum() <= 2 * (H + W)


def ball(i, radius=14.0):
    """A thing before black that every photo shows elsewhere and in another shape."""
    inside = ((X - 40 - 4 * np.sin(2 * i)) / (1 + 0.2 * np.cos(i))) ** 2 + (Y - 30 - 3 * np.cos(3 * i)) ** 2 < radius**2
    return np.where(inside[..., None], scene(i), 0).astype(np.uint8)


@pytest.mark.parametrize(
    "photos",
    [
        [scene(i) for i in range(6)],
        [ball(i) for i in range(6)],
        [ball(i, 27.0) for i in range(6)],
        [ball(0, 12.0)] * 6,  # a small thing that looks the same from everywhere
        [np.zeros((H, W, 3), np.uint8)] * 6,
        framed(FRAMES["bars"])[:3],  # too few to tell
    ],
)
def test_not_found(photos):
    assert rims_of(photos) == {}


def test_each_size_has_its_own():
    photos = framed(FRAMES["bars"]) + [scene(i)[:, :50] for i in range(6)]
    assert list(rims_of(photos)) == [(W, H)]
