"""Filtered back projection under a cone (Feldkamp, Davis and Kress 1984, doi 10.1364/JOSAA.1.000612)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from nerfkit.workbench.tomography.back_projection import ramp_filtered
from nerfkit.workbench.tomography.cone_scan import ConeScan

__all__ = ["feldkamp"]


def feldkamp(scan: ConeScan, window: str = "hann") -> Tensor:
    """The volume [d, h, w] of a whole turn; exact in the source's plane, too dark far above and below it."""
    geometry, fan = scan.geometry, scan.geometry.fan
    source, scale = fan.source_distance, fan.magnification
    depth, side, _ = scan.shape
    # where pixels of the detector are seen at the axis
    along = (torch.arange(fan.n_bins) - fan.center) * fan.bin_spacing / scale
    up = (geometry.center_row - torch.arange(geometry.n_rows)) * geometry.row_spacing / scale
    slant = source / (source**2 + along.square() + up[:, None].square()).sqrt()
    views = ramp_filtered(scan.sinogram.cpu() * slant, fan.bin_spacing / scale, scan.pixel, window)
    x = (torch.arange(side) - (side - 1) / 2) * scan.pixel
    y, z = x[:, None], (torch.arange(depth) - (depth - 1) / 2) * scan.height
    volume = torch.zeros(side * side, depth)
    for view, angle in zip(views, fan.radians, strict=True):
        cos, sin = math.cos(angle), math.sin(angle)
        nearness = (source / (source + x * sin - y * cos)).reshape(-1, 1)
        bins = (x * cos + y * sin).reshape(-1, 1) * nearness * scale / fan.bin_spacing + fan.center
        rows = geometry.center_row - z * nearness * scale / geometry.row_spacing
        # as grid_sample counts: -1 and 1 are the middles of the first and of the last
        at = [2 * bins.expand_as(rows) / (fan.n_bins - 1) - 1, 2 * rows / (geometry.n_rows - 1) - 1]
        seen = grid_sample(view[None, None], torch.stack(at, -1)[None], align_corners=True)[0, 0]
        volume += seen * nearness.square()
    return (volume * math.pi / len(fan.angles)).view(side, side, depth).permute(2, 0, 1).contiguous()
