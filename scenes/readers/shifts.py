"""Where each low-resolution frame looks: ``shifts.csv``, and the ``registered.csv`` that we write.

Pixel (row i, column j) of a frame looks at a point of the reference frame, in low-res pixels, centres at +0.5:
``shift``: (x, y) = (j + 0.5 + dx, i + 0.5 + dy); ``affine``: A (j + 0.5, i + 0.5, 1); ``homography``: the same with
H and a division. Matrices are row-major and map frame pixel to reference pixel.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings, listed_or_logged
from nerfkit.scenes.writing import write_atomically

from .frames import Frames, natural_key
from .photos import some

__all__ = ["EXTRA_COLUMNS", "Kind", "Shifts", "read_shifts", "write_shifts"]

logger = logging.getLogger(__name__)

Kind = Literal["shift", "affine", "homography"]
# kind -> its columns after `file`, in the order of its values
COLUMNS: dict[Kind, tuple[str, ...]] = {
    "shift": ("dx", "dy"),
    "affine": tuple(f"a{row}{column}" for row in range(2) for column in range(3)),
    "homography": tuple(f"h{row}{column}" for row in range(3) for column in range(3)),
}
SHAPES: dict[Kind, tuple[int, ...]] = {"shift": (2,), "affine": (2, 3), "homography": (3, 3)}
# what registered.csv says besides; read over
EXTRA_COLUMNS = ("used", "residual", "weight", "gain", "offset")
# a frame that shows more than 10 times fewer of the reference's pixels a side is no frame of its burst
MIN_DETERMINANT = 1e-2
# digits of an index; Python refuses to read thousands of them as a number
MAX_DIGITS = 19
_HEADERS = " or ".join(",".join(("file", *columns)) for columns in COLUMNS.values())
_ROW_MAJOR = "rows map frame pixel to reference pixel, row-major; the identity is 1,0,0, 0,1,0(, 0,0,1)"
_UNIT = "the unit is the low-res pixel: divide shifts of the high-res grid by the scale"


@dataclass
class Shifts:
    """Positions of frames against the reference frame, in low-res pixels.

    Parameters
    ----------
    kind : {"shift", "affine", "homography"}
    values : ndarray of float64, shape (n, 2), (n, 2, 3) or (n, 3, 3)
        (dx, dy), or matrices from frame pixel to reference pixel; a homography's last element is 1.
    files : list of str
        The frames' names, in the frames' order.
    """

    kind: Kind
    values: np.ndarray
    files: list[str]

    def matrices(self) -> np.ndarray:
        """Homographies [n, 3, 3] from frame pixel to reference pixel, whatever the kind."""
        found = np.tile(np.eye(3), (len(self.values), 1, 1))
        if self.kind == "shift":
            found[:, :2, 2] = self.values
        else:
            found[:, : self.values.shape[1]] = self.values
        return found

    def of_part(self, corner: tuple[int, int]) -> Shifts:
        """The same of the part of every frame that begins at a corner (x, y), whose pixels count from there.

        Examples
        --------
        >>> twice = Shifts("affine", np.array([[[2.0, 0, 0], [0, 2, 0]]]), ["a.png"])
        >>> twice.of_part((5, 1)).values[0].tolist()
        [[2.0, 0.0, 5.0], [0.0, 2.0, 1.0]]
        """
        if self.kind == "shift" or corner == (0, 0):
            return self
        into = np.eye(3)
        into[:2, 2] = corner
        matrices = np.linalg.inv(into) @ self.matrices() @ into
        matrices /= matrices[:, 2:, 2:]
        return replace(self, values=matrices[:, : self.values.shape[1]])


def read_shifts(path: str | Path, frames: Frames, findings: Findings | None = None) -> Shifts:
    """Read the rows of a csv that belong to frames.

    Parameters
    ----------
    path : str or Path
        Header ``file,dx,dy``, ``file,a00,a01,a02,a10,a11,a12`` or ``file,h00,...,h22``; columns in any order, a BOM,
        spaces, empty lines and lines that begin with # are no matter.
    frames : Frames
        ``file`` is a name relative to their folder, a name without folders where only one frame has it, or the
        index of a frame of a video or an array. Rows of frames that were left out are passed over. The whole frames'
        pixels are meant also where a part of them was read.
    findings : Findings, optional
        Filled with what is odd; logged unless given.

    Returns
    -------
    shifts : Shifts
        In the order of the frames.

    Raises
    ------
    NerfkitError
        Absent, another header, a frame without a row or with two, a row without a frame, a number that is none, is not
        finite, or cannot be a shift in low-res pixels: with the line.
    """
    path = Path(path).expanduser()
    rows = _rows(_read_text(path, frames))
    kind, header = _parse_header(next(rows, (1, [])), path)
    find = _Finder(frames, path)
    values: dict[str, np.ndarray] = {}
    lines: dict[str, int] = {}
    for line, cells in rows:
        if len(cells) != len(header):
            raise NerfkitError(
                f"line {line} has {len(cells)} columns, the header {len(header)}: {','.join(cells)!r}",
                where=path,
                fix="columns are divided by commas, decimals by points",
            )
        row = dict(zip(header, cells, strict=True))
        file = find(row["file"], line)
        if file is None:
            continue
        if file in values:
            raise NerfkitError(
                f"frame {file} has two rows, lines {lines[file]} and {line}",
                where=path,
                fix="delete one of them",
            )
        numbers = [_parse_number(row[name], name, line, path) for name in COLUMNS[kind]]
        values[file] = _check_value(np.array(numbers).reshape(SHAPES[kind]), frames.whole_size, line, path)
        lines[file] = line
    _check_complete(values, frames, path)
    stacked = np.stack([values[file] for file in frames.files])
    if kind == "shift" and len(frames) > 1 and (stacked == np.rint(stacked)).all():
        with listed_or_logged(findings, logger) as found:
            found.add(
                "warning",
                "every shift is a whole number of low-res pixels: the frames then sample the same points and hold no "
                "more detail than one; were the shifts rounded?",
                where=path,
                fix="leave --exact-shifts out to have them refined",
            )
    return Shifts(kind, stacked, list(frames.files))


def write_shifts(
    path: str | Path,
    files: Sequence[str],
    values: ArrayLike,
    kind: Kind = "shift",
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write shifts in the form that :func:`read_shifts` reads, whole or not at all.

    Parameters
    ----------
    path : str or Path
        Its folder is made when absent.
    files : sequence of str
        The frames' names.
    values : array_like, shape (n, 2), (n, 2, 3) or (n, 3, 3)
        By kind, finite.
    kind : {"shift", "affine", "homography"}
    extra : mapping of str to array_like, optional
        Further columns of n values, of :data:`EXTRA_COLUMNS`; booleans are written as 1 and 0.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "registered.csv"
    >>> write_shifts(path, ["a.png", "b.png"], [[0, 0], [0.25, -0.5]], extra={"used": [True, False]})
    >>> print(path.read_text(), end="")
    file,dx,dy,used
    a.png,0.0,0.0,1
    b.png,0.25,-0.5,0
    """
    path, extra = Path(path), extra or {}
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(files), *SHAPES[kind]) or not np.isfinite(array).all():
        raise ValueError(f"values must be finite, of shape {(len(files), *SHAPES[kind])}; got {array.shape}")
    if not set(extra) <= set(EXTRA_COLUMNS) or any(len(column) != len(files) for column in extra.values()):
        raise ValueError(f"extra columns must be of {EXTRA_COLUMNS}, with {len(files)} values each")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *COLUMNS[kind], *extra])
    for i, file in enumerate(files):
        name = f"./{file}" if file.startswith("#") else file  # else the line would be a comment
        writer.writerow([name, *array[i].ravel().tolist(), *(_plain(column[i]) for column in extra.values())])
    write_atomically(path, text.getvalue().encode(errors="surrogateescape"))


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, bool) else value


