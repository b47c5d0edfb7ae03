"""A field is to have the values of a picture at its pixels: regression, the simplest problem of all."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nerfkit.problem import Problem, Term
from nerfkit.scenes.fields.image_field import render_lattice
from nerfkit.scenes.measurements.epochs import Epochs
from nerfkit.scenes.measurements.lattice_values import LatticeMeasurements, cell_centres
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.measurements.whole import Whole
from nerfkit.scenes.observations.pixel_boxes import LatticePixelBoxes, PixelBoxes, gauss_positions
from nerfkit.scenes.observations.points import LatticeValues, PointValues

__all__ = [
    "decibels",
    "held_out_figures",
    "known_error",
    "pixel_centres",
    "pixel_problem",
    "pixel_terms",
    "sample_picture",
]

# points that are evaluated at once where nothing is trained
CHUNK_POINTS = 2**16


def pixel_centres(height: int, width: int) -> Tensor:
    """Centres [height * width, 2] (x, y) of pixels that cover [0, width] x [0, height], row by row."""
    ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([xs, ys], -1).view(-1, 2)


def known_error(predicted: Tensor, values: Tensor) -> Tensor:
    """Squared differences, 0 where ``values`` are NaN (unknown), scaled so that their mean is over the known ones."""
    is_known = ~values.isnan()
    errors = torch.where(is_known, predicted - values.nan_to_num(), 0.0).square()
    return errors * (values.numel() / is_known.sum().clamp(min=1))


def pixel_terms(field: Any, values: Tensor, known: Tensor, n: int, *, pixel: str = "point") -> list[Term]:
    """The term of the pixels that are known: a lattice of them, or a list, whichever the field evaluates faster.

    Parameters
    ----------
    field : Field
        Of the plane, in pixels.
    values : Tensor, shape (h, w, c)
        The picture.
    known : Tensor of bool, shape (h, w)
        Which pixels count.
    n : int
        Pixels a step.
    pixel : {"point", "box"}
        What a pixel's value is: that at its centre, or the mean over its square.
    """
    height, width, _ = values.shape
    if getattr(field, "has_lattice", False):
        masked = torch.where(known[..., None], values, math.nan).permute(2, 0, 1).contiguous()
        if pixel == "box":
            where = field.lattice(gauss_positions(height), gauss_positions(width))
            return [Term(LatticePixelBoxes(), Whole(Measurements(where, masked)), known_error)]
        axes = cell_centres(height, height), cell_centres(width, width)
        return [Term(LatticeValues(), LatticeMeasurements(masked, axes, field.lattice), known_error, n=n)]
    pixels = Measurements(pixel_centres(height, width).to(values.device), values.reshape(height * width, -1))
    observation = PixelBoxes() if pixel == "box" else PointValues()
    return [Term(observation, Epochs(pixels.take(known.reshape(-1).nonzero()[:, 0])), n=n)]


def pixel_problem(
    field: Any, values: Tensor, known: Tensor, *, learning_rate: float, n: int, seed: int, pixel: str = "point",
    extra: list[Term] | None = None,
) -> Problem:  # fmt: skip
    """The problem of :func:`pixel_terms`, with what else is asked of the field."""
    terms = pixel_terms(field, values, known, n, pixel=pixel) + (extra or [])
    return Problem(field, terms, learning_rate=learning_rate, seed=seed)


@torch.no_grad()
def sample_picture(
    field: Any, size: tuple[int, int], extent: tuple[float, float], crop: tuple[int, int, int, int] | None = None,
    origin: tuple[float, float] = (0.0, 0.0),
) -> Tensor:  # fmt: skip
    """Values [h, w, c] of a field at the pixels of a picture of any size, on the CPU.

    Parameters
    ----------
    field : Field
        Of the plane.
    size : (int, int)
        Width and height of the whole picture in pixels.
    extent : (float, float)
        Width and height of what it shows, in the field's unit.
    crop : (x, y, width, height), optional
        Part of it, in its pixels.
    origin : (float, float)
        Where its upper left corner is, in the field's unit.
    """
    x, y, width, height = crop or (0, 0, *size)
    xs = cell_centres(size[0], extent[0])[x : x + width] + origin[0]
    ys = cell_centres(size[1], extent[1])[y : y + height] + origin[1]
    if getattr(field, "has_lattice", False):
        return render_lattice(field, ys, xs).permute(1, 2, 0)
    device = next(field.parameters()).device
    rows = max(1, CHUNK_POINTS // width)
    parts = []
    for part in ys.split(rows):
        at = torch.stack(torch.meshgrid(xs, part, indexing="xy"), -1)
        # float32 where networks compute: a box of double coordinates would make them slow
        parts.append(field(at.view(-1, 2).float().to(device)).cpu().view(len(part), width, -1))
    return torch.cat(parts)


def decibels(mse: float, span: float = 1.0) -> float:
    """PSNR of a mean squared error for values over ``span``; capped at 200 dB, as infinity is no number for JSON."""
    return min(200.0, -10 * math.log10(max(mse / span**2, 1e-20)))


def held_out_figures(errors: Tensor, span: float) -> dict[str, float]:
    """Figures of ``errors`` of values that were held out: their rms in the data's unit, and a PSNR over ``span``."""
    mse = float(errors.double().square().mean())
    return {"holdout": float(f"{math.sqrt(mse):.6g}"), "holdout_psnr": round(decibels(mse, span), 3)}
