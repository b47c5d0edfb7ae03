"""Stacks whose body moved between the scans: the rigid motion and the brightness of each against the first.

Both stacks are blurred until their point spreads are alike in all directions; then six numbers of the motion, a gain
and an offset make the first look like the other, by Gauss-Newton steps from coarse to fine. What is found is used
where it predicts held-out voxels better than the files' own places do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter
from scipy.spatial.transform import Rotation

from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid
from nerfkit.workbench.regression import decibels
from nerfkit.workbench.volumes.problem import StackProblem, make_problem

__all__ = [
    "MATCHES",
    "Difference",
    "apply_match",
    "corrected",
    "differences",
    "match_stacks",
    "matched_figures",
    "matched_words",
]

# what of a difference may be corrected, by name: the motion, the brightness
MATCHES = {"none": (False, False), "motion": (True, False), "brightness": (False, True), "both": (True, True)}
# standard deviation of the common point spread, in the largest distance between voxels; factors from coarse to fine
SPREAD, LEVELS = 0.8, (4.0, 2.0, 1.0)
# steps of a level at most, and the one that is the last, of the finest voxel
N_STEPS, LAST = 15, 1e-2
# fewest places that both stacks see, and fraction of all
LEAST_PLACES, LEAST_SHARED = 50, 0.1
# a motion that moves every corner by less, in finest voxels, is not told from none; so are brightnesses as near
MOVED, BRIGHTER = 0.25, 0.03
# weight of the total variation while corrections are compared, in standard deviations of the noise, and the least noise
WEIGHT, MIN_NOISE = 0.1, 1e-3


@dataclass(frozen=True)
class Difference:
    """By what a stack differs from the first.

    Parameters
    ----------
    motion : ndarray, shape (4, 4)
        From where its file says that a voxel is, in mm, to where it is in the first stack's frame.
    gain, offset : float
        Its values are ``gain`` times those of the first plus ``offset``.
    reach : float
        By how much the motion moves the corner that it moves most, mm.
    middle : ndarray, shape (3,)
        Middle of the stack by its file, mm.
    """

    motion: NDArray[np.float64]
    gain: float
    offset: float
    reach: float
    middle: NDArray[np.float64]

    @property
    def shift(self) -> NDArray[np.float64]:
        """Of the middle, mm."""
        return self.motion[:3, :3] @ self.middle + self.motion[:3, 3] - self.middle

    @property
    def turn(self) -> NDArray[np.float64]:
        """About x, y and z, degrees: a vector along the axis, as long as the angle."""
        return np.degrees(Rotation.from_matrix(self.motion[:3, :3]).as_rotvec())

    def plain(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "shift_mm": [round(float(part), 4) for part in self.shift],
            "turn_degrees": [round(float(part), 4) for part in self.turn],
            "gain": float(f"{self.gain:.5g}"), "offset": float(f"{self.offset:.5g}"),
        }  # fmt: skip


def corrected(stack: Volume, difference: Difference, match: str) -> Volume:
    """The stack where the body is in the first one, or as bright as the first one, or both (``MATCHES``)."""
    is_moved, is_brighter = MATCHES[match]
    affine = difference.motion @ stack.affine if is_moved else stack.affine
    values = (stack.values - difference.offset) / difference.gain if is_brighter else stack.values
    return Volume(values.astype(np.float32), affine, stack.thickness, stack.said, stack.is_inverted)


def differences(stacks: Sequence[Volume], check: Callable[[], None] = lambda: None) -> list[Difference | None]:
    """Of each stack after the first; None: it shares too little with the first, or nothing alike."""
    return [_difference(stacks[0], stack, check) for stack in stacks[1:]]


def _difference(first: Volume, stack: Volume, check: Callable[[], None]) -> Difference | None:
    coarsest = max(*first.spacing, *stack.spacing, first.thickness or 0, stack.thickness or 0)
    middle = stack.to_mm((np.array(stack.shape[::-1]) - 1) / 2)
    state, is_found = _State(np.eye(3), np.zeros(3), 1.0, 0.0), False
    for level in LEVELS:
        # small stacks share too little at coarse levels
        is_found = _level(first, stack, middle, level * SPREAD * coarsest, state, check)
    if not is_found or state.gain <= 0:
        return None
    motion = np.eye(4)
    motion[:3, :3] = state.turn
    motion[:3, 3] = middle + state.shift - state.turn @ middle
    corners = stack.to_mm(np.array(list(itertools.product(*((0, n - 1) for n in stack.shape[::-1])))))
    moves = corners @ (motion[:3, :3] - np.eye(3)).T + motion[:3, 3]
    return Difference(motion, state.gain, state.offset, float(np.linalg.norm(moves, axis=1).max()), middle)


@dataclass
class _State:
    """A turn about the stack's middle, the middle's shift in mm, gain and offset."""

    turn: NDArray[np.float64]
    shift: NDArray[np.float64]
    gain: float
    offset: float


def _blurred(volume: Volume, spread: float) -> NDArray[np.float64]:
    """The values, with a point spread whose standard deviation is ``spread`` mm in all directions."""
    boxes = np.array([*volume.spacing[:2], volume.thickness or volume.pitch])
    sigmas = np.sqrt(np.maximum(spread**2 - boxes**2 / 12, 0)) / np.array(volume.spacing)
    return gaussian_filter(volume.values.astype(np.float64), sigmas[::-1], mode="nearest")


def _level(
    first: Volume, stack: Volume, middle: NDArray, spread: float, state: _State, check: Callable[[], None]
) -> bool:  # fmt: skip
    """Gauss-Newton steps of ``state`` at one blur; whether the stacks share enough for that."""
    fixed = spline_filter(_blurred(first, spread))
    other = _blurred(stack, spread)
    # places no closer than the blur asks for: half its standard deviation apart
    places = [_places(n, spread / step / 2) for n, step in zip(stack.shape[::-1], stack.spacing, strict=True)]
    index = np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape(-1, 3)
    wanted = other[index[:, 2], index[:, 1], index[:, 0]]
    arms = stack.to_mm(index) - middle
    margins = [min(spread / step, n / 4) - 0.5 for n, step in zip(first.shape[::-1], first.spacing, strict=True)]
    into = np.linalg.inv(first.affine[:3, :3])
    finest = min(*first.spacing, *stack.spacing)
    radius = float(np.linalg.norm(arms, axis=1).max())
    for _ in range(N_STEPS):
        check()
        turned = arms @ state.turn.T
        at = first.to_index(middle + state.shift + turned)
        inside = ((at >= margins) & (at <= np.array(first.shape[::-1]) - 1 - np.array(margins))).all(1)
        if inside.sum() < max(LEAST_PLACES, LEAST_SHARED * len(at)):
            return False
        values, slopes = _sampled(fixed, at[inside])
        slopes, seen = slopes @ into, wanted[inside]
        state.gain, state.offset = _brightness(values, seen)
        residual = state.gain * values + state.offset - seen
        columns = np.column_stack([
            state.gain * slopes, state.gain * np.cross(turned[inside], slopes), values, np.ones(len(values))
        ])  # fmt: skip
        # the least-norm step: what nothing tells stays
        step = np.linalg.lstsq(columns, -residual, rcond=1e-6)[0]
        state.shift = state.shift + step[:3]
        state.turn = Rotation.from_rotvec(step[3:6]).as_matrix() @ state.turn
        if np.linalg.norm(step[:3]) + radius * np.linalg.norm(step[3:6]) < LAST * finest:
            break
    return True


def _places(n: int, apart: float) -> NDArray[np.int64]:
    step = max(1, int(apart))
    return np.arange((n - 1) % step // 2, n, step)


def _sampled(coefficients: NDArray, at: NDArray) -> tuple[NDArray, NDArray]:
    """Values [n] of a cubic spline at indices [n, 3] (i, j, k), and their slopes [n, 3] by the index."""

    def value(shift: NDArray) -> NDArray:
        return map_coordinates(coefficients, (at + shift).T[::-1], order=3, mode="nearest", prefilter=False)

    half = np.eye(3) / 2
    return value(np.zeros(3)), np.stack([value(part) - value(-part) for part in half], -1)


def _brightness(values: NDArray, seen: NDArray) -> tuple[float, float]:
    """Gain and offset from ``values`` to ``seen``: the ratio of their spreads, as noise is in both of them."""
    spread = float(values.std())
    covariance = float(np.mean((values - values.mean()) * (seen - seen.mean())))
    gain = math.copysign(float(seen.std()) / spread, covariance) if spread > 0 else 1.0
    return gain, float(seen.mean() - gain * values.mean())


def match_stacks(
    stacks: Sequence[Volume], spacing: float | None, grid: VoxelGrid, match: str, *, fraction: float, seed: int,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:  # fmt: skip
    """What is corrected, as plain values: ``match``, what held-out voxels say of each, and the differences.

    Parameters
    ----------
    stacks : sequence of Volume
        In the unit of the input.
    spacing, grid : float or None, VoxelGrid
        Of the volume.
    match : str
        One of ``MATCHES``; "auto": the one that predicts a ``fraction`` of the voxels best, which are held out.
    """
    found = differences(stacks, check)
    lone = [number + 2 for number, part in enumerate(found) if part is None]
    known = [_none(stack) if part is None else part for part, stack in zip(found, stacks[1:], strict=True)]
    answer: dict[str, Any] = {
        "match": match, "tried": {}, "unlike": lone, "motions": [part.motion.tolist() for part in known],
        "differences": [part.plain() for part in known],
    }  # fmt: skip
    if match != "auto":
        return answer
    low, high = stacks[0].range
    finest = min(min(stack.spacing) for stack in stacks)
    is_moved = any(part.reach > MOVED * finest for part in known)
    is_brighter = any(
        abs(math.log(part.gain)) > BRIGHTER or abs(part.offset + (part.gain - 1) * low) > BRIGHTER * (high - low)
        for part in known
    )
    names = [
        name for name, (moves, brightens) in MATCHES.items() if moves <= is_moved and brightens <= is_brighter
    ]  # fmt: skip
    if len(names) == 1:
        return answer | {"match": "none"}
    errors = {name: _held_out(stacks, known, name, spacing, grid, fraction, seed, check) for name in names}
    common = np.isfinite(np.stack(list(errors.values()))).all(0)
    mse = {name: float(np.square(part[common], dtype=np.float64).mean()) for name, part in errors.items()}
    return answer | {
        "match": min(mse, key=lambda name: mse[name]),
        "tried": {name: round(decibels(part, high - low), 3) for name, part in mse.items()},
    }


def apply_match(stacks: Sequence[Volume], answer: Mapping[str, Any]) -> list[Volume]:
    """The stacks, corrected as :func:`match_stacks` has decided."""
    found = [stacks[0]]
    for stack, motion, plain in zip(stacks[1:], answer["motions"], answer["differences"], strict=True):
        difference = Difference(np.array(motion), plain["gain"], plain["offset"], 0.0, np.zeros(3))
        found.append(corrected(stack, difference, answer["match"]))
    return found


def matched_figures(answer: Mapping[str, Any]) -> dict[str, Any]:
    """For `chosen`: what was taken, what held-out voxels say of each, dB, and what was found of each later stack."""
    stacks = [{"stack": number + 2} | plain for number, plain in enumerate(answer["differences"])]
    return {"match": answer["match"], "match_tried": answer["tried"], "stacks": stacks}


def matched_words(answer: Mapping[str, Any]) -> list[str]:
    """What was found and taken, in words."""
    said = []
    for number, plain in enumerate(answer["differences"], 2):
        if number in answer["unlike"]:
            said.append(f"stack {number} shows too little of what the first one shows: its motion is not known")
            continue
        shift, turn = (float(np.linalg.norm(plain[name])) for name in ("shift_mm", "turn_degrees"))
        said.append(
            f"stack {number} lies {shift:.2f} mm and {turn:.2f} degrees from where its file says; its values are "
            f"{plain['gain']:.3g} times those of the first {plain['offset']:+.3g}"
        )
    tried = ", ".join(f"{name} {value:.2f} dB" for name, value in answer["tried"].items())
    words = {"none": "nothing of that is corrected", "both": "motion and brightness are corrected"}
    said.append(
        words.get(answer["match"], f"{answer['match']} is corrected") + (f"; held-out voxels: {tried}" if tried else "")
    )
    return said


def _none(stack: Volume) -> Difference:
    return Difference(np.eye(4), 1.0, 0.0, 0.0, stack.to_mm((np.array(stack.shape[::-1]) - 1) / 2))


def _held_out(
    stacks: Sequence[Volume], found: Sequence[Difference], match: str, spacing: float | None, grid: VoxelGrid,
    fraction: float, seed: int, check: Callable[[], None],
) -> NDArray[np.float32]:  # fmt: skip
    """Errors of held-out voxels, in the unit of the input; NaN of those that the grid does not show."""
    others = [corrected(stack, part, match) for stack, part in zip(stacks[1:], found, strict=True)]
    problem = make_problem([stacks[0], *others], spacing, grid)
    gains = [1.0, *(part.gain if MATCHES[match][1] else 1.0 for part in found)]
    errors = _errors(problem, fraction, seed, check)
    unit = problem.span[1] - problem.span[0]
    return np.concatenate([part * np.float32(unit * gain) for part, gain in zip(errors, gains, strict=True)])


def _errors(problem: StackProblem, fraction: float, seed: int, check: Callable[[], None]) -> list[NDArray[np.float32]]:
    generator = torch.Generator().manual_seed(seed)
    held = [torch.rand(stack.shape, generator=generator) < fraction for stack in problem.tensors]
    seen = [stack.masked_fill(out, torch.nan) for stack, out in zip(problem.tensors, held, strict=True)]
    weight = WEIGHT * max(problem.noise, MIN_NOISE)
    image = problem.smooth(weight, seen, torch.from_numpy(problem.between("linear")), check)
    return [
        (at.predict(image) - stack).masked_fill(~at.is_seen, torch.nan)[out].numpy()
        for at, stack, out in zip(problem.slices, problem.tensors, held, strict=True)
    ]
