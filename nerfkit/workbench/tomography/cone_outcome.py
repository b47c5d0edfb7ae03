"""What a cone's volume has to show: its file, figures, slices of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.report.blocks import Chart, Series
from nerfkit.runs import Run
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.volumes import Volume
from nerfkit.volume_files import WRITTEN_VOLUMES, check_volume_name, volume_bytes, write_volume
from nerfkit.workbench.job import Job
from nerfkit.workbench.outcome import Outcome, Shown
from nerfkit.workbench.regression import decibels
from nerfkit.workbench.running import compare
from nerfkit.workbench.tomography.back_projection import WINDOWS
from nerfkit.workbench.tomography.cone_fit import cone_weight, fit_voxels
from nerfkit.workbench.tomography.cone_scan import ConeScan
from nerfkit.workbench.tomography.doctor import explain
from nerfkit.workbench.tomography.feldkamp import feldkamp
from nerfkit.workbench.tomography.inputs import CtData
from nerfkit.workbench.tomography.reconstruct import unit_of
from nerfkit.workbench.volumes.held_volume import HeldVolume
from nerfkit.workbench.volumes.shown import error_pictures, mm_wide, montage, volume_pictures, window_of

__all__ = ["solve_cone"]


def solve_cone(job: Job) -> Outcome:
    """Choose the prior's weight, find the volume with it, and tell what is left of the views."""
    _check_output(job.run)
    data: CtData[ConeScan] = job.data
    given: Any = data.scan
    for text in data.said:
        job.say(text)
    quick = feldkamp(given).clamp(min=0) * given.disc
    unit = unit_of(quick)
    scan: ConeScan = given.scaled(1 / unit)
    weight, curve = _decided_weight(job, scan)
    job.say(f"weight of the total variation {weight:.4g} in units of {unit:.4g} per mm")
    voxels = fit_voxels(job, scan, quick / unit, weight)
    found = voxels.values * scan.disc
    views = ((scan.instrument.product(found) - scan.sinogram) / scan.deviations).numpy()
    known = scan.deviations.isfinite().numpy()
    left, middle = float(np.square(views[known]).mean()), scan.middle_rows(1)[0]
    in_middle = float(np.square(views[:, middle][known[:, middle]]).mean())
    doubt = job.decide("doubt", lambda: explain(scan.middle, in_middle))
    if doubt is not None:
        job.say(f"warning: {doubt}")

    def volume_of(attenuation: Tensor) -> Volume:
        return Volume((attenuation * data.slope + data.intercept).numpy(), given.affine)

    result, start = volume_of(found * unit), volume_of(quick)
    deviation = None
    if voxels.deviation is not None:
        deviation = Volume((voxels.deviation * scan.disc * unit * abs(data.slope)).numpy(), given.affine)
    window = job.config.window or window_of(result.values[given.seen.numpy()])
    picture, words = montage(result)
    volumes = {"FDK (Hann)": start} | ({} if job.truth is None else {"truth": job.truth})
    shown = volume_pictures(volumes, window, inverted=False)
    if job.truth is not None:
        shown += error_pictures({"result": result, "FDK (Hann)": start}, job.truth)
    if deviation is not None:
        shown.append(_shown_deviation(deviation, given.seen.numpy()))
    first = given.sinogram[0].numpy()
    shown += [
        Shown("view", first / (float(first.max()) or 1.0), "the first view"),
        Shown("residual", views[0] / 8 + 0.5, "what the result leaves of it; white is 4 standard deviations"),
    ]
    return Outcome(
        image=picture[..., None], measure=lambda written: _measure(job, written, deviation), field="voxels",
        n_params=found.numel(), held=HeldVolume(result), bit_depth=32, span=window, window=window,
        mm_wide=mm_wide(result, picture),
        write=lambda output: write_volume(output, result).values,
        metrics={"holdout": float(f"{voxels.holdout * unit:.6g}"), "misfit": round(left, 3)},
        baselines=_baselines(job, given, volume_of), chosen={"tv_weight": weight, **data.facts}, shown=shown,
        charts=_charts(curve), files=_files(job.run, deviation),
        said=[words, *data.said, *([doubt] if doubt else []), _said(given)],
    )  # fmt: skip


