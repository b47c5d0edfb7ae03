"""A volume in a run folder: its voxels and their place, and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.runs import Run
from nerfkit.scenes.volumes import Volume
from nerfkit.workbench.held_fields import held_state

__all__ = ["HeldVolume", "load_held_volume"]


@dataclass
class HeldVolume:
    """What `nerfkit render` samples of a volume, as :class:`nerfkit.workbench.held_fields.HeldField` is of a picture.

    Parameters
    ----------
    volume : Volume
        On the grid that it was reconstructed on.
    recipe : dict
        Plain values for the reader of the run.
    """

    volume: Volume
    recipe: dict[str, Any] = field(default_factory=lambda: {"name": "volume"})

    def save(self, run: Run) -> None:
        """Keep it in the run folder."""
        values = torch.from_numpy(np.ascontiguousarray(self.volume.values))
        recipe = self.recipe | {"affine": self.volume.affine.tolist()}
        CheckpointFolder(run.folder / "field").save(1, {"recipe": recipe, "values": values})


def load_held_volume(run: Run) -> HeldVolume:
    """What :meth:`HeldVolume.save` kept.

    Raises
    ------
    NerfkitError
        The run has no result yet, or is damaged.
    """
    with held_state(run) as state:
        recipe = state["recipe"]
        volume = Volume(state["values"].numpy(), np.array(recipe["affine"], np.float64))
        if volume.values.ndim != 3 or volume.affine.shape != (4, 4):
            raise ValueError(f"values of shape {volume.values.shape}, an affine of {volume.affine.shape}")
    return HeldVolume(volume, recipe)
