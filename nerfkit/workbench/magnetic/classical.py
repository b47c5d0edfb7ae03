"""Pictures from k-space without a field: zero-filled, and of least total variation with and without a known phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nerfkit.scenes.kspace_data import KspaceData
from nerfkit.scenes.observations.kspace import CartesianKspace, Kspace, Lines, PhasedKspace, RadialKspace
from nerfkit.solvers.primal_dual import TvSolver
from nerfkit.solvers.risk import WeightChoice, choose_tv_weight
from nerfkit.solvers.spread import noise_spread

from .centre import centre_pictures, sampling_weights, sensitivities_of

__all__ = [
    "ORACLE_RATIOS", "KspaceProblem", "choose_weight", "deviation_of", "least_variation", "make_problem", "start_of",
    "zero_filled",
]  # fmt: skip

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
    phasor : Tensor, shape (h, w)
        exp(i phase) of the picture.
    has_coils : bool
        Whether the sensitivities are known. Where they are estimated they hold the picture's phase too.
    """

    kspace: Kspace
    values: Tensor
    weights: Tensor
    sampling: Tensor
    centre: Tensor
    unit: float
    noise: float
    phasor: Tensor
    has_coils: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self.centre.shape[0], self.centre.shape[1]

    @property
    def phased(self) -> PhasedKspace:
        """The instrument of real pictures that have the phase."""
        return PhasedKspace(self.kspace, self.phasor)

    def changed(self, sensitivities: Tensor, phasor: Tensor) -> KspaceProblem:
        """The same measurements with other sensitivities [n_coils, h, w] and another phase [h, w]."""
        return replace(self, kspace=self.kspace.with_sensitivities(sensitivities), phasor=phasor)


def make_problem(data: KspaceData, noise: float, device: str) -> KspaceProblem:
    """The instrument of the data and its values, their sensitivities estimated where they are not known."""
    blurred = centre_pictures(data)
    if data.sensitivities is None:
        coils = sensitivities_of(blurred)
    else:
        coils = torch.from_numpy(data.sensitivities)
    coils = coils.to(device)
    kspace: Kspace = CartesianKspace(coils, _measured_lines(data, coils.device))
    if data.trajectory is not None:
        kspace = RadialKspace(coils, torch.from_numpy(data.trajectory))
    values = kspace.of_grid(torch.from_numpy(data.values).to(device))
    sampling = kspace.of_grid(torch.from_numpy(sampling_weights(data)).to(device))
    first = zero_filled(kspace, values, sampling)
    unit = float(np.quantile(first.abs().cpu().numpy(), 0.998)) or 1.0
    noise = noise / unit
    centre = (coils.conj() * blurred.to(device)).sum(0) / unit
    return KspaceProblem(
        kspace, values / unit, sampling / noise**2, sampling, centre, unit, noise, torch.exp(1j * centre.angle()),
        data.n_coils == 1 or data.sensitivities is not None,
    )  # fmt: skip


def _measured_lines(data: KspaceData, device: torch.device) -> Lines | None:
    """The lines that were measured, where the mask is of whole ones and leaves some out."""
    if data.mask is None or data.mask.all():
        return None
    for axis, is_measured in ((-2, data.mask.any(1)), (-1, data.mask.any(0))):
        if data.mask.sum() == is_measured.sum() * data.shape[-3 - axis]:
            return Lines(data.shape, axis, np.flatnonzero(is_measured), device)
    return None


def zero_filled(kspace: Kspace, values: Tensor, sampling: Tensor) -> Tensor:
    """The adjoint of the weighted values, in the size that explains them best; complex [h, w]."""
    picture = kspace.adjoint(sampling * values)
    seen = kspace.product(picture)
    scale = (sampling * seen.conj() * values).real.sum() / (sampling * seen.abs().square()).sum()
    return picture * scale


def start_of(problem: KspaceProblem, kept: Tensor | None = None) -> Tensor:
    """A real picture [h, w], 0 or more, to begin with: zero-filled, from values where ``kept`` is 1."""
    sampling = problem.sampling if kept is None else problem.sampling * kept
    return (zero_filled(problem.kspace, problem.values, sampling) * problem.phasor.conj()).real.clamp(min=0)


def choose_weight(problem: KspaceProblem, seed: int, check: Callable[[], None]) -> WeightChoice:
    """Weight of the total variation of a picture with the problem's phase, by the unbiased risk estimate."""
    solver = TvSolver(problem.phased, problem.weights, problem.shape)
    return choose_tv_weight(
        solver, problem.values, _deviations(problem), start_of(problem),
        FIRST_WEIGHT / problem.noise, n_steps=(FIRST_STEPS, NEXT_STEPS),
        metric=lambda values: problem.sampling * values, seed=seed, check=check,
    )  # fmt: skip


def deviation_of(problem: KspaceProblem, weight: float, seed: int, check: Callable[[], None]) -> Tensor:
    """How much the picture [h, w] of least variation would differ had the noise been another, standard deviation."""
    solver = TvSolver(problem.phased, problem.weights, problem.shape)
    state = solver.solve(problem.values, weight, solver.begin(start_of(problem)), WHOLE_STEPS, check=check)
    return noise_spread(solver, problem.values, _deviations(problem), weight, state, seed=seed, check=check)


def _deviations(problem: KspaceProblem) -> Tensor:
    """Of the noise of each value; a complex draw of variance 1 has half of it in each part."""
    return torch.full_like(problem.sampling, 2**0.5 * problem.noise) * (problem.sampling > 0)


def least_variation(
    problem: KspaceProblem, weights: Tensor, *, has_phase: bool, kept: Tensor | None = None,
    check: Callable[[], None] = lambda: None,
) -> Tensor:  # fmt: skip
    """Complex pictures [n, h, w] of least total variation for each of ``weights`` [n].

    Parameters
    ----------
    has_phase : bool
        Whether the problem's phase is given; the picture is then real and not negative behind it.
    kept : Tensor, optional
        1 where values count, 0 where they are held out.
    """
    counted = problem.weights if kept is None else problem.weights * kept
    if has_phase:
        start = start_of(problem, kept)
        solver = TvSolver(problem.phased, counted, problem.shape)
    else:
        start = zero_filled(
            problem.kspace, problem.values, problem.sampling if kept is None else problem.sampling * kept
        )
        solver = TvSolver(problem.kspace, counted, problem.shape, least=None, dtype=torch.complex64)
    state = solver.begin(start.expand(len(weights), *problem.shape))
    found = solver.solve(problem.values, weights, state, WHOLE_STEPS, check=check).picture
    return found * problem.phasor if has_phase else found
