"""A shape in a run folder: its field, what its values mean, and the frame that it is in; and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.runs import Run
from nerfkit.scenes.fields.named import make_named_field
from nerfkit.scenes.surfaces import Mesh
from nerfkit.workbench.held_fields import held_state
from nerfkit.workbench.shapes.frame import BOX, Frame
from nerfkit.workbench.shapes.marching import level_set
from nerfkit.workbench.shapes.samples import TRUNCATION, truncated, untruncated

__all__ = ["KINDS", "HeldShape", "load_held_shape", "make_held_shape"]

# what a field's values are: a truncated distance, the same over the truncation, a distance, the logit of being outside
KINDS = ("truncated", "relative", "distance", "logit")
# points evaluated at once, which bounds the memory
CHUNK = 2**16


@dataclass
class HeldShape:
    """A field of space and what it means.

    Parameters
    ----------
    field : CoordinateField
        One value at points of the frame, negative within.
    recipe : dict
        Plain values: ``name``, ``n_params``, ``knob``, ``options``, ``kind``, ``frame``, ``truncation``.
    """

    field: nn.Module
    recipe: dict[str, Any]

    @property
    def frame(self) -> Frame:
        """Where the shape is."""
        return Frame.of_recipe(self.recipe["frame"])

    def values(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """The field's values [n] at ``points`` [n, 3] of the frame."""
        device = next(self.field.parameters()).device
        parts = torch.from_numpy(np.ascontiguousarray(points, np.float32)).split(CHUNK)
        with torch.no_grad():
            return torch.cat([self.field(part.to(device))[:, 0].cpu() for part in parts]).numpy()

    def distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Signed distances [n] at ``points`` [n, 3], both in the file's unit.

        A truncated field knows them up to 0.13 of the frame, 7 % of the longest side; of a field of occupancies only
        the sign is meant.
        """
        frame = self.frame
        values = self.values(frame.inward(points).astype(np.float32))
        return frame.scale * self.untruncated(values.astype(np.float64))

    def untruncated(self, values: NDArray) -> NDArray:
        """Distances, frame units, of the field's values; of a field of occupancies the values."""
        truncation = self.recipe["truncation"]
        unit = {"truncated": 1.0, "relative": truncation}.get(self.recipe["kind"])
        return values if unit is None else untruncated(unit * values, truncation)

    def mesh(self, n_cells: int) -> Mesh:
        """Where the field is 0, in the frame, with ``n_cells`` along the longest side of the input."""
        truncation = self.recipe["truncation"]
        bounds = {
            "truncated": lambda d: float(truncated(np.array(d), truncation)),
            "relative": lambda d: float(truncated(np.array(d), truncation)) / truncation, "distance": lambda d: d,
        }  # fmt: skip
        bound = bounds.get(self.recipe["kind"], lambda d: 0.0)
        return level_set(self.values, self.frame.sides, n_cells, bound=bound)

    def save(self, run: Run) -> None:
        """Keep it in the run folder."""
        CheckpointFolder(run.folder / "field").save(1, {"recipe": self.recipe, "field": self.field.state_dict()})


def make_held_shape(
    name: str, kind: str, frame: Frame, n_params: int, *, seed: int, knob: float | None = None, device: str = "cpu",
    options: dict[str, Any] | None = None, truncation: float = TRUNCATION,
) -> HeldShape:  # fmt: skip
    """A field of that name, one of ``FIELD_NAMES``, at its start; see ``KINDS`` for what its values are."""
    assert kind in KINDS
    recipe = {
        "name": name, "kind": kind, "n_params": n_params, "knob": knob, "options": options or {},
        "frame": frame.recipe(), "truncation": truncation,
    }  # fmt: skip
    return HeldShape(_field_of(recipe, seed).to(device), recipe)


def load_held_shape(run: Run, device: str) -> HeldShape:
    """What :meth:`HeldShape.save` kept.

    Raises
    ------
    NerfkitError
        The run has no result yet, or is damaged.
    """
    with held_state(run) as state:
        recipe = state["recipe"]
        field = _field_of(recipe, 0)
        field.load_state_dict(state["field"])
        found = HeldShape(field.to(device), recipe)
        assert found.frame.scale > 0
    return found


def _field_of(recipe: dict[str, Any], seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    return make_named_field(
        recipe["name"], [(-BOX, BOX)] * 3, 1, recipe["n_params"], generator, knob=recipe["knob"], **recipe["options"]
    )
