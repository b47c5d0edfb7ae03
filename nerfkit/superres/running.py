"""A super-resolution from frames to a picture and its run folder."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from nerfkit.files import write_atomically
from nerfkit.metrics import SSIM_WINDOW, MetricsLog, psnr, ssim
from nerfkit.report import refresh_superres
from nerfkit.runs import Run
from nerfkit.scenes.observations.lowres_frames import Grid, LowresFrames, Psf
from nerfkit.scenes.readers.shifts import write_shifts

from .choice import MIN_SIGMA
from .diagnosis import power_spectrum, residual_map, uncertainty
from .expectation import Expectation, expect, places, scene_power
from .grid_solve import Deadline, Prior, solve
from .inputs import Source
from .light import Light
from .network_fit import fit_networks
from .picture_files import picture_bytes
from .reconstruct import Reconstruction, reconstruct
from .registration import spread
from .rendering import render_image
from .runs import PROFILE_FILE, make_field, write_inputs
from .settings import DEFAULT_WIDTH, SuperresSettings
from .shift_and_add import shift_and_add
from .solving import expose

__all__ = ["compile_loops", "run_superres", "score"]

logger = logging.getLogger(__name__)

# seconds that are kept for the last picture
RENDER_SECONDS = 0.5
# sides of frames, low-res pixels, up to which the uncertainty is computed: two solutions more, after the budget
MAX_UNCERTAIN = 160
# low-res pixels at each side that psnr_interior leaves out
INTERIOR = 2


def run_superres(
    source: Source, run: Run, output: Path, device: str, *, truth: NDArray[np.float32] | None = None,
    say: Callable[[str], None] = lambda text: None, on_part: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Super-resolve, and write the picture and the run folder.

    Parameters
    ----------
    source : Source
        Frames, known shifts and settings.
    run : Run
        The run folder, which exists.
    output : Path
        The picture, a PNG or a TIFF.
    device : str
        Where to compute.
    truth : ndarray, shape (h, w) or (h, w, 2 to 4), optional
        To compare with, of the output's size.
    say : callable
        Called with a line for a person at each stage.
    on_part : callable
        Of large frames, called with the number of parts that are done, solved or fitted, and that there are of both.

    Returns
    -------
    result : dict
        ``output``, ``run``, ``size``, ``scale``, ``register``, ``psf``, ``registered``, ``holdout_psnr``,
        ``expected``, ``cut`` (what ``seconds`` cut short), ``seconds`` and ``interrupted``; with a truth ``psnr``,
        ``ssim``, ``psnr_interior``.
    """
    settings = source.settings
    write_inputs(run, source, device)
    compile_loops(settings, device)
    clock, deadline = Deadline.after(0), Deadline.after(settings.seconds)
    light = Light(settings.transfer, settings.n_channels)
    latest: list[Reconstruction] = []
    try:
        state = reconstruct(
            source.images, settings, deadline, shifts=source.shifts, transforms=source.transforms,
            reference=source.reference, psf=source.psf, device=device, say=say, found=latest.append,
            on_part=lambda done, total: on_part(done, 2 * total),
        )  # fmt: skip
        is_interrupted = False
    except KeyboardInterrupt:
        if not latest:
            raise
        state, is_interrupted = latest[-1], True
    cut = list(getattr(state, "cut", []))
    if cut:
        say(f"the {settings.seconds:g} seconds cut short: {', '.join(cut)}; more --seconds may give a better image")
    lowres = state.frames.with_values(state.frames.frames.cpu())
    expected = _expect(lowres, state, settings, light)
    if expected is not None:
        say(expected.sentence())
        if warning := expected.warning():
            logger.warning("%s", warning)
    if is_interrupted:
        image, fitted = _picture_of_grid(state, settings, light), {}
    else:
        image, fitted, is_interrupted = _fit(
            state, settings, light, run, deadline, device, say, lambda done, total: on_part(total + done, 2 * total)
        )
    write_atomically(output, picture_bytes(image, output.suffix.lower(), settings.bit_depth, source.icc_profile))
    result = {
        "output": str(output), "run": str(run.folder), "size": list(settings.output_size), "scale": settings.scale,
        "register": state.aligned.motion, "psf": _psf_found(state, settings),
        "registered": _registered(source, state, lowres), "holdout_psnr": _decibels(state.holdout_mse),
        "expected": None if expected is None else expected.as_dict(), "cut": cut,
        **fitted, "seconds": round(-clock.left, 2),
    }  # fmt: skip
    if truth is not None:
        result.update(score(image, truth, settings.scale))
    _write_registered(run, source, state, lowres)
    _write_for_report(run, source, settings, light, output, image, truth, result, lowres, state)
    refresh_superres(run.folder)
    return {**result, "interrupted": is_interrupted}


