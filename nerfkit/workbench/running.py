"""A task of `nerfkit fit` from its inputs to a picture and a run folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.files import npy_bytes, write_atomically
from nerfkit.interrupts import stop_on_signals
from nerfkit.limits import Limit
from nerfkit.metrics import SSIM_WINDOW, ssim
from nerfkit.picture_files import picture_bytes
from nerfkit.picture_result import PROFILE_FILE
from nerfkit.report import refresh_fit
from nerfkit.runs import Run
from nerfkit.scenes.readers.picture import read_picture
from nerfkit.workbench.held_fields import picture_field
from nerfkit.workbench.job import Job, Stopped
from nerfkit.workbench.outcome import Outcome, Shown
from nerfkit.workbench.regression import decibels
from nerfkit.workbench.task import FitTask

__all__ = ["compare", "run_fit", "write_picture"]

# files of the run folder that the report shows
PICTURES_FOLDER, REPORT_FILE = "pictures", "shown.json"


def compare(image: NDArray, truth: NDArray, span: tuple[float, float] = (0.0, 1.0)) -> dict[str, float]:
    """PSNR over ``span``, and SSIM where the pictures [h, w, c] are large enough for its window."""
    low, high = span
    image, truth = ((np.asarray(x, np.float64) - low) / (high - low) for x in (image, truth))
    figures = {"psnr": round(decibels(float(np.square(image - truth).mean())), 3)}
    if min(image.shape[:2]) >= SSIM_WINDOW:
        figures["ssim"] = round(ssim(torch.from_numpy(image), torch.from_numpy(truth)), 5)
    return figures


def run_fit(
    task: FitTask, data: Any, run: Run, output: Path, config: Any, device: str, *, truth: Any = None,
    say: Callable[[str], None] = lambda text: None, on_part: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Solve, and write what came out and the run folder.

    Parameters
    ----------
    task : FitTask
        What is done.
    data : object
        What its ``read`` gave.
    run : Run
        The run folder, which holds its config.yml; stages that it has finished are not done again.
    output : Path
        Where the result goes.
    config, device, truth, say, on_part
        See :class:`nerfkit.workbench.job.Job`.

    Returns
    -------
    figures : dict
        ``task``, ``output``, ``run``, ``seconds``, ``field``, ``n_params``, ``metrics``, ``baselines``, ``chosen``,
        ``cut``, and ``interrupted``, with which there is nothing but ``task``, ``run`` and that.
    """
    with stop_on_signals() as is_stopped:
        limit = Limit(config.seconds, is_stopped)
        job = Job(run, config, data, device, truth, limit, say, on_part)
        try:
            outcome = task.solve(job)
        except Stopped:
            return {"task": task.name, "run": str(run.folder), "interrupted": True}
        seconds = round(limit.spent, 2)
        if limit.cut:
            say(f"{config.seconds:g} s cut short: {', '.join(limit.cut)}; more --seconds may give a better result")
        written = _write_picture(outcome, output) if outcome.write is None else outcome.write(output)
        figures = {
            "task": task.name, "output": str(output), "run": str(run.folder), "seconds": seconds,
            "field": outcome.field, "n_params": outcome.n_params,
            "metrics": outcome.metrics | outcome.measure(written), "baselines": outcome.baselines,
            "chosen": outcome.chosen, "cut": limit.cut,
        }  # fmt: skip
        for name, payload in outcome.files.items():
            write_atomically(run.folder / name, payload)
        held = outcome.held or picture_field(torch.from_numpy(written))
        held.recipe["file"] = {
            "bit_depth": outcome.bit_depth, "span": list(outcome.span), "n_channels": outcome.image.shape[2]
        }  # fmt: skip
        if outcome.icc_profile is not None:
            write_atomically(run.folder / PROFILE_FILE, outcome.icc_profile)
        held.save(run)
        kept = figures | {"output": os.path.relpath(output.resolve(), run.folder.resolve())}
        del kept["run"]
        _write_shown(outcome, run, written if outcome.write is None else outcome.image)
        run.write_json("metrics.json", {task.name: kept})
        refresh_fit(run.folder)
    return figures | {"interrupted": False}


def write_picture(
    output: Path, image: NDArray, bit_depth: int, *, span: tuple[float, float] = (0.0, 1.0),
    icc_profile: bytes | None = None,
) -> None:  # fmt: skip
    """Write a picture [h, w] or [h, w, c] as PNG, TIFF or npy by the suffix; ``span`` becomes black to white in a PNG
    of floats, which it cannot hold.
    """
    suffix = output.suffix.lower()
    if suffix == ".npy":
        return write_atomically(output, npy_bytes(image.astype(np.float32)))
    if suffix == ".png" and bit_depth == 32:
        image = (image - span[0]) / (span[1] - span[0])
    return write_atomically(output, picture_bytes(image, suffix, bit_depth, icc_profile))


def _write_picture(outcome: Outcome, output: Path) -> NDArray[np.float32]:
    """Write the result, and give the picture [h, w, c] as its file has it."""
    image = outcome.image[..., 0] if outcome.image.shape[2] == 1 else outcome.image
    write_picture(output, image, outcome.bit_depth, span=outcome.span, icc_profile=outcome.icc_profile)
    written = read_picture(output).values
    if outcome.bit_depth == 32 and output.suffix.lower() == ".png":
        low, high = outcome.span
        written = written * (high - low) + low
    return written


def _write_shown(outcome: Outcome, run: Run, written: NDArray) -> None:
    """The pictures, curves and sentences that the report is made of."""
    low, high = outcome.span
    folder = run.folder / PICTURES_FOLDER
    folder.mkdir(exist_ok=True)
    result = Shown("result", (written - low) / (high - low), "result", outcome.mm_wide, outcome.window)
    captions, scales = [], {}
    for picture in (result, *outcome.shown):
        values = np.asarray(picture.pixels, np.float64).clip(0, 1)
        if values.ndim == 3:
            # further channels, such as depth, have pictures of their own
            values = values[..., 0] if values.shape[2] == 1 else values[..., :4]
        write_atomically(folder / f"{picture.name}.png", picture_bytes(values, ".png", 8))
        captions.append([picture.name, picture.caption])
        if picture.mm_wide is not None or picture.window is not None:
            black, white = picture.window or (None, None)
            scales[picture.name] = {"mm_wide": picture.mm_wide, "black": black, "white": white}
    run.write_json(
        REPORT_FILE,
        {
            "pictures": captions, "scales": scales, "said": outcome.said,
            "charts": [dataclasses.asdict(chart) for chart in outcome.charts],
            "tables": [dataclasses.asdict(table) for table in outcome.tables],
            "video": None if outcome.video is None else outcome.video.name,
        },
    )  # fmt: skip
