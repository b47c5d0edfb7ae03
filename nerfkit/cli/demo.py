"""``nerfkit demo``: everything once, from nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfkit.cli.options import CommonOptions, option
from nerfkit.cli.running import Console, Interrupted, device_for, use_all_cores
from nerfkit.cli.train import ProgressPrinter
from nerfkit.scenes.errors import NerfkitError

__all__ = ["Options", "main"]


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit demo``."""

    out: str = option("outputs/demo", "folder for everything that is made", metavar="DIR")
    seconds: float = option(60.0, "wall seconds of training", kind=float, metavar="S")
    side: int = option(200, "side of the photos in pixels", kind=int, metavar="N")
    photos: int = option(60, "photos to train on", kind=int, metavar="N")
    frames: int = option(90, "frames of the video", kind=int, metavar="N")
    overwrite: bool = option(False, "replace what an earlier demo made there")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from nerfkit.files import prepare_output_folder

    for name, least in (("seconds", 0.1), ("side", 16), ("photos", 3), ("frames", 2)):
        if getattr(options, name) < least:
            raise NerfkitError(f"must be {least} or more; got {getattr(options, name)}", where=f"--{name}")
    device = device_for(options.device)
    out = prepare_output_folder(Path(options.out), overwrite=options.overwrite)
    from nerfkit.demo import DemoSizes, run_demo

    use_all_cores()
    sizes = DemoSizes(options.photos, options.side, options.seconds, options.frames)
    with ProgressPrinter(options.seconds, None, console) as progress:
        result = run_demo(out, device, options.seed, sizes, say=console.say, on_progress=progress)
    if result.pop("interrupted"):
        raise Interrupted(result)
    _summarise(result, console)
    return result


def _summarise(result: dict[str, Any], console: Console) -> None:
    scores, train = result["eval"]["results"], result["train"]
    run, video = train["run"], result["render"]["output"]
    quality = f"PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}"
    console.say(
        f"""
what was made
  photos    {result["out"]}/photos  (a posed photo folder like yours would be)
  scene     {run}  ({train["steps"]} steps in {train["seconds"]:.0f} s)
  pictures  {run}/eval/test  ({quality} on {scores["n_images"]} views kept out)
  video     {video}
  report    {result["report"]}  (open it in a browser)

with photos of your own, posed by COLMAP, nerfstudio, instant-ngp or Blender
  nerfkit train FOLDER --seconds 300
  nerfkit eval RUN
  nerfkit render RUN --path orbit --out orbit.mp4"""
    )
