"""The task `ct`: a slice, or of a cone a volume, from the line integrals that a tomograph measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.settings import check_positive, check_range
from nerfkit.workbench.settings import FitConfig
from nerfkit.workbench.task import PICTURES, FitTask, Simulated

if TYPE_CHECKING:
    import torch

    from nerfkit.fitted_result import FittedResult
    from nerfkit.runs import Run
    from nerfkit.scenes.readers.sinogram import ScanFile
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.tomography.inputs import CtData
    from nerfkit.workbench.tomography.reconstruct import Smooth
    from nerfkit.workbench.tomography.scan import Scan

__all__ = ["TASK", "CtConfig"]

# percentiles of the result that are black and white in pictures where nobody says it
WINDOW = (0.5, 99.5)


@dataclass(frozen=True)
class CtConfig(FitConfig):
    """What a user may say of a reconstruction; written to config.yml. What is None the file says, or is found."""

    task: ClassVar[str] = "ct"

    # how rays run; parallel where nobody says
    geometry: Literal["parallel", "fan", "cone"] | None = None
    # degrees over which the angles are spread evenly, the last one left out; goes before the file's angles
    angle_range: float | None = None
    # of the file's angles
    angle_unit: Literal["degrees", "radians"] = "degrees"
    # whether the object turned clockwise
    is_clockwise: bool = False
    # bin at which the axis of rotation is seen; None: the file's, else found
    center: float | None = None
    # of bins on the detector and pixels of the result, millimetres
    bin_spacing: float | None = None
    pixel_spacing: float | None = None
    # of a cone: row of the detector at which the plane of the source is seen, row 0 on top; None: the file's, else the
    # middle; of rows on the detector and slices of the result, millimetres; None: those of bins and of pixels
    center_row: float | None = None
    row_spacing: float | None = None
    slice_spacing: float | None = None
    # slices of the result, 1 or more; None: the file's, else what is seen on the axis
    slices: int | None = None
    # from the axis to the source and to the detector, millimetres; of a fan and of a cone
    source_distance: float | None = None
    detector_distance: float | None = None
    # pixels of the result along a side, 8 or more
    side: int | None = None
    # of the detector, of scans with several
    row: int | None = None
    # photons of a ray that meets nothing; standard deviation of line integrals. None: the file's, else estimated
    photons: float | None = None
    noise: float | None = None
    # counts, or line integrals, from which on the detector was saturated: such rays are left out
    saturation: float | None = None
    # weight of the total variation, in the unit that the log names; None: by the unbiased risk estimate
    tv_weight: float | None = None
    # steps of the field's fit, None: 500; of the volume of a cone, None: 80
    steps: int | None = None
    # of a cone: solutions with other noise, by which its deviation is known, each as long as the volume's; 0: none
    repetitions: int = 2
    # values of the result that are black and white in pictures and in a PNG; None: its percentiles 0.5 and 99.5, of a
    # cone 0.2 and 99.8
    window: tuple[float, float] | None = None
    # whether classical reconstructions are made beside it where the truth is known; they take their own time
    baselines: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "bin_spacing", "pixel_spacing", "source_distance", "detector_distance", "photons", "noise", "tv_weight",
            "angle_range", "saturation", "row_spacing", "slice_spacing",
        ):  # fmt: skip
            check_positive(name, getattr(self, name))
        for name, low, high in (("side", 8, 8192), ("row", 0, 10**6), ("slices", 1, 8192), ("steps", 1, 10**6)):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), low, high)
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ValueError(f"window must be black and white, the lower first; got {list(self.window)}")
        # the spread of one is not known
        if self.repetitions:
            check_range("repetitions, where there are any,", self.repetitions, 2, 100)


def read(paths: Sequence[Path], config: CtConfig) -> CtData[Any]:
    """Read the scan."""
    from nerfkit.scenes.readers.sinogram import read_scan

    return _made(read_scan(paths[0]), config, paths[0])


def _made(file: ScanFile, config: CtConfig, path: Path) -> CtData[Any]:
    from nerfkit.workbench.tomography.cone_inputs import is_cone, make_cone_data
    from nerfkit.workbench.tomography.inputs import make_data

    return (make_cone_data if is_cone(file, config) else make_data)(file, config, path)


def simulate(paths: Sequence[Path], config: CtConfig, keys: dict[str, Any]) -> Simulated:
    """A scan of a picture, of a slice of DICOM, or under a cone of a volume."""
    from nerfkit.scenes.readers.sinogram import ScanFile
    from nerfkit.scenes.readers.volume_arrays import volume_arrays
    from nerfkit.workbench.tomography.cone_simulate import simulate_cone
    from nerfkit.workbench.tomography.simulate import simulate_scan

    is_volume = keys["geometry"] == "cone"
    truth: Any
    arrays, truth = (simulate_cone if is_volume else simulate_scan)(paths[0], keys, config.seed)
    is_counts = "counts" in arrays
    values = arrays["counts" if is_counts else "sinogram"]
    facts = {name: array.item() for name, array in arrays.items() if array.ndim == 0}
    file = ScanFile(
        np.asarray(values, np.float64), is_counts, arrays["angles"], facts, affine=arrays.get("affine")
    )  # fmt: skip
    truth_arrays = volume_arrays([truth]) if is_volume else {"image": truth.values[..., 0]}
    return Simulated(_made(file, config, paths[0]), truth, arrays, truth_arrays)


def shape(data: CtData[Any], config: CtConfig) -> tuple[int, ...]:
    """Of the output: a picture's, or a volume's."""
    return data.scan.shape if data.facts["geometry"] == "cone" else (data.scan.side, data.scan.side, 1)


def read_truth(path: str | Path) -> Any:
    """A picture, or a volume where the file holds one."""
    from nerfkit.scenes.readers.picture import read_picture
    from nerfkit.scenes.readers.volume import read_volume
    from nerfkit.scenes.readers.volume_arrays import holds_volume

    return read_volume(path) if holds_volume(Path(path)) else read_picture(path)


def load(run: Run, device: str) -> FittedResult:
    """A slice, or the volume of a cone."""
    from nerfkit.fitted_field import FittedField
    from nerfkit.fitted_volume import FittedVolume

    is_volume = run.read_figures().get("chosen", {}).get("geometry") == "cone"
    return (FittedVolume if is_volume else FittedField)(run, device)


def solve(job: Job) -> Outcome:
    """A slice as a field, or the volume of a cone as voxels (docs/decisions/0040)."""
    from nerfkit.workbench.tomography.cone_outcome import solve_cone

    return solve_cone(job) if job.data.facts["geometry"] == "cone" else _solve_slice(job)


def _solve_slice(job: Job) -> Outcome:
    """Choose the prior's weight, fit a field with it, and tell how sure the picture is."""
    import torch

    from nerfkit.files import npy_bytes
    from nerfkit.workbench.outcome import Outcome, Shown
    from nerfkit.workbench.pictures import error_map
    from nerfkit.workbench.regression import sample_picture
    from nerfkit.workbench.tomography.doctor import explain
    from nerfkit.workbench.tomography.reconstruct import fit_field, quick_picture, unit_of
    from nerfkit.workbench.tomography.slice_files import write_slice
    from nerfkit.workbench.tomography.trial import misfit

    data: CtData[Scan] = job.data
    for text in data.said:
        job.say(text)
    quick = quick_picture(data.scan)
    unit = unit_of(quick)
    scan, start = data.scan.scaled(1 / unit), quick / unit
    smooth = _smooth(job, scan, start)
    job.say(f"weight of the total variation {smooth.weight:.4g} in units of {unit:.4g} per mm")
    left = misfit(scan, smooth.picture)
    doubt = job.decide("doubt", lambda: explain(scan, left))
    if doubt is not None:
        job.say(f"warning: {doubt}")
    scale = data.slope * unit
    held, held_out = fit_field(job, scan, smooth, data.intercept, scale)
    image = sample_picture(held.field, (scan.side, scan.side), (scan.side, scan.side)).numpy()
    deviation = (smooth.deviation * scale).numpy()
    seen = scan.seen.numpy()
    inside = image[seen]
    low, high = job.config.window or _window_of(inside)
    measured = scan.instrument.product((torch.from_numpy(image[..., 0]) - data.intercept) / scale)
    residual = ((measured - scan.sinogram) / scan.deviations).numpy()
    wide = scan.side * scan.pixel
    shown = [
        Shown("back_projection", (quick.numpy() * data.slope + data.intercept - low) / (high - low),
              "filtered back projection (Hann)", wide, (low, high)),
        Shown("total_variation", (smooth.picture.numpy() * scale + data.intercept - low) / (high - low),
              "least total variation with the chosen weight", wide, (low, high)),
        Shown("deviation", deviation / (float(np.quantile(deviation[seen], 0.99)) or 1.0),
              "standard deviation of what the noise alone does; white is "
              f"{float(np.quantile(deviation[seen], 0.99)):.3g}", wide),
        Shown("sinogram", scan.sinogram.numpy() / (float(scan.sinogram.max()) or 1.0), "sinogram, a row an angle"),
        Shown("residual", residual / 8 + 0.5, "what the result leaves of it; white is 4 standard deviations"),
    ]  # fmt: skip
    if job.truth is not None:
        errors = error_map(image, job.truth.values, (low, high)) * seen
        words = f"error; white is {0.1 * (high - low):.3g}, a tenth of the window"
        shown.insert(2, Shown("error", errors, words, wide))
    metrics = {"holdout": float(f"{held_out * unit:.6g}"), "misfit": round(left, 3)}
    return Outcome(
        image=image, measure=lambda written: _measure(job, written, seen, deviation), field="hash",
        n_params=sum(p.numel() for p in held.field.parameters()), held=held, bit_depth=32, span=(low, high),
        mm_wide=wide, window=(low, high), metrics=metrics, baselines=_baselines(job, scan, start, smooth, scale),
        chosen={"tv_weight": smooth.weight, **data.facts}, shown=shown, charts=_charts(smooth),
        files={"deviation.npy": npy_bytes(deviation)},
        write=(lambda output: write_slice(output, image, scan.pixel)) if _is_nifti(job) else None,
        said=[
            *data.said, *([doubt] if doubt else []),
            f"{scan.side}x{scan.side} pixels of {scan.pixel:.4g} mm, {wide:.4g} mm a side, black at "
            f"{low:.4g} and white at {high:.4g}; the disc of {2 * scan.radius * scan.pixel:.4g} mm "
            "that every angle sees is reconstructed",
        ],
    )  # fmt: skip


