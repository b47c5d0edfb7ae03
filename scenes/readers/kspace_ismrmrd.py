"""K-space of ISMRMRD files (Inati et al. 2017, doi 10.1002/mrm.26089): acquisitions of one 2-D slice on the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.kspace_data import KspaceData
from nerfkit.scenes.machine_memory import check_floats

from ._hdf5 import read_hdf5
from ._xml import parse_xml

__all__ = ["read_ismrmrd"]

# bits of an acquisition's flags, counted from 1: noise, navigation and phase correction are no lines of the picture
NO_LINES = (19, 23, 24, 26, 28, 29)
# counters of which one value is one slice
SINGLE = ("kspace_encode_step_2", "slice", "contrast", "phase", "repetition", "set")


Heads = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class _Encoding:
    """What the header says of the grid: its matrix (x, y), x of the result, and the line of frequency 0, if any."""

    width: int
    height: int
    kept: int
    middle: int | None


def read_ismrmrd(path: Path) -> KspaceData:
    """Read one slice of lines along x; repeated lines are averaged."""
    heads, lines, encoding = _acquisitions(path)
    keep = np.array([not any(int(flags) >> (bit - 1) & 1 for bit in NO_LINES) for flags in heads["flags"]], bool)
    heads, lines = {name: column[keep] for name, column in heads.items()}, [lines[k] for k in np.flatnonzero(keep)]
    if not lines:
        raise NerfkitError("has no acquisition of a picture", where=path, fix="give a file with measured lines")
    for name in SINGLE:
        if len(found := np.unique(heads[name])) > 1:
            raise NerfkitError(
                f"has {len(found)} values of {name}: it is not one 2-D slice", where=path,
                fix="write one of them to a file of its own",
            )  # fmt: skip
    if heads["trajectory_dimensions"].any():
        raise NerfkitError(
            "has a trajectory; of ISMRMRD only lines on the grid are read", where=path,
            fix="save an npz of samples [n_coils, n], trajectory [n, 2] (cycles a pixel) and size",
        )  # fmt: skip
    return _on_grid(heads, lines, encoding, path)


def _acquisitions(path: Path) -> tuple[Heads, list[NDArray], _Encoding]:
    """Numbers of the heads, complex values [n_coils, n] of each, and the encoding."""
    found = read_hdf5(path, "ismrmrd", fix="give an ISMRMRD file, with dataset/xml and dataset/data")
    heads = dict(found.arrays)
    lengths, values, text = (heads.pop(name) for name in ("lengths", "values", "xml"))
    lines, last = [], 0
    for index, (n_coils, length) in enumerate(zip(heads["active_channels"].tolist(), lengths.tolist(), strict=True)):
        if n_coils < 1 or length % (2 * n_coils):
            raise NerfkitError(
                f"acquisition {index} has {length} numbers for {n_coils} coils; wanted is two a sample and coil",
                where=path, fix="correct active_channels in its heads",
            )  # fmt: skip
        lines.append(values[last : last + length].view(np.complex64).reshape(n_coils, -1))
        last += length
    return heads, lines, _encoding(text.tobytes(), path)


def _encoding(text: bytes, path: Path) -> _Encoding:
    try:
        encoding = _without_spaces(text).find("encoding")
        width, height, kept = (
            int(encoding.findtext(name))
            for name in ("encodedSpace/matrixSize/x", "encodedSpace/matrixSize/y", "reconSpace/matrixSize/x")
        )
        middle = encoding.findtext("encodingLimits/kspace_encoding_step_1/center")
        return _Encoding(width, height, kept, None if middle is None else int(middle))
    except (TypeError, AttributeError, ValueError) as error:
        raise NerfkitError(
            f"its header has no matrix sizes ({error})", where=path, fix="write encodedSpace and reconSpace"
        ) from error


def _without_spaces(text: bytes | str) -> Any:
    root = parse_xml(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _on_grid(heads: Heads, lines: Sequence[NDArray], encoding: _Encoding, path: Path) -> KspaceData:
    """Lines laid on the grid, averaged, and cut to the picture's width where it was oversampled along x."""
    from .kspace import checked_grid

    width, height, kept = encoding.width, encoding.height, encoding.kept
    if min(width, height, kept) < 1:
        raise NerfkitError(
            f"its header has a matrix of {width}x{height} and a result {kept} wide; wanted are 1 and more", where=path,
            fix="correct encodedSpace and reconSpace",
        )  # fmt: skip
    # twice as many, complex ones
    check_floats(2 * len(lines[0]) * width * height, path)
    offset = height // 2 - (height // 2 if encoding.middle is None else encoding.middle)
    kspace = np.zeros((len(lines[0]), height, width), np.complex64)
    counts = np.zeros((height, width))
    for step, center, line in zip(
        heads["kspace_encode_step_1"].tolist(), heads["center_sample"].tolist(), lines, strict=True
    ):
        row, first = step + offset, width // 2 - center
        last = first + line.shape[1]
        if len(line) != len(kspace) or not 0 <= row < height or first < 0 or last > width:
            raise NerfkitError(
                f"line {step} of {line.shape[1]} samples and {len(line)} coils "
                f"does not fit the grid of {width}x{height} and {len(kspace)} coils", where=path,
                fix="correct encodedSpace and encodingLimits in its header",
            )  # fmt: skip
        kspace[:, row, first:last] += line
        counts[row, first:last] += 1
    kspace /= np.maximum(counts, 1)
    is_measured = counts > 0
    if kept < width:
        # orthonormal, as all of k-space here: the picture keeps its values
        begin = width // 2 - kept // 2
        pictures = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, -1), norm="ortho"), -1)
        pictures = pictures[..., begin : begin + kept]
        kspace = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(pictures, -1), norm="ortho"), -1)
        # a line that was measured in part is known in part
        is_measured = np.broadcast_to((counts > 0).mean(1, keepdims=True) > 0.5, kspace.shape[1:])
    return checked_grid(kspace, is_measured, None, path)
