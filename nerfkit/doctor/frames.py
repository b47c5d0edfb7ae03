"""The check-up of a frame sequence: whether super-resolution has something to gain from it, and at which scale."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nerfkit.doctor.findings import Report, raised_is_noted
from nerfkit.doctor.scan import SAID_OF_SINOGRAMS
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.findings import Findings
from nerfkit.scenes.noise import noise_level
from nerfkit.scenes.readers import READERS, how_to_pose
from nerfkit.scenes.readers.formats import is_image, say_how_to_convert
from nerfkit.scenes.readers.frames import Frames, natural_key, read_frames
from nerfkit.scenes.readers.photos import some
from nerfkit.scenes.readers.shifts import Shifts, read_shifts
from nerfkit.superresolution.blank_frames import is_blank
from nerfkit.superresolution.frame_choice import SharpestOfEachStretch
from nerfkit.superresolution.repeated_frames import find_repeats
from nerfkit.superresolution.settings import MOST_FRAMES

if TYPE_CHECKING:
    from nerfkit.scenes.observations.lowres_view import LowresView

__all__ = ["check_frames"]

# frames are registered on a middle part of at most this many pixels a side
REGISTERED_SIDE = 512
# a csv in pixels of the output is recognised at this scale
USUAL_SCALE = 4.0
# of which the largest that the frames have the detail for is recommended
SCALES = (2.0, 3.0, 4.0, 8.0)
# share of the frame's side: beyond it little is left that all frames see
LARGE_MOTION = 0.1
# of the frames' contrast: changes of brightness that cannot be content moving in and out
MIN_DRIFT = 0.1
# files of one array, which may be a sinogram without its angles
ONE_ARRAY = (".npy", ".tif", ".tiff")
# the least that is divided by
TINY = 1e-9


def check_frames(path: Path, report: Report) -> None:
    """Check what :func:`nerfkit.scenes.readers.frames.read_frames` reads from ``path``."""
    try:
        frames = read_frames(path, findings=report.problems, choose=SharpestOfEachStretch(MOST_FRAMES))
    except NerfkitError as error:
        _explain(path, error, report)
        return
    bits = "float" if frames.bit_depth == 32 else f"{frames.bit_depth} bit"
    colour = "grey" if frames.images.ndim == 3 else "RGB"
    report.fact("kind", "frames", "a frame sequence")
    n_found = frames.chosen_from or len(frames)
    taken = f", of which the {len(frames)} sharpest of as many stretches are looked at"
    report.fact("frames", n_found, f"{n_found}{taken if frames.chosen_from else ''}")
    report.fact("size", list(frames.size), f"{frames.size[0]}x{frames.size[1]}, {colour}, {bits}")
    report.fact("bit_depth", frames.bit_depth, "")
    low, high = frames.value_range
    report.fact("value_range", [round(low, 6), round(high, 6)], f"{low:.4g} to {high:.4g} of full scale are used")
    # fractions of the range that is used: how much of their scale files use is no matter
    grey = (frames.grey - low) / max(high - low, TINY)
    noise = float(np.median([noise_level(frame) for frame in grey]))
    report.fact("noise", round(noise, 5), f"at most {noise:.2%} of the range (fine texture counts as noise)")
    blank = is_blank(grey)
    _check_blank(frames, blank, path, report)
    if n_found == 1 and frames.bit_depth == 32 and path.is_file() and path.suffix.lower() in ONE_ARRAY:
        report.add("info", "is taken for a picture", where=path, fix=SAID_OF_SINOGRAMS)
    is_flat = bool(blank.all())
    if blank.any() and not is_flat:
        frames, grey = frames.without(np.flatnonzero(blank).tolist()), grey[~blank]
    listed = _read_listed(frames, None if is_flat else grey, report)
    grey, view = (grey, None) if is_flat else _see(grey, listed, path, report)
    if view is not None and len(frames) > 1:
        _check_reach(view, listed, frames, path, report)
    _check_duplicates(frames, path, report)
    _check_brightness(frames, grey, path, report)
    scale = _check_scale(frames, grey, view, noise, path, report)
    known = "" if listed is None else f" --shifts {shlex.quote(str(frames.shifts_file))}"
    report.next_command = f"nerfkit superres {shlex.quote(str(path))} -o out.png --scale {max(scale, 2.0):g}{known}"


def _explain(path: Path, error: NerfkitError, report: Report) -> None:
    """Why nothing was read: every frame that is to blame, or that this is no dataset at all."""
    files = (
        sorted((f for f in path.iterdir() if is_image(f)), key=lambda f: natural_key(f.name)) if path.is_dir() else []
    )
    if not files:
        fix = error.fix
        is_of_pictures = path.is_dir() and any(say_how_to_convert(file) for file in path.iterdir())
        if (path.is_dir() or (path.exists() and path.suffix.lower() == ".json")) and not is_of_pictures:
            fix = f"posed photos need one of {', '.join(READERS)}; frames: {error.fix or 'a folder of images'}"
        fix = f"{fix}; {SAID_OF_SINOGRAMS}" if path.is_file() and path.suffix.lower() in ONE_ARRAY else fix
        report.add("error", error.what, where=error.where or path, fix=fix)
        return
    report.fact("kind", "frames", "a frame sequence")
    report.fact("frames", len(files))
    sizes: dict[str, str] = {}
    for file in files:
        with raised_is_noted(report):
            # what is odd in a frame was found when all of them were read
            width, height = read_frames(file, findings=Findings()).size
            sizes[file.name] = f"{width}x{height}"
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
        report.problems.add_error(error)


def _middle(grey: np.ndarray) -> np.ndarray:
    top, left = (max(0, (n - REGISTERED_SIDE) // 2) for n in grey.shape[1:])
    return grey[:, top : top + REGISTERED_SIDE, left : left + REGISTERED_SIDE]


def _check_blank(frames: Frames, blank: np.ndarray, path: Path, report: Report) -> None:
    """Note frames that show nothing."""
    if blank.all():
        report.add(
            "error", "the frames show nothing: each has one value throughout", where=path,
            fix="look at them; give those that show a scene",
        )  # fmt: skip
    elif blank.any():
        names = [file for file, is_out in zip(frames.files, blank, strict=True) if is_out]
        report.add(
            "warning", f"{len(names)} of {len(frames)} frames show nothing: {some(names)}", where=path,
            fix="none needed, nerfkit superres leaves them out",
        )  # fmt: skip


def _see(grey: np.ndarray, listed: Shifts | None, path: Path, report: Report) -> tuple[np.ndarray, LowresView]:
    """Grey frames [n, h, w] without what stands still on the sensor, and the motion that is listed or registered."""
    import torch

    from nerfkit.scenes.motion import Motion
    from nerfkit.scenes.observations.lowres_view import LowresView
    from nerfkit.superresolution.registration import phase_correlation
    from nerfkit.superresolution.sensor_pattern import find_pattern

    size = (grey.shape[2], grey.shape[1])
    if listed is not None:
        return grey, LowresView(Motion.of_matrices(torch.from_numpy(listed.matrices())), size)
    middle = _middle(grey)
    shifts = phase_correlation(middle)
    found = find_pattern(middle, shifts, 0)
    report.fact("sensor_pattern", found is not None, "")
    if found is not None:
        shifts, pattern = found
        # of large frames the rest is not looked at from here on
        grey = middle - pattern
        report.add(
            "warning", "something stands still on the sensor while the scene moves (hot pixels, dust, burnt-in text, "
            "row noise): frames laid over one another would be held by it", where=path,
            fix="none needed, nerfkit superres registers without it and takes it from the picture; better are frames "
            "from which a dark frame was subtracted, or of which it was cut",
        )  # fmt: skip
    return grey, LowresView(Motion.of_shifts(torch.from_numpy(shifts)), (grey.shape[2], grey.shape[1]))


def _check_reach(view: LowresView, listed: Shifts | None, frames: Frames, path: Path, report: Report) -> None:
    """Note how far the frames' centres move, and those that moved too far."""
    source = "registered" if listed is None else f"from {frames.shifts_file and frames.shifts_file.name}"
    shifts = view.motion.displacements(view.size).numpy()
    moved = np.abs(shifts - shifts[0])
    largest = moved.max(0)
    report.fact(
        "shifts", {"source": source, "largest": largest.round(3).tolist()},
        f"{source}, up to {largest[0]:.2f} x {largest[1]:.2f} pixels",
    )  # fmt: skip
    far = np.flatnonzero((moved > LARGE_MOTION * np.array(frames.size)).any(1))
    if len(far):
        report.add(
            "warning", f"{len(far)} frames moved by more than a tenth of the frame: "
            f"{some([frames.files[i] for i in far])}", where=path,
            fix="take a shorter part of the sequence (--frames N); photos of a scene from several places are no frame "
            f"sequence: {how_to_pose(path) or 'give their folder to nerfkit process'}",
        )  # fmt: skip


