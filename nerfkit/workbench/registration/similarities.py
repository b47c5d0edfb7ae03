"""How alike two images are: squared differences, local correlation, mutual information, MIND. Lower is more alike.

Each takes the warped and the fixed image [(d,) h, w] and weights of the pixels, and gives a scalar that is
differentiable in the warped image. What the fixed image and the noise decide is computed once.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve
from torch import Tensor
from torch.nn.functional import grid_sample, pad

__all__ = ["SIMILARITIES", "Similarity", "box_mean", "make_similarity", "noise_level"]

# window of the local correlation, pixels, of pictures and of volumes: wide enough that noise is a small part of it
NCC_WINDOW = {2: 15, 3: 7}
# variances of noise that are added to those of a window, and the least, of the image's variance
NOISE_VARIANCES, LEAST_VARIANCE = 4.0, 1e-4
# bins of each axis of the joint histogram, and the deviation of the blur that stands for a Parzen window, bins
BINS, PARZEN = 48, 1.5
# fraction of the values beyond which the histogram has no bins of its own
OUTLIERS = 0.002
# least probability of a cell
LEAST_PROBABILITY = 1e-7
# squared differences are divided by this fraction of the fixed image's variance, so that weights of bending compare
SSD_UNIT = 0.25
# factor of MIND's distance, and window in which patches are compared (Heinrich et al. 2012)
MIND_FACTOR, MIND_WINDOW = 5.0, 5


class Similarity(Protocol):
    """What registration minimises."""

    # what :meth:`errors` are, for a person
    unit: str

    def loss(self, warped: Tensor, weights: Tensor) -> Tensor:
        """A scalar."""
        ...

    def errors(self, warped: Tensor, learned: Tensor, judged: Tensor) -> Tensor:
        """How unlike they are at each pixel ``judged``, by what those of weight ``learned`` tell of the values."""
        ...


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)


def box_mean(values: Tensor, width: int) -> Tensor:
    """Means over squares or cubes of an odd ``width`` round each pixel [.., (d,) h, w], cut at the border.

    The leading axis holds images; of the others all are averaged. By running sums, whatever the width.
    """
    for axis in range(1, values.ndim):
        n, half = values.shape[axis], width // 2
        ends = torch.arange(n, device=values.device)
        last, first = (ends + half).clamp(max=n - 1), (ends - half).clamp(min=0)
        edge = [0, 0] * (values.ndim - 1 - axis) + [1, 0]
        sums = pad(values, edge).cumsum(axis)
        counts = (last - first + 1).to(values).view([-1 if a == axis else 1 for a in range(values.ndim)])
        values = (sums.index_select(axis, last + 1) - sums.index_select(axis, first)) / counts
    return values


class SquaredDifferences:
    """Mean squared difference, for images of one kind and brightness."""

    unit = "squared difference"

    def __init__(self, fixed: Tensor, noise: tuple[float, float], known: Tensor | None = None) -> None:
        self.fixed = fixed
        self.variance = SSD_UNIT * float(fixed.var()) + 1e-12

    def loss(self, warped: Tensor, weights: Tensor) -> Tensor:
        """Over :data:`SSD_UNIT` of the fixed image's variance."""
        return _mean((warped - self.fixed).square(), weights) / self.variance

    def errors(self, warped: Tensor, learned: Tensor, judged: Tensor) -> Tensor:
        """Squared differences."""
        return (warped - self.fixed).square()


