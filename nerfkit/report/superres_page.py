"""The page of a super-resolved image."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerfkit.report.blocks import Block, Chart, Curves, Picture, Series, Slider, Steps, Strip, Table, Text, Tile, Tiles
from nerfkit.report.findings import charts, number, read_dict, read_lines, read_registered, settings_and_versions
from nerfkit.report.media import load_picture, natural
from nerfkit.report.page import write_report
from nerfkit.report.train_page import describe_run
from nerfkit.scenes.readers.photos import some

__all__ = ["superres_blocks", "superres_report"]

# figures of metrics.json that become tiles: key, name, format, what it says
FIGURES = (
    ("psnr_interior", "PSNR, interior", "{:.2f} dB", "against the truth"),
    ("psnr", "PSNR", "{:.2f} dB", "against the truth"),
    ("ssim", "SSIM", "{:.3f}", "against the truth"),
    ("holdout_psnr", "PSNR, held out", "{:.2f} dB", "pixels of the frames"),
    ("mesh", "Mesh", "{:.2f}", "the frames' pixels in the picture; below 1 none shows"),
    ("seconds", "Time", "{:.0f} s", "with registration"),
)

# what the picture is compared with, as the field calls it
MEAN = "aligned mean (shift-and-add)"
# what holds the picture, by metrics.json's ``holds``
HOLDERS = {
    "grid": "the solved image itself, pixel by pixel, is the picture and is kept in the run",
    "tiled": "local networks hold the picture",
    "single": "one network holds the picture",
}


def superres_report(run_folder: Path) -> Path:
    """Write RUN/report.html from what is in the run folder of a super-resolution.

    Parameters
    ----------
    run_folder : Path
        Looked for in it, each left out when absent:

        - ``metrics.json``: {"superres": {...}}, or the object itself, with any of ``scale``, ``seconds``,
          ``expected`` {``measured_share``, ``gain_db``, ``limit``}, ``holdout_psnr``, ``psnr``, ``psnr_interior``,
          ``ssim``, ``output`` (path of the result, relative to the run folder), ``bicubic`` {the same figures of the
          bicubic enlargement}, ``holds`` and ``holds_because``, ``crop`` [x, y, width, height], ``chosen_from``,
          ``defects``, ``blank`` [names], ``mesh``, ``held_out_frames`` {``n``, ``psnr``, ``psnr_aligned_mean``}, and
          ``warnings`` [sentences].
        - ``metrics.jsonl``: lines with ``seconds`` and ``loss``.
        - the result: metrics' ``output``, else ``../<name of the folder>.png``, else ``result.png``.
        - ``bicubic.png``: the reference frame enlarged to the result's size, edge on edge.
        - ``truth.png``: the truth at the result's size.
        - ``strip/*.png``: results from fewer frames, in natural order; the number in the name is the number of
          frames (``frames_08.png``); ``strip/captions.json`` {"frames_08.png": "8 frames, 21.9 dB"} goes before that.
        - ``aligned_mean.png``: the mean of the aligned frames, enlarged; ``residuals.png`` and ``uncertainty.png``:
          maps, and ``diagnosis.json`` {"residuals": {"white": ...}, "uncertainty": {...}, "spectra": {name:
          {"frequencies": [...], "power": [...]}}}.
        - ``registered.csv``: a header, then a line for each frame: ``file,dx,dy`` and any of ``used`` (true or false,
          1 or 0), ``residual``; affine and homography columns are shown likewise.
        - ``config.yml`` (``data``, ``device``, ``seed`` are named below the title) and ``versions.json``.

    Returns
    -------
    path : Path

    Raises
    ------
    NerfkitError
        It cannot be written.
    """
    run_folder = Path(run_folder)
    blocks = [
        *superres_blocks(run_folder),
        Steps("Next steps", _next_steps(run_folder)),
        *settings_and_versions(run_folder),
    ]
    title = f"{run_folder.resolve().name}: one sharp image from many frames"
    return write_report(run_folder / "report.html", title, blocks, subtitle=describe_run(run_folder))


def superres_blocks(folder: Path) -> list[Block]:
    """What a page shows of a super-resolved image."""
    metrics = _metrics(folder)
    columns, rows = read_registered(folder / "registered.csv")
    result = load_picture(_result_path(folder, metrics), "The super-resolved image", "nerfkit")
    bicubic = load_picture(folder / "bicubic.png", "The reference frame, enlarged bicubically", "bicubic")
    truth = load_picture(folder / "truth.png", "The truth", "truth")
    blocks: list[Block] = [Tiles(_headline(metrics, columns, rows, result)), *map(Text, _said(metrics))]
    how = "Drag the bar, or move it with the arrow keys."
    if result is not None and bicubic is not None and result.size == bicubic.size:
        blocks.append(Slider("One frame, and all of them", bicubic, result, ("bicubic", "nerfkit"), how))
    elif result is not None:
        blocks.append(Strip("Result", [result]))
    mean = load_picture(folder / "aligned_mean.png", f"The {MEAN} of all frames, enlarged", MEAN)
    if result is not None and mean is not None and result.size == mean.size:
        blocks.append(Slider("The mean of the frames, and the picture", mean, result, (MEAN, "nerfkit"), how))
    if result is not None and truth is not None and result.size == truth.size:
        blocks.append(Slider("Against the truth", result, truth, ("nerfkit", "truth"), how))
    blocks.append(Strip("What more frames bring", _strip(folder / "strip")))
    blocks += _diagnosis(folder)
    blocks.append(Curves("Fit", charts(read_lines(folder / "metrics.jsonl"))))
    blocks.append(Table("Frames", [_column_name(name) for name in columns], rows, _frames_note(columns, rows)))
    return blocks


def _metrics(folder: Path) -> dict[str, Any]:
    values = read_dict(folder / "metrics.json")
    inner = values.get("superres")
    return inner if isinstance(inner, dict) else values


def _result_path(folder: Path, metrics: dict[str, Any]) -> Path:
    places = [folder.with_name(f"{folder.resolve().name}.png"), folder / "result.png"]
    output = metrics.get("output")
    if isinstance(output, str):
        # by its name: a page shows no file of another place. Beside a TIFF, which no browser shows, there is result.png
        beside = folder / ".." / Path(output).name
        places.insert(0, beside if output.endswith(".png") else folder / "result.png")
    return next((place for place in places if place.is_file()), places[-1])


def _headline(metrics: dict[str, Any], columns: list[str], rows: Sequence[Any], result: Picture | None) -> list[Tile]:
    tiles = []
    if rows:
        used = [row[columns.index("used")] for row in rows] if "used" in columns else []
        n_unread = len(_names(metrics, "blank")) + len(_names(metrics, "repeated"))
        left_out = sum(value is False for value in used) + n_unread
        tiles.append(Tile("Frames", str(len(rows) + n_unread), f"{left_out} left out" if left_out else ""))
    if result is not None:
        scale = number(metrics, "scale")
        enlarged = f"pixels, {scale:g}× a side" if scale is not None else "pixels"  # noqa: RUF001
        tiles.append(Tile("Result", "{}×{}".format(*result.size), enlarged))  # noqa: RUF001
    bicubic = metrics.get("bicubic") if isinstance(metrics.get("bicubic"), dict) else {}
    for key, name, form, note in FIGURES:
        value, before = number(metrics, key), number(bicubic or {}, key)
        if value is not None and not (key == "psnr" and "psnr_interior" in metrics):
            against = f"; bicubic {form.format(before)}" if before is not None else ""
            tiles.append(Tile(name, form.format(value), note + against))
    return tiles + _whole_frames(metrics.get("held_out_frames")) + _expected(metrics.get("expected"))


def _whole_frames(found: object) -> list[Tile]:
    """How well the picture and the mean of the frames predict frames that were held out."""
    n, psnr, mean = (
        number(found, key) if isinstance(found, dict) else None for key in ("n", "psnr", "psnr_aligned_mean")
    )
    if n is None or psnr is None or mean is None:
        return []
    return [Tile("Frames held out", f"{psnr:.2f} dB", f"{n:.0f} whole ones; {MEAN} {mean:.2f} dB")]


def _said(metrics: dict[str, Any]) -> list[str]:
    """What holds the picture and why, and what of the frames is not in it, in sentences."""
    holds, because, n_defects = metrics.get("holds"), metrics.get("holds_because"), number(metrics, "defects")
    said = []
    if isinstance(holds, str) and holds:
        what = HOLDERS.get(holds, f"networks of the kind {holds} hold the picture")
        said.append(f"{what}{f': {because}' if isinstance(because, str) and because else ''}.")
    if n_found := number(metrics, "chosen_from"):
        said.append(f"of {n_found:.0f} frames the sharpest of each of equal stretches are used.")
    crop = metrics.get("crop")
    if isinstance(crop, list) and len(crop) == 4:
        said.append("of the frames the part of {2} x {3} pixels at ({0}, {1}) is used.".format(*crop))
    if n_defects:
        are = "pixel of the sensor is" if n_defects == 1 else "pixels of the sensor are"
        said.append(
            f"{n_defects:.0f} {are} the same in all frames (hot, dead, burnt in); in the picture is what other frames "
            "see there."
        )
    for key, what in (("blank", "show nothing"), ("repeated", "repeat another")):
        if names := _names(metrics, key):
            said.append(f"left out, as they {what}: {some(names)}.")
    said += [f"{warning}." for warning in _names(metrics, "warnings")]
    return [sentence[0].upper() + sentence[1:] for sentence in said]


def _names(metrics: dict[str, Any], key: str) -> list[str]:
    """Names of frames."""
    names = metrics.get(key)
    return [str(name) for name in names] if isinstance(names, list) else []


def _expected(expected: object) -> list[Tile]:
    """What the frames could be expected to give, and what is missing."""
    fraction, gain = (
        number(expected, key) if isinstance(expected, dict) else None for key in ("measured_share", "gain_db")
    )
    if fraction is None or gain is None or not isinstance(expected, dict):
        return []
    missing = {
        "blur": "; blur and noise hide the rest",
        "shifts": "; the shifts leave gaps",
        "frames": "; too few frames",
    }
    limit = missing.get(str(expected.get("limit")), "")
    return [Tile("Detail measured", f"{fraction:.0%}", f"expected {gain:+.1f} dB over bicubic{limit}")]


def _diagnosis(folder: Path) -> list[Block]:
    """Maps of residuals and of uncertainty, and the power spectra."""
    figures = read_dict(folder / "diagnosis.json")
    pictures = []
    for name, what in (("residuals", "error of the frames"), ("uncertainty", "standard error of the image")):
        found = figures.get(name)
        white = number(found, "white") if isinstance(found, dict) else None
        picture = load_picture(folder / f"{name}.png", f"Map of the {what}", f"{what}; white is {white or 0:.3g}")
        pictures += [] if picture is None or white is None else [picture]
    note = (
        "Residuals should look like noise: structure in them is what the PSF or the shifts do not explain. "
        "The standard error is from two halves of the frames; what both get wrong alike does not show in it."
    )
    return [Strip("How sure it is", pictures, note if pictures else ""), Curves("Detail", _spectra(figures))]


def _spectra(figures: dict[str, Any]) -> list[Chart]:
    spectra = figures.get("spectra")
    series = []
    for name, values in spectra.items() if isinstance(spectra, dict) else ():
        x, y = (_numbers(values.get(key)) if isinstance(values, dict) else [] for key in ("frequencies", "power"))
        if x and len(x) == len(y):
            series.append(Series(str(name), x, y))
    return [Chart("Power at each frequency", series, "cycles per low-res pixel", "", is_log=True)] if series else []


def _numbers(values: object) -> list[float]:
    """A list of numbers; empty where it is anything else."""
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        return []
    return [float(value) for value in values]


def _strip(folder: Path) -> list[Picture]:
    captions = read_dict(folder / "captions.json")
    pictures = []
    for path in sorted(folder.glob("*.png"), key=natural) if folder.is_dir() else []:
        numbers = [part for part, is_text in natural(path) if not is_text and part]
        counted = f"{numbers[-1]} frame{'s' * (numbers[-1] > 1)}" if numbers else path.stem
        caption = str(captions.get(path.name, counted))
        picture = load_picture(path, f"Result from {caption}", caption)
        if picture is not None:
            pictures.append(picture)
    return pictures


def _column_name(name: str) -> str:
    return {"dx": "dx (px)", "dy": "dy (px)"}.get(name, name)


def _frames_note(columns: list[str], rows: Sequence[Any]) -> str:
    """How far the frames are apart, in words."""
    if not {"dx", "dy"} <= set(columns) or not rows:
        return ""
    x, y = columns.index("dx"), columns.index("dy")
    lengths = [math.hypot(row[x], row[y]) for row in rows if isinstance(row[x], float) and isinstance(row[y], float)]
    reach = f" The largest shift is {max(lengths):.2f}." if lengths else ""
    return f"Shifts against the reference in low-res pixels.{reach} A click on a column's name sorts."


def _next_steps(folder: Path) -> list[tuple[str, str]]:
    result = load_picture(_result_path(folder, _metrics(folder)), "")
    width, height = result.size if result is not None else (512, 512)
    run, larger = shlex.quote(str(folder)), shlex.quote(f"{folder.name or 'result'}_larger.png")
    shifts = shlex.quote(str(folder / "registered.csv"))
    return [
        ("Sample the picture at another size", f"nerfkit render {run} --size {2 * width}x{2 * height} --out {larger}"),
        ("Go on from these shifts", f"nerfkit superres FRAMES -o OUT.png --shifts {shifts}"),
    ]
