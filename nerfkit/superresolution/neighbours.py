"""Whether neighbours tell more of where frames look than shifts against the reference do, and by which motion model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.limits import Limit
from nerfkit.scenes.motion import Motion

from .chain import Chain, agreement, register_chain

__all__ = ["Followed", "follow_neighbours"]

# correlation of the frames with the reference, median and of the worst tenth, from which on shifts are no doubt right
AGREE, LEAST_AGREE = 0.9, 0.8
# low-res pixels (rms) by which shifts and what neighbours tell must differ, in more than this fraction of the frames,
# and the most that the latter may leave unexplained of what the shifts do
APART, MANY, EXPLAINS = 0.7, 0.1, 0.8
# what a simpler motion model may leave unexplained beside a richer one
AS_GOOD = 1.1


@dataclass(frozen=True)
class Followed:
    """Where frames look by their neighbours, which of them were found in the scene [n_frames], and the reference."""

    motion: Motion
    is_placed: NDArray[np.bool_]
    reference: int


def follow_neighbours(
    frames: NDArray[np.float32], shifts: Motion, is_placed: NDArray[np.bool_], reference: int | None, register: str, *,
    limit: Limit | None = None, say: Callable[[str], None] = lambda text: None,
) -> Followed | None:  # fmt: skip
    """What neighbours tell of the motions; None where shifts explain the frames as well.

    Parameters
    ----------
    frames : ndarray, shape (n_frames, h, w)
        Grey frames.
    shifts : Motion
        Of phase correlation against the reference.
    is_placed : ndarray, shape (n_frames,), bool
        Frames that have a shift.
    reference : int, optional
        The frame that stands still; None: the first, or where few see it the one that most frames overlap.
    register : {"auto", "shift", "similarity", "affine", "homography"}
        The motion model; auto: the simplest that agrees as well.
    """
    agreed = np.nan_to_num(agreement(frames, shifts.matrices.numpy(), reference or 0))[is_placed]
    if np.median(agreed) > AGREE and np.quantile(agreed, 0.1) > LEAST_AGREE:
        return None
    say("registering: from neighbour to neighbour")
    chain = register_chain(frames, reference, limit, may_be_tilted=register in ("auto", "homography"))
    if chain is None or not _explains_more(chain, frames, shifts):
        return None
    motion = _suited(chain, frames, register)
    if chain.reference != (reference or 0):
        say(
            f"the picture covers frame {chain.reference + 1}, which most frames overlap; --reference FILE takes another"
        )
    return Followed(motion, chain.is_placed, chain.reference)


def _explains_more(chain: Chain, frames: NDArray[np.float32], shifts: Motion) -> bool:
    """Whether a chain has frames elsewhere than shifts against the reference have them, and agrees better."""
    size = frames.shape[2], frames.shape[1]
    shifts = shifts.relative_to(chain.reference)
    looks = torch.stack(Motion(torch.from_numpy(chain.matrices), chain.model).looks_at(size))
    apart = (looks - torch.stack(shifts.looks_at(size))).square().sum(0).mean((1, 2)).sqrt().numpy()
    is_apart = (apart > APART) & chain.is_placed
    if is_apart.mean() < MANY:
        return False
    by_chain, by_shifts = (
        1 - np.nan_to_num(agreement(frames, matrices, chain.reference))[is_apart]
        for matrices in (chain.matrices, shifts.matrices.numpy())
    )
    return bool(np.median(by_chain) < EXPLAINS * np.median(by_shifts))


def _suited(chain: Chain, frames: NDArray[np.float32], register: str) -> Motion:
    """The motions by the model that is asked for, or by the simplest that agrees with the frames as well."""
    motion, size = Motion(torch.from_numpy(chain.matrices), chain.model), (frames.shape[2], frames.shape[1])

    def unexplained(one: Motion) -> float:
        agreed = agreement(frames, one.matrices.numpy(), chain.reference)[chain.is_placed]
        return float(np.nanmedian(1 - agreed)) if np.isfinite(agreed).any() else 1.0

    best = unexplained(motion)
    for model in ("shift", "similarity"):
        simpler = motion.nearest(model, size).relative_to(chain.reference)
        if register == model or (register == "auto" and unexplained(simpler) <= AS_GOOD * best):
            return simpler
    return motion
