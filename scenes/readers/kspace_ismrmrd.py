"""K-space of ISMRMRD files (Inati et al. 2017, doi 10.1002/mrm.26089): acquisitions of one 2-D slice on the grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.extras import import_extra
from nerfkit.scenes.kspace_data import KspaceData

from ._hdf5 import BROKEN_HDF5, read_dataset
from ._xml import parse_xml

__all__ = ["read_ismrmrd"]

# bits of an acquisition's flags, counted from 1: noise, navigation and phase correction are no lines of the picture
NO_LINES = (19, 23, 24, 26, 28, 29)
# counters of which one value is one slice
SINGLE = ("kspace_encode_step_2", "slice", "contrast", "phase", "repetition", "set")


def read_ismrmrd(path: Path) -> KspaceData:
    """Read one slice of lines along x; repeated lines are averaged."""
    heads, lines, matrix, middle = _acquisitions(path)
    keep = np.array([not any(int(flags) >> (bit - 1) & 1 for bit in NO_LINES) for flags in heads["flags"]], bool)
    heads, lines = heads[keep], [line for line, is_kept in zip(lines, keep, strict=True) if is_kept]
    if not len(heads):
        raise NerfkitError("has no acquisition of a picture", where=path, fix="give a file with measured lines")
    for name in SINGLE:
        if len(found := np.unique(heads["idx"][name])) > 1:
            raise NerfkitError(
                f"has {len(found)} values of {name}: it is not one 2-D slice", where=path,
                fix="write one of them to a file of its own",
            )  # fmt: skip
    if heads["trajectory_dimensions"].any():
        raise NerfkitError(
            "has a trajectory; of ISMRMRD only lines on the grid are read", where=path,
            fix="save an npz of samples [n_coils, n], trajectory [n, 2] (cycles a pixel) and size",
        )  # fmt: skip
    return _on_grid(heads, lines, matrix, middle, path)


def _acquisitions(path: Path) -> tuple[Any, list[NDArray], tuple[int, int, int], int | None]:
    """Heads, complex values of each, matrix of the encoding (x, y) and x of the result, the line of frequency 0."""
    h5py = import_extra("h5py", "medical", path)
    try:
        with h5py.File(path, "r") as file:
            if isinstance(file.get("dataset", getlink=True), h5py.ExternalLink):
                raise ValueError("dataset is a link into another file, which is not read")
            group: Any = file["dataset"]
            table = read_dataset(group, "data")
            text = read_dataset(group, "xml").ravel()[0]
    except BROKEN_HDF5 as error:
        raise NerfkitError(
            f"cannot be read as ISMRMRD ({error})", where=path, fix="give a file with dataset/xml and dataset/data"
        ) from error
    try:
        encoding = _without_spaces(text).find("encoding")
        sides = [
            int(encoding.findtext(name))  # pyright: ignore[reportOptionalMemberAccess, reportArgumentType]
            for name in ("encodedSpace/matrixSize/x", "encodedSpace/matrixSize/y", "reconSpace/matrixSize/x")
        ]
        found = encoding.findtext("encodingLimits/kspace_encoding_step_1/center")  # pyright: ignore[reportOptionalMemberAccess]
    except (TypeError, AttributeError, ValueError) as error:
        raise NerfkitError(
            f"its header has no matrix sizes ({error})", where=path, fix="write encodedSpace and reconSpace"
        ) from error
    lines = [
        np.asarray(values, np.float32).view(np.complex64).reshape(int(head["active_channels"]), -1)
        for head, values in zip(table["head"], table["data"], strict=True)
    ]
    return table["head"], lines, (sides[0], sides[1], sides[2]), None if found is None else int(found)


def _without_spaces(text: bytes | str) -> Any:
    root = parse_xml(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _on_grid(
    heads: Any, lines: list[NDArray], matrix: tuple[int, int, int], middle: int | None, path: Path
) -> KspaceData:
    """Lines laid on the grid, averaged, and cut to the picture's width where it was oversampled along x."""
    from .kspace import checked_grid

    width, height, kept = matrix
    offset = height // 2 - (height // 2 if middle is None else middle)
    kspace = np.zeros((len(lines[0]), height, width), np.complex64)
    counts = np.zeros((height, width))
    for head, line in zip(heads, lines, strict=True):
        row, first = int(head["idx"]["kspace_encode_step_1"]) + offset, width // 2 - int(head["center_sample"])
        last = first + line.shape[1]
        if len(line) != len(kspace) or not 0 <= row < height or first < 0 or last > width:
            raise NerfkitError(
                f"line {int(head['idx']['kspace_encode_step_1'])} of {line.shape[1]} samples and {len(line)} coils "
                f"does not fit the grid of {width}x{height} and {len(kspace)} coils", where=path,
                fix="correct encodedSpace and encodingLimits in its header",
            )  # fmt: skip
        kspace[:, row, first:last] += line
        counts[row, first:last] += 1
    kspace /= np.maximum(counts, 1)
    is_measured = counts > 0
    if kept < width:
        begin = width // 2 - kept // 2
        pictures = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, -1), axis=-1), -1)[..., begin : begin + kept]
        kspace = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(pictures, -1), axis=-1), -1)
        # a line that was measured in part is known in part
        is_measured = np.broadcast_to((counts > 0).mean(1, keepdims=True) > 0.5, kspace.shape[1:])
    return checked_grid(kspace, is_measured, None, path)
