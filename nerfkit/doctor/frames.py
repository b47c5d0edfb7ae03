"""The check-up of a frame sequence: whether super-resolution has something to gain from it, and at which scale."""

from __future__ import annotations

import itertools
import logging
import shlex
from collections import Counter
from pathlib import Path

import numpy as np

from nerfkit.doctor.findings import Report
from nerfkit.doctor.posed import collect
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import READERS
from nerfkit.scenes.readers.frames import IMAGE_SUFFIXES, Frames, natural_key, read_frames
from nerfkit.scenes.readers.photos import some
from nerfkit.scenes.readers.shifts import read_shifts

__all__ = ["check_frames", "coverage", "find_shift", "noise_level", "supported_scale"]

logger = logging.getLogger(__name__)

# frames are registered on a middle part of at most this many pixels a side
REGISTERED_SIDE = 256
# registration to a fortieth of a pixel, finer than it is right
UPSAMPLING = 40
MAX_SCALE = 8
# n frames at random places fill 1 - 1/e = 63 % of n cells, so this asks for about scale^2 frames
MIN_COVERAGE = 0.6
# share of the frame's side: beyond it little is left that all frames see
LARGE_MOTION = 0.1
# of full scale, and of the median frame: changes that cannot be content moving in and out
MIN_DRIFT, MIN_RELATIVE_DRIFT = 0.02, 0.05
# standard deviation of a frame, full scale, below which there is nothing to register
FLAT = 0.002
# rms in pixels between a csv and the registration: right ones lie below 0.2, and another reading of the csv must be
# several times better to be believed
CSV_TOLERANCE, CSV_GAIN = 0.35, 3.0
# how a csv may have meant its columns -> (dx, dy) as read
READINGS = {
    f"{'-' * (sx < 0)}{'xy'[first]}, {'-' * (sy < 0)}{'xy'[1 - first]}": (first, sx, sy)
    for first, sx, sy in itertools.product((0, 1), (1, -1), (1, -1))
}


def check_frames(path: Path, report: Report) -> None:
    """Check what :func:`nerfkit.scenes.readers.frames.read_frames` reads from ``path``."""
    frames: Frames | None = None
    error: NerfkitError | None = None
    with collect(report, path):
        try:
            frames = read_frames(path)
        except NerfkitError as raised:
            error = raised
    if frames is None:
        assert error is not None
        _explain(path, error, report)
        return
    bits = "float" if frames.bit_depth == 32 else f"{frames.bit_depth} bit"
    colour = "grey" if frames.images.ndim == 3 else "RGB"
    report.fact("kind", "frames", "a frame sequence")
    report.fact("frames", len(frames))
    report.fact("size", list(frames.size), f"{frames.size[0]}x{frames.size[1]}, {colour}, {bits}")
    report.fact("bit_depth", frames.bit_depth, "")
    grey = frames.images if frames.images.ndim == 3 else frames.images.mean(-1)
    noise = float(np.median([noise_level(frame) for frame in grey]))
    report.fact("noise", round(noise, 5), f"at most {noise:.2%} of full scale (fine texture counts as noise)")
    shifts = _find_shifts(frames, grey, path, report)
    _check_duplicates(frames, path, report)
    _check_brightness(frames, grey, path, report)
    scale = _check_scale(frames, shifts, path, report)
    report.next_command = f"nerfkit superres {shlex.quote(str(path))} -o out.png --scale {max(scale, 2)}"


def _explain(path: Path, error: NerfkitError, report: Report) -> None:
    """Why nothing was read: every frame that is to blame, or that this is no dataset at all."""
    files = (
        sorted((f for f in path.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES), key=lambda f: natural_key(f.name))
        if path.is_dir()
        else []
    )
    if not files:
        fix = error.fix
        if path.exists() and (path.is_dir() or path.suffix.lower() == ".json"):
            fix = f"posed photos need one of {', '.join(READERS)}; frames: {error.fix or 'a folder of images'}"
        report.add("error", error.what, where=error.where or path, fix=fix)
        return
    report.fact("kind", "frames", "a frame sequence")
    report.fact("frames", len(files))
    sizes: dict[str, str] = {}
    with collect(report, path):
        for file in files:
            try:
                width, height = read_frames(file).size
                sizes[file.name] = f"{width}x{height}"
            except NerfkitError as raised:
                report.add_error(raised)
    counts = Counter(sizes.values())
    report.fact("sizes", dict(counts), ", ".join(f"{n} of {size}" for size, n in counts.most_common(4)))
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        others = [name for name, size in sizes.items() if size != usual]
        report.add(
            "error", f"the frames have {len(counts)} sizes; {len(others)} of {len(files)} are not {usual}: "
            f"{some(others)}", where=path, fix="take those out, or give a pattern of the others (in quotes)",
        )  # fmt: skip
    if report.ok:  # each can be read, but not all of them together
        report.add_error(error)


