"""A super-resolution from frames to a picture and its run folder."""

from __future__ import annotations

import dataclasses
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.checkpoints import DivergedError
from nerfkit.files import write_atomically
from nerfkit.interrupts import stop_on_signals
from nerfkit.journal import Journal
from nerfkit.limits import Limit
from nerfkit.metrics import MetricsLog
from nerfkit.picture_files import picture_bytes
from nerfkit.report import refresh_superres
from nerfkit.runs import Run
from nerfkit.scenes.fields.image_field import ImageField
from nerfkit.scenes.motion import Motion
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.solvers.grid import Prior, solve

from .inputs import Source
from .network_fit import fit_networks, work_of_fit
from .outputs import Outputs
from .reconstruct import reconstruct
from .rendering import render_image
from .runs import BEGUN_FOLDER, field_of_grid, make_field, save_grid, write_inputs
from .scoring import decibels, score
from .settings import SuperresSettings

__all__ = ["compile_loops", "run_superres"]

logger = logging.getLogger(__name__)

# seconds that are kept for the last picture
RENDER_SECONDS = 0.5
# networks smooth a little; squared error of the frames' pixels beyond which, as a multiple of that of the image that
# they are fitted to, they are not right. Fitted to the end they have 1.01 to 1.10 and its PSNR to 0.1 dB, after 40 % of
# their steps 1.17 to 1.37 and 0.7 to 1.9 dB less
MOST_WORSE = 1.12


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
        ``output``, ``run``, ``size``, ``scale``, ``register``, ``displacement`` (low-res pixels, rms of the
        median frame, that pixels move by beyond it), ``transfer`` (the curve that was undone), ``psf``,
        ``sharpened`` (the amount of a camera's unsharp mask that was undone, or None), ``registered``,
        ``defects`` (pixels of the sensor that were mended), ``blank`` (frames that show nothing),
        ``holdout_psnr`` (of the chosen prior, with nine tenths of the pixels; None of a mean of frames), ``holds`` (the
        networks' kind, or grid)
        and ``holds_because``, ``frames_psnr`` (of the frames' pixels as what is written predicts them, on the range of
        values), ``unexplained`` (the error at the usual place beyond noise, as a fraction of the frames' contrast),
        ``mesh`` (of what is written), ``held_out_frames`` (how well the picture and the mean of the frames predict
        whole ones that were held out), ``fallback`` (what is written in the place of the picture, or None),
        ``warnings`` (sentences), ``cut`` (what ``seconds`` cut short), ``expected``, ``seconds`` and ``interrupted``;
        with a truth ``psnr``, ``ssim``, ``psnr_interior``.
    """
    settings = source.settings
    begun = Run(run.folder / BEGUN_FOLDER)
    run.write_versions()
    # before its own, so that a folder with settings is either done or can be gone on with; as it was asked for: the
    # run's own settings take up what the frames decide
    write_inputs(begun, source, device)
    write_inputs(run, source, device)
    compile_loops(settings, device)
    with stop_on_signals() as is_stopped:
        limit = Limit(settings.seconds, is_stopped, _journal(source, begun.folder))
        state = reconstruct(
            source.images, settings, motion=source.motion, reference=_reference(source, truth), psf=source.psf,
            device=device, limit=limit, say=say, on_part=lambda done, total: on_part(done, 2 * total),
            measured=None if source.measured is None else torch.from_numpy(source.measured),
        )  # fmt: skip
        if state.aligned.transfer.curve != settings.transfer:
            source = source.with_curve(state.aligned.transfer.curve)
            settings = source.settings
            write_inputs(run, source, device)
        outputs = Outputs(source, state, run)
        field, fitted = _fit(outputs, limit, device, say, lambda done, total: on_part(total + done, 2 * total))
        image = render_image(field, outputs.transfer, settings.output_size, state.cells)
        if limit.cut and not is_stopped():
            cut = ", ".join(limit.cut)
            say(f"{settings.seconds:g} s cut short: {cut}; more --seconds may give a better image")
        write_atomically(output, picture_bytes(image, output.suffix.lower(), settings.bit_depth, source.icc_profile))
        expected = outputs.expectation
        if expected is not None:
            say(expected.sentence())
        unexplained = outputs.unexplained(field)
        warnings = outputs.warnings(unexplained)
        for warning in warnings:
            logger.warning("%s", warning)
        result = {
            "output": str(output), "run": str(run.folder), "size": list(settings.output_size), "scale": settings.scale,
            **outputs.figures(), "unexplained": unexplained, "mesh": outputs.mesh(field), "warnings": warnings,
            "expected": None if expected is None else expected.as_dict(), **fitted,
            "seconds": round(limit.spent, 2), **({} if truth is None else score(image, truth, settings.scale)),
        }  # fmt: skip
        outputs.write(output, image, truth, result)
        refresh_superres(run.folder)
        if not is_stopped():
            shutil.rmtree(begun.folder, ignore_errors=True)
    return {**result, "interrupted": is_stopped()}


def _journal(source: Source, folder: Path) -> Journal:
    """What this super-resolution, killed before, had found of the same frames with the same settings."""
    journal = Journal(folder)
    # seconds may be new, and a PSF's file lies elsewhere
    settings = repr(dataclasses.replace(source.settings, seconds=1.0, psf="box"))
    about: dict[str, Tensor | str | int] = {"frames": torch.from_numpy(source.images), "settings": settings}
    if source.motion is not None:
        about["motion"] = source.motion.matrices
    if source.psf_picture is not None:
        about["psf"] = torch.from_numpy(source.psf_picture)
    else:
        about["psf"] = source.settings.psf
    journal.recall(about, lambda: {"begun": torch.ones(1)})
    return journal


def _reference(source: Source, truth: NDArray[np.float32] | None) -> int | None:
    """The frame that the picture must cover; None where it may be any."""
    is_free = truth is None and source.motion is None and source.inputs.get("reference") is None
    return None if is_free else source.reference


def compile_loops(settings: SuperresSettings, device: str) -> None:
    """Load or compile every loop on a handful of pixels, so that the budget is spent on the frames alone."""
    values = torch.rand(2, 12, 12, device=device)
    still, turned = torch.eye(3).repeat(2, 1, 1), torch.tensor([[0.0, -1, 12], [1, 0, 0], [0, 0, 1]]).repeat(2, 1, 1)
    for matrices in (still, turned):
        view = LowresView(Motion.of_matrices(matrices), (12, 12), most_points=2)
        grid = view.grid(2)
        equations = view.equations(grid, values, torch.ones_like(values))
        view.sample(grid, solve(equations, grid.enlarge(values[0]), view.point_psf, grid, Prior(1.0, 0.1), 2))
    bounds = torch.tensor([[0.0, 1.0]]).expand(settings.n_channels, 2)
    network = make_field(dataclasses.replace(settings, frame_size=(8, 8)), bounds).to(device)
    lattice = network.lattice(torch.arange(8) + 0.5, torch.arange(8) + 0.5)
    network.evaluate_lattice(lattice).sum().backward()


def _fit(
    outputs: Outputs, limit: Limit, device: str, say: Callable[[str], None],
    on_part: Callable[[int, int], None],
) -> tuple[ImageField, dict[str, Any]]:  # fmt: skip
    """Networks fitted to the solved image, or that image itself where they predict the frames worse, and figures."""
    state, settings, run = outputs.state, outputs.settings, outputs.run
    grid = field_of_grid(state.image, settings)
    plain = outputs.error(grid)
    figures: dict[str, Any] = {"holds": "grid", "frames_psnr": decibels(plain)}

    def keep_grid(why: str) -> tuple[ImageField, dict[str, Any]]:
        save_grid(run, grid)
        return grid, figures | {"holds_because": why}

    def say_and_keep_grid(why: str) -> tuple[ImageField, dict[str, Any]]:
        say(f"{why}: the solved image is written and kept in their place")
        return keep_grid(why)

    if not limit.allows(work_of_fit(state.aligned.plan, state.view.size), "the networks (the solved image is kept)"):
        return keep_grid("no time was left for networks")
    network = make_field(settings, state.bounds).to(device)
    n_weights = sum(weight.numel() for weight in network.parameters())
    kind = "local networks" if settings.network == "tiled" else "a network"
    say(f"fitting {kind} of {n_weights:,} weights to the image")
    metrics = MetricsLog(run.metrics_log)
    try:
        seconds = limit.left - RENDER_SECONDS
        done = fit_networks(
            network, state.image, settings.network, seconds, run.checkpoints, metrics, on_part, journal=limit.journal
        )  # fmt: skip
    except DivergedError as error:
        return say_and_keep_grid(f"the networks' {error.what.removeprefix('the ')}")
    finally:
        metrics.close()
    figures |= {"steps": done.steps, "fit_psnr": round(done.psnr, 3)}
    if done.is_cut:
        limit.cut.append("steps of the networks' fit")
    if not done.is_complete:
        return say_and_keep_grid("the networks were not fitted to the end")
    fitted = outputs.error(network)
    compared = (
        f"the networks predict the frames with {math.sqrt(fitted):.3g} of their range, the solved image with "
        f"{math.sqrt(plain):.3g} (rms)"
    )
    # where no pixel lies wholly within the picture there is no judge
    if fitted > MOST_WORSE * plain:
        return say_and_keep_grid(compared)
    because = compared if math.isfinite(fitted) else ""
    return network, figures | {"holds": settings.network, "holds_because": because, "frames_psnr": decibels(fitted)}
