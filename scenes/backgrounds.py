"""What lies behind the scene: the colour that truth and rendering are composited on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nerfkit.scenes.errors import NerfkitError

__all__ = ["BACKGROUNDS", "Background", "border_pixels", "choose_background", "object_mask", "plain_color"]

BACKGROUNDS = ("auto", "white", "black", "random")
# share of the border's pixels that must have one colour for it to be a plain background, and how near to it
PLAIN_SHARE, PLAIN_TOLERANCE = 0.97, 6
# one view may show the object at its border; most must not
PLAIN_VIEWS = 0.9


@dataclass(frozen=True)
class Background:
    """The colour behind the scene.

    Parameters
    ----------
    name : str
        ``"white"``, ``"black"``, ``"random"`` (trained on random colours, evaluated on white), ``"plain"`` (the
        photos' own) or ``"none"`` (the scene fills the view).
    color : tuple of 3 float or None
        Colour in [0, 1] for evaluation; None for ``"none"``.
    """

    name: str
    color: tuple[float, float, float] | None

    @property
    def is_random(self) -> bool:
        """Whether training draws a colour for each ray."""
        return self.name == "random"


def choose_background(
    option: str, images: Sequence[np.ndarray], masks: Sequence[np.ndarray | None] | None = None
) -> Background:
    """The background that ``--background`` and the photos ask for.

    Parameters
    ----------
    option : {"auto", "white", "black", "random"}
        ``"auto"`` is white for photos with alpha, the photos' own colour where their borders are plain, else none.
    images : sequence of uint8 ndarray, shape (h, w, 3 or 4)
        The photos.
    masks : sequence of bool ndarray or None, shape (h, w), optional
        Which pixels of each count; None: all.
    """
    if option not in BACKGROUNDS:
        raise NerfkitError(
            f"--background must be one of {', '.join(BACKGROUNDS)}; got {option!r}", fix="give one of these"
        )
    has_alpha = any(image.shape[2] == 4 for image in images)
    if option == "auto":
        if has_alpha:
            return Background("white", (1.0, 1.0, 1.0))
        color = plain_color(images, masks)
        return Background("none", None) if color is None else Background("plain", color)
    if option == "random":
        if not has_alpha:
            raise NerfkitError(
                "--background random needs photos with an alpha channel; these are opaque",
                fix="use --background auto",
            )
        return Background("random", (1.0, 1.0, 1.0))
    value = 1.0 if option == "white" else 0.0
    return Background(option, (value, value, value))


def plain_color(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray | None] | None = None
) -> tuple[float, float, float] | None:
    """The one colour [0, 1] along the borders of nearly all photos, or of what counts in them, or None."""
    borders = [
        border_pixels(image[..., :3], mask).astype(np.float64)
        for image, mask in zip(images, masks or [None] * len(images), strict=True)
        if mask is None or mask.any()
    ]
    if not borders:
        return None
    color = np.median(np.concatenate(borders), axis=0)
    near = [(np.abs(border - color).max(1) <= PLAIN_TOLERANCE).mean() for border in borders]
    if np.mean(np.array(near) >= PLAIN_SHARE) < PLAIN_VIEWS:
        return None
    r, g, b = (color / 255).tolist()
    return (r, g, b)


def object_mask(image: np.ndarray, background: Background) -> np.ndarray:
    """Where a photo [h, w, 3 or 4] shows the object: alpha above zero, or a colour unlike the background's."""
    if image.shape[2] == 4:
        return image[..., 3] > 0
    if background.color is None:
        return np.ones(image.shape[:2], bool)
    return np.abs(image[..., :3] - 255 * np.asarray(background.color)).max(-1) > 2 * PLAIN_TOLERANCE


def border_pixels(image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """The outermost pixels [n, c] of a photo [h, w, c], or of the part of it where ``mask`` [h, w] is true."""
    if mask is not None:
        inner = np.pad(mask, 1)
        inner = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        return image[mask & ~inner]
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