def _read_listed(frames: Frames, grey: np.ndarray | None, report: Report) -> Shifts | None:
    """The shifts.csv beside the frames; None where there is none, or it is not what grey frames show."""
    from nerfkit.superresolution.given_motion import check_given_motion

    file = frames.shifts_file
    if file is None:
        return None
    listed: Shifts | None = None
    with raised_is_noted(report):
        shifts = read_shifts(file, frames, report.problems)
        if grey is not None:
            check_given_motion(shifts, grey, USUAL_SCALE, str(file), findings=report.problems)
        listed = shifts
    return listed


def _check_duplicates(frames: Frames, path: Path, report: Report) -> None:
    twins = find_repeats(frames.images)
    pairs = [f"{frames.files[index]} = {frames.files[twin]}" for index, twin in enumerate(twins) if twin >= 0]
    report.fact("duplicates", len(pairs), "" if not pairs else None)
    if pairs:
        report.add(
            "warning", f"{len(pairs)} of {len(frames)} frames repeat others and add nothing: {some(pairs)}",
            where=path, fix="none needed, nerfkit superres leaves them out",
        )  # fmt: skip


def _check_brightness(frames: Frames, grey: np.ndarray, path: Path, report: Report) -> None:
    means, deviations = grey.mean((1, 2)), grey.std((1, 2))
    drift = float(np.ptp(means)) / max(float(np.median(deviations)), TINY)
    report.fact("brightness", [round(float(means.min()), 4), round(float(means.max()), 4)],
                f"{means.min():.3f} to {means.max():.3f} of the range")  # fmt: skip
    if drift > MIN_DRIFT:
        low, high = frames.files[int(means.argmin())], frames.files[int(means.argmax())]
        report.add(
            "warning", f"brightness changes by {drift:.0%} of the contrast between frames (darkest {low}, brightest "
            f"{high})", where=path, fix="fix the exposure, or take a part of the sequence where it holds (--frames N)",
        )  # fmt: skip


