"""The workbench beside the classics: all that docs/benchmarks.md says of `nerfkit fit`.

    python scripts/bench_workbench.py --part images [--only fit,siren,choice,derivatives,compare,gradient,inpaint,
        denoise,compress] [--seeds 3] [--json FILE]
    python scripts/bench_workbench.py --part instruments [--only ct,mri,volume,register]
    python scripts/bench_workbench.py --part shapes_physics [--only equations,wave,many,shape]

Each item is a script of its own, scripts/workbench_*.py, whose options say more. Baselines have the best parameters
that the truth can choose, in the same run. Photographs are those of NERFKIT_TEST_DATA/images, else scikit-image's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nerfkit.cpu import wait_briefly

wait_briefly()

import workbench_compress
import workbench_ct
import workbench_denoise
import workbench_equations
import workbench_fit
import workbench_gradient
import workbench_inpaint
import workbench_many
import workbench_mri
import workbench_register
import workbench_shape
import workbench_volume
import workbench_wave
from benchmarking import Row, machine

__all__ = ["PARTS", "main"]

# noise of several pictures, of 255; camera at every level, colour at one
DENOISED = {"camera": (15.0, 25.0, 50.0), "astronaut": (25.0,)}


def _rows(rows: list[Row]) -> tuple[str, Any]:
    lines = ["| what | figure | goal | command |", "|---|---|---|---|", *map(str, rows)]
    return "\n".join(lines), [asdict(row) for row in rows]


def _of_fits(part: str) -> Callable[[int], tuple[str, Any]]:
    def measure(seeds: int) -> tuple[str, Any]:
        rows = workbench_fit.printed(part, seeds)
        return workbench_fit.table(rows), rows

    return measure


def _denoise(seeds: int) -> tuple[str, Any]:
    rows = [
        row
        for image, sigmas in DENOISED.items()
        for row in workbench_denoise.measure([image], sigmas, range(seeds), with_coordinate_field=True)
    ]
    return workbench_denoise.table(rows), [asdict(row) for row in rows]


def _compress(seeds: int) -> tuple[str, Any]:
    rows = workbench_compress.measure(["astronaut:256"], [0.6, 1.33], seeds=range(seeds))
    rows += workbench_compress.measure(["kodim04"], [0.4, 0.78], seeds=range(1))
    return workbench_compress.table(rows), rows


# item -> what measures it, for a number of seeds: its table, and what is written as JSON
IMAGES: dict[str, Callable[[int], tuple[str, Any]]] = {
    **{part: _of_fits(part) for part in workbench_fit.PARTS},
    "gradient": lambda seeds: _rows(workbench_gradient.measure()),
    "inpaint": lambda seeds: _rows(workbench_inpaint.measure()),
    "denoise": _denoise,
    "compress": _compress,
}
INSTRUMENTS: dict[str, Callable[[int], tuple[str, Any]]] = {
    "ct": lambda seeds: _rows(workbench_ct.measure(seeds=range(seeds))),
    "volume": lambda seeds: _rows(workbench_volume.measure()),
    "register": lambda seeds: _rows(workbench_register.measure(seeds=range(seeds))),
    "mri": lambda seeds: _rows(workbench_mri.measure(seeds=range(seeds))),
}
SHAPES_PHYSICS: dict[str, Callable[[int], tuple[str, Any]]] = {
    "equations": lambda seeds: _rows([row for seed in range(seeds) for row in workbench_equations.measure(seed=seed)]),
    "wave": lambda seeds: _rows(workbench_wave.measure(seeds=range(seeds))),
    "many": lambda seeds: _rows(workbench_many.measure(seeds=range(seeds))),
    "shape": lambda seeds: _rows(workbench_shape.measure(seeds=range(seeds))),
}
PARTS = {"images": IMAGES, "instruments": INSTRUMENTS, "shapes_physics": SHAPES_PHYSICS}


def main() -> None:
    """Measure, print, write after each item."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, default="images")
    parser.add_argument("--only", help="items, separated by commas (default: all)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    items = PARTS[given.part]
    wanted = list(items) if given.only is None else given.only.split(",")
    if unknown := [item for item in wanted if item not in items]:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(items)}")
    found: dict[str, Any] = {"machine": machine()}
    for item in wanted:
        table, found[item] = items[item](given.seeds)
        print(f"\n{item}\n{table}", flush=True)
        if given.json is not None:
            given.json.write_text(json.dumps(found, indent=1, default=str))


if __name__ == "__main__":
    main()
