"""From blocks to one HTML file that needs nothing else: no network, no fonts, no libraries."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from nerfkit import __version__
from nerfkit.files import write_atomically
from nerfkit.report.blocks import (
    Block,
    ContactRow,
    ContactSheet,
    Curves,
    Heading,
    Listing,
    Picture,
    Slider,
    Steps,
    Strip,
    Table,
    Text,
    Tiles,
    Video,
)  # fmt: skip
from nerfkit.report.charts import chart_svg
from nerfkit.report.media import VideoSources, picture_uri

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
    videos = VideoSources(path)
    written = datetime.now().astimezone()
    parts = {
        "title": escape(title),
        "subtitle": f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else "",
        "style": _asset("style.css"),
        "script": _asset("script.js"),
        "body": _body(blocks, videos),
        "written": f'<time datetime="{written.isoformat(timespec="seconds")}">{written:%Y-%m-%d %H:%M}</time>',
        "version": __version__,
    }
    # in one pass: what a text contains is never taken for a place to fill
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("template.html"))
    # a file's name may hold bytes that are no text
    write_atomically(path, page.encode("utf-8", errors="replace"))
    return path


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _body(blocks: Sequence[Block], sources: VideoSources) -> str:
    parts = []
    for is_video, group in groupby(blocks, lambda block: isinstance(block, Video)):
        if is_video:
            videos = "".join(_video(block, sources) for block in group if isinstance(block, Video))
            parts.append(f'<div class="videos">{videos}</div>' if videos else "")
        else:
            parts += [_RENDERERS[type(block)](block) for block in group]
    return "\n".join(filter(None, parts))


def _section(title: str, content: str, note: str = "", kind: str = "") -> str:
    if not content:
        return ""
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    remark = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="{kind}">{heading}{remark}{content}</section>'


def _image(picture: Picture, *, is_zoomable: bool = True) -> str:
    width, height = picture.size
    attributes = 'class="zoom" ' if is_zoomable else ""
    return (
        f'<img {attributes}src="{picture_uri(picture.pixels)}" alt="{escape(picture.alt)}" '
        f'width="{width}" height="{height}">'
    )


def _heading(block: Heading) -> str:
    note = f"<p>{escape(block.note)}</p>" if block.note else ""
    return f'<header class="part"><h2>{escape(block.text)}</h2>{note}</header>'


def _text(block: Text) -> str:
    return f'<p class="text">{escape(block.text)}</p>'


def _tiles(block: Tiles) -> str:
    tiles = [
        f"<div><dt>{escape(tile.label)}</dt><dd><strong>{escape(tile.value)}</strong>"
        + (f"<small>{escape(tile.note)}</small>" if tile.note else "")
        + "</dd></div>"
        for tile in block.tiles
    ]
    return f'<dl class="tiles">{"".join(tiles)}</dl>' if tiles else ""


def _curves(block: Curves) -> str:
    figures = []
    for chart in block.charts:
        svg = chart_svg(chart)
        if svg:
            caption = f"<figcaption><b>{escape(chart.title)}</b> <output></output></figcaption>"
            figures.append(f'<figure class="card">{caption}{svg}</figure>')
    drawn = "".join(figures)
    if 'class="raw' in drawn:
        drawn += '<p class="note">Thin: as measured. Thick: the running mean.</p>'
    return _section(block.title, f'<div class="charts">{drawn}</div>' if figures else "", block.note)


def _contact_sheet(block: ContactSheet) -> str:
    cards = "".join(_contact_row(row, block.columns) for row in block.rows)
    return _section(block.title, f'<div class="sheet">{cards}</div>' if cards else "", block.note)


def _contact_row(row: ContactRow, columns: Sequence[str]) -> str:
    cells = "".join(
        f"<div>{_image(picture)}<small>{escape(name)}</small></div>"
        for name, picture in zip(columns, row.pictures, strict=True)
    )
    caption = f"<figcaption><b>{escape(row.caption)}</b> <span>{escape(row.figures)}</span></figcaption>"
    return f'<figure class="card view">{caption}<div class="cells">{cells}</div></figure>'


def _video(block: Video, videos: VideoSources) -> str:
    found = videos.source(block.path)
    if found is None:
        return ""
    uri, is_inside = found
    player = (
        f'<video controls muted loop autoplay playsinline preload="auto" src="{escape(uri)}" '
        f'aria-label="{escape(block.title)}"></video>'
    )
    link = ""
    if not is_inside:
        size = block.path.stat().st_size / 1e6
        link = (
            f'<p class="note">This video of {size:.0f} MB is too large to be part of the page; it is '
            f'<a href="{escape(uri)}">{escape(block.path.name)}</a> beside it.</p>'
        )
    return _section(block.title, player + link, block.note, "video")


def _slider(block: Slider) -> str:
    (left, right), (width, height) = block.labels, block.after.size
    shown = width * math.ceil(SLIDER_WIDTH / width)
    label = escape(f"How much of the picture shows {left}; the rest shows {right}", quote=True)
    stage = (
        f'<div class="stage" style="aspect-ratio:{width}/{height};max-width:{shown}px">'
        f"{_image(block.after, is_zoomable=False)}{_image(block.before, is_zoomable=False)}"
        f'<span class="tag">{escape(left)}</span><span class="tag">{escape(right)}</span><span class="bar"></span>'
        f'<input type="range" min="0" max="100" step="any" value="50" aria-label="{label}" data-left="{escape(left)}">'
        "</div>"
    )
    return _section(block.title, stage, block.note, "slider")


def _strip(block: Strip) -> str:
    figures = "".join(
        f'<figure class="card">{_image(picture)}<figcaption>{escape(picture.caption)}</figcaption></figure>'
        for picture in block.pictures
    )
    return _section(block.title, f'<div class="strip">{figures}</div>' if figures else "", block.note)


def _table(block: Table) -> str:
    if not block.rows:
        return ""
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in block.columns)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in block.rows)
    label = escape(block.title or "table")
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return _section(
        block.title, f'<div class="table" role="region" aria-label="{label}" tabindex="0">{table}</div>', block.note
    )


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "<td>–</td>"  # noqa: RUF001  a dash for what is not there
    if isinstance(value, bool):
        return f'<td data-value="{int(value)}" class="{"yes" if value else "no"}">{"yes" if value else "no"}</td>'
    if isinstance(value, int | float):
        return f'<td class="number" data-value="{value!r}">{value if isinstance(value, int) else f"{value:.4g}"}</td>'
    return f"<td>{escape(str(value))}</td>"


def _listing(block: Listing) -> str:
    if not block.text.strip():
        return ""
    summary, text = escape(block.title), escape(block.text.rstrip())
    return f'<details><summary>{summary}</summary><pre tabindex="0">{text}</pre></details>'


def _steps(block: Steps) -> str:
    items = "".join(
        f'<li><p>{escape(what)}</p><pre class="command"><code>{escape(command)}</code></pre></li>'
        for what, command in block.steps
    )
    return _section(block.title, f'<ol class="steps">{items}</ol>' if items else "")


_RENDERERS: dict[type, Callable[[Any], str]] = {
    Heading: _heading, Text: _text, Tiles: _tiles, Curves: _curves, ContactSheet: _contact_sheet, Slider: _slider,
    Strip: _strip, Table: _table, Listing: _listing, Steps: _steps,
}  # fmt: skip
