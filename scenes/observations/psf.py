"""The point-spread function (PSF) of a low-resolution pixel: a box, a Gaussian, or sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Psf"]

# a Gaussian PSF is cut here, in standard deviations: 6e-5 of it is beyond
GAUSSIAN_RADIUS = 4.0
# fraction of a sampled PSF's weights that may be left out, so that few products are left: below what 8 bits hold
LEFT_OUT = 5e-4


@dataclass(frozen=True)
class Psf:
    """How a low-res pixel weighs what lies round it.

    Parameters
    ----------
    kind : {"box", "gaussian", "file"}
        Uniform over a square, a Gaussian bell, or sampled: then made by :meth:`of_picture`.
    width : float
        Side of the square, standard deviation of the Gaussian, or side of the samples together, in low-res pixels.
    terms : Tensor, shape (n_terms, 2, n_samples), float64, optional
        Of a sampled PSF: products of weights by row and by column, which are summed.
    """

    kind: str = "box"
    width: float = 1.0
    terms: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in ("box", "gaussian", "file") or (self.kind == "file") != (self.terms is not None):
            raise ValueError(f"kind must be 'box' or 'gaussian', or 'file' with terms; got {self.kind!r}")
        if not 0 < self.width < math.inf:
            raise ValueError(f"width must be positive and finite; got {self.width}")

    @classmethod
    def of_picture(cls, picture: NDArray[np.floating], width: float) -> Psf:
        """The PSF of an instrument that makes ``picture`` [m, m] of a point of light, m odd.

        The point lies under the middle sample, a sample is constant on its square, the sum is made 1. A point to the
        left of a pixel's centre shows to the right of the point in the picture, so the PSF is the picture turned
        by half a turn. Products are left out whose weights add up to less than ``LEFT_OUT``.

        Examples
        --------
        >>> bright_to_the_right = np.array([[0.0, 0, 0], [0, 2, 1], [0, 0, 0]])
        >>> Psf.of_picture(bright_to_the_right, 1.0).weights(3)[1].abs()
        tensor([0.3333, 0.6667, 0.0000])
        """
        if picture.ndim != 2 or picture.shape[0] != picture.shape[1] or len(picture) % 2 == 0:
            raise ValueError(f"picture must be square with an odd side; got {picture.shape}")
        samples = torch.from_numpy(np.ascontiguousarray(picture[::-1, ::-1], dtype=np.float64))
        if not samples.isfinite().all() or samples.min() < 0 or samples.sum() <= 0:
            raise ValueError("picture must be finite, nowhere negative and not zero everywhere")
        samples = samples / samples.sum()
        left, sizes, right = torch.linalg.svd(samples)
        terms = torch.stack([left.T * sizes[:, None], right], dim=1)
        missing = samples - torch.einsum("kr,kc->krc", terms[:, 0], terms[:, 1]).cumsum(0)
        n_terms = int((missing.abs().sum((1, 2)) > LEFT_OUT).sum()) + 1
        terms = terms[:n_terms]
        total = (terms.sum(2).prod(1)).sum()
        return cls("file", width, torch.stack([terms[:, 0] / total, terms[:, 1]], dim=1))

    def picture(self) -> NDArray[np.float64]:
        """What :meth:`of_picture` was given, the sum made 1."""
        if self.terms is None:
            raise ValueError(f"a PSF of kind {self.kind!r} was not made of a picture")
        return torch.einsum("kr,kc->rc", self.terms[:, 0], self.terms[:, 1]).flip(0, 1).numpy()

    @property
    def radius(self) -> float:
        """How far it reaches, in low-res pixels."""
        return self.width * GAUSSIAN_RADIUS if self.kind == "gaussian" else self.width / 2

    def n_taps(self, cells: int) -> int:
        """Grid cells along an axis that it covers."""
        reach = self.radius * cells
        # a whole number of cells is met edge on edge; anything else is centred on a cell
        is_whole = abs(2 * reach - round(2 * reach)) < 1e-6
        return max(round(2 * reach) if is_whole else 2 * math.ceil(reach - 0.5) + 1, 1)

    def taps(self, cells: int) -> Tensor:
        """Weights of the grid cells, summing to 1; the PSF's centre is their middle.

        Each weight is the PSF's integral over the cell: exact for an image that is constant on each cell,
        wherever the PSF's edges fall.

        Returns
        -------
        taps : Tensor, shape (n_taps,), or (n_terms, 2, n_taps) of a sampled PSF
            As :func:`nerfkit.kernels.lowres.filter_valid` takes them.

        Examples
        --------
        >>> Psf("box", 1.0).taps(4)
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
        >>> Psf("box", 0.5).taps(3)
        tensor([0.1667, 0.6667, 0.1667])
        """
        n_taps = self.n_taps(cells)
        edges = torch.arange(n_taps + 1, dtype=torch.float64) - n_taps / 2
        if self.terms is not None:
            return (self.terms @ _shares(edges, self.terms.shape[2], self.width * cells)).float()
        if self.kind == "box":
            reach = self.radius * cells
            integral = edges.clamp(-reach, reach)
        else:
            integral = torch.special.ndtr(edges / (self.width * cells))
        weights = integral.diff()
        return (weights / weights.sum()).float()

    def weights(self, cells: int) -> Tensor:
        """The same as one square [n_taps, n_taps]."""
        taps = self.taps(cells)
        return taps[:, None] * taps if taps.ndim == 1 else torch.einsum("kr,kc->rc", taps[:, 0], taps[:, 1])


def _shares(edges: Tensor, n_samples: int, side: float) -> Tensor:
    """Share [n_samples, n_cells] of each of the samples, ``side`` cells together, that lies in each cell."""
    bounds = (torch.arange(n_samples + 1, dtype=torch.float64) / n_samples - 0.5) * side
    ends = torch.minimum(bounds[1:, None], edges[None, 1:])
    return (ends - torch.maximum(bounds[:-1, None], edges[None, :-1])).clamp(min=0) * (n_samples / side)
