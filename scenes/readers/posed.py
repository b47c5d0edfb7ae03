"""What every reader returns, and the checks that all formats share: photos, matrices, sizes, splits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nerfkit.scenes.cameras import Camera, unsolved_fraction
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.places import outside_error

from .photo_search import Found, PhotoSearch, say_moved
from .photos import PhotoHeader, fit_camera, map_in_threads, narrow_range, read_header, read_photo, some

__all__ = ["Frame", "Leniency", "PosedPhotos", "lenient", "pose_photos", "read_each", "split_by_rule"]

# Blender's exports carry float noise of 1e-7, hand-typed matrices 1e-4
RIGID_TOLERANCE = 1e-3
# world units: squares of distances beyond it are infinite in float32
FARTHEST = 1e15
SPLITS = ("train", "val", "test")


S = TypeVar("S")
T = TypeVar("T")


def read_each(items: Sequence[S], read: Callable[[S], T], skip_bad: bool, findings: Findings) -> list[T]:
    """What ``read`` makes of each item; with ``skip_bad`` a bad one goes to the findings, unless all are bad."""
    done: list[T] = []
    errors: list[NerfkitError] = []
    for item in items:
        try:
            done.append(read(item))
        except NerfkitError as error:
            if not skip_bad:
                raise
            errors.append(error)
    if errors and not done:
        raise errors[0]
    for error in errors:
        findings.add_error(error)
    return done


@dataclass
class PosedPhotos:
    """Photos with their cameras and poses, in the input's own world frame and scale; no pixels.

    Parameters
    ----------
    name : str
        The scene's name: its folder's.
    root : Path
        Folder that ``files`` are relative to.
    format : str
        ``"blender"``, ``"transforms"``, ``"colmap"`` or ``"llff"``.
    files : list of str
        Photos that exist, in listed order, with their suffix.
    cameras : list of Camera
        One per photo, for the photo at full size as :func:`load_photos` turns it.
    c2w : ndarray of float64, shape (n, 4, 4)
        Camera-to-world, rigid, OpenGL camera (+X right, +Y up, -Z forward).
    splits : dict of str to list of int
        Indices of "train", "val" and "test".
    skipped : list of str
        Photos as listed that are absent or, with ``skip_bad``, unusable.
    masks : list of Path or None, optional
        Black where a photo is to be ignored.
    uses_exif : list of bool, optional
        Whether a photo is turned as its EXIF orientation says; None turns all.
    hints : dict
        What else the format says about the scene, such as ``aabb_scale``.
    value_range : (float, float), optional
        Values that become black and white in grey photos of 16 bits that use a part of them; None: all.
    depths : list of Path or None, optional
        Depth maps.
    """

    name: str
    root: Path
    format: str
    files: list[str]
    cameras: list[Camera]
    c2w: np.ndarray
    splits: dict[str, list[int]]
    skipped: list[str] = field(default_factory=list)
    masks: list[Path | None] | None = None
    uses_exif: list[bool] | None = None
    hints: dict[str, Any] = field(default_factory=dict)
    value_range: tuple[float, float] | None = None
    depths: list[Path | None] | None = None

    def __len__(self) -> int:
        return len(self.files)


@dataclass
class Frame:
    """One listed photo as a reader found it, unchecked.

    Parameters
    ----------
    file : str
        The photo as listed, relative to the root; the suffix may be missing.
    where : str
        File and frame, for messages.
    matrix : object
        Camera-to-world as the format gives it, OpenGL; checked by :func:`check_c2w`.
    camera : callable
        ``(width, height) -> Camera`` of the photo as loaded; may raise NerfkitError.
    size : tuple of int, optional
        Width and height that the format states.
    splits : tuple of str
        Those that the format puts it in; none leaves it out, where any frame has one.
    mask, depth : str, optional
        Mask file and depth map, relative to the root.
    """

    file: str
    where: str
    matrix: Any
    camera: Callable[[int, int], Camera]
    size: tuple[int, int] | None = None
    splits: tuple[str, ...] = ()
    mask: str | None = None
    depth: str | None = None


@dataclass(frozen=True)
class Leniency:
    """How to read poses and cameras that are not what their format says; for whoever mends them.

    Parameters
    ----------
    matrix : callable
        From a frame's matrix, whatever it is, to the one that is checked.
    camera : callable
        ``(camera, width, height) -> Camera`` from a frame's camera to the one that is fitted to its photo's size.
    """

    matrix: Callable[[Any], Any] = lambda matrix: matrix
    camera: Callable[[Camera, int, int], Camera] = lambda camera, width, height: camera


_LENIENCY: ContextVar[Leniency | None] = ContextVar("leniency", default=None)


@contextmanager
def lenient(leniency: Leniency) -> Iterator[None]:
    """Read photos in this way meanwhile."""
    token = _LENIENCY.set(leniency)
    try:
        yield
    finally:
        _LENIENCY.reset(token)


def split_by_rule(n_views: int) -> dict[str, list[int]]:
    """Split where none is listed: every 8th view is held out for test, and every 8th from the 4th on for val.

    Examples
    --------
    >>> split_by_rule(10)
    {'train': [1, 2, 3, 5, 6, 7, 9], 'val': [4], 'test': [0, 8]}
    """
    return {
        "train": [i for i in range(n_views) if i % 4],
        "val": list(range(4, n_views, 8)),
        "test": list(range(0, n_views, 8)),
    }


def pose_photos(
    frames: Sequence[Frame],
    root: Path,
    format: str,
    *,
    skip_bad: bool,
    findings: Findings,
    exif_by_default: bool = True,
    hints: dict[str, Any] | None = None,
) -> PosedPhotos:
    """Check listed frames and keep those whose photos exist.

    Parameters
    ----------
    frames : sequence of Frame
        In listed order.
    root : Path
        Folder that the frames' files are relative to.
    format : str
        Name of the format.
    skip_bad : bool
        Leave a bad frame out and name it, rather than raise.
    findings : Findings
        Filled with what is absent, left out or adapted.
    exif_by_default : bool
        Whether EXIF orientation counts where the stated size does not tell.
    hints : dict, optional
        Passed on.
    """
    search, listed = PhotoSearch(root), [frame.file for frame in frames]
    places = search.find_all(listed)
    say_moved(listed, places, root, findings)
    found = [(frame, None if place is None else place.file) for frame, place in zip(frames, places, strict=True)]
    absent = [frame.file for frame, photo in found if photo is None]
    if len(absent) == len(frames):
        raise NerfkitError(
            f"none of the {len(frames)} listed photos exists; the first is {absent[0]!r}", where=root,
            fix=_where_to_put(absent[0], search),
        )  # fmt: skip
    if absent:
        findings.add(
            "warning",
            f"{len(absent)} of {len(frames)} listed photos are absent: {some(absent)}",
            where=root,
            fix="put them there; training goes on without them",
        )
    outside = [
        (frame, place.file) for frame, place in zip(frames, places, strict=True) if place and not place.is_allowed
    ]
    for frame, file in outside:
        _refuse(outside_error(root, file, frame.where), skip_bad, findings)
    left_out = {frame.file for frame, _ in outside}
    present = [(frame, photo) for frame, photo in found if photo is not None and frame.file not in left_out]
    views, bad = _check_frames(present, root, skip_bad, exif_by_default, findings)
    bad |= left_out
    skipped = [frame.file for frame, photo in found if photo is None or frame.file in bad]
    kept = [view.frame for view in views]
    is_listed = any(frame.splits for frame in frames)
    splits = _listed_splits(kept) if is_listed else split_by_rule(len(kept))
    if len(splits["train"]) < 2:
        raise NerfkitError(
            f"{len(views)} usable photos, {len(splits['train'])} of them for training; a scene needs at "
            "least 2 to train on, so 3 where one is held out for test",
            where=root,
            fix="mend those that are left out" if bad else "add photos; 30 or more make a good scene",
        )
    _report(views, root, findings)
    has_masks, has_depths = (any(getattr(frame, name) for frame in kept) for name in ("mask", "depth"))
    return PosedPhotos(
        name=root.resolve().name,
        root=root,
        format=format,
        files=[view.file for view in views],
        cameras=[view.camera for view in views],
        c2w=np.stack([view.c2w for view in views]),
        splits=splits,
        skipped=skipped,
        masks=[_mask(root, search, frame, skip_bad, findings) for frame in kept] if has_masks else None,
        depths=[_depth(root, search, frame, skip_bad, findings) for frame in kept] if has_depths else None,
        uses_exif=[view.uses_exif for view in views],
        hints=hints or {},
        value_range=narrow_range([root / view.file for view in views]),
    )


def _where_to_put(listed: str, search: PhotoSearch) -> str:
    """What to do about photos that are not there."""
    alike = search.alike(listed)
    if len(alike) > 1:
        return f"it may be any of {some(alike)}: list one of them"
    # nobody can make a drive C: elsewhere: the listed names are to be changed
    if re.match(r"[A-Za-z]:|/", listed):
        name = re.split(r"[/\\]", listed)[-1]
        return f"the paths are of another machine: write names relative to this folder, such as images/{name}"
    return "put the photos beside the poses under the names listed"


def check_c2w(matrix: Any, where: str) -> np.ndarray:
    """A rigid 4x4 camera-to-world matrix, or a NerfkitError that says what is wrong with this one.

    Parameters
    ----------
    matrix : object
        4x4 or 3x4 numbers; the rotation may carry a uniform scale, which is removed.
    where : str
        File and frame, for the message.
    """
    expected = "its pose (transform_matrix) must be 4x4 numbers, camera to world, rotation and translation"
    if matrix is None:
        raise NerfkitError("has no transform_matrix", where=where, fix="add one, or leave the frame out (--skip-bad)")

    def wrong(found: str) -> NerfkitError:
        return NerfkitError(f"{expected}; {found}", where=where, fix="mend it, or leave the frame out (--skip-bad)")

    try:
        c2w = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise wrong("this one holds something that is not a number, or rows of unequal length") from None
    if c2w.shape == (3, 4):
        c2w = np.vstack([c2w, [0.0, 0.0, 0.0, 1.0]])
    if c2w.shape != (4, 4):
        raise wrong(f"this one has shape {'x'.join(map(str, c2w.shape)) or 'of a single number'}")
    if not np.isfinite(c2w).all():
        raise wrong("this one holds NaN or infinity")
    if np.abs(c2w).max() > FARTHEST:
        raise wrong(f"this one holds a number beyond {FARTHEST:g}")
    if np.abs(c2w[3] - [0, 0, 0, 1]).max() > RIGID_TOLERANCE:
        raise wrong(f"its last row is {c2w[3].tolist()} instead of 0 0 0 1 (is it transposed?)")
    determinant = np.linalg.det(c2w[:3, :3])
    scale = np.cbrt(abs(determinant))
    if scale < 1e-9 * max(1.0, np.abs(c2w[:3, :3]).max()):
        raise wrong("this one is singular: its rotation part has determinant 0")
    rotation = c2w[:3, :3] / scale
    shear = np.abs(rotation.T @ rotation - np.eye(3)).max()
    if shear > RIGID_TOLERANCE:
        raise wrong(f"its rotation part is not orthonormal (off by {shear:.2g}, allowed {RIGID_TOLERANCE})")
    if determinant < 0:
        raise wrong("this one mirrors the world (its determinant is negative)")
    c2w[:3, :3] = rotation
    c2w[3] = [0.0, 0.0, 0.0, 1.0]
    return c2w


@dataclass
class _View:
    frame: Frame
    file: str
    camera: Camera
    c2w: np.ndarray
    uses_exif: bool
    header: PhotoHeader


def _check_frames(
    present: Sequence[tuple[Frame, str]], root: Path, skip_bad: bool, exif_by_default: bool, findings: Findings
) -> tuple[list[_View], set[str]]:
    # here, since threads do not see it
    leniency = _LENIENCY.get() or Leniency()

    def check(item: tuple[Frame, str]) -> _View | NerfkitError:
        frame, file = item
        try:
            return _check_frame(frame, file, root, exif_by_default, leniency, decode=skip_bad)
        except NerfkitError as error:
            if not skip_bad:
                raise
            return error

    results = map_in_threads(check, present)
    views = [result for result in results if isinstance(result, _View)]
    bad = {
        frame.file: result
        for (frame, _), result in zip(present, results, strict=True)
        if isinstance(result, NerfkitError)
    }
    for error in bad.values():
        findings.add_error(error)
    return views, set(bad)


def _check_frame(frame: Frame, file: str, root: Path, exif_by_default: bool, leniency: Leniency, decode: bool) -> _View:
    c2w = check_c2w(leniency.matrix(frame.matrix), frame.where)
    header = read_header(root / file)
    if decode:
        read_photo(root / file)
    uses_exif = header.turns and _is_upright(header, frame.size, exif_by_default)
    width, height = header.turned_size if uses_exif else header.size
    try:
        camera = leniency.camera(frame.camera(width, height), width, height)
        camera = fit_camera(camera, width, height, root / file)
    # what a camera says of numbers that make none
    except (ValueError, ArithmeticError) as error:
        raise NerfkitError(f"its intrinsics make no camera: {error}", where=frame.where, fix="correct them") from error
    return _View(frame, file, camera, c2w, uses_exif, header)


def _is_upright(header: PhotoHeader, stated: tuple[int, int] | None, default: bool) -> bool:
    """Whether the stated size is that of the photo as turned, not stored; the default where it fits both."""
    if stated is None or header.size == header.turned_size:
        return default
    stored, turned = (_aspect_gap(stated, size) for size in (header.size, header.turned_size))
    return default if stored == turned else turned < stored


def _aspect_gap(a: tuple[int, int], b: tuple[int, int]) -> float:
    return abs(a[0] * b[1] - a[1] * b[0])


def _listed_splits(frames: Sequence[Frame]) -> dict[str, list[int]]:
    return {split: [i for i, frame in enumerate(frames) if split in frame.splits] for split in SPLITS}


def _mask(root: Path, search: PhotoSearch, frame: Frame, skip_bad: bool, findings: Findings) -> Path | None:
    if frame.mask is None:
        return None
    # a photo has the name of its mask: the folder must be the mask's
    found = search.find(frame.mask, min_folders=1)
    if found is None:
        fix = "restore it or drop mask_path"
        _refuse(NerfkitError(f"mask {frame.mask!r} does not exist", where=frame.where, fix=fix), skip_bad, findings)
        return None
    return _allowed(found, root, frame, skip_bad, findings)


def _depth(root: Path, search: PhotoSearch, frame: Frame, skip_bad: bool, findings: Findings) -> Path | None:
    """The depth map of a photo; one that is absent is named, for a scene can do without."""
    if frame.depth is None:
        return None
    found = search.find(frame.depth, min_folders=1)
    if found is None:
        findings.add("warning", f"depth map {frame.depth!r} does not exist", where=frame.where)
        return None
    return _allowed(found, root, frame, skip_bad, findings)


def _allowed(found: Found, root: Path, frame: Frame, skip_bad: bool, findings: Findings) -> Path | None:
    """A file that belongs to a photo, if it may be read."""
    if found.is_allowed:
        return root / found.file
    _refuse(outside_error(root, found.file, frame.where), skip_bad, findings)
    return None


def _refuse(error: NerfkitError, skip_bad: bool, findings: Findings) -> None:
    """Raise what is wrong with a frame, or with ``skip_bad`` note it."""
    if not skip_bad:
        raise error
    findings.add_error(error)


def _report(views: Sequence[_View], root: Path, findings: Findings) -> None:
    """Say once, for the whole scene, what was adapted."""
    rescaled = [v for v in views if v.frame.size and v.frame.size != (v.camera.width, v.camera.height)]
    if rescaled:
        view = rescaled[0]
        listed, photo = view.frame.size or (0, 0), view.camera
        findings.add(
            "info",
            f"intrinsics of {len(rescaled)} photos rescaled to the photos' size ({view.file}: listed "
            f"{listed[0]}x{listed[1]}, photo {photo.width}x{photo.height})",
            where=root,
        )
    _report_lenses(views, root, findings)
    turning = [v for v in views if v.header.turns]
    if turning:
        as_stored = [v.file for v in turning if not v.uses_exif]
        findings.add(
            "warning",
            f"{len(turning)} photos have an EXIF orientation; {len(turning) - len(as_stored)} are turned by it, "
            f"{len(as_stored)} stay as stored because the poses were made for the stored pixels: "
            f"{some(as_stored) or 'none'}",
            where=root,
        )


def _report_lenses(views: Sequence[_View], root: Path, findings: Findings) -> None:
    """Say where a lens cannot be undone, which its coefficients are to blame for."""
    fractions = {camera: unsolved_fraction(camera) for camera in dict.fromkeys(view.camera for view in views)}
    folded = [view for view in views if fractions[view.camera] > 0]
    if folded:
        worst = max(folded, key=lambda view: fractions[view.camera])
        camera = worst.camera
        findings.add(
            "warning",
            f"the lens of {len(folded)} photos has no inverse in up to {fractions[camera]:.0%} of a photo, "
            f"which is left out ({worst.file}: {camera.lens}, k = {camera.k}, p = {camera.p})",
            where=root,
            fix="look for coefficients of another lens model or of another order, or undistort the photos first",
        )
