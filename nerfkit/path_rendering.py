"""Videos of a trained scene along a camera path."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.pictures import depth_colors
from nerfkit.ranks import Ranks, join
from nerfkit.runs import Run
from nerfkit.scene import RadianceScene, View
from nerfkit.scenes.camera_path import PathFrames, read_camera_path, write_camera_path
from nerfkit.scenes.cameras import Camera
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.paths import PATHS, make_path, suggest_path
from nerfkit.scenes.readers import PosedPhotos
from nerfkit.video import SUFFIXES, VideoWriter, to_uint8

if TYPE_CHECKING:
    from nerfkit.trained_scene import TrainedScene

__all__ = ["depth_range", "render_path"]

logger = logging.getLogger(__name__)

# a path's default length and speed: four seconds
DEFAULT_FRAMES, DEFAULT_FPS = 120, 30.0
CHANNELS = ("rgb", "depth", "opacity")


def render_path(
    trained: TrainedScene, path: str | None, out: Path | None, *, n_frames: int | None = None, fps: float | None = None,
    size: tuple[int, int] | None = None, channels: tuple[str, ...] = ("rgb",), data: Path | None = None,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Render a run along a path and write the path beside the video.

    Of several processes that torchrun started each renders its part of the frames, and the first writes.

    Parameters
    ----------
    trained : TrainedScene
        The scene.
    path : str
        ``"orbit"``, ``"spiral"``, ``"interpolate"`` (through the photos), or a camera_path.json; None: an orbit where
        the photos look at one point, else through the photos.
    out : Path or None
        None: ``<path>.mp4`` in the run folder. The suffix decides: .mp4, .webm, .gif, none for a folder of PNGs. With
        several channels each gets a file of its own, the channel's name before the suffix.
    n_frames, fps, size
        Frames, frames a second, width and height in pixels; by default 120, 30 and the training size, or a file's own.
    channels : tuple of str
        Of ``"rgb"``, ``"depth"`` (near is red), ``"opacity"``.
    data : Path, optional
        The dataset, when it was moved.
    on_frame : callable
        Called with the number of frames done and in all.

    Returns
    -------
    result : dict
        ``output`` (or ``outputs`` with several channels), ``frames``, ``seconds``, ``camera_path``.
    """
    ranks = join(trained.device)
    if path is None:
        photos = trained.run.read_photos(data)
        path = suggest_path(photos.c2w[photos.splits["train"]])
    out = out or trained.run.folder / f"{Path(path).stem}.mp4"
    if out.suffix not in SUFFIXES:
        raise NerfkitError(
            f"no video format {out.suffix!r}",
            where=out,
            fix="end it in .mp4, .webm, .gif, or nothing for a folder of PNGs",
        )
    for name, value in (("frames", n_frames), ("fps", fps)):
        if value is not None and not 0 < value < math.inf:
            raise NerfkitError(f"must be above 0; got {value:g}", where=f"--{name}", fix="leave it out")
    unknown = [name for name in channels if name not in CHANNELS]
    if unknown or not channels:
        raise NerfkitError(
            f"no channel {', '.join(map(repr, unknown))}", where="--channels", fix=f"choose of {', '.join(CHANNELS)}"
        )
    frames, camera = _frames(trained.run, path, data, trained.downscale, n_frames, size)
    fps = fps or frames.fps or DEFAULT_FPS
    outputs = {
        name: out if len(channels) == 1 else out.with_name(f"{out.stem}_{name}{out.suffix}") for name in channels
    }
    path_file = _path_file(out)
    if ranks.is_first:
        write_camera_path(path_file, frames, (camera.width, camera.height), fps)
    started = time.perf_counter()
    _write(trained.scene, frames, camera, fps, outputs, on_frame, ranks)
    # what the first writes is there when any goes on
    ranks.wait()
    result: dict[str, Any] = {
        "output": str(outputs[channels[0]]),
        "frames": len(frames),
        "seconds": round(time.perf_counter() - started, 2),
        "camera_path": str(path_file),
    }
    if len(outputs) > 1:
        result["outputs"] = {name: str(file) for name, file in outputs.items()}
    return result


