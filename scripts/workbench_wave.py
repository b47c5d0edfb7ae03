"""How well `nerfkit fit wave` solves waves, beside finite differences, and `nerfkit fit solve speeds` five speeds.

python scripts/workbench_wave.py [--cases line ...] [--seeds 3] [--json FILE]

Relative L2 errors are over all moments (waves of one frequency: over the domain), against finite differences whose own
change is printed when their cells are twice as large; waves of one frequency with one speed also against the closed
form. CPU seconds are of all that a command does: choice of settings, solution, finite differences twice, video, report.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarking import Row, publish
from numpy.typing import NDArray

import nerfkit
from nerfkit.tasks.wave import read
from nerfkit.workbench.waves.helmholtz import outgoing
from nerfkit.workbench.waves.settings import WaveConfig

__all__ = ["CASES", "measure"]

# cells of a map along its side, and that side
N_CELLS, LENGTH = 200, 2.0


@dataclass(frozen=True)
class Case:
    """A wave: its map, settings, the error that is wanted, and that of one seed alone or of all."""

    map: str
    goal: str
    settings: dict[str, Any] = field(default_factory=dict)
    has_seeds: bool = False


CASES = {
    "1-D, constant speed": Case("1", "<= 2e-4 in 10 s", {"dims": 1, "length": LENGTH}),
    "1-D, speed 0.5 to 1": Case("step", "<= 2e-3 in 10 s", {"length": LENGTH}),
    "2-D, constant speed": Case("1", "<= 8e-3 in 60 s", {"length": LENGTH}, has_seeds=True),
    "2-D, speed 0.6 to 1": Case("lens", "<= 5e-2 in 150 s, stretch 2e-2", {"length": LENGTH}, has_seeds=True),
    "Helmholtz k = 20, source 0.12": Case("1", "<= 2e-2 in 60 s", {"equation": "helmholtz", "width": 0.12}),
    "Helmholtz k = 20, source 0.06": Case("1", "<= 8e-2 in 60 s", {"equation": "helmholtz", "width": 0.06}),
}
SPEEDS = "five speeds"


def speed_map(name: str) -> NDArray[np.float64]:
    """Speeds that rise in a step [n], or a slow lens [n, n]."""
    at = (np.arange(N_CELLS) + 0.5) * LENGTH / N_CELLS
    if name == "step":
        return 0.5 + 0.25 * (1 + np.tanh((at - 1.3) / 0.1))
    x, y = np.meshgrid(at, at)
    return 1 - 0.4 * np.exp(-((x - 1.4) ** 2 + (y - 1.2) ** 2) / 0.3**2)


def measure(cases: Sequence[str] = (*CASES, SPEEDS), seeds: Sequence[int] = (0, 1, 2)) -> list[Row]:
    """Errors and CPU seconds of each case, some rows each."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases:
            if case == SPEEDS:
                rows += _of_speeds(folder)
                continue
            for seed in seeds if CASES[case].has_seeds else seeds[:1]:
                rows += _of_wave(case, seed, folder)
    return rows


def _of_wave(name: str, seed: int, folder: Path) -> list[Row]:
    case = CASES[name]
    source = Path(case.map)
    if case.map != "1":
        source = folder / f"{case.map}.npy"
        np.save(source, speed_map(case.map))
    sets = " ".join(f"--set {key}={value}" for key, value in case.settings.items())
    command = f"nerfkit fit wave {source.name} -o u.npz {sets} --seed {seed}"
    name = f"{name}, seed {seed}" if case.has_seeds else name
    out = folder / "u.npz"
    began = time.process_time()
    found = nerfkit.fit("wave", source, out, overwrite=True, seed=seed, seconds=1e6, **case.settings).figures
    spent = time.process_time() - began
    baseline = found["baselines"]["finite differences"]
    rows = [
        Row(name, found["metrics"]["relative_error"], "relative L2", case.goal, command),
        Row(f"{name}: predicted by points not seen", found["metrics"]["holdout"], "relative", "", command),
        Row(f"{name}: CPU", spent, "s", "", command),
        Row(f"{name}: seconds", found["seconds"], "s", "", command),
        Row(f"{name}: finite differences, change with cells twice as large", baseline["change"], "relative", "", ""),
        Row(f"{name}: finite differences, CPU", baseline["cpu_seconds"], "s", "", ""),
    ]
    if case.settings.get("equation") == "helmholtz":
        rows.append(
            Row(f"{name}: against the closed form", _from_closed_form(source, case, out), "relative L2", "", "")
        )
    return rows


def _from_closed_form(source: Path, case: Case, out: Path) -> float:
    problem: Any = read([source], WaveConfig(**case.settings))
    with np.load(out) as found:
        x, y = np.meshgrid(found["x"], found["y"])
        values = found["u"]
    truth = outgoing(problem, np.hypot(x - problem.source.place[0], y - problem.source.place[1]))
    return float(np.linalg.norm(values - truth) / np.linalg.norm(truth))


def _of_speeds(folder: Path) -> list[Row]:
    command = "nerfkit fit solve speeds -o u.npy"
    began = time.process_time()
    found = nerfkit.fit("solve", "speeds", folder / "speeds.npy", overwrite=True, seconds=1e6).figures
    spent = time.process_time() - began
    numbers = found["metrics"]["unknowns"]
    errors = {name: abs(each["value"] / each["true"] - 1) for name, each in numbers.items()}
    worst = max(errors, key=lambda name: errors[name])
    spread = max(each["spread"] / each["true"] for each in numbers.values())
    scores = torch.tensor([(each["value"] - each["true"]) / each["spread"] for each in numbers.values()])
    return [
        Row(f"{SPEEDS}: greatest error ({worst})", 100 * errors[worst], "%", "<= 3", command),
        Row(f"{SPEEDS}: greatest spread", 100 * spread, "%", "", command),
        Row(f"{SPEEDS}: error over spread, rms of five", float(scores.square().mean().sqrt()), "", "about 1", command),
        Row(f"{SPEEDS}: CPU", spent, "s", "", command),
        Row(f"{SPEEDS}: seconds", found["seconds"], "s", "", command),
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=(*CASES, SPEEDS), default=[*CASES, SPEEDS])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    publish(measure(given.cases, range(given.seeds)), given.json)


if __name__ == "__main__":
    main()
