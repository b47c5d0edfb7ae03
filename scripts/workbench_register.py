"""How well `nerfkit fit register` finds a known warp of a photograph, beside optical flow, demons and B-splines.

python scripts/workbench_register.py [--cases plain bright modal large siren volume] [--seeds 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, publish
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data

import nerfkit
from nerfkit.scenes.volumes import Volume, affine_of_spacing
from nerfkit.volume_files import write_volume

# name -> kind of the warp, its pixels, settings, and the median error that is wanted, pixels
CASES: dict[str, tuple[str, float, dict[str, Any], str]] = {
    "plain": ("plain", 10.0, {}, "<= 0.04"),
    "bright": ("bright", 10.0, {}, "<= 0.17"),
    "modal": ("modal", 10.0, {}, "<= 0.15"),
    "large": ("large", 40.0, {}, "<= 0.04"),
    "siren": ("plain", 10.0, {"field": "siren", "baselines": False}, "to compare"),
    "volume": ("plain", 6.0, {}, "<= 0.3"),
}
# voxels along a side of the volume, and millimetres between them
SIDE, SPACING = 96, 1.5
# wall seconds that a run may take: another process may hold the core
LIMIT = 600.0


def measure(cases: Sequence[str] = tuple(CASES), seeds: Sequence[int] = range(1)) -> list[Row]:
    """Errors, folds and CPU seconds, a row each."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            for seed in seeds:
                rows += _rows(case, seed, Path(folder))
    return rows


def _rows(case: str, seed: int, folder: Path) -> list[Row]:
    kind, warp, settings, wanted = CASES[case]
    source = _volume(folder) if case == "volume" else _photograph(folder)
    simulate, began = {"kind": kind, "warp": warp}, time.process_time()
    suffix = "nii.gz" if case == "volume" else "png"
    found = nerfkit.fit(
        "register", source, folder / f"{case}_{seed}.{suffix}", simulate=simulate, seed=seed, seconds=LIMIT, **settings
    ).figures  # fmt: skip
    seconds = time.process_time() - began - sum(other.get("cpu_seconds", 0) for other in found["baselines"].values())
    command = f"nerfkit fit register {source.name} --simulate kind={kind},warp={warp:g} --seed {seed} -o out.{suffix}"
    command += "".join(f" --{name} {value}" for name, value in settings.items() if name == "field")
    metrics, chosen, name = found["metrics"], found["chosen"], f"{case}, seed {seed}"
    how = f"{chosen['similarity']}, bending {chosen['bending']:g}"
    rows = [
        Row(f"{name}: {found['field']} ({how})", metrics["error_median"], "px", wanted, command),
        Row(f"{name}: folds", metrics["folds"], "of the pixels", "0", command),
        Row(f"{name}: CPU seconds", round(seconds, 1), "s", "", command),
    ]
    return rows + [
        Row(f"{name}: {other}", figures["error_median"], "px", figures["how"], command)
        for other, figures in found["baselines"].items()
    ]


def _photograph(folder: Path) -> Path:
    path = folder / "astronaut.png"
    Image.fromarray(data.astronaut()).convert("L").save(path)
    return path


def _volume(folder: Path) -> Path:
    """A ball of smooth random tissue."""
    rng = np.random.default_rng(0)
    values = sum(gaussian_filter(rng.normal(size=(SIDE,) * 3), sigma) * sigma**1.5 for sigma in (2, 4, 8))
    values = np.asarray(values) - np.min(values)
    at = np.indices((SIDE,) * 3) / (SIDE / 2) - 1
    values = (values / values.max() * (np.square(at).sum(0) < 0.8)).astype(np.float32)
    path = folder / "tissue.nii.gz"
    write_volume(path, Volume(values, affine_of_spacing((SPACING, SPACING, SPACING))))
    return path


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    publish(measure(given.cases, range(given.seeds)), given.json)


if __name__ == "__main__":
    main()
