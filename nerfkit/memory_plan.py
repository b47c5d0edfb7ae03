"""How much memory a training takes, said before anything is read, and whether its photos are kept in it or mapped."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nerfkit.loop_cache import user_caches
from nerfkit.memory import memory_free
from nerfkit.presets import TrainConfig
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers import PosedPhotos
from nerfkit.scenes.readers.photos import PhotoStore, downscaled, photo_factor

__all__ = ["MemoryPlan", "cache_folder", "plan_memory"]

# fraction of the free memory that is planned with unless a budget is given
SHARE = 0.8
# mapped photos want this much at least: less is read from the disk again and again
LEAST_MAPPED = 64_000_000
# bytes a pixel of the largest photo that reading takes for a while, measured: some photos are compared at full size,
# and a lens is undone at each of its pixels
READING = 90
# files without alpha
OPAQUE_SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True)
class MemoryPlan:
    """What is expected, in bytes.

    Parameters
    ----------
    photos : int
        All photos that are loaded, decoded.
    rest : int
        Libraries, field, samples, and what reading takes besides.
    budget : int or None
        What may be taken; None: it is not known what there is.
    is_given : bool
        Whether the budget was given.
    is_mapped : bool
        Whether photos are mapped from a file instead of kept in memory.
    """

    photos: int
    rest: int
    budget: int | None
    is_given: bool
    is_mapped: bool

    @property
    def store(self) -> PhotoStore | None:
        """Where photos are decoded to; None: they are kept in memory."""
        if not self.is_mapped:
            return None
        assert self.budget is not None
        # what is free may be less than training needs; it is tried all the same, with a little for photos
        return PhotoStore(cache_folder() / "photos", max(self.budget - self.rest, LEAST_MAPPED))

    def __str__(self) -> str:
        store = self.store
        held = min(self.photos, self.photos if store is None else store.limit)
        of = "" if self.budget is None else f" of {_gigabytes(self.budget)} {'given' if self.is_given else 'free'}"
        where = "in memory" if store is None else f"decoded once into {store.folder} and mapped from there"
        return f"memory: about {_gigabytes(self.rest + held)}{of}; photos {_gigabytes(self.photos)}, {where}"


def plan_memory(
    photos: PosedPhotos, config: TrainConfig, device: str, *, downscale: float | None, max_side: int | None,
    budget: int | None = None,
) -> MemoryPlan:  # fmt: skip
    """The plan for a training.

    Parameters
    ----------
    photos : PosedPhotos
        Those of train and val are loaded.
    config : TrainConfig
        Sizes of field and step.
    device : str
        Where is computed.
    downscale, max_side
        As :func:`nerfkit.photo_data.load_photo_data` takes them.
    budget : int, optional
        Bytes; None: most of what is free.

    Raises
    ------
    NerfkitError
        The budget holds less than what is needed besides the photos.
    """
    import torch

    from nerfkit.estimates import rest_bytes
    from nerfkit.scenes.fields import field_class

    factor = photo_factor(photos.cameras, downscale, max_side)
    used = {index for name in ("train", "val") for index in photos.splits.get(name, [])}
    size = sum(_decoded_bytes(photos, index, factor) for index in used)
    field = field_class(config.field.kind)(config.field, torch.Generator())
    reading = READING * max(camera.width * camera.height for camera in photos.cameras)
    rest = rest_bytes(sum(p.numel() for p in field.parameters()), config, device) + reading
    free = memory_free()
    limit = budget if budget is not None else None if free is None else int(SHARE * free)
    is_mapped = limit is not None and rest + size > limit
    if budget is not None and is_mapped and budget - rest < min(LEAST_MAPPED, size):
        raise NerfkitError(
            f"{_gigabytes(budget)} are less than the {_gigabytes(rest + min(LEAST_MAPPED, size))} that are needed at "
            f"least: {_gigabytes(rest)} for libraries, reading, field and samples, the others for photos",
            where="--memory-budget",
            fix="give more, or lower the samples of a step (--set samples_per_step=8192) or the field "
            "(--set field.log2_table_size=15, --set field.width=16)",
        )  # fmt: skip
    return MemoryPlan(size, rest, limit, budget is not None, is_mapped)


def cache_folder() -> Path:
    """Where what can be made anew is kept: NERFKIT_CACHE, else the user's folder for caches."""
    if given := os.environ.get("NERFKIT_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "nerfkit"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "nerfkit"
    # a user whom the system does not know has none
    return (user_caches() or Path(tempfile.gettempdir())) / "nerfkit"


def _decoded_bytes(photos: PosedPhotos, index: int, factor: float) -> int:
    camera = downscaled(photos.cameras[index], factor)
    n_channels = 3 if photos.files[index].lower().endswith(OPAQUE_SUFFIXES) else 4
    return camera.width * camera.height * n_channels


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.3g} GB"
