"""The volume of least total variation whose averages over slices are the measured ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nerfkit.scenes.observations.slice_averages import SliceAverages

__all__ = ["least_variation"]

# iterations, and the primal step for values in [0, 1]: far above the dual one, as dual variables are at most the weight
# (docs/decisions/0033)
N_STEPS, STEP = 60, 16.0


def least_variation(
    slices: Sequence[SliceAverages], stacks: Sequence[Tensor], weight: float, start: Tensor, *,
    floor: float | None = None, n_steps: int = N_STEPS, check: Callable[[], None] = lambda: None,
) -> Tensor:  # fmt: skip
    """Minimise sum |A_s u - t_s|^2 / 2 + weight TV(u) (Chambolle and Pock 2011, algorithm 1).

    Parameters
    ----------
    slices : sequence of SliceAverages
        The operators A_s.
    stacks : sequence of Tensor
        What each has measured, t_s [d, h, w]; NaN where it is not to count.
    weight : float
        Of the total variation: the sum of the lengths of differences between neighbours.
    start : Tensor, shape (d, h, w)
        Where to begin.
    floor : float, optional
        Least value that there can be.
    check : callable
        Called at each step; may raise.

    Returns
    -------
    volume : Tensor, shape (d, h, w)
    """
    # each operator brought to norm 1: without that the steps would be as small as the thickest slice asks for
    scales = [1 / math.sqrt(max(at.cover, 1e-6)) for at in slices]
    known = [at.is_seen & ~stack.isnan() for at, stack in zip(slices, stacks, strict=True)]
    wanted = [stack.nan_to_num() for stack in stacks]
    sigma = 1 / (STEP * (12 + len(slices)))
    image, ahead = start.clone(), start.clone()
    dual = start.new_zeros(3, *start.shape)
    data = [torch.zeros_like(stack) for stack in stacks]
    for _ in range(n_steps):
        check()
        step = torch.zeros_like(image)
        for at, stack, scale, is_known, held in zip(slices, wanted, scales, known, data, strict=True):
            residual = (at.predict(ahead) - stack).mul_(is_known)
            held.add_(residual, alpha=sigma * scale).div_(1 + sigma * scale**2)
            step.add_(at.adjoint(held), alpha=scale)
        _ascend(dual, ahead, sigma, weight)
        _subtract_divergence(step, dual)
        ahead.copy_(image)
        image.sub_(step, alpha=STEP)
        if floor is not None:
            image.clamp_(min=floor)
        ahead.mul_(-1).add_(image, alpha=2)
    return image


def _ascend(dual: Tensor, image: Tensor, sigma: float, weight: float) -> None:
    """A step of the dual [3, d, h, w] along the differences, and back to lengths of at most ``weight``."""
    dual[0, :-1].add_(image[1:] - image[:-1], alpha=sigma)
    dual[1, :, :-1].add_(image[:, 1:] - image[:, :-1], alpha=sigma)
    dual[2, :, :, :-1].add_(image[:, :, 1:] - image[:, :, :-1], alpha=sigma)
    length = dual[0].square().addcmul_(dual[1], dual[1]).addcmul_(dual[2], dual[2]).sqrt_()
    dual.div_(length.div_(weight).clamp_(min=1))


def _subtract_divergence(step: Tensor, dual: Tensor) -> None:
    """Subtract the divergence, which is minus the transpose of the differences."""
    step[:-1].sub_(dual[0, :-1])
    step[1:].add_(dual[0, :-1])
    step[:, :-1].sub_(dual[1, :, :-1])
    step[:, 1:].add_(dual[1, :, :-1])
    step[:, :, :-1].sub_(dual[2, :, :, :-1])
    step[:, :, 1:].add_(dual[2, :, :, :-1])
