"""What a way of filling holes gives back, and the curves of what it chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.report.blocks import Chart, Series
from nerfkit.workbench.regression import decibels

if TYPE_CHECKING:
    from nerfkit.heldout import Trial

__all__ = ["REACH", "Filled", "choice_charts", "tried_rows", "unit_range"]

# steps that a search along a line goes at most: of the grid's numbers as far as that the membrane and the thin plate
# are as good as reached
REACH = 4


@dataclass
class Filled:
    """A picture whose holes are filled, and how it came about."""

    # [h, w, c], in the unit of the input
    image: NDArray
    n_params: int
    # mean squared error of pixels that were held out of a solve of their own, range 1
    held_out_mse: float
    chosen: dict[str, Any]
    charts: list[Any]
    # what is sampled at any size; None: the pixels
    held: Any = None


def tried_rows(trials: Sequence[tuple[float, Trial]]) -> list[list[float]]:
    """Value and held-out PSNR of each."""
    return sorted([float(f"{value:.6g}"), round(decibels(trial.mse), 3)] for value, trial in trials)


def choice_charts(tried: Mapping[str, list[list[float]]]) -> list[Any]:
    """A chart a choice: held-out PSNR over what was tried."""
    return [
        Chart(f"Choice of {what}", [Series("held out", [v for v, _ in rows], [p for _, p in rows])], what, "dB")
        for what, rows in tried.items()
    ]


def unit_range(values: NDArray, span: tuple[float, float]) -> NDArray[np.float64]:
    """Values over ``span`` as values over 0 to 1."""
    return (values.astype(np.float64) - span[0]) / (span[1] - span[0])
