"""Pictures held in fields: fitted and held-out PSNR, choices of sigma and scale, derivatives, the comparison's time.

    python scripts/workbench_fit.py [--parts fit,siren,choice,derivatives,compare] [--seeds 3] [--json FILE]

Photographs are those of NERFKIT_TEST_DATA/images where that is set, else scikit-image's. Seconds are the process's
CPU-seconds of the fits alone. Nothing is chosen on what is reported.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
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
from nerfkit.scenes.fields.named import RECIPES, count_parameters
from nerfkit.scenes.observations.derivatives import jet
from nerfkit.workbench.choosing import choose_knob, hold_out
from nerfkit.workbench.held_fields import make_held_field
from nerfkit.workbench.interpolation import scattered_cubic
from nerfkit.workbench.regression import decibels, pixel_problem, sample_picture

__all__ = ["PARTS", "measure", "picture", "table"]

# CPU-seconds at which a fit is looked at
MARKS = (5.0, 20.0)
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


def picture(name: str, side: int = 256) -> torch.Tensor:
    """A photograph [h, w, c] in [0, 1]; letters as they are: smaller they could not be read."""
    values = photograph(name, None if name == "text" else side).astype(np.float32) / 255
    return torch.from_numpy(values if values.ndim == 3 else values[..., None])


def _fit(
    values: torch.Tensor, name: str, knob: float | None, n_params: int, held_out: torch.Tensor, seed: int,
    seconds: float, steps: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """A field fitted to the pixels that are not held out; figures at each mark of CPU-seconds and at the end."""
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
    n_steps = steps or max(3, round(seconds / per_step))
    before = time.process_time()
    fit(problem, Budget(steps=n_steps), schedule=FitSchedule(final_fraction=0.02))
    spent = time.process_time() - before
    errors = (sample_picture(held.field, (width, height), (width, height)) - values).square().mean(-1)
    return [
        {
            "seconds": round(spent, 1), "steps": n_steps, "n_params": count_parameters(held.field), "knob": knob,
            "fitted_psnr": round(decibels(float(errors[known].mean())), 2),
            "holdout_psnr": round(decibels(float(errors[held_out].mean())), 2) if held_out.any() else None,
        }
    ]  # fmt: skip


def fits(seeds: int) -> list[dict[str, Any]]:
    """camera 256 x 256 at 270 000 parameters: fitted (all pixels) and held out (a tenth of them)."""
    values, rows = picture("camera"), []
    nothing = torch.zeros(values.shape[:2], dtype=torch.bool)
    for label, (name, given) in FITTED.items():
        for seconds in MARKS:
            for seed in range(seeds if label in ("default", "tiled, scale 15", "hash") else 1):
                row = {"picture": "camera 256", "field": label, "seed": seed, "budget_cpu_s": seconds}
                knob = given.get("knob")
                held_out = hold_out(values.shape[:2], 0.1, seed)
                row |= _fit(values, name, knob, 270_000, held_out, seed, seconds)[0]
                row["fitted_all_psnr"] = _fit(values, name, row["knob"], 270_000, nothing, seed, seconds)[0][
                    "fitted_psnr"
                ]
                rows.append(row)
    held_out = hold_out(values.shape[:2], 0.1, 0)
    cubic = scattered_cubic(values.numpy(), ~held_out.numpy())
    mse = float(np.square(cubic - values.numpy())[held_out.numpy()].mean())
    rows.append(
        {"picture": "camera 256", "field": "cubic through the kept pixels", "holdout_psnr": round(decibels(mse), 2)}
    )
    return rows


def sirens(seeds: int) -> list[dict[str, Any]]:
    """camera 128 x 128, SIREN of 3 x 256, 100 steps of all pixels."""
    values, rows = picture("camera", 128), []
    for scale, fraction in ((60.0, 0.0), (30.0, 0.1)):
        for seed in range(seeds):
            row = {
                "picture": "camera 128",
                "field": f"SIREN 3 x 256, scale {scale:g}, 100 full-batch steps",
                "seed": seed,
            }
            held_out = hold_out(values.shape[:2], fraction, seed)
            recipe = RECIPES["siren"]
            held = make_held_field("siren", (128, 128), [[0.0, 1.0]], 132_609, seed=seed, knob=scale)
            problem = pixel_problem(
                held.field, values, ~held_out, learning_rate=recipe.learning_rate, n=2**20, seed=seed
            )
            before = time.process_time()
            fit(problem, Budget(steps=100), schedule=FitSchedule(final_fraction=0.02, warmup_steps=1))
            errors = (sample_picture(held.field, (128, 128), (128, 128)) - values).square().mean(-1)
            row |= {
                "seconds": round(time.process_time() - before, 1), "n_params": count_parameters(held.field),
                "fitted_psnr": round(decibels(float(errors[~held_out].mean())), 2),
                "holdout_psnr": round(decibels(float(errors[held_out].mean())), 2) if fraction else None,
            }  # fmt: skip
            rows.append(row)
    return rows


def choices(seeds: int) -> list[dict[str, Any]]:
    """What is lost against the best value by choosing sigma or scale: held-out PSNR of whole fits."""
    rows = []
    for name_of_picture in CHOSEN_ON:
        values = picture(name_of_picture, 128)
        for name, knob in CHOICES.items():
            held_out = hold_out(values.shape[:2], 0.1, 0)
            before = time.process_time()
            bounds = [[0.0, 1.0]] * values.shape[2]
            found = choose_knob(name, values, ~held_out, bounds, 70_000, seed=0)
            seconds = time.process_time() - before
            candidates = [found["value"] * 2.0**place for place in range(-2, 3)]
            steps = 300 if name == "tiled" else 400
            scores = {
                value: _fit(values, name, value, 70_000, held_out, 0, 0.0, steps)[0]["holdout_psnr"]
                for value in candidates
            }
            best = max(scores, key=lambda value: scores[value])
            rows.append({
                "picture": name_of_picture, "field": name, "setting": knob, "chosen": found["value"], "best": best,
                "lost_db": round(scores[best] - scores[found["value"]], 2), "choice_cpu_s": round(seconds, 1),
                "scores": {f"{value:g}": score for value, score in scores.items()},
            })  # fmt: skip
    return rows


def derivatives(seeds: int) -> list[dict[str, Any]]:
    """Relative L2 error of derivatives of fitted fields against Richardson differences in float64."""
    rows, values = [], picture("camera", 64)
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
        rows.append(row)
    return rows


def comparison(seeds: int) -> list[dict[str, Any]]:
    """Wall seconds of `nerfkit fit compare`: all fields, 70 000 parameters, camera 128 x 128, 1000 iterations, mp4."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "camera.png"
        Image.fromarray(photograph("camera", 128)).save(source)
        began = time.monotonic()
        found = nerfkit.fit("compare", source, Path(folder) / "out.png").figures
        seconds = round(time.monotonic() - began, 1)
    rows = {found["field"]: found["metrics"], **found["baselines"]}
    return [{"field": "all", "wall_s": seconds, "cut": found["cut"]}] + [
        {"field": name, **{key: row[key] for key in ("fitted_psnr", "holdout_psnr")}} for name, row in rows.items()
    ]


PARTS = {"fit": fits, "siren": sirens, "choice": choices, "derivatives": derivatives, "compare": comparison}


def measure(parts: list[str], seeds: int = 1) -> dict[str, list[dict[str, Any]]]:
    """Rows of each part."""
    return {part: PARTS[part](seeds) for part in parts}


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
        found[part] = PARTS[part](options.seeds)
        print(f"\n{part}\n{table(found[part])}", flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
