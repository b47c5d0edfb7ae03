"""Frames of one series put in order of their place, not of their numbers, and their pixels read."""

from __future__ import annotations

import functools
import math
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError
from nerfkit.scenes.machine_memory import check_floats
from nerfkit.scenes.volumes import MAX_VOXELS, Volume

from ._dicom_frames import BROKEN_DICOM, Frame

__all__ = ["read_stack"]

# DICOM's patient axes are left, back, head
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# fraction of the pitch by which distances between slices may differ: positions are rounded in files
UNEVEN = 0.05
# fraction of the pitch below which two slices are at one place
SAME_PLACE = 0.01
GREY = ("MONOCHROME1", "MONOCHROME2")


def read_stack(path: Path, frames: list[Frame], said: tuple[str, ...]) -> Volume:
    """The volume of the frames of one series."""
    _check_headers(frames)
    frames, step, pitch_said = _in_order(frames)
    values, pixel_said = _pixels(frames)
    first = frames[0]
    axes, position, spacing = first.axes, first.position, first.spacing
    assert axes is not None and position is not None and spacing is not None  # checked above
    affine = np.eye(4)
    affine[:3, :3] = np.stack([axes[0] * spacing[0], axes[1] * spacing[1], step], 1)
    affine[:3, 3] = position
    inverted = first.header.get("PhotometricInterpretation") == "MONOCHROME1"
    said += pitch_said + pixel_said + (("small values are bright (MONOCHROME1)",) if inverted else ())
    return Volume(values, LPS_TO_RAS @ affine, first.thickness, said, inverted)


def _check_headers(frames: list[Frame]) -> None:
    """Raise NerfkitError unless each says where it is, all in one way, and is grey."""
    wanted = {
        "ImagePositionPatient": "position", "ImageOrientationPatient": "axes", "PixelSpacing": "spacing"
    }  # fmt: skip
    for frame in frames:
        for tag, name in wanted.items():
            if getattr(frame, name) is None:
                raise NerfkitError(
                    f"has no {tag}, so that nothing says where the slice is", where=frame.name,
                    fix="export the series anew; or save the slices as npz with spacing=(x, y, z)",
                )  # fmt: skip
        kind = frame.header.get("PhotometricInterpretation")
        if kind not in GREY:
            raise NerfkitError(
                f"its pixels are {kind}; {' or '.join(GREY)} is wanted", where=frame.name,
                fix="give a series of grey values, not a picture made of one",
            )  # fmt: skip
        if not np.allclose(frame.spacing, frames[0].spacing, rtol=1e-3):  # pyright: ignore[reportArgumentType] -- not None
            raise NerfkitError(
                f"its pixels are {frame.spacing} mm apart, those of {frames[0].name} {frames[0].spacing}",
                where=frame.name, fix="give slices of one series",
            )  # fmt: skip


def _in_order(frames: list[Frame]) -> tuple[list[Frame], NDArray[np.float64], tuple[str, ...]]:
    """Frames along the normal of the slices, the step [3] between two in mm (LPS), and what was assumed."""
    axes = frames[0].axes
    assert axes is not None  # checked above
    normal = np.cross(*axes)
    normal /= np.linalg.norm(normal)
    heights = np.array([frame.position @ normal for frame in frames])
    order = np.argsort(heights, kind="stable")
    frames, heights = [frames[i] for i in order], heights[order]
    if len(frames) == 1:
        step = frames[0].gap or frames[0].thickness
        said = () if step else ("one slice of unknown thickness: 1 mm was taken",)
        return frames, normal * (step or 1.0), said
    _check_pitch(frames, heights)
    positions = np.array([frame.position for frame in frames])
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    off = np.linalg.norm(positions - positions[0] - np.arange(len(frames))[:, None] * step, axis=1)
    if off.max() > 0.5 * np.linalg.norm(step):
        raise NerfkitError(
            f"lies {off.max():.3g} mm beside the line through the first and the last slice",
            where=frames[int(off.argmax())].name, fix="give slices of one series that are moved along one direction",
        )  # fmt: skip
    return frames, step, ()


