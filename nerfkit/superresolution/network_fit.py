"""Networks fitted to the solved image: all together where it is small, else block by block of the local ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.clock import working_seconds
from nerfkit.fitting import Budget, FitResult, FitSchedule, fit
from nerfkit.journal import Journal
from nerfkit.metrics import MetricsLog
from nerfkit.problem import Problem, Term
from nerfkit.scenes.fields.siren import Siren
from nerfkit.scenes.fields.tiled_siren import TiledSiren
from nerfkit.scenes.measurements.lattice_values import LatticeMeasurements, cell_centres
from nerfkit.scenes.observations.points import LatticeValues

from .settings import WINDOW, Plan

__all__ = ["NetworkFit", "fit_networks", "work_of_fit"]

# Adam's peak rate for each kind of network, and its fraction at the end
LEARNING_RATES, FINAL_FRACTION = {"tiled": 1.2e-2, "single": 1e-3}, 0.05
# points of the grid that a step compares: fewer make each step's gradient noisier, more make the steps too few
POINTS_A_STEP = 2**17
# how often each point is compared, and what that takes, in cells of a step of the solver on a grid. With 150 networks
# are as near to the truth as the image that they are fitted to; with 60 they lose 0.7 to 1.9 dB
STEPS, CELLS_A_POINT = 150, 50.0
# least seconds of a fit
MIN_SECONDS = 1.0


@dataclass(frozen=True)
class NetworkFit:
    """How the fit ended."""

    # in all
    steps: int
    # against the image, dB
    psnr: float
    is_interrupted: bool
    # whether every network has had its turn
    is_complete: bool
    # whether the limit ended a fit before its steps were done
    is_cut: bool


def work_of_fit(plan: Plan, frame_size: tuple[int, int]) -> float:
    """What the fit takes, in cells times steps of the solver on a grid, for a :class:`nerfkit.limits.Limit`."""
    return CELLS_A_POINT * STEPS * frame_size[0] * frame_size[1] * plan.output**2


def fit_networks(
    network: Siren | TiledSiren, image: Tensor, kind: str, seconds: float, checkpoints: CheckpointFolder,
    metrics: MetricsLog, on_part: Callable[[int, int], None] = lambda done, total: None, *, n_steps: int | None = None,
    journal: Journal | None = None,
) -> NetworkFit:  # fmt: skip
    """Fit ``network``, in place, to the image; the weights are saved.

    Parameters
    ----------
    network : Siren or TiledSiren
        In low-res pixels, with the image's channels.
    image : Tensor, shape (n_channels, n_rows, n_cols)
        On equal cells.
    kind : {"tiled", "single"}
        Of the network.
    seconds : float
        A limit; unless it is met the result does not depend on it.
    checkpoints, metrics
        Where weights and figures are written.
    on_part : callable
        Called with the number of blocks that are fitted and that there are.
    n_steps : int, optional
        For each block; None: by the number of its cells.
    journal : Journal, optional
        Holds the blocks that are fitted; what is fitted all together goes on from its checkpoint.

    Notes
    -----
    A block's networks are fitted in their whole squares without their neighbours, so that the image that blends all
    blocks agrees with the solved one as well as each of them.
    """
    schedule, rate = FitSchedule(final_fraction=FINAL_FRACTION, epsilon=1e-8), LEARNING_RATES[kind]
    journal = Journal() if journal is None else journal
    blocks = list(_blocks(network)) if isinstance(network, TiledSiren) else []
    if len(blocks) < 2:
        axes = cell_centres(image.shape[1], network.size[1]), cell_centres(image.shape[2], network.size[0])
        problem = _Regression(network, image.to(network.bounds.device), axes, rate)
        budget = Budget(max(seconds, MIN_SECONDS), n_steps or problem.n_steps)
        unfinished = None if journal.folder is None else CheckpointFolder(journal.folder / "networks")
        done = fit(
            problem, budget, schedule=schedule, checkpoints=unfinished, metrics=metrics,
            resume=unfinished is not None and bool(unfinished.steps()),
        )  # fmt: skip
        checkpoints.save(done.steps, {"task": {"field": network.state_dict()}})
        return NetworkFit(done.steps, _decibels([problem.error()]), done.is_interrupted, True, done.is_cut)
    assert isinstance(network, TiledSiren)
    steps, errors, is_cut, started = 0, [], False, working_seconds()
    for index, (rows, cols) in enumerate(blocks):
        part = network.part(rows, cols)
        problem = _regression_of_block(part, image, network, rows, cols, rate)
        left = max(seconds - (working_seconds() - started), MIN_SECONDS) / (len(blocks) - index)
        done = _recalled(journal, part, problem, Budget(left, n_steps or problem.n_steps), schedule)
        network.take(part, rows, cols)
        steps, is_cut = steps + done.steps, is_cut or done.is_cut
        errors.append(problem.error())
        metrics.write({"step": steps, "seconds": round(working_seconds() - started, 3), "loss": errors[-1]})
        if done.is_interrupted and index + 1 < len(blocks):
            return NetworkFit(steps, _decibels(errors), True, False, is_cut)
        on_part(index + 1, len(blocks))
    checkpoints.save(steps, {"task": {"field": network.state_dict()}})
    return NetworkFit(steps, _decibels(errors), False, True, is_cut)


def _recalled(
    journal: Journal, part: TiledSiren, problem: Problem, budget: Budget, schedule: FitSchedule
) -> FitResult:  # fmt: skip
    """Fit a block's networks, in place, or take the weights to which they were fitted before the run was killed."""
    done: list[FitResult] = []

    def compute() -> dict[str, Tensor]:
        done.append(fit(problem, budget, schedule=schedule))
        return part.state_dict() | {"$steps": torch.tensor(done[0].steps)}

    def is_whole() -> bool:
        return not (done[0].is_interrupted or done[0].is_cut)

    found, seconds = journal.recall(dict(part.state_dict()), compute, is_whole=is_whole)
    if done:
        return done[0]
    part.load_state_dict({name: value for name, value in found.items() if name != "$steps"})
    return FitResult(int(found["$steps"]), seconds, is_interrupted=False)


