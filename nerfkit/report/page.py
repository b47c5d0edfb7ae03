"""From blocks to one HTML file that needs nothing else: no network, no fonts, no scripts of others.

page.html and blocks.html are the templates; here is what they show. Every text is escaped by the templates.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit import __version__
from nerfkit.files import write_atomically
from nerfkit.report.blocks import (
    Block,
    Cell,
    ContactSheet,
    Curves,
    Heading,
    Listing,
    Slider,
    Steps,
    Strip,
    Table,
    Text,
    Tiles,
    Video,
)  # fmt: skip
from nerfkit.report.charts import draw, scale_bar
from nerfkit.report.media import VideoSources, picture_uri

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["write_report"]

# a picture narrower than this is enlarged a whole number of times under a slider
SLIDER_WIDTH = 480


def write_report(path: Path, title: str, blocks: Sequence[Block], *, subtitle: str = "") -> Path:
    """Write a page of blocks, whole or not at all.

    Parameters
    ----------
    path : Path
        The HTML file.
    title, subtitle : str
        Its heading and a line below it.
    blocks : sequence of Block
        What is on it, in order. A block with nothing to show leaves no trace.

    Returns
    -------
    path : Path

    Raises
    ------
    NerfkitError
        The file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "report.html"
    >>> write_report(file, "Fox", [Text("a < b")]).name, "a &lt; b" in file.read_text()
    ('report.html', True)
    """
    page = (
        _templates()
        .get_template("page.html")
        .render(
            title=title,
            subtitle=subtitle,
            views=_views(blocks, VideoSources(path)),
            style=_own_text("style.css"),
            script=_own_text("script.js"),
            written=datetime.now().astimezone(),
            version=__version__,
        )
    )
    # a file's name may hold bytes that are no text
    write_atomically(path, page.encode("utf-8", errors="replace"))
    return path


@functools.cache
def _templates() -> Environment:
    # imported here: a command that writes no page starts without it
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"uri": picture_uri, "scale_bar": scale_bar}
    return environment


def _own_text(name: str) -> str:
    """A file of this folder, marked as one that needs no escaping."""
    from markupsafe import Markup

    return Markup(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _views(blocks: Sequence[Block], sources: VideoSources) -> list[dict[str, Any]]:
    """What the templates show: ``kind``, the name of a macro in blocks.html, and what that macro needs."""
    views = []
    for is_video, group in groupby(blocks, lambda block: isinstance(block, Video)):
        if is_video:
            views.append(_videos([block for block in group if isinstance(block, Video)], sources))
        else:
            views += [_VIEWS[type(block)](block) for block in group]
    return [view for view in views if view]


def _videos(blocks: Sequence[Video], sources: VideoSources) -> dict[str, Any]:
    videos = []
    for block in blocks:
        found = sources.source(block.path)
        if found is not None:
            megabytes = block.path.stat().st_size / 1e6
            videos.append({"block": block, "uri": found[0], "is_inside": found[1], "megabytes": megabytes})
    return {"kind": "videos", "videos": videos} if videos else {}


def _curves(block: Curves) -> dict[str, Any]:
    drawings = [drawing for drawing in map(draw, block.charts) if drawing is not None]
    has_means = any(line.kind == "raw" for drawing in drawings for line in drawing.lines)
    view = {"kind": "curves", "block": block, "drawings": drawings, "has_means": has_means}
    return view if drawings else {}


def _slider(block: Slider) -> dict[str, Any]:
    width = block.after.size[0]
    return {"kind": "slider", "block": block, "shown_width": width * math.ceil(SLIDER_WIDTH / width)}


def _table(block: Table) -> dict[str, Any]:
    view = {"kind": "table", "block": block, "rows": [[_cell(value) for value in row] for row in block.rows]}
    return view if block.rows else {}


def _cell(value: Cell) -> dict[str, Any]:
    """Text of a cell and its attributes: what it is sorted by, and its class."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return {"text": "–", "attributes": {}}  # noqa: RUF001  a dash for what is not there
    if isinstance(value, bool):
        word = "yes" if value else "no"
        return {"text": word, "attributes": {"data-value": int(value), "class": word}}
    if isinstance(value, int | float):
        text = str(value) if isinstance(value, int) else f"{value:.4g}"
        return {"text": text, "attributes": {"class": "number", "data-value": repr(value)}}
    return {"text": value, "attributes": {}}


def _plain(kind: str, is_empty: Callable[[Any], bool] = lambda block: False) -> Callable[[Any], dict[str, Any]]:
    """View of a block that its macro shows as it is, or nothing where it is empty."""
    return lambda block: {} if is_empty(block) else {"kind": kind, "block": block}


_VIEWS: dict[type, Callable[[Any], dict[str, Any]]] = {
    Heading: _plain("heading"),
    Text: _plain("text"),
    Tiles: _plain("tiles", lambda block: not block.tiles),
    Curves: _curves,
    ContactSheet: _plain("contact_sheet", lambda block: not block.rows),
    Slider: _slider,
    Strip: _plain("strip", lambda block: not block.pictures),
    Table: _table,
    Listing: _plain("listing", lambda block: not block.text.strip()),
    Steps: _plain("steps", lambda block: not block.steps),
}
