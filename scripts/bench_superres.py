"""Figures of super-resolution: a made page of text, folders with a truth, and real sequences by the pixels kept out.

    python scripts/bench_superres.py [--folder DIR] [--data FOLDER] [--seconds 60] [--json FILE]

DIR holds frames/ with shifts.csv and truth_4x.png. Real sequences are the folders sr/*/frames of --data, or of the
folder named by NERFKIT_TEST_DATA; they are left out, aloud, where it is unset.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarking import Row, nerfkit, publish

from nerfkit.scenes.observations.lowres_frames import LowresFrames, Psf
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.synthetic.page import write_lowres_sequence

# real sequences and the scale that each is enlarged by
SEQUENCES = {"text": 4, "eia": 3, "alpaca": 4, "bookcase_color": 4}
# name, options, and the interior PSNR that is wanted of a folder with a truth at 4x
COLUMNS = (
    ("64 frames, shifts given", ("--shifts",), ">= 28 dB"),
    ("8 frames, shifts given", ("--shifts", "--frames", "8"), ">= 21 dB"),
    ("64 frames, no shifts", (), ">= 25 dB"),
)
# cells of a low-res pixel when frames are predicted from a picture
CELLS = 8


def bench_folder(folder: Path, work: Path, seconds: int) -> list[Row]:
    """The columns for a folder with a truth."""
    rows = []
    for index, (name, options, wanted) in enumerate(COLUMNS):
        arguments = [folder / "frames", "-o", work / f"{folder.name}_{index}.png", "--truth", folder / "truth_4x.png"]
        for option in options:
            arguments += [option, folder / "frames" / "shifts.csv"] if option == "--shifts" else [option]
        result = nerfkit("superres", *map(str, arguments), "--seconds", str(seconds))
        named = [option.replace("--shifts", "--shifts shifts.csv") for option in options]
        text = " ".join(["nerfkit superres frames -o out.png --truth truth_4x.png", *named, f"--seconds {seconds}"])
        rows.append(Row(f"{folder.name}, 4x, {name}: interior PSNR", result["psnr_interior"], "dB", wanted, text))
        rows.append(Row(f"{folder.name}, 4x, {name}: SSIM", result["ssim"], "", "", text))
    return rows


def bench_sequence(frames: Path, name: str, scale: int, work: Path, seconds: int) -> list[Row]:
    """A real sequence without a truth: how well pixels that were kept out of the fit are predicted."""
    result = nerfkit(
        "superres", str(frames), "-o", str(work / f"{name}.png"), "--scale", str(scale), "--seconds", str(seconds)
    )
    text = f"nerfkit superres frames -o out.png --scale {scale} --seconds {seconds}"
    bicubic = predicted_from_reference(frames, result)
    return [
        Row(
            f"{name}, {scale}x: pixels kept out, predicted by the fit", result["holdout_psnr"], "dB", "> bicubic", text
        ),
        Row(
            f"{name}: the other frames, predicted from the reference by bicubic", bicubic, "dB", "", "bench_superres.py"
        ),
    ]


def predicted_from_reference(frames: Path, result: dict[str, Any]) -> float:
    """PSNR of the frames that were used as one would see them in the reference frame interpolated by cubics."""
    images = read_frames(frames).images
    grey = images if images.ndim == 3 else images.mean(-1)
    others = [i for i, row in enumerate(result["registered"]) if row["used"] and i > 0]
    shifts = torch.tensor([[row["dx"], row["dy"]] for row in result["registered"]], dtype=torch.float64)
    # a pixel of the picture is no average over a footprint: it stands for the frame's own pixel there
    lowres = LowresFrames(torch.from_numpy(np.ascontiguousarray(grey))[others], shifts[others], Psf("box", 1 / CELLS))
    grid = lowres.grid(CELLS)
    samples, known = lowres.predict(grid, grid.enlarge(torch.from_numpy(np.ascontiguousarray(grey[0]))))
    error = (samples.values - lowres.frames)[known]
    return float(-10 * torch.log10(error.square().mean()))


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, action="append", default=[], help="frames/, shifts.csv and a truth")
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA"))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        made = write_lowres_sequence(work / "page")
        for folder in [made, *options.folder]:
            rows += bench_folder(folder, work, options.seconds)
        if options.data is None:
            print("left out: real sequences (need --data or NERFKIT_TEST_DATA)")
        else:
            for sequence, scale in SEQUENCES.items():
                frames = Path(options.data) / "sr" / sequence / "frames"
                rows += bench_sequence(frames, sequence, scale, work, options.seconds)
    publish(rows, options.json)


if __name__ == "__main__":
    main()
