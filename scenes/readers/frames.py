"""Low-resolution frames of one scene into one array: a folder, a glob, a single image, a video, an npz or npy.

Values become float32 in [0, 1]: 255 and 65535 are 1. Pixels are taken as the file has them (no gamma is undone), alpha
beside them and not multiplied in.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings, listed_or_logged
from nerfkit.scenes.finite import not_finite
from nerfkit.scenes.luminance import LUMINANCE

from ._arrays import read_array
from ._aspect import say_aspect
from ._choice import FrameChooser, NotingFirst, Wanted, decode_in_batches
from ._crop import Crop, crop_decoded, crop_pixels
from ._curves import HDR_NAMES, hdr_to_srgb
from ._fields import N_LOOKED_AT, middle, say_fields
from ._images import Decoded, decode_image
from ._mosaic import has_mosaic
from ._pages import decode_pages
from ._profiles import BT2020_PRIMARIES, bt2020_profile
from .formats import READ, VIDEO_SUFFIXES, is_image, judge_unread, say_how_to_convert, whole_suffix
from .photos import map_in_threads, some

__all__ = ["Frames", "check_memory", "natural_key", "read_frames"]

logger = logging.getLogger(__name__)

ARRAY_SUFFIXES = (".npz", ".npy")
SHIFTS_FILE = "shifts.csv"
# greatest counts of sensors whose values are stored in 16 bits
SENSOR_WHITES = tuple(2**bits - 1 for bits in (10, 12, 14))
# fraction of the values below and above the range that frames use, and how many are looked at
RANGE_TAIL, RANGE_VALUES = 1e-3, 2**22
KINDS = f"{READ} images, a TIFF stack, a video (mp4, avi, mov, mkv, webm, y4m, gif), an npz or npy"
CurveName = Literal["srgb", "linear", "bt709", "gamma22", "gamma28"]
CURVE_NAMES: dict[str, CurveName] = {
    "srgb": "srgb", "linear": "linear", "bt709": "bt709", "gamma22": "gamma22", "gamma28": "gamma28",
}  # fmt: skip
# noise may take a float frame outside [0, 1], another unit takes it much further
FLOAT_RANGE = (-0.5, 1.5)


@dataclass
class Frames:
    """Frames of equal size.

    Parameters
    ----------
    images : ndarray of float32, shape (n, h, w) grey or (n, h, w, 3) RGB
        In [0, 1]; float input keeps what noise puts just outside.
    files : list of str
        Relative to ``root``, pages of one of several files as "stack.tif:3"; of a video, an array or a single file of
        pages each frame's index, from "0".
    bit_depth : int
        Of the input: 8, 16, or 32 for float.
    name : str
        The folder's or the file's, without suffix.
    root : Path
        Folder that ``files`` are relative to.
    alpha : ndarray of float32, shape (n, h, w), optional
        In [0, 1]; None where every pixel of every frame is opaque.
    icc_profiles : list of bytes or None
        Colour profile of each frame; empty where the format has none.
    shifts_file : Path, optional
        The ``shifts.csv`` beside the frames.
    is_indexed : bool
        Whether ``files`` are indices.
    is_cut : bool
        Whether only the first of more frames were asked for.
    curve : str, optional
        Transfer curve of the values that the files name; None where they name none.
    crop : (int, int, int, int), optional
        x, y, width and height of the part that ``images`` show, in pixels of the whole frames; None: all of them.
    whole_size : (int, int)
        Width and height of the whole frames.
    chosen_from : int, optional
        Number of frames of which these were chosen; None where all were taken.
    field_order : {"top", "bottom"}, optional
        Rows of ``images`` that were taken first where these are of two times: the even ones, or the odd ones.
    """

    images: np.ndarray
    files: list[str]
    bit_depth: int
    name: str
    root: Path
    alpha: np.ndarray | None = None
    icc_profiles: list[bytes | None] = field(default_factory=list)
    shifts_file: Path | None = None
    is_indexed: bool = False
    is_cut: bool = False
    curve: CurveName | None = None
    crop: Crop | None = None
    whole_size: tuple[int, int] = (0, 0)
    chosen_from: int | None = None
    field_order: str | None = None

    def __post_init__(self) -> None:
        if self.crop is None:
            self.whole_size = self.size

    def __len__(self) -> int:
        return len(self.files)

    def without(self, indices: Sequence[int]) -> Frames:
        """The other frames."""
        kept = [index for index in range(len(self)) if index not in set(indices)]
        return replace(
            self, images=self.images[kept], files=[self.files[index] for index in kept], is_cut=True,
            alpha=None if self.alpha is None else self.alpha[kept],
            icc_profiles=[self.icc_profiles[index] for index in kept] if self.icc_profiles else [],
        )  # fmt: skip

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.images.shape[2], self.images.shape[1]

    @property
    def value_range(self) -> tuple[float, float]:
        """Values between which all but two in a thousand of the colours lie, or all; full scale where all are equal.

        Examples
        --------
        >>> Frames(np.full((1, 2, 2), 0.5, np.float32), ["a"], 8, "a", Path()).value_range
        (0.0, 1.0)
        """
        values = self.images.reshape(-1, *self.images.shape[3:])[:: max(1, self.images.size // RANGE_VALUES)]
        if self.alpha is not None:
            is_seen = self.alpha.reshape(-1)[:: max(1, self.images.size // RANGE_VALUES)] > 0
            values = values[is_seen] if is_seen.any() else values
        low, high = (float(np.quantile(values, part)) for part in (RANGE_TAIL, 1 - RANGE_TAIL))
        if not low < high:
            low, high = float(self.images.min()), float(self.images.max())
        return (low, high) if low < high else (0.0, 1.0)

    @property
    def white(self) -> float:
        """The value of a saturated pixel: 1, or that of 10, 12 or 14 bits where 16 bits hold so many and reach it.

        Examples
        --------
        >>> frames = np.array([[[0, 4095]]]) / np.float32(65535)
        >>> bool(Frames(frames, ["a"], 16, "a", Path()).white == frames.max())
        True
        """
        most = float(self.images.max())
        counts = round(most * np.iinfo(np.uint16).max)
        return most if self.bit_depth == 16 and counts in SENSOR_WHITES else 1.0

    @property
    def grey(self) -> np.ndarray:
        """Luminance [n, h, w] of the file values, alpha left out."""
        return self.images if self.images.ndim == 3 else self.images @ np.array(LUMINANCE, np.float32)


def read_frames(
    path: str | Path, n_frames: int | None = None, findings: Findings | None = None, *, crop: Crop | None = None,
    choose: FrameChooser | None = None,
) -> Frames:  # fmt: skip
    """Read a sequence of low-resolution frames.

    Parameters
    ----------
    path : str or Path
        A folder of images (taken in natural order), a glob pattern, one image, a video, or an npz or npy of shape
        (n, h, w), (n, h, w, 3) or, with alpha, (n, h, w, 4). Pages of a TIFF and pictures of an animation are frames.
    n_frames : int, optional
        Take the first so many; all of them unless given.
    findings : Findings, optional
        Filled with what was found and gone on with, also where the reading fails in the end; logged unless given.
    crop : (int, int, int, int), optional
        x, y, width and height of the part of each frame that is read, in its pixels.
    choose : FrameChooser, optional
        Chooses from long sequences, which are then read twice, a few frames of files and of videos at once; pages and
        arrays are in memory as they are in the file.

    Returns
    -------
    frames : Frames

    Raises
    ------
    NerfkitError
        Nothing to read there, or a frame that is unreadable, of another size or kind, or not finite: by name.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> from PIL import Image
    >>> for i in (10, 2):
    ...     Image.new("L", (6, 4), 51 * i // 2).save(folder / f"frame{i}.png")
    >>> frames = read_frames(folder)
    >>> frames.files, frames.images.shape, frames.images[0, 0, 0].item()
    (['frame2.png', 'frame10.png'], (2, 4, 6), 0.20000000298023224)
    """
    if n_frames is not None and n_frames < 1:
        raise NerfkitError(f"the number of frames must be 1 or more; got {n_frames}", where="--frames")
    with listed_or_logged(findings, logger) as found:
        noting = None if choose is None else NotingFirst(choose)
        frames = _read(Path(path).expanduser(), Wanted(n_frames, crop, noting), found)
        _doubt_mosaic(frames, found)
        parts = (noting and noting.first) or [middle(frame) for frame in frames.grey[:N_LOOKED_AT]]
        frames.field_order = say_fields(
            np.stack(parts), Path(path).expanduser(), 0 if crop is None else crop[1], found
        )  # fmt: skip
    return frames


def natural_key(file: str) -> tuple[list[str | int], str]:
    """Sort key that puts frame2 before frame10.

    Examples
    --------
    >>> sorted(["f10.png", "F1.png", "f2.png"], key=natural_key)
    ['F1.png', 'f2.png', 'f10.png']
    """
    # words and numbers alternate, so equal positions always compare
    parts = re.split(r"(\d+)", file.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], file


def _read(path: Path, wanted: Wanted, findings: Findings) -> Frames:
    if not path.exists():
        root, files = _match(path, findings)
        path = root / files[0] if len(files) == 1 else path
    elif path.is_dir():
        root, files = path, _list_images(path, findings)
    else:
        root, files = path.parent, [path.name]
    if len(files) == 1 and not path.is_dir() and not is_image(path):
        return _read_container(path, wanted, findings)
    frames = _read_images(root, files, wanted, path, findings)
    frames.name = path.stem if len(files) == 1 and not path.is_dir() else root.resolve().name
    shifts_file = root / SHIFTS_FILE
    is_sequence = path.is_dir() or len(files) > 1
    frames.shifts_file = shifts_file if is_sequence and shifts_file.is_file() else None
    return frames


def _doubt_mosaic(frames: Frames, findings: Findings) -> None:
    images = frames.images
    is_colour = images.ndim == 4 and bool((images[0] != images[0, ..., :1]).any())
    if not is_colour and has_mosaic(frames.grey):
        findings.add(
            "warning",
            "neighbouring pixels differ as those of a colour camera's mosaic (Bayer) do: these are raw frames, whose "
            "grey is a pattern of the sensor",
            where=frames.root if not frames.is_indexed else frames.root / frames.name,
            fix='debayer all of them alike first, on a copy: `python -c "import glob, cv2; [cv2.imwrite(f, '
            "cv2.cvtColor(cv2.imread(f, -1), cv2.COLOR_BayerRG2RGB)) for f in glob.glob('*.png')]\"` (BayerRG, GR, GB "
            "or BG: the one whose colours are right)",
        )


def check_memory(n_values: int, where: Path) -> None:
    """Refuse frames that in float32 take more than half of this machine's memory."""
    memory = _physical_memory()
    if memory and 4 * n_values > memory / 2:
        raise NerfkitError(
            f"the frames need {4 * n_values / 1e9:.2g} GB or more; half of this machine's memory is "
            f"{memory / 2e9:.2g} GB",
            where=where,
            fix="take fewer of them (--frames N), or a part of each (--crop X,Y,W,H)",
        )


def _physical_memory() -> int:
    """Bytes; 0 where the system does not tell (Windows)."""
    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _match(pattern: Path, findings: Findings) -> tuple[Path, list[str]]:
    """The folder above a glob pattern's first wildcard, and what matches, relative to it."""
    parts = pattern.parts
    fixed = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), None)
    if fixed is None:
        raise NerfkitError("no such file or folder", where=pattern, fix=f"give a folder of frames, or {KINDS}")
    root = Path(*parts[:fixed])
    found = [file for file in root.glob(str(Path(*parts[fixed:]))) if file.is_file() and file.name[0] != "."]
    images = [file for file in found if is_image(file)]
    judge_unread(images, [file for file in found if not is_image(file)], pattern, findings)
    files = [file.relative_to(root).as_posix() for file in (images or found)]
    files.sort(key=natural_key)
    if not images and len(files) != 1:
        seen = f"{len(files)} files match and none is an image: {some(files)}" if files else "nothing matches"
        raise NerfkitError(f"{seen}", where=pattern, fix=f"give a pattern of {READ} files, in quotes")
    return root, files


