"""Frames out of a video through PyAV, which brings ffmpeg's libraries along.

Never cv2.VideoCapture: it aborts the whole process on some raw AVIs.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError
from nerfkit.scenes.findings import Findings, listed_or_logged

from ._aspect import say_aspect
from ._choice import FrameChooser, Wanted
from ._crop import Crop, crop_pixels
from ._curves import CURVES_BY_CODE, HDR_NAMES, hdr_to_srgb
from .frames import check_memory
from .picture_size import MAX_PIXELS, check_pixels

if TYPE_CHECKING:
    from av import VideoFrame
    from av.filter import Graph
    from av.video.stream import VideoStream

__all__ = ["StreamedVideo", "Video", "read_video"]

logger = logging.getLogger(__name__)

MAX_MESSAGE = 300
# containers that hold their pictures themselves: a playlist (HLS, DASH, concat) names other files, and addresses
CONTAINERS = (
    "mov", "matroska", "avi", "yuv4mpegpipe", "gif", "apng", "mpegts", "mpeg", "mpegvideo", "m4v", "mjpeg", "h263",
    "h264", "hevc", "vvc", "av1", "obu", "ivf", "flv", "ogg", "asf", "mxf", "dv", "nut", "rm", "swf", "vc1", "wtv",
    "dirac", "dnxhd", "jpeg_pipe", "png_pipe", "webp_pipe",
)  # fmt: skip
CONTAINER_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(CONTAINERS)}
# of H.273's transfer characteristics and colour primaries
UNSPECIFIED = 2
# without these flags swscale takes the nearest chroma: smooth yuv420p is off by 1.5 levels rms, not 0.6
SCALE_FLAGS = "flags=bicubic+full_chroma_int+accurate_rnd"


@dataclass
class Video:
    """Frames of a video.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, shape (n, h, w) or (n, h, w, 3)
        Turned upright. uint16 where the video has more than 8 bits, scaled to 65535. Grey where every pixel of
        every frame is, since most grey videos are stored as colour. An alpha channel is dropped.
    curve : str or None
        Transfer curve that the file names; None where it names none.
    primaries : int
        Colour primaries by their code in H.273.
    whole_size : (int, int)
        Width and height of the frames before a part was cut from them.
    indices : list of int
        Which of the video's frames they are.
    n_found : int
        Number of frames that they were chosen from.
    """

    pixels: np.ndarray
    curve: str | None = None
    primaries: int = UNSPECIFIED
    whole_size: tuple[int, int] = (0, 0)
    indices: list[int] = field(default_factory=list)
    n_found: int = 0


@dataclass
class _Shown:
    """How the first frame is to be shown: curve, primaries, width over height of a stored pixel, width and height."""

    curve: str | None = None
    primaries: int = UNSPECIFIED
    aspect: Fraction = Fraction(1)
    is_turned: bool = False
    is_known: bool = False
    size: tuple[int, int] = (0, 0)


def read_video(
    path: str | Path, n_frames: int | None = None, findings: Findings | None = None, *, crop: Crop | None = None,
    choose: FrameChooser | None = None,
) -> Video:  # fmt: skip
    """All frames of a video's first picture stream, none repeated or dropped to keep its clock.

    Parameters
    ----------
    path : str or Path
        Anything that ffmpeg reads, gif included.
    n_frames : int, optional
        Stop after so many; it is an error if there are fewer.
    findings : Findings, optional
        Filled with what is odd; logged unless given.
    crop : (int, int, int, int), optional
        x, y, width and height of the part of each frame that is kept.
    choose : FrameChooser, optional
        Chooses from long videos, which are decoded twice, one frame after the other.

    Returns
    -------
    video : Video

    Raises
    ------
    NerfkitError
        No such file, no frames in it, too few or of several sizes, or ffmpeg cannot read it: with what it said.
    MissingCapabilityError
        PyAV cannot be imported.
    """
    path = Path(path)
    _check_there(path)
    decoder = _Decoder(path, Wanted(n_frames, crop, choose))
    frames, indices = decoder.read()
    if not frames:
        raise _no_frame(path, decoder.complaint)
    shown, n_found = decoder.shown, decoder.n_found
    with listed_or_logged(findings, logger) as found:
        if decoder.complaint:
            found.add("warning", f"ffmpeg read {n_found} frames and complains: {decoder.complaint}", where=path)
        say_aspect(shown.size, 1 / shown.aspect if shown.is_turned else shown.aspect, path, found)
    if n_frames is not None and n_found < n_frames:
        raise NerfkitError(
            f"{n_frames} frames are wanted, the video has {n_found}",
            where=path,
            fix=f"give --frames {n_found} or less, or leave it out",
        )
    return Video(_grey_if_all(np.stack(frames)), shown.curve, shown.primaries, shown.size, indices, n_found)


class StreamedVideo:
    """Frames of a video, one after the other, none of them kept: for videos that are longer than memory.

    Parameters
    ----------
    path : str or Path
        Anything that ffmpeg reads.

    Raises
    ------
    NerfkitError
        No such file, or, as soon as frames are asked for, none that can be read.
    MissingCapabilityError
        PyAV cannot be imported.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        _check_there(self.path)
        self._decoder = _Decoder(self.path, Wanted())

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames from the first on, upright, uint8 [h, w, 3] in sRGB, whatever the video has."""
        # a generator that is not read to its end holds the file open until it is closed
        with contextlib.closing(self._decoder._stream()) as frames:
            for frame in frames:
                yield _to_bytes(frame, self._decoder.shown.curve)
        if not self._decoder.n_found:
            raise _no_frame(self.path, self._decoder.complaint)


def _to_bytes(frame: np.ndarray, curve: str | None) -> np.ndarray:
    """A frame as a photo has it; what is brighter than SDR white is cut to it."""
    if curve in HDR_NAMES:
        values = hdr_to_srgb(frame / np.float32(np.iinfo(frame.dtype).max), curve)
        frame = np.round(255 * values).astype(np.uint8)
    elif frame.dtype == np.uint16:
        frame = ((frame.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return np.repeat(frame[..., None], 3, axis=-1) if frame.ndim == 2 else frame


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise NerfkitError("no such video", where=path, fix="check the name")
    if not path.stat().st_size:
        raise NerfkitError("the video is empty (0 bytes)", where=path, fix="copy or record it again")


def _no_frame(path: Path, complaint: str) -> NerfkitError:
    return NerfkitError(
        f"no frame can be read from this video; ffmpeg says: {complaint or 'nothing'}",
        where=path,
        fix="check that it plays, or save its frames as PNGs and give their folder",
    )


class _Decoder:
    """Decodes what is wanted of a video, as far as it can be read."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path, self.wanted, self.av = path, wanted, _load_av()
        self.shown, self.n_found, self.complaint = _Shown(), 0, ""

    def read(self) -> tuple[list[np.ndarray], list[int]]:
        """The frames and their indices."""
        frames: list[np.ndarray] = []
        with contextlib.closing(self._stream()) as stream:
            for frame in stream:
                if self.wanted.is_chosen_from(len(frames) + 1):
                    break
                self._keep(frame, frames)
            else:
                return frames, list(range(len(frames)))
        frames.clear()
        return self._read_chosen()

    def _read_chosen(self) -> tuple[list[np.ndarray], list[int]]:
        """Of more frames than are kept: each is looked at, then those that were chosen are decoded once more."""
        with contextlib.closing(self._stream()) as stream:
            indices = self.wanted.chosen((str(index), frame) for index, frame in enumerate(stream))
        frames: list[np.ndarray] = []
        n_found, complaint = self.n_found, self.complaint
        with contextlib.closing(self._stream(indices[-1] + 1)) as stream:
            for index, frame in enumerate(stream):
                if index in indices:
                    self._keep(frame, frames)
        self.n_found, self.complaint = n_found, complaint
        return frames, indices

    def _keep(self, frame: np.ndarray, frames: list[np.ndarray]) -> None:
        frames.append(frame)
        check_memory(len(frames) * frame.size, self.path)

    def _stream(self, n_frames: int | None = None) -> Generator[np.ndarray]:
        """The wanted part of each frame; notes how many there were and, at the end, what ffmpeg said about them."""
        n_frames, self.n_found = n_frames or self.wanted.n_frames, 0
        with _captured_log() as said, contextlib.ExitStack() as stack:
            try:
                # a colon in the name would be read as a protocol; a title that is no text is no reason to refuse frames
                container = stack.enter_context(
                    self.av.open(f"file:{self.path}", metadata_errors="replace", container_options=CONTAINER_OPTIONS)
                )
                for frame in _pictures(container, self.path, self.shown):
                    _check_size(frame, self.n_found, self.shown, self.path)
                    self.n_found += 1
                    yield crop_pixels(frame, self.wanted.crop)
                    if self.n_found == n_frames:
                        break
            except self.av.error.FFmpegError as error:
                said.append((self.av.logging.ERROR, "", error.strerror or str(error)))
            self.complaint = _shorten([message for _, _, message in said])


