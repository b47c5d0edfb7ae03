"""From a cone's scan to a volume: the prior's weight from the middle slices, the volume of least total variation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.solvers.primal_dual import State, TvSolver
from nerfkit.solvers.risk import choose_tv_weight
from nerfkit.workbench.job import Job
from nerfkit.workbench.tomography.back_projection import ramp
from nerfkit.workbench.tomography.cone_scan import ConeScan
from nerfkit.workbench.tomography.reconstruct import (
    FIRST_STEPS,
    FIRST_WEIGHT,
    HELD_OUT,
    NEXT_STEPS,
    curvature,
    quick_picture,
)

__all__ = ["Voxels", "cone_weight", "fit_voxels"]

# rows of the detector nearest to the source's plane by which the weight is chosen
ROWS = 4
# steps of the primal-dual algorithm, from FDK on, and after how many of them the state is saved
STEPS, CHUNK = 80, 10
# of the power iteration: line integrals are not negative, and that of ones is near its end at once
POWER_STEPS = 5
# a variance takes two
LEAST_REPETITIONS = 2


class Voxels(NamedTuple):
    """What was found, in the scan's unit."""

    # [n_slices, side, side]
    values: Tensor
    # of what the noise alone does, standard deviation of each voxel; None: not estimated
    deviation: Tensor | None
    # root mean square error of the rays that were held out
    holdout: float


def cone_weight(
    scan: ConeScan, *, seed: int, check: Callable[[], None] = lambda: None
) -> tuple[float, list[tuple[float, float]]]:
    """The weight of the total variation by the unbiased risk (docs/decisions/0040), and the curve it was read from.

    Where the cone is flat its rows are fans, each of a slice of its own: a few neighbouring rows make a thin volume
    with variation in all three directions, for a thousandth of the work of the whole.

    Parameters
    ----------
    scan : ConeScan
        In units of :func:`nerfkit.workbench.tomography.reconstruct.unit_of`.
    seed : int
        Of the probe.
    check : callable
        Called at each step; may raise.
    """
    rows = scan.middle_rows(ROWS)
    # from the lowest slice to the highest; all fans have one matrix
    fans = [scan.row(number) for number in reversed(rows)]
    values = torch.stack([fan.sinogram for fan in fans])
    deviations = torch.stack([fan.deviations for fan in fans])
    solver = TvSolver(scan.middle.instrument, deviations.square().reciprocal(), (len(fans), *scan.shape[1:]))
    found = choose_tv_weight(
        solver, values, torch.where(deviations.isfinite(), deviations, 0.0),
        torch.stack([quick_picture(fan) for fan in fans]), FIRST_WEIGHT * curvature(scan.middle),
        n_steps=(FIRST_STEPS, NEXT_STEPS), metric=ramp, seed=seed, check=check,
    )  # fmt: skip
    return found.weight, found.curve


def fit_voxels(job: Job, scan: ConeScan, start: Tensor, weight: float) -> Voxels:
    """The volume of least total variation, and how sure it is, in the scan's unit.

    Goes on from where an earlier attempt was stopped.
    """
    steps = job.config.steps or STEPS
    generator = torch.Generator().manual_seed(job.config.seed)
    is_known = scan.deviations.isfinite()
    kept = (torch.rand(scan.sinogram.shape, generator=generator) >= HELD_OUT) & is_known
    solver = TvSolver(scan.instrument, scan.weights * kept, scan.shape, power_steps=POWER_STEPS)
    total = steps * (1 + job.config.repetitions)
    state, done = _solution(job, "voxels", solver, scan.sinogram, weight, solver.begin(start), (0, steps, total))
    if done < steps:
        job.limit.cut.append(f"the volume after {done} of {steps} steps")
    left = (scan.instrument.product(state.picture) - scan.sinogram)[~kept & is_known]
    holdout = float(left.square().mean().sqrt()) if len(left) else 0.0
    return Voxels(state.picture, _deviation(job, scan, solver, weight, state, steps), holdout)


def _solution(
    job: Job, name: str, solver: TvSolver, values: Tensor, weight: float, begin: State, span: tuple[int, int, int]
) -> tuple[State, int]:  # fmt: skip
    """The state after as many steps as the limit allows, and their number; ``span``: steps of all solutions before,
    of this one, of all.
    """
    before, steps, total = span
    folder = CheckpointFolder(job.run.folder / "checkpoints" / name)
    done, state = 0, begin
    if folder.steps():
        saved = folder.load_newest()
        done, state = saved["done"], State(saved["picture"], saved["dual"], saved["slopes"])
    while done < steps and (done == 0 or job.limit.left > 0):
        n = min(CHUNK, steps - done)
        state, done = solver.solve(values, weight, state, n, check=job.check_stopped), done + n
        folder.save(done, {"done": done} | {name: part.contiguous() for name, part in state._asdict().items()})
        job.on_part(before + done, total)
    job.check_stopped()
    return state, done


def _deviation(job: Job, scan: ConeScan, solver: TvSolver, weight: float, state: State, steps: int) -> Tensor | None:
    """Of solutions of the measurements with their noise drawn once more; None where the limit leaves no time for them.

    Each takes as many steps as the solution itself: a quarter of them answers a fifth of it (docs/decisions/0040).
    What differs between them is noise alone, however far the solution was from its end. Few repetitions are enough
    because their variance is averaged over the nearest voxels.
    """
    n, total = job.config.repetitions, steps * (1 + job.config.repetitions)
    if not n:
        return None
    generator = torch.Generator().manual_seed(job.config.seed + 1)
    noise = torch.where(scan.deviations.isfinite(), scan.deviations, 0.0)
    clean, found = scan.instrument.product(state.picture), list[Tensor]()
    for number in range(n):
        values = clean + noise * torch.randn(noise.shape, generator=generator)
        if job.limit.left <= 0:
            break
        span = steps * (1 + number), steps, total
        repeated, done = _solution(job, f"repetition_{number}", solver, values, weight, state, span)
        if done < steps:
            break
        found.append(repeated.picture)
    if len(found) < n:
        job.limit.cut.append(f"the deviation after {len(found)} of {n} repetitions")
    if len(found) < LEAST_REPETITIONS:
        return None
    variance = torch.stack(found).var(0)
    return avg_pool3d(variance[None, None], 3, 1, 1, count_include_pad=False)[0, 0].sqrt()
