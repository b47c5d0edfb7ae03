"""Measured k-space in memory: coefficients on the grid or anywhere, and what is known of the coils. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import NDArray

__all__ = ["KspaceData"]


@dataclass(frozen=True)
class KspaceData:
    """What a scanner measured of one slice.

    Parameters
    ----------
    values : ndarray of complex64, shape (n_coils, h, w) or (n_coils, n)
        Coefficients on the grid, 0 where there is none and the zero frequency in the middle; or those of the
        trajectory.
    shape : (int, int)
        Rows and columns of the picture.
    mask : ndarray of bool, shape (h, w), or None
        True where coefficients were measured; None with a trajectory.
    trajectory : ndarray of float32, shape (n, 2), or None
        Frequencies along x and y, cycles a pixel.
    sensitivities : ndarray of complex64, shape (n_coils, h, w), or None
        Of the coils; None: unknown.
    """

    values: NDArray
    shape: tuple[int, int]
    mask: NDArray | None = None
    trajectory: NDArray | None = None
    sensitivities: NDArray | None = None

    @property
    def n_coils(self) -> int:
        """How many coils received."""
        return len(self.values)
