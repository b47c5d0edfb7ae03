"""What a user may say of a wave; free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from nerfkit.scenes.settings import check_positive, check_range
from nerfkit.workbench.settings import MAX_PARAMS, MIN_PARAMS, FitConfig

__all__ = ["WaveConfig"]


@dataclass(frozen=True)
class WaveConfig(FitConfig):
    """What a user may say of a wave; written to config.yml."""

    task: ClassVar[str] = "wave"

    # wave: u_tt = c^2 lap u from a pulse at rest; helmholtz: lap u + (omega / c)^2 u = -f, waves leave the domain
    equation: Literal["wave", "helmholtz"] = "wave"
    # longer side of the domain, in the unit of length of the speeds, above 0; x and y count from its upper left corner
    length: float = 1.0
    # dimensions of the domain where the speed is a number, 1 or 2
    dims: int = 2
    # speed of a picture's black and white, above 0; an array and a picture of floats hold speeds themselves
    black: float = 0.5
    white: float = 1.0
    # middle of the source, in the unit of length; None: 0.55 and 0.4 of the sides
    source_x: float | None = None
    source_y: float | None = None
    # the source is exp(-(r / width)^2), above 0; None: a twentieth of the length in one dimension, 0.075 in two
    width: float | None = None
    # wave: how long it runs, above 0; None: what the fastest wave needs for the length, three quarters of it in two
    # dimensions
    time: float | None = None
    # wave: u = 0 on the border (fixed), or no slope across it (free); helmholtz has an absorbing layer outside
    border: Literal["fixed", "free"] = "fixed"
    # helmholtz: radians a unit of time, above 0; None: 20 fastest speeds a length
    omega: float | None = None
    # weights that are fitted at most, in each window of time, 16 to 2**28; None: 800 in one dimension, 3000 in two
    n_params: int | None = None
    # cells of the finite differences along the length, a multiple of 8, 16 to 8192; None: by the width of the source
    cells: int | None = None
    # moments of the result, 2 to 2000
    frames: int = 61
    # wall seconds from the first step, a limit
    seconds: float = 150.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("length", "black", "white", "width", "time", "omega"):
            check_positive(name, getattr(self, name))
        if self.dims not in (1, 2):
            raise ValueError(f"dims must be 1 or 2; got {self.dims}")
        if self.n_params is not None:
            check_range("n_params", self.n_params, MIN_PARAMS, MAX_PARAMS)
        check_range("frames", self.frames, 2, 2000)
        if self.cells is not None:
            check_range("cells", self.cells, 16, 8192)
            if self.cells % 8:
                raise ValueError(f"cells must be a multiple of 8; got {self.cells}")
