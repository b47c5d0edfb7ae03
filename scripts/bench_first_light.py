"""What one to five minutes of training on a CPU give, on made and on real photos.

    python scripts/bench_first_light.py [--data FOLDER] [--rows tiny_lego,fox] [--json docs/benchmarks/first_light.json]

Real captures are read from --data or the folder named by NERFKIT_TEST_DATA; rows without data are left out, aloud.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, nerfkit, publish
from PIL import Image

# runs of `nerfkit --help`; the median is reported
N_HELP_RUNS = 5
N_ORBIT_FRAMES = 120


def train_and_eval(data: Path, run: Path, seconds: int, *options: str) -> tuple[dict[str, Any], str]:
    """Train ``data`` for ``seconds`` and evaluate the test views; returns eval's results and the command's text."""
    nerfkit("train", str(data), "--seconds", str(seconds), "--out", str(run), *options)
    text = " ".join(["nerfkit train", data.name, "--seconds", str(seconds), *options])
    return nerfkit("eval", str(run))["results"], text


def tiny_lego_folder(npz: Path, folder: Path) -> Path:
    """The 100 photos of tiny_lego100.npz as a transforms.json folder, the last view held out."""
    arrays = np.load(npz)
    images, poses, focal = arrays["images"], arrays["poses"], float(arrays["focal"])
    (folder / "images").mkdir(parents=True)
    names = [f"images/{i:03d}.png" for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray((image * 255 + 0.5).astype(np.uint8)).save(folder / name)
    height, width = images.shape[1:3]
    frames = [
        {"file_path": name, "transform_matrix": pose.tolist()}
        for name, pose in zip(names, poses.astype(float), strict=True)
    ]
    values = {
        "fl_x": focal, "fl_y": focal, "cx": width / 2, "cy": height / 2, "w": width, "h": height, "frames": frames,
        "train_filenames": names[:-1], "val_filenames": [], "test_filenames": names[-1:],
    }  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps(values))
    return folder


def bench_help(work: Path, data: Path | None) -> list[Row]:
    """Start-up of the command line."""
    seconds = []
    for _ in range(N_HELP_RUNS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "nerfkit", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return [Row("nerfkit --help", float(np.median(seconds)), "s", "< 0.5 s", "nerfkit --help")]


def bench_demo(work: Path, data: Path | None) -> list[Row]:
    """The demonstration, whole."""
    started = time.perf_counter()
    result = nerfkit("demo", "--out", str(work / "demo"))
    minutes = (time.perf_counter() - started) / 60
    scores = result["eval"]["results"]
    return [
        Row("demo: test PSNR of the made scene, 60 s", scores["psnr"], "dB", ">= 33 dB", "nerfkit demo"),
        Row("demo: both halves", minutes, "min", "<= 4 min", "nerfkit demo"),
        Row("demo: a 200x200 frame", scores["seconds_per_frame"], "s", "", "nerfkit demo"),
    ]


def bench_tiny_lego(work: Path, data: Path) -> list[Row]:
    """The 100x100 Lego that public CPU code is measured on."""
    folder = tiny_lego_folder(data / "tiny_lego100.npz", work / "tiny_lego")
    scores, text = train_and_eval(folder, work / "tiny_run", 60, "--background", "black")
    return [Row("tiny_lego100, view 99, 60 s", scores["psnr"], "dB", ">= 31 dB", text)]


def bench_lego(work: Path, data: Path) -> list[Row]:
    """Lego at 400x400 on its 15 test views."""
    scores, text = train_and_eval(data / "lego_400", work / "lego_run", 180)
    return [
        Row("lego_400, 15 test views, 180 s", scores["psnr"], "dB", ">= 26 dB", text),
        Row("lego_400, a 400x400 frame", scores["seconds_per_frame"], "s", "", text),
    ]


def bench_fox(work: Path, data: Path) -> list[Row]:
    """A real capture through transforms.json."""
    scores, text = train_and_eval(data / "fox", work / "fox_run", 180)
    return [Row("fox, test views of the split rule, 180 s", scores["psnr"], "dB", ">= 19 dB", text)]


def bench_lego_minute(work: Path, data: Path) -> list[Row]:
    """Lego after the first minute."""
    scores, text = train_and_eval(data / "lego_400", work / "lego_minute_run", 60)
    return [Row("lego_400, 15 test views, 60 s", scores["psnr"], "dB", ">= 27 dB", text)]


def bench_lego_long(work: Path, data: Path) -> list[Row]:
    """Lego after five minutes, a frame, and a video."""
    run = work / "lego_long_run"
    scores, text = train_and_eval(data / "lego_400", run, 300)
    started = time.perf_counter()
    size = ("--frames", str(N_ORBIT_FRAMES), "--size", "400x400")
    nerfkit("render", str(run), *size, "--out", str(work / "orbit.mp4"))
    orbit = time.perf_counter() - started
    command = " ".join(["nerfkit render RUN --path orbit", *size, "--out orbit.mp4"])
    return [
        Row("lego_400, 15 test views, 300 s", scores["psnr"], "dB", ">= 30 dB", text),
        Row("lego_400, a 400x400 frame", scores["seconds_per_frame"], "s", "<= 0.7 s", "nerfkit eval RUN"),
        Row(f"lego_400, an orbit of {N_ORBIT_FRAMES} frames as mp4", orbit, "s", "<= 90 s", command),
    ]


def bench_fox_long(work: Path, data: Path) -> list[Row]:
    """A real capture, 270 pixels wide, five minutes."""
    scores, text = train_and_eval(data / "fox", work / "fox_long_run", 300, "--downscale", "4")
    return [Row("fox, 270 pixels wide, every eighth view, 300 s", scores["psnr"], "dB", ">= 23 dB", text)]


def bench_fox_colmap(work: Path, data: Path) -> list[Row]:
    """The same capture through COLMAP's models, binary and text."""
    rows = []
    for name, model in (("binary", "sparse"), ("text", "sparse_txt")):
        folder = work / f"fox_{name}"
        folder.mkdir()
        (folder / "images").symlink_to(data / "fox_colmap" / "images")
        (folder / "sparse").symlink_to(data / "fox_colmap" / model)
        scores, text = train_and_eval(folder, work / f"fox_{name}_run", 180)
        rows.append(Row(f"fox_colmap, {name} model, 180 s", scores["psnr"], "dB", "within 0.3 dB of each other", text))
    return rows


# name -> (measure, whether it needs real captures)
BENCHES: dict[str, tuple[Callable[..., list[Row]], bool]] = {
    "help": (bench_help, False),
    "demo": (bench_demo, False),
    "tiny_lego": (bench_tiny_lego, True),
    "lego": (bench_lego, True),
    "fox": (bench_fox, True),
    "lego_minute": (bench_lego_minute, True),
    "lego_long": (bench_lego_long, True),
    "fox_long": (bench_fox_long, True),
    "fox_colmap": (bench_fox_colmap, True),
}


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA") or None)
    parser.add_argument("--rows", default=",".join(BENCHES), help="of " + ", ".join(BENCHES))
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    data = Path(options.data).resolve() if options.data else None
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for wanted in options.rows.split(","):
            measure, needs_data = BENCHES[wanted]
            if needs_data and data is None:
                print(f"left out: {wanted} (needs --data or NERFKIT_TEST_DATA)")
                continue
            rows += measure(Path(name), data)
            print(rows[-1], file=sys.stderr, flush=True)
    publish(rows, options.json)


if __name__ == "__main__":
    main()
