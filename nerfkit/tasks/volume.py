"""The task `volume`: thick, missing or crossing slices to one volume of cubes, its place in millimetres kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.settings import check_positive, check_range
from nerfkit.workbench.settings import AUTO, FitConfig
from nerfkit.workbench.task import FitTask, Simulated

if TYPE_CHECKING:
    from nerfkit.fitted_volume import FittedVolume
    from nerfkit.runs import Run
    from nerfkit.scenes.volumes import Volume
    from nerfkit.workbench.job import Job
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.volumes.reconstruct import Reconstruction

__all__ = ["TASK", "VolumeConfig", "VolumeData"]

# stacks at most: each is held on the grid
MOST_STACKS = 16
# fraction of a voxel's side by which a truth may be elsewhere than the result
SAME_PLACE = 0.1


@dataclass(frozen=True)
class VolumeConfig(FitConfig):
    """What a user may say of a volume from slices; written to config.yml."""

    task: ClassVar[str] = "volume"

    # side of a voxel of the output, mm, above 0; None: the finest of the inputs
    spacing: float | None = None
    # what a slice averages over, mm, above 0, where a file does not say it; None: the distance between slices
    thickness: float | None = None
    # what is expected between slices; auto: what predicts held-out slices, measured again edge on, best
    prior: Literal["auto", "learned", "variation", "cubic", "linear"] = AUTO
    # of the total variation, for values of range 1, above 0; None: chosen by held-out voxels
    weight: float | None = None
    # fraction of the voxels that are held out to choose the weight, 0.001 to 0.5
    holdout: float = 0.03
    # steps of a network's training, 1 or more
    steps: int = 400
    # what of later stacks is brought to the first one: where the body is, how bright it is; auto: by held-out voxels
    match: Literal["auto", "none", "motion", "brightness", "both"] = AUTO
    # which volume of a file that holds several, 0 or more; None: there is one, or all stacks of an npz
    index: int | None = None
    # which series of a DICOM folder: number, description or UID; None: the one of most slices
    series: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("spacing", "thickness", "weight"):
            check_positive(name, getattr(self, name))
        check_range("holdout", self.holdout, 0.001, 0.5)
        check_range("steps", self.steps, 1, 10**9)
        if self.index is not None:
            check_range("index", self.index, 0, 10**9)


@dataclass(frozen=True)
class VolumeData:
    """Stacks of slices, each with a thickness, and what is to be said of their files."""

    stacks: list[Volume]
    said: list[str]


def read(paths: Sequence[Path], config: VolumeConfig) -> VolumeData:
    """Read the stacks: of each file one, or all that an npz holds."""
    from nerfkit.scenes.readers.volume import read_volumes

    stacks, said = [], []
    for path in paths:
        for found in read_volumes(path, index=config.index, series=config.series):
            said += [f"{path.name}: {text}" for text in found.said]
            stacks.append(_with_thickness(found, config, path, said))
    if len(stacks) > MOST_STACKS:
        raise NerfkitError(
            f"{len(stacks)} stacks are more than {MOST_STACKS}", where=paths[0], fix="give fewer, or one with index=0"
        )
    return VolumeData(stacks, said)


def _with_thickness(volume: Volume, config: VolumeConfig, path: Path, said: list[str]) -> Volume:
    """The volume, its thickness known, given or assumed."""
    if min(volume.shape[1:]) < 2:
        raise NerfkitError(
            "has slices of {2}x{1} voxels; two a side at least are wanted".format(*volume.shape), where=path,
            fix="give a stack with something on it",
        )  # fmt: skip
    if volume.thickness is None and config.thickness is None and volume.shape[0] > 1:
        said.append(f"{path.name}: slices are taken to be as thick as they are apart, {volume.pitch:.4g} mm")
    thickness = volume.thickness or config.thickness or volume.pitch
    if thickness > 10 * volume.pitch:
        raise NerfkitError(
            f"slices {thickness:.4g} mm thick, {volume.pitch:.4g} mm apart: ten times thicker than apart at most",
            where=path, fix="correct it: --set thickness=MM, or the file",
        )  # fmt: skip
    return dataclasses.replace(volume, thickness=thickness)


def shape(data: VolumeData, config: VolumeConfig) -> tuple[int, ...]:
    """Of the output."""
    from nerfkit.workbench.volumes.reconstruct import output_grid

    return output_grid(data.stacks, config.spacing).shape


def simulate(paths: Sequence[Path], config: VolumeConfig, keys: Mapping[str, Any]) -> Simulated:
    """Stacks of thick slices of a fine volume, with noise."""
    from nerfkit.scenes.readers.volume import read_volume
    from nerfkit.scenes.readers.volume_arrays import volume_arrays
    from nerfkit.workbench.volumes.interpolated import resampled
    from nerfkit.workbench.volumes.reconstruct import output_grid
    from nerfkit.workbench.volumes.simulated import simulate_stacks

    if len(paths) > 1:
        raise NerfkitError("makes stacks of one volume", where="--simulate", fix="leave the other files out")
    fine = read_volume(paths[0], index=config.index, series=config.series)
    truth, stacks = simulate_stacks(fine, keys, config.seed, paths[0])
    truth = resampled(truth, output_grid(stacks, config.spacing))
    return Simulated(VolumeData(stacks, list(fine.said)), truth, volume_arrays(stacks), volume_arrays([truth]))


def solve(job: Job) -> Outcome:
    """Choose the weight and the prior by what is held out, reconstruct, and sample the result in cubes."""
    from nerfkit.workbench.outcome import Outcome
    from nerfkit.workbench.volumes.held_volume import HeldVolume
    from nerfkit.workbench.volumes.interpolated import resampled
    from nerfkit.workbench.volumes.reconstruct import output_grid, reconstruct
    from nerfkit.workbench.volumes.shown import mm_wide, montage, window_of

    grid = output_grid(job.data.stacks, job.config.spacing)
    _check_truth(job.truth, grid)
    found = reconstruct(job)

    def on_output(values: NDArray) -> Volume:
        return resampled(found.problem.layout.grid.holding(values), grid)

    result = on_output(found.values)
    others = {name: on_output(values) for name, values in found.others.items()}
    low, high = window = window_of(result.values)
    is_inverted = all(stack.is_inverted for stack in job.data.stacks)
    picture, words = montage(result)
    unseen = found.unseen_of(grid)
    metrics, baselines = _compared(job, found, others, unseen)

    def measure(written: NDArray) -> dict[str, Any]:
        return {} if job.truth is None else _figures(written, job.truth, unseen)

    return Outcome(
        image=(low + high - picture if is_inverted else picture)[..., None], measure=measure, field=found.name,
        n_params=found.n_params, held=HeldVolume(found.problem.layout.grid.holding(found.values)), bit_depth=32,
        span=window, mm_wide=mm_wide(result, picture), window=(high, low) if is_inverted else window,
        write=lambda output: _write(output, result), metrics=metrics, baselines=baselines,
        chosen=found.chosen, shown=_shown(job, result, others, window, is_inverted), charts=found.charts,
        said=[words, *_said(result), *job.data.said, *found.said],
    )  # fmt: skip


def _write(output: Path, result: Volume) -> NDArray[np.float32]:
    from nerfkit.volume_files import write_volume

    return write_volume(output, result).values


def _check_truth(truth: Volume | None, grid: Any) -> None:
    """Raise NerfkitError where a truth of the output's shape is elsewhere than the output."""
    if truth is None:
        return
    corners = np.array([[0, 0, 0, 1], [*(np.array(grid.size) - 1), 1]])
    apart = float(np.linalg.norm(corners @ (truth.affine - grid.affine).T, axis=1).max())
    if apart > SAME_PLACE * min(grid.spacing):
        raise NerfkitError(
            f"its corners are up to {apart:.3g} mm from those of the result: affine {truth.affine.tolist()}, the "
            f"result's {grid.affine.tolist()}", where="--truth", fix="resample it to the result's grid",
        )  # fmt: skip


