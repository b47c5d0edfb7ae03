"""A wave from its problem to what is shown of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nerfkit.files import npy_bytes, npz_bytes, write_atomically
from nerfkit.workbench.held_fields import HeldField
from nerfkit.workbench.job import Job
from nerfkit.workbench.outcome import Outcome, Shown
from nerfkit.workbench.running import write_picture
from nerfkit.workbench.waves import helmholtz
from nerfkit.workbench.waves.choosing import choose_layout
from nerfkit.workbench.waves.held import Moment, recipe_of
from nerfkit.workbench.waves.helmholtz import Helmholtz, solve_helmholtz
from nerfkit.workbench.waves.medium import Medium
from nerfkit.workbench.waves.settings import WaveConfig
from nerfkit.workbench.waves.shown import coloured, error_chart, relative_errors, write_video
from nerfkit.workbench.waves.wave import STRIDE, Lattice, Wave, by_finite_differences, count_cells
from nerfkit.workbench.waves.windows import Layout, march, predicted_error, radius_for

__all__ = ["solve_frequency", "solve_time"]

# weights of a window, or of the field of one frequency, where nobody says, by the number of dimensions
N_PARAMS = {1: 800, 2: 3000}
# longer side of pictures in the report
SIDE = 256
# highest wavenumbers of a wave of one frequency: so many times those of the source and of the slowest wave
HIGHEST = 6.0


def solve_time(job: Job) -> Outcome:
    """A pulse that runs."""
    config, wave = job.config, job.data
    n_params = config.n_params or N_PARAMS[wave.medium.n_dims]
    layout = Layout(**job.decide("layout", lambda: vars(_choose(job, wave, n_params))))
    job.say(_words(layout))
    field = march(wave, layout, seed=config.seed, device=job.device, on_window=_following(job))
    predicted = predicted_error(wave, field, config.seed)
    field.cpu()
    lattice = Lattice.of(wave.medium.sides, count_cells(wave.pulse, config.length, config.cells))
    times = np.linspace(0, wave.duration, config.frames)
    truth, baseline = _by_finite_differences(wave, lattice, times)
    axes = lattice.every(STRIDE).axes
    with torch.no_grad():
        values = np.stack([field.at(float(now), axes).view(truth.shape[1:]).numpy() for now in times])
    is_line = wave.medium.n_dims == 1
    pictures = [x[:, 0] if is_line else x[-1] for x in (values, truth, values - truth)]
    reach = float(np.abs(pictures[1]).max()) or 1.0
    _, over_time = relative_errors(values, truth)
    video = write_video(job.run.folder / "wave.mp4", times.tolist(), values, truth, job.on_part)
    image = pictures[0][..., None]
    held = field if is_line else Moment(field, wave.duration)
    size = (wave.medium.sides[0], wave.duration) if is_line else wave.medium.sides
    recipe = recipe_of(held, size, _pixels(size))
    arrays = {"t": times, "x": axes[0].numpy()} | ({} if is_line else {"y": axes[1].numpy()})
    job.say(f"error {relative_errors(values, truth)[0]:.2g} of the field in rms, against finite differences")
    where = "x to the right, time down" if is_line else f"at the end, time {wave.duration:.4g}"
    return Outcome(
        image=image.astype(np.float32), measure=lambda written: _errors(values if written is None else written, truth),
        field="standing waves", n_params=field.weights.numel(), held=HeldField(held, recipe),
        bit_depth=32, span=(-reach, reach), write=_writer(values[:, 0] if is_line else values, arrays, reach, image),
        metrics={"holdout": float(f"{predicted:.4g}")},
        baselines={"finite differences": baseline}, chosen=vars(layout), video=video,
        charts=[error_chart(times.tolist(), {"this field": over_time})],
        shown=[
            Shown("field", coloured(pictures[0], reach), where),
            Shown("finite_differences", coloured(pictures[1], reach), "the same by finite differences"),
            Shown("difference", coloured(pictures[2], reach / 20), "difference, 20 times as strong"),
            Shown("speed", *_speed_picture(wave.medium, lattice.every(STRIDE))),
        ],
        said=[
            f"{_words(layout)}; {field.layer.n_features:,} weights a window",
            f"points that the solver did not see predict an error of {predicted:.2g} at most",
            f"red is {reach:.3g}, blue its negative",
        ],
    )  # fmt: skip


def solve_frequency(job: Job) -> Outcome:
    """Waves of one frequency that leave the domain."""
    config, problem = job.config, job.data
    sides = [high - low for low, high in problem.box]
    n_modes = max(1, (config.n_params or N_PARAMS[2]) // 2)
    highest = HIGHEST * max(2 / problem.source.width, problem.omega / problem.medium.slowest)
    radius = float(f"{radius_for(sides, n_modes, highest, is_fixed=True):.6g}")
    job.say(
        f"standing waves, wavenumbers to {radius:.3g}; those that run have {problem.omega / problem.medium.fastest:.3g}"
    )
    job.on_part(0, 2)
    field, left = solve_helmholtz(problem, radius, seed=config.seed, device=job.device)
    job.check_stopped()
    job.on_part(1, 2)
    field.cpu()
    axes, truth, baseline = _frequency_by_finite_differences(problem, config)
    job.on_part(2, 2)
    with torch.no_grad():
        parts = [field.on_lattice(axes, field.weights[:, part]).numpy() for part in range(2)]
    values = parts[0] + 1j * parts[1]
    reach = float(np.abs(truth).max()) or 1.0
    arrays = {"x": axes[0].numpy(), "y": axes[1].numpy()}
    job.say(f"error {relative_errors(values, truth)[0]:.2g} of the field in rms, against finite differences")
    size = problem.medium.sides
    return Outcome(
        image=parts[0][..., None].astype(np.float32), field="standing waves", n_params=field.weights.numel(),
        measure=lambda written: _errors(values if written is None else written, truth),
        held=HeldField(field, recipe_of(field, size, _pixels(size))), bit_depth=32, span=(-reach, reach),
        write=_writer(values, arrays, reach, parts[0]), metrics={"holdout": float(f"{left:.4g}")},
        baselines={"finite differences": baseline}, chosen={"radius": radius},
        shown=[
            Shown("field", coloured(values.real, reach), "real part"),
            Shown("finite_differences", coloured(truth.real, reach), "the same by finite differences"),
            Shown("imaginary", coloured(values.imag, reach), "imaginary part"),
            Shown("difference", coloured((values - truth).real, reach / 20), "difference, 20 times as strong"),
            Shown("speed", *_speed_picture(problem.medium, Lattice(axes))),
        ],
        said=[
            f"standing waves with wavenumbers to {radius:.3g}, exact in one step of least squares",
            f"at points that the solver did not see {left:.2g} of the source is left, in rms",
            f"red is {reach:.3g}, blue its negative; waves run outward as exp(i (k r - omega t))",
        ],
    )  # fmt: skip


def _by_finite_differences(wave: Wave, lattice: Lattice, times: NDArray) -> tuple[NDArray, dict[str, Any]]:
    """The field at every ``STRIDE`` nodes, and what is said of it."""
    began = time.process_time()
    truth, n_steps = by_finite_differences(wave, lattice, times, STRIDE)
    seconds = time.process_time() - began
    coarse, _ = by_finite_differences(wave, lattice.every(2), times, STRIDE // 2)
    how = f"leapfrog of fourth order, {_cells(lattice)} cells, {n_steps} steps; change: with cells twice as large"
    return truth, _baseline(truth, coarse, seconds, how)


def _frequency_by_finite_differences(
    problem: Helmholtz, config: WaveConfig
) -> tuple[list[torch.Tensor], NDArray[np.complex128], dict[str, Any]]:
    """Coordinates within the domain, u [n_y, n_x] there, and what is said of it."""
    began = time.process_time()
    sides = tuple(high - low for low, high in problem.box)
    finest = max(8 / problem.source.width, 4 * problem.omega / problem.medium.slowest) * max(sides)
    cells = config.cells or int(min(max(finest, 192), 384))
    lattice = Lattice.of(sides, cells, -problem.layer)
    truth = helmholtz.by_finite_differences(problem, lattice)
    seconds = time.process_time() - began
    coarse = helmholtz.by_finite_differences(problem, lattice.every(2))
    axes, kept = [], []
    for axis, side in zip(lattice.every(2).axes, problem.medium.sides, strict=True):
        kept.append(((axis >= 0) & (axis <= side)).numpy())
        axes.append(axis[kept[-1]])
    inside = np.ix_(kept[1], kept[0])
    how = f"fourth order, sparse factors, {_cells(lattice)} cells with the layer; change: with cells twice as large"
    return axes, truth[::2, ::2][inside], _baseline(truth[::2, ::2][inside], coarse[inside], seconds, how)


def _baseline(truth: NDArray, coarse: NDArray, seconds: float, how: str) -> dict[str, Any]:
    return {"change": float(f"{relative_errors(coarse, truth)[0]:.3g}"), "cpu_seconds": round(seconds, 2), "how": how}


def _cells(lattice: Lattice) -> str:
    return "x".join(str(len(axis) - 1) for axis in lattice.axes)


def _errors(values: NDArray, truth: NDArray) -> dict[str, float]:
    whole, over_time = relative_errors(values.reshape(truth.shape), truth)
    found = {"relative_error": whole, "largest_error": float(np.abs(values.reshape(truth.shape) - truth).max())}
    found |= {} if np.iscomplexobj(truth) else {"relative_error_at_end": over_time[-1]}
    return {name: float(f"{value:.6g}") for name, value in found.items()}


def _writer(
    values: NDArray, arrays: dict[str, NDArray], reach: float, image: NDArray
) -> Callable[[Path], NDArray | None]:
    """Writes an array with or without its coordinates and gives it as the file has it, or a picture and gives None."""

    def write(path: Path) -> NDArray | None:
        single = values.astype(np.complex64 if np.iscomplexobj(values) else np.float32)
        if path.suffix.lower() == ".npz":
            write_atomically(path, npz_bytes(u=single, **arrays))
            with np.load(path) as found:
                return found["u"]
        if path.suffix.lower() == ".npy":
            write_atomically(path, npy_bytes(single))
            return np.load(path)
        write_picture(path, image.squeeze().astype(np.float32), 32, span=(-reach, reach))
        return None

    return write


def _speed_picture(medium: Medium, lattice: Lattice) -> tuple[NDArray, str]:
    speeds = medium.speed(lattice.points).view(lattice.shape).numpy()
    low, high = float(speeds.min()), float(speeds.max())
    # a line is drawn as a band
    speeds = np.repeat(speeds, 16, 0) if len(speeds) == 1 else speeds
    return (speeds - low) / (high - low or 1.0), f"speed, {low:.3g} black to {high:.3g} white"


def _pixels(size: Sequence[float]) -> tuple[int, int]:
    """Of a picture of that size, at least 64 each way."""
    width, height = (max(64, round(SIDE * side / max(size))) for side in size)
    return width, height


def _following(job: Job) -> Callable[[int, int], None]:
    def follow(done: int, total: int) -> None:
        job.on_part(done, total)
        job.check_stopped()

    return follow


def _choose(job: Job, wave: Wave, n_params: int) -> Layout:
    def on_trial(layout: Layout, error: float) -> bool:
        job.check_stopped()
        job.say(f"trial: {_words(layout)}: predicted error {error:.2g}")
        if job.limit.is_over:
            job.limit.cut.append("the choice of frequencies")
        return not job.limit.is_over

    return choose_layout(wave, n_params, seed=job.config.seed, device=job.device, on_trial=on_trial)


def _words(layout: Layout) -> str:
    windows = f"{layout.n_windows} window{'s' * (layout.n_windows > 1)} of time"
    return f"{windows}, wavenumbers to {layout.radius:.3g}, {layout.n_frequencies} frequencies for each"
