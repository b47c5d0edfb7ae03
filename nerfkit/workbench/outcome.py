"""What a task of `nerfkit fit` has to show at its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from nerfkit.report.blocks import Chart, Table

if TYPE_CHECKING:
    from nerfkit.workbench.held_fields import HeldField
    from nerfkit.workbench.shapes.held_shape import HeldShape
    from nerfkit.workbench.volumes.held_volume import HeldVolume

__all__ = ["Outcome", "Shown"]


class Shown(NamedTuple):
    """A picture for the report."""

    # of its file in RUN/pictures
    name: str
    # [h, w] or [h, w, c], in [0, 1]; what lies outside is cut
    pixels: NDArray
    caption: str
    # width of the picture in millimetres, whose pixels are squares; None: not known
    mm_wide: float | None = None
    # values that are black and white, in the result's unit; None: they are not told
    window: tuple[float, float] | None = None


@dataclass
class Outcome:
    """What a task made.

    Parameters
    ----------
    image : ndarray, shape (h, w, c)
        The picture that is written, or that shows what is.
    measure : callable
        From the picture as its file has it [h, w, c], or what ``write`` gave, to figures: what is printed is measured
        on what was written.
    field : str
        Name of what holds the result.
    n_params : int
        Its parameters.
    held : HeldField, HeldVolume or HeldShape, optional
        What ``nerfkit render`` samples; None: the picture itself, by cubics.
    bit_depth, icc_profile
        Of the picture's file.
    span : (float, float)
        Values that become black and white where floats are shown.
    write : callable, optional
        From the output's path to what the file has, written and read again; None: the image, as a picture.
    files : dict of str to bytes
        What else the run folder gets, by name.
    metrics, baselines, chosen : dict
        As ``--json`` prints them.
    mm_wide, window
        Of the picture that shows the result, as :class:`Shown` has them.
    shown, charts, tables, said, video
        For the report: pictures, curves, tables, sentences, and a video's name in the run folder.
    """

    image: NDArray
    measure: Callable[[Any], dict[str, Any]]
    field: str
    n_params: int
    held: HeldField | HeldVolume | HeldShape | None = None
    bit_depth: int = 8
    icc_profile: bytes | None = None
    span: tuple[float, float] = (0.0, 1.0)
    write: Callable[[Path], Any] | None = None
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    baselines: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    chosen: dict[str, Any] = dataclasses.field(default_factory=dict)
    mm_wide: float | None = None
    window: tuple[float, float] | None = None
    shown: list[Shown] = dataclasses.field(default_factory=list)
    charts: list[Chart] = dataclasses.field(default_factory=list)
    tables: list[Table] = dataclasses.field(default_factory=list)
    said: list[str] = dataclasses.field(default_factory=list)
    video: Path | None = None
