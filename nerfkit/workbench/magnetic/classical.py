"""Pictures from k-space without a field: zero-filled, and of least total variation with and without a known phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nerfkit.scenes.kspace_data import KspaceData
from nerfkit.scenes.observations.kspace import CartesianKspace, Kspace, PhasedKspace, RadialKspace
from nerfkit.solvers.primal_dual import TvSolver
from nerfkit.solvers.risk import WeightChoice, choose_tv_weight

from .centre import centre_pictures, sampling_weights, sensitivities_of

__all__ = ["ORACLE_RATIOS", "KspaceProblem", "choose_weight", "least_variation", "make_problem", "zero_filled"]

# steps of a first solution, of the next one, of one from nothing
FIRST_STEPS, NEXT_STEPS, WHOLE_STEPS = 150, 60, 200
# total variation's weight that is tried first, for a picture of peak 1 and noise 1
FIRST_WEIGHT = 0.8
# weights of the baselines, beside the one that was chosen
ORACLE_RATIOS = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class KspaceProblem:
    """K-space in a unit in which the picture's peak is about 1.

    Parameters
    ----------
    kspace : CartesianKspace or RadialKspace
        The instrument.
    values, weights : Tensor, shape (n_coils, ...)
        Measured, and how much each counts: about 1 / variance, times the spacing of spokes.
    sampling : Tensor
        The weights without the noise, at most 1.
    centre : Tensor, shape (h, w)
        Complex, blurred: the centre alone.
    unit : float
        What a value of 1 is in the data's unit.
    noise : float
        Standard deviation of a real part.
    """

    kspace: Kspace
    values: Tensor
    weights: Tensor
    sampling: Tensor
    centre: Tensor
    unit: float
    noise: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self.centre.shape[0], self.centre.shape[1]

    @property
    def phasor(self) -> Tensor:
        """exp(i phase) [h, w] of the centre."""
        return torch.exp(1j * self.centre.angle())


def make_problem(data: KspaceData, noise: float, device: str) -> KspaceProblem:
    """The instrument of the data and its values, their sensitivities estimated where they are not known."""
    blurred = centre_pictures(data)
    if data.sensitivities is None:
        coils = sensitivities_of(blurred)
    else:
        coils = torch.from_numpy(data.sensitivities)
    kspace: Kspace = CartesianKspace(coils.to(device))
    if data.trajectory is not None:
        kspace = RadialKspace(coils.to(device), torch.from_numpy(data.trajectory))
    values = torch.from_numpy(data.values).to(device)
    sampling = torch.from_numpy(sampling_weights(data)).to(device)
    first = zero_filled(kspace, values, sampling)
    unit = float(np.quantile(first.abs().cpu().numpy(), 0.998)) or 1.0
    noise = noise / unit
    centre = (coils.conj() * blurred).sum(0).to(device) / unit
    return KspaceProblem(kspace, values / unit, sampling / noise**2, sampling, centre, unit, noise)


def zero_filled(kspace: Kspace, values: Tensor, sampling: Tensor) -> Tensor:
    """The adjoint of the weighted values, in the size that explains them best; complex [h, w]."""
    picture = kspace.adjoint(sampling * values)
    seen = kspace.product(picture)
    scale = (sampling * seen.conj() * values).real.sum() / (sampling * seen.abs().square()).sum()
    return picture * scale


def choose_weight(problem: KspaceProblem, seed: int, check: Callable[[], None]) -> WeightChoice:
    """Weight of the total variation of a picture with the centre's phase, by the unbiased risk estimate."""
    solver = TvSolver(PhasedKspace(problem.kspace, problem.phasor), problem.weights, problem.shape)
    start = zero_filled(problem.kspace, problem.values, problem.sampling)
    # a complex draw of variance 1 has half of it in each part
    deviations = torch.full_like(problem.sampling, 2**0.5 * problem.noise) * (problem.sampling > 0)
    return choose_tv_weight(
        solver, problem.values, deviations, (start * problem.phasor.conj()).real.clamp(min=0),
        FIRST_WEIGHT / problem.noise, n_steps=(FIRST_STEPS, NEXT_STEPS),
        metric=lambda values: problem.sampling * values, seed=seed, check=check,
    )  # fmt: skip


def least_variation(
    problem: KspaceProblem, weights: Tensor, *, has_phase: bool, kept: Tensor | None = None,
    check: Callable[[], None] = lambda: None,
) -> Tensor:  # fmt: skip
    """Complex pictures [n, h, w] of least total variation for each of ``weights`` [n].

    Parameters
    ----------
    has_phase : bool
        Whether the centre's phase is given; the picture is then real and not negative behind it.
    kept : Tensor, optional
        1 where values count, 0 where they are held out.
    """
    counted = problem.weights if kept is None else problem.weights * kept
    sampling = problem.sampling if kept is None else problem.sampling * kept
    start = zero_filled(problem.kspace, problem.values, sampling)
    if has_phase:
        start = (start * problem.phasor.conj()).real.clamp(min=0)
        solver = TvSolver(PhasedKspace(problem.kspace, problem.phasor), counted, problem.shape)
    else:
        solver = TvSolver(problem.kspace, counted, problem.shape, least=None, dtype=torch.complex64)
    state = solver.begin(start.expand(len(weights), *problem.shape))
    found = solver.solve(problem.values, weights, state, WHOLE_STEPS, check=check).picture
    return found * problem.phasor if has_phase else found
