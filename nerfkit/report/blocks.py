"""What a report is made of: typed blocks, one after the other. Texts are plain; the page escapes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import NDArray

__all__ = [
    "Block", "Chart", "ContactRow", "ContactSheet", "Curves", "Heading", "Listing", "Picture", "Series", "Slider",
    "Steps",
    "Strip", "Table", "Text", "Tile", "Tiles", "Video",
]  # fmt: skip

Cell = str | float | bool | None


@dataclass(frozen=True)
class Picture:
    """Pixels [h, w] or [h, w, 3 or 4], uint8 or float in [0, 1], and what they show, for those who do not see them.

    ``mm_wide`` is the width in millimetres, ``window`` the values that are black and white; None: not known.
    """

    pixels: NDArray
    alt: str
    caption: str = ""
    mm_wide: float | None = None
    window: tuple[float, float] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True)
class Heading:
    """Begins a part of a page that has several."""

    text: str
    note: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Tile:
    """One headline figure."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Tiles:
    """Headline figures side by side."""

    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Series:
    """A curve: values over ``x``, which grows. What is not finite is left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """Curves over one axis; ``is_log`` for a logarithmic vertical axis, on which only positive values show."""

    title: str
    series: Sequence[Series]
    x_label: str
    y_label: str
    is_log: bool = False


@dataclass(frozen=True)
class Curves:
    """Charts side by side."""

    title: str
    charts: Sequence[Chart]
    note: str = ""


@dataclass(frozen=True)
class ContactRow:
    """One view of a contact sheet: a caption, its figures, and a picture for each column."""

    caption: str
    figures: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class ContactSheet:
    """Views, each with the same kinds of pictures, such as truth, render and error."""

    title: str
    columns: Sequence[str]
    rows: Sequence[ContactRow]
    note: str = ""


@dataclass(frozen=True)
class Video:
    """An mp4 or webm file; it goes into the page unless it is too large."""

    title: str
    path: Path
    note: str = ""


@dataclass(frozen=True)
class Slider:
    """Two pictures of one size on top of each other, with a bar to move between them."""

    title: str
    before: Picture
    after: Picture
    labels: tuple[str, str]
    note: str = ""

    def __post_init__(self) -> None:
        if self.before.size != self.after.size:
            raise ValueError(f"a slider wants two pictures of one size; got {self.before.size} and {self.after.size}")


@dataclass(frozen=True)
class Strip:
    """Pictures in a row with their captions."""

    title: str
    pictures: Sequence[Picture]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose rows can be sorted by a click on a column's name."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


@dataclass(frozen=True)
class Listing:
    """Text of a file, such as config.yml, folded away until it is asked for."""

    title: str
    text: str


@dataclass(frozen=True)
class Steps:
    """What to do next: what a command does, and the command to copy."""

    title: str
    steps: Sequence[tuple[str, str]]


Block = Heading | Text | Tiles | Curves | ContactSheet | Video | Slider | Strip | Table | Listing | Steps
