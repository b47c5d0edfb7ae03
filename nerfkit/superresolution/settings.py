"""What decides a super-resolution, checked; free of torch, so that the command line can use it at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.settings import Settings, check_positive, check_range

__all__ = [
    "DEFAULT_WIDTH", "MAX_FILE_WIDTH", "MAX_SCALE", "MOST_FRAMES", "PSF_NAMES", "Plan", "SuperresConfig",
    "SuperresSettings", "plan_grids",
]  # fmt: skip

# beyond it a low-res pixel has no more to say, whatever the number of frames
MAX_SCALE = 16.0
# least side of a part of the frames, low-res pixels: on fewer there is nothing to register
MIN_CROP = 8
# frames that are used of a long sequence: all are held in memory, and noise falls with the root of their number
MOST_FRAMES = 128
# shortest budget that goes through all stages
MIN_SECONDS = 1.0
# point spread functions with a name; the usual width, and the widest, also of a file, in low-res pixels
PSF_NAMES, DEFAULT_WIDTH, MAX_PSF_WIDTH, MAX_FILE_WIDTH = ("box", "gaussian"), 1.0, 8.0, 16.0
# largest amount of an unsharp mask
MOST_SHARPENED = 8.0
# pixels of the output: about 50 bytes for each and channel, the networks' weights included
MAX_OUTPUT = 2**26
# cells of the largest grid that is solved at once, about 64 bytes each; larger frames are solved part by part
MAX_CELLS = 2**22
# side of the window that registration and choice look at in large frames, low-res pixels
WINDOW = 128
# cells of a low-res pixel's side at which candidates are compared: where a box PSF is exact to a third of 1 % noise
TRIAL_CELLS = 8
# side of a network's square and distance of two, in cells of a 4x output
TILE, STRIDE = 26.0, 22.0


@dataclass(frozen=True)
class SuperresConfig(Settings):
    """What a user may say of a super-resolution; written to config.yml."""

    task: ClassVar[str] = "superres"

    # output pixels along the side of a low-res pixel, above 1 and at most 16; None: 4, or what output_size implies
    scale: float | None = None
    # width and height of the output in pixels, instead of a scale
    output_size: tuple[int, int] | None = None
    # x, y, width and height of the part of the frames that is used, in low-res pixels; None: all of it
    crop: tuple[int, int, int, int] | None = None
    # number of frames, 1 or more, up to which all are used; of more, the sharpest of each of so many equal stretches
    most_frames: int = MOST_FRAMES
    # point spread function: box, gaussian, or the file of a picture of a point of light
    psf: str = "box"
    # side of the box, sigma of the Gaussian, or side of the whole file, in low-res pixels; auto: by the frames.
    # None: the usual one unless the frames contradict it; of a file such that a sample is a pixel of the output
    psf_width: float | Literal["auto"] | None = None
    # motion model: what moves between frames; auto: shift unless the frames contradict it
    register: Literal["auto", "shift", "similarity", "affine", "homography"] = "auto"
    # whether given shifts are taken as they are
    exact_shifts: bool = False
    # curve of the frames' values, undone before they are averaged; auto: the one that the files name, else srgb for
    # colour of 8 or 16 bits and linear for the rest
    transfer: Literal["auto", "srgb", "linear", "bt709", "gamma22", "gamma28"] = "auto"
    # amount of the unsharp mask by which a camera sharpened the frames, 0 to 8, which is undone; auto: where the frames
    # surely tell it
    sharpened: float | Literal["auto"] = "auto"
    # what holds the image: many small networks, or a single one
    network: Literal["tiled", "single"] = "tiled"
    # width, 1 to 1024, hidden layers, 1 to 16, and omega_0 of the networks
    width: int = 32
    n_layers: int = 2
    omega: float = 15.0
    # wall seconds from the end of reading, registration included; at least 1, in which all stages are gone through
    seconds: float = 60.0
    # seed of every random draw
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale is not None and not 1 < self.scale <= MAX_SCALE:
            raise ValueError(f"scale must be above 1 and at most {MAX_SCALE:g}; got {self.scale:g}")
        if self.output_size is not None:
            check_positive("output_size", min(self.output_size))
        check_positive("most_frames", self.most_frames)
        if self.crop is not None:
            self._check_crop(*self.crop)
        most = MAX_PSF_WIDTH if self.psf in PSF_NAMES else MAX_FILE_WIDTH
        if isinstance(self.psf_width, float) and not 0 < self.psf_width <= most:
            raise ValueError(
                f"psf_width must be above 0 and at most {most:g} low-res pixels, or auto; got {self.psf_width:g}"
            )
        if self.psf_width == "auto" and self.psf not in PSF_NAMES:
            raise ValueError("psf_width=auto finds the width of a box or a Gaussian, not of a file; got auto")
        if isinstance(self.sharpened, float):
            check_range("sharpened", self.sharpened, 0, MOST_SHARPENED)
        check_range("width", self.width, 1, 1024)
        check_range("n_layers", self.n_layers, 1, 16)
        check_positive("omega", self.omega)
        if self.seconds < MIN_SECONDS:
            raise ValueError(f"seconds must be {MIN_SECONDS:g} or more; got {self.seconds:g}")

    def _check_crop(self, x: int, y: int, width: int, height: int) -> None:
        if min(x, y) < 0 or min(width, height) < MIN_CROP:
            raise ValueError(
                f"crop must be X,Y,W,H from X and Y of 0 on, at least {MIN_CROP} low-res pixels wide and high; got "
                f"{x},{y},{width},{height}"
            )

    def below(self, folder: Path) -> Self:
        """The settings with the path of a PSF's file that started at ``folder``."""
        return self if self.psf in PSF_NAMES else replace(self, psf=str(folder / self.psf))


