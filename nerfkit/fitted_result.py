"""What results of all tasks of `nerfkit fit` have in common: their report, their picture, their figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nerfkit.results import Result

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FittedResult"]


class FittedResult(Result):
    """What a task of the workbench made, with its run folder."""

    def report(self) -> Path:
        """Write report.html in the run folder anew, and give its path."""
        from nerfkit.report import fit_report

        return fit_report(self.run.folder)

    def picture(self) -> NDArray[np.uint8] | None:
        """The picture that was made, or that shows what was."""
        from nerfkit.report.media import load_picture

        found = load_picture(self.run.folder / "pictures" / "result.png", "")
        return None if found is None else found.pixels

    def main_figures(self) -> dict[str, str]:
        """The field, its parameters, and what is known of its quality."""
        metrics = self.figures.get("metrics", {})
        names = {"holdout_psnr": "held out", "psnr": "PSNR"}
        found = {name: metrics.get(key) for key, name in names.items()}
        field = {"field": f"{self.figures.get('field')}, {self.figures.get('n_params', 0):,} parameters"}
        return field | {name: f"{value:.2f} dB" for name, value in found.items() if value is not None}
