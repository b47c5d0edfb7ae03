"""What the pages find in a run folder. A file that is absent, damaged or of an odd shape is as if it were not there."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerfkit.report.blocks import Block, Chart, Listing, Series
from nerfkit.report.media import natural
from nerfkit.scenes.json_text import parse_json

__all__ = [
    "charts", "find_videos", "number", "read_dict", "read_lines", "read_registered", "read_text",
    "settings_and_versions", "worst_first",
]  # fmt: skip

logger = logging.getLogger(__name__)

# curves that are drawn when metrics.jsonl has them: key, name, unit, whether the axis is logarithmic
CURVES = (
    ("psnr", "PSNR while fitting", "dB", False),
    ("loss", "Loss", "", True),
)


def read_text(path: Path) -> str:
    """Text of a file; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        logger.warning("%s is left out of the report: %s", path, error.strerror or error)
        return ""


def read_dict(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none."""
    return _as_dict(read_text(path))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one a line; a line that was cut short is left out."""
    return [found for found in map(_as_dict, read_text(path).splitlines()) if found]


def read_registered(path: Path) -> tuple[list[str], list[list[str | float | bool | None]]]:
    """Columns and rows of a registered.csv, numbers as numbers and ``used`` as yes or no."""
    rows = [row for row in csv.reader(read_text(path).splitlines()) if row]
    if len(rows) < 2:
        return [], []
    columns = [column.strip() for column in rows[0]]
    whole = [row for row in rows[1:] if len(row) == len(columns)]
    return columns, [[_cell(name, text.strip()) for name, text in zip(columns, row, strict=True)] for row in whole]


def number(values: dict[str, Any], key: str) -> float | None:
    """``values[key]`` where that is a finite number."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def charts(lines: Sequence[dict[str, Any]]) -> list[Chart]:
    """Charts over seconds of what metrics.jsonl has."""
    lines = [line for line in lines if number(line, "seconds") is not None]
    seconds = _unbroken([line["seconds"] for line in lines])
    made = []
    for key, name, unit, is_log in CURVES:
        values = [math.nan if number(line, key) is None else line[key] for line in lines]
        made.append(Chart(name, [Series(name, seconds, values)], "seconds", unit, is_log))
    return made


def find_videos(folder: Path) -> list[Path]:
    """Finished videos directly in a folder, in natural order."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() in (".mp4", ".webm"))
    # a name with a dot in front is one that is still being written
    return sorted((path for path in found if path.is_file() and not path.name.startswith(".")), key=natural)


def settings_and_versions(folder: Path) -> list[Block]:
    """config.yml and versions.json as they stand."""
    return [
        Listing("Configuration (config.yml)", read_text(folder / "config.yml")),
        Listing("Versions (versions.json)", read_text(folder / "versions.json")),
    ]


def _as_dict(text: str) -> dict[str, Any]:
    try:
        values = parse_json(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _cell(column: str, text: str) -> str | float | bool | None:
    if column == "used" and text.lower() in ("1", "0", "true", "false", "yes", "no"):
        return text.lower() in ("1", "true", "yes")
    # a file may be called 12 or nan
    if column == "file":
        return text
    try:
        return float(text)
    except ValueError:
        return text or None


def _unbroken(seconds: Sequence[float]) -> list[float]:
    """Seconds that go on where a resumed run counted from zero again."""
    offset, before, result = 0.0, 0.0, []
    for value in seconds:
        if value < before:
            offset += before
        before = value
        result.append(offset + value)
    return result


def worst_first(images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """``images`` of an evaluation from the least PSNR to the greatest; what has none, such as equal pictures, is last.

    Examples
    --------
    >>> images = [{"file": "a"}, {"file": "b", "psnr": 30.0}, {"file": "c", "psnr": 20.0}]
    >>> [image["file"] for image in worst_first(images)]
    ['c', 'b', 'a']
    """

    def rank(image: dict[str, Any]) -> float:
        psnr = number(image, "psnr")
        return math.inf if psnr is None else psnr

    return sorted(images, key=rank)
