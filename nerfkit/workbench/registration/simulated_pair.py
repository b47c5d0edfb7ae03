"""A picture or volume, and the one that a known warp makes of it, as measurements of a registration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nerfkit.scenes.readers.picture import PictureFile
from nerfkit.scenes.volumes import Volume
from nerfkit.workbench.task import Simulated

from .images import Pair, Spatial
from .inputs import Displacement, RegisterData, read_image_alone
from .simulation import known_warp, simulate_fixed

__all__ = ["simulate_pair"]


def simulate_pair(path: Path, warp: float, kind: str, seed: int) -> Simulated:
    """What is made of the image at ``path``, in grey, by a warp of at most ``warp`` pixels."""
    image, spatial = read_image_alone(path)
    low, high = image.range
    span = high - low
    moves = known_warp(spatial.values.shape, warp, kind, seed)
    fixed, moving = simulate_fixed((spatial.values - low) / span, moves, kind, seed)
    # values that another instrument would give are of its own unit already
    fixed, moving = (values * span + low if kind in ("plain", "large") else values for values in (fixed, moving))
    truth = moves.astype(np.float32)
    arrays = {"fixed": fixed, "moving": moving}
    if isinstance(image, Volume):
        arrays["affine"] = image.affine
        pictures = [Volume(values, image.affine) for values in (fixed, moving)]
    else:
        arrays["bit_depth"] = np.array(32)
        pictures = [PictureFile(values[..., None], 32) for values in (fixed, moving)]
    pair = Pair(Spatial(fixed, spatial.affine), Spatial(moving, spatial.affine))
    said = image.said if isinstance(image, Volume) else ()
    data = RegisterData(pictures[0], pictures[1], pair, said=said)
    return Simulated(data, Displacement(truth), arrays, {"displacement": truth})
