"""Numbers that are sought beside a field, such as a speed, where residuals read them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["Unknowns"]


class Unknowns:
    """Numbers that an equation has and nobody knows.

    A residual is plain Python and reads ``unknowns["name"]`` or ``unknowns.values``; the solver changes them.

    Parameters
    ----------
    starts : mapping of str to float
        What each begins with.

    Examples
    --------
    >>> speeds = Unknowns({"left": 1.0, "right": 2.0})
    >>> float(speeds["right"]), list(speeds.names)
    (2.0, ['left', 'right'])
    """

    def __init__(self, starts: Mapping[str, float]) -> None:
        if not starts:
            raise ValueError("unknowns are one number or more, with their names; got none")
        self.names = tuple(starts)
        self.starts = torch.tensor([float(start) for start in starts.values()], dtype=torch.float64)
        if not bool(self.starts.isfinite().all()):
            raise ValueError(f"unknowns begin with finite numbers; got {dict(starts)}")
        # [n_unknowns], float64
        self.values: Tensor = self.starts.clone()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Tensor:
        """One of them, a scalar."""
        return self.values[self.names.index(name)]

    def reset(self) -> None:
        """Begin anew."""
        self.values = self.starts.to(self.values.device, copy=True)

    def columns(self, residual: Tensor) -> Tensor:
        """Derivatives [n, n_unknowns] of a ``residual`` [n] that was computed while :attr:`values` required gradients.

        Each row depends on the same numbers, so that one backward pass would give a sum over rows. It is linear in the
        factors of the rows, and its derivatives by these are the rows.
        """
        if not residual.requires_grad:
            return residual.new_zeros(len(residual), len(self))
        factors = torch.ones_like(residual, requires_grad=True)
        (sums,) = torch.autograd.grad(residual, self.values, factors, create_graph=True, materialize_grads=True)
        if not sums.requires_grad:
            return residual.new_zeros(len(residual), len(self))
        columns = [
            torch.autograd.grad(one, factors, retain_graph=True, materialize_grads=True)[0] for one in sums.unbind()
        ]
        return torch.stack([column.detach() for column in columns], -1)
