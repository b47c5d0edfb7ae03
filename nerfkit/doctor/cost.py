"""What training would take: from the sizes, or from a few steps of it."""

from __future__ import annotations

from nerfkit.doctor.findings import Report
from nerfkit.memory import memory_free
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import PosedPhotos

__all__ = ["check_cost"]


def check_cost(photos: PosedPhotos, device: str, report: Report, *, is_timed: bool) -> None:
    """Note the memory and the minutes of a default training, and whether the memory is there."""
    try:
        found = _measure(photos, device) if is_timed else _estimate(photos, device)
    except NerfkitError as error:
        report.problems.add_error(error)
        return
    memory_mb, minutes = found["memory_mb"], found["expected_minutes"]
    report.fact("memory_mb", memory_mb, f"about {memory_mb:.0f} MB to train, {found['photos_mb']:.0f} MB of it photos")
    speed = f", {found['ms_per_step']:.0f} ms a step" if "ms_per_step" in found else ""
    report.fact("expected_minutes", minutes, f"{minutes:g} by default (--seconds changes it){speed}")
    report.facts.update(
        {key: found[key] for key in ("photos_mb", "downscale", "parameters", "ms_per_step") if key in found}
    )
    free = memory_free()
    # what is on a GPU is read through the machine's own memory all the same
    if free is not None and memory_mb * 1e6 > free:
        factor = found["downscale"] * (memory_mb * 1e6 / free) ** 0.5 * 1.2
        report.add(
            "error", f"training needs about {memory_mb:.0f} MB of memory, {free / 1e6:.0f} MB are free",
            where=photos.root, fix=f"nerfkit train {photos.root} --downscale {factor:.2g}",
        )  # fmt: skip


def _estimate(photos: PosedPhotos, device: str) -> dict[str, float]:
    import torch

    from nerfkit.estimates import rest_bytes
    from nerfkit.scenes.fields import field_class
    from nerfkit.tasks.train import TASK
    from nerfkit.training import MAX_SIDE

    config = TASK.configure()
    used = [photos.cameras[i] for name in ("train", "val") for i in photos.splits[name]]
    downscale = max(1.0, max(max(camera.width, camera.height) for camera in photos.cameras) / MAX_SIDE[device])
    # four bytes a pixel where there may be alpha; copies as estimates.estimate counts them
    n_copies = 1 if device == "cpu" else 2
    photos_mb = 4 * sum(camera.width * camera.height for camera in used) / downscale**2 / 1e6
    field = field_class(config.field.kind)(config.field, torch.Generator())
    n_parameters = sum(p.numel() for p in field.parameters())
    return {
        "memory_mb": round(rest_bytes(n_parameters, config, device) / 1e6 + n_copies * photos_mb),
        "photos_mb": round(photos_mb, 1),
        "parameters": n_parameters,
        "downscale": round(downscale, 3),
        "expected_minutes": round((config.seconds or 0) / 60, 2),
    }


def _measure(photos: PosedPhotos, device: str) -> dict[str, float]:
    from nerfkit.estimates import estimate
    from nerfkit.tasks.train import TASK
    from nerfkit.training import prepare

    prepared = prepare(photos, TASK.configure(), device)
    found = estimate(prepared)
    return {
        "memory_mb": found["memory_mb"],
        "photos_mb": found["photos_mb"],
        "parameters": found["parameters"],
        "downscale": round(prepared.data.downscale, 3),
        "ms_per_step": found["ms_per_step"],
        "expected_minutes": round(found["expected_seconds"] / 60, 2),
    }
