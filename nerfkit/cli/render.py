"""``nerfkit render``: a video or pictures of a run along a camera path; a super-resolved image at any size."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.cli.options import CommonOptions, argument, option
from nerfkit.cli.running import Console, device_for, progress_bar, use_cores
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    from nerfkit.runs import Run

__all__ = ["Options", "main"]


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit render``."""

    run: str = argument("run folder")
    path: str = option("orbit", "orbit, spiral, interpolate (through the photos), or a camera_path.json")
    out: str | None = option(
        None, "mp4, webm or gif file, or a folder for PNGs (default: RUN/<path>.mp4)", metavar="FILE"
    )
    frames: int | None = option(None, "number of frames (default: 120, or a file's own)", kind=int, metavar="N")
    fps: float | None = option(None, "frames a second (default: 30, or a file's own)", kind=float, metavar="F")
    size: str | None = option(
        None, "width and height in pixels (default: the training size, or a file's own)", metavar="WxH"
    )
    crop: str | None = option(None, "part of a super-resolved image, in pixels of its --size", metavar="X,Y,W,H")
    channels: str = option("rgb", "of rgb, depth, opacity, separated by commas; each gets its own file")
    data: str | None = option(None, "the dataset, when it was moved", metavar="DATA")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from nerfkit.runs import Run

    run = Run(Path(options.run))
    from nerfkit.superres.runs import is_superres_run

    if is_superres_run(run.folder):
        return _render_superres(options, run, console)
    if options.crop is not None:
        raise NerfkitError("is for super-resolved images; this run is a scene", where="--crop", fix="leave it out")
    run.read_config()
    size, channels = _size(options.size), _channels(options.channels)
    for name, value in (("--frames", options.frames), ("--fps", options.fps)):
        if value is not None and not 0 < value < math.inf:
            raise NerfkitError(f"must be above 0; got {value:g}", where=name)
    device = device_for(options.device)
    from nerfkit.path_rendering import render_path
    from nerfkit.report import refresh

    use_cores(device)
    stem = options.path if options.path in ("orbit", "spiral", "interpolate") else Path(options.path).stem
    out = Path(options.out) if options.out else run.folder / f"{stem}.mp4"
    result = render_path(
        run, options.path, out, device, n_frames=options.frames, fps=options.fps, size=size, channels=channels,
        data=Path(options.data) if options.data else None, on_frame=progress_bar(console, "frames"),
    )  # fmt: skip
    if out.resolve().is_relative_to(run.folder.resolve()):
        # the run's page shows the videos that lie in its folder
        refresh(run)
    files = ", ".join(result.get("outputs", {"": result["output"]}).values())
    console.say(f"{files}: {result['frames']} frames in {result['seconds']:.1f} s; path: {result['camera_path']}")
    return result


def _render_superres(options: Options, run: Run, console: Console) -> dict[str, Any]:
    from nerfkit.superres.runs import render_superres

    given = {"--frames": options.frames, "--fps": options.fps, "--data": options.data}
    given["--path"] = None if options.path == "orbit" else options.path
    given["--channels"] = None if options.channels == "rgb" else options.channels
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise NerfkitError(
            f"{', '.join(wrong)} are for scenes; this run is a super-resolved image", where=run.folder,
            fix="nerfkit render RUN --size WxH [--crop X,Y,W,H] --out FILE.png",
        )  # fmt: skip
    device = device_for(options.device)
    use_cores(device)
    out = Path(options.out) if options.out else run.folder / "render.png"
    result = render_superres(run, _size(options.size), _crop(options.crop), out, device)
    console.say("{}: {} x {} pixels in {:.1f} s".format(out, *result["size"], result["seconds"]))
    return result


def _crop(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", text.replace(" ", ""))
    if match is None:
        raise NerfkitError(
            f"must be X,Y,WIDTH,HEIGHT in pixels; got {text!r}", where="--crop", fix="for example 0,0,200,100"
        )
    x, y, width, height = (int(part) for part in match.groups())
    return x, y, width, height


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if match is None or not (1 <= int(match[1]) <= 16384 and 1 <= int(match[2]) <= 16384):
        raise NerfkitError(
            f"must be WIDTHxHEIGHT in pixels, 1 to 16384; got {text!r}",
            where="--size",
            fix="for example 640x360",
        )
    return int(match[1]), int(match[2])


def _channels(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in ("rgb", "depth", "opacity")]
    if unknown:
        raise NerfkitError(
            f"no channel {', '.join(map(repr, unknown))}",
            where="--channels",
            fix="choose of rgb, depth, opacity",
        )
    return names
