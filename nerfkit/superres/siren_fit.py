"""Fitting a sine network to an image on a grid: the task that :func:`nerfkit.fitting.fit` works on."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nerfkit.scenes.fields.image_field import Lattice
from nerfkit.scenes.fields.siren import Siren
from nerfkit.scenes.fields.tiled_siren import TiledSiren

__all__ = ["SirenFit", "cell_centres"]

# points of the grid that a step compares: fewer make each step's gradient noisier, more make the steps too few
POINTS_A_STEP = 2**17
# steps between two places of the sub-lattice that is compared; prime, so that all get their turn
PHASE_STRIDE = 31


def cell_centres(n_cells: int, cells: float) -> Tensor:
    """Centres [n_cells] of grid cells along an axis in low-res pixels, float64."""
    return (torch.arange(n_cells, dtype=torch.float64) + 0.5) / cells


class SirenFit:
    """Compares a network with every n-th cell of a grid in turn.

    Parameters
    ----------
    field : Siren or TiledSiren
        What is fitted.
    target : Tensor, shape (n_channels, n_rows, n_cols)
        The image on the cells of the reference frame.
    learning_rate : float
        Adam's peak rate.
    axes : (Tensor, Tensor), optional
        Heights [n_rows] and positions along a row [n_cols] of the cells in the field; unless given they cover it.
    """

    def __init__(
        self, field: Siren | TiledSiren, target: Tensor, learning_rate: float,
        axes: tuple[Tensor, Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.field, self.target, self.learning_rate = field, target, learning_rate
        n_rows, n_cols = target.shape[1:]
        width, height = field.size
        self.axes = axes or (cell_centres(n_rows, n_rows / height), cell_centres(n_cols, n_cols / width))
        self.sub = max(1, math.ceil(math.sqrt(target[0].numel() / POINTS_A_STEP)))
        self._lattices: dict[int, Lattice] = {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All weights at one rate."""
        return [{"params": list(self.field.parameters()), "lr": self.learning_rate}]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error over the sub-lattice whose turn it is."""
        phase = step * PHASE_STRIDE % self.sub**2
        top, left = divmod(phase, self.sub)
        if phase not in self._lattices:
            ys, xs = self.axes
            self._lattices[phase] = self.field.lattice(ys[top :: self.sub], xs[left :: self.sub])
        truth = self.target[:, top :: self.sub, left :: self.sub]
        return (self.field.evaluate_lattice(self._lattices[phase]) - truth).square().mean(), {}

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    def validate(self) -> dict[str, float]:
        """How well the network holds the image, PSNR in dB over one sub-lattice."""
        with torch.no_grad():
            mse = float(self.loss(0)[0])
        return {"fit_psnr": -10 * math.log10(max(mse, 1e-12))}

    def state_dict(self) -> dict[str, Any]:
        """The weights and the range."""
        return {"field": self.field.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.field.load_state_dict(state["field"])