def _check_scale(
    frames: Frames, grey: np.ndarray, view: LowresView | None, noise: float, path: Path, report: Report
) -> float:  # fmt: skip
    """Note the largest scale that the frames have the detail for, by what superres would say of each; 1 for none."""
    import torch

    from nerfkit.scenes.measurements.frames import FrameStack
    from nerfkit.superresolution.expectation import SAID_OF_ONE_FRAME, expect_at

    if view is None or len(frames) == 1:
        report.fact("scale", 1.0, "no detail beyond the frames' pixels")
        if len(frames) == 1:
            report.add("warning", SAID_OF_ONE_FRAME, where=path, fix="take several, moved by fractions of a pixel")
        return 1.0
    stack = FrameStack.of(torch.from_numpy(np.ascontiguousarray(grey)))
    found = expect_at(SCALES, stack, view, noise)
    shares = {f"{each.scale:g}": round(each.measured_share, 3) for each in found}
    text = ", ".join(f"{share:.0%} at {scale}x" for scale, share in shares.items())
    report.fact("measured_share", shares, f"of the detail finer than a frame's pixels: {text}")
    # beyond the smallest, a value for each pixel of the output is wanted as well
    supported = [
        each for each in found if not each.limit and (each.scale == SCALES[0] or each.frames_per_pixel >= 1)
    ]  # fmt: skip
    best = supported[-1] if supported else found[0]
    report.fact("scale", best.scale if supported else 1.0, best.sentence())
    if not supported:
        report.add("warning", best.shortfall(), where=path, fix=best.remedy())
    return best.scale if supported else 1.0