def _read_text(path: Path, frames: Frames) -> str:
    if not path.is_file():
        seen = "this is a folder" if path.is_dir() else "no such file"
        raise NerfkitError(
            seen, where=path, fix="give the csv of the shifts, or leave --shifts out to register the frames"
        )
    try:
        # names that are no UTF-8 are bytes in the file as on the disk; of other names it is the file that is odd
        is_odd = any(_has_escaped(file) for file in frames.files)
        return path.read_text(encoding="utf-8-sig", errors="surrogateescape" if is_odd else "strict")
    except UnicodeDecodeError:
        raise NerfkitError("this is not UTF-8 text", where=path, fix="save it as CSV UTF-8") from None
    except OSError as error:
        raise NerfkitError(f"cannot be read ({error.strerror or error})", where=path) from error


def _has_escaped(name: str) -> bool:
    """Whether a name has bytes that are no UTF-8 (PEP 383)."""
    return any("\udc80" <= letter <= "\udcff" for letter in name)


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and stripped cells; without comments and empty lines."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]


def _parse_header(row: tuple[int, list[str]], path: Path) -> tuple[Kind, list[str]]:
    header = [cell.lower() for cell in row[1]]
    known = [name for name in header if name not in EXTRA_COLUMNS]
    for kind, columns in COLUMNS.items():
        if sorted(known) == sorted(("file", *columns)):
            return kind, header
    raise NerfkitError(
        f"the header must be {_HEADERS}; found {','.join(row[1])[:200] or 'an empty file'}",
        where=path,
        fix="put one of these in the first line",
    )


