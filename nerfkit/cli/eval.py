"""``nerfkit eval``: PSNR and SSIM of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerfkit.cli.options import DatasetOptions, argument, option
from nerfkit.cli.running import Console, progress_bar, use_cores
from nerfkit.tasks import load_run

__all__ = ["Options", "main"]

# views that are listed, the worst first
MOST_ROWS = 40


@dataclass(kw_only=True)
class Options(DatasetOptions):
    """Options of ``nerfkit eval``."""

    run: str = argument("run folder")
    split: str = option("test", "which photos", choices=("test", "val", "train"))
    lpips: str | None = option(
        None, "weights of LPIPS, which is measured with them; docs/conventions.md says which file", metavar="FILE"
    )
    data: str | None = option(None, "the dataset, when it was moved", metavar="DATA")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from nerfkit.report.findings import worst_first

    use_cores(options.device)
    result = load_run(options.run, device=options.device).evaluate(
        options.split, data=options.data, lpips=options.lpips, on_view=progress_bar(console, "views")
    )
    ranked, mean = worst_first(result["images"]), result["results"]
    for image in ranked[:MOST_ROWS]:
        console.say(f"{image['file']}  {_figures(image)}")
    if len(ranked) > MOST_ROWS:
        console.say(f"... and {len(ranked) - MOST_ROWS} better ones: eval_{options.split}.json")
    console.say(
        f"mean of {mean['n_images']} {options.split} views: {_figures(mean)}, {mean['seconds_per_frame']:.2f} s a frame"
    )
    if "psnr_aligned" in mean:
        console.say(
            f"right halves, aligned on the left: PSNR {_text(mean['psnr_aligned'], 2)} dB, "
            f"SSIM {_text(mean['ssim_aligned'], 4)}"
        )
    folder = Path(options.run)
    console.say(f"pictures in {folder / 'eval' / options.split}, the worst views in {folder / result['worst']}")
    return result


def _figures(found: dict[str, Any]) -> str:
    lpips = f"  LPIPS {_text(found['lpips'], 4)}" if "lpips" in found else ""
    return f"PSNR {_text(found['psnr'], 2)} dB  SSIM {_text(found['ssim'], 4)}{lpips}"


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
