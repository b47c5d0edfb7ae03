"""``nerfkit demo``: everything once, from nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfkit.cli import superres
from nerfkit.cli.options import CommonOptions, option
from nerfkit.cli.running import Console, Interrupted, device_for, use_cores
from nerfkit.cli.train import ProgressPrinter
from nerfkit.report import refresh_demo, refresh_superres
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.synthetic.page import write_lowres_sequence

__all__ = ["Options", "main"]

# a super-resolution's name, scale, number of frames, and share of --superres-seconds
SUPERRES_RUNS = (
    ("page_8x_of_1", 8, 1, 0.2),
    ("page_8x_of_8", 8, 8, 0.6),
    ("page_4x", 4, 64, 0.6),
    ("page_8x", 8, 64, 1.0),
)
# so that the smallest share is still a second
MIN_SUPERRES_SECONDS = 5.0


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit demo``."""

    out: str = option("outputs/demo", "folder for everything that is made", metavar="DIR")
    seconds: float = option(60.0, "wall seconds of training", kind=float, metavar="S")
    side: int = option(200, "side of the photos in pixels", kind=int, metavar="N")
    photos: int = option(60, "photos to train on", kind=int, metavar="N")
    frames: int = option(90, "frames of the video", kind=int, metavar="N")
    superres_seconds: float = option(35.0, "wall seconds of the longest super-resolution", kind=float, metavar="S")
    overwrite: bool = option(False, "replace what an earlier demo made there")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from nerfkit.files import prepare_output_folder

    for name, least in (("seconds", 0.1), ("side", 16), ("photos", 3), ("frames", 2)):
        if getattr(options, name) < least:
            raise NerfkitError(f"must be {least} or more; got {getattr(options, name)}", where=f"--{name}")
    if options.superres_seconds < MIN_SUPERRES_SECONDS:
        raise NerfkitError(
            f"must be {MIN_SUPERRES_SECONDS:g} or more; got {options.superres_seconds:g}", where="--superres-seconds"
        )
    device = device_for(options.device)
    out = prepare_output_folder(Path(options.out), overwrite=options.overwrite)
    from nerfkit.demo import DemoSizes, run_demo

    use_cores(device)
    sizes = DemoSizes(options.photos, options.side, options.seconds, options.frames)
    with ProgressPrinter(options.seconds, None, console) as progress:
        result = run_demo(out, device, options.seed, sizes, say=console.say, on_progress=progress)
    result = {"out": str(out), "report": None, **result}
    if result.pop("interrupted"):
        raise Interrupted(result)
    try:
        result["superres"] = _superres(options, out, console)
    except Interrupted as stop:
        refresh_demo(out)
        raise Interrupted({**result, "superres": stop.result}) from stop
    report = refresh_demo(out)
    result["report"] = None if report is None else str(report)
    _summarise(result, console)
    return result


def _superres(options: Options, out: Path, console: Console) -> dict[str, Any]:
    """The second half, by the ordinary command: a page of text from 64 frames, and the strip of fewer frames."""
    sequence = out / "sequence"
    console.say(f"5/6  seeing a page of text through a camera of 84 x 84 pixels, 64 times: {sequence}")
    write_lowres_sequence(sequence, seed=options.seed)
    results = {}
    for name, scale, n_frames, share in SUPERRES_RUNS:
        seconds, shifts = options.superres_seconds * share, sequence / "frames" / "shifts.csv"
        console.say(
            f"6/6  {n_frames} frame{'s' * (n_frames > 1)}, {scale}x in {seconds:.0f} s: nerfkit superres "
            f"{shifts.parent} --shifts {shifts} --scale {scale} --frames {n_frames} -o {out / name}.png"
        )
        command = superres.Options(
            source=str(shifts.parent), out=str(out / f"{name}.png"), scale=float(scale), frames=n_frames,
            shifts=str(shifts), truth=str(sequence / f"truth_{scale}x.png"), seconds=seconds, device=options.device,
            seed=options.seed,
        )  # fmt: skip
        # its own words would drown the demonstration's; its report holds them
        results[name] = superres.main(command, Console(console.is_json, is_quiet=True))
    _write_strip(out, results)
    return results


def _write_strip(out: Path, results: dict[str, Any]) -> None:
    """Put the results of 1, 8 and 64 frames beside one another in the best one's report."""
    strip = out / "page_8x" / "strip"
    strip.mkdir(parents=True, exist_ok=True)
    captions = {}
    for name, scale, n_frames, _ in SUPERRES_RUNS:
        if scale == 8:
            file = f"frames_{n_frames:02d}.png"
            shutil.copyfile(out / f"{name}.png", strip / file)
            captions[file] = f"{n_frames} frame{'s' * (n_frames > 1)}, {results[name]['psnr_interior']:.1f} dB"
    (strip / "captions.json").write_text(json.dumps(captions))
    refresh_superres(out / "page_8x")


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
  pictures  {run}/eval/test  ({quality} on {scores["n_images"]} views kept out)
  video     {video}
  page      {sharp["output"]}  (64 frames of 84 x 84 pixels, 8x: {sharp["psnr_interior"]:.2f} dB)
            {few["output"]}  (the first 8 alone: {few["psnr_interior"]:.2f} dB)
  report    {result["report"]}  (open it in a browser)

with photos of your own, posed by COLMAP, nerfstudio, instant-ngp or Blender
  nerfkit train FOLDER --seconds 300
  nerfkit eval RUN
  nerfkit render RUN --path orbit --out orbit.mp4

with frames of your own, a folder or a video of something that holds still
  nerfkit superres FRAMES --scale 4 -o sharp.png"""
    )