def _frames(
    run: Run, path: str, data: Path | None, downscale: float, n_frames: int | None, size: tuple[int, int] | None
) -> tuple[PathFrames, Camera]:
    """The path's cameras and the first one's intrinsics at the size of the video."""
    if path not in PATHS:
        file = Path(path)
        if not file.is_file():
            raise NerfkitError(
                f"is neither a path's name ({', '.join(PATHS)}) nor a file", where=f"--path {path}",
                fix="give one of the names, or a camera_path.json",
            )  # fmt: skip
        frames = read_camera_path(file)
        if n_frames not in (None, len(frames)):
            raise NerfkitError(
                f"holds {len(frames)} frames, which cannot become {n_frames}", where=file, fix="leave --frames out"
            )
        width, height = size or frames.size or (800, round(800 / frames.aspect))
        return frames, _camera(width, height, float(frames.fov_y[0]))
    photos = run.read_photos(data)
    width, height, fov = _photo_view(photos, downscale)
    width, height = size or (width, height)
    chosen = photos.c2w[photos.splits["train"]]
    frames = make_path(path, chosen, n_frames or DEFAULT_FRAMES, fov_y=fov, aspect=width / height)
    return frames, _camera(width, height, fov)


def _photo_view(photos: PosedPhotos, downscale: float) -> tuple[int, int, float]:
    """Width, height and vertical field of view in degrees of the first training photo at the run's size."""
    camera = photos.cameras[photos.splits["train"][0]]
    width, height = round(camera.width / downscale), round(camera.height / downscale)
    return width, height, float(np.degrees(2 * np.arctan(camera.height / 2 / camera.fy)))


def _camera(width: int, height: int, fov_y: float) -> Camera:
    focal = height / 2 / np.tan(np.radians(fov_y) / 2)
    return Camera(width, height, float(focal), float(focal), width / 2, height / 2)


def _write(
    scene: RadianceScene, frames: PathFrames, camera: Camera, fps: float, outputs: dict[str, Path],
    on_frame: Callable[[int, int], None], ranks: Ranks,
) -> None:  # fmt: skip
    shown: tuple[float, float] | None = None
    with ExitStack() as stack:
        writers = [
            stack.enter_context(VideoWriter(file, (camera.width, camera.height), fps))
            for file in (outputs.values() if ranks.is_first else ())
        ]
        for start in range(0, len(frames), ranks.size):
            # in the last round some may have no frame of their own: they take the last one again
            index = min(start + ranks.rank, len(frames) - 1)
            view = scene.render(_camera(camera.width, camera.height, float(frames.fov_y[index])), frames.c2w[index])
            # the first frame's range holds for the whole video: colours that drift would look like motion
            shown = shown or tuple(json.loads(ranks.first_says(json.dumps(depth_range(view)))))
            pictures = torch.from_numpy(np.stack([_picture(view, name, shown) for name in outputs]))
            for number, channels in enumerate(ranks.gather(pictures)[: len(frames) - start], start + 1):
                for writer, picture in zip(writers, channels.numpy(), strict=True):
                    writer.add(picture)
                on_frame(number, len(frames))


def depth_range(view: View) -> tuple[float, float]:
    """Distances between which nearly all of what is seen lies; a tenth of room on both sides."""
    seen = view.depths[view.opacities > 0.5]
    if not len(seen):
        return 0.0, 1.0
    near, far = (float(value) for value in seen.double().quantile(seen.new_tensor([0.01, 0.97]).double()))
    return 0.9 * near, 1.1 * far


def _picture(view: View, channel: str, shown: tuple[float, float]) -> NDArray[np.uint8]:
    if channel == "rgb":
        return to_uint8(view.rgb.numpy())
    if channel == "depth":
        return depth_colors(view.depths.numpy(), view.opacities.numpy(), *shown)
    return to_uint8(view.opacities.numpy()[..., None].repeat(3, -1))


def _path_file(out: Path) -> Path:
    """Beside a video, named after it; inside a folder of PNGs' parent likewise."""
    return out.with_name(f"{out.stem}_camera_path.json")
