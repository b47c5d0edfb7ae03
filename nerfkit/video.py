"""Videos that play everywhere: frames in, and an mp4, webm, gif or a folder of PNGs out, whole or not at all.

Frames are uint8 sRGB. In mp4 and webm they become BT.709 limited-range yuv420p and say so in their tags,
because players guess an untagged small video's matrix as BT.601 and shift its colours, and because yuv444p
does not play in Safari.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError
from nerfkit.scenes.writing import move_into_place, sync, temporary_beside

if TYPE_CHECKING:
    from av.filter import Graph

__all__ = ["SUFFIXES", "VideoWriter", "to_uint8"]

logger = logging.getLogger(__name__)

# full_chroma_int and accurate_rnd: without them swscale shifts flat colours by a level or two
_TO_YUV = (
    ("scale", "out_color_matrix=bt709:out_range=tv:flags=bicubic+full_chroma_int+accurate_rnd"),
    ("format", "yuv420p"),
    ("setparams", "range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"),
)
# suffix -> encoder and its options; crf 18 shows no loss to the eye
_ENCODERS = {
    ".mp4": ("libx264", {"crf": "18"}),
    ".webm": ("libvpx-vp9", {"crf": "24", "b:v": "0", "cpu-used": "4", "row-mt": "1"}),
    ".gif": ("gif", {}),
}
# lets a browser play while it loads
_CONTAINER_OPTIONS = {".mp4": {"movflags": "+faststart"}}
# in ITU-T H.273: primaries, transfer and matrix alike; and ffmpeg's number of the limited range
_BT709, _LIMITED_RANGE = 1, 1
SUFFIXES = (*_ENCODERS, "")
# browsers show a gif's frames of less than 2/100 s for 10/100 s
_GIF_MAX_FPS = 50
# x264 takes 1.5 threads a core by itself, and memory for each: 128 of them gain nothing at these sizes
_MAX_THREADS = 16
_FRAME_NAME = re.compile(r"frame_\d{5,}\.png")


def to_uint8(rgb: ArrayLike) -> NDArray[np.uint8]:
    """Round colours in [0, 1] to a frame of 0 to 255; what lies outside is clipped, a NaN raises ValueError.

    Examples
    --------
    >>> to_uint8([0.0, 0.5, 2.0]).tolist()
    [0, 128, 255]
    """
    rgb = np.asarray(rgb)
    if np.isnan(rgb).any():
        raise ValueError(f"{int(np.isnan(rgb).sum())} of {rgb.size} colour values are NaN")
    return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


class VideoWriter:
    """Write frames to a file, or a folder of PNGs, that appears under its name when it is finished.

    Parameters
    ----------
    path : str or Path
        The suffix decides: ``.mp4`` (H.264), ``.webm`` (VP9), ``.gif``, and none for a folder of
        ``frame_00000.png``. Its parent folder is made when absent. A file that is there is replaced.
    size : tuple of int
        Width and height of the frames in pixels. For mp4 and webm an odd one is padded to even by repeating
        the last column or row; nothing is ever rescaled.
    fps : float
        Frames per second.
    overwrite : bool
        Whether the PNGs may go to a folder that holds files. Its old ``frame_*.png`` are then removed,
        nothing else.

    Raises
    ------
    NerfkitError
        The path cannot be written, the disk is full, or ffmpeg fails; with what it said.
    MissingCapabilityError
        PyAV cannot be imported, or its ffmpeg has no encoder for this suffix.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with VideoWriter(folder / "turn.mp4", size=(64, 48), fps=24) as video:
    ...     for level in range(0, 250, 25):
    ...         video.add(np.full((48, 64, 3), level, np.uint8))
    >>> [file.name for file in folder.iterdir()]
    ['turn.mp4']
    """

    def __init__(self, path: str | Path, size: tuple[int, int], fps: float, *, overwrite: bool = False) -> None:
        self.path = Path(path) if Path(path).name else Path(path).resolve()  # '.' has no name of its own
        self.size, self.fps = (int(size[0]), int(size[1])), float(fps)
        suffix = self.path.suffix.lower()
        if suffix not in SUFFIXES:
            raise NerfkitError(
                f"a video cannot be written as {self.path.suffix!r}",
                where=self.path,
                fix="end the name in .mp4, .webm or .gif, or in nothing for a folder of PNGs",
            )
        if min(self.size) < 1:
            raise ValueError(f"size must be a width and a height of at least 1 pixel; got {size}")
        if not 0 < self.fps <= 1000:
            raise NerfkitError(f"frames per second must be above 0 and at most 1000; got {fps}", where="--fps")
        self.n_frames, self._is_open = 0, False
        self._sink: _VideoFile | _PngFolder
        self._sink = _VideoFile(self.path, self.size, self.fps) if suffix else _PngFolder(self.path, overwrite)

    def __enter__(self) -> VideoWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._sink.open()
        except OSError as error:
            explained = self._explain(error)
            self._sink.abort()
            raise explained from error
        self._is_open = True
        return self

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame, uint8 [height, width, 3]."""
        if not self._is_open:
            raise RuntimeError("frames are added inside `with VideoWriter(...) as video:`")
        width, height = self.size
        if frame.shape != (height, width, 3):
            raise ValueError(f"frame {self.n_frames} has shape {frame.shape}; {(height, width, 3)} was announced")
        if frame.dtype != np.uint8:
            nan = " and holds NaN" if frame.dtype.kind == "f" and np.isnan(frame).any() else ""
            raise ValueError(f"frame {self.n_frames} is {frame.dtype}{nan}; uint8 is wanted (see to_uint8)")
        try:
            self._sink.add(frame, self.n_frames)
        except OSError as error:
            raise self._explain(error) from error
        self.n_frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        try:
            if error is not None:
                return
            if not self.n_frames:
                raise ValueError(f"no frame was added to {self.path}")
            self._sink.finish()
        except OSError as problem:
            raise self._explain(problem) from problem
        finally:
            self._sink.abort()  # removes what finish has not moved into place

    def _explain(self, error: OSError) -> NerfkitError:
        if error.errno == errno.ENOSPC:
            return NerfkitError(
                f"the disk of {self.path.parent} is full at frame {self.n_frames} of "
                f"{self.size[0]}x{self.size[1]}: more than {self._sink.written() / 1e6:.2f} MB are needed",
                where=self.path,
                fix="make room there, or give --out on another disk; what was written so far is removed",
            )
        if error.errno is not None and error.errno not in errno.errorcode:  # one of ffmpeg's own
            return NerfkitError(f"ffmpeg failed at frame {self.n_frames}: {error.strerror}", where=self.path)
        return NerfkitError(
            f"this cannot be written: {error.strerror or error}",
            where=self.path,
            fix="give another --out, or allow writing there",
        )


