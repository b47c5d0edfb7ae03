"""``nerfkit export``: a mesh, points, cameras or depth of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nerfkit.cli.options import DatasetOptions, argument, option, parse_box
from nerfkit.cli.running import Console, progress_bar, use_cores
from nerfkit.exports.formats import FORMATS
from nerfkit.tasks import load_run

__all__ = ["Options", "main"]


@dataclass(kw_only=True)
class Options(DatasetOptions):
    """Options of ``nerfkit export``."""

    run: str = argument("run folder")
    format: str | None = option(
        None, "a mesh (ply, obj, glb), a pointcloud (.ply), cameras (transforms.json), or depth (a folder of 16-bit "
        "PNGs) (default: by the suffix of FILE)", choices=tuple(FORMATS),
    )  # fmt: skip
    out: str | None = option(None, "the file or folder that is written (default: in RUN)", flag="-o", metavar="FILE")
    size: int | None = option(
        None, "cells of a mesh along the longest side of the box; points: one a cell (default: 256)", kind=int,
        metavar="N",
    )  # fmt: skip
    box: str | None = option(
        None, "least x, y, z and greatest x, y, z of what is exported, in the poses' frame (default: chosen, and said)",
        metavar="X,Y,Z,X,Y,Z",
    )  # fmt: skip
    unit: float | None = option(
        None, "metres in one unit of the poses, for depth in millimetres (default: 1)", kind=float, metavar="METRES"
    )
    keep_floaters: bool = option(False, "keep small parts, and points that one view alone has")
    data: str | None = option(None, "the dataset, when it was moved", metavar="DATA")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    use_cores(options.device)
    result = load_run(options.run, device=options.device).export(
        options.out, format=options.format, size=options.size, box=parse_box(options.box),
        keep_floaters=options.keep_floaters, unit=options.unit, data=options.data,
        on_view=progress_bar(console, "views"),
    )  # fmt: skip
    console.say(f"{result['output']}: {_made(result)} in {result['seconds']:.1f} s")
    return result


def _made(result: dict[str, Any]) -> str:
    if result["format"] == "cameras":
        return f"{result['cameras']} cameras"
    if result["format"] == "depth":
        unit = result["metres_per_unit"]
        seen = (
            "nothing seen" if result["farthest"] is None else f"{result['nearest']} to {result['farthest']} units away"
        )
        return f"{result['views']} views, {seen}; a value is {0.001 / unit:g} of the poses' unit along the viewing axis"
    if result["format"] == "pointcloud":
        return f"{result['points']:,} points ({result['floaters']:,} that views do not agree on left out)"
    return (
        f"{result['faces']:,} faces, {result['components']} parts, {result['holes']} holes "
        f"({result['floaters']} floaters of {result['floater_faces']:,} faces left out)"
    )