def _psf_found(state: Reconstruction, settings: SuperresSettings) -> dict[str, Any]:
    """Kind and width of the PSF that frames were solved with, and whether they told the width themselves."""
    psf, asked = state.frames.psf, settings.psf_width
    is_estimated = psf.kind != "file" and (asked == "auto" or (asked is None and psf.width != DEFAULT_WIDTH))
    return {"kind": psf.kind, "width": round(psf.width, 4), "estimated": is_estimated}


def compile_loops(settings: SuperresSettings, device: str) -> None:
    """Load or compile every loop on a handful of pixels, so that the budget is spent on the frames alone."""
    frames = LowresFrames(torch.rand(2, 12, 12, device=device), torch.zeros(2, 2, dtype=torch.float64), Psf())
    grid = frames.grid(2)
    image = solve(frames.equations(grid), grid.enlarge(frames.frames[0]), frames.psf, grid, Prior(1.0, 0.1), 2)
    frames.predict(grid, image)
    bounds = torch.tensor([[0.0, 1.0]]).expand(settings.n_channels, 2)
    network = make_field(dataclasses.replace(settings, frame_size=(8, 8)), bounds).to(device)
    lattice = network.lattice(torch.arange(8) + 0.5, torch.arange(8) + 0.5)
    network(lattice).sum().backward()


def _expect(
    lowres: LowresFrames, state: Reconstruction, settings: SuperresSettings, light: Light
) -> Expectation | None:  # fmt: skip
    """What the used frames can give; None before there is an image to take the scene's power from."""
    used = state.weights.cpu().numpy() > 0
    if state.image is None or not used.any():
        return None
    sigma = state.prior.sigma if state.prior is not None else float(state.residuals[state.weights > 0].median())
    power = scene_power(_grey(state.image, light).numpy(), state.cells)
    return expect(places(lowres, used), lowres.psf, settings.scale, max(sigma, MIN_SIGMA), power)


def _grey(image: torch.Tensor, light: Light) -> torch.Tensor:
    """Grey [h, w] of an image [n_channels, h, w]; before channels are solved it is grey."""
    image = image.cpu()
    return (light.grey(image) if len(image) == light.n_channels else image[0]).contiguous()


def _fit(
    state: Reconstruction, settings: SuperresSettings, light: Light, run: Run, deadline: Deadline, device: str,
    say: Callable[[str], None], on_part: Callable[[int, int], None],
) -> tuple[NDArray[np.float32], dict[str, Any], bool]:  # fmt: skip
    assert state.image is not None and state.bounds is not None
    network = make_field(settings, state.bounds).to(device)
    n_weights = sum(weight.numel() for weight in network.parameters())
    kind = "local networks" if settings.network == "tiled" else "a network"
    say(f"fitting {kind} of {n_weights:,} weights to the image")
    metrics = MetricsLog(run.metrics_log)
    left = Deadline(deadline.at - RENDER_SECONDS)
    try:
        done = fit_networks(network, state.image, settings.network, left, run.checkpoints, metrics, on_part)
    finally:
        metrics.close()
    figures = {"steps": done.steps, "fit_psnr": round(done.psnr, 3)}
    if not done.is_complete:
        return _picture_of_grid(state, settings, light), figures, True
    return render_image(network, light, settings.output_size, state.cells), figures, done.is_interrupted


