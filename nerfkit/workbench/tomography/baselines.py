"""Classical reconstructions with the best parameter that the truth can choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerfkit.solvers.primal_dual import TvSolver
from nerfkit.workbench.tomography.back_projection import WINDOWS, filtered_back_projection
from nerfkit.workbench.tomography.reconstruct import FIRST_STEPS, NEXT_STEPS, Smooth
from nerfkit.workbench.tomography.scan import Scan

__all__ = ["Baseline", "measure_baselines"]

# sweeps over all angles of SART, and factors on the chosen weight that TV is tried with
SWEEPS = 8
FACTORS = (1.5, 1.0, 1 / 1.5, 1 / 2.25)


class Baseline(NamedTuple):
    """A reconstruction, and how its parameter was chosen."""

    picture: Tensor
    how: str


def measure_baselines(
    scan: Scan, start: Tensor, smooth: Smooth, error: Callable[[Tensor], float]
) -> dict[str, Baseline]:
    """Filtered back projection, SART and total variation, each at its least ``error``."""

    def best(tried: Iterator[tuple[Tensor, str]]) -> Baseline:
        return Baseline(*min(tried, key=lambda pair: error(pair[0])))

    return {
        "filtered back projection": best(_back_projections(scan)),
        "SART": best(_sart(scan)),
        "total variation": best(_variations(scan, start, smooth)),
    }


def _back_projections(scan: Scan) -> Iterator[tuple[Tensor, str]]:
    for window in WINDOWS:
        yield filtered_back_projection(scan, window).clamp(min=0), f"window {window}, the best of {len(WINDOWS)}"


def _sart(scan: Scan) -> Iterator[tuple[Tensor, str]]:
    """Andersen and Kak 1984: each angle in turn, misfits divided by the lengths of rays and of pixels' shadows."""
    lengths = scan.instrument.product(torch.ones(scan.side, scan.side)).clamp(min=1e-6)
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0)).tolist()
    parts: list[Any] = [scan.instrument.one_angle(k) for k in range(len(lengths))]
    shadows = [torch.from_numpy(part @ torch.ones(part.shape[1]).numpy()).clamp(min=1e-6) for part in parts]
    known = scan.deviations.isfinite()
    picture = torch.zeros(scan.side**2)
    for sweep in range(SWEEPS):
        for k in order:
            misfit = (scan.sinogram[k] - torch.from_numpy(parts[k].T @ picture.numpy())) / lengths[k] * known[k]
            picture = (picture + 0.5 * torch.from_numpy(parts[k] @ misfit.numpy()) / shadows[k]).clamp(min=0)
        yield picture.view(scan.side, scan.side).clone(), f"{sweep + 1} sweeps, the best of {SWEEPS}"


def _variations(scan: Scan, start: Tensor, smooth: Smooth) -> Iterator[tuple[Tensor, str]]:
    solver = TvSolver(scan.instrument, scan.weights, (scan.side, scan.side))
    state = solver.begin(start)
    for k, factor in enumerate(FACTORS):
        weight = smooth.weight * factor
        state = solver.solve(scan.sinogram, weight, state, NEXT_STEPS if k else FIRST_STEPS)
        yield state.picture, f"weight {factor:.2g} times the chosen one, the best of {len(FACTORS)}"