def _check_pitch(frames: list[Frame], heights: NDArray[np.float64]) -> None:
    """Raise NerfkitError where slices are missing, or two are at one place, or they are unevenly apart."""
    apart = np.diff(heights)
    pitch = float(np.median(apart))
    least = int(apart.argmin())
    if apart[least] <= SAME_PLACE * max(pitch, 1e-3):
        raise NerfkitError(
            f"is where {frames[least].name} is, {heights[least]:.2f} mm along the normal: several times or echoes?",
            where=frames[least + 1].name, fix="put the files of one volume in a folder of their own",
        )  # fmt: skip
    odd = np.flatnonzero(np.abs(apart - pitch) > UNEVEN * pitch)
    if not odd.size:
        return
    steps = apart / apart.min()
    listed = "; ".join(
        f"{_missing(steps[i])}{apart[i]:.3g} mm between {frames[i].name} and {frames[i + 1].name}" for i in odd[:5]
    )
    more = f"; and {odd.size - 5} places more" if odd.size > 5 else ""
    is_whole = np.abs(steps - np.rint(steps)).max() < UNEVEN * steps.max()
    what = "slices are missing" if is_whole else "slices are unevenly apart"
    raise NerfkitError(
        f"{what}: most are {pitch:.3g} mm apart, but {listed}{more}", where=frames[0].file.parent,
        fix="add the files that are missing, or give a part of the series without gaps",
    )  # fmt: skip


def _missing(steps: float) -> str:
    n = round(float(steps)) - 1
    return f"{n} missing in " if n > 0 and abs(steps - n - 1) < UNEVEN * steps else ""


def _pixels(frames: list[Frame]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Values [d, h, w], and what was left unread; each file is decoded once."""
    shape = len(frames), int(frames[0].header.Rows), int(frames[0].header.Columns)
    if math.prod(shape) > MAX_VOXELS:
        raise NerfkitError(
            f"{shape[0]} slices of {shape[2]}x{shape[1]} are {math.prod(shape):,} voxels; at most {MAX_VOXELS:,} are "
            "read", where=frames[0].file.parent, fix="give a part of the series",
        )  # fmt: skip
    check_floats(math.prod(shape), frames[0].file.parent)
    values = np.empty(shape, np.float32)
    n_longer = 0
    decode = functools.lru_cache(maxsize=1)(_decode)
    by_file = sorted(range(len(frames)), key=lambda k: str(frames[k].file))
    for k in by_file:
        stored, is_longer = decode(frames[k].file)
        n_longer += is_longer and not frames[k].number
        values[k] = frames[k].scaled(stored[frames[k].number])
    return values, (f"files with bytes after their pixels, left unread: {n_longer}",) if n_longer else ()


def _decode(file: Path) -> tuple[NDArray, bool]:
    """Stored values [n_frames, h, w] of a file, and whether there is more behind them."""
    from pydicom import dcmread

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            dataset = dcmread(file, force=True)
        # what stands behind the head, which was read before, may be damaged too
        except BROKEN_DICOM as error:
            raise _broken(error, file) from error
        try:
            stored = dataset.pixel_array
        except (RuntimeError, NotImplementedError) as error:
            name = getattr(dataset.file_meta.get("TransferSyntaxUID"), "name", "unknown")
            raise MissingCapabilityError(
                f"no decoder for its pixels ({name}) is installed", where=file,
                fix='pip install "nerfkit[medical]"; for JPEG lossless and JPEG-LS also pip install pylibjpeg-libjpeg',
            ) from error  # fmt: skip
        except BROKEN_DICOM as error:
            raise _broken(error, file) from error
    is_longer = any("excess" in str(item.message) or "padding" in str(item.message) for item in told)
    return stored.reshape(-1, *stored.shape[-2:])[: int(dataset.get("NumberOfFrames") or 1)], is_longer


def _broken(error: Exception, file: Path) -> NerfkitError:
    # some say nothing but what they are
    return NerfkitError(
        f"its pixels cannot be read ({str(error) or type(error).__name__})", where=file, fix="export it anew"
    )
