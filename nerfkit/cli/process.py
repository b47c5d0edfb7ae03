"""``nerfkit process``: poses of photos, or of a video's frames, found with COLMAP."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nerfkit.cli.options import CommonOptions, argument, option
from nerfkit.cli.running import Console, progress_bar
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    from nerfkit.posing import PosingSettings

__all__ = ["Options", "main"]

# photos without a pose that a person sees; --json has all
MAX_SHOWN = 10
# options that are settings
SETTINGS = ("frames", "matching", "lens", "max_side", "max_features", "min_share", "seed")


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit process``."""

    source: str = argument("folder of photos, or a video", metavar="PHOTOS")
    out: str | None = option(
        None, "folder for the dataset, absent or empty; given again it goes on", flag="-o", metavar="DATA"
    )
    frames: int | None = option(
        None, "frames chosen from a video (default: by how far the picture moves, 40 to 150)", kind=int, metavar="N"
    )
    matching: str = option(
        "auto", "photos that are compared: each with each, or with those after it; auto: exhaustive up to 60 photos",
        choices=("auto", "exhaustive", "sequential"),
    )  # fmt: skip
    lens: str = option("perspective", "the lens that took them", choices=("perspective", "fisheye"))
    max_side: int = option(1600, "pixels of the longest side in which features are found", kind=int, metavar="N")
    max_features: int = option(4096, "features of a photo", kind=int, metavar="N")
    min_share: float = option(0.5, "fraction of the photos that must get a pose", kind=float, metavar="F")
    link: bool = option(False, "link to the photos, by relative paths, instead of copying them")
    overwrite: bool = option(False, "begin anew where a dataset of nerfkit's is")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    if options.out is None:
        raise NerfkitError("no output given", where="nerfkit process", fix="nerfkit process PHOTOS -o DATA")
    from nerfkit.doctor import examine_data
    from nerfkit.posing import process

    result = process(
        options.source, options.out, _settings(options), link=options.link, overwrite=options.overwrite,
        say=console.say, on_part=_bars(console),
    )  # fmt: skip
    report = examine_data(options.out)
    _summarise(result, console)
    for problem in report.worst_first():
        if problem.level != "info":
            console.say(f"doctor: {problem.level}: {problem}")
    if report.ok:
        console.say(f"next: nerfkit train {shlex.quote(options.out)}")
    return result | {"doctor": {"ok": report.ok, "problems": [vars(problem) for problem in report.worst_first()]}}


def _settings(options: Options) -> PosingSettings:
    from nerfkit.config import from_dict
    from nerfkit.posing import PosingSettings

    settings = PosingSettings()
    for name in SETTINGS:
        settings = from_dict(settings, {name: getattr(options, name)}, where=f"--{name.replace('_', '-')}")
    return settings


def _bars(console: Console) -> Callable[[str, int, int], None]:
    """A bar for each stage: a new one where less is done than before, or something else is counted."""
    bar, last = None, ("", 0)

    def show(unit: str, done: int, total: int) -> None:
        nonlocal bar, last
        if bar is None or unit != last[0] or done <= last[1]:
            bar, last = progress_bar(console, unit), (unit, 0)
        # several are done at once, and lines are printed for certain numbers
        for number in range(last[1] + 1, done + 1):
            bar(number, total)
        last = (unit, done)

    return show


def _summarise(result: dict[str, Any], console: Console) -> None:
    console.say(
        f"{result['output']}: {result['placed']} of {result['photos']} photos have poses; {result['points']} points, "
        f"which project {result['reprojection_error']:.2f} pixels off on average"
    )
    if len(result["models"]) > 1:
        console.say(f"the largest of {len(result['models'])} models: {', '.join(map(str, result['models']))} photos")
    left_out = result["left_out"]
    for name in list(left_out)[:MAX_SHOWN]:
        console.say(f"left out: {name}: {left_out[name]}")
    if len(left_out) > MAX_SHOWN:
        console.say(f"and {len(left_out) - MAX_SHOWN} more: --json lists them")