class _VideoFile:
    """A video that PyAV encodes into a file beside the one that is wanted."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        self.path, self.size, self.fps = path, size, fps
        self.suffix = path.suffix.lower()
        # the container is chosen by the suffix, so it stays last
        self.temporary = temporary_beside(path, self.suffix)
        self.pad = (0, 0) if self.suffix == ".gif" else (size[1] % 2, size[0] % 2)  # rows, columns
        self.container: Any = None
        self.stream: Any = None
        self.graph: Graph | None = None

    def open(self) -> None:
        encoder, options = _ENCODERS[self.suffix]
        av = _load_av(encoder)
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has this name")
        self.temporary.touch()  # says now, not after the first frame, that the folder cannot be written
        width, height = self.size[0] + self.pad[1], self.size[1] + self.pad[0]
        rate = Fraction(self.fps).limit_denominator(1001)
        is_gif = self.suffix == ".gif"
        self._warn_of_changes(width, height)
        with _as_os_errors():
            # else a colon in the name would be read as a protocol
            self.container = av.open(f"file:{self.temporary}", "w", options=_CONTAINER_OPTIONS.get(self.suffix, {}))
            self.stream = self.container.add_stream(encoder, rate=min(rate, _GIF_MAX_FPS) if is_gif else rate)
            self.stream.options = options
            context = self.stream.codec_context
            context.width, context.height, context.thread_count = width, height, min(_MAX_THREADS, _n_cpus())
            context.pix_fmt = "pal8" if is_gif else "yuv420p"
            if not is_gif:
                context.color_primaries = context.color_trc = context.colorspace = _BT709
                context.color_range = _LIMITED_RANGE
            self.graph = _filters(width, height, rate, is_gif)

    def _warn_of_changes(self, width: int, height: int) -> None:
        """Say what of the frames will not be in the video, or be more in it."""
        if any(self.pad):
            logger.warning(
                "%s: %dx%d is odd, which players refuse: the last column or row is repeated, to %dx%d",
                *(self.path, *self.size, width, height),
            )
        if self.suffix == ".gif" and self.fps > _GIF_MAX_FPS:
            logger.warning(
                "%s: a gif holds %d frames per second; some of %g are left out", self.path, _GIF_MAX_FPS, self.fps
            )

    def add(self, frame: NDArray[np.uint8], index: int) -> None:
        from av import VideoFrame

        assert self.graph
        if any(self.pad):
            frame = np.pad(frame, ((0, self.pad[0]), (0, self.pad[1]), (0, 0)), mode="edge")
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
        picture.pts = index
        with _as_os_errors():
            self.graph.vpush(picture)
            self._encode_ready()

    def finish(self) -> None:
        assert self.graph
        with _as_os_errors():
            self.graph.vpush(None)
            self._encode_ready()
            self.container.mux(self.stream.encode(None))
            self.container.close()
        move_into_place(self.temporary, self.path)

    def abort(self) -> None:
        if self.container is not None:
            with contextlib.suppress(OSError), _as_os_errors():
                self.container.close()
        with contextlib.suppress(OSError):
            self.temporary.unlink()

    def written(self) -> int:
        try:
            return self.temporary.stat().st_size
        except OSError:
            return 0

    def _encode_ready(self) -> None:
        """Encode what has come through the filters, which may hold frames back."""
        from av.error import BlockingIOError, EOFError

        assert self.graph
        while True:
            try:
                picture = self.graph.vpull()
            except (BlockingIOError, EOFError):
                return
            self.container.mux(self.stream.encode(picture))


def _filters(width: int, height: int, rate: Fraction, is_gif: bool) -> Graph:
    """Filters from rgb24 frames to what the encoder takes."""
    from av import VideoFormat
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=VideoFormat("rgb24"), time_base=1 / rate)
    sink = graph.add("buffersink")
    if not is_gif:
        graph.link_nodes(source, *(graph.add(name, options) for name, options in _TO_YUV), sink)
    else:
        if rate > _GIF_MAX_FPS:
            fewer = graph.add("fps", str(_GIF_MAX_FPS))
            source.link_to(fewer)
            source = fewer
        # a palette for each frame: one for all of them would hold the whole video in memory first
        split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=single")
        apply = graph.add("paletteuse", "new=1")
        graph.link_nodes(source, split, apply, sink)
        split.link_to(palette, output_idx=1)
        palette.link_to(apply, input_idx=1)
    graph.configure()
    return graph


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """Raise ffmpeg's errors as OSError: with errno as the system has it, or ffmpeg's own number, beyond those."""
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


class _PngFolder:
    """A folder of numbered PNGs, made beside the one that is wanted."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        self.path, self.overwrite = path, overwrite
        self.temporary = temporary_beside(path)
        self.n_bytes = 0

    def open(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise NerfkitError(
                "a file has this name; a name without a suffix is a folder of PNGs",
                where=self.path,
                fix="add .mp4, .webm or .gif, or give another --out",
            )
        if not self.overwrite and self.path.is_dir() and any(self.path.iterdir()):
            raise NerfkitError("this folder is not empty", where=self.path, fix="give another --out, or --overwrite")
        self.abort()  # what a killed run of the same number left
        self.temporary.mkdir()

    def add(self, frame: NDArray[np.uint8], index: int) -> None:
        from imageio.v3 import imwrite

        file = self.temporary / f"frame_{index:05d}.png"
        imwrite(file, frame, plugin="pillow")
        self.n_bytes += file.stat().st_size

    def finish(self) -> None:
        if not self.path.exists():
            move_into_place(self.temporary, self.path)
            return
        for file in self.temporary.iterdir():
            sync(file)
        # the folder itself stays: it may be a link, or where the user stands
        for old in self.path.iterdir():
            if _FRAME_NAME.fullmatch(old.name):
                old.unlink()
        for file in self.temporary.iterdir():
            file.replace(self.path / file.name)
        sync(self.path)

    def abort(self) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)

    def written(self) -> int:
        return self.n_bytes


def _load_av(encoder: str) -> Any:
    """PyAV, when it has ``encoder``."""
    fix = "or give --out a name without a suffix for a folder of PNGs"
    try:
        import av
    except ImportError as error:
        raise MissingCapabilityError(
            f"a video needs PyAV, and it cannot be imported ({error})", where="av", fix=f"pip install av, {fix}"
        ) from error
    if encoder not in av.codecs_available:
        raise MissingCapabilityError(
            f"PyAV's ffmpeg has no encoder {encoder}", where="av", fix=f"pip install --force-reinstall av, {fix}"
        )
    return av


def _n_cpus() -> int:
    affinity: Any = getattr(os, "sched_getaffinity", None)  # Linux: what this process may use
    return len(affinity(0)) if affinity else os.cpu_count() or 1
