"""The page of a trained scene."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.config import load
from nerfkit.report.blocks import Block, ContactRow, ContactSheet, Curves, Picture, Steps, Table, Tile, Tiles, Video
from nerfkit.report.findings import (
    charts,
    find_videos,
    number,
    read_dict,
    read_lines,
    settings_and_versions,
    worst_first,
)  # fmt: skip
from nerfkit.report.media import ERROR_GAIN, error_picture, load_picture
from nerfkit.report.page import write_report
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.tasks import TASKS, get_task

if TYPE_CHECKING:
    from nerfkit.runs import Run

__all__ = ["train_blocks", "train_report"]

logger = logging.getLogger(__name__)

SPLITS = {"test": "Test views", "val": "Validation views", "train": "Training views"}
# a photo as it was compared, and which of its pixels count; None: all
Truth = tuple[NDArray[np.uint8], NDArray[np.bool_] | None]
# views on a contact sheet; of more, some are chosen from the worst to the best
MAX_VIEWS = 12


def train_report(run: Run) -> Path:
    """Write RUN/report.html from what is in the run folder.

    Parameters
    ----------
    run : Run
        Looked for in its folder, each left out when absent: ``metrics.json`` ({"train": {steps, seconds, psnr}}),
        ``metrics.jsonl`` (seconds, psnr, loss), ``eval_test.json``, ``eval_val.json`` and ``eval_train.json`` with the
        pictures ``eval/<split>/*.png`` and, from the dataset when it is still there, the photos that these are compared
        with; ``*.mp4`` and ``*.webm``; ``config.yml``, ``scene.json``, ``versions.json``.

    Returns
    -------
    path : Path

    Raises
    ------
    NerfkitError
        It cannot be written.
    """
    blocks = [*train_blocks(run), Steps("Next steps", _next_steps(run.folder)), *settings_and_versions(run.folder)]
    title = f"{_scene_name(run.folder)}: a scene from posed photos"
    return write_report(run.folder / "report.html", title, blocks, subtitle=describe_run(run.folder))


def train_blocks(run: Run, videos: Sequence[Path] = ()) -> list[Block]:
    """What a page shows of a trained scene, with ``videos`` besides those in its folder."""
    evals = {name: read_dict(run.folder / f"eval_{name}.json") for name in SPLITS}
    blocks: list[Block] = [Tiles(_headline(run.folder, evals))]
    for path in [*videos, *find_videos(run.folder)]:
        blocks.append(Video(f"Video: {path.stem.replace('_', ' ')}", path))
    lines = read_lines(run.folder / "metrics.jsonl")
    blocks.append(Curves("Training", charts(lines)))
    blocks += _moves(run.folder)
    for name, title in SPLITS.items():
        images = _images(evals[name])
        blocks.append(_sheet(run, name, title, images))
        if len(images) > MAX_VIEWS:
            blocks.append(_table(title, images))
    return blocks


def _moves(folder: Path) -> list[Block]:
    """How far refining moved cameras, those that moved most first."""
    refined = read_dict(folder / "refined_cameras.json")
    listed = refined.get("photos")
    photos = [_dict(photo) for photo in listed] if isinstance(listed, list) else []
    photos = [photo for photo in photos if number(photo, "pixels") is not None]
    if not photos:
        return []
    photos.sort(key=lambda photo: -float(photo["pixels"]))
    rows = [
        [str(photo.get("file", "?")), *(f"{number(photo, key) or 0:.3g}" for key in ("moved", "turned", "pixels"))]
        for photo in photos[:MAX_VIEWS]
    ]
    factor = number(refined, "focal_factor")
    note = f"Of {len(photos)} cameras those that moved most." + (
        "" if factor is None else f" Focal lengths are {factor:.4f} times what is listed."
    )
    return [Table("Refined cameras", ["photo", "moved (world units)", "turned (degrees)", "pixels"], rows, note)]


def describe_run(folder: Path) -> str:
    """Field, data, device and time of a run, as far as its files tell."""
    config = _read_config(folder)
    task = config.get("task")
    what = get_task(task).data if task in TASKS else "data"
    values = {
        "field": _dict(config.get("field")).get("kind"),
        **{key: config.get(key) for key in ("data", "device", "seed")},
        # an example has a name and no path
        **({"data": config["example"]} if config.get("example") else {}),
    }
    named = {"field": "field {}", "data": f"{what} {{}}", "device": "on {}", "seed": "seed {}"}
    return ", ".join(text.format(values[key]) for key, text in named.items() if values[key] is not None)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        return load(folder / "config.yml")
    except NerfkitError:
        return {}


def _scene_name(folder: Path) -> str:
    """The name of the photos' folder, or else the run's."""
    data = _read_config(folder).get("data")
    if not isinstance(data, str):
        return folder.resolve().name
    place = Path(os.path.normpath(folder.resolve() / data))
    return place.parent.name if place.suffix == ".json" else place.name


def _headline(folder: Path, evals: dict[str, dict[str, Any]]) -> list[Tile]:
    tiles = []
    for name, title in SPLITS.items():
        results = _dict(evals[name].get("results"))
        psnr, ssim = number(results, "psnr"), number(results, "ssim")
        what = f"mean of {results.get('n_images', '?')} {title.lower()}"
        if psnr is not None:
            tiles.append(Tile(f"PSNR, {name}", f"{psnr:.2f} dB", what))
        if (aligned := number(results, "psnr_aligned")) is not None:
            tiles.append(Tile(f"PSNR aligned, {name}", f"{aligned:.2f} dB", "right halves, aligned on the left"))
        if ssim is not None:
            tiles.append(Tile(f"SSIM, {name}", f"{ssim:.3f}", what))
        if (lpips := number(results, "lpips")) is not None:
            tiles.append(Tile(f"LPIPS, {name}", f"{lpips:.3f}", f"{what}; less is better"))
    train = _dict(read_dict(folder / "metrics.json").get("train"))
    psnr, seconds, steps = (number(train, key) for key in ("psnr", "seconds", "steps"))
    if psnr is not None and not evals["val"]:
        tiles.append(Tile("PSNR, validation", f"{psnr:.2f} dB", "at the end of training"))
    if seconds is not None:
        tiles.append(Tile("Training", _duration(seconds), f"{steps:,.0f} steps" if steps is not None else ""))
    frame = next((found for found in map(_frame_seconds, evals.values()) if found is not None), None)
    if frame is not None:
        tiles.append(Tile("Rendering", f"{frame:.2g} s", "a frame"))
    return tiles


def _frame_seconds(evaluated: dict[str, Any]) -> float | None:
    return number(_dict(evaluated.get("results")), "seconds_per_frame")


def _duration(seconds: float) -> str:
    """Seconds below two minutes, minutes and hours above.

    Examples
    --------
    >>> _duration(60), _duration(754), _duration(7300)
    ('60 s', '13 min', '2.0 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _images(evaluated: dict[str, Any]) -> list[dict[str, Any]]:
    images = evaluated.get("images")
    found = images if isinstance(images, list) else []
    return [image for image in found if isinstance(image, dict) and isinstance(image.get("file"), str)]


def _sheet(run: Run, split: str, title: str, images: list[dict[str, Any]]) -> ContactSheet:
    # imported here: it loads torch
    from nerfkit.evaluation import picture_names

    names = picture_names([image["file"] for image in images])
    renders: list[tuple[dict[str, Any], Picture]] = []
    for image in _chosen(images):
        render = load_picture(run.folder / "eval" / split / names[image["file"]], f"{image['file']}, rendered")
        if render is not None:
            renders.append((image, render))
    truths = _truths(run, split, [image["file"] for image, _ in renders])
    rows = [_row(image, render, truths.get(image["file"])) for image, render in renders]
    # every row has the same columns: one photo of another size must not unsettle the sheet
    columns = ("photo", "rendered", f"error ×{ERROR_GAIN}")  # noqa: RUF001
    if rows and not all(len(row.pictures) == 3 for row in rows):
        rows = [ContactRow(row.caption, row.figures, row.pictures[-2:-1] or row.pictures) for row in rows]
        columns = columns[1:2]
    note = f"{len(rows)} of {len(images)}, " if len(rows) < len(images) else ""
    note = f"{note}from the worst to the best." if len(rows) > 1 else ""
    return ContactSheet(title, columns, rows, note)


def _table(title: str, images: list[dict[str, Any]]) -> Table:
    """Figures of all views, the worst first."""
    names = {"psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS"}
    names = {key: text for key, text in names.items() if key != "lpips" or any("lpips" in image for image in images)}
    rows = [[image["file"], *(number(image, key) for key in names)] for image in worst_first(images)]
    return Table(f"{title}: figures of all {len(rows)}", ["file", *names.values()], rows)


def _chosen(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Images from the worst PSNR to the best: all, or MAX_VIEWS of them, half the worst, the others evenly spread."""
    ranked = worst_first(images)
    if len(ranked) <= MAX_VIEWS:
        return ranked
    n_worst = MAX_VIEWS // 2
    spread = np.linspace(n_worst, len(ranked) - 1, MAX_VIEWS - n_worst).round().astype(int)
    return ranked[:n_worst] + [ranked[index] for index in spread]


def _row(image: dict[str, Any], render: Picture, compared: Truth | None) -> ContactRow:
    psnr, ssim, lpips = (number(image, key) for key in ("psnr", "ssim", "lpips"))
    figures = [f"{psnr:.2f} dB" if psnr is not None else "", f"SSIM {ssim:.3f}" if ssim is not None else ""]
    figures.append(f"LPIPS {lpips:.3f}" if lpips is not None else "")
    pictures = [render]
    truth, mask = compared or (None, None)
    if truth is not None and truth.shape == render.pixels.shape:
        error = error_picture(render.pixels / 255, truth / 255)
        if mask is not None:
            error[~mask] = 0
        pictures = [
            Picture(truth, f"{image['file']}, photo"),
            render,
            Picture(error, f"{image['file']}, {ERROR_GAIN} times the absolute difference"),
        ]
    return ContactRow(image["file"], ", ".join(filter(None, figures)), pictures)


def _truths(run: Run, split: str, files: Sequence[str]) -> dict[str, Truth]:
    """The photos of ``files`` as they were compared, in size and background; none when they are gone."""
    if not files:
        return {}
    # imported here: these load torch, which importing the report must not
    from nerfkit.photo_data import load_views
    from nerfkit.video import to_uint8

    try:
        source = run.read_photos(None)
        _, background, downscale = run.read_scene()
        indices = [i for i in source.splits.get(split, []) if source.files[i] in files]
        alpha = run.read_config("train")[0].alpha
        data = load_views(source, indices, downscale=downscale, max_side=None, alpha=alpha, findings=Findings())
    except (NerfkitError, OSError) as error:
        logger.info("the report shows no photos beside the renderings: %s", error)
        return {}
    return {source.files[i]: (to_uint8(data.truth(i, background).numpy()), data.masks.get(i)) for i in indices}


def _next_steps(folder: Path) -> list[tuple[str, str]]:
    run = shlex.quote(str(folder))
    return [
        ("Compare with photos that were held out", f"nerfkit eval {run} --split test"),
        ("Film it", f"nerfkit render {run} --out film.mp4"),
        ("Train longer; everything goes on from where it is", f"nerfkit train --resume {run} --seconds 300"),
    ]