def _picture_of_grid(state: Reconstruction, settings: SuperresSettings, light: Light) -> NDArray[np.float32]:
    """The picture when there was no time for networks: the grid resampled; before channels are solved it is grey."""
    assert state.image is not None
    width, height = settings.output_size
    image = interpolate(state.image[None].cpu(), (height, width), mode="bilinear", antialias=True)[0]
    if len(image) != light.n_channels:
        image = image.expand(light.n_channels, height, width).clone()
        image[light.n_channels - light.has_alpha :] = 1
    return light.image(image)


def _enlarged(source: Source, settings: SuperresSettings, light: Light) -> NDArray[np.float32]:
    """The reference frame on the output's pixels by cubics, as viewers do: file values, but alpha multiplied in."""
    width, height = settings.output_size
    values = Light("linear", light.n_channels)
    channels = values.channels(torch.from_numpy(source.images[source.reference : source.reference + 1]))
    return values.image(_enlarge(torch.cat(channels)[:, None], (height, width)))


def _enlarge(channels: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    return interpolate(channels, shape, mode="bicubic", align_corners=False)[:, 0]


def _write_for_report(
    run: Run, source: Source, settings: SuperresSettings, light: Light, output: Path, image: NDArray[np.float32],
    truth: NDArray[np.float32] | None, result: dict[str, Any], lowres: LowresFrames, state: Reconstruction,
) -> None:  # fmt: skip
    """metrics.json, and what the result is compared with: the reference frame enlarged, and the truth."""

    def write(name: str, picture: NDArray[np.float32]) -> None:
        write_atomically(run.folder / name, picture_bytes(picture, ".png", settings.bit_depth, source.icc_profile))

    pictures = {"bicubic": _enlarged(source, settings, light), "drizzle": _laid_down(source, state, settings, light)}
    write("bicubic.png", pictures["bicubic"])
    write("shift_and_add.png", pictures["drizzle"])
    if source.icc_profile is not None:
        write_atomically(run.folder / PROFILE_FILE, source.icc_profile)
    if output.suffix.lower() != ".png":
        # browsers show no TIFF
        write("result.png", image)
    figures: dict[str, Any] = {**result, "output": os.path.relpath(output.resolve(), run.folder.resolve())}
    del figures["registered"]
    if truth is not None:
        figures["bicubic"] = score(pictures["bicubic"], truth, settings.scale)
        write("truth.png", truth)
    _write_diagnosis(run, settings, light, {"nerfkit": image, **pictures}, lowres, state)
    run.write_json("metrics.json", {"superres": figures})


def _laid_down(
    source: Source, state: Reconstruction, settings: SuperresSettings, light: Light
) -> NDArray[np.float32]:  # fmt: skip
    """The frames laid over one another in light, channel by channel."""
    laid = []
    for index in range(light.n_channels):
        values = torch.stack([light.channels(torch.from_numpy(image[None]))[index][0] for image in source.images])
        frames = state.frames.with_values(expose(values, state.exposures))
        laid.append(shift_and_add(frames, settings.output_size, source.reference, state.weights.cpu()))
    return light.image(torch.stack(laid))


def _write_diagnosis(
    run: Run, settings: SuperresSettings, light: Light, pictures: dict[str, NDArray[np.float32]], lowres: LowresFrames,
    state: Reconstruction,
) -> None:  # fmt: skip
    """residuals.png, uncertainty.png with their scales in the unit of light, and the spectra, for the report."""
    figures: dict[str, Any] = {}
    if state.image is not None:
        height, width = lowres.frames.shape[1:]
        grid = Grid(height, width, state.cells, 0)
        grey = _grey(state.image, light)
        maps = {"residuals": residual_map(lowres, grid, grey, spread(state.weights.cpu(), lowres))}
        if state.prior is not None and max(height, width) <= MAX_UNCERTAIN:
            generator = torch.Generator().manual_seed(settings.seed)
            unsure = uncertainty(lowres, state.weights.cpu(), state.prior, generator)
            maps |= {} if unsure is None else {"uncertainty": unsure}
        for name, values in maps.items():
            top = max(float(np.quantile(values.numpy(), 0.99)), 1e-4)
            picture = (values / top).clamp(0, 1).numpy()
            write_atomically(run.folder / f"{name}.png", picture_bytes(picture, ".png", 8))
            figures[name] = {"white": round(top, 5), "median": round(float(values.median()), 5)}
    as_files = Light("linear", light.n_channels)
    spectra = {}
    for name, picture in pictures.items():
        channels = torch.from_numpy(np.atleast_3d(picture)).permute(2, 0, 1)
        frequencies, power = power_spectrum(as_files.grey(channels).numpy(), settings.scale)
        spectra[name] = {"frequencies": [round(f, 4) for f in frequencies], "power": power}
    run.write_json("diagnosis.json", {"spectra": spectra, **figures})


def _registered(source: Source, state: Reconstruction, lowres: LowresFrames) -> list[dict[str, Any]]:
    rows = zip(source.files, lowres.motions().tolist(), state.weights.tolist(), strict=True)
    return [
        {"file": file, "dx": round(dx, 5), "dy": round(dy, 5), "used": weight > 0} for file, (dx, dy), weight in rows
    ]


def _write_registered(run: Run, source: Source, state: Reconstruction, lowres: LowresFrames) -> None:
    """registered.csv, which --shifts takes back."""
    extra = {
        "used": [weight > 0 for weight in state.weights.tolist()],
        "residual": [round(r, 6) for r in state.residuals.tolist()],
        "weight": [round(share, 4) for share in state.shares.tolist()],
        "gain": [round(gain, 5) for gain in state.exposures[:, 0].tolist()],
        "offset": [round(offset, 5) for offset in state.exposures[:, 1].tolist()],
    }
    path = run.folder / "registered.csv"
    if state.transforms is None:
        write_shifts(path, source.files, state.shifts.numpy(), "shift", extra)
        return
    write_shifts(path, source.files, lowres.matrices().numpy(), "homography", extra)


def score(image: NDArray[np.float32], truth: NDArray[np.float32], scale: float) -> dict[str, float | None]:
    """PSNR, SSIM, and PSNR without two low-res pixels at each side.

    Of grey against colour, the channels are equal; what is transparent is compared on white.
    """
    a, b = (torch.from_numpy(_on_white(np.clip(part, 0, 1))) for part in (image, truth))
    a, b = (part[..., None] if part.ndim == 2 else part for part in (a, b))
    a, b = torch.broadcast_tensors(a, b)
    border = round(INTERIOR * scale)
    inner = (slice(border, -border), slice(border, -border))
    is_large = min(a.shape[:2]) > 2 * border
    return {
        "psnr": _finite(psnr(a, b), 4),
        "ssim": _finite(ssim(a, b), 5) if min(a.shape[:2]) >= SSIM_WINDOW else None,
        "psnr_interior": _finite(psnr(a[inner], b[inner]), 4) if is_large else None,
    }


def _on_white(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image [h, w] or [h, w, 1 or 3] without alpha."""
    if image.ndim == 2 or image.shape[2] not in (2, 4):
        return image
    alpha = image[..., -1:]
    return image[..., :-1] * alpha + 1 - alpha


def _decibels(mse: float | None) -> float | None:
    return None if mse is None or mse <= 0 else _finite(-10 * math.log10(mse), 4)


def _finite(value: float, digits: int) -> float | None:
    """JSON has no infinity and no NaN."""
    return round(value, digits) if math.isfinite(value) else None
