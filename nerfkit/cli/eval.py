"""``nerfkit eval``: PSNR and SSIM of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfkit.cli.options import CommonOptions, argument, option
from nerfkit.cli.running import Console, use_cores
from nerfkit.tasks import load_run

__all__ = ["Options", "main"]


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit eval``."""

    run: str = argument("run folder")
    split: str = option("test", "which photos", choices=("test", "val", "train"))
    data: str | None = option(None, "the dataset, when it was moved", metavar="DATA")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    use_cores(options.device)
    result = load_run(options.run, device=options.device).evaluate(
        options.split, data=options.data,
        on_image=lambda file, psnr, ssim: console.say(f"{file}  PSNR {_text(psnr, 2)} dB  SSIM {_text(ssim, 4)}"),
    )  # fmt: skip
    mean = result["results"]
    console.say(
        f"mean of {mean['n_images']} {options.split} views: PSNR {_text(mean['psnr'], 2)} dB, "
        f"SSIM {_text(mean['ssim'], 4)}, {mean['seconds_per_frame']:.2f} s a frame; "
        f"pictures in {Path(options.run) / 'eval' / options.split}"
    )
    if "psnr_aligned" in mean:
        console.say(
            f"right halves, aligned on the left: PSNR {_text(mean['psnr_aligned'], 2)} dB, "
            f"SSIM {_text(mean['ssim_aligned'], 4)}"
        )
    return result


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