class LocalCorrelation:
    """1 - squared normalised cross-correlation in windows, for images whose brightness is related linearly there."""

    unit = "1 - squared local correlation"

    def __init__(self, fixed: Tensor, noise: tuple[float, float], known: Tensor | None = None) -> None:
        self.width, self.noise = NCC_WINDOW[fixed.ndim], noise
        # sums of what is near zero keep their digits
        self.fixed = fixed - fixed.mean()
        self.known = known
        self.counts = None if known is None else box_mean(known[None], self.width).clamp(min=1e-6)
        mean, square = self._means(torch.stack([self.fixed, self.fixed.square()]))
        least = LEAST_VARIANCE * float(fixed.var()) + 1e-12
        self.floors = [NOISE_VARIANCES * level**2 + least for level in noise]
        self.mean, self.variance = mean, (square - mean.square()).clamp(min=0) + self.floors[0]

    def _means(self, values: Tensor) -> Tensor:
        """Over the known pixels of each window: a window tells nothing of the pixels that are held out."""
        if self.known is None or self.counts is None:
            return box_mean(values, self.width)
        return box_mean(values * self.known, self.width) / self.counts

    def _map(self, warped: Tensor) -> Tensor:
        warped = warped - warped.detach().mean()
        mean, square, product = self._means(torch.stack([warped, warped.square(), warped * self.fixed]))
        variance = (square - mean.square()).clamp(min=0) + self.floors[1]
        return 1 - (product - mean * self.mean).square() / (variance * self.variance)

    def loss(self, warped: Tensor, weights: Tensor) -> Tensor:
        """The mean over the windows."""
        return _mean(self._map(warped), weights)

    def errors(self, warped: Tensor, learned: Tensor, judged: Tensor) -> Tensor:
        """Of windows that have nothing but what is judged."""
        return LocalCorrelation(self.fixed, self.noise, judged)._map(warped)


class MutualInformation:
    """Minus the mutual information of the values (Viola, Wells 1997; Mattes et al. 2003), for images of two kinds.

    The mean over the pixels of log(p(f, w) / (p(f) p(w))), p by a blurred histogram of all of them. The slope of the
    table of logarithms in w is the gradient: what the change of p itself adds is zero in the mean.
    """

    unit = "nats, minus"

    def __init__(self, fixed: Tensor, noise: tuple[float, float], known: Tensor | None = None) -> None:
        self.fixed = _in_bins(fixed, _limits(fixed))
        self.limits: tuple[float, float] | None = None

    def _table(self, warped: Tensor, weights: Tensor) -> Tensor:
        return log_ratio(joint_histogram(self.fixed, warped.detach(), weights))

    def _pointwise(self, warped: Tensor, learned: Tensor) -> Tensor:
        if self.limits is None:
            # of the first image that is seen: bins that move would make steps
            self.limits = _limits(warped.detach())
        binned = _in_bins(warped, self.limits)
        table = self._table(binned, learned)
        at = torch.stack([binned, self.fixed], -1).view(1, 1, -1, 2) * (2 / (BINS - 1)) - 1
        found = grid_sample(table[None, None], at, mode="bilinear", padding_mode="border", align_corners=True)
        return found.view(warped.shape)

    def loss(self, warped: Tensor, weights: Tensor) -> Tensor:
        """Minus the mean of the table."""
        return -_mean(self._pointwise(warped, weights), weights)

    def errors(self, warped: Tensor, learned: Tensor, judged: Tensor) -> Tensor:
        """Minus what pixels that made no part of the histogram gain by it."""
        return -self._pointwise(warped, learned)


class Mind:
    """Squared distance of descriptors of how alike each patch is to its neighbours (MIND, Heinrich et al. 2012)."""

    unit = "MIND distance"

    def __init__(self, fixed: Tensor, noise: tuple[float, float], known: Tensor | None = None) -> None:
        self.floor = [NOISE_VARIANCES * level**2 + LEAST_VARIANCE * float(fixed.var()) for level in noise]
        self.fixed = _mind(fixed, self.floor[0])

    def _map(self, warped: Tensor) -> Tensor:
        return (_mind(warped, self.floor[1]) - self.fixed).square().mean(0)

    def loss(self, warped: Tensor, weights: Tensor) -> Tensor:
        """The mean over the pixels."""
        return MIND_FACTOR * _mean(self._map(warped), weights)

    def errors(self, warped: Tensor, learned: Tensor, judged: Tensor) -> Tensor:
        """Squared distances."""
        return self._map(warped)


