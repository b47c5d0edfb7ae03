"""Training a scene: from a folder of posed photos to a run folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from nerfkit import __version__
from nerfkit.captured_step import refusal
from nerfkit.checkpoints import LOWER, DivergedError
from nerfkit.config import to_dict
from nerfkit.fitting import Budget, FitResult, FitSchedule, Progress, fit
from nerfkit.known_distances import KnownDistances, find_distances
from nerfkit.memory_plan import plan_memory
from nerfkit.metrics import MetricsLog
from nerfkit.photo_data import PhotoData, find_bounds, load_photo_data
from nerfkit.presets import TrainConfig
from nerfkit.previews import Previews
from nerfkit.radiance_fit import RadianceFit
from nerfkit.ranks import ALONE, RESTART, LostRankError, Ranks, launched
from nerfkit.refined_cameras import FILE, describe_moves, refined_cameras
from nerfkit.runs import Run
from nerfkit.scene import RadianceScene
from nerfkit.scenes.backgrounds import Background, choose_background
from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import PosedPhotos

__all__ = ["Prepared", "check_alike", "load_scene", "prepare", "resume", "train"]

logger = logging.getLogger(__name__)

# longest side of a photo that a device trains at unless told
MAX_SIDE = {"cpu": 400, "cuda": 1600}


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A dataset that was read, checked and understood, before anything is trained."""

    config: TrainConfig
    data: PhotoData
    background: Background
    bounds: SceneBounds
    device: str
    distances: KnownDistances | None = None

    def describe(self) -> list[str]:
        """What was found, in lines for a person."""
        data, source = self.data, self.data.source
        counts = ", ".join(f"{len(source.splits.get(name, []))} {name}" for name in ("train", "val", "test"))
        camera = data.cameras[data.split("train")[0]]
        color = self.background.color
        shown = "" if color is None else " ({:.2f}, {:.2f}, {:.2f})".format(*color)
        return [
            f"{source.name}: {source.format}, {counts} views",
            f"photos at {camera.width} x {camera.height} (downscale {data.downscale:.3g}), "
            f"{data.n_bytes / 1e6:.0f} MB {'in memory' if data.stored is None else 'mapped'}",
            f"background: {self.background.name}{shown}",
            *([f"{self._share_left_out():.1%} of the pixels do not count"] if data.masks else []),
            *([f"depth: {len(self.distances)} distances by {self.distances.source}"] if self.distances else []),
            f"scene: {self.bounds}",
        ]

    def _share_left_out(self) -> float:
        masked = sum(int((~mask).sum()) for mask in self.data.masks.values())
        return masked / sum(camera.width * camera.height for camera in self.data.cameras.values())


