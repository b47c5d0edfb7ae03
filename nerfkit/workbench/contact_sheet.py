"""Pictures side by side with labels, as one picture: rows and columns of a comparison, frames of its video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["contact_sheet", "tiled_frame"]

# side that small pictures are enlarged to, a whole number of times; large ones are reduced to it
SIDE = 160
MARGIN, FONT_SIZE = 8, 13
INK, PAPER = (32, 32, 32), (255, 255, 255)


def _as_rgb(picture: NDArray) -> NDArray[np.uint8]:
    """[h, w], [h, w, 1 to 4] in [0, 1] as RGB bytes; alpha over white."""
    values = np.asarray(picture, np.float64).clip(0, 1)
    values = values[..., None] if values.ndim == 2 else values
    if values.shape[2] in (2, 4):
        values = values[..., :-1] * values[..., -1:] + 1 - values[..., -1:]
    return np.rint((values if values.shape[2] == 3 else values[..., :1].repeat(3, 2)) * 255).astype(np.uint8)


def _cell(picture: NDArray, side: int) -> Any:
    """At about ``side`` pixels: repeated where it is small, so that its pixels stay what they are, else averaged."""
    from PIL import Image

    image = Image.fromarray(_as_rgb(picture))
    factor = side / max(image.size)
    if factor >= 2:
        return image.resize((image.width * int(factor), image.height * int(factor)), Image.Resampling.NEAREST)
    if factor < 1:
        size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
        return image.resize(size, Image.Resampling.BOX)
    return image


def contact_sheet(
    pictures: Sequence[Sequence[NDArray]], row_labels: Sequence[str], column_labels: Sequence[str], *, side: int = SIDE
) -> NDArray[np.float32]:  # fmt: skip
    """Rows of pictures with labels, as a picture [h, w, 3] in [0, 1].

    Parameters
    ----------
    pictures : sequence of sequences of ndarray
        In [0, 1], [h, w] or [h, w, c].
    row_labels, column_labels : sequences of str
        Beside each row, which may have several lines, and above each column.
    side : int
        Pixels that the longest side of each is brought to, about.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(FONT_SIZE)
    cells = [[_cell(picture, side) for picture in row] for row in pictures]
    width, height = (max(cell.size[axis] for row in cells for cell in row) for axis in (0, 1))
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left = max((int(measure.multiline_textbbox((0, 0), label, font)[2]) for label in row_labels), default=0)
    left = left + 2 * MARGIN if left else MARGIN
    line = FONT_SIZE + 6
    top = line + MARGIN if any(column_labels) else MARGIN
    size = (left + len(cells[0]) * (width + MARGIN), top + len(cells) * (height + MARGIN))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(column_labels):
        draw.text((left + column * (width + MARGIN), MARGIN // 2), label, INK, font)
    for row, images in enumerate(cells):
        y = top + row * (height + MARGIN)
        draw.multiline_text((MARGIN, y), row_labels[row] if row_labels else "", INK, font)
        for column, image in enumerate(images):
            sheet.paste(image, (left + column * (width + MARGIN), y))
    return np.asarray(sheet, np.float32) / np.float32(255)


def tiled_frame(pictures: Sequence[NDArray], labels: Sequence[str], title: str) -> NDArray[np.uint8]:
    """Pictures of one size in a block about as wide as a screen, each under its label; even sides, for a video."""
    n_columns = min(len(pictures), max(1, math.ceil(math.sqrt(len(pictures) * 16 / 9))))
    rows = [
        contact_sheet([list(pictures[start : start + n_columns])], [], list(labels[start : start + n_columns]))
        for start in range(0, len(pictures), n_columns)
    ]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=1) for row in rows]
    head = _title(title, width)
    frame = np.rint(np.concatenate([head, *padded]) * 255).astype(np.uint8)
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")


def _title(text: str, width: int) -> NDArray[np.float32]:
    from PIL import Image, ImageDraw, ImageFont

    head = Image.new("RGB", (width, FONT_SIZE + 12), PAPER)
    ImageDraw.Draw(head).text((MARGIN, 6), text, INK, ImageFont.load_default(FONT_SIZE))
    return np.asarray(head, np.float32) / np.float32(255)