def _window_of(values: NDArray) -> tuple[float, float]:
    low, high = (float(np.percentile(values, p)) for p in WINDOW)
    return low, high if low < high else low + 1.0


def _is_nifti(job: Job) -> bool:
    return str(job.run.read_config("ct").inputs["output"]).lower().endswith((".nii", ".nii.gz"))


def _smooth(job: Job, scan: Scan, start: torch.Tensor) -> Smooth:
    """As it was decided, or now; a resumed run reads it again."""
    from safetensors.torch import load, save

    from nerfkit.files import write_atomically
    from nerfkit.workbench.tomography.reconstruct import Smooth, choose_weight

    path = job.run.folder / "stages" / "smooth.safetensors"
    if path.is_file():
        found = load(path.read_bytes())
        curve = [(float(a), float(b)) for a, b in found["curve"]]
        return Smooth(float(found["weight"]), found["picture"], found["deviation"], curve)
    import torch

    smooth = choose_weight(scan, start, weight=job.config.tv_weight, seed=job.config.seed, check=job.check_stopped)
    path.parent.mkdir(exist_ok=True)
    tensors = {
        "weight": torch.tensor(smooth.weight, dtype=torch.float64), "picture": smooth.picture.contiguous(),
        "deviation": smooth.deviation.contiguous(),
        "curve": torch.tensor(smooth.curve, dtype=torch.float64).reshape(-1, 2),
    }  # fmt: skip
    write_atomically(path, save(tensors))
    return smooth


