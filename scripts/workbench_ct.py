"""How well `nerfkit fit ct` reconstructs slices that are projected, beside filtered back projection, SART and TV.

python scripts/workbench_ct.py [--cases "head 60" "head 30" fan limited photons phantom spine cone] [--seeds 0]
    [--best [FACTOR ...]] [--without-baselines] [--json FILE]

The head and the spine are DICOM slices of pydicom's wheel, the phantom is Shepp and Logan's (ellipses by Toft); the
cone sees 128 voxels a side of a phantom of ellipsoids that was drawn with twice as many. With --best the slice or the
volume is found with FACTOR times the chosen weight as well: how far the chosen one is from the best of them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, publish

import nerfkit

HEAD, SPINE, PHANTOM, VOLUME = "J2K_pixelrep_mismatch.dcm", "CT_small.dcm", "phantom", "volume"
# name -> slice, keys of --simulate, and the PSNR that is wanted
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "head 60": (HEAD, {}, ">= 33.8"),
    "head 30": (HEAD, {"angles": 30}, ">= 30.6"),
    "fan": (HEAD, {"geometry": "fan"}, ">= 32.4"),
    "limited": (HEAD, {"range": 120.0}, ">= 25.3"),
    "photons": (HEAD, {"photons": 1e4}, ">= 33.9"),
    "phantom": (PHANTOM, {"size": 256}, "level with TV"),
    "spine": (SPINE, {"size": 128}, "not tuned on"),
    "cone": (VOLUME, {"geometry": "cone", "angles": 60}, "above FDK"),
}
# factors on the chosen weight that --best tries
FACTORS = (0.4, 0.65, 1.5, 2.5)
# wall seconds that a run may take: other processes may hold the cores
LIMIT = 3600.0
# of the volume: value, half axes, middle, turn round z in degrees (Kak and Slaney 1988, table 3.2, values as Toft's)
ELLIPSOIDS = (
    (1, 0.69, 0.92, 0.9, 0, 0, 0, 0), (-0.8, 0.6624, 0.874, 0.88, 0, 0, 0, 0),
    (-0.2, 0.41, 0.16, 0.21, -0.22, 0, -0.25, 108),
    (-0.2, 0.31, 0.11, 0.22, 0.22, 0, -0.25, 72), (0.1, 0.21, 0.25, 0.5, 0, 0.35, -0.25, 0),
    (0.1, 0.046, 0.046, 0.046, 0, 0.1, -0.25, 0), (0.1, 0.046, 0.023, 0.02, -0.08, -0.65, -0.25, 0),
    (0.1, 0.046, 0.023, 0.02, 0.06, -0.65, -0.25, 90), (0.2, 0.056, 0.04, 0.1, 0.06, -0.105, 0.625, 90),
    (-0.2, 0.056, 0.056, 0.1, 0, 0.1, 0.625, 0),
)  # fmt: skip
# Toft 1996, table B.3: value, half axes, middle, turn in degrees
ELLIPSES = (
    (1, 0.69, 0.92, 0, 0, 0), (-0.8, 0.6624, 0.874, 0, -0.0184, 0), (-0.2, 0.11, 0.31, 0.22, 0, -18),
    (-0.2, 0.16, 0.41, -0.22, 0, 18), (0.1, 0.21, 0.25, 0, 0.35, 0), (0.1, 0.046, 0.046, 0, 0.1, 0),
    (0.1, 0.046, 0.046, 0, -0.1, 0), (0.1, 0.046, 0.023, -0.08, -0.605, 0), (0.1, 0.023, 0.023, 0, -0.606, 0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0),
)  # fmt: skip


def measure(
    cases: Sequence[str] = tuple(CASES), seeds: Sequence[int] = range(1), *, factors: Sequence[float] = (),
    has_baselines: bool = True,
) -> list[Row]:  # fmt: skip
    """PSNR and seconds, a row each; printed as they come."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            for seed in seeds:
                for row in _rows(case, seed, Path(folder), factors, has_baselines):
                    print(row, flush=True)
                    rows.append(row)
    return rows


