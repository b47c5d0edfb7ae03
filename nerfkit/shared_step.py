"""A training step that several processes take together: each its part of the batch, then one sum of what they found.

One buffer holds the gradients, the loss, what the batch showed, and what has to be agreed on: whether somebody wants to
stop, and the time of the first process's clock. So a step has one exchange, and no process goes on or stops alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from nerfkit.adam_optimizer import Adam
from nerfkit.ranks import Ranks

__all__ = ["Shareable", "SharedStep"]


@runtime_checkable
class Shareable(Protocol):
    """What a problem has besides :class:`nerfkit.fitting.Fittable` so that processes can share its steps."""

    def compare_part(self, step: int) -> tuple[Tensor, Any]:
        """This process's part of the loss of a new batch, whose sum over all is the loss, and what it came from."""
        ...

    def tally(self, compared: Any) -> Tensor:
        """What a part showed, numbers [n] whose sums over all parts :meth:`look_at` takes."""
        ...

    def look_at(self, step: int, tally: Tensor) -> dict[str, float]:
        """Figures for the log of the whole batch."""
        ...


class SharedStep:
    """Takes steps of a problem together with other processes, which all have to take the same ones.

    Parameters
    ----------
    problem : Shareable
        What each process has of the problem.
    optimizer : Adam
        Of the same parameters in each.
    ranks : Ranks
        The processes.
    clock : callable
        Seconds of this process; those of the first hold.
    wants_stop : callable
        Whether this process was told to stop.

    Attributes
    ----------
    seconds : float
        Of the first process's clock at the last step.
    is_stopped : bool
        Whether any process was told to stop before it.
    """

    def __init__(
        self, problem: Shareable, optimizer: Adam, ranks: Ranks, *, clock: Callable[[], float],
        wants_stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.problem, self.optimizer, self.ranks = problem, optimizer, ranks
        self.clock, self.wants_stop = clock, wants_stop
        self.seconds, self.is_stopped = 0.0, False
        self.params = optimizer.params()
        with torch.no_grad():
            # all begin where the first does, also on machines whose arithmetic differs in the last bit
            for param in self.params:
                ranks.sum_(param if ranks.is_first else param.zero_())
        self._buffer = torch.empty(0)

    def __call__(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of the whole batch and figures of it; the parameters are changed alike in every process."""
        self.optimizer.zero_grad()
        loss, compared = self.problem.compare_part(step)
        loss.backward()
        tally = self.problem.tally(compared)
        seconds = self.clock() if self.ranks.is_first else 0.0
        words = torch.tensor([float(self.wants_stop()), seconds], device=loss.device)
        # a parameter without a gradient anywhere rests: Adam leaves its means as they are
        has_grad = torch.tensor([float(param.grad is not None) for param in self.params], device=loss.device)
        *grads, has_grad, words, total, tally = self._summed(
            [*(param.grad for param in self.params), has_grad, words, loss.detach().view(1), tally]
        )
        for param, grad, has_any in zip(self.params, grads, has_grad.tolist(), strict=True):
            param.grad = grad.view(param.shape) if has_any else None
        self.optimizer.step()
        n_wanting, self.seconds = words.tolist()
        self.is_stopped = n_wanting > 0
        # the next step fills the buffer anew
        return total[0].clone(), self.problem.look_at(step, tally)

    def _summed(self, parts: list[Tensor | None]) -> list[Tensor]:
        """The sums of tensors over all processes, flat; None stands for a parameter's gradient that is zero."""
        sizes = [
            self.params[index].numel() if part is None else part.numel() for index, part in enumerate(parts)
        ]  # fmt: skip
        if self._buffer.numel() != sum(sizes):
            self._buffer = self.params[0].new_empty(sum(sizes), requires_grad=False)
        views = list(self._buffer.split(sizes))
        for view, part in zip(views, parts, strict=True):
            if part is None:
                view.zero_()
            else:
                view.copy_(part.reshape(-1))
        self.ranks.sum_(self._buffer)
        return views
