"""How well `nerfkit fit mri` makes a picture of few coefficients, beside zero-filling and total variation.

python scripts/workbench_mri.py [PICTURE] [--rows lines coils4 coils8 unknown8 spokes] [--seeds 1]
    [--without-baselines] [--json FILE]

PICTURE is a magnitude that `nerfkit fit mri --simulate` reads; without one, a made one of discs and fine bars. "coils
unknown" leaves the sensitivities out of the simulated file. Total variation has the best weight of a ladder. Rows are
printed as they come, and no limit of seconds cuts a fit short on a busy machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, publish
from numpy.typing import NDArray

import nerfkit

__all__ = ["ROWS", "made_picture", "measure"]

# name -> what is simulated, whether the coils are known, and what is wanted
ROWS: dict[str, tuple[dict[str, Any], bool, str]] = {
    "lines": ({"acceleration": 4, "coils": 1}, True, "TV + phase of the centre + 0.3 to 0.7"),
    "coils4": ({"acceleration": 4, "coils": 8}, True, "TV + phase of the centre + 0.3"),
    "coils8": ({"acceleration": 8, "coils": 8}, True, "TV + phase of the centre + 0.3"),
    "unknown8": ({"acceleration": 8, "coils": 8}, False, "TV + phase of the centre"),
    "spokes": ({"coils": 1, "radial": 64}, True, "TV + phase of the centre + 0.3"),
}
NOISE = 0.01
# seconds, beyond what any row takes
LIMIT = 3600.0


def made_picture(side: int = 160) -> NDArray[np.float32]:
    """Discs, and bars that become finer [side, side], in [0, 1]."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    body = np.hypot(x / 0.9, y) < 0.42
    bars = (np.abs(y) < 0.12) & (np.sin(60 * x * (1.5 + x)) > 0)
    spots = sum(np.hypot(x - 0.2 * np.cos(k), y - 0.28 * np.sin(k)) < 0.02 + 0.006 * k for k in range(6))
    return (0.4 * body + 0.3 * (bars & body) + 0.3 * np.clip(spots, 0, 1)).astype(np.float32)


def measure(
    picture: Path | None = None, rows: Sequence[str] = tuple(ROWS), seeds: Sequence[int] = range(1), **settings: Any
) -> list[Row]:  # fmt: skip
    """PSNR of the default and of the classical methods, and seconds, each a row."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "picture.npy"
        if picture is None:
            np.save(source, made_picture())
        for name in rows:
            for seed in seeds:
                told = _fit(picture or source, Path(folder) / f"{name}{seed}.npy", name, seed, settings)
                rows_of_fit = _rows(f"{name}, seed {seed}", told, name)
                print(*rows_of_fit, sep="\n", file=sys.stderr, flush=True)
                found += rows_of_fit
    return found


def _fit(picture: Path, output: Path, name: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    keys, has_coils, _ = ROWS[name]
    simulated = {"simulate": keys | {"noise": NOISE}, "seed": seed}
    settings = {"seconds": LIMIT} | settings
    if has_coils:
        return nerfkit.fit("mri", picture, output, **simulated, **settings).figures
    made = nerfkit.fit("mri", picture, output, **simulated, prior="variation", seconds=LIMIT)
    with np.load(made.run.folder / "measurements.npz") as arrays:
        kept = {key: arrays[key] for key in arrays.files if key != "sensitivities"}
    measured = output.with_name(f"{output.stem}_measured.npz")
    np.savez(measured, **kept)
    out = output.with_name(f"{output.stem}_unknown.npy")
    return nerfkit.fit("mri", measured, out, truth=picture, seed=seed, **settings).figures


def _rows(title: str, told: dict[str, Any], name: str) -> list[Row]:
    words = ",".join(f"{key}={value}" for key, value in ROWS[name][0].items())
    command = f"nerfkit fit mri PICTURE -o out.npy --simulate {words},noise={NOISE}"
    prior = told["chosen"]["prior"]
    rows = [Row(f"{title}: default ({prior})", told["metrics"]["psnr"], "dB", ROWS[name][2], command)]
    rows.append(Row(f"{title}: SSIM", told["metrics"]["ssim"], "", "", command))
    rows.append(Row(f"{title}: seconds", told["seconds"], "s", "60", command))
    rows += [
        Row(f"{title}: {other}", figures["psnr"], "dB", figures["how"], command)
        for other, figures in told["baselines"].items()
    ]
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", type=Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--without-baselines", action="store_true", help="they take most of the time")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings = {"baselines": False} if given.without_baselines else {}
    publish(measure(given.picture, given.rows, range(given.seeds), **settings), given.json)


if __name__ == "__main__":
    main()
