"""The demonstration: a scene made, trained, measured and filmed; a page of text made sharp; fields compared on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfkit.files import check_output_folder, prepare_output_folder, write_atomically
from nerfkit.report import refresh_demo, refresh_superres
from nerfkit.run_lock import locked, refuse_locked
from nerfkit.scenes.settings import Settings
from nerfkit.scenes.synthetic import write_posed_scene
from nerfkit.scenes.synthetic.page import write_lowres_sequence
from nerfkit.tasks.fit import fit
from nerfkit.tasks.superres import superres
from nerfkit.tasks.train import train

if TYPE_CHECKING:
    from nerfkit.fitting import Progress

__all__ = ["DemoSizes", "run_demo"]

# says that a folder was made by the demonstration, so that --overwrite may replace it
MARKER = "demo.json"


@dataclass(frozen=True)
class SuperresRun:
    """One of the super-resolutions: its name, scale and frames."""

    name: str
    scale: int
    n_frames: int


SUPERRES_RUNS = (
    SuperresRun("page_8x_of_1", 8, 1),
    SuperresRun("page_8x_of_8", 8, 8),
    SuperresRun("page_4x", 4, 64),
    SuperresRun("page_8x", 8, 64),
)


# what is compared on a part of the page, and its side in pixels
COMPARED, COMPARED_SIDE, COMPARED_PARAMS, COMPARED_STEPS = (
    ("tiled", "hash", "siren", "fourier", "relu"),
    96,
    20_000,
    200,
)


@dataclass(frozen=True)
class DemoSizes(Settings):
    """How much the demonstration makes; the defaults take some four minutes on two cores."""

    # wall seconds of training, 0.1 or more
    seconds: float = 60.0
    # side of the photos in pixels, 16 or more
    side: int = 200
    # photos to train on, 3 or more
    photos: int = 60
    # frames of the video, 2 or more
    frames: int = 90
    # wall seconds that each super-resolution may take, 1 or more; it ends before that when it is done
    superres_seconds: float = 60.0
    # wall seconds that the comparison of fields may take, 0.1 or more; it ends before that when it is done
    compare_seconds: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (
            ("seconds", 0.1), ("side", 16), ("photos", 3), ("frames", 2), ("superres_seconds", 1),
            ("compare_seconds", 0.1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more; got {getattr(self, name):g}")


def run_demo(
    out: str | Path, *, sizes: DemoSizes | None = None, device: str = "auto", seed: int = 0, overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None, on_progress: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:  # fmt: skip
    """Make a scene, train it, evaluate it on views that it has not seen, film it; make a page sharp; compare fields.

    Parameters
    ----------
    out : str or Path
        Folder for everything, empty or absent.
    sizes : DemoSizes, optional
        How much.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    seed : int
        Seed of the scene's cameras, of the training and of the frames.
    overwrite : bool
        Whether to replace what an earlier demonstration made there.
    say : callable
        Called with a line for a person at each stage.
    on_progress : callable
        Called after every training step.

    Returns
    -------
    result : dict
        ``out``, ``report``, ``train``, ``eval``, ``render``, ``superres``, ``fit`` as the commands print them, and
        ``interrupted``; what was not reached is absent.
    """
    sizes, out = sizes or DemoSizes(), Path(out)
    refuse_locked(out)
    check_output_folder(out, overwrite=overwrite)
    with locked(out):
        prepare_output_folder(out, overwrite=overwrite)
        write_atomically(out / MARKER, json.dumps(asdict(sizes)).encode())
        result: dict[str, Any] = {"out": str(out), "report": None, "interrupted": True}
        for part in (_train, _superresolve, _compare):
            if not part(out, sizes, device, seed, result, say, on_progress):
                refresh_demo(out)
                return result
        report = refresh_demo(out)
        return result | {"report": None if report is None else str(report), "interrupted": False}


def _train(
    out: Path, sizes: DemoSizes, device: str, seed: int, result: dict[str, Any], say: Callable[[str], None],
    on_progress: Callable[[Progress], None],
) -> bool:  # fmt: skip
    """The first part; whether it was done to its end."""
    photos, folder, video = out / "photos", out / "run", out / "orbit.mp4"
    say(f"1/7  making {sizes.photos} photos of a scene: {photos}")
    write_posed_scene(photos, n_train=sizes.photos, n_val=4, n_test=8, size=(sizes.side, sizes.side), seed=seed)
    say(f"2/7  training a radiance field for {sizes.seconds:.0f} s: nerfkit train {photos} --out {folder}")
    scene = train(photos, folder, device=device, on_progress=on_progress, seconds=sizes.seconds, seed=seed)
    result["train"] = scene.figures
    if scene.is_interrupted:
        return False
    say(f"3/7  comparing with photos that were held out: nerfkit eval {folder}")
    result["eval"] = scene.evaluate()
    say(f"4/7  filming an orbit: nerfkit render {folder} --path orbit --out {video}")
    result["render"] = scene.render_path("orbit", video, n_frames=sizes.frames)
    return True


def _superresolve(
    out: Path, sizes: DemoSizes, device: str, seed: int, result: dict[str, Any], say: Callable[[str], None],
    _: Callable[[Progress], None],
) -> bool:  # fmt: skip
    """The second part, a page of text from 64 frames and the strip of fewer; whether it was done to its end."""
    sequence, found = out / "sequence", {}
    say(f"5/7  seeing a page of text through a camera of 84 x 84 pixels, 64 times: {sequence}")
    write_lowres_sequence(sequence, seed=seed)
    shifts = sequence / "frames" / "shifts.csv"
    for run in SUPERRES_RUNS:
        picture = out / f"{run.name}.png"
        say(
            f"6/7  {run.n_frames} frame{'s' * (run.n_frames > 1)}, {run.scale}x: nerfkit superres "
            f"{shifts.parent} --shifts {shifts} --scale {run.scale} --frames {run.n_frames} -o {picture}"
        )
        # its own words would drown the demonstration's; its report holds them
        image = superres(
            shifts.parent, picture, shifts=shifts, n_frames=run.n_frames, truth=sequence / f"truth_{run.scale}x.png",
            device=device, scale=run.scale, seconds=sizes.superres_seconds, seed=seed,
        )  # fmt: skip
        if image.is_interrupted:
            result["superres"] = image.figures
            return False
        found[run.name] = image.figures
    result["superres"] = found
    _write_strip(out, found)
    return True


def _compare(
    out: Path, sizes: DemoSizes, device: str, seed: int, result: dict[str, Any], say: Callable[[str], None],
    _: Callable[[Progress], None],
) -> bool:  # fmt: skip
    """The third part, fields side by side on the middle of the page; whether it was done to its end."""
    from PIL import Image

    part, picture = out / "part.png", out / "fields.png"
    with Image.open(out / "sequence" / "truth_8x.png") as page:
        left, top = ((side - COMPARED_SIDE) // 2 for side in page.size)
        page.crop((left, top, left + COMPARED_SIDE, top + COMPARED_SIDE)).save(part)
    say(f"7/7  comparing fields of equal size on a part of it: nerfkit fit compare {part} -o {picture}")
    found = fit(
        "compare", part, picture, device=device, seconds=sizes.compare_seconds, seed=seed, fields=COMPARED,
        n_params=COMPARED_PARAMS, steps=COMPARED_STEPS,
    )  # fmt: skip
    result["fit"] = found.figures
    return not found.is_interrupted


def _write_strip(out: Path, found: dict[str, Any]) -> None:
    """Put the results of 1, 8 and 64 frames beside one another in the best one's report."""
    strip = out / "page_8x" / "strip"
    captions = {}
    for run in SUPERRES_RUNS:
        if run.scale == 8:
            file = f"frames_{run.n_frames:02d}.png"
            write_atomically(strip / file, (out / f"{run.name}.png").read_bytes())
            captions[file] = (
                f"{run.n_frames} frame{'s' * (run.n_frames > 1)}, {found[run.name]['psnr_interior']:.1f} dB"
            )
    write_atomically(strip / "captions.json", json.dumps(captions).encode())
    refresh_superres(out / "page_8x")
