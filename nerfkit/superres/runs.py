"""The run folder of a super-resolution: back from it to the networks, and to pictures of any size."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nerfkit.files import write_atomically
from nerfkit.scenes.errors import NerfkitError

from .settings import SuperresSettings, plan_grids

if TYPE_CHECKING:
    from torch import Tensor

    from nerfkit.runs import Run
    from nerfkit.scenes.fields.siren import Siren
    from nerfkit.scenes.fields.tiled_siren import TiledSiren

__all__ = ["PROFILE_FILE", "is_superres_run", "load_superres", "make_field", "render_superres"]

# colour profile of the frames in the run folder
PROFILE_FILE = "profile.icc"

# torch is imported where it is used: every `nerfkit render` asks first whether a run is of this kind


def make_field(settings: SuperresSettings, bounds: Tensor) -> Siren | TiledSiren:
    """The networks of a run before they are fitted; ``bounds`` [n_channels, 2]."""
    import torch

    from nerfkit.scenes.fields import image_field_class
    from nerfkit.scenes.fields.siren import SirenConfig

    plan = plan_grids(settings.scale, settings.frame_size)
    config = SirenConfig(settings.width, settings.n_layers, settings.omega, plan.tile, plan.stride)
    generator = torch.Generator().manual_seed(settings.seed)
    size = (float(settings.frame_size[0]), float(settings.frame_size[1]))
    return image_field_class(settings.network)(config, size, bounds, generator)


def is_superres_run(folder: Path) -> bool:
    """Whether ``folder`` is the run folder of a super-resolution."""
    try:
        values = yaml.safe_load((folder / "config.yml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(values, dict) and values.get("kind") == "superres"


def load_superres(run: Run) -> tuple[Siren | TiledSiren, SuperresSettings]:
    """The networks of a run and its settings.

    Raises
    ------
    NerfkitError
        The folder is damaged, or the run was interrupted before it had networks.
    """
    import torch

    path = run.folder / "config.yml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = {field.name for field in dataclasses.fields(SuperresSettings)}
        known = {name: value for name, value in values.items() if name in names}
        sizes = {name: tuple(known[name]) for name in ("output_size", "frame_size")}
        settings = SuperresSettings(**{**known, **sizes})
        network = make_field(settings, torch.zeros(settings.n_channels, 2))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise NerfkitError(f"is damaged ({error})", where=path, fix="run nerfkit superres again") from error
    if not run.checkpoints.steps():
        raise NerfkitError(
            "this run was interrupted before it had a network, its picture is all there is", where=run.folder,
            fix="run nerfkit superres again",
        )  # fmt: skip
    state = run.checkpoints.load_newest()
    try:
        network.load_state_dict(state["task"]["field"])
    except (RuntimeError, KeyError) as error:
        raise NerfkitError(
            "its weights do not fit the settings in its config.yml", where=run.folder,
            fix="put the config.yml back, or run nerfkit superres again",
        ) from error  # fmt: skip
    return network, settings


def render_superres(
    run: Run, size: tuple[int, int] | None, crop: tuple[int, int, int, int] | None, output: Path, device: str = "cpu"
) -> dict[str, Any]:
    """Write a picture of a run at any size.

    Parameters
    ----------
    run : Run
        The run folder.
    size : (int, int), optional
        Width and height of the whole image in pixels; None: the run's own.
    crop : (x, y, width, height), optional
        A part of it, in its pixels.
    output : Path
        A PNG or a TIFF, written in the frames' depth.
    device : str
        Where to compute.

    Returns
    -------
    result : dict
        ``output``, ``frames`` (1), ``size``, ``crop`` and ``seconds``.
    """
    from .light import Light
    from .picture_files import PICTURE_SUFFIXES, picture_bytes
    from .rendering import render_image

    started = time.perf_counter()
    if output.suffix.lower() not in PICTURE_SUFFIXES:
        raise NerfkitError(
            f"a super-resolved image is written as PNG or TIFF, not as {output.suffix or 'a file without suffix'}",
            where=output, fix="end its name in .png or .tif",
        )  # fmt: skip
    network, settings = load_superres(run)
    width, height = size or settings.output_size
    if crop is not None:
        x, y, w, h = crop
        if w < 1 or h < 1 or x < 0 or y < 0 or x + w > width or y + h > height:
            raise NerfkitError(
                f"the part {x},{y},{w},{h} is not within the image of {width}x{height} pixels", where="--crop",
                fix="x,y,w,h in pixels of the whole image at its --size",
            )  # fmt: skip
    light, cells = Light(settings.transfer, settings.n_channels), plan_grids(settings.scale, settings.frame_size).fit
    image = render_image(network.to(device), light, (width, height), cells, crop)
    profile = run.folder / PROFILE_FILE
    icc_profile = profile.read_bytes() if profile.is_file() else None
    write_atomically(output, picture_bytes(image, output.suffix.lower(), settings.bit_depth, icc_profile))
    shown = crop[2:] if crop else (width, height)
    return {
        "output": str(output),
        "frames": 1,
        "size": list(shown),
        "crop": crop and list(crop),
        "seconds": round(time.perf_counter() - started, 3),
    }