def _list_images(folder: Path, findings: Findings) -> list[str]:
    entries = sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    files = [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    images = [file for file in files if is_image(file)]
    # beside others an animation is a preview of them
    images = images or [file for file in files if file.suffix.lower() == ".gif"]
    judge_unread(images, [file for file in files if file not in set(images)], folder, findings)
    if not images:
        seen = some([entry.name + "/" * entry.is_dir() for entry in entries]) or "an empty folder"
        containers = [file for file in entries if file.suffix.lower() in VIDEO_SUFFIXES + ARRAY_SUFFIXES]
        raise NerfkitError(
            f"no frames in this folder; found {seen}",
            where=folder,
            fix=f"give {containers[0]}"
            if len(containers) == len(entries) == 1
            else f"give the folder that the frames are in, or by its name {KINDS}",
        )
    return [image.name for image in images]


def _first(files: Sequence[str], n_frames: int | None, where: Path) -> list[str]:
    if n_frames is not None and n_frames > len(files):
        raise NerfkitError(
            f"{n_frames} frames are wanted, there are {len(files)}",
            where=where,
            fix=f"give --frames {len(files)} or less, or leave it out",
        )
    return list(files[:n_frames])


def _read_images(root: Path, files: list[str], wanted: Wanted, where: Path, findings: Findings) -> Frames:
    def decode(file: str) -> Decoded:
        return crop_decoded(decode_image(root / file), wanted.crop)

    n_frames, taken, chosen_from = wanted.n_frames, files[: wanted.n_frames], None
    first = decode(taken[0])
    if wanted.is_chosen_from(len(taken)) and first.n_pages == 1:
        _first(files, n_frames, where)
        chosen = wanted.chosen(zip(taken, (frame.pixels for frame in decode_in_batches(decode, taken)), strict=True))
        taken, chosen_from, n_frames = [taken[index] for index in chosen], len(taken), None
        first = decode(taken[0])
    check_memory(len(taken) * first.pixels.size, root)
    decoded = [first, *map_in_threads(decode, taken[1:])]
    has_pages = [frame.n_pages > 1 for frame in decoded]
    names = list(taken)
    if any(has_pages):
        names, decoded = _with_pages(root, taken, decoded, replace(wanted, n_frames=n_frames), findings)
    n_found = len(names) + len(files) - len(taken)
    names = _first(names, n_frames, where)
    is_indexed = has_pages == [True] and len(files) == 1 and n_found > 1
    if wanted.is_chosen_from(len(names)):
        chosen = wanted.chosen((name, frame.pixels) for name, frame in zip(names, decoded, strict=False))
        chosen_from, names, decoded = len(names), [names[index] for index in chosen], [decoded[at] for at in chosen]
    frames = _gather(root, names, decoded[: len(names)], wanted.crop, findings)
    frames.is_cut, frames.is_indexed, frames.chosen_from = len(names) < n_found, is_indexed, chosen_from
    return frames


def _with_pages(
    root: Path, files: list[str], decoded: list[Decoded], wanted: Wanted, findings: Findings
) -> tuple[list[str], list[Decoded]]:
    """Names and frames with each file of several pages in the place of its first page."""
    names, frames, counts, n_frames = [], [], {}, wanted.n_frames
    for file, frame in zip(files, decoded, strict=True):
        if frame.n_pages == 1:
            names.append(file)
            frames.append(frame)
            continue
        # one more than asked for tells whether there are more
        n_pages = frame.n_pages if n_frames is None else min(frame.n_pages, max(0, n_frames - len(frames)) + 1)
        check_memory((len(frames) + n_pages) * frame.pixels.size, root / file)
        pages, said = decode_pages(root / file, n_pages)
        if said:
            findings.add("info", said, where=root / file)
        counts[file] = frame.n_pages
        prefix = "" if len(files) == 1 else f"{file}:"
        names += [file] if len(pages) == 1 else [f"{prefix}{i}" for i in range(len(pages))]
        pages = [crop_decoded(page, wanted.crop) for page in pages]
        frames += [replace(page, curve=frame.curve, primaries=frame.primaries, aspect=frame.aspect) for page in pages]
    if len(files) > 1:
        findings.add(
            "warning",
            f"{len(counts)} of {len(files)} files hold several pages, each of which is taken for a frame of one scene: "
            f"{some([f'{file} ({count})' for file, count in counts.items()])}",
            where=root,
            fix="give one file by its name if each shows a scene of its own",
        )
    return names, frames


def _gather(root: Path, names: list[str], decoded: list[Decoded], crop: Crop | None, findings: Findings) -> Frames:
    """Frames of one size and kind; NerfkitError names the first that is of another."""
    first = decoded[0]
    for name, frame in zip(names, decoded, strict=True):
        for what, of in (("sizes", _size), ("kinds", _kind)):
            if of(frame) != of(first):
                raise NerfkitError(
                    f"the frames have different {what}: {names[0]} has {of(first)}, {name} has {of(frame)}",
                    where=root,
                    fix="frames must be of one size and kind: take the others out, convert them, or give a pattern of "
                    "those that belong together (in quotes)",
                )
    profiles = [frame.icc_profile for frame in decoded]
    _warn_of(
        names, [profile != profiles[0] for profile in profiles], root, f"has another profile than {names[0]}", findings
    )
    curves = [frame.curve for frame in decoded]
    _warn_of(
        names, [curve != curves[0] for curve in curves], root, f"names another transfer curve than {names[0]}", findings
    )
    images = _stack(root, names, [frame.pixels for frame in decoded])
    alphas = [frame.alpha for frame in decoded if frame.alpha is not None]
    alpha = _stack(root, names, alphas) if alphas else None
    bit_depth = _bit_depth(first.pixels.dtype)
    frames = Frames(
        images, names, bit_depth, root.resolve().name, root, _unless_opaque(alpha), profiles, crop=crop,
        whole_size=first.size,
    )  # fmt: skip
    _take_curve(frames, curves[0], first.primaries, root, findings)
    say_aspect(first.size, first.aspect, root, findings)
    return frames


def _take_curve(frames: Frames, curve: str | None, primaries: int, where: Path, findings: Findings) -> None:
    """Note the curve that files name; high dynamic range becomes sRGB, so that white is white."""
    if curve in HDR_NAMES:
        for image in frames.images:
            image[...] = hdr_to_srgb(image, curve)
        colours = ""
        if primaries == BT2020_PRIMARIES and frames.images.ndim == 4:
            frames.icc_profiles = [bt2020_profile()] * len(frames)
            colours = (
                "; colours are BT.2020's, whose profile the picture has: a viewer without profiles shows them paler"
            )
        findings.add(
            "warning",
            f"the values are of high dynamic range (curve {HDR_NAMES[curve]}); it is undone, and sRGB's with SDR white "
            "at 1 put in its place: what is brighter is white, and the picture needs no viewer that knows the curve"
            + colours,
            where=where,
        )
        curve = "srgb"
    elif curve == "linear":
        findings.add(
            "info",
            "the file says that its values are linear: they are averaged as they are, and the picture, linear as well, "
            "looks dark in a viewer that takes it for sRGB",
            where=where,
        )
    frames.curve = CURVE_NAMES.get(curve or "")


def _size(frame: Decoded) -> str:
    return "{}x{} pixels".format(*frame.size)


def _kind(frame: Decoded) -> str:
    depth = _bit_depth(frame.pixels.dtype)
    values = "floats" if depth == 32 else f"{depth} bits"
    return f"{values} of {'grey' if frame.pixels.ndim == 2 else 'RGB'}{'' if frame.alpha is None else ' with alpha'}"


def _unless_opaque(alpha: np.ndarray | None) -> np.ndarray | None:
    return None if alpha is None or (alpha >= 1).all() else alpha


def _warn_of(files: Sequence[str], flags: Sequence[bool], root: Path, what: str, findings: Findings) -> None:
    named = [file for file, flag in zip(files, flags, strict=True) if flag]
    if named:
        findings.add("warning", f"{len(named)} of {len(files)} frames: {what} ({some(named)})", where=root)


def _bit_depth(dtype: np.dtype) -> int:
    return 32 if dtype.kind == "f" else 8 * dtype.itemsize


def _stack(where: Path, names: Sequence[str], frames: Sequence[np.ndarray]) -> np.ndarray:
    """Float32 in [0, 1] of equal arrays."""
    images = np.empty((len(frames), *frames[0].shape), np.float32)
    for index, (frame, name) in enumerate(zip(frames, names, strict=True)):
        if frame.dtype.kind == "f":
            _check_floats(frame, where, name)
            images[index] = frame
        else:
            np.divide(frame, np.float32(np.iinfo(frame.dtype).max), out=images[index])
    return images


def _check_floats(pixels: np.ndarray, where: Path, name: str) -> None:
    if bad := not_finite(pixels, "row {}, column {}"):
        raise NerfkitError(f"frame {name}: {bad}", where=where, fix="fill them, or leave the frame out")
    low, high = float(pixels.min()), float(pixels.max())
    if low < FLOAT_RANGE[0] or high > FLOAT_RANGE[1]:
        raise NerfkitError(
            f"frame {name} holds floats from {low:.4g} to {high:.4g}; 0 to 1 is wanted",
            where=where,
            fix="divide all frames by the value of white, or give uint8 or uint16",
        )


def _read_container(path: Path, wanted: Wanted, findings: Findings) -> Frames:
    """A video or an array, whose frames have indices for names."""
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        from .video import read_video

        video = read_video(path, wanted.n_frames, findings, crop=wanted.crop, choose=wanted.choose)
        frames = _indexed(path, video.pixels, video.indices, wanted, video.whole_size)
        frames.is_cut = wanted.n_frames is not None
        _note_choice(frames, video.n_found, wanted)
        _take_curve(frames, video.curve, video.primaries, path, findings)
    elif suffix in ARRAY_SUFFIXES:
        frames = _read_array_frames(path, wanted, findings)
    else:
        raise NerfkitError(
            f"frames cannot be read from a {whole_suffix(path) or 'file without suffix'}",
            where=path,
            fix=say_how_to_convert(path) or f"give a folder of frames, or {KINDS}",
        )
    return frames


def _read_array_frames(path: Path, wanted: Wanted, findings: Findings) -> Frames:
    pixels = read_array(path, findings)
    n_found, whole_size = len(pixels), (pixels.shape[2], pixels.shape[1])
    files = _first([str(i) for i in range(n_found)], wanted.n_frames, path)
    cropped = [crop_pixels(frame, wanted.crop) for frame in pixels[: len(files)]]
    chosen = list(range(len(files)))
    if wanted.is_chosen_from(len(files)):
        chosen = wanted.chosen(zip(files, cropped, strict=True))
    check_memory(len(chosen) * cropped[0].size, path)
    frames = _indexed(path, np.stack([cropped[index] for index in chosen]), chosen, wanted, whole_size)
    frames.is_cut = len(files) < n_found
    _note_choice(frames, len(files), wanted)
    return frames


def _indexed(
    path: Path, pixels: np.ndarray, indices: Sequence[int], wanted: Wanted, whole_size: tuple[int, int]
) -> Frames:
    """Frames of one file that have indices for names."""
    files, alpha = [str(index) for index in indices], None
    if pixels.ndim == 4 and pixels.shape[-1] == 4:
        pixels, alpha = pixels[..., :3], _stack(path, files, list(pixels[..., 3]))
    return Frames(
        _stack(path, files, list(pixels)), files, _bit_depth(pixels.dtype), path.stem, path.parent,
        _unless_opaque(alpha), is_indexed=True, crop=wanted.crop, whole_size=whole_size,
    )  # fmt: skip


def _note_choice(frames: Frames, n_found: int, wanted: Wanted) -> None:
    if wanted.is_chosen_from(n_found):
        frames.chosen_from, frames.is_cut = n_found, True
