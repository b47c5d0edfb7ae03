"""Steps a second of one process of one thread and of two, which share the same batch; the second by torchrun and gloo.

    python scripts/bench_scaling.py [--samples 131072] [--steps 40] [--processes 1 2] [--json FILE]

Each process keeps to a core of its own, so the machine has to be idle and to have as many. Figures are medians over the
second half of the steps. The goal is for two processes beside one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from nerfkit.cpu import usable_cores, wait_briefly

wait_briefly()

import numpy as np
from benchmarking import Row, publish

GOAL = 1.5
PATIENCE = 1800.0


def work(folder: Path, samples: int, steps: int) -> None:
    """What each process does: train, and let the first write the median seconds of a step."""
    rank = int(os.environ.get("RANK", "0"))
    if hasattr(os, "sched_setaffinity"):
        # before the libraries count cores
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    import nerfkit
    from nerfkit.cpu import keep_freed_memory, use_all_cores

    use_all_cores()
    keep_freed_memory()
    ends: list[float] = []
    nerfkit.train(
        folder / "scene", folder / f"run_{os.environ.get('WORLD_SIZE', '1')}", device="cpu", steps=steps,
        samples_per_step=samples, max_rays=samples, on_progress=lambda progress: ends.append(progress.seconds),
    )  # fmt: skip
    if rank == 0:
        median = float(np.median(np.diff(ends[len(ends) // 2 :])))
        (folder / "median.json").write_text(json.dumps(median))


def steps_a_second(folder: Path, n: int, samples: int, steps: int) -> float:
    """Of ``n`` processes of one thread each."""
    words = [__file__, "--work", str(folder), "--samples", str(samples), "--steps", str(steps)]
    launcher = [] if n == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    print(f"+ {n} processes", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, *launcher, *words], check=True, timeout=PATIENCE, env=environment)
    return 1 / json.loads((folder / "median.json").read_text())


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2**17)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work is not None:
        work(given.work, given.samples, given.steps)
        return 0
    if max(given.processes) > usable_cores():
        parser.error(f"{max(given.processes)} processes of a core each; this machine has {usable_cores()}")
    command = f"python scripts/bench_scaling.py --samples {given.samples} --steps {given.steps}"
    rows = []
    with tempfile.TemporaryDirectory() as name:
        from nerfkit.scenes.synthetic import write_posed_scene

        write_posed_scene(Path(name) / "scene", n_train=20, n_val=1, n_test=1, size=(100, 100), supersample=1)
        rates = {n: steps_a_second(Path(name), n, given.samples, given.steps) for n in given.processes}
    for n, rate in rates.items():
        rows.append(Row(f"{n} process{'es' * (n > 1)} of one thread", rate, "steps/s", "", command))
    first = given.processes[0]
    for n in given.processes[1:]:
        goal = f">= {GOAL}" if (first, n) == (1, 2) else ""
        rows.append(Row(f"{n} beside {first}, the same batch", rates[n] / rates[first], "times", goal, command))
    publish(rows, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
