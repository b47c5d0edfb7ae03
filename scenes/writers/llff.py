"""LLFF's poses_bounds.npy beside photos in images/ (Mildenhall et al. 2019, arXiv:1905.00889, and its README)."""

from __future__ import annotations

import io

import numpy as np

from nerfkit.scenes.bounds import unbounded_scene
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers.llff import FILE, TO_OPENGL
from nerfkit.scenes.readers.posed import PosedPhotos

from .lens_models import pinhole_fault, refuse_lens
from .plan import Plan, drop_circles, drop_masks, flat_names, say_split_lost

__all__ = ["plan_llff"]

# nearest and farthest depth, in units of the distance to where the cameras look, for photos whose points nobody knows
GUESSED_DEPTHS = (0.2, 5.0)


def plan_llff(photos: PosedPhotos, findings: Findings) -> Plan:
    """A ``poses_bounds.npy``: a pinhole of one focal length for each photo, its axis through the middle."""
    faults = [pinhole_fault(camera) for camera in photos.cameras]
    refuse_lens(photos, faults, "LLFF's format")
    names = flat_names(photos.files)
    # rows are those of the photos in the order of Python's sorted
    order = sorted(range(len(names)), key=lambda i: names[i])
    drop_masks(photos, findings, "LLFF's format")
    drop_circles(photos, findings, "LLFF's format")
    say_split_lost(photos, order, findings, "LLFF's format")
    rows = np.concatenate([_poses(photos), _depths(photos, findings)], axis=1)[order]
    payload = io.BytesIO()
    np.save(payload, rows, allow_pickle=False)
    return Plan([f"images/{name}" for name in names], {FILE: payload.getvalue()})


def _poses(photos: PosedPhotos) -> np.ndarray:
    """3x5 numbers a photo [n, 15]: axes down, right, backwards, position, and height, width, focal length."""
    axes = photos.c2w[:, :3, :3] @ TO_OPENGL.T
    sizes = np.array([[camera.height, camera.width, camera.fx] for camera in photos.cameras], np.float64)
    return np.concatenate([axes, photos.c2w[:, :3, 3:], sizes[..., None]], axis=2).reshape(len(photos), 15)


def _depths(photos: PosedPhotos, findings: Findings) -> np.ndarray:
    """Nearest and farthest depth of each photo [n, 2]."""
    near, far = photos.hints.get("near"), photos.hints.get("far")
    if near is not None and far is not None:
        return np.full((len(photos), 2), (near, far), np.float64)
    bounds = unbounded_scene(photos.c2w)
    distance = np.linalg.norm(photos.c2w[:, :3, 3] - np.array(bounds.center), axis=1)
    distance = np.where(distance > 0, distance, bounds.scale)
    low, high = GUESSED_DEPTHS
    findings.add(
        "info", f"nearest and farthest depths are guessed, {low:g} to {high:g} times the distance to where the cameras "
        "look: no points say them", where=photos.root,
    )  # fmt: skip
    return distance[:, None] * np.array(GUESSED_DEPTHS)
