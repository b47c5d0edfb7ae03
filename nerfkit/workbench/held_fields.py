"""Fields of run folders: how one was made, saved beside its weights, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.runs import Run
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields.coordinate import CoordinateField
from nerfkit.scenes.fields.encodings.identity import IdentityEncoding
from nerfkit.scenes.fields.named import RECIPES, make_named_field, widest
from nerfkit.scenes.fields.networks import FullyConnected
from nerfkit.scenes.fields.plain_grid import PlainGrid
from nerfkit.scenes.fields.scaled import Scaled
from nerfkit.solvers.frequencies import make_sine_layer
from nerfkit.workbench.pretraining import teach_embedding
from nerfkit.workbench.waves.held import WAVES, make_waves

__all__ = [
    "ATTENUATION",
    "MOST_UNASKED",
    "HeldField",
    "held_state",
    "load_held_field",
    "make_held_equation_field",
    "make_held_field",
    "make_held_sines",
    "picture_field",
]

# weights that a recipe may ask for whatever its file holds: 64 MB
MOST_UNASKED = 2**24
# names in a recipe of the solution of an equation by a network or by fixed sines, and of a slice of a tomograph
EQUATION, SINES, ATTENUATION = "equation", "sines", "attenuation"


@dataclass
class HeldField:
    """A field and what makes another like it.

    Parameters
    ----------
    field : Scaled or Positive
        Of the plane, in pixels of the picture: [0, width] x [0, height].
    recipe : dict
        Plain values: ``name``, ``size`` (width, height of its extent), and what its kind is made of.
    """

    field: Any
    recipe: dict[str, Any]

    def go_on_from(self, other: HeldField | None) -> None:
        """Begin with the weights of another of the same recipe, so that a fit that is cut short loses nothing."""
        if other is not None:
            self.field.load_state_dict(other.field.state_dict())

    def save(self, run: Run) -> None:
        """Keep it in the run folder."""
        CheckpointFolder(run.folder / "field").save(1, {"recipe": self.recipe, "field": self.field.state_dict()})


def make_held_field(
    name: str, size: tuple[int, int], bounds: list[list[float]], n_params: int, *, seed: int,
    knob: float | None = None, device: str = "cpu", options: dict[str, Any] | None = None, is_prepared: bool = True,
) -> HeldField:  # fmt: skip
    """A field of that name with about ``n_params`` parameters at its start.

    Parameters
    ----------
    name : str
        One of ``FIELD_NAMES``.
    size : (int, int)
        Width and height of the picture in pixels.
    bounds : list of (least, greatest)
        Of the values of each channel.
    n_params, knob, options
        As :func:`nerfkit.scenes.fields.named.make_named_field` takes them.
    is_prepared : bool
        Whether a field that learns a periodic embedding first has done so.
    """
    generator = torch.Generator().manual_seed(seed)
    limits = torch.tensor(bounds, dtype=torch.float64)
    box = [(0.0, float(side)) for side in size]
    inner = make_named_field(name, box, len(limits), n_params, generator, knob=knob, **(options or {}))
    recipe = {
        "name": name, "size": list(size), "bounds": bounds, "n_params": n_params, "knob": knob, "options": options or {}
    }  # fmt: skip
    field = Scaled(inner, limits).to(device)
    if is_prepared:
        teach_embedding(field.field, RECIPES[name].default if knob is None else knob, seed)
    return HeldField(field, recipe)


def make_held_equation_field(
    sides: Sequence[tuple[float, float]], n_outputs: int, n_params: int, n_layers: int, scale: float, *, seed: int,
    device: str = "cpu",
) -> HeldField:  # fmt: skip
    """A sine network over a box of any unit, whose sides all become [-1, 1]: its values are those of a solution."""
    generator = torch.Generator().manual_seed(seed)
    sizes = widest(lambda width: [len(sides), *[width] * n_layers, n_outputs], n_params)
    network = FullyConnected(sizes, generator, activation="sine", scale=scale)
    field = CoordinateField(IdentityEncoding(len(sides)), network, sides)
    bounds = [[-1.0, 1.0]] * n_outputs
    recipe = {
        "name": EQUATION, "sides": [list(side) for side in sides], "bounds": bounds, "n_params": n_params,
        "n_layers": n_layers, "scale": scale, "size": [high - low for low, high in sides],
        "origin": [low for low, _ in sides],
    }  # fmt: skip
    return HeldField(Scaled(field, torch.tensor(bounds)).to(device), recipe)


def make_held_sines(
    sides: Sequence[tuple[float, float]], n_outputs: int, n_features: int, radii: Sequence[float], *, seed: int,
    device: str = "cpu",
) -> HeldField:  # fmt: skip
    """A layer of fixed sines over a box, as :func:`nerfkit.solvers.frequencies.make_sine_layer` makes it."""
    recipe = {
        "name": SINES, "sides": [list(side) for side in sides], "bounds": [[-1.0, 1.0]] * n_outputs,
        "n_features": n_features, "radii": list(radii), "size": [high - low for low, high in sides],
        "origin": [low for low, _ in sides],
    }  # fmt: skip
    return HeldField(make_sine_layer(sides, n_outputs, n_features, radii, seed=seed, device=device), recipe)


def picture_field(image: torch.Tensor, size: tuple[int, int] | None = None) -> HeldField:
    """The picture [h, w, c] itself as a field, cubic between its pixels, over ``size`` (width, height)."""
    height, width, n_channels = image.shape
    size = size or (width, height)
    grid = PlainGrid((height, width), n_channels, [(0.0, float(side)) for side in size])
    with torch.no_grad():
        grid.values.copy_(image.permute(2, 0, 1))
    bounds = torch.tensor([[-1.0, 1.0]]).expand(n_channels, 2)
    recipe = {"name": "picture", "size": list(size), "shape": [height, width], "bounds": bounds.tolist()}
    return HeldField(Scaled(grid, bounds), recipe)


@contextmanager
def held_state(run: Run) -> Iterator[dict[str, Any]]:
    """What a run keeps in its folder `field`, to be made into what it holds within the block.

    Raises
    ------
    NerfkitError
        The run has no result yet; or, from within the block, what was kept is not what is expected.
    """
    folder = CheckpointFolder(run.folder / "field")
    if not folder.steps():
        raise NerfkitError(
            "this run was stopped before it had a result", where=run.folder,
            fix=f"go on with it: nerfkit fit --resume {run.folder}",
        )  # fmt: skip
    state = folder.load_newest()
    try:
        yield state
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise NerfkitError(f"is damaged ({error})", where=folder.folder, fix="make the run again") from error


def _check_size(recipe: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Raise ValueError where a recipe asks for much more than the weights beside it hold, before that is made."""
    most = max(MOST_UNASKED, 4 * sum(tensor.numel() for tensor in weights.values()))
    asked = {name: int(recipe[name]) for name in ("n_params", "n_features", "n_layers") if name in recipe}
    asked["shape"] = math.prod(int(side) for side in recipe.get("shape", ()))
    for name, n in asked.items():
        if not 0 <= n <= most:
            raise ValueError(f"its recipe asks for {name} = {n:,}; at most {most:,} fits its weights")


