"""Where waves run: their speed over an interval or a rectangle, from a number, an array or a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.picture import ARRAY_SUFFIXES, load_array, read_picture

if TYPE_CHECKING:
    from nerfkit.workbench.waves.settings import WaveConfig

__all__ = ["Medium", "read_medium"]

FIX = "give a picture (PNG, JPEG, TIFF), an .npy or .npz of [h, w] or [n], or a number"


@dataclass(frozen=True)
class Medium:
    """Speed, linear between the middles of cells, and beyond the outermost ones as there.

    Parameters
    ----------
    values : Tensor of float64, shape (h, w)
        Speed in each cell, above 0; h is 1 in one dimension.
    sides : tuple of float
        Lengths of the domain along x, and along y where there is one: it is [0, sides[0]] x [0, sides[1]].
    """

    values: Tensor
    sides: tuple[float, ...]

    @property
    def n_dims(self) -> int:
        """1 or 2."""
        return len(self.sides)

    @property
    def slowest(self) -> float:
        """Least speed."""
        return float(self.values.min())

    @property
    def fastest(self) -> float:
        """Greatest speed."""
        return float(self.values.max())

    @property
    def is_uniform(self) -> bool:
        """Whether the speed is the same everywhere."""
        return self.slowest == self.fastest

    def speed(self, points: Tensor) -> Tensor:
        """Speed [n], float64, at ``points`` [n, d], d at least :attr:`n_dims`; a time that follows is left out."""
        values = self.values.to(points.device)
        left, right, u = self._neighbours(points, 0)
        if self.n_dims == 1:
            return torch.lerp(values[0, left], values[0, right], u)
        upper, lower, v = self._neighbours(points, 1)
        rows = [torch.lerp(values[row, left], values[row, right], u) for row in (upper, lower)]
        return torch.lerp(rows[0], rows[1], v)

    def _neighbours(self, points: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """Cells [n] before and behind each point along an axis, and how far on the way it is."""
        n_cells, side = self.values.shape[1 - axis], self.sides[axis]
        at = (points[:, axis].double() * (n_cells / side) - 0.5).clamp(0, n_cells - 1)
        before = at.floor().long().clamp(max=max(0, n_cells - 2))
        return before, (before + 1).clamp(max=n_cells - 1), at - before


def read_medium(path: Path, config: WaveConfig) -> Medium:
    """The medium of a speed map's file, or of a number.

    Raises
    ------
    NerfkitError
        There is no such file, it is no map, or a speed is not above 0.
    """
    if (number := _number(path)) is not None:
        values = np.full((1, 1), number)
        sides = (config.length,) * config.dims
    else:
        values = _read(path, config)
        n_dims, values = values.ndim, np.atleast_2d(values)
        cell = config.length / max(values.shape)
        sides = tuple(n * cell for n in reversed(values.shape))[:n_dims]
    _check(values, path)
    return Medium(torch.from_numpy(values), sides)


def _number(path: Path) -> float | None:
    if path.exists():
        return None
    try:
        return float(str(path))
    except ValueError:
        return None


def _read(path: Path, config: WaveConfig) -> NDArray[np.float64]:
    """Speeds [h, w] or [n]."""
    if path.suffix.lower() in ARRAY_SUFFIXES and path.is_file():
        values = load_array(path)
        if values.ndim not in (1, 2) or 0 in values.shape or values.dtype.kind not in "fiu":
            raise NerfkitError(
                f"holds {values.dtype} of shape {tuple(values.shape)}; speeds are real numbers [h, w] or [n]",
                where=path, fix="save one map",
            )  # fmt: skip
        return values.astype(np.float64)
    if not path.exists():
        raise NerfkitError("there is no such file, and it is no number", where=path, fix=FIX)
    found = read_picture(path)
    if found.values.shape[2] != 1:
        raise NerfkitError(
            f"has {found.values.shape[2]} values a pixel; a speed is one", where=path, fix="give a grey picture"
        )
    grey = found.values[..., 0].astype(np.float64)
    return grey if found.bit_depth == 32 else config.black + (config.white - config.black) * grey


def _check(values: NDArray[np.float64], path: Path) -> None:
    """Raise NerfkitError unless all are finite and above 0."""
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        row, column = (int(at) for at in np.argwhere(bad)[0])
        raise NerfkitError(
            f"speeds must be finite and above 0; {int(bad.sum())} of {values.size} are not, the first "
            f"({values[row, column]:g}) at row {row}, column {column}",
            where=path, fix="correct the map; of a picture --set black= is the speed of black",
        )  # fmt: skip
