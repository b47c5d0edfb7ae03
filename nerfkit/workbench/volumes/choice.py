"""What weight, and which method: by what is held out, never by a truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nerfkit.heldout import Trial, search_line
from nerfkit.scenes.observations.slice_averages import SliceAverages
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid
from nerfkit.workbench.regression import decibels
from nerfkit.workbench.volumes.interpolated import interpolated
from nerfkit.workbench.volumes.learned import Plane, SliceNetwork, predict
from nerfkit.workbench.volumes.problem import StackProblem
from nerfkit.workbench.volumes.variation import least_variation

__all__ = ["MIXES", "choose_weight", "held_out_slices", "rehearse"]

# weight of the total variation where a search begins, in standard deviations of the noise; factor of its steps; reach
WEIGHT, WEIGHT_STEP, REACH = 0.1, 3.0, 3
# least noise that is counted with, of the range: without any the weight would be none
MIN_NOISE = 1e-3
# fractions of the least variation in the mean with what was learned
MIXES = (0.0, 0.15, 0.3, 0.45)
# slices of a stack that the networks do not see, at most, and one in how many
HELD_SLICES, EVERY = 6, 8


def choose_weight(
    problem: StackProblem, fraction: float, seed: int, *, allows: Callable[[], bool], check: Callable[[], None]
) -> dict[str, Any]:  # fmt: skip
    """The weight of the total variation that predicts held-out voxels best, and what was tried."""
    generator = torch.Generator().manual_seed(seed)
    tensors = problem.tensors
    held = [torch.rand(stack.shape, generator=generator) < fraction for stack in tensors]
    seen = [stack.masked_fill(out, torch.nan) for stack, out in zip(tensors, held, strict=True)]
    begin = torch.from_numpy(problem.between("linear"))

    def solved(weight: float, start: Tensor) -> Trial[float]:
        found = problem.smooth(weight, seen, start, check)
        parts = [
            (at.predict(found) - stack)[out & at.is_seen].square()
            for at, stack, out in zip(problem.slices, tensors, held, strict=True)
        ]
        return Trial(weight, found, torch.cat(parts))

    def attempt(weight: float, best: Trial[float]) -> Trial[float] | None:
        return solved(weight, best.image) if allows() else None

    middle = WEIGHT * max(problem.noise, MIN_NOISE)
    first = solved(middle, begin)
    found = search_line(first, lambda at: middle * WEIGHT_STEP**at if abs(at) <= REACH else None, attempt)
    best = min(found.values(), key=lambda trial: trial.mse)
    tried = sorted([float(f"{trial.setting:.4g}"), round(decibels(trial.mse), 3)] for trial in found.values())
    return {"weight": best.setting, "mse": best.mse, "tried": tried}


def held_out_slices(stack: Volume) -> list[int]:
    """Numbers of the slices that no network is trained on, spread over the stack; none of a stack of two or three."""
    depth = stack.shape[0]
    n = min(HELD_SLICES, depth // EVERY) or (1 if depth > 3 else 0)
    return sorted({round((index + 0.5) * depth / n - 0.5) for index in range(n)}) if n else []


def rehearse(
    problem: StackProblem, pairs: Sequence[tuple[Plane, SliceNetwork]], weight: float, check: Callable[[], None]
) -> dict[str, float]:  # fmt: skip
    """Mean squared errors, by method, of held-out slices that are measured again as if they were seen edge on."""
    errors: dict[str, list[float]] = {}
    for plane, network in pairs:
        for number in plane.stacks:
            for index in held_out_slices(problem.stacks[number]):
                check()
                whole = torch.from_numpy(problem.stacks[number].values[index])
                rows, columns = (side // step * step for side, step in zip(whole.shape, plane.steps, strict=True))
                if min(rows, columns) < 2 * max(plane.steps):
                    continue
                fine = whole[:rows, :columns]
                for name, found in _by_all(problem, plane, network, weight, fine, check).items():
                    errors.setdefault(name, []).append(float((found - fine).square().mean()))
    return {name: float(np.mean(values)) for name, values in errors.items()}


def _by_all(
    problem: StackProblem, plane: Plane, network: SliceNetwork, weight: float, fine: Tensor, check: Callable[[], None]
) -> Mapping[str, Tensor]:  # fmt: skip
    """A slice [h, w] by each method, from what it would have been measured as."""
    measured = plane.measure(fine[None])
    grid, stacks = _flat_stacks(plane, measured)
    slices = [SliceAverages(grid, stack) for stack in stacks]
    found = {how: torch.from_numpy(interpolated(grid, stacks, how))[0] for how in ("linear", "cubic")}
    tensors = [torch.from_numpy(stack.values) for stack in stacks]
    smooth = least_variation(slices, tensors, weight, found["linear"][None], floor=problem.floor, check=check)[0]
    device = next(network.parameters()).device
    learned = predict(network, [part.to(device) for part in measured])[0]
    found |= {"variation": smooth} | {name_of(mix): mix * smooth + (1 - mix) * learned for mix in MIXES}
    return found if problem.floor is None else {name: part.clamp(min=problem.floor) for name, part in found.items()}


def name_of(mix: float) -> str:
    """Name of what was learned, with that fraction of the least variation in it."""
    return f"learned {1 - mix:.2f} + variation {mix:.2f}" if mix else "learned"


def _flat_stacks(plane: Plane, measured: Sequence[Tensor]) -> tuple[VoxelGrid, list[Volume]]:
    """One plane as a volume of one slice, and what was measured of it as stacks across its columns and its rows."""
    right = plane.steps[1]
    n_rows, n_columns = measured[0].shape[1], measured[0].shape[2] * right
    grid = VoxelGrid((1, n_rows, n_columns), np.eye(4))
    # i of the stack along the rows' axis y, j along z, k along x; and the other way round
    stacks = [_flat_stack(measured[0][0].T.numpy(), plane.across, (1, 2, 0))]
    if plane.along is not None:
        stacks.append(_flat_stack(measured[1][0].numpy(), plane.along, (0, 2, 1)))
    return grid, stacks


def _flat_stack(values: np.ndarray, coarse: Any, axes: tuple[int, int, int]) -> Volume:
    """A stack of slices one pixel high: ``values`` [n_slices, n], whose i, j and k are along ``axes`` of the grid."""
    affine = np.zeros((4, 4))
    affine[list(axes), range(3)] = 1.0, 1.0, coarse.step
    affine[axes[2], 3] = coarse.phase + coarse.thickness / 2 - 0.5
    affine[3, 3] = 1.0
    return Volume(np.ascontiguousarray(values[:, None]), affine, coarse.thickness)
