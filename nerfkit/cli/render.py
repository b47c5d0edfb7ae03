"""``nerfkit render``: a video or pictures of a run along a camera path; a picture or a volume at any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nerfkit.cli.options import DatasetOptions, argument, option, parse_cells, parse_crop, parse_size
from nerfkit.cli.running import Console, progress_bar, refuse_ranks, use_cores
from nerfkit.tasks import load_run

__all__ = ["IS_SHARED", "Options", "main"]

# processes that torchrun starts render a film together
IS_SHARED = True


@dataclass(kw_only=True)
class Options(DatasetOptions):
    """Options of ``nerfkit render``."""

    run: str = argument("run folder, or a compressed picture (.nkc)")
    path: str | None = option(
        None,
        "orbit, spiral, interpolate (through the photos), or a camera_path.json (default: orbit where the photos "
        "look at one point, else interpolate)",
    )
    out: str | None = option(
        None, "mp4, webm or gif file, or a folder for PNGs (default: RUN/<path>.mp4)", metavar="FILE"
    )
    frames: int | None = option(None, "number of frames (default: 120, or a file's own)", kind=int, metavar="N")
    fps: float | None = option(None, "frames a second (default: 30, or a file's own)", kind=float, metavar="F")
    size: str | None = option(
        None,
        "width and height in pixels (default: the training size, or a file's own); of a shape N, the cells of its "
        "mesh along the longest side",
        metavar="WxH",
    )
    crop: str | None = option(
        None, "part of a picture, in pixels of its --size; of a volume X,Y,Z,W,H,D in voxels", metavar="X,Y,W,H"
    )
    spacing: float | None = option(
        None, "side of a volume's voxels in mm (default: as it was reconstructed)", kind=float, metavar="MM"
    )
    channels: str | None = option(
        None, "of rgb, depth, opacity, separated by commas; each gets its own file (default: rgb)"
    )
    data: str | None = option(None, "the dataset, when it was moved", metavar="DATA")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    use_cores(options.device)
    found = load_run(options.run, device=options.device)
    if not found.is_shared:
        refuse_ranks("render")
    size = (parse_cells if found.counts_cells else parse_size)(options.size, "--size")
    given = {
        "path": options.path, "frames": options.frames, "fps": options.fps, "size": size,
        "crop": parse_crop(options.crop), "channels": _channels(options.channels), "data": options.data,
        "spacing": options.spacing,
    }  # fmt: skip
    result = found.write(
        options.out, on_part=progress_bar(console, "frames"),
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    files = ", ".join(result.get("outputs", {"": result["output"]}).values())
    size = result.get("size", ())
    made = f"{' x '.join(map(str, size))} {'voxels' if len(size) == 3 else 'pixels'}"
    made = made if size else f"{result['faces']:,} faces" if "faces" in result else f"{result['frames']} frames"
    path = f"; path: {result['camera_path']}" if "camera_path" in result else ""
    console.say(f"{files}: {made} in {result['seconds']:.1f} s{path}")
    return result


def _channels(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(dict.fromkeys(name.strip() for name in text.split(",")))
