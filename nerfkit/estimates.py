"""What a run would need, found by doing a little of it."""

from __future__ import annotations

import time
from typing import Any

from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.presets import TrainConfig
from nerfkit.radiance_fit import RadianceFit, samples_a_step
from nerfkit.scene import RadianceScene
from nerfkit.training import Prepared

__all__ = ["estimate", "rest_bytes"]

# steps that are run: the first compile and are left out
N_WARM, N_TIMED = 5, 20
# the libraries themselves with loops compiled (520 measured with torch 2.13 and numba 0.68 on a CPU), and what a sample
# holds while a step is under way
BASE_MB, BYTES_A_SAMPLE_AND_WIDTH = 520, 4 * 10


def rest_bytes(n_parameters: int, config: TrainConfig, device: str) -> int:
    """Memory of a training besides its photos: libraries, field and samples."""
    # weights, gradients and two moments
    field = 16 * n_parameters
    samples = samples_a_step(config, device) * config.field.width * BYTES_A_SAMPLE_AND_WIDTH
    return round(BASE_MB * 1e6) + field + samples


def estimate(prepared: Prepared) -> dict[str, Any]:
    """Memory and time of a training, from a few steps of it.

    Returns
    -------
    found : dict
        ``parameters``, ``memory_mb``, ``photos_mb``, ``ms_per_step`` and ``expected_seconds``.
    """
    config = prepared.config
    scene = RadianceScene(config, prepared.bounds, prepared.background).to(prepared.device)
    task = RadianceFit(scene, prepared.data, distances=prepared.distances)
    schedule = FitSchedule(config.warmup_steps, config.final_share)
    fit(task, Budget(steps=N_WARM), schedule=schedule)
    started = time.perf_counter()
    fit(task, Budget(steps=N_TIMED), schedule=schedule)
    ms_per_step = (time.perf_counter() - started) / N_TIMED * 1e3
    n_parameters = sum(p.numel() for p in scene.field.parameters())
    data = prepared.data
    photos_mb = data.n_bytes / 1e6
    held_mb = photos_mb if data.stored is None else min(photos_mb, data.stored.limit / 1e6)
    # photos once on a CPU, else here and on the GPU
    n_copies = 1 if prepared.device == "cpu" else 2
    memory = rest_bytes(n_parameters, config, prepared.device) / 1e6 + n_copies * held_mb
    seconds = config.steps * ms_per_step / 1e3 if config.steps is not None else (config.seconds or 0.0)
    return {
        "parameters": n_parameters,
        "memory_mb": round(memory, 1),
        "photos_mb": round(photos_mb, 1),
        "ms_per_step": round(ms_per_step, 2),
        "expected_seconds": round(seconds, 1),
    }
