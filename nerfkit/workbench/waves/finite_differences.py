"""The wave equation by finite differences: what a solution is compared with, and what a classical solver takes.

Fourth order in space and in time: u(t + dt) = 2 u(t) - u(t - dt) + dt^2 L u + dt^4 / 12 L L u with L = c^2 lap, lap by
the stencil of five points an axis (Dablain 1986, doi 10.1190/1.1442040).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Frames", "leapfrog"]

# dt over h / (c sqrt(d)); above 1.5 it would grow without bound: dt^2 times the greatest eigenvalue of -L, at most
# 16 d / 3 c^2 / h^2, has to be below 12
COURANT = 0.5
# nodes beyond the border that the stencil wants
GHOSTS = 2


@dataclass(frozen=True)
class Frames:
    """A field over time.

    Parameters
    ----------
    values : ndarray of float64, shape (n_times, n_y, n_x)
        At the nodes that are noted; n_y is 1 in one dimension.
    n_steps : int
        Of the leapfrog.
    """

    values: NDArray[np.float64]
    n_steps: int


def leapfrog(
    start: NDArray[np.float64], speed: NDArray[np.float64], spacing: tuple[float, float], times: NDArray[np.float64],
    *, is_fixed: bool, stride: int = 1,
) -> Frames:  # fmt: skip
    """Let a field go that is at rest, and note it at some times.

    Parameters
    ----------
    start : ndarray, shape (n_y, n_x)
        The field at time 0 at the nodes; n_y is 1 in one dimension.
    speed : ndarray, shape (n_y, n_x)
        Above 0.
    spacing : (float, float)
        Of the nodes along x and y.
    times : ndarray, shape (n_times,)
        Evenly spaced from 0.
    is_fixed : bool
        Whether the field is 0 on the border; else its slope across it is.
    stride : int
        Every so many nodes along an axis are noted, from the first.
    """
    has_y = start.shape[0] > 1
    sides = spacing if has_y else spacing[:1]
    longest = COURANT * min(sides) / (float(speed.max()) * math.sqrt(len(sides)))
    between = float(times[1] - times[0])
    n_between = max(1, math.ceil(between / longest))
    ghosts = (GHOSTS if has_y else 0, GHOSTS)
    u, before, once, twice = np.zeros((4, start.shape[0] + 2 * ghosts[0], start.shape[1] + 2 * ghosts[1]))
    inside = (slice(ghosts[0], ghosts[0] + start.shape[0]), slice(GHOSTS, GHOSTS + start.shape[1]))
    u[inside] = start
    squares = np.ascontiguousarray(speed, np.float64) ** 2
    found = np.empty((len(times), *start[::stride, ::stride].shape))
    weights = (1 / (12 * spacing[0] ** 2), 1 / (12 * spacing[1] ** 2) if has_y else 0.0)
    dt = between / n_between
    _run(u, before, once, twice, squares, found, dt, n_between, weights[0], weights[1], has_y, is_fixed, stride)
    return Frames(found, n_between * (len(times) - 1))


@njit(cache=True, error_model="numpy", nogil=True)
def _run(
    u: NDArray, before: NDArray, once: NDArray, twice: NDArray, squares: NDArray, found: NDArray, dt: float,
    n_between: int, weight_x: float, weight_y: float, has_y: bool, is_fixed: bool,
    stride: int,
) -> None:  # fmt: skip
    n_times = found.shape[0]
    n_y, n_x = squares.shape
    pad = GHOSTS if has_y else 0
    for at in range(n_times):
        found[at] = u[pad : pad + n_y : stride, GHOSTS : GHOSTS + n_x : stride]
        for step in range(n_between if at < n_times - 1 else 0):
            _operate(u, once, squares, weight_x, weight_y, has_y, is_fixed)
            _operate(once, twice, squares, weight_x, weight_y, has_y, is_fixed)
            is_first = at == 0 and step == 0
            for j in range(pad, pad + n_y):
                for i in range(GHOSTS, GHOSTS + n_x):
                    moved = dt**2 * once[j, i] + dt**4 / 12 * twice[j, i]
                    # at rest: the step before is the mirror of the one after
                    new = u[j, i] + 0.5 * moved if is_first else 2 * u[j, i] - before[j, i] + moved
                    before[j, i] = u[j, i]
                    u[j, i] = new


@njit(cache=True, error_model="numpy", nogil=True)
def _operate(
    u: NDArray, out: NDArray, squares: NDArray, weight_x: float, weight_y: float, has_y: bool, is_fixed: bool
) -> None:
    """c^2 lap of ``u`` at the nodes, after its mirror image was put beyond the border."""
    n_y, n_x = squares.shape
    pad = GHOSTS if has_y else 0
    sign = -1.0 if is_fixed else 1.0
    if is_fixed:
        u[:, GHOSTS] = 0.0
        u[:, GHOSTS + n_x - 1] = 0.0
        if has_y:
            u[pad] = 0.0
            u[pad + n_y - 1] = 0.0
    for k in range(1, GHOSTS + 1):
        u[:, GHOSTS - k] = sign * u[:, GHOSTS + k]
        u[:, GHOSTS + n_x - 1 + k] = sign * u[:, GHOSTS + n_x - 1 - k]
        if has_y:
            u[pad - k] = sign * u[pad + k]
            u[pad + n_y - 1 + k] = sign * u[pad + n_y - 1 - k]
    for j in range(n_y):
        row = j + pad
        for i in range(n_x):
            col = i + GHOSTS
            middle = -30 * u[row, col]
            along_x = middle + 16 * (u[row, col - 1] + u[row, col + 1]) - u[row, col - 2] - u[row, col + 2]
            total = weight_x * along_x
            if has_y:
                along_y = middle + 16 * (u[row - 1, col] + u[row + 1, col]) - u[row - 2, col] - u[row + 2, col]
                total += weight_y * along_y
            out[row, col] = squares[j, i] * total
