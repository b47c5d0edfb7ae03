"""``nerfkit superres``: shifted low-resolution frames to one sharp image."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.cli.options import CommonOptions, argument, option
from nerfkit.cli.running import Console, Interrupted, device_for, progress_bar, use_cores
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nerfkit.scenes.observations.lowres_frames import Psf
    from nerfkit.scenes.readers.frames import Frames
    from nerfkit.superres.running import Source
    from nerfkit.superres.settings import SuperresSettings

__all__ = ["Options", "main"]

# shortest budget that goes through all stages
MIN_SECONDS = 1.0
# footprints with a name; the width they have unless another is given, and the widest, also of a file, low-res pixels
PSF_NAMES, DEFAULT_WIDTH, MAX_PSF_WIDTH, MAX_FILE_WIDTH = ("box", "gaussian"), 1.0, 8.0, 16.0


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit superres``."""

    source: str = argument("low-res frames: a folder, a glob, a video, an npz", metavar="FRAMES")
    out: str | None = option(
        None, "picture to write, a PNG or TIFF; its run folder is OUT without .png", flag="-o", metavar="OUT.png"
    )
    scale: float | None = option(None, "output pixels along a low-res pixel (default: 4)", kind=float, metavar="S")
    output_size: str | None = option(None, "width and height of the output instead of a scale", metavar="WxH")
    shifts: str | None = option(
        None, "where each frame looks: file,dx,dy in low-res pixels (default: register)", metavar="FILE.csv"
    )
    exact_shifts: bool = option(False, "take the shifts as they are instead of refining them")
    register: str = option(
        "auto", "what moves between frames (auto: shift unless they show more)",
        choices=("auto", "shift", "affine", "homography"),
    )  # fmt: skip
    reference: str | None = option(None, "frame that the output covers (default: the first)", metavar="FILE")
    psf: str = option(
        "box", "how a low-res pixel weighs its surroundings: box, gaussian, or the picture of a point of light (image, "
        "npy, txt)", metavar="box|gaussian|FILE",
    )  # fmt: skip
    psf_width: str | None = option(
        None, "side of the box, sigma of the Gaussian (default: 1 unless the frames show another) or side of the whole "
        "FILE (default: a sample is a pixel of the output), in low-res pixels; auto: box or Gaussian by the frames",
        metavar="W|auto",
    )  # fmt: skip
    transfer: str = option(
        "auto", "curve of the frames' values, which is undone before they are averaged; linear: none (auto: srgb for "
        "colour of 8 or 16 bits, else linear)", choices=("auto", "srgb", "linear"),
    )  # fmt: skip
    frames: int | None = option(None, "use the first N frames only", kind=int, metavar="N")
    truth: str | None = option(None, "picture of the output's size to compare with", metavar="FILE")
    seconds: float = option(
        60.0, "wall seconds from the end of reading, registration included", kind=float, metavar="S"
    )
    network: str = option("tiled", "many small networks, or a single one", choices=("tiled", "single"))
    overwrite: bool = option(False, "replace an earlier picture and run folder")


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    output = _output(options)
    _check_numbers(options)
    from nerfkit.files import check_output_folder, prepare_output_folder
    from nerfkit.scenes.readers.frames import read_frames

    folder = output.with_suffix("")
    frames = read_frames(options.source, options.frames)
    check_output_folder(folder, overwrite=options.overwrite, keep=frames.root)
    settings = _settings(options, frames)
    truth = _truth(options, settings)
    source = _source(options, frames, settings)
    if options.psf not in PSF_NAMES:
        psf = _psf_of_file(options, settings)
        settings = replace(settings, psf="file", psf_width=psf.width, is_width_given=True)
        source = replace(source, psf=psf)
    device = device_for(options.device)
    from nerfkit.runs import Run
    from nerfkit.superres.running import run_superres

    use_cores(device)
    for line in _describe(frames, settings, source):
        console.say(line)
    prepare_output_folder(folder, overwrite=options.overwrite, keep=frames.root)
    result = run_superres(
        source, settings, Run(folder), output, device, truth=truth, say=console.say,
        on_part=progress_bar(console, "parts"),
    )  # fmt: skip
    return _finish(result, console)


def _output(options: Options) -> Path:
    if options.out is None:
        raise NerfkitError("no output given", where="nerfkit superres", fix="nerfkit superres FRAMES -o OUT.png")
    output = Path(options.out)
    from nerfkit.superres.picture_files import PICTURE_SUFFIXES

    if output.suffix.lower() not in PICTURE_SUFFIXES:
        seen = output.suffix or "a name without suffix"
        raise NerfkitError(
            f"the picture is written as PNG or TIFF; got {seen}", where=output, fix="end its name in .png or .tif"
        )
    if output.is_dir():
        raise NerfkitError("is a folder; the name of a picture is wanted", where=output, fix="give another -o")
    if output.exists() and not options.overwrite:
        raise NerfkitError("is there already", where=output, fix="give another -o, or --overwrite to replace it")
    return output


