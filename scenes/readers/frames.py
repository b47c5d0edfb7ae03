"""Low-resolution frames of one scene into one array: a folder, a glob, a single image, a video, an npz or npy.

Values become float32 in [0, 1]: 255 and 65535 are 1. Pixels are taken as the file has them (no gamma is undone), alpha
beside them and not multiplied in.
"""

from __future__ import annotations

import logging
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.luminance import LUMINANCE

from ._images import Decoded, decode_image
from .photos import map_in_threads, some

__all__ = ["Frames", "check_memory", "natural_key", "read_frames"]

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".y4m", ".gif")
ARRAY_SUFFIXES = (".npz", ".npy")
# tried in this order in an npz of several arrays
ARRAY_KEYS = ("frames", "images", "y")
SHIFTS_FILE = "shifts.csv"
KINDS = "PNG, JPEG, TIFF or BMP images, a video (mp4, avi, mov, mkv, webm, y4m, gif), an npz or npy"
# greatest counts of sensors whose values are stored in 16 bits
SENSOR_WHITES = tuple(2**bits - 1 for bits in (10, 12, 14))
# fraction of the values below and above the range that frames use, and how many are looked at
RANGE_TAIL, RANGE_VALUES = 1e-3, 2**22
# noise may take a float frame outside [0, 1], another unit takes it much further
FLOAT_RANGE = (-0.5, 1.5)


