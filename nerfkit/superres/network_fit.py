"""Networks fitted to the solved image: all together where it is small, else block by block of the local ones."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.metrics import MetricsLog
from nerfkit.scenes.fields.siren import Siren
from nerfkit.scenes.fields.tiled_siren import TiledSiren

from .grid_solve import Deadline
from .settings import WINDOW
from .siren_fit import SirenFit, cell_centres

__all__ = ["NetworkFit", "fit_networks"]

# Adam's peak rate for each kind of network, and its fraction at the end
LEARNING_RATES, FINAL_FRACTION = {"tiled": 1.6e-2, "single": 1e-3}, 0.05
# least seconds of a fit
MIN_SECONDS = 1.0


@dataclass(frozen=True)
class NetworkFit:
    """How the fit ended: steps in all, PSNR against the image, and whether every network has had its turn."""

    steps: int
    psnr: float
    is_interrupted: bool
    is_complete: bool


def fit_networks(
    network: Siren | TiledSiren, image: Tensor, kind: str, deadline: Deadline, checkpoints: CheckpointFolder,
    metrics: MetricsLog, on_part: Callable[[int, int], None] = lambda done, total: None,
) -> NetworkFit:  # fmt: skip
    """Fit ``network``, in place, to the image until the deadline; the weights are saved.

    Parameters
    ----------
    network : Siren or TiledSiren
        In low-res pixels, with the image's channels.
    image : Tensor, shape (n_channels, n_rows, n_cols)
        On equal cells.
    kind : {"tiled", "single"}
        Of the network.
    deadline : Deadline
        When to stop.
    checkpoints, metrics
        Where weights and figures are written.
    on_part : callable
        Called with the number of blocks that are fitted and that there are.

    Notes
    -----
    A block's networks are fitted in their whole squares without their neighbours, so that the image that blends all
    blocks agrees with the solved one as well as each of them.
    """
    schedule, rate = FitSchedule(final_fraction=FINAL_FRACTION, epsilon=1e-8), LEARNING_RATES[kind]
    blocks = list(_blocks(network)) if isinstance(network, TiledSiren) else []
    if len(blocks) < 2:
        task = SirenFit(network, image.to(network.bounds.device), rate)
        budget = Budget(seconds=max(deadline.left, MIN_SECONDS))
        done = fit(task, budget, schedule=schedule, checkpoints=checkpoints, metrics=metrics)
        return NetworkFit(done.steps, task.validate()["fit_psnr"], done.is_interrupted, True)
    assert isinstance(network, TiledSiren)
    steps, errors, started = 0, [], time.monotonic()
    for index, (rows, cols) in enumerate(blocks):
        part = network.part(rows, cols)
        task = _task_of_block(part, image, network, rows, cols, rate)
        seconds = max(deadline.left, 0.0) / (len(blocks) - index)
        done = fit(task, Budget(seconds=max(seconds, MIN_SECONDS / len(blocks))), schedule=schedule)
        network.take(part, rows, cols)
        steps += done.steps
        errors.append(10 ** (-task.validate()["fit_psnr"] / 10))
        metrics.write({"step": steps, "seconds": round(time.monotonic() - started, 3), "loss": errors[-1]})
        if done.is_interrupted and index + 1 < len(blocks):
            return NetworkFit(steps, _decibels(errors), True, False)
        on_part(index + 1, len(blocks))
    checkpoints.save(steps, {"task": {"field": network.state_dict()}})
    return NetworkFit(steps, _decibels(errors), False, True)


def _decibels(errors: list[float]) -> float:
    return -10 * math.log10(sum(errors) / len(errors))


def _blocks(network: TiledSiren) -> Iterator[tuple[range, range]]:
    """Rows and columns of networks that are fitted together: no more than cover the window, nearly equal in number."""
    most = max(1, math.ceil(WINDOW / network.config.stride))

    def parts(count: int) -> list[range]:
        n = math.ceil(count / most)
        edges = [round(index * count / n) for index in range(n + 1)]
        return [range(first, last) for first, last in itertools.pairwise(edges)]

    yield from itertools.product(parts(network.counts[1]), parts(network.counts[0]))


def _task_of_block(
    part: TiledSiren, image: Tensor, network: TiledSiren, rows: range, cols: range, rate: float
) -> SirenFit:  # fmt: skip
    """Compare a block with the cells of the image in its squares."""

    def cells(numbers: range, count: int, extent: float) -> tuple[slice, Tensor]:
        config = network.config
        origin, reach = numbers.start * config.stride, (config.tile - config.stride) / 2
        at = cell_centres(count, count / extent) - origin
        inside = ((at > -reach) & (at < len(numbers) * config.stride + reach)).nonzero()[:, 0]
        chosen = slice(int(inside[0]), int(inside[-1]) + 1)
        return chosen, at[chosen]

    down, ys = cells(rows, image.shape[1], network.size[1])
    across, xs = cells(cols, image.shape[2], network.size[0])
    target = image[:, down, across].contiguous().to(network.bounds.device)
    return SirenFit(part, target, rate, (ys, xs))
