"""An equation to be solved by a field: where it holds, what holds there, and what the solution is where that is known.

What a file for ``nerfkit fit solve`` needs is here by name: ``from nerfkit.workbench.equation import *``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from nerfkit.problem import Term
from nerfkit.scenes.measurements.domains import Box, BoxBoundary
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.points import PointValues
from nerfkit.scenes.observations.residuals import Residual
from nerfkit.solvers.unknowns import Unknowns

__all__ = ["Box", "BoxBoundary", "Equation", "Measurements", "PointValues", "Residual", "Term", "Unknowns"]


@dataclass(frozen=True)
class Equation:
    """What ``problem()`` of a file for ``nerfkit fit solve`` returns.

    Parameters
    ----------
    sides : sequence of (float, float)
        Least and greatest value of each coordinate, two of them: x, y or x, t.
    terms : sequence of Term
        The equation itself first, then what holds on borders, at the start, or was measured.
    exact : callable, optional
        The solution [n] or [n, c] at points [n, d], where it is known: closed form, or finite differences.
    n_outputs : int
        Functions that are sought.
    scale : float
        Frequency of the sine network's first layer, 2 to 30: the finer the solution, the higher.
    names : tuple of str
        Of the coordinates.
    unknowns : Unknowns, optional
        Numbers that residuals read and that are sought as well; by the last layer alone.
    known : mapping of str to float
        Those of the unknowns that are known after all, to compare with.
    """

    sides: Sequence[tuple[float, float]]
    terms: Sequence[Term]
    exact: Callable[[Tensor], Tensor] | None = None
    n_outputs: int = 1
    scale: float = 6.0
    names: tuple[str, ...] = ("x", "y")
    unknowns: Unknowns | None = None
    known: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.sides) != 2 or not all(low < high for low, high in self.sides):
            raise ValueError(f"sides must be two pairs (least, greatest); got {list(self.sides)}")
        if not self.terms or not all(isinstance(term, Term) for term in self.terms):
            raise ValueError(f"terms must be one Term or more; got {self.terms!r}")
        if unknown := sorted(set(self.known) - set(() if self.unknowns is None else self.unknowns.names)):
            raise ValueError(f"known has {unknown[0]}, which is none of the unknowns")
        if self.n_outputs < 1 or not self.scale > 0:
            raise ValueError(f"n_outputs must be 1 or more and scale above 0; got {self.n_outputs} and {self.scale}")