def _check_numbers(options: Options) -> None:
    from nerfkit.superres.settings import MAX_SCALE

    if options.scale is not None and options.output_size is not None:
        raise NerfkitError("give --scale or --output-size, not both", where="nerfkit superres")
    if options.scale is not None and not 1 < options.scale <= MAX_SCALE:
        raise NerfkitError(
            f"must be above 1 and at most {MAX_SCALE:g}; got {options.scale:g}",
            where="--scale",
            fix="for example --scale 4",
        )
    _psf_width(options)
    if not MIN_SECONDS <= options.seconds < math.inf:
        raise NerfkitError(f"must be {MIN_SECONDS:g} or more; got {options.seconds:g}", where="--seconds")
    if options.exact_shifts and options.shifts is None:
        raise NerfkitError(
            "there are no shifts to take as they are", where="--exact-shifts", fix="give them: --shifts FILE.csv"
        )


def _psf_width(options: Options) -> float | None:
    """The width that is given; None when there is none, or the frames are to tell it."""
    if options.psf_width is None:
        return None
    if options.psf_width == "auto":
        if options.psf not in PSF_NAMES:
            raise NerfkitError(
                "auto finds the width of a box or a Gaussian, not of a file", where="--psf-width",
                fix="give the side of the whole file in low-res pixels, or leave it out",
            )  # fmt: skip
        return None
    try:
        width = float(options.psf_width)
    except ValueError:
        width = math.nan
    most = MAX_PSF_WIDTH if options.psf in PSF_NAMES else MAX_FILE_WIDTH
    if not 0 < width <= most:
        raise NerfkitError(
            f"must be above 0 and at most {most:g} low-res pixels, or auto; got {options.psf_width}",
            where="--psf-width", fix="1 is the side of a pixel's own square",
        )  # fmt: skip
    return width


def _psf_of_file(options: Options, settings: SuperresSettings) -> Psf:
    """The footprint that a file holds."""
    from nerfkit.scenes.observations.lowres_frames import Psf
    from nerfkit.scenes.readers.psf import read_psf

    picture = read_psf(options.psf)
    width = _psf_width(options) or len(picture) / settings.scale
    most = min(MAX_FILE_WIDTH, min(settings.frame_size) / 2)
    if width > most:
        raise NerfkitError(
            f"its {len(picture)} samples are {width:.3g} low-res pixels wide; at most {most:.3g} are wanted",
            where=options.psf, fix="crop it round the point, or give the width of the whole: --psf-width W",
        )  # fmt: skip
    return Psf.of_picture(picture, width)


def _settings(options: Options, frames: Frames) -> SuperresSettings:
    from nerfkit.superres.settings import MAX_SCALE, SuperresSettings, plan_grids

    width, height = frames.size
    scale = options.scale if options.scale is not None else 4.0
    size = round(scale * width), round(scale * height)
    if options.output_size is not None:
        size = _parse_size(options.output_size)
        scale = size[0] / width
        if not 1 < scale <= MAX_SCALE or abs(size[1] - scale * height) > max(1.0, scale / 2):
            raise NerfkitError(
                f"{size[0]}x{size[1]} is not the {width}x{height} pixels of the frames enlarged 1 to {MAX_SCALE:g} "
                "times with equal sides", where="--output-size", fix=f"for example {4 * width}x{4 * height}",
            )  # fmt: skip
    plan_grids(scale, frames.size)
    n_colours = 1 if frames.images.ndim == 3 else 3
    is_srgb = options.transfer == "srgb" or (options.transfer == "auto" and n_colours == 3 and frames.bit_depth < 32)
    return SuperresSettings(
        scale=scale, output_size=size, frame_size=frames.size, n_channels=n_colours + (frames.alpha is not None),
        bit_depth=frames.bit_depth, transfer="srgb" if is_srgb else "linear", register=options.register,
        psf=options.psf, psf_width=_psf_width(options) or DEFAULT_WIDTH, is_width_given=_psf_width(options) is not None,
        is_width_estimated=options.psf_width == "auto",
        exact_shifts=options.exact_shifts, network=options.network, seconds=options.seconds, seed=options.seed,
    )  # fmt: skip


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None or int(match[1]) == 0 or int(match[2]) == 0:
        raise NerfkitError(
            f"must be WIDTHxHEIGHT in pixels; got {text!r}", where="--output-size", fix="for example 336x336"
        )
    return int(match[1]), int(match[2])