def _check_size(frame: np.ndarray, index: int, shown: _Shown, path: Path) -> None:
    """Refuse a frame of another size than the first, which is noted."""
    size = (frame.shape[1], frame.shape[0])
    shown.size = size if index == 0 else shown.size
    if size != shown.size:
        raise NerfkitError(
            "frame {} has another size than those before: {}x{}, not {}x{}".format(index, *size, *shown.size),
            where=path,
            fix=f"give --frames {index} or less, or a video of one size",
        )


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


def _pictures(container: Any, path: Path, shown: _Shown) -> Iterator[np.ndarray]:
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
    check_pixels(stream.codec_context.width, stream.codec_context.height, path)
    # of frames that turn out larger than the container says ffmpeg decodes none
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    converter = _Converter(stream)
    for packet in container.demux(stream):
        try:
            decoded = packet.decode()
        except FFmpegError:  # it is in the log
            continue
        for frame in decoded:
            if not shown.is_known:
                _note(frame, stream, shown)
            yield converter(frame)


def _note(frame: VideoFrame, stream: VideoStream, shown: _Shown) -> None:
    # the frame's own word goes before the container's, which is asked where the frame has none
    shown.curve = CURVES_BY_CODE.get(int(frame.color_trc)) or CURVES_BY_CODE.get(int(stream.codec_context.color_trc))
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    shown.aspect = Fraction(aspect) if aspect else Fraction(1)
    shown.primaries = int(frame.color_primaries)
    shown.is_turned = _is_turned(frame)
    shown.is_known = True