def _check_output(run: Run) -> None:
    output = Path(run.read_config("ct").inputs["output"])
    if not output.name.lower().endswith(WRITTEN_VOLUMES):
        raise NerfkitError(
            f"a cone's result is a volume, which {output.suffix} does not hold", where=output.name,
            fix=f"end its name in {', '.join(WRITTEN_VOLUMES)}",
        )  # fmt: skip


def _decided_weight(job: Job, scan: ConeScan) -> tuple[float, list[tuple[float, float]]]:
    if job.config.tv_weight is not None:
        return job.config.tv_weight, []
    found = job.decide("weight", lambda: cone_weight(scan, seed=job.config.seed, check=job.check_stopped))
    return float(found[0]), [(float(a), float(b)) for a, b in found[1]]


def _figures(values: NDArray, truth: Volume, seen: NDArray[np.bool_]) -> dict[str, float]:
    """PSNR where every angle sees, over the truth's range there, and SSIM of slices."""
    low, high = float(truth.values[seen].min()), float(truth.values[seen].max())
    high = high if low < high else low + 1.0
    off = np.square(values.astype(np.float64) - truth.values)[seen]
    ours, wanted = (np.where(seen, x, low).transpose(1, 2, 0) for x in (values, truth.values))
    return compare(ours, wanted, (low, high)) | {"psnr": round(decibels(float(off.mean()), high - low), 3)}


def _measure(job: Job, written: NDArray, deviation: Volume | None) -> dict[str, Any]:
    if job.truth is None:
        return {}
    seen = job.data.scan.seen.numpy()
    figures: dict[str, Any] = _figures(written, job.truth, seen)
    if deviation is not None:
        off = np.abs(written - job.truth.values)[seen]
        figures["within_two_deviations"] = round(float((off <= 2 * deviation.values[seen]).mean()), 3)
    return figures


def _files(run: Run, deviation: Volume | None) -> dict[str, bytes]:
    """The deviation in the format of the output."""
    if deviation is None:
        return {}
    name = Path(f"deviation{check_volume_name(Path(run.read_config('ct').inputs['output']))}")
    return {name.name: volume_bytes(name, deviation)}


def _shown_deviation(deviation: Volume, seen: NDArray[np.bool_]) -> Shown:
    white = float(np.quantile(deviation.values[seen], 0.99)) or 1.0
    words = f"standard deviation of what the noise alone does; white is {white:.3g}"
    picture = montage(deviation)[0]
    return Shown("deviation", picture / white, words, mm_wide(deviation, picture))


def _baselines(job: Job, scan: ConeScan, volume_of: Any) -> dict[str, dict[str, Any]]:
    if job.truth is None or not job.config.baselines:
        return {}
    seen = scan.seen.numpy()
    best: dict[str, Any] = {}
    for window in WINDOWS:
        figures = _figures(volume_of(feldkamp(scan, window).clamp(min=0) * scan.disc).values, job.truth, seen)
        if not best or figures["psnr"] > best["psnr"]:
            best = figures | {"how": f"window {window}, the best of {len(WINDOWS)}"}
    return {"FDK": best}


def _charts(curve: list[tuple[float, float]]) -> list[Chart]:
    if not curve:
        return []
    weights, risks = zip(*curve, strict=True)
    series = Series("estimated error less the least", list(weights), list(risks))
    return [Chart("Weight of the total variation, by the middle slices", [series], "weight", "unbiased risk", False)]


def _said(scan: ConeScan) -> str:
    depth, side, _ = scan.shape
    unseen = 1 - float(scan.seen.sum()) / (float(scan.disc.sum()) * depth)
    return (
        f"{side} x {side} x {depth} voxels of {scan.pixel:.4g} x {scan.pixel:.4g} x {scan.height:.4g} mm; "
        f"{unseen:.0%} of those in the disc are not seen at every angle"
    )