def _mind(image: Tensor, floor: float) -> Tensor:
    """Descriptors [2 n_dims, (d,) h, w] of neighbours two pixels away along each axis."""
    shifted = [torch.roll(image, turn, axis) for axis in range(image.ndim) for turn in (2, -2)]
    distances = box_mean(torch.stack([(image - other).square() for other in shifted]), MIND_WINDOW)
    variance = distances.mean(0, keepdim=True) + floor
    return torch.exp(-(distances - distances.amin(0, keepdim=True)) / variance)


def _limits(values: Tensor) -> tuple[float, float]:
    found = values.detach().flatten()
    # a quantile of more values than torch sorts at once
    found = found[:: max(1, len(found) // 2**18)].double()
    low, high = (float(torch.quantile(found, q)) for q in (OUTLIERS, 1 - OUTLIERS))
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def _in_bins(values: Tensor, limits: tuple[float, float]) -> Tensor:
    """From values to bins, in [margin, BINS - 1 - margin]."""
    margin = 2 * PARZEN
    low, high = limits
    unit = ((values - low) / (high - low)).clamp(0, 1)
    return margin + unit * (BINS - 1 - 2 * margin)


def joint_histogram(rows: Tensor, cols: Tensor, weights: Tensor) -> Tensor:
    """Probabilities [BINS, BINS] of pairs of values that are given in bins, each shared by the four bins round it."""
    rows, cols, weights = rows.flatten(), cols.flatten(), weights.flatten()
    row, col = rows.floor().clamp(max=BINS - 2), cols.floor().clamp(max=BINS - 2)
    right, below = cols - col, rows - row
    first = (row * BINS + col).long()
    found = torch.zeros(BINS * BINS, dtype=torch.float64)
    for step, part in (
        (0, (1 - below) * (1 - right)), (1, (1 - below) * right), (BINS, below * (1 - right)), (BINS + 1, below * right)
    ):  # fmt: skip
        found += torch.bincount(first + step, (part * weights).double(), BINS * BINS)
    found = _blur() @ found.view(BINS, BINS) @ _blur().T
    return (found / found.sum()).float()


def _blur() -> Tensor:
    apart = torch.arange(BINS, dtype=torch.float64)[:, None] - torch.arange(BINS)
    kernel = torch.exp(-0.5 * (apart / PARZEN) ** 2)
    return kernel / kernel.sum(0, keepdim=True)


def log_ratio(joint: Tensor) -> Tensor:
    """log p(f, w) / (p(f) p(w)) of a joint distribution."""
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return torch.log((joint + LEAST_PROBABILITY) / (apart + LEAST_PROBABILITY))


def noise_level(values: NDArray) -> float:
    """Standard deviation of the noise of an image or of the slices of a volume (Immerkaer 1996).

    By the median, which edges move less than the mean.
    """
    if min(values.shape[-2:]) < 3:
        return 0.0
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1.0]])
    kernel = kernel.reshape([1] * (values.ndim - 2) + [3, 3])
    return float(np.median(np.abs(convolve(values.astype(np.float64), kernel, mode="nearest")))) / 0.6745 / 6


SIMILARITIES: dict[str, Any] = {
    "ssd": SquaredDifferences, "ncc": LocalCorrelation, "mi": MutualInformation, "mind": Mind
}  # fmt: skip


def make_similarity(
    name: str, fixed: Tensor, noise: tuple[float, float], known: Tensor | None = None
) -> Similarity:  # fmt: skip
    """The similarity of that name to a fixed image.

    Parameters
    ----------
    name : str
        One of ``SIMILARITIES``.
    fixed : Tensor, shape (h, w) or (d, h, w)
        The image.
    noise : (float, float)
        Standard deviations of the noise of the fixed and of the moving image.
    known : Tensor, optional
        0 at pixels that are held out, which no window looks at.
    """
    return SIMILARITIES[name](fixed, noise, known)
