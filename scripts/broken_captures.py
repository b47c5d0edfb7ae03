"""Captures that are broken in the ways that users' captures are, to see whether `nerfkit doctor` names the cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from nerfkit.scenes.readers import PosedPhotos
from nerfkit.scenes.writers import write_posed_photos

__all__ = ["BREAKS", "Break", "write_broken"]


class Break(NamedTuple):
    """A way to break a capture, and what doctor has to say of it: a regular expression."""

    change: Callable[[PosedPhotos, np.random.Generator], PosedPhotos]
    wanted: str


def _with_poses(photos: PosedPhotos, c2w: np.ndarray) -> PosedPhotos:
    return replace(photos, c2w=c2w)


def _flipped(photos: PosedPhotos, rng: np.random.Generator) -> PosedPhotos:
    return _with_poses(photos, photos.c2w @ np.diag([1.0, -1.0, -1.0, 1.0]))


def _mirrored(photos: PosedPhotos, rng: np.random.Generator) -> PosedPhotos:
    """Poses of a left-handed world, as game engines write them: x of the world and of the cameras points left."""
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    return _with_poses(photos, mirror @ photos.c2w @ mirror)


def _shuffled(photos: PosedPhotos, rng: np.random.Generator) -> PosedPhotos:
    return _with_poses(photos, photos.c2w[rng.permutation(len(photos))])


def _exchanged(photos: PosedPhotos, rng: np.random.Generator) -> PosedPhotos:
    """Two photos have each other's pose: of a third and two thirds of the list."""
    order = np.arange(len(photos))
    pair = [len(photos) // 3, 2 * len(photos) // 3]
    order[pair] = order[pair[::-1]]
    return _with_poses(photos, photos.c2w[order])


def _scattered(photos: PosedPhotos, rng: np.random.Generator) -> PosedPhotos:
    """A tenth of the poses are random ones within the capture."""
    c2w = photos.c2w.copy()
    centres = c2w[:, :3, 3]
    for view in rng.choice(len(photos), max(1, len(photos) // 10), replace=False):
        c2w[view, :3, :3] = Rotation.from_quat(rng.normal(size=4)).as_matrix()
        c2w[view, :3, 3] = centres.mean(0) + centres.std(0).mean() * rng.normal(size=3)
    return _with_poses(photos, c2w)


def _wrong_focal(photos: PosedPhotos, rng: np.random.Generator) -> PosedPhotos:
    """As of a sensor 1.6 times as small."""
    return replace(photos, cameras=[replace(c, fx=1.6 * c.fx, fy=1.6 * c.fy) for c in photos.cameras])


def _swapped_size(photos: PosedPhotos, rng: np.random.Generator) -> PosedPhotos:
    return replace(photos, cameras=[replace(c, width=c.height, height=c.width) for c in photos.cameras])


def _millimetres(photos: PosedPhotos, rng: np.random.Generator) -> PosedPhotos:
    """A capture of a few metres in millimetres, with the box that it had in metres."""
    c2w = photos.c2w.copy()
    c2w[:, :3, 3] *= 1000
    return replace(photos, c2w=c2w, hints=photos.hints | {"aabb_scale": 4})


BREAKS = {
    "flipped axes": Break(_flipped, r"OpenCV axes"),
    "mirrored": Break(_mirrored, r"mirrored|left-handed"),
    "shuffled poses": Break(_shuffled, r"do not fit the photos|shuffled"),
    "two photos exchanged": Break(_exchanged, r"exchanged"),
    "a tenth of the poses random": Break(_scattered, r"pose is not (its|theirs)|poses? that others? den(y|ies)"),
    "wrong focal length": Break(_wrong_focal, r"focal length"),
    "swapped size": Break(_swapped_size, r"width and height are exchanged"),
    "millimetres": Break(_millimetres, r"millimetres"),
}


def write_broken(photos: PosedPhotos, name: str, folder: Path) -> Path:
    """A capture broken as ``name`` says, as transforms.json with links to its photos."""
    write_posed_photos(BREAKS[name].change(photos, np.random.default_rng(0)), folder, "transforms", link=True)
    return folder
