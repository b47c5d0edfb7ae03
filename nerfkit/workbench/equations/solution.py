"""What a solver of equations gives, and how two are compared: by what is left at points that neither saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nerfkit.problem import Term
from nerfkit.workbench.held_fields import HeldField

__all__ = ["Solution", "judge", "zero_field"]

# points of each term that judge a solution, of one more seed than the fit's
N_JUDGED = 2**13


@dataclass(frozen=True)
class Solution:
    """A solution.

    Parameters
    ----------
    solver : {"adam", "last-layer"}
        Who found it.
    held : HeldField
        The field.
    n_params : int
        Weights that were fitted.
    loss, residual : float
        Of all terms, weighted, and the rms of the first term's residual; both at points that the solver did not see.
    is_converged : bool
        Whether more steps would change nothing.
    chosen : dict
        Settings that were chosen.
    words : str
        How it was found.
    spreads : list of float, optional
        Standard deviations of the equation's unknowns.
    """

    solver: str
    held: HeldField
    n_params: int
    loss: float
    residual: float
    is_converged: bool
    chosen: dict[str, Any]
    words: str
    spreads: list[float] | None = None


@torch.no_grad()
def judge(field: Any, terms: Sequence[Term], seed: int, device: str) -> tuple[float, float]:
    """Weighted loss of all terms, and the rms of the first one's residual."""
    generator = torch.Generator(device).manual_seed(seed + 1)
    losses = [float(term.compare(field, generator, N_JUDGED).loss) for term in terms]
    return sum(losses), math.sqrt(losses[0] / terms[0].weight)


def zero_field(n_outputs: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """The field that is 0 everywhere: what it leaves is what there was to be solved."""
    return lambda coords: coords.new_zeros(*coords.shape[:-1], n_outputs)
