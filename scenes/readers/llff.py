"""LLFF's poses_bounds.npy beside a folder of photos (Mildenhall et al. 2019, arXiv:1905.00889, and its README)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings

from .array_files import read_npy
from .formats import is_image
from .frames import natural_key
from .posed import Frame, PosedPhotos, pose_photos

__all__ = ["read_llff"]

FILE = "poses_bounds.npy"
# a row: 3x5 numbers (rotation, position, and height, width, focal length), nearest and farthest depth
N_NUMBERS = 17
# LLFF's columns are down, right, backwards; here they are right, up, backwards
TO_OPENGL = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def read_llff(path: Path, skip_bad: bool, findings: Findings) -> PosedPhotos | None:
    """Read ``poses_bounds.npy`` and the photos in ``images``, or ``images_2``, ``images_4``, ...; None without it.

    Notes
    -----
    The file names no photos: its rows are those of the photos in the order of Python's ``sorted``, in which IMG_10
    comes before IMG_2, because LLFF's own code writes and reads it so. There must be as many photos as rows. Depths are
    kept as a hint; nothing is put into normalised device coordinates.
    """
    file = path if path.name == FILE else path / FILE
    if not file.is_file():
        return None
    rows = _read(file)
    photos = _photos(file.parent, len(rows), findings)
    if [*photos] != sorted(photos, key=natural_key):
        what = (
            f"photos are taken in the order of {FILE}, letter by letter ({photos[1]} after {photos[0]}), "
            "not in that of their numbers"
        )
        findings.add("info", what, where=file, fix="right for files that LLFF's own scripts wrote")
    frames = [
        _frame(row, photo, f"{file}: row {i} ({photo})")
        for i, (row, photo) in enumerate(zip(rows, photos, strict=True))
    ]
    hints = {"near": float(rows[:, 15].min()), "far": float(rows[:, 16].max())}
    return pose_photos(frames, file.parent, "llff", skip_bad=skip_bad, findings=findings, hints=hints)


def _read(file: Path) -> np.ndarray:
    fix = "make it again with LLFF's imgs2poses.py"
    rows = read_npy(file, fix)
    if rows.ndim != 2 or rows.shape[1] != N_NUMBERS or not len(rows):
        shape = "x".join(map(str, rows.shape))
        raise NerfkitError(f"must hold {N_NUMBERS} numbers a photo; its shape is {shape}", where=file, fix=fix)
    if rows.dtype.kind not in "fiu":
        raise NerfkitError(f"must hold numbers; it holds {rows.dtype}", where=file, fix=fix)
    return rows.astype(np.float64)


def _photos(root: Path, n_rows: int, findings: Findings) -> list[str]:
    """As many photos as there are rows, of the largest size of which all are there."""
    folders = [p for p in root.iterdir() if p.is_dir() and p.name.lower().startswith("images")]
    folders.sort(key=lambda folder: natural_key(folder.name))
    found = {folder.name: sorted(p.name for p in folder.iterdir() if is_image(p)) for folder in folders}
    whole = next((name for name, names in found.items() if len(names) == n_rows), None)
    counts = ", ".join(f"{name}/ {len(names)}" for name, names in found.items()) or "no folder images"
    if whole is None:
        raise NerfkitError(
            f"{FILE} has {n_rows} rows, and no folder has as many photos: {counts}", where=root,
            fix="put exactly the photos that the poses were made from into images/, under their names",
        )  # fmt: skip
    short = [name for name, names in found.items() if name != whole and len(names) != n_rows]
    if short:
        findings.add(
            "info", f"photos are read from {whole}/; {', '.join(short)} have other numbers of them", where=root
        )
    return [f"{whole}/{name}" for name in found[whole]]


def _frame(row: np.ndarray, photo: str, where: str) -> Frame:
    pose = row[:15].reshape(3, 5)
    height, width, focal = pose[:, 4]

    def camera(photo_width: int, photo_height: int) -> Camera:
        if not (np.isfinite(pose[:, 4]).all() and min(height, width) >= 1 and focal > 0):
            raise NerfkitError(
                f"height, width and focal length must be above 0; got {height:g}, {width:g}, {focal:g}", where=where,
                fix="make the file again with LLFF's imgs2poses.py",
            )  # fmt: skip
        return Camera(round(width), round(height), float(focal), float(focal), width / 2, height / 2)

    matrix = np.hstack([pose[:, :3] @ TO_OPENGL, pose[:, 3:4]])
    size = (round(width), round(height)) if np.isfinite([width, height]).all() else None
    return Frame(file=photo, where=where, matrix=matrix, camera=camera, size=size)