def noise_level(frame: np.ndarray) -> float:
    """Standard deviation of the noise in a grey frame [h, w] (Immerkaer 1996, with the median for the mean).

    Examples
    --------
    >>> frame = np.random.default_rng(0).normal(0.5, 0.02, (80, 80))
    >>> bool(abs(noise_level(frame) - 0.02) < 0.002)
    True
    """
    if min(frame.shape) < 3:
        return 0.0
    rows = frame[:-2] - 2 * frame[1:-1] + frame[2:]
    twice = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    # the filter's weights have a norm of 6; a normal variable's median size is 0.6745 sigma
    return float(np.median(np.abs(twice)) / 6 / 0.6745)


def find_shift(reference: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The shift (dx, dy) in pixels between two grey frames [h, w], to about a tenth of a pixel.

    Pixel (j, i) of the frame looks at (j + dx, i + dy) of the reference: the peak of the cross-correlation, then its
    neighbourhood resampled through the Fourier sum (Guizar-Sicairos et al. 2008, doi:10.1364/OL.33.000156).

    Examples
    --------
    >>> scene = np.random.default_rng(0).random((40, 60))
    >>> find_shift(scene[10:30, 10:40], scene[12:32, 9:39]).round().tolist()
    [-1.0, 2.0]
    """
    window = np.hanning(reference.shape[0] + 2)[1:-1, None] * np.hanning(reference.shape[1] + 2)[1:-1]
    spectra = [np.fft.fft2((image - image.mean()) * window) for image in (reference, frame)]
    product = spectra[0] * spectra[1].conj()
    correlation = np.fft.ifft2(product).real
    peak = np.unravel_index(correlation.argmax(), correlation.shape)
    frequencies = [np.fft.fftfreq(n) for n in correlation.shape]
    coarse = [int(p) - n * (int(p) > n // 2) for p, n in zip(peak, correlation.shape, strict=True)]
    fine = np.arange(-UPSAMPLING, UPSAMPLING + 1) / UPSAMPLING
    ramps = [np.exp(2j * np.pi * np.outer(c + fine, f)) for c, f in zip(coarse, frequencies, strict=True)]
    near = (ramps[0] @ product @ ramps[1].T).real
    row, column = np.unravel_index(near.argmax(), near.shape)
    return np.array([coarse[1] + fine[column], coarse[0] + fine[row]])


def coverage(shifts: np.ndarray, scale: int) -> float:
    """Share of the scale x scale cells of a pixel that a frame's shift [n, 2] falls into.

    Examples
    --------
    >>> coverage(np.array([[0.0, 0.0], [0.5, 0.0], [3.6, -0.4]]), 2)
    0.75
    """
    # half a cell on, so that a regular raster sits in the middle of its cells
    cells = np.floor(((shifts + 0.5 / scale) % 1) * scale).astype(int) % scale
    return len(set(map(tuple, cells.tolist()))) / scale**2


def supported_scale(shifts: np.ndarray) -> int:
    """The largest factor at which the frames' places cover the pixel: about the root of their number, at most 8.

    Examples
    --------
    >>> supported_scale(np.random.default_rng(0).uniform(-1, 1, (64, 2))), supported_scale(np.zeros((64, 2)))
    (8, 1)
    """
    scales = [scale for scale in range(2, MAX_SCALE + 1) if coverage(shifts, scale) >= MIN_COVERAGE]
    return max(scales, default=1)


def _middle(grey: np.ndarray) -> np.ndarray:
    top, left = (max(0, (n - REGISTERED_SIDE) // 2) for n in grey.shape[1:])
    return grey[:, top : top + REGISTERED_SIDE, left : left + REGISTERED_SIDE]


def _find_shifts(frames: Frames, grey: np.ndarray, path: Path, report: Report) -> np.ndarray | None:
    """Shifts [n, 2] in pixels: those of a shifts.csv that the frames agree with, else registered; None if neither."""
    middle = _middle(grey)
    is_flat = float(np.median(middle.std((1, 2)))) < FLAT
    if is_flat:
        report.add(
            "error", "the frames show nothing: every pixel has nearly the same value", where=path,
            fix="look at them; frames of floats must range from 0 to 1",
        )  # fmt: skip
    found = None if is_flat or len(frames) < 2 else np.stack([find_shift(middle[0], frame) for frame in middle])
    listed = _read_listed(frames, found, report)
    shifts = found if listed is None else listed
    if shifts is None or len(frames) < 2:
        return shifts
    source = "registered" if listed is None else f"from {frames.shifts_file and frames.shifts_file.name}"
    largest = np.abs(shifts - shifts[0]).max(0)
    report.fact(
        "shifts", {"source": source, "largest": largest.round(3).tolist()},
        f"{source}, up to {largest[0]:.2f} x {largest[1]:.2f} pixels",
    )  # fmt: skip
    if (largest > LARGE_MOTION * np.array(frames.size)).any():
        moved = np.flatnonzero((np.abs(shifts - shifts[0]) > LARGE_MOTION * np.array(frames.size)).any(1))
        report.add(
            "warning", f"{len(moved)} frames moved by more than a tenth of the frame: "
            f"{some([frames.files[i] for i in moved])}", where=path,
            fix="take a shorter part of the sequence (--frames N); photos from several places are no frame sequence",
        )  # fmt: skip
    return shifts


def _read_listed(frames: Frames, found: np.ndarray | None, report: Report) -> np.ndarray | None:
    if frames.shifts_file is None:
        return None
    listed: np.ndarray | None = None
    with collect(report, frames.shifts_file):
        shifts = read_shifts(frames.shifts_file, frames)
        if shifts.kind == "shift":
            listed = shifts.values
    if listed is None or found is None:
        return listed
    target = found - found[0]
    relative = listed - listed[0]
    misfits = {
        name: float(np.sqrt(np.mean((relative[:, [first, 1 - first]] * [sx, sy] - target) ** 2)))
        for name, (first, sx, sy) in READINGS.items()
    }
    as_listed, best = misfits["x, y"], min(misfits, key=lambda name: misfits[name])
    report.fact(
        "shifts_misfit", round(as_listed, 3), f"{as_listed:.2f} pixels rms between the csv and the registration"
    )
    if as_listed > CSV_TOLERANCE and misfits[best] < as_listed / CSV_GAIN:
        report.add(
            "error", f"the shifts do not fit the frames ({as_listed:.2f} pixels rms); with dx, dy read as {best} they do "
            f"({misfits[best]:.2f})", where=frames.shifts_file,
            fix="a pixel (j, i) of a frame looks at (j + dx, i + dy) of the first: correct signs and columns",
        )  # fmt: skip
        return found
    if as_listed > CSV_TOLERANCE and as_listed > 0.5 * float(np.sqrt(np.mean(target**2))):
        report.add(
            "warning", f"the shifts do not fit the frames: {as_listed:.2f} pixels rms from where they register",
            where=frames.shifts_file, fix="is the unit the low-res pixel? Take the file away to have frames registered",
        )  # fmt: skip
    return listed


def _check_duplicates(frames: Frames, path: Path, report: Report) -> None:
    seen: dict[bytes, str] = {}
    pairs = []
    for file, image in zip(frames.files, frames.images, strict=True):
        twin = seen.setdefault(image.tobytes(), file)
        if twin != file:
            pairs.append(f"{file} = {twin}")
    report.fact("duplicates", len(pairs), "" if not pairs else None)
    if pairs:
        report.add(
            "warning", f"{len(pairs)} of {len(frames)} frames are copies of others and add nothing: {some(pairs)}",
            where=path, fix="take them out (a video may repeat frames to keep its clock)",
        )  # fmt: skip


def _check_brightness(frames: Frames, grey: np.ndarray, path: Path, report: Report) -> None:
    means = grey.mean((1, 2))
    drift, usual = float(np.ptp(means)), float(np.median(means))
    report.fact("brightness", [round(float(means.min()), 4), round(float(means.max()), 4)],
                f"{means.min():.3f} to {means.max():.3f} of full scale")  # fmt: skip
    if drift > MIN_DRIFT and drift > MIN_RELATIVE_DRIFT * usual:
        low, high = frames.files[int(means.argmin())], frames.files[int(means.argmax())]
        report.add(
            "warning", f"brightness changes by {drift / max(usual, 1e-6):.0%} between frames (darkest {low}, brightest "
            f"{high})", where=path, fix="fix the exposure, or take a part of the sequence where it holds (--frames N)",
        )  # fmt: skip


def _check_scale(frames: Frames, shifts: np.ndarray | None, path: Path, report: Report) -> int:
    scale = 1 if shifts is None or len(frames) < 2 else supported_scale(shifts)
    text = f"up to {scale}x" if scale > 1 else "none beyond interpolation"
    if shifts is not None and len(frames) > 1:
        covered = {s: round(coverage(shifts, s), 3) for s in (2, 3, 4, 8)}
        report.fact("coverage", covered, ", ".join(f"{share:.0%} at {s}x" for s, share in covered.items()))
    report.fact("scale", scale, text)
    if len(frames) == 1:
        report.add(
            "warning", "one frame holds no detail beyond its pixels: the result is smoother, not sharper", where=path,
            fix="take several, moved by fractions of a pixel; s x s of them for a scale of s",
        )  # fmt: skip
    elif scale == 1 and shifts is not None:
        report.add(
            "warning", f"the {len(frames)} frames sample nearly the same points (their shifts are whole pixels, or too "
            "few), so they only average out noise", where=path,
            fix="move the camera a little between frames; s x s of them for a scale of s",
        )  # fmt: skip
    return scale