class _Converter:
    """Frames to arrays [h, w] or [h, w, 3] of uint8, or of uint16 where there are more than 8 bits; without alpha."""

    def __init__(self, stream: VideoStream) -> None:
        self.stream, self.graph, self.source = stream, None, None

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        source = (frame.format.name, frame.width, frame.height)
        if source != self.source:
            self.source, self.graph = source, _graph_to(self.stream, frame, _layout(frame))
        assert self.graph
        # names that swscale does not know it refuses, and it is to convert neither; what they say is noted before
        frame.color_trc, frame.color_primaries = UNSPECIFIED, UNSPECIFIED
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


def _matrix(frame: VideoFrame) -> list[int] | None:
    """xx, xy, yx, yy of the matrix that shows a frame; None where it is shown as stored."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    # a row (x, y, 1) times the matrix is where a pixel is shown
    return np.frombuffer(bytes(matrix), "=i4").reshape(3, 3)[:2, :2].ravel().tolist()


def _is_turned(frame: VideoFrame) -> bool:
    """Whether a frame is shown with its width and height exchanged."""
    matrix = _matrix(frame)
    return matrix is not None and abs(matrix[1]) > abs(matrix[0])


def _upright(pixels: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Turn and mirror as the file says that it is to be shown."""
    matrix = _matrix(frame)
    if matrix is None:
        return pixels
    xx, xy, yx, yy = matrix
    if _is_turned(frame):
        pixels, xx, yy = pixels.swapaxes(0, 1), yx, xy
    return pixels[:: -1 if yy < 0 else 1, :: -1 if xx < 0 else 1]


def _grey_if_all(frames: np.ndarray) -> np.ndarray:
    if frames.ndim == 3 or (frames != frames[..., :1]).any():
        return frames
    return np.ascontiguousarray(frames[..., 0])


def _shorten(messages: list[str]) -> str:
    """The first things that ffmpeg said, which name the cause."""
    return " / ".join(list(dict.fromkeys(map(str.strip, messages)))[:3])[:MAX_MESSAGE]