@dataclass
class Frames:
    """Frames of equal size.

    Parameters
    ----------
    images : ndarray of float32, shape (n, h, w) grey or (n, h, w, 3) RGB
        In [0, 1]; float input keeps what noise puts just outside.
    files : list of str
        Relative to ``root``; of a video or an array each frame's index, from "0".
    bit_depth : int
        Of the input: 8, 16, or 32 for float.
    name : str
        The folder's or the file's, without suffix.
    root : Path
        Folder that ``files`` are relative to.
    alpha : ndarray of float32, shape (n, h, w), optional
        In [0, 1]; None where every pixel of every frame is opaque.
    icc_profiles : list of bytes or None
        Colour profile of each frame; empty where the format has none.
    shifts_file : Path, optional
        The ``shifts.csv`` beside the frames.
    is_indexed : bool
        Whether ``files`` are indices.
    is_cut : bool
        Whether only the first of more frames were asked for.
    """

    images: np.ndarray
    files: list[str]
    bit_depth: int
    name: str
    root: Path
    alpha: np.ndarray | None = None
    icc_profiles: list[bytes | None] = field(default_factory=list)
    shifts_file: Path | None = None
    is_indexed: bool = False
    is_cut: bool = False

    def __len__(self) -> int:
        return len(self.files)

    def without(self, indices: Sequence[int]) -> Frames:
        """The other frames."""
        kept = [index for index in range(len(self)) if index not in set(indices)]
        return replace(
            self, images=self.images[kept], files=[self.files[index] for index in kept], is_cut=True,
            alpha=None if self.alpha is None else self.alpha[kept],
            icc_profiles=[self.icc_profiles[index] for index in kept] if self.icc_profiles else [],
        )  # fmt: skip

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.images.shape[2], self.images.shape[1]

    @property
    def value_range(self) -> tuple[float, float]:
        """Values between which all but two in a thousand of the colours lie, or all where these are nearly equal.

        Examples
        --------
        >>> Frames(np.full((1, 2, 2), 0.5, np.float32), ["a"], 8, "a", Path()).value_range
        (0.5, 0.5)
        """
        values = self.images.reshape(-1, *self.images.shape[3:])[:: max(1, self.images.size // RANGE_VALUES)]
        if self.alpha is not None:
            is_seen = self.alpha.reshape(-1)[:: max(1, self.images.size // RANGE_VALUES)] > 0
            values = values[is_seen] if is_seen.any() else values
        low, high = (float(np.quantile(values, part)) for part in (RANGE_TAIL, 1 - RANGE_TAIL))
        return (low, high) if high > low else (float(self.images.min()), float(self.images.max()))

    @property
    def white(self) -> float:
        """The value of a saturated pixel: 1, or that of 10, 12 or 14 bits where 16 bits hold so many and reach it.

        Examples
        --------
        >>> frames = np.array([[[0, 4095]]]) / np.float32(65535)
        >>> bool(Frames(frames, ["a"], 16, "a", Path()).white == frames.max())
        True
        """
        most = float(self.images.max())
        counts = round(most * np.iinfo(np.uint16).max)
        return most if self.bit_depth == 16 and counts in SENSOR_WHITES else 1.0

    @property
    def grey(self) -> np.ndarray:
        """Luminance [n, h, w] of the file values, alpha left out."""
        return self.images if self.images.ndim == 3 else self.images @ np.array(LUMINANCE, np.float32)


def read_frames(path: str | Path, n_frames: int | None = None) -> Frames:
    """Read a sequence of low-resolution frames.

    Parameters
    ----------
    path : str or Path
        A folder of images (taken in natural order, other files ignored), a glob pattern, one image, a video,
        or an npz or npy of shape (n, h, w), (n, h, w, 3) or, with alpha, (n, h, w, 4).
    n_frames : int, optional
        Take the first so many; all of them unless given.

    Returns
    -------
    frames : Frames

    Raises
    ------
    NerfkitError
        Nothing to read there, or a frame that is unreadable, of another size or kind, or not finite: by name.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> from PIL import Image
    >>> for i in (10, 2):
    ...     Image.new("L", (6, 4), 51 * i // 2).save(folder / f"frame{i}.png")
    >>> frames = read_frames(folder)
    >>> frames.files, frames.images.shape, frames.images[0, 0, 0].item()
    (['frame2.png', 'frame10.png'], (2, 4, 6), 0.20000000298023224)
    """
    if n_frames is not None and n_frames < 1:
        raise NerfkitError(f"the number of frames must be 1 or more; got {n_frames}", where="--frames")
    path = Path(path).expanduser()
    if not path.exists():
        root, files = _match(path)
        path = root / files[0] if len(files) == 1 else path
    elif path.is_dir():
        root, files = path, _list_images(path)
    else:
        root, files = path.parent, [path.name]
    suffix = path.suffix.lower()
    if len(files) == 1 and not path.is_dir() and suffix not in IMAGE_SUFFIXES:
        return _read_container(path, suffix, n_frames)
    frames = _read_images(root, _first(files, n_frames, path))
    frames.name = path.stem if len(files) == 1 and not path.is_dir() else root.resolve().name
    frames.is_cut = len(frames) < len(files)
    shifts_file = root / SHIFTS_FILE
    is_sequence = path.is_dir() or len(files) > 1
    frames.shifts_file = shifts_file if is_sequence and shifts_file.is_file() else None
    return frames


def natural_key(file: str) -> tuple[list[str | int], str]:
    """Sort key that puts frame2 before frame10.

    Examples
    --------
    >>> sorted(["f10.png", "F1.png", "f2.png"], key=natural_key)
    ['F1.png', 'f2.png', 'f10.png']
    """
    # words and numbers alternate, so equal positions always compare
    parts = re.split(r"(\d+)", file.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], file


def check_memory(n_values: int, where: Path) -> None:
    """Refuse frames that in float32 take more than half of this machine's memory."""
    memory = _physical_memory()
    if memory and 4 * n_values > memory / 2:
        raise NerfkitError(
            f"the frames need {4 * n_values / 1e9:.2g} GB or more; half of this machine's memory is "
            f"{memory / 2e9:.2g} GB",
            where=where,
            fix="take fewer of them (--frames N), or crop them",
        )


def _physical_memory() -> int:
    """Bytes; 0 where the system does not tell (Windows)."""
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _match(pattern: Path) -> tuple[Path, list[str]]:
    """The folder above a glob pattern's first wildcard, and what matches, relative to it."""
    parts = pattern.parts
    fixed = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), None)
    if fixed is None:
        raise NerfkitError("no such file or folder", where=pattern, fix=f"give a folder of frames, or {KINDS}")
    root = Path(*parts[:fixed])
    found = [file for file in root.glob(str(Path(*parts[fixed:]))) if file.is_file() and file.name[0] != "."]
    images = [file for file in found if file.suffix.lower() in IMAGE_SUFFIXES]
    files = [file.relative_to(root).as_posix() for file in (images or found)]
    files.sort(key=natural_key)
    if not images and len(files) != 1:
        seen = f"{len(files)} files match and none is an image: {some(files)}" if files else "nothing matches"
        raise NerfkitError(f"{seen}", where=pattern, fix="give a pattern of PNG, JPEG, TIFF or BMP files, in quotes")
    return root, files


def _list_images(folder: Path) -> list[str]:
    entries = sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    files = [
        entry.name
        for entry in entries
        if entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file() and not entry.name.startswith(".")
    ]
    if not files:
        seen = some([entry.name + "/" * entry.is_dir() for entry in entries]) or "an empty folder"
        raise NerfkitError(
            f"no frames in this folder; found {seen}",
            where=folder,
            fix=f"give the folder that the frames are in, or by its name {KINDS}",
        )
    return files


def _first(files: Sequence[str], n_frames: int | None, where: Path) -> list[str]:
    if n_frames is not None and n_frames > len(files):
        raise NerfkitError(
            f"{n_frames} frames are wanted, there are {len(files)}",
            where=where,
            fix=f"give --frames {len(files)} or less, or leave it out",
        )
    return list(files[:n_frames])


def _read_images(root: Path, files: list[str]) -> Frames:
    first = decode_image(root / files[0])
    check_memory(len(files) * first.pixels.size, root)
    decoded = [first, *map_in_threads(lambda file: decode_image(root / file), files[1:])]
    for file, frame in zip(files, decoded, strict=True):
        for what, of in (("sizes", _size), ("kinds", _kind)):
            if of(frame) != of(first):
                raise NerfkitError(
                    f"the frames have different {what}: {files[0]} has {of(first)}, {file} has {of(frame)}",
                    where=root,
                    fix="frames must be of one size and kind: take the others out, convert them, or give a pattern of "
                    "those that belong together (in quotes)",
                )
    _warn_of(files, [frame.n_pages > 1 for frame in decoded], root, "has pages; only the first is read")
    profiles = [frame.icc_profile for frame in decoded]
    _warn_of(files, [profile != profiles[0] for profile in profiles], root, f"has another profile than {files[0]}")
    images = _stack(root, files, [frame.pixels for frame in decoded])
    alphas = [frame.alpha for frame in decoded if frame.alpha is not None]
    alpha = _stack(root, files, alphas) if alphas else None
    bit_depth = _bit_depth(first.pixels.dtype)
    return Frames(images, files, bit_depth, root.resolve().name, root, _unless_opaque(alpha), profiles)


def _size(frame: Decoded) -> str:
    return f"{frame.pixels.shape[1]}x{frame.pixels.shape[0]} pixels"


def _kind(frame: Decoded) -> str:
    depth = _bit_depth(frame.pixels.dtype)
    values = "floats" if depth == 32 else f"{depth} bits"
    return f"{values} of {'grey' if frame.pixels.ndim == 2 else 'RGB'}{'' if frame.alpha is None else ' with alpha'}"


def _unless_opaque(alpha: np.ndarray | None) -> np.ndarray | None:
    return None if alpha is None or (alpha >= 1).all() else alpha


def _warn_of(files: Sequence[str], flags: Sequence[bool], root: Path, what: str) -> None:
    named = [file for file, flag in zip(files, flags, strict=True) if flag]
    if named:
        logger.warning("%s: %d of %d frames: %s (%s)", root, len(named), len(files), what, some(named))


def _bit_depth(dtype: np.dtype) -> int:
    return 32 if dtype.kind == "f" else 8 * dtype.itemsize


def _stack(where: Path, names: Sequence[str], frames: Sequence[np.ndarray]) -> np.ndarray:
    """Float32 in [0, 1] of equal arrays."""
    images = np.empty((len(frames), *frames[0].shape), np.float32)
    for index, (frame, name) in enumerate(zip(frames, names, strict=True)):
        if frame.dtype.kind == "f":
            _check_floats(frame, where, name)
            images[index] = frame
        else:
            np.divide(frame, np.float32(np.iinfo(frame.dtype).max), out=images[index])
    return images


def _check_floats(pixels: np.ndarray, where: Path, name: str) -> None:
    n_bad = pixels.size - np.count_nonzero(np.isfinite(pixels))
    if n_bad:
        raise NerfkitError(
            f"frame {name} holds {n_bad} values that are NaN or infinite, of {pixels.size}",
            where=where,
            fix="fill them, or leave the frame out",
        )
    low, high = float(pixels.min()), float(pixels.max())
    if low < FLOAT_RANGE[0] or high > FLOAT_RANGE[1]:
        raise NerfkitError(
            f"frame {name} holds floats from {low:.4g} to {high:.4g}; 0 to 1 is wanted",
            where=where,
            fix="divide all frames by the value of white, or give uint8 or uint16",
        )


def _read_container(path: Path, suffix: str, n_frames: int | None) -> Frames:
    """A video or an array, whose frames have indices for names."""
    if suffix in VIDEO_SUFFIXES:
        from .video import read_video

        pixels = read_video(path, n_frames)
        is_cut = n_frames is not None
    elif suffix in ARRAY_SUFFIXES:
        pixels = _read_array(path)
        n_found = len(pixels)
        pixels = pixels[: len(_first([str(i) for i in range(n_found)], n_frames, path))]
        is_cut = len(pixels) < n_found
        check_memory(pixels.size, path)
    else:
        seen = suffix or "file without suffix"
        raise NerfkitError(
            f"frames cannot be read from a {seen}", where=path, fix=f"give a folder of frames, or {KINDS}"
        )
    files = [str(i) for i in range(len(pixels))]
    alpha = None
    if pixels.ndim == 4 and pixels.shape[-1] == 4:
        pixels, alpha = pixels[..., :3], _stack(path, files, list(pixels[..., 3]))
    images = _stack(path, files, list(pixels))
    bit_depth = _bit_depth(pixels.dtype)
    return Frames(
        images, files, bit_depth, path.stem, path.parent, _unless_opaque(alpha), is_indexed=True, is_cut=is_cut
    )  # fmt: skip


def _read_array(path: Path) -> np.ndarray:
    """[n, h, w], [n, h, w, 3] or, with alpha, [n, h, w, 4] of uint8, uint16 or float."""
    try:
        content = np.load(path, allow_pickle=False)
        array = content if isinstance(content, np.ndarray) else content[_choose_key(content.files, path)]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise NerfkitError(
            f"this array cannot be read ({error})", where=path, fix="save it with numpy.savez"
        ) from error
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != "f":
        raise NerfkitError(
            f"the frames are {array.dtype}; uint8, uint16 or a float from 0 to 1 is wanted",
            where=path,
            fix="convert the array first",
        )
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    is_grey = array.ndim == 3 and array.shape[-1] not in (1, 3, 4)
    if not (is_grey or (array.ndim == 4 and array.shape[-1] in (3, 4))) or not array.size:
        raise NerfkitError(
            f"the frames have shape {array.shape}; (n, h, w) for grey, (n, h, w, 3) for RGB or (n, h, w, 4) for RGB "
            "with alpha is wanted",
            where=path,
            fix="one frame is array[None]",
        )
    return array


def _choose_key(keys: Sequence[str], path: Path) -> str:
    known = [key for key in ARRAY_KEYS if key in keys]
    if len(keys) == 1 or known:
        return keys[0] if len(keys) == 1 else known[0]
    raise NerfkitError(
        f"which of its arrays are the frames? found {some(keys) or 'none'}; one of {', '.join(ARRAY_KEYS)} is wanted",
        where=path,
        fix="name one 'frames', or save it alone",
    )
