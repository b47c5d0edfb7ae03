"""From a cone's scan to a volume: the prior's weight from the middle slices, the volume of least total variation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

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

__all__ = ["cone_weight", "fit_voxels"]

# rows of the detector nearest to the source's plane by which the weight is chosen
ROWS = 4
# steps of the primal-dual algorithm, from FDK on, and after how many of them the state is saved
STEPS, CHUNK = 80, 10
# of the power iteration: line integrals are not negative, and that of ones is near its end at once
POWER_STEPS = 5


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


def fit_voxels(job: Job, scan: ConeScan, start: Tensor, weight: float) -> tuple[Tensor, float]:
    """The volume of least total variation, and the root mean square error of held-out rays, both in the scan's unit.

    Goes on from where an earlier attempt was stopped.
    """
    steps = job.config.steps or STEPS
    generator = torch.Generator().manual_seed(job.config.seed)
    is_known = scan.deviations.isfinite()
    kept = (torch.rand(scan.sinogram.shape, generator=generator) >= HELD_OUT) & is_known
    solver = TvSolver(scan.instrument, scan.weights * kept, scan.shape, power_steps=POWER_STEPS)
    folder = CheckpointFolder(job.run.folder / "checkpoints" / "voxels")
    done, state = 0, solver.begin(start)
    if folder.steps():
        saved = folder.load_newest()
        done, state = saved["done"], State(saved["picture"], saved["dual"], saved["slopes"])
    while done < steps and (done == 0 or job.limit.left > 0):
        n = min(CHUNK, steps - done)
        state, done = solver.solve(scan.sinogram, weight, state, n, check=job.check_stopped), done + n
        folder.save(done, {"done": done} | {name: part.contiguous() for name, part in state._asdict().items()})
        job.on_part(done, steps)
    job.check_stopped()
    if done < steps:
        job.limit.cut.append(f"the volume after {done} of {steps} steps")
    left = (scan.instrument.product(state.picture) - scan.sinogram)[~kept & is_known]
    return state.picture, float(left.square().mean().sqrt()) if len(left) else 0.0