def load_held_field(run: Run, device: str) -> HeldField:
    """What :meth:`HeldField.save` kept.

    Raises
    ------
    NerfkitError
        The run has no result yet, or is damaged.
    """
    with held_state(run) as state:
        recipe = state["recipe"]
        _check_size(recipe, state["field"])
        if recipe["name"] == "picture":
            height, width = recipe["shape"]
            held = picture_field(torch.zeros(height, width, len(recipe["bounds"])), tuple(recipe["size"]))
        elif recipe["name"] == ATTENUATION:
            from nerfkit.workbench.tomography.field import make_attenuation_field

            held = make_attenuation_field(recipe, seed=0)
        elif recipe["name"] == EQUATION:
            held = make_held_equation_field(
                recipe["sides"], len(recipe["bounds"]), recipe["n_params"], recipe["n_layers"], recipe["scale"], seed=0
            )
        elif recipe["name"] == WAVES:
            held = HeldField(make_waves(recipe), recipe)
        elif recipe["name"] == SINES:
            held = make_held_sines(
                recipe["sides"], len(recipe["bounds"]), recipe["n_features"], recipe["radii"], seed=0
            )
        else:
            held = make_held_field(
                recipe["name"], tuple(recipe["size"]), recipe["bounds"], recipe["n_params"], seed=0,
                knob=recipe["knob"], options=recipe["options"], is_prepared=False,
            )  # fmt: skip
        held.field.load_state_dict(state["field"])
    held.field.to(device)
    return HeldField(held.field, recipe)
