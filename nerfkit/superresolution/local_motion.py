"""Pixels that look elsewhere than one motion of the whole frame says: parallax, a shutter that rolls.

Optical flow starts a displacement, Gauss-Newton steps against an image improve it. Large frames are looked at part by
part, so that the memory is that of a part and of the displacement itself; a part whose held-out pixels do not surely
gain has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView

from .flow import displaced_by_flow
from .refiner import Refiner
from .registration import Registered, find_outliers
from .settings import WINDOW
from .tiles import Cut, Tile, look_into, make_tiles

__all__ = ["displace"]

# rounds and steps of a displacement; low-res pixels (rms, the median frame) that it must be worth, and the squared
# error that it may have beside the motion of the whole frame
DISPLACED_ROUNDS, LEAST_DISPLACED, DISPLACED = (4, 30), 0.25, 0.8
# steps of the image that a part takes: those of its outliers, its rounds and what they are compared with
STEPS = 900
# what a limit in seconds left out
CUT = "pixels that move by themselves"


def displace(
    stack: FrameStack, view: LowresView, refiner: Refiner, cells: int, say: Callable[[str], None]
) -> Registered | None:  # fmt: skip
    """The motion with a displacement where that surely predicts held-out pixels better.

    Parameters
    ----------
    stack, view : FrameStack, LowresView
        The frames, and where they look by one motion of the whole frame.
    refiner : Refiner
        Reference, seed and limit.
    cells : int
        Cells along a low-res pixel of the images that displacements are improved against.
    say : callable
        Called with a line for a person.

    Returns
    -------
    found : Registered, optional
        None where no part is displaced.

    Raises
    ------
    MissingCapabilityError
        OpenCV is not there.
    """
    width, height = view.size
    start = displaced_by_flow(stack.values.cpu().numpy(), view.motion, refiner.reference)
    tiles = make_tiles(height, width, WINDOW)
    whole = _Whole(view, torch.zeros(len(view), height, width, 2), torch.zeros(len(view), height, width, 1))
    n_displaced = 0
    for tile in tiles:
        part = _Part.cut(stack, view.moved(start), tile)
        found = part.displaced(refiner, cells, say)
        if found is not None and tile.is_whole:
            say(_found(found.motion))
            return found
        n_displaced += found is not None
        whole.add(tile, None if found is None else found.motion.displacement)
    if not n_displaced:
        return None
    view = view.moved(view.motion.displaced(whole.displacement))
    say(f"{_found(view.motion)}, in {n_displaced} of {len(tiles)} parts of the frame")
    return find_outliers(stack, view, view.grid(cells), limit=refiner.limit)


def _found(motion: Motion) -> str:
    return f"registering: pixels move by {motion.typical_displacement:.2g} low-res pixels (rms) by themselves"


@dataclass(frozen=True)
class _Part:
    """The frames' pixels that look at a part, and where they look by optical flow."""

    stack: FrameStack
    view: LowresView

    @classmethod
    def cut(cls, stack: FrameStack, view: LowresView, tile: Tile) -> _Part:
        if tile.is_whole:
            return cls(stack, view)
        height, width = tile.shape

        def taken(images: Tensor) -> tuple[Tensor, Motion, Tensor]:
            values, motion, is_inside = look_into(images.cpu().numpy(), view.motion, tile)
            return torch.from_numpy(values).to(stack.values), motion, is_inside.to(stack.values)

        values, motion, is_inside = taken(stack.values)
        assert motion.displacement is not None
        # pixels beyond a frame's border have no displacement of their own
        motion = motion.displaced(motion.displacement * is_inside.cpu()[..., None])
        # what a frame's border was continued by was not measured, whatever becomes of its frame
        measured = is_inside if stack.measured is None else taken(stack.measured)[0] * is_inside
        seen = FrameStack(values, taken(stack.weights)[0] * is_inside, measured)
        return cls(seen, LowresView(motion, (width, height), view.psf))

    def displaced(self, refiner: Refiner, cells: int, say: Callable[[str], None]) -> Registered | None:
        """The part's motion with a displacement; None where held-out pixels do not surely gain."""
        stack, view, limit = self.stack, self.view, refiner.limit
        before = view.motion.displaced(None)

        def is_better(motion: Motion) -> bool:
            return refiner.predicts_better(stack, view, motion, before, cells, DISPLACED, surely=True)

        if view.motion.typical_displacement < LEAST_DISPLACED:
            return None
        width, height = view.size
        if not limit.allows(STEPS * width * height * cells**2, CUT) or not is_better(view.motion):
            return None
        say("registering: pixels by themselves, beyond the motion of the whole frame")
        first = find_outliers(stack, view, view.grid(cells), limit=limit)
        found = refiner.refined(stack, view, first, DISPLACED_ROUNDS, (8, 4))
        return found if is_better(found.motion) else None


@dataclass(frozen=True)
class _Whole:
    """Displacements of parts, blended: their sum [n_frames, h, w, 2], and that of their weights [n_frames, h, w, 1]."""

    view: LowresView
    total: Tensor
    counted: Tensor

    def add(self, tile: Tile, moves: Tensor | None) -> None:
        """Add the displacement of a part; None: it has none."""
        weights = tile.rows.blend_weights(1)[:, None] * tile.cols.blend_weights(1)
        weights = weights.expand(len(self.view), -1, -1)[..., None]
        cut = Cut.of_frames(self.view.motion, tile, self.view.size)
        cut.add(self.counted.numpy(), weights.numpy())
        if moves is not None:
            cut.add(self.total.numpy(), (weights * moves.cpu()).numpy())

    @property
    def displacement(self) -> Tensor:
        """Their mean; 0 for pixels that look at no part."""
        return self.total / self.counted.clamp(min=1e-6)
