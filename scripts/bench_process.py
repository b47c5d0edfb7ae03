"""How near the poses that `nerfkit process` finds are to known ones, after the similarity that brings them together.

    python scripts/bench_process.py KNOWN [--photos FOLDER] [--out DATA] [--json FILE] [options of nerfkit process]

KNOWN is a dataset with poses, such as data/fox; its photos, or those of --photos, are posed anew into --out (where
something is there already it is gone on with), and matched by their names.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from benchmarking import Row, nerfkit, publish

from nerfkit.scenes.findings import Findings
from nerfkit.scenes.poses import similarity_between
from nerfkit.scenes.readers import PosedPhotos, read_posed_photos

# fraction of the extent, the largest distance between two cameras
GOAL = 0.5


def compare(found: PosedPhotos, known: PosedPhotos) -> dict[str, float]:
    """Distances of camera centres in percent of the extent, turns in degrees, and focal lengths, of common photos."""
    indices = [
        {Path(file).stem: index for index, file in enumerate(photos.files)} for photos in (found, known)
    ]  # fmt: skip
    common = sorted(set(indices[0]) & set(indices[1]))
    a, b = (photos.c2w[[at[name] for name in common]] for photos, at in zip((found, known), indices, strict=True))
    scale, turn, shift = similarity_between(a[:, :3, 3], b[:, :3, 3])
    placed = scale * a[:, :3, 3] @ turn.T + shift
    off = np.linalg.norm(placed - b[:, :3, 3], axis=1)
    extent = np.linalg.norm(b[:, None, :3, 3] - b[None, :, :3, 3], axis=-1).max()
    turns = turn @ a[:, :3, :3] @ b[:, :3, :3].transpose(0, 2, 1)
    angles = np.degrees(np.arccos(np.clip((np.trace(turns, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    focal = [np.median([camera.fx / camera.width for camera in photos.cameras]) for photos in (found, known)]
    percent = 100 * off / extent
    return {
        "common": len(common), "centres_median": float(np.median(percent)), "centres_max": float(percent.max()),
        "centres_rms": float(np.sqrt((percent**2).mean())), "turn_median": float(np.median(angles)),
        "focal_off": float(100 * abs(focal[0] / focal[1] - 1)),
    }  # fmt: skip


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("known", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("outputs/process"))
    parser.add_argument("--json", type=Path)
    arguments, options = parser.parse_known_args()
    known = read_posed_photos(arguments.known, findings=Findings())
    source = arguments.photos or known.root / "images"
    start = time.monotonic()
    result = nerfkit("process", str(source), "-o", str(arguments.out), "--link", *options)
    seconds = time.monotonic() - start
    figures = compare(read_posed_photos(arguments.out, findings=Findings()), known)
    command = " ".join(["nerfkit process", str(source.name), *options])
    name = known.name
    rows = [
        Row(f"{name}: photos with a pose", result["placed"], f"of {result['photos']}", "all", command),
        Row(f"{name}: camera centres, median", figures["centres_median"], "% of the extent", f"{GOAL}", command),
        Row(f"{name}: camera centres, rms", figures["centres_rms"], "% of the extent", f"{GOAL}", command),
        Row(f"{name}: camera centres, worst", figures["centres_max"], "% of the extent", "", command),
        Row(f"{name}: turn, median", figures["turn_median"], "degrees", "", command),
        Row(f"{name}: focal length off by", figures["focal_off"], "%", "", command),
        Row(f"{name}: reprojection error", result["reprojection_error"], "px", "", command),
        Row(f"{name}: wall seconds", seconds, "s", "", command),
    ]
    publish(rows, arguments.json)


if __name__ == "__main__":
    main()