class _Finder:
    """The frame that a row's `file` names; None for one that exists and was left out."""

    def __init__(self, frames: Frames, path: Path) -> None:
        self.frames, self.path = frames, path
        self.files = set(frames.files)
        self.by_name: dict[str, list[str]] = {}
        for file in frames.files:
            self.by_name.setdefault(PurePosixPath(file).name, []).append(file)

    def __call__(self, name: str, line: int) -> str | None:
        frames = self.frames
        file = self._normalise(name)
        if file in self.files:
            return file
        if frames.is_indexed:
            if frames.is_cut and file.isdecimal():
                return None
        else:
            pure = PurePosixPath(file)
            if not pure.is_absolute() and os.path.isfile(frames.root / file):  # noqa: PTH113  any text may be a name
                return None
            if len(same := self.by_name.get(pure.name, [])) == 1:
                return same[0]
            if pure.name and os.path.isfile(frames.root / pure.name):  # noqa: PTH113
                return None
        ordered = sorted(self.files, key=natural_key)
        raise NerfkitError(
            f"line {line} names {name!r}, which is not among the {len(frames)} frames ({some(ordered)})",
            where=self.path,
            fix="names are relative to the frames' folder; of a video or an array, the frame's index from 0",
        )

    def _normalise(self, name: str) -> str:
        plain = PurePosixPath(name.replace("\\", "/")).as_posix()  # drops a leading ./
        is_index = self.frames.is_indexed and plain.isdecimal() and len(plain) <= MAX_DIGITS
        return str(int(plain)) if is_index else plain


def _parse_number(cell: str, name: str, line: int, path: Path) -> float:
    try:
        number = float(cell)
    except ValueError:
        raise NerfkitError(
            f"line {line}: {name} is {cell!r}, which is not a number", where=path, fix="correct it"
        ) from None
    if not math.isfinite(number):
        raise NerfkitError(
            f"line {line}: {name} is {cell}; a finite number is wanted",
            where=path,
            fix="take the frame out, or leave --shifts out to register all",
        )
    return number


def _check_value(value: np.ndarray, size: tuple[int, int], line: int, path: Path) -> np.ndarray:
    """The value, a homography's last element made 1, if it can be a small motion of a frame of ``size``."""
    try:
        return _check_motion(value, size, line, path)
    except NerfkitError as error:
        if value.ndim == 2 and _is_by_column(value, size, line, path):
            fix = f"its numbers read column by column are a small motion, are they transposed? {_ROW_MAJOR}"
            raise NerfkitError(error.what, where=path, fix=fix) from error
        raise


def _is_by_column(matrix: np.ndarray, size: tuple[int, int], line: int, path: Path) -> bool:
    """Whether a matrix is a small motion when it is read column by column."""
    try:
        _check_motion(matrix.reshape(matrix.shape[::-1]).T, size, line, path)
    except NerfkitError:
        return False
    return True


def _check_motion(value: np.ndarray, size: tuple[int, int], line: int, path: Path) -> np.ndarray:
    if value.ndim == 2:
        value = _check_matrix(value, size, line, path)
    dx, dy = value if value.ndim == 1 else _move_at_centre(value, size)
    if abs(dx) > size[0] / 2 or abs(dy) > size[1] / 2:
        raise NerfkitError(
            f"line {line}: the frame moves by ({dx:.6g}, {dy:.6g}) low-res pixels, more than half of its "
            f"{size[0]}x{size[1]} pixels",
            where=path,
            fix=_UNIT,
        )
    return value


def _check_matrix(matrix: np.ndarray, size: tuple[int, int], line: int, path: Path) -> np.ndarray:
    def wrong(what: str) -> NerfkitError:
        return NerfkitError(
            f"line {line}: {what}",
            where=path,
            fix=_ROW_MAJOR,
        )

    if matrix.shape == (3, 3):
        if abs(matrix[2, 2]) < 1e-9 * np.abs(matrix).max() or not matrix.any():
            raise wrong("the homography is singular or not scaled: h22 is 0")
        matrix = matrix / matrix[2, 2]
        corners = np.array([[x, y, 1.0] for x in (0, size[0]) for y in (0, size[1])])
        if (corners @ matrix[2]).min() <= 0:
            raise wrong("the homography sends a corner of the frame to infinity or behind the camera")
    determinant = float(np.linalg.det(matrix[:2, :2] if matrix.shape == (2, 3) else matrix))
    if abs(determinant) < MIN_DETERMINANT:
        raise wrong(f"the matrix is singular or shrinks the frame to nothing (determinant {determinant:.3g})")
    return matrix


def _move_at_centre(matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    centre = np.array([size[0] / 2, size[1] / 2, 1.0])
    point = matrix @ centre
    return point[:2] / (point[2] if len(point) == 3 else 1.0) - centre[:2]


def _check_complete(values: Mapping[str, np.ndarray], frames: Frames, path: Path) -> None:
    missing = [file for file in frames.files if file not in values]
    if missing:
        raise NerfkitError(
            f"{len(missing)} of {len(frames)} frames have no row: {some(missing)}",
            where=path,
            fix="add them, take those frames out, or leave --shifts out to register all",
        )