def prepare(
    source: PosedPhotos, config: TrainConfig, device: str, *, memory_budget: int | None = None,
    say: Callable[[str], None] = lambda text: None, on_photo: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:  # fmt: skip
    """Load the photos of a dataset and find background and bounds.

    Parameters
    ----------
    source : PosedPhotos
        The dataset.
    config : TrainConfig
        Settings.
    device : str
        Where to compute.
    memory_budget : int, optional
        Bytes that the training may take; photos beyond it are mapped from a file. None: most of what is free.
    say : callable
        Called with what the memory is planned to be, before photos are read.
    on_photo : callable
        Called with the number of photos read and in all.

    Raises
    ------
    NerfkitError
        Anything about the dataset that a long run would stumble over, or about what the device can do.
    """
    _check_captured(config, device, fix="add --device cuda, or --set captured=false")
    _check_shared(config)
    max_side = config.max_side or MAX_SIDE.get(device, MAX_SIDE["cuda"])
    sizes: dict[str, Any] = {"downscale": config.downscale, "max_side": max_side}
    plan = plan_memory(source, config, device, **sizes, budget=memory_budget)
    say(str(plan))
    photos = load_photo_data(source, ("train", "val"), **sizes, alpha=config.alpha, store=plan.store, on_photo=on_photo)
    # as it was decided, for all that comes after
    config = dataclasses.replace(config, alpha=photos.alpha)
    if photos.downscale > 1 and config.downscale is None:
        logger.info(
            "photos are scaled down %.3g times to at most %d pixels a side on this %s; --downscale 1 keeps them whole",
            photos.downscale, max_side, "GPU" if device == "cuda" else "CPU",
        )  # fmt: skip
    if not photos.split("train"):
        raise NerfkitError(
            "has no photos to train on", where=source.root, fix="list some in train_filenames, or remove the lists"
        )
    train = photos.split("train")
    masks = [photos.masks.get(i) for i in train]
    if all(mask is not None and not mask.any() for mask in masks):
        raise NerfkitError(
            "no pixel of any photo counts: all are masked", where=source.root,
            fix="look at the masks: black is left out, white counts",
        )  # fmt: skip
    background = choose_background(config.background, photos.views(train), masks)
    bounds = find_bounds(photos, background, config.box)
    return Prepared(config, photos, background, bounds, device, _distances(photos, config))


def train(
    prepared: Prepared, run: Run, on_progress: Callable[[Progress], None], *, data: Path | None = None,
    skip_bad: bool = False, masks: Path | None = None, ranks: Ranks = ALONE,
) -> dict[str, Any]:  # fmt: skip
    """Train a new run.

    Parameters
    ----------
    prepared : Prepared
        What :func:`prepare` found.
    run : Run
        Where everything goes.
    on_progress : callable
        Called after every step.
    data : Path, optional
        The file or folder that was read, for later commands; None: the dataset's folder.
    skip_bad : bool
        Whether it was read without its damaged frames.
    masks : Path, optional
        The folder of masks that it was read with.
    ranks : Ranks
        The processes that train it; the first of them writes.

    Returns
    -------
    result : dict
        ``run``, ``steps``, ``seconds``, ``psnr`` (mean over the validation views, dB) and ``interrupted``; where photos
        have an exposure each, or poses were refined, ``psnr_aligned`` (of right halves, aligned on the left).
    """
    # found by computing, which machines of other kinds do not do to the last bit
    found = json.loads(ranks.first_says(json.dumps(prepared.bounds.as_dict())))
    prepared = dataclasses.replace(prepared, bounds=SceneBounds.from_dict(found))
    if ranks.is_first:
        place, job = data or prepared.data.source.root, launched().job
        inputs = {"skip_bad": skip_bad, "masks": masks} | ({"job": job} if job else {})
        run.write_versions()
        run.write_scene(prepared.bounds, prepared.background, prepared.data.downscale)
        # last: a folder with it is a run, with which can be gone on
        run.write_config(prepared.config, data=place, device=prepared.device, **inputs)
    return _fit(prepared, run, on_progress, ranks, is_resumed=False)


def resume(
    run: Run, config: TrainConfig, *, data: Path | None, device: str, on_progress: Callable[[Progress], None],
    memory_budget: int | None = None, say: Callable[[str], None] = lambda text: None,
    on_photo: Callable[[int, int], None] = lambda done, total: None, ranks: Ranks = ALONE,
) -> dict[str, Any]:  # fmt: skip
    """Go on with a run from its newest checkpoint, or from its beginning where it was killed before it had one.

    Parameters
    ----------
    run : Run
        The run folder.
    config : TrainConfig
        Its settings; seconds count anew, steps are the total.
    data : Path or None
        Where the dataset is now, if it was moved.
    device : str
        Where to compute.
    on_progress : callable
        Called after every step.
    memory_budget, say, on_photo
        As :func:`prepare` takes them.
    ranks : Ranks
        As :func:`train` takes them; all read the checkpoint.
    """
    _check_shared(config)
    _check_captured(config, device, fix=f"add --device cuda, or write captured: false in {run.folder / 'config.yml'}")
    source = run.read_photos(data, fix=f"give their folder: nerfkit train DATA --resume {run.folder}")
    bounds, background, downscale = run.read_scene()
    plan = plan_memory(source, config, device, downscale=downscale, max_side=None, budget=memory_budget)
    say(str(plan))
    photos = load_photo_data(
        source, ("train", "val"), downscale=downscale, max_side=None, alpha=config.alpha, store=plan.store,
        on_photo=on_photo,
    )  # fmt: skip
    prepared = Prepared(config, photos, background, bounds, device, _distances(photos, config))
    newest = run.checkpoints.steps()[:1]
    check_alike(prepared, ranks, newest=newest)
    if not newest:
        say("there is no checkpoint yet: from the beginning")
    return _fit(prepared, run, on_progress, ranks, is_resumed=bool(newest))


def _distances(photos: PhotoData, config: TrainConfig) -> KnownDistances | None:
    return find_distances(photos) if config.depth_weight > 0 else None


def _check_captured(config: TrainConfig, device: str, *, fix: str) -> None:
    # before photos are read and a run begins
    if config.captured and device != "cuda":
        raise refusal("a GPU", device, fix=fix)


def _check_shared(config: TrainConfig) -> None:
    # what would not be that of one process
    n = launched().size
    if n > 1 and config.captured:
        raise refusal("one process", f"{n} of torchrun's")
    if n > 1 and config.sampling.kind == "stratified":
        raise NerfkitError(
            f"stratified samples are drawn by one process; got {n} of torchrun's", where="sampling.kind",
            fix="--set sampling.kind=occupancy, or start without torchrun",
        )  # fmt: skip


def check_alike(prepared: Prepared, ranks: Ranks, *, newest: Sequence[int] = ()) -> None:
    """Raise NerfkitError in all processes of a run where they do not have the same before them.

    Parameters
    ----------
    prepared : Prepared
        What each found.
    ranks : Ranks
        The processes.
    newest : sequence of int
        Steps of the checkpoint that each would go on from.
    """
    data = prepared.data
    photos = [(data.source.files[i], camera.width, camera.height) for i, camera in sorted(data.cameras.items())]
    ranks.check_same({
        "versions of nerfkit and torch": _digest((__version__, torch.__version__)),
        "settings": _digest(to_dict(prepared.config)),
        "photos": _digest(photos),
        "poses": _digest(data.c2w.tolist()),
        "checkpoints": _digest(list(newest)),
    })  # fmt: skip


def _digest(value: Any) -> int:
    text = json.dumps(value, sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], signed=True)


