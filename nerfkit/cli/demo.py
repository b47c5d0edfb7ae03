"""``nerfkit demo``: everything once, from nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nerfkit.cli.options import CommonOptions, option
from nerfkit.cli.running import Console, Interrupted, use_cores
from nerfkit.cli.train import ProgressPrinter, keeping_memory
from nerfkit.config import from_dict

__all__ = ["Options", "main"]


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit demo``."""

    out: str = option("outputs/demo", "folder for everything that is made", metavar="DIR")
    seconds: float = option(60.0, "wall seconds of training", kind=float, metavar="S")
    side: int = option(200, "side of the photos in pixels", kind=int, metavar="N")
    photos: int = option(60, "photos to train on", kind=int, metavar="N")
    frames: int = option(90, "frames of the video", kind=int, metavar="N")
    superres_seconds: float = option(60.0, "wall seconds that each super-resolution may take", kind=float, metavar="S")
    compare_seconds: float = option(
        30.0, "wall seconds that the comparison of fields may take", kind=float, metavar="S"
    )
    overwrite: bool = option(False, "replace what an earlier demo made there")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from nerfkit.demo import DemoSizes, run_demo

    sizes = DemoSizes()
    for name in ("seconds", "side", "photos", "frames", "superres_seconds", "compare_seconds"):
        sizes = from_dict(sizes, {name: getattr(options, name)}, where=f"--{name.replace('_', '-')}")
    use_cores(options.device)
    with ProgressPrinter(console) as progress:
        result = run_demo(
            options.out, sizes=sizes, device=options.device, seed=options.seed, overwrite=options.overwrite,
            say=console.say, on_progress=keeping_memory(progress),
        )  # fmt: skip
    if result.pop("interrupted"):
        raise Interrupted(result)
    _summarise(result, console)
    return result


def _summarise(result: dict[str, Any], console: Console) -> None:
    scores, train = result["eval"]["results"], result["train"]
    run, video = train["run"], result["render"]["output"]
    sharp, few = result["superres"]["page_8x"], result["superres"]["page_8x_of_8"]
    quality = f"PSNR {scores['psnr']:.2f} dB, SSIM {scores['ssim']:.3f}"
    console.say(
        f"""
what was made
  photos    {result["out"]}/photos  (a posed photo folder like yours would be)
  scene     {run}  ({train["steps"]} steps in {train["seconds"]:.0f} s)
  pictures  {run}/eval/test  ({quality} on {scores["n_images"]} views held out)
  video     {video}
  page      {sharp["output"]}  (64 frames of 84 x 84 pixels, 8x: {sharp["psnr_interior"]:.2f} dB)
            {few["output"]}  (the first 8 alone: {few["psnr_interior"]:.2f} dB)
  fields    {result["fit"]["output"]}  ({result["fit"]["field"]} predicts best what no fit saw)
  report    {result["report"]}  (open it in a browser)

with photos of your own, posed by COLMAP, nerfstudio, instant-ngp or Blender
  nerfkit train FOLDER --seconds 300
  nerfkit eval RUN
  nerfkit render RUN --path orbit --out orbit.mp4

with frames of your own, a folder or a video of something that holds still
  nerfkit superres FRAMES --scale 4 -o sharp.png

with a picture of your own
  nerfkit fit image PICTURE -o fitted.png"""
    )
