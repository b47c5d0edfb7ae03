"""Frames in an npz or npy: which axis counts them and which holds colour is read from shapes and values.

The form that is documented is (n, h, w) or (n, h, w, 3). Whatever else libraries write is recognised by what frames
are: alike from first to last, which rows and columns of a picture are not. What stays doubtful is refused, with the
line of numpy that mends this array.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings

from .array_files import open_arrays
from .photos import some

__all__ = ["read_array"]

# tried in this order in an npz of several arrays
ARRAY_KEYS = ("frames", "images", "y")
COLOURS = (3, 4)
# sides that are enough to compare slices by, bins that their sides are averaged to, pairs of slices that are compared
MIN_SIDE, N_BINS, N_COMPARED = 8, 6, 16
# correlation that frames have at least; what it lacks of 1 is this fraction of what that of rows or columns lacks
MIN_ALIKE, MUCH_LESS = 0.45, 0.5
# ratio of a frame's sides: beyond it frames are rare, and up to it they are usual
MAX_ASPECT, USUAL_ASPECT = 4.0, 2.0
WANTED = "(n, h, w) for grey, (n, h, w, 3) for RGB or (n, h, w, 4) for RGB with alpha is wanted"


def read_array(path: Path, findings: Findings) -> np.ndarray:
    """Frames [n, h, w], [n, h, w, 3] or, with alpha, [n, h, w, 4] of uint8, uint16 or float.

    Parameters
    ----------
    path : Path
        An npz of one array, of one named as in :data:`ARRAY_KEYS`, or of arr_0, arr_1, ... that are one frame each; or
        an npy.
    findings : Findings
        Told what was done where the array has another form.

    Raises
    ------
    NerfkitError
        It cannot be read, holds no numbers, or which axis counts the frames cannot be told.
    """
    array = _load(path)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return _in_order(_of_known_type(array, path, findings), path, findings)


def _load(path: Path) -> np.ndarray:
    content = open_arrays(path, "save it with numpy.savez")
    if content.is_npy:
        return content.load()
    keys = content.names
    listed = [key for key in keys if re.fullmatch(r"arr_[0-9]{1,9}", key)]
    if len(listed) > 1 and len(listed) == len(keys):
        return _stacked([content.load(key) for key in sorted(keys, key=lambda key: int(key[4:]))], path)
    return content.load(_choose_key(keys, path))


def _stacked(arrays: list[np.ndarray], path: Path) -> np.ndarray:
    """Arrays that numpy.savez numbered, one frame each."""
    shapes = {array.shape for array in arrays}
    if len(shapes) == 1 and arrays[0].ndim in (2, 3):
        return np.stack(arrays)
    raise NerfkitError(
        f"its {len(arrays)} arrays have shapes {some([str(shape) for shape in sorted(shapes)])}; frames of one size, "
        "(h, w) or (h, w, 3), are wanted",
        where=path,
        fix="save them as one array named 'frames', shape (n, h, w) or (n, h, w, 3)",
    )


def _choose_key(keys: Sequence[str], path: Path) -> str:
    known = [key for key in ARRAY_KEYS if key in keys]
    if len(keys) == 1 or known:
        return keys[0] if len(keys) == 1 else known[0]
    raise NerfkitError(
        f"which of its arrays are the frames? found {some(keys) or 'none'}; one of {', '.join(ARRAY_KEYS)} is wanted",
        where=path,
        fix="name one 'frames', or save it alone",
    )


# --- types ---


def _of_known_type(array: np.ndarray, path: Path, findings: Findings) -> np.ndarray:
    """The same values as uint8, uint16, or floats whose white is 1."""
    if not array.size:
        raise _wrong(array.shape, path, "fill it: an axis has no entries")
    if array.dtype.kind not in "buif":
        raise NerfkitError(
            f"the frames are {array.dtype}; uint8, uint16 or a float from 0 to 1 is wanted",
            where=path,
            fix="take the real part or the magnitude: np.abs(a)"
            if array.dtype.kind == "c"
            else "convert the array first",
        )
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype in (np.uint8, np.uint16):
        return array
    low, high = float(array.min()), float(array.max())
    if not np.isfinite((low, high)).all():
        return array  # the frame that is to blame is named later
    is_whole = array.dtype.kind != "f" or (high > 1.5 and low >= 0 and bool((array == np.rint(array)).all()))
    if is_whole:
        return _of_whole_numbers(array, low, high, path, findings)
    if 1.5 < high <= 65535 and low >= -0.05 * high:
        white = 255 if high <= 255 else 65535
        said = f"the frames are floats from {low:.4g} to {high:.4g}; {white} is taken for white, where 1 is usual"
        findings.add("warning", said, where=path, fix=f"save them divided by the value of white if that is not {white}")
        return (array / white).astype(np.float32)
    return array


def _of_whole_numbers(array: np.ndarray, low: float, high: float, path: Path, findings: Findings) -> np.ndarray:
    """Integers of other types, and floats that are whole, by their range."""
    if low < 0 or high > 65535:
        shift = "a.astype(np.int64) + 32768" if low >= -32768 and high <= 32767 else "a - a.min()"
        raise NerfkitError(
            f"the frames are {array.dtype} from {low:.0f} to {high:.0f}; whole numbers from 0 to 65535 are wanted",
            where=path,
            fix=f"np.save('frames.npy', ({shift}).astype(np.uint16))"
            if high - low <= 65535
            else "np.save('frames.npy', ((a - a.min()) / np.ptp(a)).astype(np.float32))",
        )
    bits = 8 if high <= 255 else 16
    findings.add("info", f"the frames are {array.dtype} up to {high:.0f}; read as {bits} bits", where=path)
    return array.astype(np.uint8 if bits == 8 else np.uint16)


# --- axes ---


class _DoubtError(Exception):
    """Which axis is which cannot be told; the text is the mend of the array ``a``."""


def _in_order(array: np.ndarray, path: Path, findings: Findings) -> np.ndarray:
    """The axes in the order that is documented; NerfkitError where it cannot be told."""
    squeezed, is_named = _squeezed(array), array.ndim == 4 and array.shape[-1] == 1
    try:
        ordered, is_moved = _moved(squeezed, is_named)
    except _DoubtError as doubt:
        first = "" if squeezed.shape == array.shape else f"a = a.reshape({squeezed.shape}), then "
        raise _wrong(array.shape, path, f"{first}{doubt}") from None
    if is_moved:
        kind = "grey" if ordered.ndim == 3 else "RGB" if ordered.shape[3] == 3 else "RGBA"
        findings.add(
            "info",
            f"an array of shape {array.shape} is read as {len(ordered)} {kind} frames of "
            f"{ordered.shape[2]}x{ordered.shape[1]}, by what is alike along its axes",
            where=path,
            fix="if that is wrong, save it as (n, h, w) or (n, h, w, 3)",
        )
    return ordered


def _moved(array: np.ndarray, is_named: bool) -> tuple[np.ndarray, bool]:
    """Frames first and colours last, and whether any axis had to be moved for it."""
    if array.ndim == 2:
        return array[None], False
    if array.ndim not in (3, 4):
        raise _DoubtError("take one entry of what is neither frames, sides nor colours, as in a[0]")
    if array.ndim == 3 and array.shape[-1] == 1:
        return array[None, ..., 0], False
    if array.ndim == 3 and array.shape[-1] in COLOURS:
        n = array.shape[-1]
        raise _DoubtError(f"a[None] if it is one frame of {n} colours, np.moveaxis(a, -1, 0) if it is {n} grey frames")
    if array.ndim == 3:
        count = _count_axis(array, is_named)
        return np.moveaxis(array, count, 0), count != 0
    colour = _colour_axis(array.shape)
    moved = np.moveaxis(array, colour, -1)
    count = _count_axis(moved[..., 1], is_named=True)
    return np.moveaxis(moved, count, 0), colour != 3 or count != 0


def _wrong(shape: tuple[int, ...], path: Path, fix: str) -> NerfkitError:
    return NerfkitError(f"the frames have shape {shape}; {WANTED}", where=path, fix=fix)


def _squeezed(array: np.ndarray) -> np.ndarray:
    """Without axes of one entry, until three are left, or four with one of colours."""
    while array.ndim > 3 and 1 in array.shape:
        is_one_in_planes = array.shape[0] == 1 and array.shape[1] in COLOURS and array.shape[-1] > 1
        if array.ndim == 4 and (array.shape[-1] in COLOURS or is_one_in_planes):
            break
        array = array.squeeze(max(axis for axis, n in enumerate(array.shape) if n == 1))
    return array


def _colour_axis(shape: tuple[int, ...]) -> int:
    """The axis of RGB or RGBA among four: the last, or else the second, where that leaves frames; else the only one."""
    usual = [axis for axis in (3, 1) if shape[axis] in COLOURS and _are_sides(shape, {0, axis})]
    if usual:
        return usual[0]
    found = [axis for axis, n in enumerate(shape) if n in COLOURS]
    fitting = [axis for axis in found if any(_are_sides(shape, {axis, other}) for other in range(4) if other != axis)]
    if not fitting and 3 in found:  # tiny, as in a test
        return 3
    fitting = fitting or found
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise _DoubtError("none of its axes is of 3 or 4 colours: leave one entry of the odd one, as in a[..., 0]")
    lines = (f"np.moveaxis(a, {pair}, (0, -1)) if axis {pair[0]} counts frames and {pair[1]} colours"
             for pair in permutations(fitting, 2))  # fmt: skip
    raise _DoubtError(", ".join(lines))


def _are_sides(shape: tuple[int, ...], others: set[int]) -> bool:
    """Whether the axes besides those may be the sides of a frame."""
    return all(n > max(COLOURS) for axis, n in enumerate(shape) if axis not in others)


def _count_axis(grey: np.ndarray, is_named: bool) -> int:
    """The axis of [n, h, w] in any order along which slices are alike: the first unless values contradict it.

    Where nothing tells and the first would be odd it is refused, unless the order ``is_named`` by an axis of colours.
    """
    alike = [_likeness(grey, axis) for axis in range(3)]
    aspects = [_aspect([n for axis, n in enumerate(grey.shape) if axis != count]) for count in range(3)]
    other = max((axis for axis in (1, 2) if aspects[axis] <= MAX_ASPECT), key=lambda axis: alike[axis], default=0)
    is_contradicted = alike[other] > MIN_ALIKE and 1 - alike[other] < MUCH_LESS * (1 - alike[0])
    # frames of several exposures are alike along their sides by these alone
    if is_contradicted and _likeness(_levelled(grey), other) > alike[0]:
        return other
    is_sure = alike[0] > MIN_ALIKE and 1 - alike[0] < MUCH_LESS * (1 - alike[other])
    if other and aspects[0] > MAX_ASPECT and aspects[other] <= USUAL_ASPECT and not (is_sure or is_named):
        at = -1 if other == 2 else other
        raise _DoubtError(
            f"np.moveaxis(a, {at}, 0) if it is {grey.shape[other]} frames; a[..., None] if it is {grey.shape[0]} grey "
            f"frames of {grey.shape[2]}x{grey.shape[1]}"
        )
    return 0


def _aspect(sides: Sequence[int]) -> float:
    return max(sides) / max(1, min(sides))


def _levelled(grey: np.ndarray) -> np.ndarray:
    """Each entry of the first axis with mean 0 and standard deviation 1; 0 where it is flat."""
    flat = grey.reshape(len(grey), -1).astype(np.float32)
    flat = flat - flat.mean(1, keepdims=True)
    deviations = flat.std(1, keepdims=True)
    return (flat / np.where(deviations > 0, deviations, 1)).reshape(grey.shape)


def _likeness(grey: np.ndarray, axis: int) -> float:
    """Mean correlation of slices half the axis apart, averaged over bins so that small motions do not matter.

    Frames of one scene have nearly 1, also the first and the last; rows and columns of a picture are alike next to one
    another, but not far away. 0 where slices are too small to tell.
    """
    slices = np.moveaxis(grey, axis, 0)
    if min(slices.shape[1:]) < MIN_SIDE:
        return 0.0
    half = len(slices) // 2
    if not half:
        return 1.0
    first = np.linspace(0, len(slices) - 1 - half, min(len(slices) - half, N_COMPARED)).round().astype(int)
    return float(np.mean([_correlation(_binned(slices[i]), _binned(slices[i + half])) for i in first]))


def _binned(picture: np.ndarray) -> np.ndarray:
    height, width = (max(1, n // N_BINS) for n in picture.shape)
    rows, columns = picture.shape[0] // height, picture.shape[1] // width
    cut = picture[: rows * height, : columns * width].astype(np.float32)
    return cut.reshape(rows, height, columns, width).mean((1, 3))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / size if size > 0 else 0.0
