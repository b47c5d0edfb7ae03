"""Real captures: what doctor says of them and of broken copies, how training does, and one scene in all its formats.

    python scripts/bench_captures.py [--data FOLDER] [--captures fox ...] [--parts doctor broken formats train]
        [--seconds 120 300] [--side 400] [--json FILE]

Captures are read from --data or the folder named by NERFKIT_TEST_DATA. Views are those of the split rule or of the
capture's own lists; test views are never trained on. Rows are printed when they are measured.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, nerfkit, publish
from broken_captures import BREAKS, write_broken

from nerfkit.doctor import examine_data
from nerfkit.scenes.cameras import pixels_to_directions
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.readers import PosedPhotos, read_posed_photos

CAPTURES = ("fox", "fox_colmap", "mold_gold_cape_llff", "lego_400")
# what is broken: captures of three kinds
BROKEN = ("fox", "fox_colmap", "mold_gold_cape_llff")
# formats that one scene is read through, and the one that all hold
FORMATS, FIRST = ("transforms", "colmap", "colmap-text", "llff"), "transforms"
# pixels of a photo at which rays of two formats are compared, along a side
N_RAYS = 9


@dataclass(frozen=True)
class Plan:
    """What is measured of each capture."""

    data: Path
    work: Path
    seconds: Sequence[int]
    side: int


def doctor(name: str, plan: Plan) -> Iterator[Row]:
    """Errors and warnings of a capture as it is."""
    report = examine_data(plan.data / name)
    levels = [problem.level for problem in report.problems]
    said = "; ".join(problem.what for problem in report.worst_first() if problem.level != "info") or "all well"
    yield Row(f"{name}: errors", levels.count("error"), f"({said})", "0", f"nerfkit doctor {name}")


def broken(name: str, plan: Plan) -> Iterator[Row]:
    """Whether the cause of each way to break a capture is named."""
    photos = _quietly(plan.data / name)
    is_square = all(camera.width == camera.height for camera in photos.cameras)
    # a square has no sides to exchange
    kinds = [kind for kind in BREAKS if not (is_square and kind == "swapped size")] if name in BROKEN else []
    n_named = 0
    for kind in kinds:
        wanted = BREAKS[kind].wanted
        folder = write_broken(photos, kind, plan.work / f"{name} {kind}")
        report = examine_data(folder)
        texts = [problem.what for problem in report.worst_first()]
        is_named = any(re.search(wanted, text) for text in texts)
        n_named += is_named
        print(f"{name}, {kind}: {'named' if is_named else 'NOT named'}: {texts}", file=sys.stderr, flush=True)
    if kinds:
        yield Row(f"{name}: broken copies whose cause is named", n_named, f"of {len(kinds)}", f"{len(kinds)}",
                  "python scripts/bench_captures.py --parts broken")  # fmt: skip


def formats(name: str, plan: Plan) -> Iterator[Row]:
    """The rays that a capture has when it is read through each format, in pixels, and what training gives."""
    photos = _quietly(plan.data / name)
    found: dict[str, float] = {}
    for to in FORMATS:
        folder = plan.work / f"{name} {to}"
        command = [sys.executable, "-m", "nerfkit", "convert", str(plan.data / name), "-o", str(folder), "--to", to]
        done = subprocess.run([*command, "--link", "--quiet"], capture_output=True, text=True)
        if done.returncode:
            print(f"{name} as {to}: {done.stderr.strip()}", file=sys.stderr, flush=True)
            continue
        yield Row(f"{name} as {to}: rays", _rays_apart(photos, _quietly(folder)), "px", "1e-4",
                  f"nerfkit convert {name} --to {to}")  # fmt: skip
        if plan.seconds:
            found[to] = _trained(folder, plan, plan.seconds[0])[0]["psnr"]
            goal = f"within 0.3 dB of {found.get(FIRST, found[to]):.2f}"
            yield Row(f"{name} as {to}: {plan.seconds[0]} s", found[to], "dB", goal, "nerfkit train, nerfkit eval")


def train(name: str, plan: Plan) -> Iterator[Row]:
    """Test views after some seconds of training."""
    for seconds in plan.seconds:
        results, command = _trained(plan.data / name, plan, seconds)
        yield Row(f"{name}: {seconds} s", results["psnr"], f"dB, SSIM {results['ssim']:.3f}", "", command)
        yield Row(f"{name}: {seconds} s, a frame", results["seconds_per_frame"], "s", "", command)


def _quietly(path: Path) -> PosedPhotos:
    return read_posed_photos(path, findings=Findings())


def _trained(data: Path, plan: Plan, seconds: int) -> tuple[dict[str, Any], str]:
    photos = _quietly(data)
    downscale = max(1.0, max(max(camera.width, camera.height) for camera in photos.cameras) / plan.side)
    run = plan.work / f"{data.name} {seconds} run"
    options = ["--seconds", str(seconds), "--downscale", f"{downscale:.6g}"]
    nerfkit("train", str(data), "--out", str(run), *options)
    return nerfkit("eval", str(run))["results"], " ".join(["nerfkit train", data.name, *options])


def _rays_apart(a: PosedPhotos, b: PosedPhotos) -> float:
    """The largest angle between the rays of photos of one name, in pixels at the middle of the photo."""
    index = {Path(file).stem: k for k, file in enumerate(b.files)}
    worst = 0.0
    for k, file in enumerate(a.files):
        other, camera = index[Path(file).stem], a.cameras[k]
        steps = (np.arange(N_RAYS) + 0.5) / N_RAYS
        pixels = np.stack(np.meshgrid(steps * camera.width, steps * camera.height), -1).reshape(-1, 2)
        seen = [
            _unit(pixels_to_directions(photos.cameras[at], pixels)) @ photos.c2w[at, :3, :3].T
            for photos, at in ((a, k), (b, other))
        ]
        gap = np.linalg.norm(seen[0] - seen[1], axis=1)
        worst = max(worst, float(np.nanmax(gap) * max(camera.fx, camera.fy)))
    return worst


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


PARTS: dict[str, Callable[[str, Plan], Iterator[Row]]] = {
    "doctor": doctor, "broken": broken, "formats": formats, "train": train,
}  # fmt: skip


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA"))
    parser.add_argument("--captures", nargs="+", choices=CAPTURES, default=list(CAPTURES))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", nargs="*", type=int, default=[120, 300])
    parser.add_argument("--side", type=int, default=400, help="longest side that is trained at, pixels")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.data is None:
        parser.error("name the folder of the captures: --data FOLDER, or NERFKIT_TEST_DATA")
    rows = []
    with tempfile.TemporaryDirectory() as work:
        plan = Plan(Path(given.data), Path(work), given.seconds, given.side)
        for part in given.parts:
            for name in given.captures:
                for row in PARTS[part](name, plan):
                    print(row, flush=True)
                    rows.append(row)
    publish(rows, given.json)


if __name__ == "__main__":
    main()
