"""How good a trained scene is: its views compared with photos that it may not have seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from imageio.v3 import imread
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.aligned_score import align_left
from nerfkit.files import write_atomically
from nerfkit.lpips import Lpips, load_lpips
from nerfkit.metrics import SSIM_WINDOW, psnr, ssim
from nerfkit.photo_data import PhotoData, load_photo_data
from nerfkit.pictures import png_bytes
from nerfkit.refined_cameras import refined_view
from nerfkit.report.findings import worst_first
from nerfkit.report.media import ERROR_GAIN, error_picture
from nerfkit.workbench.contact_sheet import contact_sheet

if TYPE_CHECKING:
    from nerfkit.trained_scene import TrainedScene

__all__ = ["SPLITS", "evaluate", "picture_names"]

SPLITS = ("test", "val", "train")
# views on the picture of the worst, and the longest side of each there
N_WORST, SHEET_SIDE = 6, 400


def evaluate(
    trained: TrainedScene, split: str, *, data: Path | None = None, lpips: Path | None = None,
    on_view: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """PSNR, SSIM and LPIPS over a split, at the size that the run was trained at; pictures go to RUN/eval.

    Parameters
    ----------
    trained : TrainedScene
        The scene.
    split : {"test", "val", "train"}
        Which photos.
    data : Path, optional
        The dataset, when it is not where the run found it.
    lpips : Path, optional
        Weights of LPIPS; without them it is not measured.
    on_view : callable
        Called with the number of views done and in all.

    Returns
    -------
    result : dict
        Over the pixels that count.
        ``results`` {psnr, ssim, seconds_per_frame, n_images}, ``images`` [{file, psnr, ssim}] and ``worst``, a picture
        of the worst views beside their photos and errors. With weights both have ``lpips`` too. PSNR is the mean of
        the images' PSNR; the first frame's time is left out because it contains compiling. None stands for what is not
        a number: the PSNR of equal pictures, the SSIM of pictures smaller than its window. Where photos have an
        exposure each, or poses were refined, there are ``psnr_aligned`` and ``ssim_aligned`` as well, of the right
        half of each photo with the exposure, or the pose, that fits its left half.
    """
    # before minutes of rendering
    perceptual = None if lpips is None else load_lpips(lpips)
    scene, run = trained.scene, trained.run
    photos = load_photo_data(
        run.read_photos(data), (split,), downscale=trained.downscale, max_side=None, alpha=scene.config.alpha
    )
    names = picture_names([photos.source.files[index] for index in photos.split(split)])
    images, seconds, indices = [], [], photos.split(split)
    for index in indices:
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
        if perceptual is not None:
            entry["lpips"] = _perceptual(perceptual, view.rgb, truth, mask)
        images.append(entry)
        write_atomically(run.folder / "eval" / split / names[file], png_bytes(view.rgb.numpy()))
        on_view(len(images), len(indices))
    timed = seconds[1:] or seconds
    results = {
        "psnr": _mean(images, "psnr"),
        "ssim": _mean(images, "ssim"),
        **({} if perceptual is None else {"lpips": _mean(images, "lpips")}),
        "seconds_per_frame": round(float(np.mean(timed)), 4),
        "n_images": len(images),
        **{name: _mean(images, name) for name in ("psnr_aligned", "ssim_aligned") if images and name in images[0]},
    }
    worst = run.folder / "eval" / f"worst_{split}.png"
    write_atomically(worst, png_bytes(_worst_sheet(trained, photos, split, images)))
    result = {"split": split, "results": results, "images": images, "worst": str(worst.relative_to(run.folder))}
    run.write_json(f"eval_{split}.json", result)
    return result


def _perceptual(lpips: Lpips, image: Tensor, truth: Tensor, mask: NDArray[np.bool_] | None) -> float | None:
    """LPIPS; what does not count is taken for equal."""
    if mask is not None:
        image = torch.where(torch.from_numpy(mask)[..., None], image, truth)
    value = lpips(image, truth)
    return None if value is None else _finite(value, 5)


def _worst_sheet(
    trained: TrainedScene, photos: PhotoData, split: str, images: list[dict[str, Any]]
) -> NDArray[np.float32]:
    """Photo, rendering and error of the worst views, side by side."""
    indices = {photos.source.files[index]: index for index in photos.split(split)}
    names = picture_names(list(indices))
    rows, labels = [], []
    for image in worst_first(images)[:N_WORST]:
        index = indices[image["file"]]
        truth = photos.truth(index, trained.scene.background).numpy()
        render = np.asarray(imread(trained.run.folder / "eval" / split / names[image["file"]])) / np.float32(255)
        error = error_picture(render, truth) / np.float32(255)
        if index in photos.masks:
            error[~photos.masks[index]] = 0
        rows.append([truth, render, error])
        labels.append(f"{Path(image['file']).name}\n{_decibels(image['psnr'])}")
    return contact_sheet(rows, labels, ["photo", "rendered", f"error x {ERROR_GAIN}"], side=SHEET_SIDE)


def _decibels(psnr: float | None) -> str:
    return "-" if psnr is None else f"{psnr:.2f} dB"


def _mean(images: list[dict[str, Any]], key: str) -> float | None:
    values = [image[key] for image in images if image[key] is not None]
    return round(float(np.mean(values)), 4) if values else None


def _finite(value: float, digits: int) -> float | None:
    """JSON has no infinity and no NaN."""
    return round(value, digits) if math.isfinite(value) else None


def picture_names(files: list[str]) -> dict[str, str]:
    """Names of the pictures of ``files``: their own, or with their folders where two would be the same."""
    stems = [Path(file).stem for file in files]
    for keeps_suffix in (False, True):
        if len(set(stems)) < len(stems):
            paths = [Path(file) if keeps_suffix else Path(file).with_suffix("") for file in files]
            stems = ["_".join(path.parts).replace("..", "").replace("/", "") for path in paths]
    return {file: f"{stem}.png" for file, stem in zip(files, stems, strict=True)}
