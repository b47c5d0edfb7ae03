"""Fields of the plane by name, made as large as a number of parameters allows: what comparisons choose from.

A :class:`Recipe` says how a field of a size is made and what it is trained with. Listing the names loads no torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["FIELD_NAMES", "RECIPES", "Recipe", "count_parameters", "make_named_field", "widest"]

Box = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Recipe:
    """How a named field is made.

    Parameters
    ----------
    what : str
        In a line, for a person.
    make : callable
        From (box, n_outputs, n_params, knob, generator, options) to the field.
    learning_rate : float
        Adam's peak rate.
    knob : str
        Name of the one setting that decides how fine the detail is that it starts with; empty where it has none.
    default : float
        Its value where nothing chooses, and where a search begins.
    batch : int
        Points a step.
    """

    what: str
    make: Callable[[Box, int, int, float, torch.Generator, dict[str, Any]], nn.Module]
    learning_rate: float
    knob: str = ""
    default: float = 0.0
    batch: int = 2**14


def count_parameters(field: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in field.parameters())


def make_named_field(
    name: str, box: Box, n_outputs: int, n_params: int, generator: torch.Generator, *, knob: float | None = None,
    **options: Any,
) -> nn.Module:  # fmt: skip
    """The field of that name with at most ``n_params`` parameters, as near to it as its shape allows.

    Parameters
    ----------
    name : str
        One of ``FIELD_NAMES``.
    box : sequence of (float, float)
        Least and greatest x and y, in the data's unit; the longer side becomes [0, 1].
    n_outputs, n_params : int
        Values a point, parameters at most.
    generator : torch.Generator
        Source of the initial weights, on the CPU.
    knob : float, optional
        The recipe's knob (sigma in cycles per longer side, or scale); None: its default.
    **options
        ``n_layers`` of its network, ``max_resolution`` of a hash grid (cells along the longer side).

    Examples
    --------
    >>> import torch
    >>> field = make_named_field("siren", [(0, 64), (0, 48)], 3, 20_000, torch.Generator().manual_seed(0))
    >>> field(torch.rand(5, 2) * 48).shape, count_parameters(field)
    (torch.Size([5, 3]), 19995)
    """
    if name not in RECIPES:
        raise ValueError(f"unknown field {name!r}; there are {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    return recipe.make(box, n_outputs, n_params, recipe.default if knob is None else knob, generator, options)


def _square(box: Box) -> list[tuple[float, float]]:
    """The square box of the longer side, round the same middle: a frequency is the same along x and y."""
    half = max(high - low for low, high in box) / 2
    return [((low + high) / 2 - half, (low + high) / 2 + half) for low, high in box]


def widest(
    sizes: Callable[[int], Sequence[int]], n_params: int, *, per_weight: int = 1, has_first_bias: bool = True
) -> list[int]:  # fmt: skip
    """Sizes of the widest fully connected network with at most ``n_params`` parameters.

    ``sizes`` gives a network's sizes for its width; a weight behind the first layer has ``per_weight`` numbers.
    """

    def count(width: int) -> int:
        found = list(sizes(width))
        layers = [n_in * n_out + n_out for n_in, n_out in itertools.pairwise(found)]
        return layers[0] - (0 if has_first_bias else found[1]) + per_weight * sum(layers[1:])

    low, high = 1, 2
    while count(high) <= n_params:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= n_params else (low, middle)
    return list(sizes(low))


def _network_field(
    activation: str, encoding: str
) -> Callable[[Box, int, int, float, torch.Generator, dict[str, Any]], nn.Module]:  # fmt: skip
    """Maker of a network behind an encoding that trains nothing; its knob is sigma with features, else the scale."""

    def make(
        box: Box, n_outputs: int, n_params: int, knob: float, generator: torch.Generator, options: dict[str, Any]
    ) -> nn.Module:
        from nerfkit.scenes.fields.coordinate import CoordinateField
        from nerfkit.scenes.fields.encodings import make_encoding
        from nerfkit.scenes.fields.networks import FullyConnected

        has_features = encoding == "gaussian"
        n_layers = options.get("n_layers", 3)
        settings = {"n_frequencies": options.get("n_frequencies", 128), "sigma": knob, "has_coords": False}
        encoded = make_encoding(encoding, len(box), generator, settings)
        has_bias = options.get("has_first_bias", True)
        sizes = widest(
            lambda width: [encoded.n_outputs, *[width] * n_layers, n_outputs], n_params, has_first_bias=has_bias
        )
        scale = 1.0 if has_features or not knob else knob
        network = FullyConnected(sizes, generator, activation=activation, scale=scale, has_first_bias=has_bias)
        return CoordinateField(encoded, network, _square(box))

    return make


def _pretrained(
    box: Box, n_outputs: int, n_params: int, knob: float, generator: torch.Generator, options: dict[str, Any]
) -> nn.Module:
    """Half of the layers learn a periodic embedding before anything else; see ``nerfkit.workbench.pretraining``."""
    from nerfkit.scenes.fields.coordinate import CoordinateField
    from nerfkit.scenes.fields.encodings.learned import LearnedEncoding
    from nerfkit.scenes.fields.networks import FullyConnected

    n_features = 2 * options.get("n_frequencies", 64)
    sizes = widest(lambda width: [len(box), width, width, n_features, width, n_outputs], n_params)
    encoding = LearnedEncoding(len(box), generator, n_features=n_features, width=sizes[1], n_layers=2)
    network = FullyConnected(sizes[3:], generator)
    return CoordinateField(encoding, network, _square(box))


def _hash(
    activation: str,
) -> Callable[[Box, int, int, float, torch.Generator, dict[str, Any]], nn.Module]:
    def make(
        box: Box, n_outputs: int, n_params: int, knob: float, generator: torch.Generator, options: dict[str, Any]
    ) -> nn.Module:
        from nerfkit.scenes.fields.coordinate import CoordinateField
        from nerfkit.scenes.fields.encodings import make_encoding
        from nerfkit.scenes.fields.networks import FullyConnected

        longer = max(high - low for low, high in box)
        sizes: dict[str, Any] = hash_sizes(n_params, n_outputs, options.get("max_resolution") or max(32, round(longer)))
        # a shape that is given in full goes before what the number of parameters suggests
        sizes |= options
        sizes.pop("is_spread", None)
        encoding = make_encoding("hash", len(box), generator, sizes)
        network = FullyConnected(
            [encoding.n_outputs, *[sizes["width"]] * sizes.get("n_layers", 2), n_outputs], generator,
            activation=activation, scale=1.0, is_spread=options.get("is_spread", False),
        )  # fmt: skip
        return CoordinateField(encoding, network, _square(box))

    return make


def hash_sizes(n_params: int, n_outputs: int, max_resolution: int) -> dict[str, int]:
    """Levels, table and width of a hash grid and its network, as near below ``n_params`` as there are.

    The table takes most: a look-up costs the same whatever its size. Two features a level, two layers, as the paper's;
    but at most 32 wide, not 64: half the price of a step, and held-out pixels are predicted as well or better.
    """
    from nerfkit.kernels.hashgrid import HashGridSpec

    best, found = -1, {"n_levels": 2, "log2_table_size": 8, "width": 8}
    for n_levels in range(2, 17):
        for log2_size in range(6, 23):
            base = min(16, max_resolution)
            entries = HashGridSpec.geometric(n_levels, base, max_resolution, log2_size, 2, 2).n_entries
            for width in (8, 16, 32):
                weights = (2 * n_levels + 1) * width + (width + 1) * width + (width + 1) * n_outputs
                count = 2 * entries + weights
                # beyond half of all, the network takes what the table needs
                if best < count <= n_params and 2 * weights <= n_params:
                    best, found = count, {"n_levels": n_levels, "log2_table_size": log2_size, "width": width}
    return found | {"n_features": 2, "base_resolution": min(16, max_resolution), "max_resolution": max_resolution}


def _gabor(
    box: Box, n_outputs: int, n_params: int, knob: float, generator: torch.Generator, options: dict[str, Any]
) -> nn.Module:
    from nerfkit.scenes.fields.coordinate import CoordinateField
    from nerfkit.scenes.fields.encodings.identity import IdentityEncoding
    from nerfkit.scenes.fields.gabor import GaborNetwork

    n_layers = options.get("n_layers", 3)
    sizes = widest(lambda width: [len(box), *[width] * n_layers, n_outputs], n_params, per_weight=2)
    return CoordinateField(IdentityEncoding(len(box)), GaborNetwork(sizes, generator, scale=knob), _square(box))


def _grid(
    box: Box, n_outputs: int, n_params: int, knob: float, generator: torch.Generator, options: dict[str, Any]
) -> nn.Module:
    from nerfkit.scenes.fields.plain_grid import PlainGrid

    return PlainGrid.of_size(n_params, n_outputs, box, start=0.0)


def _tiled(
    box: Box, n_outputs: int, n_params: int, knob: float, generator: torch.Generator, options: dict[str, Any]
) -> nn.Module:
    """Small sine networks of two layers side by side; their number gives them a width near 32."""
    import torch

    from nerfkit.scenes.fields.siren import SirenConfig
    from nerfkit.scenes.fields.tiled_siren import TiledSiren

    width_px, height_px = (high - low for low, high in box)

    def count(stride: float, width: int) -> int:
        tiles = math.ceil(width_px / stride - 1e-9) * math.ceil(height_px / stride - 1e-9)
        return tiles * (3 * width + (width + 1) * width + (width + 1) * n_outputs)

    width = options.get("width", 32)
    while width > 1 and count(max(width_px, height_px), width) > n_params:
        width -= 1
    # the smallest squares that the number allows
    stride = max(width_px, height_px)
    for n_tiles in range(1, 1 + max(1, int(max(width_px, height_px)))):
        if count(max(width_px, height_px) / n_tiles, width) <= n_params:
            stride = max(width_px, height_px) / n_tiles
    config = SirenConfig(width=width, n_layers=2, omega=knob, tile=stride * 1.2, stride=stride)
    bounds = options.get("bounds")
    bounds = torch.tensor([[-1.0, 1.0]]).expand(n_outputs, 2) if bounds is None else bounds
    return TiledSiren(config, (width_px, height_px), bounds.contiguous(), generator)


# learning rates: measured on photographs, scripts/bench_workbench.py; the widths of a network decide most
RECIPES = {
    "tiled": Recipe("many small sine networks side by side", _tiled, 8e-3, "scale", 15.0, 2**17),
    "hash": Recipe("multiresolution hash grid and a ReLU network", _hash("relu"), 4e-2),
    "exp-hash": Recipe("hash grid and a Gaussian network", _hash("gaussian"), 4e-2),
    "siren": Recipe("sine network (SIREN)", _network_field("sine", "identity"), 5e-4, "scale", 30.0, 2**13),
    "finer": Recipe(
        "sine of growing frequency (FINER)", _network_field("finer", "identity"), 5e-4, "scale", 30.0, 2**13
    ),
    "wire": Recipe("complex Gabor wavelets", _gabor, 2e-3, "scale", 10.0, 2**13),
    "gauss": Recipe(
        "Gaussian network of the point", _network_field("gaussian", "identity"), 1e-3, "scale", 10.0, 2**13,
    ),
    "fourier": Recipe(
        "Fourier features and a ReLU network", _network_field("relu", "gaussian"), 2e-3, "sigma", 8.0, 2**13
    ),
    "exp-fourier": Recipe(
        "Fourier features and a Gaussian network", _network_field("gaussian", "gaussian"), 2e-3, "sigma", 8.0, 2**13,
    ),
    "relu": Recipe("ReLU network of the point, the baseline", _network_field("relu", "identity"), 2e-3, batch=2**13),
    "relu-pretrained": Recipe(
        "ReLU network that has learned a periodic embedding first", _pretrained, 8e-3, "sigma", 8.0, 2**13
    ),
    "grid": Recipe("values on a grid, cubic between them, no network", _grid, 1e-1, batch=2**16),
}  # fmt: skip
FIELD_NAMES = tuple(RECIPES)
