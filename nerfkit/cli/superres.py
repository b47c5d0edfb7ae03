"""``nerfkit superres``: shifted low-resolution frames to one sharp image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nerfkit.cli.options import CommonOptions, argument, option, parse_crop, parse_size
from nerfkit.cli.running import Console, Interrupted, progress_bar, use_cores
from nerfkit.scenes.errors import NerfkitError

if TYPE_CHECKING:
    from nerfkit.superresolved_image import SuperresolvedImage

__all__ = ["Options", "main"]

# options that are settings by the same name
SETTINGS = ("most_frames", "psf", "psf_width", "register", "transfer", "sharpened", "network", "seconds", "seed")


def _number_or_word(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        # auto, or what the settings refuse
        return text


@dataclass(kw_only=True)
class Options(CommonOptions):
    """Options of ``nerfkit superres``."""

    source: str | None = argument("low-res frames: a folder, a glob, a video, an npz", metavar="FRAMES", default=None)
    out: str | None = option(
        None, "picture to write, a PNG or TIFF; its run folder is OUT without .png", flag="-o", metavar="OUT.png"
    )
    scale: float | None = option(None, "output pixels along a low-res pixel (default: 4)", kind=float, metavar="S")
    output_size: str | None = option(None, "width and height of the output instead of a scale", metavar="WxH")
    crop: str | None = option(
        None, "part of the frames that is used, in low-res pixels (default: all of it)", metavar="X,Y,W,H"
    )
    shifts: str | None = option(
        None, "where each frame looks: file,dx,dy in low-res pixels (default: register)", metavar="FILE.csv"
    )
    exact_shifts: bool = option(False, "take the shifts as they are instead of refining them")
    register: str | None = option(
        None, "motion model: what moves between frames (default: auto: shift unless they show more)",
        choices=("auto", "shift", "similarity", "affine", "homography"),
    )  # fmt: skip
    reference: str | None = option(
        None, "frame that the output covers (default: the first, or one that more frames overlap)", metavar="FILE"
    )
    psf: str | None = option(
        None, "point spread function, how a low-res pixel weighs its surroundings: box, gaussian, or the picture of a "
        "point of light (image, npy, txt) (default: box)", metavar="box|gaussian|FILE",
    )  # fmt: skip
    psf_width: float | str | None = option(
        None, "side of the box, sigma of the Gaussian (default: 1 unless the frames show another) or side of the whole "
        "FILE (default: a sample is a pixel of the output), in low-res pixels; auto: box or Gaussian by the frames",
        metavar="W|auto", kind=_number_or_word,
    )  # fmt: skip
    transfer: str | None = option(
        None, "curve of the frames' values, which is undone before they are averaged; linear: none (default: auto: "
        "the file's, or srgb for colour of 8 or 16 bits, else linear)",
        choices=("auto", "srgb", "linear", "bt709", "gamma22", "gamma28"),
    )  # fmt: skip
    sharpened: float | str | None = option(
        None, "amount of the unsharp mask by which the camera sharpened the frames, which is undone; 0: none (default: "
        "auto: where the frames surely tell it)", metavar="A|auto", kind=_number_or_word,
    )  # fmt: skip
    frames: int | None = option(None, "use the first N frames only", kind=int, metavar="N")
    most_frames: int | None = option(
        None, "use the sharpest of each of N stretches where there are more frames (default: 128)", kind=int,
        metavar="N",
    )  # fmt: skip
    truth: str | None = option(None, "picture of the output's size to compare with", metavar="FILE")
    seconds: float | None = option(
        None, "wall seconds from the end of reading, registration included (default: 60)", kind=float, metavar="S"
    )
    network: str | None = option(
        None, "many small networks, or a single one (default: tiled)", choices=("tiled", "single")
    )
    # the defaults of settings and seed are None so that those of --config and --set can hold
    seed: int | None = option(None, "seed of every random draw (default: 0)", kind=int, metavar="N")  # pyright: ignore[reportIncompatibleVariableOverride]
    config: str | None = option(None, "settings to start from: a config.yml of another run", metavar="FILE")
    # option() returns a dataclass field that makes a new list each time
    set: list[str] = option([], "change a setting, may be given again", many=True, metavar="NAME=VALUE")  # noqa: RUF009
    overwrite: bool = option(False, "replace an earlier picture and run folder")
    resume: str | None = option(
        None, "go on with a run that was stopped; of the settings --seconds alone is new", metavar="RUN"
    )


def main(options: Options, console: Console) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    if options.resume is not None:
        return _resumed(options, console)
    if options.source is None:
        raise NerfkitError("no FRAMES given", where="nerfkit superres", fix="nerfkit superres FRAMES -o OUT.png")
    if options.out is None:
        raise NerfkitError("no output given", where="nerfkit superres", fix="nerfkit superres FRAMES -o OUT.png")
    from nerfkit.tasks.superres import TASK, output_size, superres

    given = {f"--{name.replace('_', '-')}": {name: getattr(options, name)} for name in SETTINGS}
    given = {option: values for option, values in given.items() if None not in values.values()}
    size = output_size(options.scale, parse_size(options.output_size, "--output-size", most=99999))
    given["--output-size" if options.scale is None else "--scale"] = size
    if options.crop is not None:
        given["--crop"] = {"crop": parse_crop(options.crop)}
    if options.exact_shifts:
        given["--exact-shifts"] = {"exact_shifts": True}
    config = TASK.configure(file=options.config, assignments=options.set, given=given)
    use_cores(options.device)
    image = superres(
        options.source, options.out, shifts=options.shifts, reference=options.reference, n_frames=options.frames,
        truth=options.truth, config=config, device=options.device, overwrite=options.overwrite, say=console.say,
        on_part=progress_bar(console, "parts"),
    )  # fmt: skip
    return _finish(image, console)


def _resumed(options: Options, console: Console) -> dict[str, Any]:
    from nerfkit.tasks.superres import resume

    plain = Options()
    kept = ("resume", "seconds", "device", "json", "quiet", "debug")
    names = [name for name in vars(plain) if name not in kept and getattr(options, name) != getattr(plain, name)]
    if names:
        given = ", ".join("FRAMES" if name == "source" else f"--{name.replace('_', '-')}" for name in names)
        raise NerfkitError(
            f"{given} cannot change a run that goes on; its own settings hold", where="--resume",
            fix="leave them out, or begin a new run",
        )  # fmt: skip
    use_cores(options.device)
    image = resume(
        options.resume or "", seconds=options.seconds, device=options.device, say=console.say,
        on_part=progress_bar(console, "parts"),
    )  # fmt: skip
    return _finish(image, console)


def _finish(image: SuperresolvedImage, console: Console) -> dict[str, Any]:
    result = image.figures
    # those that show nothing were named when they were read
    rows = [row for row in result["registered"] if row["file"] not in (*result["blank"], *result["repeated"])]
    dropped = [row["file"] for row in rows if not row["used"]]
    if dropped:
        shown = ", ".join(dropped[:8]) + (", ..." if len(dropped) > 8 else "")
        console.say(f"left out {len(dropped)} of {len(rows)} frames that show something else: {shown}")
    if image.is_interrupted:
        console.say(
            f"stopped; what there was is in {result['output']}; go on: nerfkit superres --resume {result['run']}"
        )
        raise Interrupted(result)
    names = {"holdout_psnr": "held-out pixels", "psnr": "PSNR", "psnr_interior": "interior"}
    found = {name: result.get(key) for key, name in names.items()}
    known = ", ".join(f"{name} {value:.2f} dB" for name, value in found.items() if value is not None)
    console.say(f"{result['output']}{known and ': ' + known} ({result['seconds']:.0f} s)")
    console.say(f"next: nerfkit render {result['run']} --size WxH --out FILE.png")
    return result
