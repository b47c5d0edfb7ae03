"""What the task `shape` made: a surface in the weights of a field, as a mesh of any resolution."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.fitted_result import FittedResult
from nerfkit.memory import telling_memory

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nerfkit.scenes.surfaces import Mesh
    from nerfkit.workbench.shapes.held_shape import HeldShape

__all__ = ["FittedShape"]


class FittedShape(FittedResult):
    """A shape, with its run folder; :func:`nerfkit.fit` and :func:`nerfkit.load` make it.

    Examples
    --------
    >>> shape = nerfkit.fit("shape", "scan.ply", "shape.ply")  # doctest: +SKIP
    >>> shape.render(512).volume  # doctest: +SKIP
    """

    options = ("size",)
    counts_cells = True
    example = "nerfkit render RUN --size N --out FILE.ply"

    @cached_property
    def held(self) -> HeldShape:
        """The field; read when first asked for."""
        from nerfkit.workbench.shapes.held_shape import load_held_shape

        return load_held_shape(self.run, self.device)

    @telling_memory("nerfkit render", "lower --size")
    def render(self, size: int | None = None) -> Mesh:
        """The surface as triangles, in the unit and place of the input.

        Parameters
        ----------
        size : int, optional
            Cells of the marching cubes along the longest side of the input, 8 to 1024; None: as it was fitted.
        """
        from nerfkit.scenes.surfaces import Mesh

        found = self.held.mesh(self._cells(size))
        return Mesh(self.held.frame.outward(found.vertices), found.faces)

    def _cells(self, size: int | None) -> int:
        return int(self.run.read_config().config.resolution) if size is None else size

    @telling_memory("distances", "ask at fewer points at once")
    def distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Signed distances [n] at ``points`` [n, 3], negative within; see ``HeldShape.distances`` for their reach."""
        return self.held.distances(points)

    def write(
        self, out: str | Path | None = None, *, on_part: Callable[[int, int], None] = lambda done, total: None,
        **options: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Write the mesh at any resolution.

        Parameters
        ----------
        out : str or Path, optional
            PLY, OBJ, STL or GLB; None: render.ply in the run folder.
        on_part : callable
            Not called: a mesh is one part.
        **options
            ``size`` of :meth:`render`.

        Returns
        -------
        result : dict
            ``output``, ``frames`` (1), ``cells``, ``vertices``, ``faces`` and ``seconds``.
        """
        from nerfkit.surface_files import check_mesh_name, write_mesh

        self.check_options(list(options))
        started = time.perf_counter()
        output = self.run.folder / "render.ply" if out is None else Path(out)
        check_mesh_name(output)
        written = write_mesh(output, self.render(**options))
        return {
            "output": str(output), "frames": 1, "cells": self._cells(options.get("size")),
            "vertices": len(written.vertices), "faces": len(written.faces),
            "seconds": round(time.perf_counter() - started, 3),
        }  # fmt: skip

    def main_figures(self) -> dict[str, str]:
        """The field, its parameters, and the overlap with the truth where one is known."""
        metrics = self.figures.get("metrics", {})
        names = {"iou": "IoU", "iou_near": "IoU near the surface", "volume": "volume"}
        found = {name: f"{metrics[key]:.5g}" for key, name in names.items() if metrics.get(key) is not None}
        return super().main_figures() | found
