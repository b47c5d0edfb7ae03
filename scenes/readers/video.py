"""Frames out of a video through ffmpeg, as a process of its own.

Never cv2.VideoCapture: it aborts the whole process on some raw AVIs. ffmpeg hands over PAM images, whose headers
state size, channels and depth, so that nothing is guessed from its log.
"""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError

from .frames import check_memory

__all__ = ["read_video"]

logger = logging.getLogger(__name__)

MAX_MESSAGE = 300


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
        No such file, no frames in it, too few, or ffmpeg cannot read it: with the last that ffmpeg said.
    MissingCapabilityError
        There is no ffmpeg.
    """
    path = Path(path)
    if not path.is_file():
        raise NerfkitError("no such video", where=path, fix="check the name")
    if not path.stat().st_size:
        raise NerfkitError("the video is empty (0 bytes)", where=path, fix="copy or record it again")
    with tempfile.TemporaryFile() as log:
        process = _start(path, n_frames, log)
        try:
            assert process.stdout
            frames = _collect(process.stdout, path)
        finally:
            process.kill()  # already gone, unless collecting failed
            process.wait()
        log.seek(0)
        said = _shorten(log.read().decode("utf-8", "replace"))
    if "matches no streams" in said:
        raise NerfkitError("this file holds no video", where=path, fix="give one that shows frames")
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


def _start(path: Path, n_frames: int | None, log: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        import imageio_ffmpeg

        command = [imageio_ffmpeg.get_ffmpeg_exe(), *_options(path, n_frames)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingCapabilityError(
            f"a video needs ffmpeg, and none runs here ({error})",
            where="ffmpeg",
            fix="pip install 'imageio[ffmpeg]', or give a folder of PNGs",
        ) from error


def _options(path: Path, n_frames: int | None) -> list[str]:
    return [
        *("-hide_banner", "-loglevel", "error", "-nostdin"),
        # a colon in the name would be read as a protocol; V leaves out cover pictures
        *("-i", f"file:{path}", "-map", "0:V:0", "-fps_mode", "passthrough"),
        *(("-frames:v", str(n_frames)) if n_frames is not None else ()),
        # without these flags swscale takes the nearest chroma: smooth yuv420p is off by 1.5 levels rms, not 0.6
        *("-sws_flags", "bicubic+full_chroma_int+accurate_rnd"),
        *("-f", "image2pipe", "-c:v", "pam", "pipe:1"),
    ]


def _collect(stream: IO[bytes], path: Path) -> list[np.ndarray]:
    frames: list[np.ndarray] = []
    n_values = 0
    for frame in _parse_pam(stream):
        n_values += frame.size
        check_memory(n_values, path)
        frames.append(frame)
    return frames


def _parse_pam(stream: IO[bytes]) -> Iterator[np.ndarray]:
    """Images of a stream of PAM files (netpbm's pam(5)); without alpha, [h, w] or [h, w, 3]."""
    while stream.readline() == b"P7\n":
        header: dict[bytes, bytes] = {}
        while (line := stream.readline()) not in (b"ENDHDR\n", b""):
            key, _, value = line.strip().partition(b" ")
            header[key] = value
        if not line:
            return
        width, height, depth, white = (int(header[key]) for key in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
        dtype = np.dtype(np.uint8 if white < 256 else ">u2")
        payload = stream.read(width * height * depth * dtype.itemsize)
        if len(payload) < width * height * depth * dtype.itemsize:
            return
        pixels = np.frombuffer(payload, dtype).reshape(height, width, depth)
        if white not in (255, 65535):  # black and white is 0 and 1
            pixels = (pixels * (255 // white)).astype(np.uint8)
        pixels = pixels.astype(dtype.newbyteorder("="), copy=False)
        yield pixels[..., 0] if depth < 3 else pixels[..., :3]


def _grey_if_all(frames: np.ndarray) -> np.ndarray:
    if frames.ndim == 3 or (frames != frames[..., :1]).any():
        return frames
    return np.ascontiguousarray(frames[..., 0])


def _shorten(log: str) -> str:
    """The first lines that ffmpeg said, which name the cause, without the addresses of its objects."""
    lines = [line.split("] ", 1)[-1] if line.startswith("[") else line for line in log.strip().splitlines()]
    return " / ".join(dict.fromkeys(lines[:3]))[:MAX_MESSAGE]