def _measure(job: Job, written: NDArray, seen: NDArray, deviation: NDArray) -> dict[str, Any]:
    """PSNR over the truth's own range and SSIM in the disc; how often the truth lies within two deviations."""
    if job.truth is None:
        return {}
    from nerfkit.workbench.tomography.scoring import score

    found = score(written[..., 0], job.truth.values[..., 0], seen)
    off = np.abs(written[..., 0] - job.truth.values[..., 0])[seen]
    return found | {"within_two_deviations": round(float((off <= 2 * deviation[seen]).mean()), 3)}


def _baselines(job: Job, scan: Scan, start: torch.Tensor, smooth: Smooth, scale: float) -> dict[str, dict[str, Any]]:
    if job.truth is None or not job.config.baselines:
        return {}
    import torch

    from nerfkit.workbench.tomography.baselines import measure_baselines
    from nerfkit.workbench.tomography.scoring import score

    truth, seen, intercept = job.truth.values[..., 0], scan.seen, job.data.intercept
    wanted = torch.from_numpy((truth - intercept) / scale)
    found = measure_baselines(scan, start, smooth, lambda picture: float((picture - wanted)[seen].square().mean()))
    return {
        name: score(baseline.picture.numpy() * scale + intercept, truth, seen.numpy()) | {"how": baseline.how}
        for name, baseline in found.items()
    }


def _charts(smooth: Smooth) -> list[Any]:
    from nerfkit.report.blocks import Chart, Series

    if not smooth.curve:
        return []
    weights, risks = zip(*smooth.curve, strict=True)
    series = Series("estimated error less the least", list(weights), list(risks))
    return [Chart("Weight of the total variation", [series], "weight", "unbiased risk", False)]


TASK = FitTask(
    name="ct", holds="a reconstruction", data="a scan of a tomograph",
    usage="nerfkit render {run} --size WxH samples it at any size; {run}/deviation.npy (of a cone: in the output's "
    "format) says how sure it is",
    presets={"ct": CtConfig()}, read=read, solve=solve, simulate=simulate,
    load=load, shape=shape, read_truth=read_truth, suffixes=(*PICTURES, ".nii.gz", ".nii"),
    simulate_keys={
        "angles": 60, "range": 0.0, "noise": 0.01, "photons": 0.0, "geometry": "parallel", "size": 0,
    },
)  # fmt: skip