def _rows(case: str, seed: int, folder: Path, factors: Sequence[float], has_baselines: bool) -> Iterator[Row]:
    name, keys, wanted = CASES[case]
    source = _slice(name, folder)
    made = ",".join(f"{key}={value}" for key, value in keys.items()) or "angles=60"
    output = folder / ("out.nii.gz" if name == VOLUME else "out.tif")
    command = f"nerfkit fit ct {source.name} --simulate {made} --seed {seed} -o {output.name} --seconds {LIMIT:g}"

    def run(**settings: Any) -> dict[str, Any]:
        return nerfkit.fit(
            "ct", source, output, simulate=keys, seed=seed, seconds=LIMIT, overwrite=True, **settings
        ).figures

    before = time.process_time()
    found = run(baselines=has_baselines)
    spent = time.process_time() - before
    chosen = found["metrics"]["psnr"]
    yield Row(f"{case}, seed {seed}: {found['field']}", chosen, "dB", wanted, command)
    yield Row(f"{case}, seed {seed}: SSIM", found["metrics"]["ssim"], "", "", command)
    yield Row(
        f"{case}, seed {seed}: seconds of a core, simulation and baselines too", round(spent, 1), "s", "", command
    )
    yield Row(f"{case}, seed {seed}: seconds", found["seconds"], "s", "<= 60 idle", command)
    for other, figures in found["baselines"].items():
        yield Row(f"{case}, seed {seed}: {other}", figures["psnr"], "dB", figures["how"], command)
    if factors:
        weight = found["chosen"]["tv_weight"]
        others = {factor: run(tv_weight=weight * factor, baselines=False) for factor in factors}
        tried = {factor: figures["metrics"]["psnr"] for factor, figures in others.items()} | {1.0: chosen}
        best = max(tried, key=lambda factor: tried[factor])
        yield Row(f"{case}, seed {seed}: below the best weight", round(tried[best] - chosen, 3), "dB",
                  f"<= 0.3; the best is {best} times the chosen one", command)  # fmt: skip


def _ellipsoids(side: int) -> np.ndarray[Any, Any]:
    """The volume [side, side, side] over [-1, 1]^3."""
    axis = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    volume = np.zeros((side, side, side), np.float32)
    for value, a, b, c, x, y, z, turn in ELLIPSOIDS:
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        dx, dy, dz = axis - x, (axis - y)[:, None], (axis - z)[:, None, None]
        volume[((dx * cos + dy * sin) / a) ** 2 + ((dy * cos - dx * sin) / b) ** 2 + (dz / c) ** 2 <= 1] += value
    return volume


def _slice(name: str, folder: Path) -> Path:
    if name == VOLUME:
        np.save(folder / "volume.npy", _ellipsoids(256))
        return folder / "volume.npy"
    if name != PHANTOM:
        from pydicom.data import get_testdata_file

        return Path(str(get_testdata_file(name, download=False)))
    side, fine = 512, 4
    axis = (np.arange(side * fine) + 0.5) / (side * fine) * 2 - 1
    picture = np.zeros((side * fine, side * fine), np.float32)
    for value, a, b, x, y, turn in ELLIPSES:
        cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        dx, dy = (axis - x)[None, :], (-axis - y)[:, None]
        picture[((dx * cos + dy * sin) / a) ** 2 + ((dy * cos - dx * sin) / b) ** 2 <= 1] += value
    picture = picture.reshape(side, fine, side, fine).mean((1, 3))
    np.save(folder / "phantom.npy", picture)
    return folder / "phantom.npy"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--best", type=float, nargs="*", metavar="FACTOR", help=f"without numbers: {FACTORS}")
    parser.add_argument("--without-baselines", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    factors = () if given.best is None else given.best or FACTORS
    publish(measure(given.cases, given.seeds, factors=factors, has_baselines=not given.without_baselines), given.json)


if __name__ == "__main__":
    main()
