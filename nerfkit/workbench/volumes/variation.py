"""The volume of least total variation whose averages over slices are the measured ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nerfkit.scenes.observations.slice_averages import SliceAverages
from nerfkit.solvers.primal_dual import TvSolver

__all__ = ["Stacks", "least_variation"]

# steps, and the scale by which the primal one is about 16 for values in [0, 1]: far above the dual one, as dual
# variables are at most the weight (docs/decisions/0033)
N_STEPS, SCALE = 60, 6.0


class Stacks:
    """All stacks as one instrument: their values one after the other.

    Parameters
    ----------
    slices : sequence of SliceAverages
        How each stack measures the volume.
    """

    def __init__(self, slices: Sequence[SliceAverages]) -> None:
        self.slices = slices
        self._counts = [math.prod(at.shape) for at in slices]

    def product(self, picture: Tensor) -> Tensor:
        """Values [n] of a volume [d, h, w]."""
        return torch.cat([at.predict(picture).flatten() for at in self.slices])

    def adjoint(self, values: Tensor) -> Tensor:
        """The transpose of :meth:`product`: a volume [d, h, w]."""
        parts = zip(self.slices, values.split(self._counts), strict=True)
        first, *others = (at.adjoint(part) for at, part in parts)
        for part in others:
            first.add_(part)
        return first

    def rows(self) -> Tensor:
        """Factors [n] that bring each stack to a norm of at most 1."""
        return torch.cat([
            torch.full((n,), 1 / math.sqrt(max(at.cover, 1e-6)))
            for at, n in zip(self.slices, self._counts, strict=True)
        ])  # fmt: skip


def least_variation(
    slices: Sequence[SliceAverages], stacks: Sequence[Tensor], weight: float, start: Tensor, *,
    floor: float | None = None, n_steps: int = N_STEPS, check: Callable[[], None] = lambda: None,
) -> Tensor:  # fmt: skip
    """Minimise sum |A_s u - t_s|^2 / 2 + weight TV(u) by :class:`nerfkit.solvers.primal_dual.TvSolver`.

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
    instrument = Stacks(slices)
    values = torch.cat([stack.flatten() for stack in stacks])
    is_seen = torch.cat([at.is_seen.flatten() for at in slices])
    # without rows the steps would be as small as the thickest slice asks for
    solver = TvSolver(
        instrument, (is_seen & ~values.isnan()).float(), tuple(start.shape), least=floor, rows=instrument.rows(),
        norm=math.sqrt(len(slices)),
    )  # fmt: skip
    state = solver.begin(start)
    return solver.solve(values.nan_to_num(), weight, state, n_steps, scale=SCALE, check=check).picture
