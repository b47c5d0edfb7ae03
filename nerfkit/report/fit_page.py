"""The page of a task of `nerfkit fit`."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from nerfkit.report.blocks import (
    Block,
    Chart,
    Curves,
    Picture,
    Series,
    Slider,
    Steps,
    Strip,
    Table,
    Text,
    Tile,
    Tiles,
    Video,
)
from nerfkit.report.findings import charts, number, read_dict, read_lines, settings_and_versions
from nerfkit.report.media import load_picture
from nerfkit.report.page import write_report
from nerfkit.report.train_page import describe_run

__all__ = ["fit_blocks", "fit_report"]

# figures of metrics that become tiles: key, name, format, what it says
FIGURES = (
    ("holdout_psnr", "Held out", "{:.2f} dB", "values that the fit did not see"),
    ("psnr", "PSNR", "{:.2f} dB", "against the truth"),
    ("ssim", "SSIM", "{:.3f}", "against the truth"),
    ("iou", "IoU", "{:.4f}", "volume shared with the truth, of both"),
    ("iou_near", "IoU near", "{:.4f}", "the same about the surface alone"),
    ("chamfer", "Chamfer", "{:.3g}", "mean distance between the surfaces"),
    ("volume", "Volume", "{:.4g}", "in the input's unit"),
    ("area", "Area", "{:.4g}", "in the input's unit"),
    ("components", "Parts", "{:.0f}", "of the mesh that was written"),
    ("holes", "Holes", "{:.0f}", "of the mesh that was written"),
    ("relative_error", "Relative error", "{:.2g}", "rms of the error over that of what it is compared with"),
    ("fitted_psnr", "Fitted", "{:.2f} dB", "values that the fit saw: how well it remembers them"),
    ("psnr_3", "After 3 steps", "{:.2f} dB", "new instances, every pixel seen"),
    ("psnr_10", "After 10 steps", "{:.2f} dB", "new instances"),
    ("psnr_100", "After 100 steps", "{:.2f} dB", "new instances"),
    ("unseen", "Unseen", "{:.2f} dB", "the other pixels of new instances, half of them seen, after 3 steps"),
)


def fit_report(run_folder: Path) -> Path:
    """Write RUN/report.html from what is in the run folder of a task of the workbench.

    Parameters
    ----------
    run_folder : Path
        Looked for in it, each left out when absent: ``metrics.json`` {task: {``field``, ``n_params``, ``seconds``,
        ``metrics``, ``baselines``, ``cut``}}; ``shown.json`` {``pictures`` [[name, caption]] of ``pictures/NAME.png``,
        ``scales`` {name: {``mm_wide``, ``black``, ``white``}}, ``said`` [sentences], ``charts``,
        ``tables``, ``video``}; ``stages/*.jsonl``; ``config.yml``; ``versions.json``.

    Returns
    -------
    path : Path

    Raises
    ------
    NerfkitError
        It cannot be written.
    """
    run_folder = Path(run_folder)
    task = next(iter(read_dict(run_folder / "metrics.json")), "fit")
    blocks = [
        *fit_blocks(run_folder), Steps("Next steps", _next_steps(run_folder, task)), *settings_and_versions(run_folder),
    ]  # fmt: skip
    title = f"{run_folder.resolve().name}: {task}"
    return write_report(run_folder / "report.html", title, blocks, subtitle=describe_run(run_folder))


def fit_blocks(folder: Path) -> list[Block]:
    """What a page shows of a task."""
    found: Any = next(iter(read_dict(folder / "metrics.json").values()), {})
    found = found if isinstance(found, dict) else {}
    shown = read_dict(folder / "shown.json")
    blocks: list[Block] = [Tiles(_headline(found)), *(Text(_sentence(text)) for text in _texts(shown.get("said")))]
    if cut := _texts(found.get("cut")):
        blocks.append(Text(f"Cut short by the limit of time: {', '.join(cut)}."))
    pictures = [
        _with_scale(picture, shown.get("scales"), name)
        for name, caption in _pairs(shown.get("pictures"))
        if (picture := load_picture(folder / "pictures" / f"{Path(name).name}.png", caption, caption)) is not None
    ]
    if len(pictures) > 1 and pictures[0].size == pictures[1].size:
        result, other = pictures[:2]
        how = "Drag the bar, or move it with the arrow keys."
        blocks.append(Slider("Before and after", other, result, (other.caption, result.caption), how))
    blocks.append(Strip("Pictures", pictures))
    if isinstance(video := shown.get("video"), str):
        blocks.append(Video("Evolution", folder / Path(video).name))
    blocks.append(Table("Compared with", *_baselines(found)))
    blocks += [
        Table(table["title"], table["columns"], table["rows"], table["note"]) for table in _dicts(shown, "tables")
    ]
    drawn = [
        Chart(
            chart["title"], [Series(**series) for series in chart["series"]], chart["x_label"], chart["y_label"],
            chart["is_log"],
        )
        for chart in _dicts(shown, "charts")
    ]  # fmt: skip
    blocks.append(Curves("Curves", drawn))
    for path in sorted((folder / "stages").glob("*.jsonl")):
        blocks.append(Curves(f"Fit: {path.stem.replace('_', ' ')}", charts(read_lines(path))))
    return blocks


def _headline(found: dict[str, Any]) -> list[Tile]:
    metrics: Any = found.get("metrics") if isinstance(found.get("metrics"), dict) else {}
    tiles = []
    n_params = number(found, "n_params")
    if n_params is not None:
        tiles.append(Tile("Field", str(found.get("field")), f"{n_params:,.0f} parameters"))
    for key, name, form, note in FIGURES:
        value = number(metrics, key)
        if value is not None:
            tiles.append(Tile(name, form.format(value), note))
    seconds = number(found, "seconds")
    return tiles if seconds is None else [*tiles, Tile("Time", f"{seconds:.0f} s")]


def _baselines(found: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The result and the baselines as a table."""
    baselines = found.get("baselines")
    if not isinstance(baselines, dict) or not baselines:
        return [], []
    rows = {"nerfkit": found.get("metrics", {}), **baselines}
    keys = [key for key, *_ in FIGURES if any(number(values, key) is not None for values in baselines.values())]
    extra = sorted({
        key for values in baselines.values() if isinstance(values, dict) for key in values
        if key not in (*keys, "how") and number(values, key) is not None
    })  # fmt: skip
    columns = ["", *keys, *extra, "how its parameter was chosen"]
    return columns, [
        [name, *(number(values, key) for key in (*keys, *extra)), str(values.get("how", ""))]
        for name, values in rows.items()
        if isinstance(values, dict)
    ]


def _texts(found: object) -> list[str]:
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def _pairs(found: object) -> list[tuple[str, str]]:
    pairs = found if isinstance(found, list) else []
    return [(str(pair[0]), str(pair[1])) for pair in pairs if isinstance(pair, list) and len(pair) == 2]


def _with_scale(picture: Picture, scales: object, name: str) -> Picture:
    """The picture with its width in mm and its window, each where it can be shown."""
    scale = scales.get(name) if isinstance(scales, dict) else None
    if not isinstance(scale, dict):
        return picture
    width, black, white = (number(scale, key) for key in ("mm_wide", "black", "white"))
    return dataclasses.replace(
        picture, mm_wide=width if width is not None and width > 0 else None,
        window=None if black is None or white is None else (black, white),
    )  # fmt: skip


def _dicts(found: dict[str, Any], key: str) -> list[dict[str, Any]]:
    values = found.get(key)
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _next_steps(folder: Path, task: str) -> list[tuple[str, str]]:
    run, larger = shlex.quote(str(folder)), shlex.quote(f"{folder.name or 'result'}_larger.png")
    if task == "shape":
        finer = shlex.quote(f"{folder.name or 'result'}_finer.ply")
        return [
            ("Make a finer mesh", f"nerfkit render {run} --size 512 --out {finer}"),
            ("Go on where it was stopped", f"nerfkit fit --resume {run}"),
        ]
    if task == "volume":
        part = shlex.quote(f"{folder.name or 'result'}_again.nii.gz")
        return [
            ("Write it again; --spacing MM for other cubes, --crop for a part", f"nerfkit render {run} --out {part}"),
            ("Go on where it was stopped", f"nerfkit fit --resume {run}"),
        ]
    found = load_picture(folder / "pictures" / "result.png", "")
    width, height = (512, 512) if found is None else found.size
    return [
        ("Sample it at another size", f"nerfkit render {run} --size {2 * width}x{2 * height} --out {larger}"),
        ("Go on where it was stopped", f"nerfkit fit --resume {run}"),
    ]
