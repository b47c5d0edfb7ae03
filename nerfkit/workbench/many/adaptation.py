"""From a start to instances: learnt steps, then Adam."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nerfkit.scenes.fields.networks import FullyConnected
from nerfkit.workbench.many.networks import Networks, evaluate
from nerfkit.workbench.many.starts import Start

__all__ = ["BETAS", "adam_steps", "learnt_steps", "many_of", "squared_errors"]

# Adam's decay rates
BETAS = (0.9, 0.99)


def squared_errors(predicted: Tensor, values: Tensor) -> Tensor:
    """Mean squared error [n] of each instance's values [n, n_points, c]."""
    return (predicted - values).square().mean((1, 2))


def learnt_steps(
    start: Start, points: Tensor, values: Tensor, n_steps: int, *, is_learning: bool = False
) -> list[Tensor]:
    """Free numbers of instances after steps of gradient descent with the start's own step sizes.

    Parameters
    ----------
    start : Start
        Where they begin.
    points : Tensor, shape (n_points, d)
        In [-1, 1].
    values : Tensor, shape (n, n_points, c)
        Of each instance there, about -1 to 1.
    n_steps : int
        How many.
    is_learning : bool
        Whether the steps themselves are to be differentiated.
    """
    free, rates = start.begin(len(values)), start.rates()
    with torch.enable_grad():
        for _ in range(n_steps):
            if not is_learning:
                free, rates = [tensor.detach().requires_grad_() for tensor in free], [rate.detach() for rate in rates]
            predicted = evaluate(start.networks(free), points, start.shape.scale, is_twice=is_learning)
            slopes = torch.autograd.grad(squared_errors(predicted, values).sum(), free, create_graph=is_learning)
            free = [tensor - rate * slope for tensor, rate, slope in zip(free, rates, slopes, strict=True)]
    return free if is_learning else [tensor.detach() for tensor in free]


def adam_steps(
    free: list[Tensor], networks: Callable[[list[Tensor]], Networks], scale: float, points: Tensor, values: Tensor,
    n_steps: int, rate: float, *, on_step: Callable[[int, list[Tensor]], None] = lambda step, free: None,
) -> list[Tensor]:  # fmt: skip
    """Free numbers [n, ...] after so many steps of Adam with one constant rate, every instance by itself.

    ``networks`` makes networks of the free numbers; ``on_step`` gets the number of steps that are done, and them.
    """
    free = [tensor.detach().clone().requires_grad_() for tensor in free]
    optimizer = torch.optim.Adam(free, rate, BETAS)
    for step in range(1, n_steps + 1):
        with torch.enable_grad():
            errors = squared_errors(evaluate(networks(free), points, scale), values).sum()
            slopes = torch.autograd.grad(errors, free)
        for tensor, slope in zip(free, slopes, strict=True):
            tensor.grad = slope
        optimizer.step()
        on_step(step, free)
    return [tensor.detach() for tensor in free]


def many_of(network: FullyConnected, n: int) -> list[Tensor]:
    """The weights, then the biases of one network, n times."""
    return [tensor.detach().expand(n, *tensor.shape) for tensor in (*network.weights, *network.biases)]
