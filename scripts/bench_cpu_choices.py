"""What each choice behind the CPU's settings is worth: validation PSNR after equal seconds, one setting changed.

    python scripts/bench_cpu_choices.py [--seconds 20 | --steps N] [--only TEXT] [--data FOLDER]

Scenes are the made scene and, where --data or NERFKIT_TEST_DATA names the folder, lego_400; test views are not looked
at. The preset stands first and a second time at the end: the difference is what the machine's noise is worth. The
whole table takes about 20 minutes on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nerfkit.cpu import wait_briefly

wait_briefly()

from benchmarking import machine

from nerfkit.config import override
from nerfkit.cpu import keep_freed_memory, use_all_cores
from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.presets import PRESETS
from nerfkit.radiance_fit import RadianceFit
from nerfkit.scene import RadianceScene
from nerfkit.scenes.readers import PosedPhotos, read_posed_photos
from nerfkit.scenes.synthetic import write_posed_scene
from nerfkit.training import prepare

# settings that differ from the preset of the method that comes first
CHOICES = [
    ("hash",),
    ("hash", "samples_per_step=8192"),
    ("hash", "samples_per_step=32768"),
    ("hash", "field.log2_table_size=15"),
    ("hash", "field.log2_table_size=19"),
    ("hash", "field.n_levels=16", "field.n_features=2"),
    ("hash", "field.width=64"),
    ("hash", "field.n_color_layers=1"),
    ("hash", "sampling.n_steps=192"),
    ("hash", "sampling.n_steps=384"),
    ("hash", "sampling.resolution=128"),
    ("hash", "sampling.update_every=32"),
    ("hash", "field.touched_only=true"),
    ("hash", "min_weight=0"),
    ("hash", "min_weight=0.0001"),
    ("hash", "learning_rate=0.02"),
    ("hash", "learning_rate=0.08"),
    ("fourier",),
    ("fourier", "sampling.kind=stratified", "sampling.n_samples=48"),
    ("fourier", "samples_per_step=16384"),
    ("fourier", "learning_rate=0.006"),
    ("hash",),
]
N_WARM_STEPS = 40


@dataclass(frozen=True)
class Outcome:
    """A choice on a scene: mean PSNR over the validation views in dB, steps in the time, milliseconds a step."""

    choice: str
    scene: str
    psnr: float
    steps: int
    milliseconds: float


def train(source: PosedPhotos, choice: tuple[str, ...], budget: Budget) -> tuple[float, int, float]:
    """Validation PSNR, steps and seconds of a training."""
    method, *settings = choice
    config = override(PRESETS[method], settings)
    prepared = prepare(source, config, "cpu")
    task = RadianceFit(RadianceScene(config, prepared.bounds, prepared.background), prepared.data)
    keep_freed_memory()
    done = fit(task, budget, schedule=FitSchedule(config.warmup_steps, config.final_share))
    return task.validate()["psnr"], done.steps, done.seconds


def measure(sources: dict[str, PosedPhotos], choices: list[tuple[str, ...]], budget: Budget) -> list[Outcome]:
    """Every choice on every scene; a row is printed when it is known."""
    for choice in choices:
        # compiles and allocates, so that no clock contains it
        train(next(iter(sources.values())), choice, Budget(steps=N_WARM_STEPS))
    outcomes = []
    print("| settings | " + " | ".join(f"{name} | ms a step" for name in sources) + " |")
    print("|---" * (1 + 2 * len(sources)) + "|")
    for choice in choices:
        name, cells = " ".join(choice), []
        for scene, source in sources.items():
            value, steps, spent = train(source, choice, budget)
            outcomes.append(Outcome(name, scene, round(value, 3), steps, round(spent / steps * 1e3, 2)))
            cells += [f"{value:.2f} dB", f"{outcomes[-1].milliseconds:.1f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    return outcomes


def main() -> None:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NERFKIT_TEST_DATA") or None)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each training (default: 20)")
    parser.add_argument("--steps", type=int, help="equal steps instead, whatever they take: on a machine that is busy")
    parser.add_argument("--only", default="", help="choices that contain this text, between two of the preset")
    parser.add_argument("--json", type=Path, default=Path("docs/benchmarks/cpu_choices.json"))
    options = parser.parse_args()
    choices = [choice for choice in CHOICES if options.only in " ".join(choice)]
    if not choices:
        parser.error(f"--only: no choice contains {options.only!r}")
    if options.only:
        # what they are compared with, before and after
        preset = choices[0][:1]
        choices = [preset, *(choice for choice in choices if choice != preset), preset]
    use_all_cores()
    with tempfile.TemporaryDirectory() as name:
        write_posed_scene(Path(name) / "made")
        sources = {"made scene": read_posed_photos(Path(name) / "made")}
        if options.data:
            sources["lego_400"] = read_posed_photos(Path(options.data) / "lego_400")
        else:
            print("left out: lego_400 (needs --data or NERFKIT_TEST_DATA)", file=sys.stderr)
        budget = Budget(steps=options.steps) if options.steps else Budget(seconds=options.seconds)
        outcomes = measure(sources, choices, budget)
    rows = [dataclasses.asdict(outcome) for outcome in outcomes]
    content = {"machine": machine(), **dataclasses.asdict(budget), "outcomes": rows}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(content, indent=1) + "\n")
    print(f"wrote {options.json}")


if __name__ == "__main__":
    main()
