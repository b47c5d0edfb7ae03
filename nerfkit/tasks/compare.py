"""The task `compare`: fields side by side on one picture at an equal number of parameters, over the iterations."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nerfkit.clock import working_seconds
from nerfkit.scenes.fields.named import FIELD_NAMES
from nerfkit.scenes.settings import check_range
from nerfkit.tasks.image import ImageData, read
from nerfkit.workbench.settings import MAX_PARAMS, MIN_PARAMS, FitConfig
from nerfkit.workbench.task import FitTask

if TYPE_CHECKING:
    import torch

    from nerfkit.workbench.held_fields import HeldField
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["SEED_SHAPES", "TASK", "CompareConfig", "shown_steps"]

# pixels a step: so few that all fields take a thousand steps in three minutes; 1024 give a SIREN 0.8 dB more, Fourier
# features 0.1 (docs/decisions/0038)
BATCH = 768
# fields whose step sees more, as many as their recipe says: a lattice, or look-ups that cost little
CHEAP = ("tiled", "hash", "exp-hash", "grid")
# pictures of the evolution at most, and frames a second of the video
N_SHOWN, FPS = 24, 6
# the shapes of the original comparison: 263 683 parameters, and 70 770 of a table and 206 595 of a network, for RGB
SEED_SHAPES = {
    "exp-fourier": (263_683, {"n_layers": 4, "has_first_bias": False}),
    "hash": (277_365, {
        # 16 levels that grow by 1.26; a level of r knots a side has r^2 entries, and our levels one more than cells
        "resolutions": [math.floor(8 * 1.26**level) - 1 for level in range(16)], "log2_table_size": 12, "n_features": 2,
        "n_layers": 4, "width": 256,
    }),
}  # fmt: skip


@dataclass(frozen=True)
class CompareConfig(FitConfig):
    """What a user may say of a comparison; written to config.yml."""

    task: ClassVar[str] = "compare"

    # fields to compare
    fields: tuple[str, ...] = FIELD_NAMES
    # parameters of each at most, 16 to 2**28
    n_params: int = 70_000
    # iterations, 1 or more
    steps: int = 1000
    # equal: all at n_params; seed: the original comparison's two fields at their own numbers
    shapes: Literal["equal", "seed"] = "equal"
    # fraction of the pixels that is held out, 0.01 to 0.5
    holdout: float = 0.1
    # wall seconds from the first step, a limit
    seconds: float = 600.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fields or len(set(self.fields)) != len(self.fields):
            raise ValueError(f"fields must be different names, one at least; got {list(self.fields)}")
        for name in self.fields:
            if name not in FIELD_NAMES:
                raise ValueError(f"fields must be of {', '.join(FIELD_NAMES)}; got {name!r}")
        check_range("n_params", self.n_params, MIN_PARAMS, MAX_PARAMS)
        check_range("steps", self.steps, 1, 10**7)
        check_range("holdout", self.holdout, 0.01, 0.5)


def shown_steps(n_steps: int) -> list[int]:
    """Iterations that are shown: 1, 10, 100, ... and others between, evenly on a logarithmic scale, and the last.

    Examples
    --------
    >>> shown_steps(4), 100 in shown_steps(1000)
    ([1, 2, 3, 4], True)
    """
    decades = {10**power for power in range(len(str(n_steps))) if 10**power <= n_steps}
    between = {round(n_steps ** (index / (N_SHOWN - 1))) for index in range(N_SHOWN)}
    return sorted(decades | between | {n_steps})


class _Evolution:
    """Pictures and figures of one field's fit on its way; written as they come, so that a resumed run has them."""

    def __init__(
        self, folder: Path, held: HeldField, data: ImageData, held_out: NDArray[np.bool_], n_steps: int
    ) -> None:
        self.folder, self.held, self.data, self.held_out = folder, held, data, held_out
        self.shown = set(shown_steps(n_steps))
        folder.mkdir(parents=True, exist_ok=True)
        self.lines = [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []
        # seconds of fitting: of earlier parts of the run, and since this one began without what is done here
        self.before, self.last = self.lines[-1]["seconds"] if self.lines else 0.0, working_seconds()

    @property
    def _log(self) -> Path:
        return self.folder / "evolution.jsonl"

    def follow(self, step: int) -> None:
        """Note where the fit stands after ``step``."""
        self.before += working_seconds() - self.last
        if step in self.shown:
            self.lines = [line for line in self.lines if line["step"] < step]
            self._note(step)
        self.last = working_seconds()

    def _note(self, step: int) -> None:
        from nerfkit.files import write_atomically
        from nerfkit.picture_files import picture_bytes
        from nerfkit.workbench.regression import decibels, sample_picture

        size, (low, high) = self.data.picture.size, self.data.picture.range
        found = sample_picture(self.held.field, size, size).numpy()
        errors = np.square(found - self.data.picture.values).mean(-1)
        self.lines.append({
            "step": step, "seconds": round(self.before, 3),
            "fitted_psnr": round(decibels(float(errors[~self.held_out].mean()), high - low), 3),
            "holdout_psnr": round(decibels(float(errors[self.held_out].mean()), high - low), 3),
        })  # fmt: skip
        pixels = ((found - low) / (high - low)).clip(0, 1)
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        write_atomically(self.folder / f"{step:08d}.png", picture_bytes(pixels, ".png", 8))
        write_atomically(self._log, "".join(json.dumps(line) + "\n" for line in self.lines).encode())


def solve(job: Job) -> Outcome:
    """Fit each field, and lay its pictures beside those of the others."""
    import torch

    from nerfkit.workbench.choosing import hold_out
    from nerfkit.workbench.outcome import Outcome

    config, data = job.config, job.data
    values = torch.from_numpy(data.picture.values).to(job.device)
    held_out = hold_out((values.shape[0], values.shape[1]), config.holdout, config.seed)
    names = list(SEED_SHAPES) if config.shapes == "seed" else list(config.fields)
    rows, best = {}, None
    for index, name in enumerate(names):
        row, held = _fit_one(job, name, values, held_out, 1 / (len(names) - index))
        rows[name] = row
        if best is None or row["holdout_psnr"] > rows[best[0]]["holdout_psnr"]:
            best = (name, held)
    assert best is not None
    winner, held = best
    sheet = _sheet(job, names, rows)
    video = _video(job, names)
    columns = ["field", "parameters", "fitted dB", "held out dB", "iterations", "seconds", "its setting"]
    table = [
        [name, row["n_params"], row["fitted_psnr"], row["holdout_psnr"], row["steps"], row["seconds"], row["setting"]]
        for name, row in rows.items()
    ]
    others = {name: {**row, "how": row["setting"]} for name, row in rows.items() if name != winner}
    return Outcome(
        image=sheet, measure=lambda written: {}, field=winner, n_params=rows[winner]["n_params"], held=held,
        metrics={key: rows[winner][key] for key in ("holdout", "holdout_psnr", "fitted_psnr")}, baselines=others,
        chosen={"fields": {name: row["setting"] for name, row in rows.items()}}, charts=_charts(job, names),
        tables=[_table("Fields, at their last iteration", columns, table)], video=video,
        said=[
            f"{winner} predicts the pixels best that no fit saw, and "
            f"{max(rows, key=lambda name: rows[name]['fitted_psnr'])} remembers best those that it saw",
        ],
    )  # fmt: skip


def _fit_one(
    job: Job, name: str, values: torch.Tensor, held_out: torch.Tensor, fraction: float
) -> tuple[dict[str, Any], HeldField]:
    """Fit a field of that name; its figures, and itself."""
    from nerfkit.scenes.fields.named import RECIPES, count_parameters
    from nerfkit.workbench.choosing import choose_knob
    from nerfkit.workbench.held_fields import make_held_field
    from nerfkit.workbench.regression import pixel_problem

    config, data, recipe = job.config, job.data, RECIPES[name]
    bounds = [list(data.picture.range)] * values.shape[2]
    n_params, options = SEED_SHAPES[name] if config.shapes == "seed" else (config.n_params, {})
    known = ~held_out.to(values.device)
    knob, setting = None, "none"
    if recipe.knob:
        found = job.decide(
            f"knob_{name}", lambda: choose_knob(
                name, values, known, bounds, n_params, seed=config.seed, check=job.check_stopped
            ),
        )  # fmt: skip
        knob, setting = found["value"], f"{recipe.knob} {found['value']:g}, by held-out pixels of short fits"
    size = data.picture.size
    held = make_held_field(
        name, size, bounds, n_params, seed=config.seed, knob=knob, device=job.device, options=options
    )
    problem = pixel_problem(
        held.field, values, known, learning_rate=recipe.learning_rate, n=recipe.batch if name in CHEAP else BATCH,
        seed=config.seed,
    )  # fmt: skip
    n_found = count_parameters(held.field)
    job.say(f"{name}: {recipe.what}, {n_found:,} parameters")
    evolution = _Evolution(job.run.folder / "evolution" / name, held, data, held_out.numpy(), config.steps)
    done = job.fit(name, problem, config.steps, fraction=fraction, on_step=evolution.follow)
    if not evolution.lines or evolution.lines[-1]["step"] != done.steps:
        evolution.shown.add(done.steps)
        evolution.follow(done.steps)
    last = evolution.lines[-1]
    span = data.picture.range[1] - data.picture.range[0]
    rms = float(f"{span * 10 ** (-last['holdout_psnr'] / 20):.6g}")
    row = {
        "n_params": n_found, "fitted_psnr": last["fitted_psnr"], "holdout_psnr": last["holdout_psnr"], "holdout": rms,
        "steps": done.steps, "seconds": last["seconds"], "setting": setting,
    }  # fmt: skip
    return row, held


def _lines(job: Job, name: str) -> list[dict[str, Any]]:
    path = job.run.folder / "evolution" / name / "evolution.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def _picture(job: Job, name: str, step: int) -> NDArray:
    """The field's picture after ``step``, or the last before it."""
    from nerfkit.scenes.readers.picture import read_picture

    reached = [line["step"] for line in _lines(job, name)]
    at = max((found for found in reached if found <= step), default=reached[0])
    return read_picture(job.run.folder / "evolution" / name / f"{at:08d}.png").values


def _charts(job: Job, names: Sequence[str]) -> list[Any]:
    from nerfkit.report.blocks import Chart, Series

    lines = {name: _lines(job, name) for name in names}

    def chart(title: str, x: str, y: str, label: str) -> Chart:
        series = [
            Series(name, [_log10(line[x]) if x == "step" else line[x] for line in found], [line[y] for line in found])
            for name, found in lines.items()
        ]
        return Chart(title, series, label, "dB")

    return [
        chart("Held out, over the iterations", "step", "holdout_psnr", "log10 of the iteration"),
        chart("Held out, over the time", "seconds", "holdout_psnr", "seconds"),
        chart("Fitted, over the iterations", "step", "fitted_psnr", "log10 of the iteration"),
        chart("Fitted, over the time", "seconds", "fitted_psnr", "seconds"),
    ]


def _log10(value: float) -> float:
    return round(math.log10(max(value, 1)), 4)


def _table(title: str, columns: list[str], rows: list[list[Any]]) -> Any:
    from nerfkit.report.blocks import Table

    note = "Held out: pixels that no fit saw. What fits the pixels best is often worst between them."
    return Table(title, columns, rows, note)


def _sheet(job: Job, names: Sequence[str], rows: dict[str, dict[str, Any]]) -> NDArray[np.float32]:
    """A row a field, a column an iteration 1, 10, 100, ..., and the picture at the end of each row."""
    from nerfkit.workbench.contact_sheet import contact_sheet

    config = job.config
    milestones = [10**power for power in range(len(str(config.steps))) if 10**power < config.steps] + [config.steps]
    low, high = job.data.picture.range
    truth = (job.data.picture.values - low) / (high - low)
    labels = [f"{name}\n{row['n_params']:,}\n{row['holdout_psnr']:.1f} dB held out" for name, row in rows.items()]
    pictures = [[*(_picture(job, name, step) for step in milestones), truth] for name in names]
    return contact_sheet(pictures, labels, [*(f"{step}" for step in milestones), "picture"])


def _video(job: Job, names: Sequence[str]) -> Path | None:
    """All fields side by side over the iterations, as mp4 in the run folder."""
    from nerfkit.video import VideoWriter
    from nerfkit.workbench.contact_sheet import tiled_frame

    path = job.run.folder / "evolution.mp4"
    steps = shown_steps(job.config.steps)
    frames = [
        tiled_frame([_picture(job, name, step) for name in names], [*names], f"iteration {step}") for step in steps
    ]
    height, width = frames[0].shape[:2]
    with VideoWriter(path, (width, height), FPS, overwrite=True) as video:
        for frame in frames:
            video.add(frame)
    return path


TASK = FitTask(
    name="compare", holds="a comparison of fields on a picture, and the best of them", data="a picture",
    usage="nerfkit render {run} --size WxH samples the field that predicts best",
    presets={"compare": CompareConfig()}, read=read, solve=solve, suffixes=(".png",),
)  # fmt: skip
