"""The cosine and the Fourier transform, and the picture that is left of their largest coefficients.

X_k = sum_n x_n cos(pi / N (n + 1/2) k). The rows of this matrix are orthogonal; scaled to length 1 they are the
orthonormal DCT-II (Ahmed, Natarajan and Rao 1974), whose inverse is its transpose. A picture X has the coefficients
C_h X C_w^T.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["cosine_matrix", "dct", "drop_smallest", "inverse_dct", "inverse_orthonormal_dct", "keep_largest",
           "orthonormal_dct"]  # fmt: skip


def cosine_matrix(n: int) -> NDArray[np.float64]:
    """The matrix [n, n] with cos(pi / n (i + 1/2) k) in row k and column i.

    Examples
    --------
    >>> cosine_matrix(2).round(3).tolist()
    [[1.0, 1.0], [0.707, -0.707]]
    """
    return np.cos(np.pi / n * np.outer(np.arange(n), np.arange(n) + 0.5))


def _orthonormal(n: int) -> NDArray[np.float64]:
    lengths = np.full((n, 1), math.sqrt(2 / n))
    lengths[:1] = math.sqrt(1 / n)
    return lengths * cosine_matrix(n)


def dct(picture: NDArray[np.floating]) -> NDArray[np.float64]:
    """The DCT of a line [n] or a picture [h, w] as the formula has it, not scaled."""
    return _both_sides(picture, cosine_matrix)


def inverse_dct(coefficients: NDArray[np.floating]) -> NDArray[np.float64]:
    """The inverse of :func:`dct`."""

    def inverse(n: int) -> NDArray[np.float64]:
        # columns are divided by the squared lengths of the rows: n for the first, n / 2 for the others
        weights = np.full(n, 2 / n)
        weights[:1] = 1 / n
        return cosine_matrix(n).T * weights

    return _both_sides(coefficients, inverse)


def orthonormal_dct(picture: NDArray[np.floating]) -> NDArray[np.float64]:
    """The DCT of a line [n] or a picture [h, w], with the squared sum of what went in."""
    return _both_sides(picture, _orthonormal)


def inverse_orthonormal_dct(coefficients: NDArray[np.floating]) -> NDArray[np.float64]:
    """The inverse of :func:`orthonormal_dct`."""
    return _both_sides(coefficients, lambda n: _orthonormal(n).T)


def _both_sides(x, matrix) -> NDArray[np.float64]:
    if x.ndim == 1:
        return matrix(len(x)) @ x
    if x.ndim != 2:
        raise ValueError(f"a line [n] or a picture [h, w] is expected; got the shape {x.shape}")
    return matrix(x.shape[0]) @ x @ matrix(x.shape[1]).T


def drop_smallest(
    picture: NDArray, fraction: float = 0.95, transform: Literal["dct", "fourier"] = "dct"
) -> NDArray[np.float64]:  # fmt: skip
    """The picture that is left when the smallest coefficients of a transform are set to 0.

    Parameters
    ----------
    picture : ndarray, shape (h, w) or (h, w, c)
        Each channel is transformed by itself; coefficients of all channels are ranked together.
    fraction : float
        Of the coefficients, that is dropped, 0 to 1: ``round((1 - fraction) * n)`` are kept.
    transform : {"dct", "fourier"}
        The orthonormal DCT, or the Fourier transform. A Fourier coefficient and its conjugate are two, of one size:
        where only one of them would be kept, the real part of the result keeps half of both.

    Returns
    -------
    ndarray, shape of ``picture``
        Not rounded, and not bounded to the range of the picture.

    Examples
    --------
    >>> float(drop_smallest(np.full((8, 8), 3.0), 0.98).round(6).max())
    3.0
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is of all coefficients, 0 to 1; got {fraction}")
    stacked = np.atleast_3d(picture).astype(np.float64)
    if transform == "dct":
        coefficients = np.stack([orthonormal_dct(channel) for channel in np.moveaxis(stacked, -1, 0)])
        kept = keep_largest(coefficients, fraction)
        back = np.stack([inverse_orthonormal_dct(channel) for channel in kept], axis=-1)
    elif transform == "fourier":
        coefficients = np.fft.fft2(np.moveaxis(stacked, -1, 0))
        back = np.moveaxis(np.fft.ifft2(keep_largest(coefficients, fraction)).real, 0, -1)
    else:
        raise ValueError(f"transform is 'dct' or 'fourier'; got {transform!r}")
    return back.reshape(picture.shape)


def keep_largest(coefficients: NDArray, fraction: float) -> NDArray:
    """Coefficients with all but the ``round((1 - fraction) * n)`` largest set to 0; of equal ones the first stay."""
    sizes = np.abs(coefficients).ravel()
    n_kept = round((1 - fraction) * sizes.size)
    kept = np.zeros(sizes.size, coefficients.dtype)
    order = np.argsort(-sizes, kind="stable")[:n_kept]
    kept[order] = coefficients.ravel()[order]
    return kept.reshape(coefficients.shape)
