"""Which format holds which lens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.colmap import MODELS
from nerfkit.scenes.readers.photos import some
from nerfkit.scenes.readers.posed import PosedPhotos

__all__ = ["colmap_model", "colmap_terms", "pinhole_fault", "refuse_lens", "transforms_fault"]

# of COLMAP's models the first that holds a lens is taken: those that most tools read come first
PREFERRED = ("PINHOLE", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV", "THIN_PRISM_FISHEYE")
# pixels that a principal point may be off the middle of a photo, or one focal length off the other, and be the same
SAME_PIXEL = 1e-6


def pinhole_fault(camera: Camera) -> str:
    """What keeps a camera from being a pinhole of one focal length whose axis meets the photo's middle; "" if nothing.

    Examples
    --------
    >>> pinhole_fault(Camera(8, 6, 10.0, 10.0, 4.0, 3.0)), pinhole_fault(Camera(8, 6, 10.0, 11.0, 4.0, 3.0))
    ('', 'the focal lengths 10 and 11 differ')
    """
    if camera.lens != "perspective" or camera.has_distortion:
        return "their lens distorts"
    if abs(camera.fx - camera.fy) > SAME_PIXEL:
        return f"the focal lengths {camera.fx:g} and {camera.fy:g} differ"
    off = np.abs([camera.cx - camera.width / 2, camera.cy - camera.height / 2]).max()
    if off > SAME_PIXEL:
        return f"the principal point ({camera.cx:g}, {camera.cy:g}) is not the middle of {camera.width}x{camera.height}"
    return ""


def transforms_fault(camera: Camera) -> str:
    """What transforms.json has no keys for; empty where it has all."""
    if camera.lens == "fov":
        return "their lens is of the FOV model"
    if any(camera.s):
        return "their lens has thin prisms"
    if camera.lens == "fisheye" and any((*camera.p, *camera.q)):
        return "their fisheye lens has tangential or rational terms"
    return "their rational lens has a term of r^8" if any(camera.q) and camera.k[3] else ""


def colmap_terms(camera: Camera) -> dict[str, float]:
    """Distortion of a camera under the names of :data:`nerfkit.scenes.readers.colmap.MODELS`."""
    groups = {"k": camera.k, "p": camera.p, "q": camera.q, "s": camera.s}
    terms = {f"{letter}{i}": value for letter, values in groups.items() for i, value in enumerate(values, 1)}
    return terms | {"omega": camera.omega if camera.lens == "fov" else 0.0}


def colmap_model(camera: Camera) -> str | None:
    """The first of COLMAP's models that holds a camera; None where none does."""
    needed = {name for name, value in colmap_terms(camera).items() if value}
    kinds = ((name, *MODELS[name][1:]) for name in PREFERRED)
    return next((name for name, lens, held in kinds if lens == camera.lens and needed <= set(held.split())), None)


def refuse_lens(photos: PosedPhotos, faults: Sequence[str], format: str) -> None:
    """Raise a NerfkitError where any of ``faults``, one for each photo's camera, is not empty."""
    bad = [file for file, fault in zip(photos.files, faults, strict=True) if fault]
    if not bad:
        return
    holders = ["--to transforms"] if not any(map(transforms_fault, photos.cameras)) else []
    holders += ["--to colmap"] if all(map(colmap_model, photos.cameras)) else []
    raise NerfkitError(
        f"{format} cannot hold the cameras of {len(bad)} of {len(photos)} photos: {next(filter(None, faults))} "
        f"({some(bad)})",
        where=photos.root,
        fix=f"{' or '.join(holders)} holds them; or undistort the photos" if holders else "undistort the photos first",
    )  # fmt: skip
