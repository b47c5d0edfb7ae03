"""New instances side by side, PSNR over the steps, and the way from one instance to another as a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.report.blocks import Chart, Series
from nerfkit.video import VideoWriter
from nerfkit.workbench.contact_sheet import contact_sheet, tiled_frame
from nerfkit.workbench.many.adaptation import learnt_steps
from nerfkit.workbench.many.learned import Learned
from nerfkit.workbench.many.learning import N_STEPS
from nerfkit.workbench.many.measuring import Found, mean_psnr
from nerfkit.workbench.many.methods import Given, Measured
from nerfkit.workbench.many.networks import evaluate, interpolated

__all__ = ["outcome_charts", "sheet", "write_video"]

# instances of the sheet
N_SHOWN = 8
# frames from one instance to the other, held at both ends, and frames a second
N_FRAMES, N_HELD, FPS = 40, 8, 16


def sheet(given: Given, found: Measured) -> NDArray[np.float32]:
    """A column a new instance; rows: the truth, the start after 3 and 10 steps, a fresh network, components."""
    assert found.fresh is not None and found.components is not None
    rows = {"truth": given.new}
    rows |= {f"{step} steps": found.whole.values[step] for step in (N_STEPS, 10)}
    rows |= {f"fresh, {step} steps": found.fresh.values[step] for step in (N_STEPS, 10)}
    rows[f"{found.n_components} components"] = found.components
    labels = [
        name if name == "truth" else f"{name}\n{mean_psnr(values, given.new):.1f} dB" for name, values in rows.items()
    ]
    pictures = [[given.as_picture(values) for values in row[:N_SHOWN]] for row in rows.values()]
    return contact_sheet(pictures, labels, [f"new {index + 1}" for index in range(len(pictures[0]))])


def outcome_charts(found: Measured) -> list[Chart]:
    """PSNR of the new instances over the steps."""
    assert found.fresh is not None

    def series(name: str, run: Found) -> Series:
        return Series(name, [float(np.log10(step)) for step, _ in run.curve], [psnr for _, psnr in run.curve])

    curves = [series("from the start", found.whole), series("from nothing", found.fresh)]
    return [Chart("New instances, over the steps", curves, "log10 of the step", "dB")]


def write_video(path: Path, given: Given, start: Learned) -> Path:
    """All numbers of the first new instance's network go to those of the second, evenly; beside the two, mixed."""
    networks = start.whole.networks(learnt_steps(start.whole, given.points, given.new[:2], N_STEPS))
    frames, labels = [], ["between weights", f"between {'distances' if given.is_shapes else 'pixels'}"]
    with torch.no_grad():
        for index in range(N_FRAMES):
            fraction = index / (N_FRAMES - 1)
            values = evaluate(interpolated(networks, fraction), given.points, given.shape.scale)[0]
            mixed = given.new[0] + fraction * (given.new[1] - given.new[0])
            pictures = [given.as_picture(values), given.as_picture(mixed)]
            frames.append(tiled_frame(pictures, labels, f"{fraction:.0%}"))
    frames = [frames[0]] * N_HELD + frames + [frames[-1]] * N_HELD
    height, width = frames[0].shape[:2]
    with VideoWriter(path, (width, height), FPS, overwrite=True) as video:
        for frame in frames:
            video.add(frame)
    return path