def _fit(
    prepared: Prepared, run: Run, on_progress: Callable[[Progress], None], ranks: Ranks, *, is_resumed: bool
) -> dict[str, Any]:
    config = prepared.config
    scene = RadianceScene(config, prepared.bounds, prepared.background).to(prepared.device)
    if not ranks.is_first:
        task = RadianceFit(scene, prepared.data, distances=prepared.distances, ranks=ranks)
        done = _fitted(task, run, on_progress, None, ranks, is_resumed=is_resumed)
        return {**_told(run, done), "psnr": None, "interrupted": done.is_interrupted}
    task = RadianceFit(scene, prepared.data, distances=prepared.distances, ranks=ranks)
    metrics = MetricsLog(run.metrics_log)
    previews = Previews(scene, prepared.data, run.folder / "preview.png")

    def after_step(progress: Progress) -> None:
        on_progress(progress)
        previews(progress)

    try:
        done = _fitted(task, run, after_step, metrics, ranks, is_resumed=is_resumed)
    finally:
        metrics.close()
    if scene.config != config:
        # what the photos decided; only now, so that a run that is killed goes on as it began
        run.change_settings({"exposure": scene.config.exposure})
    result = _told(run, done)
    if task.corrections is not None:
        refined = refined_cameras(task.corrections, prepared.data, prepared.bounds)
        run.write_json(FILE, refined)
        logger.info("%s (%s)", describe_moves(refined), FILE)
    if not done.is_interrupted:
        result |= {name: _finite(value) for name, value in task.validate().items()}
    # those that `nerfkit eval` would find
    n_test = len(prepared.data.source.splits.get("test", []))
    run.write_json(
        "metrics.json", {"train": {**result, "test_views": n_test, "preview_seconds": round(previews.spent, 3)}}
    )
    return {**result, "interrupted": done.is_interrupted}


def _fitted(
    task: RadianceFit, run: Run, on_progress: Callable[[Progress], None], metrics: MetricsLog | None, ranks: Ranks, *,
    is_resumed: bool,
) -> FitResult:  # fmt: skip
    config = task.scene.config
    try:
        return fit(
            task,
            Budget(None if config.steps is not None else config.seconds, config.steps),
            schedule=FitSchedule(config.warmup_steps, config.final_share, config.checkpoint_seconds),
            checkpoints=run.checkpoints, metrics=metrics, on_progress=on_progress, resume=is_resumed,
            captured=config.captured, ranks=ranks,
        )  # fmt: skip
    except DivergedError as error:
        raise _diverged(error, run, config.learning_rate) from error
    except LostRankError as error:
        command = f"torchrun ... -m nerfkit train --resume {shlex.quote(str(run.folder))}"
        raise LostRankError(error.what, where=error.where, fix=f"go on with {command}, {RESTART}") from error


def _told(run: Run, done: FitResult) -> dict[str, Any]:
    return {"run": str(run.folder), "steps": done.steps, "seconds": round(done.seconds, 2)}


def _diverged(error: DivergedError, run: Run, learning_rate: float) -> DivergedError:
    """What a training that diverged says: what it leaves behind, and the setting to change."""
    saved = run.checkpoints.steps()
    kept = f"; the run keeps step {saved[0]}, which was sound" if saved else ""
    # settings of a run that goes on hold: another rate asks for another run
    fix = f"train again with less: --set learning_rate={learning_rate / 4:g}" if error.fix == LOWER else error.fix
    return DivergedError(error.what, where=run.folder, fix=fix + kept)


def load_scene(run: Run, device: str) -> tuple[RadianceScene, Path, float]:
    """The trained scene of a run, its dataset's path and the downscale factor that it was trained at."""
    config, data, _, _ = run.read_config("train")
    bounds, background, downscale = run.read_scene()
    scene = RadianceScene(config, bounds, background).to(torch.device(device))
    state = run.checkpoints.load_newest()
    try:
        scene.load_state_dict(state["task"]["scene"])
    except (RuntimeError, KeyError) as error:
        raise NerfkitError(
            "its weights do not fit the settings in its config.yml",
            where=run.folder,
            fix="put the config.yml back, or train again",
        ) from error
    if config.exposure == "auto" and state["task"].get("is_choosing") is False:
        # of a run that was killed after it had decided
        scene.config = dataclasses.replace(config, exposure="each" if state["task"]["is_exposed"] else "common")
    return scene, data, downscale


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return round(value, 4) if math.isfinite(value) else None