def _figures(values: NDArray, truth: Volume, unseen: NDArray[np.bool_]) -> dict[str, float]:
    """PSNR over all, SSIM of slices, and PSNR where no slice has seen anything, if there is such."""
    from nerfkit.workbench.regression import decibels
    from nerfkit.workbench.running import compare

    # slices are channels: the mean over them
    figures = compare(values.transpose(1, 2, 0), truth.values.transpose(1, 2, 0), truth.range)
    if unseen.any():
        low, high = truth.range
        mse = float(np.square(values - truth.values, dtype=np.float64)[unseen].mean())
        figures["psnr_between"] = round(decibels(mse, high - low), 3)
    return figures


def _compared(
    job: Job, found: Reconstruction, others: Mapping[str, Volume], unseen: NDArray[np.bool_]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:  # fmt: skip
    """What is held out by each method, and with a truth what it is worth."""
    baselines = {name: dict(figures) for name, figures in found.baselines.items()}
    if job.truth is not None:
        for name, volume in others.items():
            baselines.setdefault(name, {}).update(_figures(volume.values, job.truth, unseen))
    return found.metrics, baselines


def _shown(
    job: Job, result: Volume, others: Mapping[str, Volume], window: tuple[float, float], is_inverted: bool
) -> list[Any]:  # fmt: skip
    from nerfkit.workbench.volumes.shown import error_pictures, volume_pictures

    shown = volume_pictures(others, window, inverted=is_inverted)
    if job.truth is None:
        return shown
    shown += volume_pictures({"truth": job.truth}, window, inverted=is_inverted)
    return shown + error_pictures({"result": result, **others}, job.truth)


def _said(result: Volume) -> list[str]:
    depth, height, width = result.shape
    x, y, z = result.spacing
    return [f"{width} x {height} x {depth} voxels of {x:.4g} x {y:.4g} x {z:.4g} mm"]


def _read_truth(path: str | Path) -> Volume:
    from nerfkit.scenes.readers.volume import read_volume

    return read_volume(path)


def _load(run: Run, device: str) -> FittedVolume:
    from nerfkit.fitted_volume import FittedVolume

    return FittedVolume(run, device)


TASK = FitTask(
    name="volume", holds="a volume", data="stacks of slices",
    usage="nerfkit render {run} --spacing MM --out FILE.nii.gz samples it at any spacing",
    presets={"volume": VolumeConfig()}, load=_load, read=read, solve=solve, simulate=simulate, shape=shape,
    simulate_keys={"thickness": 4, "stacks": 2, "noise": 0.01, "every": 1, "motion": 0.0, "gain": 1.0},
    most_inputs=MOST_STACKS, suffixes=(".nii.gz", ".nii", ".npy", ".tif", ".tiff"), read_truth=_read_truth,
)  # fmt: skip
