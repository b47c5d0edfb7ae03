"""How well `nerfkit fit gradient` restores a photograph from its derivatives alone, beside the exact solution.

python scripts/workbench_gradient.py [--cases gradient64 laplacian64 gradient256] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarking import Row, publish
from PIL import Image
from workbench_pictures import photograph

import nerfkit

# name -> which derivatives, pixels a side, what is wanted, dB
CASES = {
    "gradient64": ("gradient", 64, 38.0), "laplacian64": ("laplacian", 64, 26.0),
    "gradient256": ("gradient", 256, 32.0),
}  # fmt: skip


def measure(cases: Sequence[str] = tuple(CASES), name: str = "camera", **settings: Any) -> list[Row]:
    """PSNR of what derivatives alone give, levelled, and CPU seconds, each a row."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            of, side, wanted = CASES[case]
            source = Path(folder) / f"{name}{side}.png"
            Image.fromarray(photograph(name, side)).save(source)
            began = time.process_time()
            given = {"of": of, "holdout": 0.0, "seconds": 1e6, **settings}
            found = nerfkit.fit("gradient", source, Path(folder) / f"{case}_fit.png", **given).figures
            spent = time.process_time() - began
            command = f"nerfkit fit gradient {source.name} --set of={of} --set holdout=0 -o out.png"
            rows.append(Row(f"{case}: {found['field']}", found["metrics"]["psnr"], "dB", f">= {wanted}", command))
            rows.append(Row(f"{case}: CPU", spent, "s", "<= 60" if side == 256 else "", command))
            exact = found["baselines"]["poisson"]
            rows.append(Row(f"{case}: poisson", exact["psnr"], "dB", exact["how"], command))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    publish(measure(given.cases), given.json)


if __name__ == "__main__":
    main()
