"""What new instances look like after 3, 10, 100 steps: from a start, and from a network that has seen nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfkit.workbench.many.adaptation import adam_steps, learnt_steps, many_of, squared_errors
from nerfkit.workbench.many.learning import N_STEPS
from nerfkit.workbench.many.networks import Networks, Shape, evaluate
from nerfkit.workbench.many.starts import Start, fresh_networks
from nerfkit.workbench.regression import decibels

__all__ = [
    "STEPS", "Found", "best_unseen", "fresh_after_steps", "mean_overlap", "mean_psnr", "start_after_steps",
    "unseen_after_steps",
]  # fmt: skip

# steps after which instances are looked at
STEPS = (N_STEPS, 10, 100)
# values in [-1, 1]: their range
SPAN = 2.0
# instances times points that are fitted at once, which bounds the memory
CHUNK = 2**17
# a fresh network that is stopped where unseen points are best is looked at up to this step
LAST_UNSEEN = 60


class Found(NamedTuple):
    """Values [n, n_points, c] after a number of steps, and PSNR, mean over instances, after every step that is kept."""

    values: dict[int, Tensor]
    curve: list[tuple[int, float]]


def mean_psnr(predicted: Tensor, values: Tensor) -> float:
    """PSNR in dB, mean over instances [n, n_points, c] of values in [-1, 1]."""
    return sum(decibels(float(mse), SPAN) for mse in squared_errors(predicted, values)) / len(values)


def mean_overlap(predicted: Tensor, values: Tensor) -> float:
    """Intersection over union of where distances [n, n_points, 1] are negative, mean over shapes."""
    found, truth = predicted < 0, values < 0
    either = (found | truth).sum((1, 2)).clamp(min=1)
    return float(((found & truth).sum((1, 2)) / either).mean())


def start_after_steps(start: Start, points: Tensor, values: Tensor, rate: float) -> Found:
    """Learnt steps, then Adam with the ``rate``."""

    def fit(part: Tensor, keep: Callable[[int, Networks], None]) -> None:
        free = learnt_steps(start, points, part, N_STEPS)
        keep(N_STEPS, start.networks(free))
        n_left = STEPS[-1] - N_STEPS
        adam_steps(
            free, start.networks, start.shape.scale, points, part, n_left, rate,
            on_step=lambda step, free: keep(N_STEPS + step, start.networks(free)),
        )  # fmt: skip

    return _followed(fit, start.shape, points, values)


def fresh_after_steps(shape: Shape, points: Tensor, values: Tensor, rate: float, seed: int) -> Found:
    """Adam with the ``rate`` from weights that have seen nothing."""
    network = fresh_networks(shape, torch.Generator().manual_seed(seed))

    def networks(free: list[Tensor]) -> Networks:
        return Networks(free[: len(network.weights)], free[len(network.weights) :])

    def fit(part: Tensor, keep: Callable[[int, Networks], None]) -> None:
        adam_steps(
            [tensor.to(part.device) for tensor in many_of(network, len(part))], networks, shape.scale, points, part,
            STEPS[-1], rate, on_step=lambda step, free: keep(step, networks(free)),
        )  # fmt: skip

    return _followed(fit, shape, points, values)


def unseen_after_steps(start: Start, points: Tensor, values: Tensor, seen: Tensor) -> Tensor:
    """Values [n, n_unseen, c] at the points that are not ``seen`` after the learnt steps on those that are."""
    free = learnt_steps(start, points[seen], values[:, seen], N_STEPS)
    with torch.no_grad():
        return evaluate(start.networks(free), points[~seen], start.shape.scale)


def best_unseen(
    shape: Shape, points: Tensor, values: Tensor, seen: Tensor, rates: Sequence[float], seed: int
) -> tuple[float, str]:  # fmt: skip
    """The same of a fresh network, stopped at its best step with its best rate by the unseen points themselves."""
    network = fresh_networks(shape, torch.Generator().manual_seed(seed))
    n_layers, tried = len(network.weights), list[tuple[float, int, float]]()

    def networks(free: list[Tensor]) -> Networks:
        return Networks(free[:n_layers], free[n_layers:])

    for rate in rates:

        def look(step: int, free: list[Tensor], rate: float = rate) -> None:
            with torch.no_grad():
                predicted = evaluate(networks(free), points[~seen], shape.scale)
            tried.append((mean_psnr(predicted, values[:, ~seen]), step, rate))

        begin = [tensor.to(values.device) for tensor in many_of(network, len(values))]
        adam_steps(
            begin, networks, shape.scale, points[seen], values[:, seen], LAST_UNSEEN, rate, on_step=look
        )  # fmt: skip
    psnr, step, rate = max(tried)
    return psnr, f"stopped by the unseen pixels: step {step} of Adam at {rate:g}"


def _followed(
    fit: Callable[[Tensor, Callable[[int, Networks], None]], Any], shape: Shape, points: Tensor, values: Tensor
) -> Found:
    """What ``fit`` makes of the instances, a few at a time."""
    kept: dict[int, list[Tensor]] = {}
    curve: dict[int, float] = {}

    def keep(step: int, networks: Networks, truth: Tensor) -> None:
        if step in STEPS or step <= STEPS[1] or step % 5 == 0:
            with torch.no_grad():
                predicted = evaluate(networks, points, shape.scale)
            curve[step] = curve.get(step, 0.0) + mean_psnr(predicted, truth) * len(truth) / len(values)
            if step in STEPS:
                kept.setdefault(step, []).append(predicted)

    for part in values.split(max(1, CHUNK // len(points))):
        fit(part, lambda step, networks, part=part: keep(step, networks, part))
    return Found({step: torch.cat(parts) for step, parts in kept.items()}, sorted(curve.items()))
