"""Frames out of a video through PyAV, which brings ffmpeg's libraries along.

Never cv2.VideoCapture: it aborts the whole process on some raw AVIs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError

from .frames import check_memory

if TYPE_CHECKING:
    from av import VideoFrame
    from av.filter import Graph
    from av.video.stream import VideoStream

__all__ = ["read_video"]

logger = logging.getLogger(__name__)

MAX_MESSAGE = 300
# without these flags swscale takes the nearest chroma: smooth yuv420p is off by 1.5 levels rms, not 0.6
SCALE_FLAGS = "flags=bicubic+full_chroma_int+accurate_rnd"


def read_video(path: str | Path, n_frames: int | None = None) -> np.ndarray:
    """All frames of a video's first picture stream, none repeated or dropped to keep its clock.

    Parameters
    ----------
    path : str or Path
        Anything that ffmpeg reads, gif included.
    n_frames : int, optional
        Stop after so many; it is an error if there are fewer.

    Returns
    -------
    frames : ndarray of uint8 or uint16, shape (n, h, w) or (n, h, w, 3)
        Turned upright. uint16 where the video has more than 8 bits, scaled to 65535. Grey where every pixel of
        every frame is, since most grey videos are stored as colour. An alpha channel is dropped.

    Raises
    ------
    NerfkitError
        No such file, no frames in it, too few or of several sizes, or ffmpeg cannot read it: with what it said.
    MissingCapabilityError
        PyAV cannot be imported.
    """
    path = Path(path)
    if not path.is_file():
        raise NerfkitError("no such video", where=path, fix="check the name")
    if not path.stat().st_size:
        raise NerfkitError("the video is empty (0 bytes)", where=path, fix="copy or record it again")
    frames, said = _decode(path, n_frames)
    if not frames:
        raise NerfkitError(
            f"no frame can be read from this video; ffmpeg says: {said or 'nothing'}",
            where=path,
            fix="check that it plays, or save its frames as PNGs and give their folder",
        )
    if said:
        logger.warning("%s: ffmpeg read %d frames and complains: %s", path, len(frames), said)
    if n_frames is not None and len(frames) < n_frames:
        raise NerfkitError(
            f"{n_frames} frames are wanted, the video has {len(frames)}",
            where=path,
            fix=f"give --frames {len(frames)} or less, or leave it out",
        )
    return _grey_if_all(np.stack(frames))


def _decode(path: Path, n_frames: int | None) -> tuple[list[np.ndarray], str]:
    """Frames as far as they can be read, and what ffmpeg said about it."""
    av = _load_av()
    frames: list[np.ndarray] = []
    with _captured_log() as said, contextlib.ExitStack() as stack:
        try:
            # a colon in the name would be read as a protocol; a title that is no text is no reason to refuse the frames
            container = stack.enter_context(av.open(f"file:{path}", metadata_errors="replace"))
            for frame in _pictures(container, path):
                frames.append(frame)
                check_memory(len(frames) * frame.size, path)
                if frame.shape != frames[0].shape:
                    raise NerfkitError(
                        f"frame {len(frames) - 1} has another size than those before: {_size(frame)}, not "
                        f"{_size(frames[0])}",
                        where=path,
                        fix=f"give --frames {len(frames) - 1} or less, or a video of one size",
                    )
                if len(frames) == n_frames:
                    break
        except av.error.FFmpegError as error:
            said.append((av.logging.ERROR, "", error.strerror or str(error)))
    return frames, _shorten([message for _, _, message in said])


def _load_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingCapabilityError(
            f"a video needs PyAV, and it cannot be imported ({error})",
            where="av",
            fix="pip install av, or give a folder of PNGs",
        ) from error
    return av


@contextlib.contextmanager
def _captured_log() -> Iterator[list[tuple[int, str, str]]]:
    """Errors that ffmpeg logs meanwhile, as PyAV has them: level, who, what."""
    from av import logging as av_logging

    level = av_logging.get_level()
    av_logging.set_level(av_logging.ERROR)
    try:
        with av_logging.Capture() as said:
            yield said
    finally:
        av_logging.set_level(level)


def _pictures(container: Any, path: Path) -> Iterator[np.ndarray]:
    """Frames of the first picture stream that is no cover picture, upright; what cannot be decoded is passed over."""
    from av.error import FFmpegError
    from av.stream import Disposition

    streams = (stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic)
    stream = next(streams, None)
    if stream is None:
        raise NerfkitError("this file holds no video", where=path, fix="give one that shows frames")
    if stream.codec_context is None:
        raise NerfkitError(
            "there is no decoder for this video's pictures",
            where=path,
            fix="convert it to mp4 (H.264), or save its frames as PNGs and give their folder",
        )
    # threads of ffmpeg that log would wait for Python's lock, which closing the decoder holds while it waits for them
    stream.codec_context.thread_count = 1
    converter = _Converter(stream)
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except FFmpegError:  # it is in the log
            continue
        yield from map(converter, decoded)


class _Converter:
    """Frames to arrays [h, w] or [h, w, 3] of uint8, or of uint16 where there are more than 8 bits; without alpha."""

    def __init__(self, stream: VideoStream) -> None:
        self.stream, self.graph, self.source = stream, None, None

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        source = (frame.format.name, frame.width, frame.height)
        if source != self.source:
            self.source, self.graph = source, _graph_to(self.stream, frame, _layout(frame))
        assert self.graph
        self.graph.vpush(frame)
        return _upright(self.graph.vpull().to_ndarray(), frame)


def _layout(frame: VideoFrame) -> str:
    """Name of the pixel format that loses nothing of a frame but its alpha."""
    is_grey = len(frame.format.components) < 3 and not frame.format.has_palette
    is_deep = max(component.bits for component in frame.format.components) > 8
    return ("gray16le" if is_deep else "gray") if is_grey else ("rgb48le" if is_deep else "rgb24")


def _graph_to(stream: VideoStream, frame: VideoFrame, layout: str) -> Graph:
    """Filters that convert frames like this one; a VideoReformatter would not know where chroma is sampled."""
    from av.filter import Graph

    graph = Graph()
    buffer = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base or frame.time_base
    )
    graph.link_nodes(buffer, graph.add("scale", SCALE_FLAGS), graph.add("format", layout), graph.add("buffersink"))
    graph.configure()
    return graph


def _upright(pixels: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Turn and mirror as the file says that it is to be shown."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    # a row (x, y, 1) times the matrix is where a pixel is shown
    (xx, xy, _), (yx, yy, _) = np.frombuffer(bytes(matrix), "=i4").reshape(3, 3)[:2].tolist()
    if abs(xy) > abs(xx):
        pixels, xx, yy = pixels.swapaxes(0, 1), yx, xy
    return pixels[:: -1 if yy < 0 else 1, :: -1 if xx < 0 else 1]


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


def _grey_if_all(frames: np.ndarray) -> np.ndarray:
    if frames.ndim == 3 or (frames != frames[..., :1]).any():
        return frames
    return np.ascontiguousarray(frames[..., 0])


def _shorten(messages: list[str]) -> str:
    """The first things that ffmpeg said, which name the cause."""
    return " / ".join(list(dict.fromkeys(map(str.strip, messages)))[:3])[:MAX_MESSAGE]
