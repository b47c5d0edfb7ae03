"""Non-local Bayes (Lebrun, Buades and Morel 2013): similar patches have one normal distribution, estimated from them.

Patches of the first pass are compared in the noisy picture, those of the second in the result of the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .colours import opponent_colours

__all__ = ["NonlocalBayes", "nonlocal_bayes"]

# reference patches whose groups are solved together, which bounds the memory
CHUNK = 1024
# of the noise's variance, added to the covariance before it is inverted
RIDGE = 1e-3


@dataclass(frozen=True)
class NonlocalBayes:
    """Settings of both passes."""

    # sides of the patches, pixels
    sides: tuple[int, int] = (7, 5)
    # similar patches in a group
    sizes: tuple[int, int] = (75, 45)
    # distance between two reference patches, pixels
    stride: int = 4
    # similar patches are sought so many pixels around
    reach: int = 10


def nonlocal_bayes(
    picture: NDArray[np.float32], std: float, settings: NonlocalBayes | None = None
) -> NDArray[np.float32]:
    """Denoise a picture with white normal noise.

    Parameters
    ----------
    picture : ndarray, shape (h, w, c)
        Noisy values; three channels are taken for RGB.
    std : float
        Standard deviation of the noise, in the unit of the values.
    settings : NonlocalBayes, optional
        Of both passes.

    Notes
    -----
    Each channel of :func:`.colours.opponent_colours` has a covariance of its own; all share their groups.
    """
    settings = settings or NonlocalBayes()
    height, width, n_channels = picture.shape
    rotation = opponent_colours(n_channels).numpy()
    turned = np.einsum("ij,hwj->ihw", rotation, picture)
    estimate = None
    for side, size in zip(settings.sides, settings.sizes, strict=True):
        noisy, basic = (
            None if image is None else _reached_by_references(image, side, settings.stride)
            for image in (turned, estimate)
        )
        assert noisy is not None
        compared = noisy[:1] if basic is None else basic
        groups = _similar_patches(compared, side, size, settings.stride, settings.reach)
        estimate = _shrink(noisy, basic, groups, side, std)[:, :height, :width].numpy()
    assert estimate is not None
    return np.einsum("ij,ihw->hwj", rotation, estimate)


def _reached_by_references(image: NDArray[np.float32], side: int, stride: int) -> Tensor:
    """The channels [c, h, w], mirrored beyond the last row and column until reference patches end there."""
    margins = [max(side - count, 0) + (-max(count - side, 0)) % stride for count in image.shape[1:]]
    return torch.from_numpy(np.pad(image, ((0, 0), *((0, margin) for margin in margins)), mode="reflect"))


def _similar_patches(image: Tensor, side: int, size: int, stride: int, reach: int) -> Tensor:
    """Numbers [n_references, size] of the patches most similar to each reference patch, itself among them."""
    _, height, width = image.shape
    n_rows, n_cols = height - side + 1, width - side + 1
    # a patch beyond the picture is unlike any other
    padded = F.pad(image[None], (reach,) * 4, value=1e4)[0]
    distances, offsets = [], []
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            difference = (image - padded[:, dy : dy + height, dx : dx + width]).square().sum(0)
            distances.append(F.avg_pool2d(difference[None, None], side, stride)[0, 0])
            offsets.append((dy - reach) * n_cols + dx - reach)
    stacked = torch.stack(distances, -1)  # [n_reference_rows, n_reference_cols, n_offsets]
    # in a corner only a quarter of the window lies in the picture
    size = min(size, min(reach + 1, n_rows) * min(reach + 1, n_cols))
    nearest = stacked.flatten(0, 1).topk(size, dim=1, largest=False, sorted=False).indices
    rows, cols = (torch.arange(count) * stride for count in stacked.shape[:2])
    reference = (rows[:, None] * n_cols + cols).reshape(-1, 1)
    return reference + torch.tensor(offsets)[nearest]


def _shrink(noisy: Tensor, estimate: Tensor | None, groups: Tensor, side: int, std: float) -> Tensor:
    """Each group's patches by the linear estimator of their distribution; patches that overlap are averaged."""
    n_channels, size = noisy.shape[0], (noisy.shape[1], noisy.shape[2])
    patches = F.unfold(noisy[:, None], side).transpose(1, 2).contiguous()  # [c, n_patches, side^2]
    known = patches if estimate is None else F.unfold(estimate[:, None], side).transpose(1, 2).contiguous()
    n_values, variance = side * side, std * std
    identity = torch.eye(n_values)
    sums, counts = torch.zeros_like(patches), torch.zeros(patches.shape[1])
    for group in groups.split(CHUNK):
        members, shape = group.reshape(-1), (*group.shape, n_values)
        counts.index_add_(0, members, torch.ones(len(members)))
        for channel in range(n_channels):
            prior = known[channel].index_select(0, members).view(shape)
            values = prior if estimate is None else patches[channel].index_select(0, members).view(shape)
            mean = prior.mean(1, keepdim=True)
            centred = prior - mean
            covariance = centred.transpose(1, 2) @ centred / (group.shape[1] - 1)
            # of noisy patches the covariance holds the noise already: (C - s^2) C^-1; else C (C + s^2)^-1
            ridge = RIDGE * variance if estimate is None else variance
            gain = identity - variance * torch.linalg.inv(covariance + ridge * identity)
            result = torch.baddbmm(mean.expand(shape), values - mean, gain)
            sums[channel].index_add_(0, members, result.view(-1, n_values))
    folded = F.fold(sums.transpose(1, 2), size, side)[:, 0]
    return folded / F.fold(counts.expand(1, n_values, -1).contiguous(), size, side)[0]
