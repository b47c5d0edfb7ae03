"""How well `nerfkit fit solve` solves its examples: error, residual at held-out points, CPU seconds.

python scripts/workbench_equations.py [--cases poisson heat burgers plate eikonal] [--json FILE]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarking import Row, publish

import nerfkit

# example -> its solver, and the relative error that is wanted; by Adam the eikonal alone
CASES = {
    "poisson": ("auto", "<= 1e-6"), "heat": ("auto", "<= 1e-3"), "burgers": ("auto", "<= 4e-3"),
    "plate": ("auto", ""), "eikonal": ("adam", "<= 6e-3"),
}  # fmt: skip


def measure(cases: Sequence[str] = tuple(CASES), seed: int = 0) -> list[Row]:
    """Relative error, residual and CPU seconds of each example, a row each."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            solver, wanted = CASES[case]
            began = time.process_time()
            found = nerfkit.fit(
                "solve", case, Path(folder) / f"{case}.npy", solver=solver, seed=seed, seconds=1e6
            ).figures  # fmt: skip
            spent = time.process_time() - began
            command = f"nerfkit fit solve {case} --solver {solver} --seed {seed} -o u.npy"
            by = found["chosen"]["solver"]
            rows.append(Row(f"{case}: {by}", found["metrics"]["relative_error"], "relative error", wanted, command))
            rows.append(Row(f"{case}: residual at held-out points", found["metrics"]["residual"], "rms", "", command))
            rows.append(Row(f"{case}: CPU", spent, "s", "", command))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    publish(measure(given.cases, given.seed), given.json)


if __name__ == "__main__":
    main()
