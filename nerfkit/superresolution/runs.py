"""The run folder of a super-resolution: what it starts from, and back from it to settings and networks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nerfkit.files import npy_bytes, write_atomically
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.json_text import parse_json
from nerfkit.scenes.readers.picture_size import check_pixels

from .settings import SuperresSettings, plan_grids

if TYPE_CHECKING:
    from torch import Tensor

    from nerfkit.runs import Run
    from nerfkit.scenes.fields.grid import GridField
    from nerfkit.scenes.fields.siren import Siren
    from nerfkit.scenes.fields.tiled_siren import TiledSiren

    from .inputs import Source

__all__ = [
    "BEGUN_FOLDER", "field_of_grid", "load_field", "make_field", "read_settings", "save_grid", "write_inputs",
]  # fmt: skip

# what a checkpoint that holds no networks says of itself
GRID = "grid"
# in the run folder: size and depth of the frames, the PSF that a file gave
FRAMES_FILE, PSF_FILE = "frames.json", "psf.npy"
# there until the run is done: what it began with, and what it has found
BEGUN_FOLDER = "begun"


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


def write_inputs(run: Run, source: Source, device: str) -> None:
    """Write what the run starts from: config.yml, frames.json (what followed from the frames), psf.npy."""
    config, settings = source.config, source.settings
    if source.psf_picture is not None:
        write_atomically(run.folder / PSF_FILE, npy_bytes(source.psf_picture))
        config = replace(config, psf=PSF_FILE)
    run.write_config(config, data=source.path, device=device, **source.inputs)
    facts = {
        "size": settings.frame_size, "n_channels": settings.n_channels, "bit_depth": settings.bit_depth,
        "value_range": settings.value_range,
    }  # fmt: skip
    run.write_json(FRAMES_FILE, facts)


def read_settings(run: Run) -> SuperresSettings:
    """The settings of a run and what followed from its frames.

    Raises
    ------
    NerfkitError
        The folder is no run, another task's, or damaged.
    """
    config, path = run.read_config("superres").config, run.folder / FRAMES_FILE
    try:
        facts = parse_json(path.read_text(encoding="utf-8"))
        width, height = facts["size"]
        low, high = facts["value_range"]
        check_pixels(width, height, path, "run nerfkit superres again")
        return SuperresSettings.for_frames(
            config, size=(width, height), n_channels=facts["n_channels"], bit_depth=facts["bit_depth"],
            value_range=(low, high),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise NerfkitError(f"is damaged ({error})", where=path, fix="run nerfkit superres again") from error


def field_of_grid(image: Tensor, settings: SuperresSettings) -> GridField:
    """The solved image [n_channels, rows, cols] as a field."""
    from nerfkit.scenes.fields.grid import Grid, GridField

    width, height = settings.frame_size
    return GridField(image.detach().cpu().contiguous(), Grid(height, width, image.shape[1] // height))


def save_grid(run: Run, field: GridField) -> None:
    """Let the run hold the solved image itself, in the place of networks."""
    newest = max(run.checkpoints.steps(), default=0)
    run.checkpoints.save(newest + 1, {"kind": GRID, "task": {"field": field.state_dict()}})


def load_field(run: Run) -> Siren | TiledSiren | GridField:
    """What a run holds: its networks, or the solved image where these were not fitted, or not well enough.

    Raises
    ------
    NerfkitError
        The folder is damaged, or the run was killed before it had an image.
    """
    import torch

    settings = read_settings(run)
    if not run.checkpoints.steps():
        raise NerfkitError(
            "this run was killed before it had an image", where=run.folder,
            fix="run nerfkit superres again",
        )  # fmt: skip
    state = run.checkpoints.load_newest()
    try:
        if state.get("kind") == GRID:
            return field_of_grid(state["task"]["field"]["values"], settings)
        network = make_field(settings, torch.zeros(settings.n_channels, 2))
        network.load_state_dict(state["task"]["field"])
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise NerfkitError(
            "its weights do not fit the settings in its config.yml", where=run.folder,
            fix="put the config.yml back, or run nerfkit superres again",
        ) from error  # fmt: skip
    return network
