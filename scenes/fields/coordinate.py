"""A field of an encoding and a network: an image, a volume, a signed distance, a displacement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nerfkit.scenes.fields.encodings import Encoding
from nerfkit.scenes.fields.gabor import GaborNetwork
from nerfkit.scenes.fields.networks import FullyConnected, encoded_groups
from nerfkit.scenes.fields.taylor import Taylor, coordinates

__all__ = ["CoordinateField", "in_range", "taylor_in_range"]

# factor before the logistic function that keeps values in their range: 4 gives it slope 1 at the middle
SQUASH = 4.0


def in_range(values: Tensor, bounds: Tensor) -> Tensor:
    """``values`` [..., c] brought between the ends ``bounds`` [c, 2] by a logistic function."""
    low, high = bounds[:, 0], bounds[:, 1]
    return low + (high - low) * torch.sigmoid(SQUASH * values)


def taylor_in_range(values: Taylor, bounds: Tensor) -> Taylor:
    """As :func:`in_range`, with derivatives."""
    span = bounds[:, 1] - bounds[:, 0]
    part = torch.sigmoid(SQUASH * values.value)
    slope = SQUASH * part * (1 - part)
    curvature = None if values.second is None else span * SQUASH * slope * (1 - 2 * part)
    return values.through((bounds[:, 0] + span * part, span * slope, curvature))


class CoordinateField(nn.Module):
    """Encoding, then network; see :class:`nerfkit.scenes.fields.field.Field`.

    Parameters
    ----------
    encoding : Encoding
        Features of points of the unit cube.
    network : FullyConnected or GaborNetwork
        From the features to the values.
    box : sequence of (float, float), length d
        Least and greatest coordinate along each axis, in the data's unit: it becomes the unit cube. A network is good
        for points beyond it only as far as its encoding is: a hash grid goes on as it is at the border.
    bounds : Tensor, shape (c, 2), optional
        Least and greatest value of each output; None: values are what the network gives.

    Examples
    --------
    >>> from nerfkit.scenes.fields.encodings import make_encoding
    >>> generator = torch.Generator().manual_seed(0)
    >>> encoding = make_encoding("gaussian", 2, generator, {"n_frequencies": 32})
    >>> network = FullyConnected([encoding.n_outputs, 64, 64, 3], generator)
    >>> image = CoordinateField(encoding, network, [(0, 640), (0, 480)], torch.tensor([[0.0, 1.0]]).expand(3, 2))
    >>> image(torch.tensor([[320.5, 240.5]])).shape
    torch.Size([1, 3])
    """

    def __init__(
        self, encoding: Encoding, network: FullyConnected | GaborNetwork, box: Sequence[tuple[float, float]],
        bounds: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(box) != encoding.n_dims or not all(low < high for low, high in box):
            raise ValueError(f"box must have {encoding.n_dims} pairs (least, greatest) of coordinates; got {list(box)}")
        if network.n_inputs != encoding.n_outputs:
            raise ValueError(
                f"the network must take the {encoding.n_outputs} features of the encoding; it takes {network.n_inputs}"
            )
        if bounds is not None and bounds.shape != (network.n_outputs, 2):
            raise ValueError(f"bounds must be [{network.n_outputs}, 2], a pair an output; got {list(bounds.shape)}")
        self.encoding, self.network = encoding, network
        self.n_dims, self.n_outputs = encoding.n_dims, network.n_outputs
        self.box: Tensor
        # exact, wherever the origin is
        self.register_buffer("box", torch.tensor(box, dtype=torch.float64))
        self.bounds: Tensor | None
        self.register_buffer("bounds", None if bounds is None else bounds.float())

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., n_outputs] at ``coords`` [..., n_dims]; float64 if these are, else float32."""
        if coords.shape[-1:] != (self.n_dims,):
            raise ValueError(f"coords must have shape (..., {self.n_dims}); got {tuple(coords.shape)}")
        unit = self.to_unit(coords).to(torch.promote_types(coords.dtype, torch.float32))
        values = self.network(self.encoding(unit.reshape(-1, self.n_dims)))
        values = values.reshape(*coords.shape[:-1], self.n_outputs)
        return values if self.bounds is None else in_range(values, self.bounds)

    def to_unit(self, coords: Tensor) -> Tensor:
        """``coords`` [..., n_dims] in the unit cube, float64: they may be large beside the box."""
        low, high = self.box.unbind(-1)
        return (coords - low) / (high - low)

    def taylor(self, coords: Tensor, order: int | str) -> Taylor | None:
        """Values and derivatives by the coordinates at ``coords`` [n, n_dims], forward through all layers.

        ``order`` is 1, 2 or "laplacian"; None comes back where the encoding or the network has no such way.
        """
        encode, evaluate = (getattr(part, "taylor", None) for part in (self.encoding, self.network))
        if encode is None or evaluate is None:
            return None
        unit = self.to_unit(coords).to(torch.promote_types(coords.dtype, torch.float32))
        low, high = self.box.unbind(-1)
        found: Taylor = evaluate(encode(coordinates(unit, 1 / (high - low), order)))
        return found if self.bounds is None else taylor_in_range(found, self.bounds)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """What the encoding trains, and the network."""
        return encoded_groups(self.encoding, [self.network], learning_rate)
