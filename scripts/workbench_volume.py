"""How well `nerfkit fit volume` makes a volume of thick, crossing or missing slices.

python scripts/workbench_volume.py VOLUME [--rows two one missing] [--side 96] [--json FILE]

VOLUME is any that `nerfkit fit volume` reads; without one, a made one of shells and rods.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, publish
from numpy.typing import NDArray

import nerfkit
from nerfkit.scenes.readers.volume import read_volume

__all__ = ["ROWS", "made_volume", "measure"]

# name -> what is simulated, and what is wanted of the default
ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "two": ({"thickness": 4, "stacks": 2}, "level with TV, oracle, or better"),
    "one": ({"thickness": 4, "stacks": 1}, "TV, oracle + 0.5"),
    "missing": ({"thickness": 1, "stacks": 1, "every": 2}, "level with cubic, or better"),
}
NOISE = 0.01


def made_volume(side: int) -> NDArray[np.float32]:
    """Folded shells and rods [side, side, side] in [0, 1], alike along all axes."""
    z, y, x = np.mgrid[:side, :side, :side] / side - 0.5
    radius = np.sqrt(x**2 + y**2 + z**2) + 0.02 * (np.sin(25 * x) + np.sin(23 * y + 1) + np.sin(27 * z + 2))
    shells = (np.abs(radius - 0.38) < 0.03) * 0.7 + (np.abs(radius - 0.25) < 0.02) * 1.0
    rods = sum(np.hypot(a - 0.1, b + 0.05) < 0.04 for a, b in ((x, y), (y, z), (z, x))) * (radius < 0.42)
    return np.clip(shells + 0.5 * rods, 0, 1).astype(np.float32)


def measure(
    volume: Path | None = None, rows: Sequence[str] = tuple(ROWS), side: int = 96, **settings: Any
) -> list[Row]:  # fmt: skip
    """PSNR of the default and of the classical methods, each a row."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "volume.npz"
        values = made_volume(side) if volume is None else read_volume(volume).values
        np.savez(source, volume=values, spacing=(1.0, 1.0, 1.0))
        for name in rows:
            keys, wanted = ROWS[name][0] | {"noise": NOISE}, ROWS[name][1]
            told = nerfkit.fit("volume", source, Path(folder) / f"{name}.npy", simulate=keys, **settings).figures
            words = ",".join(f"{key}={value}" for key, value in keys.items())
            command = f"nerfkit fit volume VOLUME -o out.nii.gz --simulate {words}"
            # where slices are missing, the others are no test
            key = "psnr_between" if "psnr_between" in told["metrics"] else "psnr"
            prior = told["chosen"]["prior"]
            found.append(Row(f"{name}: default ({prior})", told["metrics"][key], "dB", wanted, command))
            found.append(Row(f"{name}: seconds", told["seconds"], "s", "60", command))
            found += [
                Row(f"{name}: {other}", figures[key], "dB", figures.get("how", ""), command)
                for other, figures in told["baselines"].items()
                if key in figures
            ]
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volume", nargs="?", type=Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    publish(measure(given.volume, given.rows, given.side), given.json)


if __name__ == "__main__":
    main()