class _Regression(Problem):
    """A network is to have the values of an image on the cells of a grid."""

    def __init__(
        self, network: Siren | TiledSiren, image: Tensor, axes: tuple[Tensor, Tensor], learning_rate: float
    ) -> None:  # fmt: skip
        self.cells = LatticeMeasurements(image, axes, network.lattice)
        super().__init__(
            network, [Term(LatticeValues(), self.cells, n=POINTS_A_STEP)], learning_rate=learning_rate
        )  # fmt: skip

    @property
    def n_steps(self) -> int:
        """Steps in which each cell is compared often enough."""
        return STEPS * self.cells.stride(POINTS_A_STEP) ** 2

    @torch.no_grad()
    def error(self) -> float:
        """Mean squared error over the first part of the cells."""
        part = self.cells.part(self.cells.stride(POINTS_A_STEP), 0, 0)
        return float((LatticeValues().predict(self.field, part.where) - part.values).square().mean())


def _decibels(errors: list[float]) -> float:
    return -10 * math.log10(max(sum(errors) / len(errors), 1e-12))


def _blocks(network: TiledSiren) -> Iterator[tuple[range, range]]:
    """Rows and columns of networks that are fitted together: no more than cover the window, nearly equal in number."""
    most = max(1, math.ceil(WINDOW / network.config.stride))

    def parts(count: int) -> list[range]:
        n = math.ceil(count / most)
        edges = [round(index * count / n) for index in range(n + 1)]
        return [range(first, last) for first, last in itertools.pairwise(edges)]

    yield from itertools.product(parts(network.counts[1]), parts(network.counts[0]))


def _regression_of_block(
    part: TiledSiren, image: Tensor, network: TiledSiren, rows: range, cols: range, rate: float
) -> _Regression:  # fmt: skip
    """A block is to have the values of the image in its squares."""

    def cells(numbers: range, count: int, extent: float) -> tuple[slice, Tensor]:
        config = network.config
        origin, reach = numbers.start * config.stride, (config.tile - config.stride) / 2
        at = cell_centres(count, extent) - origin
        inside = ((at > -reach) & (at < len(numbers) * config.stride + reach)).nonzero()[:, 0]
        chosen = slice(int(inside[0]), int(inside[-1]) + 1)
        return chosen, at[chosen]

    down, ys = cells(rows, image.shape[1], network.size[1])
    across, xs = cells(cols, image.shape[2], network.size[0])
    values = image[:, down, across].contiguous().to(network.bounds.device)
    return _Regression(part, values, (ys, xs), rate)
