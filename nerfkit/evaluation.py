"""How good a trained scene is: its views compared with photos that it may not have seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.files import write_atomically
from nerfkit.metrics import psnr, ssim
from nerfkit.photo_data import load_photo_data
from nerfkit.pictures import png_bytes
from nerfkit.runs import Run
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import read_posed_photos
from nerfkit.training import load_scene

__all__ = ["SPLITS", "evaluate"]

SPLITS = ("test", "val", "train")


def evaluate(
    run: Run, split: str, device: str, *, data: Path | None = None,
    on_image: Callable[[str, float, float], None] = lambda file, psnr, ssim: None,
) -> dict[str, Any]:  # fmt: skip
    """PSNR and SSIM over a split, at the size that the run was trained at; pictures go to RUN/eval/<split>.

    Parameters
    ----------
    run : Run
        The run.
    split : {"test", "val", "train"}
        Which photos.
    device : str
        Where to render.
    data : Path, optional
        The dataset, when it is not where the run found it.
    on_image : callable
        Called with file, PSNR and SSIM of each photo.

    Returns
    -------
    result : dict
        ``results`` {psnr, ssim, seconds_per_frame, n_images} and ``images`` [{file, psnr, ssim}]. PSNR is the mean of the
        images' PSNR; the first frame's time is left out because it contains compiling.
    """
    scene, listed, downscale = load_scene(run, device)
    place = data or listed
    if not place.exists():
        raise NerfkitError("the photos are not there any more", where=place, fix="give their folder: --data DATA")
    photos = load_photo_data(read_posed_photos(place), (split,), downscale=downscale, max_side=None)
    images, seconds = [], []
    for index in photos.split(split):
        started = time.perf_counter()
        view = scene.render(photos.cameras[index], photos.c2w[index])
        seconds.append(time.perf_counter() - started)
        truth = photos.truth(index, scene.background)
        file = photos.source.files[index]
        entry = {"file": file, "psnr": round(psnr(view.rgb, truth), 4), "ssim": round(ssim(view.rgb, truth), 5)}
        images.append(entry)
        write_atomically(run.folder / "eval" / split / f"{Path(file).stem}.png", png_bytes(view.rgb.numpy()))
        on_image(file, entry["psnr"], entry["ssim"])
    timed = seconds[1:] or seconds
    results = {
        "psnr": _mean(images, "psnr"),
        "ssim": _mean(images, "ssim"),
        "seconds_per_frame": round(float(np.mean(timed)), 4),
        "n_images": len(images),
    }
    result = {"split": split, "results": results, "images": images}
    run.write_json(f"eval_{split}.json", result)
    return result


def _mean(images: list[dict[str, Any]], key: str) -> float | None:
    value = float(np.mean([image[key] for image in images]))
    return round(value, 4) if math.isfinite(value) else None
