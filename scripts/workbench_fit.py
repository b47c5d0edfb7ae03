"""Pictures held in fields: fitted and held-out PSNR, choices of sigma and scale, derivatives, the comparison's time.

    python scripts/workbench_fit.py [--parts fit,siren,choice,derivatives,compare] [--seeds 3] [--json FILE]

Photographs are those of NERFKIT_TEST_DATA/images where that is set, else scikit-image's. Seconds are the process's
CPU-seconds of the fits alone. Nothing is chosen on what is reported. A row is printed when it is measured.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nerfkit.cpu import wait_briefly

wait_briefly()

import numpy as np
import torch
from benchmarking import machine
from PIL import Image
from workbench_pictures import photograph

import nerfkit
from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.heldout import Trial, search_line
from nerfkit.scenes.fields.named import RECIPES, count_parameters
from nerfkit.scenes.observations.derivatives import jet
from nerfkit.workbench.choosing import choose_knob, detailed_part, hold_out
from nerfkit.workbench.held_fields import make_held_field
from nerfkit.workbench.interpolation import scattered_cubic
from nerfkit.workbench.regression import decibels, pixel_problem, sample_picture

__all__ = ["PARTS", "picture", "printed", "table"]

# CPU-seconds that a fit has: those of the goals, and of fields that have none
MARKS, LAST = (5.0, 20.0), 20.0
# fields that have a goal for what they remember; with the default these are measured with every seed
WITH_GOAL = ("tiled, scale 15", "hash")
# what the part "fit" measures: a field, and settings of it
FITTED = {
    "default": ("tiled", {"knob": None}),
    "tiled, scale 15": ("tiled", {"knob": 15.0}),
    "hash": ("hash", {}),
    "exp-hash": ("exp-hash", {}),
    "siren": ("siren", {"knob": 30.0}),
    "finer": ("finer", {"knob": 30.0}),
    "wire": ("wire", {"knob": 10.0}),
    "gauss": ("gauss", {"knob": 10.0}),
    "fourier": ("fourier", {"knob": 8.0}),
    "exp-fourier": ("exp-fourier", {"knob": 8.0}),
    "relu": ("relu", {}),
    "relu-pretrained": ("relu-pretrained", {"knob": 8.0}),
    "grid": ("grid", {}),
}
# pictures that sigma and scale are chosen on: letters, photographs, a scan
CHOSEN_ON = ("text", "camera", "astronaut", "phantom")
CHOICES = {"siren": "scale", "fourier": "sigma", "tiled": "scale"}
# steps of the whole fits that a choice is held against, and pixels a step of single networks
WHOLE_STEPS, WHOLE_BATCH = 400, 1024
# of the SIREN whose steps see all pixels
FULL_BATCH_RATE = 1e-3


def picture(name: str, side: int = 256) -> torch.Tensor:
    """A photograph [h, w, c] in [0, 1]; letters as they are: smaller they could not be read."""
    values = photograph(name, None if name == "text" else side).astype(np.float32) / 255
    return torch.from_numpy(values if values.ndim == 3 else values[..., None])


def _fit(
    values: torch.Tensor, name: str, knob: float | None, n_params: int, held_out: torch.Tensor, seed: int,
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """A field fitted for some CPU-seconds to the pixels that are not held out, and figures of it."""
    height, width, n_channels = values.shape
    bounds = [[0.0, 1.0]] * n_channels
    known = ~held_out
    if knob is None and RECIPES[name].knob:
        knob = choose_knob(name, values, known, bounds, n_params, seed=seed)["value"]
    held = make_held_field(name, (width, height), bounds, n_params, seed=seed, knob=knob)
    problem = pixel_problem(
        held.field, values, known, learning_rate=RECIPES[name].learning_rate, n=RECIPES[name].batch, seed=seed
    )
    # what a step takes, so that the schedule ends where the seconds do
    trial = pixel_problem(
        make_held_field(name, (width, height), bounds, n_params, seed=seed, knob=knob).field, values, known,
        learning_rate=1e-4, n=RECIPES[name].batch, seed=seed,
    )  # fmt: skip
    fit(trial, Budget(steps=2), schedule=FitSchedule())
    before = time.process_time()
    fit(trial, Budget(steps=3), schedule=FitSchedule())
    per_step = (time.process_time() - before) / 3
    n_steps = max(3, round(seconds / per_step))
    before = time.process_time()
    fit(problem, Budget(steps=n_steps), schedule=FitSchedule(final_fraction=0.02))
    spent = time.process_time() - before
    errors = (sample_picture(held.field, (width, height), (width, height)) - values).square().mean(-1)
    return {
        "seconds": round(spent, 1), "steps": n_steps, "n_params": count_parameters(held.field), "knob": knob,
        "fitted_psnr": round(decibels(float(errors[known].mean())), 2),
        "holdout_psnr": round(decibels(float(errors[held_out].mean())), 2) if held_out.any() else None,
    }  # fmt: skip


def fits(seeds: int) -> Iterator[dict[str, Any]]:
    """camera 256 x 256 at 270 000 parameters: a tenth of the pixels held out at 20 CPU-s, all fitted where there is a
    goal for that, at 5, too.
    """
    values = picture("camera")
    nothing = torch.zeros(values.shape[:2], dtype=torch.bool)
    for label, (name, given) in FITTED.items():
        for seed in range(seeds if label in ("default", *WITH_GOAL) else 1):
            row = {"picture": "camera 256", "field": label, "seed": seed}
            held_out, knob = hold_out(values.shape[:2], 0.1, seed), given.get("knob")
            yield row | {"budget_cpu_s": LAST} | _fit(values, name, knob, 270_000, held_out, seed, LAST)
            for seconds in MARKS if label in WITH_GOAL else ():
                yield row | {"budget_cpu_s": seconds} | _fit(values, name, knob, 270_000, nothing, seed, seconds)
    held_out = hold_out(values.shape[:2], 0.1, 0)
    cubic = scattered_cubic(values.numpy(), ~held_out.numpy())
    mse = float(np.square(cubic - values.numpy())[held_out.numpy()].mean())
    yield {"picture": "camera 256", "field": "cubic through the kept pixels", "holdout_psnr": round(decibels(mse), 2)}


def sirens(seeds: int) -> Iterator[dict[str, Any]]:
    """camera 128 x 128, SIREN of 3 x 256, 100 steps of all pixels."""
    values = picture("camera", 128)
    for scale, fraction in ((60.0, 0.0), (30.0, 0.1)):
        for seed in range(seeds):
            row = {
                "picture": "camera 128",
                "field": f"SIREN 3 x 256, scale {scale:g}, 100 full-batch steps",
                "seed": seed,
            }
            held_out = hold_out(values.shape[:2], fraction, seed)
            held = make_held_field("siren", (128, 128), [[0.0, 1.0]], 132_609, seed=seed, knob=scale)
            problem = pixel_problem(held.field, values, ~held_out, learning_rate=FULL_BATCH_RATE, n=2**20, seed=seed)
            before = time.process_time()
            fit(problem, Budget(steps=100), schedule=FitSchedule(final_fraction=0.02, warmup_steps=1))
            errors = (sample_picture(held.field, (128, 128), (128, 128)) - values).square().mean(-1)
            row |= {
                "seconds": round(time.process_time() - before, 1), "n_params": count_parameters(held.field),
                "fitted_psnr": round(decibels(float(errors[~held_out].mean())), 2),
                "holdout_psnr": round(decibels(float(errors[held_out].mean())), 2) if fraction else None,
            }  # fmt: skip
            yield row


def choices(seeds: int) -> Iterator[dict[str, Any]]:
    """What is lost against the best value by choosing sigma or scale: held-out PSNR of whole fits.

    The best is sought from the chosen value on, by halves and doubles, until it gets worse on both sides.
    """
    for name_of_picture in CHOSEN_ON:
        values = picture(name_of_picture, 128)
        # of the letters, which are larger, the part with most of them
        values = detailed_part(values, 128).contiguous()
        for name, knob in CHOICES.items():
            for seed in range(seeds):
                yield {"picture": name_of_picture, "field": name, "seed": seed, "setting": knob} | _choice(
                    values, name, seed
                )


def _choice(values: torch.Tensor, name: str, seed: int) -> dict[str, Any]:
    """The value that is chosen, the best one, and the difference of their whole fits."""
    height, width, n_channels = values.shape
    bounds, held_out = [[0.0, 1.0]] * n_channels, hold_out((height, width), 0.1, seed)
    before = time.process_time()
    chosen = choose_knob(name, values, ~held_out, bounds, 70_000, seed=seed)["value"]
    seconds = time.process_time() - before
    recipe = RECIPES[name]

    def whole(value: float, best: Trial[float] | None = None) -> Trial[float]:
        held = make_held_field(name, (width, height), bounds, 70_000, seed=seed, knob=value)
        n = recipe.batch if name == "tiled" else WHOLE_BATCH
        problem = pixel_problem(held.field, values, ~held_out, learning_rate=recipe.learning_rate, n=n, seed=seed)
        fit(problem, Budget(steps=WHOLE_STEPS), schedule=FitSchedule(final_fraction=0.02))
        found = sample_picture(held.field, (width, height), (width, height))
        return Trial(value, found, (found - values)[held_out].square().mean(-1))

    tried = search_line(whole(chosen), lambda place: chosen * 2.0**place, whole)
    scores = {trial.setting: decibels(trial.mse) for trial in tried.values()}
    best = max(scores, key=lambda value: scores[value])
    return {
        "chosen": chosen, "best": best, "lost_db": round(scores[best] - scores[chosen], 2),
        "choice_cpu_s": round(seconds, 1),
        "scores": {f"{value:g}": round(scores[value], 2) for value in sorted(scores)},
    }  # fmt: skip


def derivatives(seeds: int) -> Iterator[dict[str, Any]]:
    """Relative L2 error of derivatives of fitted fields against Richardson differences in float64."""
    values = picture("camera", 64)
    for name in ("siren", "exp-fourier", "fourier", "hash"):
        held = make_held_field(name, (64, 64), [[0.0, 1.0]], 20_000, seed=0)
        everything, rate = torch.ones(64, 64, dtype=torch.bool), RECIPES[name].learning_rate
        problem = pixel_problem(held.field, values, everything, learning_rate=rate, n=2**12, seed=0)
        fit(problem, Budget(steps=200), schedule=FitSchedule())
        single, double = held.field, make_held_field(name, (64, 64), [[0.0, 1.0]], 20_000, seed=0).field
        double.load_state_dict(single.state_dict())
        double = double.double()
        at = torch.rand(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 60 + 2
        # where there are kinks, of ReLUs and of cells, few points are so near to one
        has_kinks = name in ("fourier", "hash")
        step = 1e-6 if has_kinks else 1e-2

        def differences(h: float, field: Any = double, at: torch.Tensor = at) -> tuple[torch.Tensor, Any]:
            moves = torch.eye(2, dtype=torch.float64) * h
            ahead, behind, here = [field(at + m) for m in moves], [field(at - m) for m in moves], field(at)
            slopes = torch.stack([(a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True)], -1)
            return slopes, sum(a + b - 2 * here for a, b in zip(ahead, behind, strict=True)) / h**2

        with torch.no_grad():
            (near, near2), (far, far2) = differences(step), differences(2 * step)
            wanted, wanted2 = (4 * near - far) / 3, (4 * near2 - far2) / 3
            row: dict[str, Any] = {"field": name}
            # differences of second order see the kinks alone
            order = 1 if has_kinks else "laplacian"
            for label, found in (("float64", jet(double, at, order)), ("float32", jet(single, at.float(), order))):
                row[f"gradient {label}"] = float(f"{float((found.gradient - wanted).norm() / wanted.norm()):.2g}")
                if order != 1:
                    row[f"laplacian {label}"] = float(
                        f"{float((found.laplacian - wanted2).norm() / wanted2.norm()):.2g}"
                    )
        yield row


def comparison(seeds: int) -> Iterator[dict[str, Any]]:
    """Wall seconds of `nerfkit fit compare`: all fields, 70 000 parameters, camera 128 x 128, 1000 iterations, mp4."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "camera.png"
        Image.fromarray(photograph("camera", 128)).save(source)
        began = time.monotonic()
        found = nerfkit.fit("compare", source, Path(folder) / "out.png").figures
        seconds = round(time.monotonic() - began, 1)
    rows = {found["field"]: found["metrics"], **found["baselines"]}
    yield {"field": "all", "wall_s": seconds, "cut": found["cut"]}
    for name, row in rows.items():
        yield {"field": name, **{key: row[key] for key in ("fitted_psnr", "holdout_psnr")}}


# part -> its rows for a number of seeds, each when it is measured
PARTS: dict[str, Callable[[int], Iterator[dict[str, Any]]]] = {
    "fit": fits, "siren": sirens, "choice": choices, "derivatives": derivatives, "compare": comparison,
}  # fmt: skip


def printed(part: str, seeds: int) -> list[dict[str, Any]]:
    """Rows of a part, each printed when it is measured."""
    rows = []
    for row in PARTS[part](seeds):
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "scores"))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        lines.append("| " + " | ".join("" if row.get(key) is None else str(row[key]) for key in columns) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json")
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    for part in options.parts.split(","):
        found[part] = printed(part, options.seeds)
        print(f"\n{part}\n{table(found[part])}", flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
