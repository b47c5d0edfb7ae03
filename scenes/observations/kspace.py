"""Fourier coefficients of a complex picture behind receiver coils, as a magnetic resonance scanner measures them.

The picture [h, w] is multiplied by each coil's sensitivity and transformed; the transform keeps sums of squares
(1 / sqrt(h w)), its zero frequency is in the middle, and so is the origin of the picture, pixel (h // 2, w // 2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfkit.scenes.observations.instrument import linear

__all__ = ["CartesianKspace", "Kspace", "PhasedKspace", "RadialKspace", "centred_fft", "centred_ifft"]

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


class CartesianKspace:
    """Coefficients on the grid; which of them were measured, weights say.

    Parameters
    ----------
    sensitivities : Tensor, shape (n_coils, h, w)
        Complex; of each coil at each pixel.
    """

    def __init__(self, sensitivities: Tensor) -> None:
        self.sensitivities = sensitivities

    def apply(self, picture: Tensor) -> Tensor:
        """Coefficients [..., n_coils, h, w] of complex pictures [..., h, w]; differentiable."""
        return centred_fft(self.sensitivities * picture.unsqueeze(-3))

    def product(self, picture: Tensor) -> Tensor:
        """As :meth:`apply`."""
        return self.apply(picture)

    def adjoint(self, values: Tensor) -> Tensor:
        """Pictures [..., h, w] of coefficients [..., n_coils, h, w]."""
        return (self.sensitivities.conj() * centred_ifft(values)).sum(-3)

    def with_sensitivities(self, sensitivities: Tensor) -> CartesianKspace:
        """The same with other sensitivities."""
        return CartesianKspace(sensitivities)


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
