"""Videos that play everywhere: frames in, and an mp4, webm, gif or a folder of PNGs out, whole or not at all.

Frames are uint8 sRGB. In mp4 and webm they become BT.709 limited-range yuv420p and say so in their tags,
because players guess an untagged small video's matrix as BT.601 and shift its colours, and because yuv444p
does not play in Safari.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import re
import shutil
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError

__all__ = ["SUFFIXES", "VideoWriter", "to_uint8"]

logger = logging.getLogger(__name__)

# full_chroma_int and accurate_rnd: without them swscale shifts flat colours by a level or two
_TO_YUV = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+full_chroma_int+accurate_rnd,format=yuv420p"
_TAGS = {"color_range": "tv", "color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709"}
_SET_TAGS = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
_BT709 = {"vf": f"{_TO_YUV},{_SET_TAGS}", **_TAGS}
# suffix -> encoder and its options; crf 18 shows no loss to the eye, faststart lets a browser play while it
# loads
_ENCODERS = {
    ".mp4": ("libx264", {**_BT709, "crf": "18", "movflags": "+faststart"}),
    ".webm": ("libvpx-vp9", {**_BT709, "crf": "24", "b:v": "0", "cpu-used": "4", "row-mt": "1"}),
    # a palette for each frame: one for all of them would hold the whole video in memory first
    ".gif": (
        "gif",
        {"filter_complex": "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"},
    ),
}
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
        The path cannot be written, the disk is full, or ffmpeg fails; with the last lines that ffmpeg said.
    MissingCapabilityError
        There is no ffmpeg, or it has no encoder for this suffix.

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
        self._sink: _Ffmpeg | _PngFolder
        self._sink = _Ffmpeg(self.path, self.size, self.fps) if suffix else _PngFolder(self.path, overwrite)

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
        said = self._sink.said()
        if error.errno == errno.ENOSPC or "No space left on device" in said:
            return NerfkitError(
                f"the disk of {self.path.parent} is full at frame {self.n_frames} of "
                f"{self.size[0]}x{self.size[1]}: more than {self._sink.written / 1e6:.2f} MB are needed",
                where=self.path,
                fix="make room there, or give --out on another disk; what was written so far is removed",
            )
        if said:
            return NerfkitError(f"ffmpeg failed at frame {self.n_frames}: {said}", where=self.path)
        return NerfkitError(
            f"this cannot be written: {error.strerror or error}",
            where=self.path,
            fix="give another --out, or allow writing there",
        )


class _Ffmpeg:
    """One ffmpeg process that is fed raw frames and writes a file beside the one that is wanted."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        self.path, self.size, self.fps = path, size, fps
        # ffmpeg chooses the container by the suffix, so it stays last
        self.temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix.lower()}")
        self.process: subprocess.Popen[bytes] | None = None
        self.log: IO[bytes] | None = None
        self.pad = (0, 0) if path.suffix.lower() == ".gif" else (size[1] % 2, size[0] % 2)  # rows, columns
        self.written = 0

    def open(self) -> None:
        encoder, options = _ENCODERS[self.path.suffix.lower()]
        ffmpeg = _find_ffmpeg(encoder)
        if self.path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has this name")
        self.temporary.touch()  # says now, not after the first frame, that the folder cannot be written
        width, height = self.size[0] + self.pad[1], self.size[1] + self.pad[0]
        if any(self.pad):
            logger.warning(
                "%s: %dx%d is odd, which players refuse: the last column or row is repeated, to %dx%d",
                *(self.path, *self.size, width, height),
            )
        if self.path.suffix.lower() == ".gif" and self.fps > _GIF_MAX_FPS:
            logger.warning(
                "%s: a gif holds %d frames per second; some of %g are left out",
                self.path,
                _GIF_MAX_FPS,
                self.fps,
            )
            options = {"filter_complex": f"fps={_GIF_MAX_FPS},{options['filter_complex']}"}
        threads = str(min(_MAX_THREADS, _n_cpus()))
        # a pipe that nobody reads while frames are written could fill up and block ffmpeg
        self.log = tempfile.TemporaryFile()  # noqa: SIM115  closed by finish or abort
        self.process = subprocess.Popen(
            [
                *(ffmpeg, "-hide_banner", "-loglevel", "error", "-y"),
                *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
                *("-r", str(Fraction(self.fps).limit_denominator(1001)), "-i", "pipe:0", "-an"),
                *("-c:v", encoder, "-threads", threads),
                *(word for name, value in options.items() for word in (f"-{name}", value)),
                f"file:{self.temporary}",  # else a colon in the name would be read as a protocol
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            start_new_session=True,  # Ctrl-C is for us, who then end ffmpeg and remove its file
        )

    def add(self, frame: NDArray[np.uint8], index: int) -> None:
        assert self.process and self.process.stdin
        if any(self.pad):
            frame = np.pad(frame, ((0, self.pad[0]), (0, self.pad[1]), (0, 0)), mode="edge")
        try:
            self.process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError:
            self._wait()  # so that it has said why
            raise

    def finish(self) -> None:
        assert self.process
        self._wait()
        if self.process.returncode or not self.temporary.stat().st_size:
            raise OSError(f"ffmpeg ended with code {self.process.returncode} and said nothing")
        self.temporary.replace(self.path)

    def abort(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
        self._wait()
        if self.log:
            self.log.close()
        with contextlib.suppress(OSError):
            self.temporary.unlink()

    def said(self) -> str:
        if not self.log or self.log.closed:
            return ""
        self.log.seek(0)
        lines = self.log.read().decode("utf-8", "replace").strip().splitlines()
        with contextlib.suppress(OSError):
            self.written = self.temporary.stat().st_size
        return " / ".join(lines[-6:])

    def _wait(self) -> None:
        if self.process and self.process.stdin:
            with contextlib.suppress(OSError):  # the frames that it will not take any more
                self.process.stdin.close()
            self.process.wait()


class _PngFolder:
    """A folder of numbered PNGs, made beside the one that is wanted."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        self.path, self.overwrite = path, overwrite
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        self.written = 0

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
        file = self.temporary / f"frame_{index:05d}.png"
        Image.fromarray(frame).save(file)
        self.written += file.stat().st_size

    def finish(self) -> None:
        if not self.path.exists():
            self.temporary.replace(self.path)
            return
        # the folder itself stays: it may be a link, or where the user stands
        for old in self.path.iterdir():
            if _FRAME_NAME.fullmatch(old.name):
                old.unlink()
        for file in self.temporary.iterdir():
            file.replace(self.path / file.name)

    def abort(self) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)

    def said(self) -> str:
        return ""


def _find_ffmpeg(encoder: str) -> str:
    """Path of an ffmpeg that has ``encoder``; IMAGEIO_FFMPEG_EXE, when set, decides which."""
    own = os.environ.get("IMAGEIO_FFMPEG_EXE")
    fix = "unset IMAGEIO_FFMPEG_EXE" if own else "pip install 'imageio[ffmpeg]'"
    fix += ", or give --out a name without a suffix for a folder of PNGs"
    try:
        import imageio_ffmpeg

        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        encoders = _encoders(ffmpeg)
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise MissingCapabilityError(f"no ffmpeg runs here ({error})", where=own or "ffmpeg", fix=fix) from error
    if encoder not in encoders:
        raise MissingCapabilityError(f"this ffmpeg has no encoder {encoder}", where=ffmpeg, fix=fix)
    return ffmpeg


@functools.lru_cache
def _encoders(ffmpeg: str) -> frozenset[str]:
    done = subprocess.run([ffmpeg, "-hide_banner", "-encoders"], capture_output=True, check=True, timeout=60)
    words = (line.split() for line in done.stdout.decode("utf-8", "replace").splitlines())
    return frozenset(line[1] for line in words if len(line) > 1)


def _n_cpus() -> int:
    affinity: Any = getattr(os, "sched_getaffinity", None)  # Linux: what this process may use
    return len(affinity(0)) if affinity else os.cpu_count() or 1
