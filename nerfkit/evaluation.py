"""How good a trained scene is: its views compared with photos that it may not have seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nerfkit.aligned_score import align_left
from nerfkit.files import write_atomically
from nerfkit.metrics import SSIM_WINDOW, psnr, ssim
from nerfkit.photo_data import load_photo_data
from nerfkit.pictures import png_bytes
from nerfkit.refined_cameras import refined_view

if TYPE_CHECKING:
    from nerfkit.trained_scene import TrainedScene

__all__ = ["SPLITS", "evaluate", "picture_names"]

SPLITS = ("test", "val", "train")


def evaluate(
    trained: TrainedScene, split: str, *, data: Path | None = None,
    on_image: Callable[[str, float | None, float | None], None] = lambda file, psnr, ssim: None,
) -> dict[str, Any]:  # fmt: skip
    """PSNR and SSIM over a split, at the size that the run was trained at; pictures go to RUN/eval/<split>.

    Parameters
    ----------
    trained : TrainedScene
        The scene.
    split : {"test", "val", "train"}
        Which photos.
    data : Path, optional
        The dataset, when it is not where the run found it.
    on_image : callable
        Called with file, PSNR and SSIM of each photo.

    Returns
    -------
    result : dict
        Over the pixels that count.
        ``results`` {psnr, ssim, seconds_per_frame, n_images} and ``images`` [{file, psnr, ssim}]. PSNR is the mean of
        the images' PSNR; the first frame's time is left out because it contains compiling. None stands for what is not
        a number: the PSNR of equal pictures, the SSIM of pictures smaller than its window. Where photos have an
        exposure each, or poses were refined, there are ``psnr_aligned`` and ``ssim_aligned`` as well, of the right
        half of each photo with the exposure, or the pose, that fits its left half.
    """
    scene, run = trained.scene, trained.run
    photos = load_photo_data(
        run.read_photos(data), (split,), downscale=trained.downscale, max_side=None, alpha=scene.config.alpha
    )
    names = picture_names([photos.source.files[index] for index in photos.split(split)])
    images, seconds = [], []
    for index in photos.split(split):
        camera, c2w = refined_view(run, photos.source.files[index], photos.cameras[index], photos.c2w[index])
        started = time.perf_counter()
        view = scene.render(camera, c2w)
        seconds.append(time.perf_counter() - started)
        truth, mask = photos.truth(index, scene.background), photos.masks.get(index)
        file = photos.source.files[index]
        has_window = min(truth.shape[:2]) >= SSIM_WINDOW
        entry = {
            "file": file,
            "psnr": _finite(psnr(view.rgb, truth, mask), 4),
            "ssim": _finite(ssim(view.rgb, truth, mask), 5) if has_window else None,
        }
        if scene.is_aligned:
            aligned, right = align_left(scene, camera, c2w, view.rgb, truth, mask)
            entry["psnr_aligned"] = _finite(psnr(aligned, truth, right), 4)
            entry["ssim_aligned"] = _finite(ssim(aligned, truth, right), 5) if has_window else None
        images.append(entry)
        write_atomically(run.folder / "eval" / split / names[file], png_bytes(view.rgb.numpy()))
        on_image(file, entry["psnr"], entry["ssim"])
    timed = seconds[1:] or seconds
    results = {
        "psnr": _mean(images, "psnr"),
        "ssim": _mean(images, "ssim"),
        "seconds_per_frame": round(float(np.mean(timed)), 4),
        "n_images": len(images),
        **{name: _mean(images, name) for name in ("psnr_aligned", "ssim_aligned") if images and name in images[0]},
    }
    result = {"split": split, "results": results, "images": images}
    run.write_json(f"eval_{split}.json", result)
    return result


def _mean(images: list[dict[str, Any]], key: str) -> float | None:
    values = [image[key] for image in images if image[key] is not None]
    return round(float(np.mean(values)), 4) if values else None


def _finite(value: float, digits: int) -> float | None:
    """JSON has no infinity and no NaN."""
    return round(value, digits) if math.isfinite(value) else None


def picture_names(files: list[str]) -> dict[str, str]:
    """Names of the pictures of ``files``: their own, or with their folders where two would be the same."""
    stems = [Path(file).stem for file in files]
    if len(set(stems)) < len(stems):
        stems = ["_".join(Path(file).parts).replace("..", "").replace("/", "") for file in files]
    return {file: f"{stem}.png" for file, stem in zip(files, stems, strict=True)}
