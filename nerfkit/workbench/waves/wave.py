"""A pulse that runs: what is to be solved, and the same by finite differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.observations.derivatives import Jet
from nerfkit.workbench.waves.finite_differences import leapfrog
from nerfkit.workbench.waves.medium import Medium
from nerfkit.workbench.waves.pulse import Pulse

__all__ = ["Lattice", "Wave", "by_finite_differences", "count_cells"]

# cells of the finite differences across the width of a source, by the number of dimensions, and their bounds
CELLS_PER_WIDTH, CELLS = {1: 80, 2: 24}, {1: (256, 4096), 2: (128, 512)}
# every so many nodes are compared
STRIDE = 4


@dataclass(frozen=True)
class Wave:
    """What is to be solved: u_tt = c^2 lap u from a pulse at rest.

    Parameters
    ----------
    medium : Medium
        Speeds and domain.
    pulse : Pulse
        The field at time 0.
    duration : float
        How long it runs.
    is_fixed : bool
        Whether u is 0 on the border; else it has no slope across it.
    """

    medium: Medium
    pulse: Pulse
    duration: float
    is_fixed: bool

    @property
    def frequency(self) -> float:
        """Radians a unit of time of the pulse's rms wavenumber at the greatest speed: the unit of slopes in time."""
        return self.medium.fastest * 2 / self.pulse.width

    def residual(self, points: Tensor, u: Jet) -> Tensor:
        """u_tt - c^2 lap u at ``points`` [n, d + 1] (x(, y), t)."""
        second = u.hessian[:, 0].diagonal(dim1=-2, dim2=-1)
        return second[:, -1] - self.medium.speed(points).square() * second[:, :-1].sum(-1)


@dataclass(frozen=True)
class Lattice:
    """Nodes of finite differences, those of the border among them.

    Parameters
    ----------
    axes : list of Tensor
        Coordinates along x, and along y where there is one, float64.
    """

    axes: list[Tensor]

    @classmethod
    def of(cls, sides: tuple[float, ...], cells: int, corner: float = 0.0) -> Lattice:
        """With ``cells`` along the longest side, and a multiple of 2 ``STRIDE`` of about as long ones along another."""
        counts = [2 * STRIDE * max(2, round(cells * side / max(sides) / (2 * STRIDE))) for side in sides]
        return cls([
            torch.linspace(corner, corner + side, n + 1, dtype=torch.float64)
            for side, n in zip(sides, counts, strict=True)
        ])  # fmt: skip

    def every(self, stride: int) -> Lattice:
        """Every so many nodes."""
        return Lattice([axis[::stride] for axis in self.axes])

    @property
    def shape(self) -> tuple[int, int]:
        """Nodes along y (1 in one dimension) and x."""
        return (len(self.axes[1]) if len(self.axes) > 1 else 1), len(self.axes[0])

    @property
    def spacing(self) -> tuple[float, float]:
        """Of the nodes along x and y (1 in one dimension)."""
        x, *y = (float(axis[1] - axis[0]) for axis in self.axes)
        return x, (y[0] if y else 1.0)

    @property
    def points(self) -> Tensor:
        """The nodes [n, d], x fastest."""
        return torch.stack([grid.flatten() for grid in torch.meshgrid(*self.axes, indexing="xy")], -1)


def count_cells(pulse: Pulse, length: float, given: int | None) -> int:
    """Cells along the length: those that are given, or enough for the width of the source."""
    n_dims = len(pulse.place)
    low, high = CELLS[n_dims]
    wanted = given or min(max(CELLS_PER_WIDTH[n_dims] * length / pulse.width, low), high)
    return 2 * STRIDE * round(wanted / (2 * STRIDE))


def by_finite_differences(wave: Wave, lattice: Lattice, times: NDArray[np.float64], stride: int) -> tuple[NDArray, int]:
    """The field [n_times, n_y, n_x] at every so many nodes, and the steps that were taken."""
    points, shape = lattice.points, lattice.shape
    start, speed = (found(points).view(shape).numpy() for found in (wave.pulse, wave.medium.speed))
    found = leapfrog(start, speed, lattice.spacing, times, is_fixed=wave.is_fixed, stride=stride)
    return found.values, found.n_steps