@dataclass(frozen=True)
class SuperresSettings(SuperresConfig):
    """The user's settings and what follows from the frames: all that decides a result besides their values."""

    scale: float = 4.0
    output_size: tuple[int, int] = (1, 1)
    transfer: Literal["srgb", "linear", "bt709", "gamma22", "gamma28"] = "linear"
    # whether neither the user nor the files name the curve of colours
    is_curve_assumed: bool = False
    # width and height of a frame in low-res pixels
    frame_size: tuple[int, int] = (1, 1)
    # 1 for grey, 3 for RGB; 2 and 4 with alpha
    n_channels: int = 1
    # bits of a value of the frames and of the output; 32 is float
    bit_depth: int = 8
    # file values between which the frames' colours lie; all that is measured of values is a fraction of it
    value_range: tuple[float, float] = (0.0, 1.0)
    # file value of a saturated pixel
    white: float = 1.0

    @classmethod
    def for_frames(
        cls, config: SuperresConfig, *, size: tuple[int, int], n_channels: int, bit_depth: int,
        value_range: tuple[float, float] = (0.0, 1.0), white: float = 1.0,
    ) -> SuperresSettings:  # fmt: skip
        """The settings for frames of a size (width, height), a number of channels, a depth and a range of values.

        Raises
        ------
        NerfkitError
            The output's sides are not those of the frames, or it would not fit in memory.

        Examples
        --------
        >>> settings = SuperresSettings.for_frames(
        ...     SuperresConfig(output_size=(334, 334)), size=(84, 84), n_channels=3, bit_depth=8
        ... )
        >>> round(settings.scale, 2), settings.transfer
        (3.98, 'srgb')
        """
        if config.scale is not None and config.output_size is not None:
            raise NerfkitError(
                "scale and output_size are both set; one follows from the other", where="nerfkit superres",
                fix="set one of them to null",
            )  # fmt: skip
        width, height = size
        scale = 4.0 if config.scale is None else config.scale
        output = round(scale * width), round(scale * height)
        if config.output_size is not None:
            output, scale = config.output_size, config.output_size[0] / width
            is_alike = abs(output[1] - scale * height) <= max(1.0, scale / 2)
            if not is_alike or not 1 < scale <= MAX_SCALE:
                raise NerfkitError(
                    f"{output[0]}x{output[1]} is not the {width}x{height} pixels of the frames enlarged 1 to "
                    f"{MAX_SCALE:g} times with equal sides", where="--output-size",
                    fix=f"for example {4 * width}x{4 * height}",
                )  # fmt: skip
        plan_grids(scale, size)
        usual = "srgb" if n_channels > 2 and bit_depth < 32 else "linear"
        own = {field.name: getattr(config, field.name) for field in fields(SuperresConfig)}
        derived = {
            "scale": scale, "output_size": output,
            "transfer": usual if config.transfer == "auto" else config.transfer,
            "is_curve_assumed": config.transfer == "auto" and usual != "linear",
        }  # fmt: skip
        return cls(
            **own | derived, frame_size=size, n_channels=n_channels, bit_depth=bit_depth, value_range=value_range,
            white=white,
        )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Cells along the side of a low-res pixel, for each part of the work."""

    # where candidates are compared
    trial: int
    # where candidates of two values are compared; as fine as the image is solved, or finer
    contrast: int
    # where the image is solved at the end
    final: int
    # pixels of the output along a low-res pixel, a whole number of them: what the networks are fitted to. On the finer
    # cells of the solution the same steps end 2 to 7 dB further from its pixels
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
    Plan(trial=8, contrast=16, final=8, output=4, tile=6.5, stride=5.5, side=128)
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
            where="--scale", fix=f"give --scale {largest} or less, or a part of the frames: --crop X,Y,W,H",
        )  # fmt: skip
    unit = max(whole, 4)
    trial = final if final <= TRIAL_CELLS + 1 else TRIAL_CELLS
    contrast = whole * math.ceil(max(2 * trial, final) / whole)
    if min(frame_size[0], WINDOW) * min(frame_size[1], WINDOW) * contrast**2 > MAX_CELLS:
        contrast = final
    side = math.isqrt(MAX_CELLS) // max(contrast, final)
    return Plan(trial, contrast, final, whole, TILE / unit, STRIDE / unit, side)
