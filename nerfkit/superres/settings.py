"""What decides a super-resolution, checked; free of torch, so that the command line can use it at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nerfkit.scenes.errors import NerfkitError

__all__ = ["MAX_SCALE", "Plan", "SuperresSettings", "plan_grids"]

# beyond it a low-res pixel has no more to say, whatever the number of frames
MAX_SCALE = 16.0
# pixels of the output: about 50 bytes for each and channel, the networks' weights included
MAX_OUTPUT = 2**26
# cells of the largest grid that is solved at once, about 64 bytes each; larger frames are solved part by part
MAX_CELLS = 2**22
# cells of the whole image that networks are fitted to, where its output has fewer pixels
MAX_FIT_CELLS = 2**24
# side of the window that registration and choice look at in large frames, low-res pixels
WINDOW = 128
# cells of a low-res pixel's side at which candidates are compared: where a box PSF is exact to a third of 1 % noise
TRIAL_CELLS = 8
# side of a network's square and distance of two, in cells of a 4x output
TILE, STRIDE = 26.0, 22.0


@dataclass(frozen=True)
class SuperresSettings:
    """Everything that decides a result besides the frames; written to config.yml."""

    # what this run folder holds, for commands that read several kinds
    kind: str = "superres"
    # output pixels along the side of a low-res pixel
    scale: float = 4.0
    # width and height of the output in pixels
    output_size: tuple[int, int] = (0, 0)
    # width and height of a frame in low-res pixels
    frame_size: tuple[int, int] = (0, 0)
    # 1 for grey, 3 for RGB; 2 and 4 with alpha
    n_channels: int = 1
    # bits of a value of the frames and of the output; 32 is float
    bit_depth: int = 8
    # curve of the colours in files, which is undone before they are averaged: srgb or linear
    transfer: str = "linear"
    # footprint of a low-res pixel: box, gaussian or file (its samples are in psf.npy)
    psf: str = "box"
    # side of the box, sigma of the Gaussian or side of the samples together, in low-res pixels; given, estimated, or
    # neither: the usual one unless the frames contradict it
    psf_width: float = 1.0
    is_width_given: bool = False
    is_width_estimated: bool = False
    # what moves between frames: shift, affine or homography; auto: shift unless the frames contradict it
    register: str = "auto"
    # whether given shifts are taken as they are
    exact_shifts: bool = False
    # what holds the image: tiled or single
    network: str = "tiled"
    # width, hidden layers and omega_0 of the networks
    width: int = 32
    n_layers: int = 2
    omega: float = 15.0
    # wall seconds from the end of reading
    seconds: float = 60.0
    # seed of every random draw
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """Cells along the side of a low-res pixel, for each part of the work."""

    # where candidates are compared
    trial: int
    # where candidates of two values are compared; as fine as the image is solved, or finer
    contrast: int
    # where the image is solved at the end
    final: int
    # where the networks are fitted to it
    fit: int
    # pixels of the output along a low-res pixel, a whole number of them
    output: int
    # side of a network's square and distance of two, in low-res pixels
    tile: float
    stride: float
    # longest side that is solved at once, in low-res pixels
    side: int


def plan_grids(scale: float, frame_size: tuple[int, int]) -> Plan:
    """Grids for a scale.

    Examples
    --------
    >>> plan_grids(4, (84, 84))
    Plan(trial=8, contrast=16, final=8, fit=8, output=4, tile=6.5, stride=5.5, side=128)
    >>> plan_grids(8, (84, 84)).final, plan_grids(2, (84, 84)).final, plan_grids(3, (84, 84)).final
    (16, 8, 9)

    Raises
    ------
    NerfkitError
        The output would not fit in memory.
    """
    whole = math.ceil(scale - 1e-9)
    # at least as fine as the comparison, a whole number of cells an output pixel; up to 8x twice the output's pixels
    final = whole * max(math.ceil(TRIAL_CELLS / whole), 2 if whole <= 8 else 1)
    area = frame_size[0] * frame_size[1]
    if area * whole**2 > MAX_OUTPUT:
        largest = max(1, math.isqrt(MAX_OUTPUT // area))
        raise NerfkitError(
            f"an output of {frame_size[0] * whole} x {frame_size[1] * whole} pixels is more than the "
            f"{MAX_OUTPUT / 1e6:.0f} megapixels that memory is planned for",
            where="--scale", fix=f"give --scale {largest} or less, or crop the frames",
        )  # fmt: skip
    fit = final if final <= TRIAL_CELLS + 1 else whole
    unit = max(whole, 4)
    trial = final if fit == final else min(TRIAL_CELLS, final)
    contrast = max(2 * trial, final)
    if min(frame_size[0], WINDOW) * min(frame_size[1], WINDOW) * contrast**2 > MAX_CELLS:
        contrast = final
    if area * fit**2 > MAX_FIT_CELLS:
        fit = whole
    side = math.isqrt(MAX_CELLS) // max(contrast, final)
    return Plan(trial, contrast, final, fit, whole, TILE / unit, STRIDE / unit, side)
