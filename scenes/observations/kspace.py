"""Fourier coefficients of a complex picture behind receiver coils, as a magnetic resonance scanner measures them.

The picture [h, w] is multiplied by each coil's sensitivity and transformed; the transform keeps sums of squares
(1 / sqrt(h w)), its zero frequency is in the middle, and so is the origin of the picture, pixel (h // 2, w // 2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.scenes.observations.instrument import linear

__all__ = ["CartesianKspace", "Kspace", "Lines", "PhasedKspace", "RadialKspace", "centred_fft", "centred_ifft"]

# relative accuracy of the transform off the grid
ACCURACY = 1e-5
AXES = (-2, -1)


def centred_fft(picture: Tensor) -> Tensor:
    """k-space [..., h, w] of pictures [..., h, w], the zero frequency in the middle, sums of squares kept.

    Examples
    --------
    >>> centred_fft(torch.ones(2, 2)).real.tolist()
    [[0.0, 0.0], [0.0, 2.0]]
    """
    return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(picture, AXES), norm="ortho"), AXES)


def centred_ifft(kspace: Tensor) -> Tensor:
    """The inverse of :func:`centred_fft`, and its adjoint."""
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(kspace, AXES), norm="ortho"), AXES)


class Lines:
    """Some whole lines of the grid, by a product with their rows of the transform's matrix: fewer values, less time.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the grid.
    axis : int
        Across the lines: -2 where they lie along x, -1 along y.
    places : ndarray of int, shape (n,)
        Lines that there are, the zero frequency's being ``shape[axis] // 2``.
    """

    def __init__(self, shape: tuple[int, int], axis: int, places: NDArray, device: torch.device) -> None:
        n = shape[axis]
        self.shape, self.axis = shape, axis
        self._places = torch.from_numpy(places).to(device)
        turns = np.outer(places - n // 2, np.arange(n) - n // 2) / n
        self._matrix = torch.from_numpy((np.exp(-2j * np.pi * turns) / n**0.5).astype(np.complex64)).to(device)

    def of(self, grid: Tensor) -> Tensor:
        """The lines of a grid [..., h, w]."""
        return grid.index_select(self.axis, self._places)

    def on_grid(self, lines: Tensor) -> Tensor:
        """The grid [..., h, w] of lines, 0 where there is none."""
        found = lines.new_zeros(*lines.shape[:-2], *self.shape)
        return found.index_copy_(found.dim() + self.axis, self._places, lines)

    def transform(self, picture: Tensor) -> Tensor:
        """The lines of :func:`centred_fft` of pictures [..., h, w]; differentiable."""
        if self.axis == -2:
            return _centred_fft_along(self._matrix @ picture, -1)
        return _centred_fft_along(picture @ self._matrix.mT, -2)

    def spread(self, lines: Tensor) -> Tensor:
        """The adjoint of :meth:`transform`."""
        if self.axis == -2:
            return self._matrix.mH @ _centred_ifft_along(lines, -1)
        return _centred_ifft_along(lines, -2) @ self._matrix.conj()


def _centred_fft_along(values: Tensor, axis: int) -> Tensor:
    return torch.fft.fftshift(torch.fft.fft(torch.fft.ifftshift(values, axis), dim=axis, norm="ortho"), axis)


def _centred_ifft_along(values: Tensor, axis: int) -> Tensor:
    return torch.fft.fftshift(torch.fft.ifft(torch.fft.ifftshift(values, axis), dim=axis, norm="ortho"), axis)


class CartesianKspace:
    """Coefficients on the grid; which of them were measured, weights say.

    Parameters
    ----------
    sensitivities : Tensor, shape (n_coils, h, w)
        Complex; of each coil at each pixel.
    lines : Lines, optional
        The lines that values are of; None: all.
    """

    def __init__(self, sensitivities: Tensor, lines: Lines | None = None) -> None:
        self.sensitivities, self.lines = sensitivities, lines

    def apply(self, picture: Tensor) -> Tensor:
        """Coefficients [..., n_coils, h, w], or those of the lines, of complex pictures [..., h, w]; differentiable."""
        seen = self.sensitivities * picture.unsqueeze(-3)
        return centred_fft(seen) if self.lines is None else self.lines.transform(seen)

    def product(self, picture: Tensor) -> Tensor:
        """As :meth:`apply`."""
        return self.apply(picture)

    def adjoint(self, values: Tensor) -> Tensor:
        """Pictures [..., h, w] of coefficients [..., n_coils, h, w], or of those of the lines."""
        spread = centred_ifft(values) if self.lines is None else self.lines.spread(values)
        return (self.sensitivities.conj() * spread).sum(-3)

    def with_sensitivities(self, sensitivities: Tensor) -> CartesianKspace:
        """The same with other sensitivities."""
        return CartesianKspace(sensitivities, self.lines)

    def of_grid(self, grid: Tensor) -> Tensor:
        """What a grid [..., h, w] has of such coefficients."""
        return grid if self.lines is None else self.lines.of(grid)

    def on_grid(self, values: Tensor) -> Tensor:
        """The grid [..., h, w] of coefficients, 0 where there is none."""
        return values if self.lines is None else self.lines.on_grid(values)


class RadialKspace:
    """Coefficients anywhere, by the non-uniform Fourier transform (finufft, ``nerfkit[mri]``; computed on the CPU).

    Parameters
    ----------
    sensitivities : Tensor, shape (n_coils, h, w)
        Complex; of each coil at each pixel.
    trajectory : Tensor, shape (n, 2)
        Frequencies along x and y, cycles a pixel, in [-0.5, 0.5].
    """

    def __init__(self, sensitivities: Tensor, trajectory: Tensor) -> None:
        self.sensitivities, self.trajectory = sensitivities, trajectory
        self.shape = tuple(sensitivities.shape[-2:])
        turns = (2 * np.pi * trajectory.cpu().double().numpy()).astype(np.float32)
        self._x, self._y = (np.ascontiguousarray(turns[:, axis]) for axis in (0, 1))

    def apply(self, picture: Tensor) -> Tensor:
        """Coefficients [..., n_coils, n] of complex pictures [..., h, w]; differentiable."""
        return linear(self.sensitivities * picture.unsqueeze(-3), self.transform, self.spread)

    def product(self, picture: Tensor) -> Tensor:
        """:meth:`apply` without derivatives."""
        return self.transform(self.sensitivities * picture.unsqueeze(-3))

    def adjoint(self, values: Tensor) -> Tensor:
        """Pictures [..., h, w] of coefficients [..., n_coils, n]."""
        return (self.sensitivities.conj() * self.spread(values)).sum(-3)

    def with_sensitivities(self, sensitivities: Tensor) -> RadialKspace:
        """The same with other sensitivities."""
        return RadialKspace(sensitivities, self.trajectory)

    def of_grid(self, grid: Tensor) -> Tensor:
        """The samples themselves: they lie on no grid."""
        return grid

    def on_grid(self, values: Tensor) -> Tensor:
        """The samples themselves."""
        return values

    def transform(self, pictures: Tensor) -> Tensor:
        """Coefficients [..., n] of pictures [..., h, w], without sensitivities."""
        import finufft

        flat = self._flat(pictures, self.shape)
        found = finufft.nufft2d2(self._y, self._x, flat, isign=-1, eps=ACCURACY, nthreads=1)
        return self._scaled(found, (*pictures.shape[:-2], len(self._x)), pictures)

    def spread(self, values: Tensor) -> Tensor:
        """The adjoint of :meth:`transform`: pictures [..., h, w] of coefficients [..., n]."""
        import finufft

        flat = self._flat(values, (len(self._x),))
        found = finufft.nufft2d1(self._y, self._x, flat, self.shape, isign=1, eps=ACCURACY, nthreads=1)
        return self._scaled(found, (*values.shape[:-1], *self.shape), values)

    @staticmethod
    def _flat(values: Tensor, shape: tuple[int, ...]) -> Any:
        array = values.detach().cpu().to(torch.complex64).reshape(-1, *shape).numpy()
        return np.ascontiguousarray(array)

    def _scaled(self, found: Any, shape: tuple[int, ...], like: Tensor) -> Tensor:
        scale = 1 / (self.shape[0] * self.shape[1]) ** 0.5
        return torch.from_numpy(np.asarray(found)).reshape(shape).to(like.device) * scale


Kspace = CartesianKspace | RadialKspace


class PhasedKspace:
    """Coefficients of a real picture that is given a known phase.

    Parameters
    ----------
    kspace : CartesianKspace or RadialKspace
        Of the complex picture.
    phasor : Tensor, shape (h, w)
        exp(i phase).
    """

    def __init__(self, kspace: Kspace, phasor: Tensor) -> None:
        self.kspace, self.phasor = kspace, phasor

    def apply(self, picture: Tensor) -> Tensor:
        """Coefficients of real pictures [..., h, w]; differentiable."""
        return self.kspace.apply(picture * self.phasor)

    def product(self, picture: Tensor) -> Tensor:
        """:meth:`apply` without derivatives."""
        return self.kspace.product(picture * self.phasor)

    def adjoint(self, values: Tensor) -> Tensor:
        """Real pictures [..., h, w] of coefficients: the adjoint for the inner product Re <a, b>."""
        return (self.kspace.adjoint(values) * self.phasor.conj()).real
