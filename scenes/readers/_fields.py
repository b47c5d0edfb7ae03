"""Interlaced video: frames whose even and odd rows are two fields that were taken one after the other."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from nerfkit.scenes.findings import Findings

__all__ = ["N_LOOKED_AT", "field_order", "middle", "say_fields"]

# frames that are looked at, which must follow one another, and the side of their middle part; an even one
N_LOOKED_AT, SIDE = 32, 512
# fewer frames, or rows of a frame, tell too little
MIN_FRAMES, MIN_ROWS = 6, 24
# standard deviations in pixels by which fields are smoothed: the larger for fast motion
SIGMAS = (1.0, 2.0)
# rows of a field next to its edge, where a smoothed field holds its own mirror image
EDGE = 3
# slope and correlation from which on rows are taken for fields. Woven fields have a slope of 0.5 at slow and 0.15 at
# jerky motion, and correlations of 0.07 to 0.9; frames of one time at most 0.07 and 0.03
MIN_SLOPE, MIN_CORRELATION = 0.12, 0.05
# the same times the root of the number of smoothed pixels: noise alone has a standard deviation of 1.3
MIN_SIGNIFICANCE = 5.0


def field_order(grey: np.ndarray) -> str | None:
    """Which rows of grey frames [n, h, w] were taken first: "top" (the even ones), "bottom", or None for all at once.

    Where things move, the odd rows of interlaced video differ from what the even rows above and below them predict by
    half of what the even rows change from frame to frame. Fine horizontal stripes differ as well, but alike for odd and
    for even rows and whichever way they move, so that the two cancel. Nothing is found where nothing moves.

    Examples
    --------
    >>> x, y, moves = np.arange(48), np.arange(32)[:, None], np.arange(12)[:, None, None]
    >>> field_order(np.sin((x + y + 0.5 * moves) / 2)) is None
    True
    >>> field_order(np.sin((x + y + 0.5 * moves + 0.25 * (y % 2)) / 2))
    'top'
    """
    rows = grey.shape[1] // 2 * 2
    if len(grey) < MIN_FRAMES or rows < MIN_ROWS:
        return None
    fields = grey[:, :rows:2].astype(np.float64), grey[:, 1:rows:2].astype(np.float64)
    found = [_follow_motion(*(_smooth(rows, sigma) for rows in fields)) for sigma in SIGMAS]
    (slope, correlation), sigma = max(zip(found, SIGMAS, strict=True), key=lambda one: abs(one[0][1]))
    n_pixels = (len(grey) - 2) * (rows // 2 - 2 * EDGE - 1) * grey.shape[2] / sigma**2
    if abs(slope) < MIN_SLOPE or abs(correlation) < max(MIN_CORRELATION, MIN_SIGNIFICANCE / n_pixels**0.5):
        return None
    return "top" if slope > 0 else "bottom"


def say_fields(grey: np.ndarray, path: Path, first_row: int, findings: Findings) -> str | None:
    """Note interlaced video, and the command that makes frames of its fields; the order as of :func:`field_order`.

    Parameters
    ----------
    grey : ndarray, shape (n, h, w)
        Parts of frames that follow one another.
    path : Path
        The video, the folder or the array.
    first_row : int
        Row of the frames at which the parts begin.
    findings : Findings
        Filled.
    """
    order = field_order(grey)
    if order is None:
        return None
    in_part = order
    if first_row % 2:
        order = "bottom" if order == "top" else "top"
    source = shlex.quote(str(path))
    if path.is_dir():
        source = f"-framerate 25 -pattern_type glob -i {shlex.quote(str(path / '*.png'))}"
    elif path.suffix.lower() in (".npy", ".npz"):
        source = "-framerate 25 -pattern_type glob -i 'FRAMES/*.png'"
    else:
        source = f"-i {source}"
    findings.add(
        "warning",
        "even and odd rows show different times (interlaced video): what moves is there twice, with combs at "
        f"its edges; the {order} field was taken first. superres takes each field for a frame of its own, unless "
        "--shifts are given",
        where=path,
        fix="for anything else make a frame of each field first and give that video: "
        f"`ffmpeg {source} -vf bwdif=parity={order[0]}ff -c:v ffv1 fields.mkv`",
    )
    return in_part


def middle(frame: np.ndarray) -> np.ndarray:
    """The middle part of a frame [h, w] or [h, w, n_channels], which begins at an even row."""
    top, left = (max(0, (n - SIDE) // 4 * 2) for n in frame.shape[:2])
    return frame[top : top + SIDE, left : left + SIDE]


def _smooth(rows: np.ndarray, sigma: float) -> np.ndarray:
    """A field [n, h / 2, w] under a Gaussian of ``sigma`` pixels of the frame, without its edge."""
    return gaussian_filter(rows, (0, sigma / 2, sigma))[:, EDGE:-EDGE]


def _follow_motion(even: np.ndarray, odd: np.ndarray) -> tuple[float, float]:
    """Slope and correlation of what rows [n, h / 2, w] differ from those around them against their change per frame.

    Of odd rows against the even ones, and, with the other sign, of even rows against the odd ones.
    """
    differs = odd[:, :-1] - (even[:, :-1] + even[:, 1:]) / 2, (odd[:, :-1] + odd[:, 1:]) / 2 - even[:, 1:]
    changes = (even[:, :-1] + even[:, 1:]) / 2, (odd[:, :-1] + odd[:, 1:]) / 2
    product = square_of_change = square = 0.0
    for rows, of_other in zip(differs, changes, strict=True):
        change = (of_other[2:] - of_other[:-2]) / 2
        product += float((rows[1:-1] * change).sum())
        square_of_change += float(np.square(change).sum())
        square += float(np.square(rows[1:-1]).sum())
    if not square * square_of_change:
        return 0.0, 0.0
    return product / square_of_change, product / float(np.sqrt(square * square_of_change))