def _truth(options: Options, settings: SuperresSettings) -> NDArray[np.float32] | None:
    if options.truth is None:
        return None
    from nerfkit.scenes.readers.frames import read_frames

    truth = read_frames(options.truth)
    if len(truth) != 1 or truth.size != settings.output_size:
        seen = f"{len(truth)} pictures" if len(truth) != 1 else "{}x{} pixels".format(*truth.size)
        wanted = "{}x{}".format(*settings.output_size)
        raise NerfkitError(
            f"the truth has {seen}, the output {wanted}; they must have the same size", where=options.truth,
            fix="give a picture of that size, or another --scale",
        )  # fmt: skip
    return _with_alpha(truth)[0]


def _with_alpha(frames: Frames) -> NDArray[np.float32]:
    """Images [n, h, w] or [n, h, w, 2 to 4], alpha last where there is any."""
    import numpy as np

    if frames.alpha is None:
        return frames.images
    return np.concatenate([frames.images.reshape(*frames.alpha.shape, -1), frames.alpha[..., None]], axis=-1)


def _source(options: Options, frames: Frames, settings: SuperresSettings) -> Source:
    import numpy as np

    from nerfkit.superres.running import Source

    reference = 0 if options.reference is None else _reference(options.reference, frames)
    icc_profile = frames.icc_profiles[reference] if frames.icc_profiles else None
    source = Source(
        _with_alpha(frames), frames.files, Path(options.source), reference=reference, icc_profile=icc_profile
    )
    if options.shifts is None:
        return source
    from nerfkit.scenes.readers.shifts import read_shifts
    from nerfkit.superres.given_motion import check_given_motion

    given = read_shifts(options.shifts, frames)
    grey = frames.images if frames.images.ndim == 3 else frames.images.mean(-1)
    check_given_motion(
        given, grey, settings.scale, options.shifts, reference=reference, is_exact=options.exact_shifts
    )  # fmt: skip
    if given.kind == "shift":
        values = given.values - given.values[reference] if options.reference is not None else given.values
        return replace(source, shifts=values)
    matrices = given.matrices()
    if options.reference is not None:
        matrices = np.linalg.inv(matrices[reference]) @ matrices
    return replace(source, transforms=matrices)


def _reference(name: str, frames: Frames) -> int:
    names = [name, Path(name).name]
    found = [index for index, file in enumerate(frames.files) if file in names or Path(file).name == Path(name).name]
    if len(found) != 1:
        some = ", ".join(frames.files[:3])
        raise NerfkitError(
            f"{name!r} is {'none' if not found else 'more than one'} of the {len(frames)} frames ({some}, ...)",
            where="--reference", fix="give a frame's name relative to the frames' folder",
        )  # fmt: skip
    return found[0]


def _footprint(settings: SuperresSettings) -> str:
    if settings.is_width_estimated:
        return f"{settings.psf}, its width by the frames"
    unless = "" if settings.is_width_given else " unless they show another"
    return f"{settings.psf} {settings.psf_width:.3g} px{unless}"


def _describe(frames: Frames, settings: SuperresSettings, source: Source) -> list[str]:
    """What was found, and what the frames cannot give."""
    from nerfkit.superres.expectation import SAID_OF_ONE_FRAME

    kind = "grey" if settings.n_channels < 3 else "colour"
    depth = "floats" if frames.bit_depth == 32 else f"{frames.bit_depth} bits"
    depth += " with alpha" if frames.alpha is not None else ""
    depth += ", averaged in linear light" if settings.transfer == "srgb" else ""
    width, height = settings.output_size
    lines = [
        f"{frames.name}: {len(frames)} {kind} frames of {frames.size[0]} x {frames.size[1]}, {depth}",
        f"output: {width} x {height} ({settings.scale:.3g}x), footprint: {_footprint(settings)}",
    ]
    if len(frames) == 1:
        lines.append(SAID_OF_ONE_FRAME)
    elif source.shifts is None and source.transforms is None and frames.shifts_file is not None:
        lines.append(f"{frames.shifts_file} is not used; give it with --shifts, or let the frames be registered as now")
    return lines


def _finish(result: dict[str, Any], console: Console) -> dict[str, Any]:
    is_interrupted = result.pop("interrupted")
    dropped = [row["file"] for row in result["registered"] if not row["used"]]
    if dropped:
        shown = ", ".join(dropped[:8]) + (", ..." if len(dropped) > 8 else "")
        console.say(f"left out {len(dropped)} of {len(result['registered'])} frames that show something else: {shown}")
    if is_interrupted:
        console.say(f"stopped; what there was is in {result['output']}")
        raise Interrupted(result)
    figures = {
        "kept-out pixels": result["holdout_psnr"],
        "PSNR": result.get("psnr"),
        "interior": result.get("psnr_interior"),
    }
    text = ", ".join(f"{name} {value:.2f} dB" for name, value in figures.items() if value is not None)
    console.say(f"{result['output']}: {text} ({result['seconds']:.0f} s)")
    console.say(f"next: nerfkit render {result['run']} --size WxH --out FILE.png")
    return result
