"""What the report of `nerfkit fit mri` shows, and the classical methods with the weights that the truth chooses."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.report.blocks import Chart, Series
from nerfkit.scenes.kspace_data import KspaceData
from nerfkit.workbench.outcome import Shown
from nerfkit.workbench.pictures import error_map
from nerfkit.workbench.running import compare

from .classical import ORACLE_RATIOS, least_variation, zero_filled
from .reconstruct import Reconstruction
from .wavelets import sparse_in_wavelets

__all__ = ["MISSING", "WAVELETS", "baselines", "charts", "pictures"]

# of wavelet coefficients, in standard deviations of the noise, that the truth may choose from
THRESHOLDS = (0.5, 1.0, 2.0, 4.0, 8.0)
WAVELETS = "wavelets + phase of the centre"
MISSING = "wavelets are not measured: the package PyWavelets is not installed; pip install pywavelets"
# decades below the largest coefficient that pictures of k-space show
DECADES = 4.0


def baselines(done: Reconstruction, truth: NDArray, span: tuple[float, float]) -> dict[str, dict[str, Any]]:
    """Zero-filled, total variation with and without the centre's phase, and wavelets where PyWavelets is installed.

    Each has the best weight of a ladder.
    """
    problem = done.problem
    first = zero_filled(problem.kspace, problem.values, problem.sampling)

    def score(picture: torch.Tensor) -> dict[str, Any]:
        return compare((picture.abs() * problem.unit).cpu().numpy()[..., None], truth, span)

    found = {"zero-filled": score(first) | {"how": "the adjoint, best scale"}}
    weights = done.chosen["weight"] * torch.tensor(ORACLE_RATIOS, device=first.device)
    for name, has_phase in (("TV", False), ("TV + phase of the centre", True)):
        scores = [score(picture) for picture in least_variation(problem, weights, has_phase=has_phase)]
        best = max(range(len(scores)), key=lambda place: scores[place]["psnr"])
        found[name] = scores[best] | {"how": f"weight {float(weights[best]):.4g}, by the truth"}
    if importlib.util.find_spec("pywt") is not None:
        thresholds = problem.noise * torch.tensor(THRESHOLDS)
        scores = [score(picture) for picture in sparse_in_wavelets(problem, thresholds)]
        best = max(range(len(scores)), key=lambda place: scores[place]["psnr"])
        how = f"threshold {THRESHOLDS[best]:g} times the noise, by the truth"
        found[WAVELETS] = scores[best] | {"how": how}
    return found


def pictures(done: Reconstruction, data: KspaceData, truth: NDArray | None, span: tuple[float, float]) -> list[Shown]:
    """Zero-filled, phase, k-space and what is left of it, the error where the truth is known."""
    problem = done.problem
    magnitude = np.abs(done.picture)[..., None]
    first = zero_filled(problem.kspace, problem.values, problem.sampling).abs().cpu().numpy() * problem.unit / span[1]
    found = [Shown("zero_filled", first, "zero-filled: what was not measured is 0", window=span)]
    top = float(np.quantile(done.deviation, 0.99)) or 1.0
    what = f"standard deviation of what the noise alone does; white is {top:.3g}"
    found.append(Shown("deviation", done.deviation[..., None] / top, what))
    found.append(Shown("phase", 0.5 + np.angle(done.picture) / (2 * np.pi), "phase; black to white is -pi to pi"))
    predicted = done.refined.kspace.product(torch.from_numpy(done.picture).to(problem.values.device) / problem.unit)
    rests = (problem.values - predicted) * (problem.sampling > 0)
    measured = _on_picture(problem.kspace.on_grid(problem.values), data)
    top = float(measured.max())
    decades = f"logarithmic, black to white {DECADES:g} decades"
    found.append(Shown("kspace", _decades(measured, top), f"k-space, root of the coils' squares; {decades}"))
    found.append(
        Shown(
            "residual",
            _decades(_on_picture(problem.kspace.on_grid(rests), data), top),
            f"what the result leaves of it; {decades}",
        )
    )
    if truth is not None:
        found.append(Shown("error", error_map(magnitude, truth, span), "error; a tenth of the peak is white"))
    return found


def _on_picture(values: torch.Tensor, data: KspaceData) -> NDArray:
    """Root sum of squares over the coils [h, w]; of a trajectory the largest sample in each cell."""
    size = values.abs().square().sum(0).sqrt().cpu().numpy()
    if data.trajectory is None:
        return size
    height, width = data.shape
    sides = zip(data.trajectory.T, (width, height), strict=True)
    cells = [np.clip(np.floor((at + 0.5) * n), 0, n - 1).astype(int) for at, n in sides]
    found = np.zeros(data.shape)
    np.maximum.at(found, (cells[1], cells[0]), size)
    return found


def _decades(size: NDArray, top: float) -> NDArray:
    return 1 + np.log10(np.maximum(size / top, 10**-DECADES)) / DECADES


def charts(done: Reconstruction) -> list[Chart]:
    """The curve that the weight was read from."""
    if not done.curve:
        return []
    weights, risks = zip(*done.curve, strict=True)
    series = [Series("expected error", np.log10(weights).tolist(), list(risks))]
    return [Chart("Choice of the weight", series, "log10 weight of the total variation", "risk above the least")]
