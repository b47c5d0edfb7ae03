"""Pictures that are not kept: what is written where the mean of the aligned frames is better, or a mesh shows.

Frames that were held out whole judge the twin of a picture (:mod:`.twins`): the same prior and motions, solved without
them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from nerfkit.limits import Limit
from nerfkit.scenes.errors import MissingCapabilityError
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion, simpler_models
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.solvers.grid import Prior

from .aligned_mean import aligned_mean
from .alignment import NAMES, POINTS, Alignment
from .chain import Chain, register_chain
from .mesh import MOST_MESH
from .scoring import decibels
from .trials import FIRST_STEPS, Trials
from .twins import PICTURE, Bench, Twin, Way

__all__ = ["Fallback", "Judged", "judge", "mean_of_channels", "not_for_mesh"]

# every so many-th used frame is held out, and frames from which on there are enough of them, half of them used
HELD_OUT_EVERY, LEAST_FRAMES = 4, 16
# factors on the weight of the prior of pictures that are tried in the place of one
FACTORS = (4.0, 16.0)
# squared error beside that of the mean by the picture's own motions from which on those by neighbours make the mean
BETTER_MOTIONS = 0.95
# what a limit in seconds left out
CUT = "the comparison with the mean of the frames"


@dataclass(frozen=True)
class Fallback:
    """What is written in the place of a picture, why, and what to do about it, in sentences without a stop.

    Parameters
    ----------
    to : str
        As ``--json`` has it.
    because, next_step : str
        For a person.
    way : Way
        How the picture that is written is solved; that of a mean says nothing.
    """

    to: Literal["neighbours' motions", "simpler motion", "stronger prior", "smaller scale", "aligned mean"]
    because: str
    next_step: str
    way: Way = PICTURE

    def sentence(self) -> str:
        """For a person.

        Examples
        --------
        >>> Fallback("aligned mean", "a mesh", "give --scale 2").sentence()
        'a mesh: the aligned mean (shift-and-add) is written instead; give --scale 2'
        """
        what = {
            "neighbours' motions": "a picture by the motions that neighbouring frames tell",
            "simpler motion": f"a picture by {NAMES.get(self.way.model or '')}",
            "stronger prior": "a picture with a stronger prior",
            "smaller scale": f"a picture of the asked size with the detail of scale {self.way.scale}",
            "aligned mean": "the aligned mean (shift-and-add)",
        }
        return f"{self.because}: {what[self.to]} is written instead; {self.next_step}"


def not_for_mesh(found: float) -> Fallback:
    """Of a picture with a mesh, which a stronger prior does not take away where the shifts leave gaps."""
    return Fallback(
        "aligned mean",
        f"the picture repeats the frames' pixels (mesh {found:.1f}, where {MOST_MESH:g} is the most that is kept)",
        "add frames with other shifts, or give a smaller --scale",
    )


@dataclass(frozen=True)
class Judged:
    """What frames that were held out whole say of a picture and of the mean of the aligned frames.

    Parameters
    ----------
    n_frames : int
        How many of them there are.
    mean : float
        Their mean squared error by the mean of the others, in fractions of the range of linear radiance.
    twins : list of Twin
        Of the picture, and of those that are solved in other ways until one is kept.
    neighbours : (Motion, Tensor), optional
        Where neighbours have the frames look, and 1 for those that they found in the scene [n_frames], where these make
        a better mean than the picture's own motions.
    """

    n_frames: int
    mean: float
    twins: list[Twin]
    neighbours: tuple[Motion, Tensor] | None

    def is_kept(self, twin: Twin) -> bool:
        """Whether a twin is no worse than the mean."""
        return twin.error <= self.mean

    @property
    def fallback(self) -> Fallback | None:
        """What is to be written in the place of the picture; None: the picture."""
        first, last = self.twins[0], self.twins[-1]
        if self.is_kept(first):
            return None
        way = last.way if self.is_kept(last) else PICTURE
        to = "aligned mean" if way.to == "picture" else way.to
        why = (
            f"the mean of the aligned frames predicts {self.n_frames} frames that were held out with "
            f"{decibels(self.mean):.1f} dB, the picture with {decibels(first.error):.1f} dB"
        )
        step = "give a part that moves as one (--crop X,Y,W,H), --scale 2, or another motion model (--register)"
        return Fallback(to, why, step, way)

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {
            "n": self.n_frames, "psnr": decibels(self.twins[0].error), "psnr_aligned_mean": decibels(self.mean),
        }  # fmt: skip


def judge(aligned: Alignment, stack: FrameStack, view: LowresView, prior: Prior) -> Judged | None:
    """Compare a picture with the mean of the frames, and where it loses those that are solved in other ways.

    Parameters
    ----------
    aligned : Alignment
        Settings, reference and limit.
    stack, view : FrameStack, LowresView
        The window of the frames, with weights 0 for pixels and frames that the picture leaves out.
    prior : Prior
        The picture's, on ``plan.trial`` cells a low-res pixel, without what needs a good image to start from.

    Returns
    -------
    judged : Judged, optional
        None where frames are few, do not hang together by their neighbours, or there is no time.
    """
    limit, grid = aligned.limit, view.grid(aligned.plan.trial)
    # neighbours, means and judging take about as long as the solution
    work = 2 * FIRST_STEPS * grid.shape[0] * grid.shape[1]
    is_few = len(stack) < LEAST_FRAMES or 2 * int(stack.is_used.sum()) < LEAST_FRAMES
    if is_few or not limit.allows(work, CUT):
        return None
    chain = _chain(stack, aligned.reference, limit)
    if chain is None:
        return None
    trials = Trials(
        stack, replace(view, most_points=POINTS), grid, aligned.settings.seed, aligned.transfer,
        n_folds=HELD_OUT_EVERY, limit=limit,
    )  # fmt: skip
    bench = Bench(trials, chain, aligned.refiner)
    if not len(bench.judges.stack):
        return None
    own, by_neighbours = bench.errors_of_means()
    motion = (bench.neighbours.motion, bench.is_placed) if by_neighbours < BETTER_MOTIONS * own else None
    judged = Judged(len(bench.judges.stack), min(own, by_neighbours), [], motion)
    for way in _ways(aligned, motion is not None):
        if not limit.allows(work, CUT):
            break
        judged.twins.append(bench.twin(way, prior))
        if judged.is_kept(judged.twins[-1]):
            break
    return judged if judged.twins and not limit.is_over else None


def _ways(aligned: Alignment, has_neighbours: bool) -> list[Way]:
    """The picture, and what is tried in its place: that with the most detail first."""
    ways = [PICTURE]
    if has_neighbours:
        ways.append(Way("neighbours' motions"))
    if aligned.view.motion.displacement is None:
        ways += [Way("simpler motion", model=model) for model in simpler_models(aligned.model)[:1]]
    ways += [Way("stronger prior", factor=factor) for factor in FACTORS]
    half = round(aligned.settings.scale / 2)
    return [*ways, Way("smaller scale", scale=half)] if half > 1 else ways


def _chain(stack: FrameStack, reference: int, limit: Limit) -> Chain | None:
    """Where neighbours have all frames look; None where that is not told."""
    try:
        chain = register_chain(stack.values.cpu().numpy(), reference, limit)
    except MissingCapabilityError:
        return None
    is_used = stack.is_used.cpu().numpy()
    return None if chain is None or (chain.is_placed & is_used).sum() < is_used.sum() / 2 else chain


def mean_of_channels(aligned: Alignment, size: tuple[int, int]) -> Tensor:
    """The mean of the aligned frames in linear radiance [n_channels, height, width], by size (width, height)."""
    transfer, weights = aligned.transfer, aligned.weights.cpu()
    laid = []
    for index in range(transfer.n_channels):
        values = torch.stack([transfer.channels(torch.from_numpy(image[None]))[index][0] for image in aligned.images])
        laid.append(aligned_mean(FrameStack.of(aligned.exposure.undo(values), weights), aligned.view, size))
    return torch.stack(laid)
