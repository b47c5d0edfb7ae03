"""A field whose values are those of another, scaled and shifted: networks give about -1 to 1, data what they are."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nerfkit.scenes.fields.image_field import Lattice
from nerfkit.scenes.fields.taylor import Taylor

__all__ = ["Scaled"]


class Scaled(nn.Module):
    """``middle + span * field``.

    Parameters
    ----------
    field : Field
        Gives values of about -1 to 1.
    bounds : Tensor, shape (c, 2)
        What -1 and 1 become, for each output. Values beyond them are possible.

    Examples
    --------
    >>> import torch
    >>> from nerfkit.scenes.fields.plain_grid import PlainGrid
    >>> heights = Scaled(PlainGrid((2, 2), 1, [(0, 1), (0, 1)]), torch.tensor([[100.0, 300.0]]))
    >>> heights(torch.tensor([[0.5, 0.5]])).item()
    200.0
    """

    def __init__(self, field: Any, bounds: Tensor) -> None:
        super().__init__()
        if bounds.shape != (field.n_outputs, 2) or not bool((bounds[:, 0] < bounds[:, 1]).all()):
            raise ValueError(f"bounds must be [{field.n_outputs}, 2], least before greatest; got {bounds.tolist()}")
        self.field, self.n_dims, self.n_outputs = field, field.n_dims, field.n_outputs
        self.middle: Tensor
        self.span: Tensor
        self.register_buffer("middle", bounds.mean(-1).float())
        self.register_buffer("span", (bounds[:, 1] - bounds[:, 0]).float() / 2)

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., c] at ``coords`` [..., d]."""
        return self.middle + self.span * self.field(coords)

    def taylor(self, coords: Tensor, order: int | str) -> Taylor | None:
        """As :meth:`nerfkit.scenes.fields.coordinate.CoordinateField.taylor`."""
        inner = getattr(self.field, "taylor", lambda coords, order: None)(coords, order)
        return None if inner is None else self._scaled(inner)

    def lattice_taylor(self, lattice: Lattice, order: int | str) -> Taylor:
        """As :meth:`nerfkit.scenes.fields.tiled_siren.TiledSiren.lattice_taylor`."""
        return self._scaled(self.field.lattice_taylor(lattice, order))

    def _scaled(self, inner: Taylor) -> Taylor:
        second = None if inner.second is None else self.span * inner.second
        return Taylor(self.middle + self.span * inner.value, self.span * inner.first, second)

    @property
    def has_lattice(self) -> bool:
        """Whether a lattice of points is evaluated faster than a list of them."""
        return hasattr(self.field, "lattice")

    @property
    def has_lattice_taylor(self) -> bool:
        """Whether derivatives at a lattice of points travel forward faster than at a list of them."""
        return hasattr(self.field, "lattice_taylor")

    def lattice(self, ys: Tensor, xs: Tensor) -> Lattice:
        """See :class:`nerfkit.scenes.fields.image_field.ImageField`."""
        return self.field.lattice(ys, xs)

    def evaluate_lattice(self, lattice: Lattice) -> Tensor:
        """See :class:`nerfkit.scenes.fields.image_field.ImageField`."""
        return self.middle[:, None, None] + self.span[:, None, None] * self.field.evaluate_lattice(lattice)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The inner field's."""
        return self.field.parameter_groups(learning_rate)
