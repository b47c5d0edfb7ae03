"""What cameras do to frames before they are files: sharpen, compress, and weave fields of two times into one frame.

Each takes frames [n, h, w] of linear noise in [0, 1] and gives those that a file of 8 bits holds, as floats again.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["CAMERAS", "N_TIMES", "why_not"]

Frames = NDArray[np.float32]

# standard deviation of the blur of the unsharp mask, pixels, and by how much what it takes is added
RADIUS, AMOUNT = 1.0, 1.0
# quality of JPEG (of 100) and constant rate factor of H.264 (0 is lossless, 51 is worst)
QUALITY, RATE_FACTOR = 40, 30
# frames a second that the video says it has
FRAME_RATE = 25
# times that a woven frame shows
N_TIMES = {"interlaced": 2}


def sharpen(frames: Frames) -> Frames:
    """An unsharp mask, whose overshoot is clipped as files clip it."""
    from scipy.ndimage import gaussian_filter

    blurred = np.stack([gaussian_filter(frame, RADIUS) for frame in frames])
    return _in_8_bits((frames + AMOUNT * (frames - blurred)).astype(np.float32))


def jpeg(frames: Frames) -> Frames:
    """Each frame as a JPEG file of its own."""
    from PIL import Image

    found = []
    for frame in _bytes(frames):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=QUALITY)
        found.append(np.asarray(Image.open(file), np.float32) / 255)
    return np.stack(found)


def h264(frames: Frames) -> Frames:
    """All frames as one video of H.264: most are told by what changed since the one before."""
    import av

    file, shape = io.BytesIO(), frames.shape[1:]
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("libx264", rate=FRAME_RATE, options={"crf": str(RATE_FACTOR), "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = shape[1], shape[0], "yuv420p"
        stream.time_base = Fraction(1, FRAME_RATE)
        for frame in _bytes(frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "gray")))
        out.mux(stream.encode())
    file.seek(0)
    with av.open(file, "r") as video:
        decoded = [frame.to_ndarray(format="gray") for frame in video.decode(video=0)]
    return np.stack(decoded).astype(np.float32) / np.float32(255)


def weave(fields: Frames) -> Frames:
    """Frames of fields [2 n, h, w] that follow one another: even rows of one, odd rows of the next."""
    frames = fields[::2].copy()
    frames[:, 1::2] = fields[1::2, 1::2]
    return _in_8_bits(frames)


def why_not(name: str | None) -> str:
    """What this machine lacks for a camera; "" where nothing."""
    if name == "h264":
        import av

        return "" if "libx264" in av.codecs_available else "PyAV was built without libx264"
    return ""


def _bytes(frames: Frames) -> NDArray[np.uint8]:
    return np.rint(np.clip(frames, 0, 1) * 255).astype(np.uint8)


def _in_8_bits(frames: Frames) -> Frames:
    return _bytes(frames).astype(np.float32) / np.float32(255)


CAMERAS: dict[str, Callable[[Frames], Frames]] = {
    "plain": _in_8_bits, "sharpened": sharpen, "jpeg": jpeg, "h264": h264, "interlaced": weave,
}  # fmt: skip
