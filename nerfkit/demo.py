"""The demonstration's first half: a scene of our own, made, trained, measured and filmed."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nerfkit.evaluation import evaluate
from nerfkit.files import write_atomically
from nerfkit.fitting import Progress
from nerfkit.path_rendering import render_path
from nerfkit.presets import PRESETS
from nerfkit.report import refresh
from nerfkit.runs import Run
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.scenes.synthetic import write_posed_scene
from nerfkit.training import prepare, train

__all__ = ["MARKER", "DemoSizes", "run_demo"]

logger = logging.getLogger(__name__)

# says that a folder was made by the demonstration, so that --overwrite may replace it
MARKER = "demo.json"


@dataclasses.dataclass(frozen=True)
class DemoSizes:
    """How much the demonstration makes; the defaults take under three minutes on two cores."""

    # photos to train on, and a side of each in pixels
    n_photos: int = 60
    side: int = 200
    # wall seconds of training
    seconds: float = 60.0
    # frames of the orbit
    n_frames: int = 90


def run_demo(
    out: Path, device: str, seed: int, sizes: DemoSizes, *, say: Callable[[str], None],
    on_progress: Callable[[Progress], None],
) -> dict[str, Any]:  # fmt: skip
    """Make the scene, train it, evaluate it on views that it has not seen, and film it.

    Parameters
    ----------
    out : Path
        Folder for everything, empty or absent.
    device : str
        Where to compute.
    seed : int
        Seed of the scene's cameras and of the training.
    sizes : DemoSizes
        How much.
    say : callable
        Prints a line for a person.
    on_progress : callable
        Called after every training step.

    Returns
    -------
    result : dict
        What the commands train, eval and render return, under their names, and ``interrupted``.
    """
    write_atomically(out / MARKER, json.dumps(dataclasses.asdict(sizes)).encode())
    photos, run = out / "photos", Run(out / "run")
    say(f"1/6  making {sizes.n_photos} photos of a scene: {photos}")
    write_posed_scene(photos, n_train=sizes.n_photos, n_val=4, n_test=8, size=(sizes.side, sizes.side), seed=seed)
    say(f"2/6  training a radiance field for {sizes.seconds:.0f} s: nerfkit train {photos} --out {run.folder}")
    config = dataclasses.replace(PRESETS["hash"], seconds=sizes.seconds, seed=seed)
    trained = train(prepare(read_posed_photos(photos), config, device), run, on_progress)
    if trained.pop("interrupted"):
        return {"train": trained, "interrupted": True}
    say(f"3/6  comparing with photos that were kept out: nerfkit eval {run.folder}")
    scores = evaluate(run, "test", device)
    say(f"4/6  filming an orbit: nerfkit render {run.folder} --path orbit --out {out / 'orbit.mp4'}")
    video = render_path(run, "orbit", out / "orbit.mp4", device, n_frames=sizes.n_frames, channels=("rgb",))
    refresh(run)
    return {"train": trained, "eval": scores, "render": video, "interrupted": False}
