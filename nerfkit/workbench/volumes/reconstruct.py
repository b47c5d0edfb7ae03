"""From stacks to a volume: the weight, the networks, the choice between the methods, and what each makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.fitting import FitSchedule
from nerfkit.report.blocks import Chart, Series
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields.named import count_parameters
from nerfkit.scenes.volumes import Volume
from nerfkit.scenes.voxel_grid import VoxelGrid
from nerfkit.workbench.job import Job
from nerfkit.workbench.regression import decibels
from nerfkit.workbench.settings import AUTO
from nerfkit.workbench.volumes.alignment import apply_match, match_stacks, matched_figures, matched_words
from nerfkit.workbench.volumes.choice import MIXES, choose_weight, held_out_slices, name_of, rehearse
from nerfkit.workbench.volumes.interpolated import resampled
from nerfkit.workbench.volumes.layout import working_grid
from nerfkit.workbench.volumes.learned import Plane, SliceNetwork, SliceRehearsal, planes_of, predict
from nerfkit.workbench.volumes.problem import StackProblem, make_problem

__all__ = ["Reconstruction", "output_grid", "reconstruct"]

# cells of the grid at most: each takes some hundred bytes
MAX_CELLS = 2**28
# factors by which the truth changes the baseline's weight, beginning at the one that is chosen without it; how often
ORACLE, REACH = (3.0, 1 / 3), 3
# slow second moments: a batch is a dozen slices of one stack, and gradients differ from step to step
SCHEDULE = FitSchedule(final_fraction=0.02, betas=(0.9, 0.999), epsilon=1e-8)
# a spacing is one of the grid's when it differs by less than this fraction
SAME = 1e-3


def output_grid(stacks: Sequence[Volume], spacing: float | None) -> VoxelGrid:
    """Cubes of ``spacing`` mm, or of the finest side of the stacks' voxels, over all that they have seen."""
    grid = working_grid(stacks, spacing)
    side = spacing or min(min(stack.spacing) for stack in stacks)
    is_same = all(abs(own / side - 1) < SAME for own in grid.spacing)
    found = grid if is_same else grid.resampled(side)
    for made in (grid, found):
        if (n := made.size[0] * made.size[1] * made.size[2]) > MAX_CELLS:
            raise NerfkitError(
                f"{n:,} voxels of {min(made.spacing):.4g} mm are more than {MAX_CELLS:,}", where="--spacing",
                fix="give a greater one, or smaller stacks",
            )  # fmt: skip
    return found


@dataclass
class Reconstruction:
    """What came out.

    Parameters
    ----------
    problem : StackProblem
        What was solved.
    values : ndarray, shape (d, h, w)
        On the problem's grid, in the unit of the input.
    name : str
        What holds it.
    n_params : int
        Its voxels, and the weights of the networks.
    chosen, metrics, baselines : dict
        As ``--json`` prints them.
    others : dict
        What other methods made, in the same unit.
    """

    problem: StackProblem
    values: NDArray[np.float32]
    name: str
    n_params: int
    chosen: dict[str, Any]
    metrics: dict[str, float]
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    others: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    charts: list[Chart] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def unseen_of(self, grid: VoxelGrid) -> NDArray[np.bool_]:
        """Voxels [grid.shape] that no slice averages over."""
        total = torch.stack([at.adjoint(torch.ones(at.shape)) for at in self.problem.slices]).sum(0)
        unseen = self.problem.layout.grid.holding((total == 0).float().numpy())
        return resampled(unseen, grid).values > 0.5


def reconstruct(job: Job) -> Reconstruction:
    """Do it; stages that an earlier attempt has finished are not done again."""
    return _Work(job).result()


