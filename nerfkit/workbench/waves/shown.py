"""What a report shows of a wave: pictures in two colours, a video beside the finite differences, errors over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerfkit.report.blocks import Chart, Series
from nerfkit.video import VideoWriter
from nerfkit.workbench.contact_sheet import tiled_frame

__all__ = ["coloured", "error_chart", "relative_errors", "write_video"]

# frames a second, and how often the last one is repeated
FPS, N_HELD = 15, 10
# a difference of this fraction of the field's reach shows at full colour
FULL_DIFFERENCE = 0.05
# fraction of the values of a video that are within its colours: a pulse is far stronger at its start than later
LOUDEST = 0.99
# side that pictures are enlarged to, a whole number of times
SIDE = 256
# height and width of a curve of one dimension in a video
CURVE = (120, 160)


def coloured(values: NDArray, reach: float) -> NDArray[np.float32]:
    """Values [h, w] as colours [k h, k w, 3]: 0 white, ``reach`` and beyond red, its negative blue."""
    factor = max(1, round(SIDE / max(values.shape)))
    values = values.repeat(factor, 0).repeat(factor, 1)
    size = np.clip(np.abs(values) / reach, 0, 1)[..., None]
    full = np.where(values[..., None] > 0, np.array([0.7, 0.05, 0.15]), np.array([0.1, 0.25, 0.75]))
    return (1 - size * (1 - full)).astype(np.float32)


def relative_errors(values: NDArray, truth: NDArray) -> tuple[float, list[float]]:
    """Relative L2 error over all moments [n, ...], and the error of each over the rms size of the truth."""
    squares, sizes = np.abs(values - truth) ** 2, np.abs(truth) ** 2
    axes = tuple(range(1, truth.ndim))
    size = float(sizes.mean()) or 1.0
    return float(np.sqrt(squares.mean() / size)), [float(x) for x in np.sqrt(squares.mean(axes) / size)]


def error_chart(times: Sequence[float], curves: dict[str, Sequence[float]]) -> Chart:
    """Errors over time, a curve each."""
    series = [Series(name, list(times), list(values)) for name, values in curves.items()]
    return Chart("Error over time", series, "time", "of the rms of the field", is_log=True)


def write_video(
    path: Path, times: Sequence[float], values: NDArray, truth: NDArray, on_part: Callable[[int, int], None]
) -> Path:  # fmt: skip
    """The field [n, h, w] beside the finite differences and their difference; h = 1, of one dimension, as curves."""
    reach = float(np.quantile(np.abs(truth), LOUDEST)) or 1.0
    drawn = _curve if values.shape[1] == 1 else coloured
    labels = ["field", "finite differences", f"difference x {1 / FULL_DIFFERENCE:.0f}"]
    frames = []
    for at, time in enumerate(times):
        shown = [values[at], truth[at], (values[at] - truth[at]) / FULL_DIFFERENCE]
        frames.append(tiled_frame([drawn(each, reach) for each in shown], labels, f"time {time:.3g}"))
        on_part(at + 1, len(times))
    height, width = frames[0].shape[:2]
    with VideoWriter(path, (width, height), FPS, overwrite=True) as video:
        for frame in [*frames, *[frames[-1]] * N_HELD]:
            video.add(frame)
    return path


def _curve(values: NDArray, reach: float) -> NDArray[np.float32]:
    """A curve [1, n] drawn in black, 0 in grey."""
    from PIL import Image, ImageDraw

    height, width = CURVE
    # twice the size, then halved: a line of one pixel would be jagged
    image = Image.new("L", (2 * width, 2 * height), 255)
    draw = ImageDraw.Draw(image)
    draw.line([(0, height), (2 * width, height)], fill=190, width=2)
    xs = np.linspace(0, 2 * width - 1, values.shape[1])
    ys = height * (1 - 0.9 * np.clip(values[0] / reach, -1.1, 1.1))
    draw.line(list(zip(xs.tolist(), ys.tolist(), strict=True)), fill=0, width=3)
    return np.asarray(image.resize((width, height), Image.Resampling.BOX), np.float32) / np.float32(255)
