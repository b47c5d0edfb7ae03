"""What every task's result can do: write what `nerfkit render` writes, report, and show itself in a notebook."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nerfkit.runs import Run

__all__ = ["Result", "check_crop"]

# longest side of the picture in a notebook: it is kept in the notebook's file
SHOWN_SIDE = 400


class Result:
    """What a run holds.

    Parameters
    ----------
    run : Run
        Its folder.
    device : {"cpu", "cuda"}
        Where to compute.
    figures : dict, optional
        What was measured when it was made, as ``--json`` prints it; None: read from the folder.
    is_interrupted : bool
        Whether it was stopped before its end.
    """

    # options of `nerfkit render` that write() takes, and a command that shows them
    options: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[str] = ""
    # whether --size is a number of cells, not of pixels
    counts_cells: ClassVar[bool] = False
    # whether processes that torchrun starts write it together
    is_shared: ClassVar[bool] = False

    def __init__(
        self, run: Run, device: str, figures: dict[str, Any] | None = None, *, is_interrupted: bool = False
    ) -> None:
        self.run, self.device, self.is_interrupted = run, device, is_interrupted
        self.figures = run.read_figures() if figures is None else figures

    def write(
        self, out: str | Path | None = None, *, on_part: Callable[[int, int], None] = lambda done, total: None,
        **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Write what ``nerfkit render`` writes of this result; see the task's own method for the options."""
        raise NotImplementedError

    def check_options(self, names: list[str]) -> None:
        """Raise NerfkitError when some of the options of ``nerfkit render`` are for results of another task."""
        wrong = [f"--{name}" for name in names if name not in self.options]
        if wrong:
            raise NerfkitError(
                f"{', '.join(wrong)} cannot be used here: this run holds {self.run.task.holds}", where=self.run.folder,
                fix=self.example,
            )  # fmt: skip

    def evaluate(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Compare with data that were held out; not every task has such."""
        task = self.run.task
        raise NerfkitError(
            f"is {task.holds}, which has no photos to be compared with", where=self.run.folder,
            fix=task.usage.format(run=self.run.folder),
        )  # fmt: skip

    def export(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Write a mesh, points, cameras or depth of a scene; other tasks write what they hold as it is."""
        task = self.run.task
        raise NerfkitError(
            f"is {task.holds}, of which nothing is exported", where=self.run.folder, fix=f"write it: {self.example}"
        )

    def report(self) -> Path:
        """Write report.html in the run folder anew, and give its path."""
        raise NotImplementedError

    def picture(self) -> NDArray[np.uint8] | None:
        """A picture of it [h, w] or [h, w, 3 or 4], for a notebook; None where there is none yet."""
        return None

    def main_figures(self) -> dict[str, str]:
        """The few figures that matter most, by name, for a notebook."""
        return {}

    def __repr__(self) -> str:
        figures = ", ".join(f"{name} {value}" for name, value in self.main_figures().items())
        return f"<{type(self).__name__} {str(self.run.folder)!r}{': ' if figures else ''}{figures}>"

    def _repr_html_(self) -> str:
        from nerfkit.report.media import picture_uri

        rows = {type(self).__name__: str(self.run.folder), **self.main_figures()}
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in rows.items()
        )
        picture = self.picture()
        shown = "" if picture is None else f"<img alt='' src='{picture_uri(_reduced(picture))}'>"
        return f"<div>{shown}<table>{cells}</table></div>"


def check_crop(crop: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    """Raise NerfkitError unless the part ``crop`` (x, y, width, height) lies within a picture of ``size``, pixels."""
    (x, y, w, h), (width, height) = crop, size
    if w < 1 or h < 1 or x < 0 or y < 0 or x + w > width or y + h > height:
        raise NerfkitError(
            f"the part {x},{y},{w},{h} is not within the image of {width}x{height} pixels", where="--crop",
            fix="x,y,w,h in pixels of the whole image at its --size",
        )  # fmt: skip


def _reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return np.asarray(image)