class _Work:
    """A reconstruction at work."""

    def __init__(self, job: Job) -> None:
        self.job, self.config = job, job.config
        # by the weight
        self._smoothed: dict[float, Tensor] = {}
        grid = working_grid(job.data.stacks, job.config.spacing)
        self.match = self._match(grid)
        stacks = apply_match(job.data.stacks, self.match) if self.match else job.data.stacks
        self.problem = make_problem(stacks, job.config.spacing, grid)
        self.planes = planes_of(self.problem.layout) if self.problem.layout.coarse else []
        if not all(bool(at.is_seen.any()) for at in self.problem.slices):
            raise NerfkitError(
                "a stack lies wholly beside the first one", where="nerfkit fit volume",
                fix="look at their affines: both must be of one body in one frame",
            )  # fmt: skip
        if self.config.prior == "learned" and not self._can_learn:
            raise NerfkitError(
                f"prior learned is not possible: {self._why_not}", where="--set prior", fix="leave it out"
            )

    def _match(self, grid: VoxelGrid) -> dict[str, Any]:
        """What of later stacks is brought to the first one; empty where nothing is to be."""
        job, config = self.job, self.config
        if len(job.data.stacks) < 2 or config.match == "none":
            return {}
        job.say("looking for motion between the stacks")
        return job.decide(
            "match", lambda: match_stacks(
                job.data.stacks, config.spacing, grid, config.match, fraction=config.holdout, seed=config.seed,
                check=job.check_stopped,
            ),
        )  # fmt: skip

    @cached_property
    def _can_learn(self) -> bool:
        return bool(self.planes) and all(self._training_slices(plane) for plane in self.planes)

    @property
    def _why_not(self) -> str:
        if not self.planes:
            return (
                "the stacks are not cells of one grid: axes along each other, pixels on each other, slices a whole "
                "number of pixels apart, one stack across each axis"
            )
        return "the slices are too few or too small to be measured again edge on"

    def result(self) -> Reconstruction:
        """The whole of it."""
        weight = self._weight()
        networks = self._networks() if self._wants_learned else {}
        judged = self._rehearsed(networks, weight) if networks else {}
        prior, mix = self._choose(judged)
        volume = self._made(prior, mix, weight["weight"], networks)
        found = Reconstruction(
            self.problem, self.problem.in_unit(volume), "voxels", volume.size,
            {"prior": prior, "weight": float(f"{weight['weight']:.4g}"), "tried": weight["tried"]},
            self._held_out(prior, mix, judged, weight), self._baselines(judged, mix), charts=self._charts(weight),
            said=self._words(prior, mix, judged),
        )  # fmt: skip
        if self.match:
            found.chosen |= matched_figures(self.match)
            found.said += matched_words(self.match)
        if prior == "learned":
            found.n_params += sum(count_parameters(network) for network in networks.values())
            found.chosen["variation_fraction"] = mix
        found.others = self._others(prior, weight["weight"])
        self._add_oracle(found, weight["weight"])
        return found

    @property
    def _wants_learned(self) -> bool:
        return self._can_learn and self.config.prior in (AUTO, "learned")

    # what is chosen -------------------------------------------------------------------------------------------------

    def _weight(self) -> dict[str, Any]:
        if self.config.weight is not None or self.config.prior in ("cubic", "linear"):
            return {"weight": self.config.weight or 1e-3, "tried": [], "mse": None}
        self.job.say("choosing the weight of the total variation by held-out voxels")
        return self.job.decide(
            "weight", lambda: choose_weight(
                self.problem, self.config.holdout, self.config.seed, check=self.job.check_stopped,
                allows=lambda: self.job.limit.allows(0, "the choice of the weight"),
            ),
        )  # fmt: skip

    def _training_slices(self, plane: Plane) -> list[Tensor]:
        """Slices of the plane's stacks that are not held out, large enough to be measured again."""
        found = []
        for number in plane.stacks:
            stack = self.problem.stacks[number]
            kept = np.delete(stack.values, held_out_slices(stack), 0)
            if len(kept) and held_out_slices(stack) and min(stack.shape[1:]) >= 4 * max(plane.steps):
                found.append(torch.from_numpy(kept))
        return found

    def _networks(self) -> dict[Any, SliceNetwork]:
        """One for each kind of plane, trained."""
        kinds = {plane.kind: plane for plane in self.planes}
        networks = {}
        for number, (kind, plane) in enumerate(kinds.items()):
            rehearsal = SliceRehearsal(
                plane, self._training_slices(plane), self.problem.noise, seed=self.config.seed, device=self.job.device
            )
            self.job.say(f"learning from {sum(map(len, rehearsal.slices))} slices what lies between slices")
            stage = "learned" if number == 0 else f"learned_{number + 1}"
            self.job.fit(stage, rehearsal, self.config.steps, fraction=0.8 / (len(kinds) - number), schedule=SCHEDULE)
            networks[kind] = rehearsal.network
        return networks

    def _rehearsed(self, networks: dict[Any, SliceNetwork], weight: dict[str, Any]) -> dict[str, float]:
        pairs = [(plane, networks[plane.kind]) for plane in self.planes]
        return self.job.decide(
            "rehearsed", lambda: rehearse(self.problem, pairs, weight["weight"], self.job.check_stopped)
        )

    def _choose(self, judged: dict[str, float]) -> tuple[str, float]:
        """The prior, and the fraction of the least variation in what is learned."""
        mixes = {name_of(mix): mix for mix in MIXES}
        if self.config.prior not in (AUTO, "learned"):
            return self.config.prior, 0.0
        if not judged:
            return "variation", 0.0
        allowed = judged if self.config.prior == AUTO else {name: judged[name] for name in mixes}
        best = min(allowed, key=lambda name: allowed[name])
        return ("learned", mixes[best]) if best in mixes else (best, 0.0)

    # what is made ---------------------------------------------------------------------------------------------------

    def _made(self, prior: str, mix: float, weight: float, networks: dict[Any, SliceNetwork]) -> NDArray[np.float32]:
        if prior in ("cubic", "linear"):
            return self.problem.between(prior)
        smooth = self._smooth(weight) if prior == "variation" or mix else None
        if prior == "variation":
            assert smooth is not None  # made above
            return smooth.numpy()
        learned = self._learned(networks)
        return (learned if smooth is None else mix * smooth + (1 - mix) * learned).numpy()

    def _smooth(self, weight: float) -> Tensor:
        if weight not in self._smoothed:
            start = torch.from_numpy(self.problem.between("linear"))
            found = self.problem.smooth(weight, self.problem.tensors, start, self.job.check_stopped)
            self._smoothed[weight] = found
        return self._smoothed[weight]

    def _learned(self, networks: dict[Any, SliceNetwork]) -> Tensor:
        """The mean of what the planes of all directions give."""
        total = torch.zeros(self.problem.layout.grid.shape)
        arrays = [torch.from_numpy(values) for values in self.problem.layout.stacks]
        for plane in self.planes:
            measured = [plane.ordered(arrays[number]).contiguous().to(self.job.device) for number in plane.stacks]
            total += plane.back(predict(networks[plane.kind], measured, self.job.check_stopped))
        return total / len(self.planes)

    def _others(self, prior: str, weight: float) -> dict[str, NDArray[np.float32]]:
        """What interpolates, to compare with; and of a truth's baselines the least variation."""
        names = [name for name in ("linear", "cubic") if name != prior]
        found = {name: self.problem.in_unit(self.problem.between(name)) for name in names}
        if self.job.truth is not None and prior != "variation":
            found["variation"] = self.problem.in_unit(self._smooth(weight))
        return found

    def _add_oracle(self, found: Reconstruction, weight: float) -> None:
        """The least variation with the weight that the truth chooses, to compare with."""
        truth = self.job.truth
        if truth is None:
            return
        best = self._against(truth, weight)
        for factor in ORACLE:
            first = best
            for power in range(1, REACH + 1):
                other = self._against(truth, weight * factor**power)
                if other[0] >= best[0]:
                    break
                best = other
            if best is not first:
                # what is better with more is not best with less
                break
        name = "variation, oracle"
        found.others[name] = best[2]
        found.baselines[name] = {
            "how": f"weight {best[1]:.3g}, the best that the truth chooses, in steps of a factor of 3"
        }

    def _against(self, truth: Volume, weight: float) -> tuple[float, float, NDArray[np.float32]]:
        """The mean squared error of the least variation, its weight, and its values."""
        values = self.problem.in_unit(self._smooth(weight))
        other = resampled(self.problem.layout.grid.holding(values), VoxelGrid(truth.shape, truth.affine))
        return float(np.square(other.values - truth.values, dtype=np.float64).mean()), weight, values

    # what is said ---------------------------------------------------------------------------------------------------

    def _held_out(
        self, prior: str, mix: float, judged: dict[str, float], weight: dict[str, Any]
    ) -> dict[str, float]:  # fmt: skip
        """The rms error of what was held out, in the unit of the input, and its PSNR."""
        mse = judged.get(name_of(mix) if prior == "learned" else prior)
        mse = weight["mse"] if mse is None and prior == "variation" else mse
        return {} if mse is None else _error(mse, self.problem.span)

    def _baselines(self, judged: dict[str, float], mix: float) -> dict[str, dict[str, Any]]:
        how = {"linear": "no parameter", "cubic": "no parameter", "variation": "weight by held-out voxels"}
        found: dict[str, dict[str, Any]] = {
            name: {"how": words} for name, words in how.items() if name != "variation" or judged
        }
        for name in found:
            found[name] |= _error(judged[name], self.problem.span) if name in judged else {}
        if "learned" in judged and mix:
            found["learned"] = {"how": "alone"} | _error(judged["learned"], self.problem.span)
        return found

    def _charts(self, weight: dict[str, Any]) -> list[Chart]:
        rows = weight["tried"]
        if not rows:
            return []
        return [
            Chart(
                "Choice of the weight", [Series("held out", [w for w, _ in rows], [p for _, p in rows])], "weight", "dB"
            )
        ]

    def _words(self, prior: str, mix: float, judged: dict[str, float]) -> list[str]:
        noise = self.problem.noise * (self.problem.span[1] - self.problem.span[0])
        said = [f"noise of a measured value: {noise:.3g}, estimated"]
        if judged:
            said.append(
                f"taken: {name_of(mix) if prior == 'learned' else prior}; it predicts slices best that were held out "
                "and measured again along one of their own axes as the scanner measures across slices"
            )
        elif self.config.prior == AUTO:
            said.append(f"taken: least total variation; nothing was learned from the slices: {self._why_not}")
        return said


def _error(mse: float, span: tuple[float, float]) -> dict[str, float]:
    return {
        "holdout": float(f"{(span[1] - span[0]) * mse**0.5:.6g}"), "holdout_psnr": round(decibels(mse), 3),
    }  # fmt: skip
