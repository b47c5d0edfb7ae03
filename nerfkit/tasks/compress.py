"""The task `compress`: a picture in few bytes, networks among them, beside JPEG, WebP, AVIF and our own DCT."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.settings import check_range
from nerfkit.workbench.settings import FitConfig
from nerfkit.workbench.task import FitTask

if TYPE_CHECKING:
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome

__all__ = ["TASK", "CompressConfig"]

# suffix of a compressed picture
SUFFIX = ".nkc"


@dataclass(frozen=True)
class CompressConfig(FitConfig):
    """What a user may say of a compression; written to config.yml."""

    task: ClassVar[str] = "compress"

    # bits per pixel that the file is to have, 0.01 to 16
    rate: float = 1.0
    # steps of the fit, 1 or more
    steps: int = 600
    # whether a SIREN whose weights are the file (COIN) is fitted as well, to compare; it takes its own time
    coin: bool = False
    # wall seconds from the first step, a limit
    seconds: float = 300.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("rate", self.rate, 0.01, 16.0)
        check_range("steps", self.steps, 1, 10**7)


def read(paths: Sequence[Path], config: CompressConfig) -> NDArray[np.uint8]:
    """Read the pixels [h, w] or [h, w, 3], uint8."""
    from nerfkit.scenes.readers.picture import read_picture

    picture = read_picture(paths[0])
    n_channels = picture.values.shape[2]
    if picture.bit_depth != 8 or n_channels not in (1, 3):
        what = {16: "16 bits", 32: "floats"}.get(picture.bit_depth, f"{n_channels} channels")
        raise NerfkitError(
            f"has {what}; grey or RGB of 8 bits can be compressed", where=paths[0],
            fix="save it as an 8-bit PNG without alpha",
        )  # fmt: skip
    pixels = np.rint(picture.values * 255).astype(np.uint8)
    return pixels[..., 0] if n_channels == 1 else pixels


def solve(job: Job) -> Outcome:
    """Find the code, decode it, and set it beside files of as many bytes."""
    from nerfkit.checkpoints import CheckpointFolder
    from nerfkit.metrics import MetricsLog
    from nerfkit.workbench.compression.codec import encode
    from nerfkit.workbench.job import Stopped
    from nerfkit.workbench.outcome import Outcome, Shown
    from nerfkit.workbench.pictures import error_map
    from nerfkit.workbench.running import compare

    config, pixels = job.config, job.data
    folder = CheckpointFolder(job.run.folder / "checkpoints" / "compress")
    metrics = MetricsLog(job.run.folder / "stages" / "compress.jsonl")
    try:
        code = encode(
            pixels, rate=config.rate, steps=config.steps, seconds=job.limit.left, seed=config.seed, metrics=metrics,
            on_progress=lambda progress: job.on_part(progress.step, config.steps), checkpoints=folder,
        )  # fmt: skip
    finally:
        metrics.close()
    if code.fit.is_interrupted:
        raise Stopped
    if code.fit.is_cut:
        job.limit.cut.append(f"compress after {code.fit.steps} of {config.steps} steps")
    n_bytes = len(code.data)
    image, truth = (np.atleast_3d(values).astype(np.float32) / 255 for values in (code.pixels, pixels))
    baselines, charts = _others(job, n_bytes, code.figures["psnr"])
    figures = {
        name: round(float(code.figures[name]), 3)
        for name in ("bytes", "bits_per_pixel", "bytes_networks", "bytes_coefficients", "step")
    }
    left = _left_of_transforms(pixels)
    errors = error_map(image, truth, (0.0, 1.0))
    shown = [Shown("input", truth, "the picture"), Shown("error", errors, "error, white is a tenth of the range")]
    for name, values in left:
        shown.append(Shown(f"dropped_{name}", values, f"{name} without its 95 % smallest coefficients"))
        baselines[f"{name}, 95 % dropped"] = compare(values, truth) | {
            "how": "5 % of the coefficients, not coded at all"
        }
    return Outcome(
        image=image, write=lambda path: _write(path, code.data, image),
        measure=lambda decoded: compare(decoded, truth), field="wavelets and networks",
        n_params=int(code.figures["n_params"]), metrics=figures, baselines=baselines, charts=charts, shown=shown,
        chosen={"step": round(float(code.figures["step"]), 3)},
        said=[_verdict(n_bytes, code.figures["psnr"], baselines)],
    )  # fmt: skip


def _write(path: Path, data: bytes, decoded: NDArray) -> NDArray:
    """Write the stream, and give what it decodes to."""
    from nerfkit.files import write_atomically

    write_atomically(path, data)
    return decoded


def _others(job: Job, n_bytes: int, psnr: float) -> tuple[dict[str, dict[str, Any]], list[Any]]:
    """Other formats at as many bytes, and the chart of all of them."""
    from nerfkit.report.blocks import Chart, Series
    from nerfkit.workbench.compression.baselines import available, curve, psnr_at
    from nerfkit.workbench.compression.coin import coin

    height, width = job.data.shape[:2]
    curves = {name: curve(job.data, name) for name in available()}
    found = {}
    for name, points in curves.items():
        value = psnr_at(points, n_bytes)
        if math.isfinite(value):
            found[name] = {"psnr": round(value, 3), "bytes": n_bytes, "how": "between whole files, over log bytes"}
    if job.config.coin:
        point = coin(job.data, n_bytes, seed=job.config.seed)
        found["coin"] = {"psnr": round(point.psnr, 3), "bytes": point.n_bytes, "how": "the widest network that fits"}

    def bits(n: float) -> float:
        return round(8 * n / (height * width), 4)

    # a single point has no line: it is drawn as a short one
    lines = [Series("nerfkit", [bits(n_bytes * 0.97), bits(n_bytes * 1.03)], [psnr, psnr])]
    for name, points in curves.items():
        near = [point for point in points if point.n_bytes < 4 * n_bytes and math.isfinite(point.psnr)]
        lines.append(Series(name, [bits(point.n_bytes) for point in near], [point.psnr for point in near]))
    return found, [Chart("Rate and distortion, whole files", lines, "bits per pixel", "dB")]


def _left_of_transforms(pixels: NDArray[np.uint8]) -> list[tuple[str, NDArray]]:
    """What the DCT and the Fourier transform keep in a twentieth of their coefficients."""
    from nerfkit.workbench.compression.transforms import drop_smallest

    return [(name, (np.atleast_3d(drop_smallest(pixels, 0.95, name)) / 255).clip(0, 1)) for name in ("dct", "fourier")]


def _verdict(n_bytes: int, psnr: float, baselines: dict[str, dict[str, Any]]) -> str:
    """Who wins at these bytes, plainly."""
    at_equal = {name: row["psnr"] for name, row in baselines.items() if row.get("bytes") and name != "coin"}
    ahead = [f"{name} by {value - psnr:.1f} dB" for name, value in at_equal.items() if value > psnr]
    behind = [f"{name} by {psnr - value:.1f} dB" for name, value in at_equal.items() if value <= psnr]
    return (
        f"at {n_bytes:,} bytes it has {psnr:.2f} dB"
        + (f"; it beats {', '.join(behind)}" if behind else "")
        + (f"; {', '.join(ahead)} {'is' if len(ahead) == 1 else 'are'} better" if ahead else "")
    )


TASK = FitTask(
    name="compress", holds="a compressed picture", data="a picture",
    usage="nerfkit render OUT.nkc --out OUT.png decodes it",
    presets={"compress": CompressConfig()}, read=read, solve=solve, suffixes=(SUFFIX,),
)  # fmt: skip
