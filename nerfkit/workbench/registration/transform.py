"""Where in the moving image each pixel of the fixed one looks: a rigid or affine map, and a displacement on top of it.

y = c + A (x - c) + t + u(x) in the common space, c the middle of the fixed image. What the fit changes are numbers in
the unit of that space, so that one learning rate suits them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nerfkit.scenes.fields.coordinate import CoordinateField
from nerfkit.scenes.fields.encodings.identity import IdentityEncoding
from nerfkit.scenes.fields.networks import FullyConnected
from nerfkit.scenes.fields.splines import SplinePyramid

from .images import Spatial

__all__ = ["LinearMap", "Pixels", "SineDisplacement", "Transform", "jacobian_determinant", "make_displacement"]

# layers, width and frequency of a sine network; what its values are multiplied by, in finest pixels
SINE_LAYERS, SINE_WIDTH, SINE_SCALE, SINE_REACH = 2, 64, 10.0, 100.0
# points whose displacement is computed at once where no gradient is asked for
CHUNK = 2**16


class LinearMap(nn.Module):
    """A rigid or affine map about a middle.

    Parameters
    ----------
    middle : ndarray, shape (d,)
        Point that only the translation moves.
    radius : float
        Length at which a matrix entry of 1 / radius moves a point by one unit.
    is_rigid : bool
        Whether it turns and shifts only.
    """

    def __init__(self, middle: NDArray[np.float64], radius: float, *, is_rigid: bool) -> None:
        super().__init__()
        d = len(middle)
        self.is_rigid, self.radius = is_rigid, radius
        self.middle: Tensor
        self.register_buffer("middle", torch.as_tensor(middle, dtype=torch.float64))
        self.translation = nn.Parameter(torch.zeros(d, dtype=torch.float64))
        self.turns = nn.Parameter(torch.zeros(d * (d - 1) // 2 if is_rigid else d * d, dtype=torch.float64))

    def matrix(self) -> Tensor:
        """Homogeneous [d + 1, d + 1], float64."""
        d = len(self.middle)
        entries = self.turns / self.radius
        if self.is_rigid:
            upper = torch.triu_indices(d, d, 1)
            skew = torch.zeros(d, d, dtype=torch.float64).index_put((upper[0], upper[1]), entries)
            linear = torch.linalg.matrix_exp(skew - skew.T)
        else:
            linear = torch.eye(d, dtype=torch.float64) + entries.view(d, d)
        offset = self.middle + self.translation - linear @ self.middle
        last = torch.eye(d + 1, dtype=torch.float64)[d:]
        return torch.cat([torch.cat([linear, offset[:, None]], 1), last])

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Both kinds of numbers at one rate: each moves a border pixel by about as much."""
        return [{"params": [self.translation, self.turns], "lr": learning_rate}]


class SineDisplacement(nn.Module):
    """A displacement in a sine network (SIREN) of the point, small at its start."""

    def __init__(self, size: Sequence[float], unit: float, generator: torch.Generator) -> None:
        super().__init__()
        self.n_dims = self.n_outputs = len(size)
        self.reach = SINE_REACH * unit
        sizes = [self.n_dims, *[SINE_WIDTH] * SINE_LAYERS, self.n_dims]
        network = FullyConnected(sizes, generator, activation="sine", scale=SINE_SCALE)
        self.field = CoordinateField(IdentityEncoding(self.n_dims), network, [(0.0, float(side)) for side in size])
        with torch.no_grad():
            # a displacement of a pixel at most before anything is fitted
            for parameter in (network.weights[-1], network.biases[-1]):
                parameter.mul_(0.01)

    def forward(self, coords: Tensor) -> Tensor:
        """Values [..., d] at ``coords`` [..., d]."""
        return self.reach * self.field(coords)

    def lattice(self, axes: Sequence[Tensor]) -> Tensor:
        """The crossings [(n_z,) n_y, n_x, d] of places along x, y(, z)."""
        return torch.stack(torch.meshgrid(*reversed(axes), indexing="ij")[::-1], -1)

    def evaluate_lattice(self, lattice: Tensor) -> Tensor:
        """Values [d, (n_z,) n_y, n_x] at all crossings."""
        flat = lattice.reshape(-1, self.n_dims)
        parts = [flat] if torch.is_grad_enabled() else flat.split(CHUNK)
        found = torch.cat([self(part) for part in parts])
        return found.T.reshape(self.n_dims, *lattice.shape[:-1])

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """The network's, whose values are in units of its reach."""
        return self.field.parameter_groups(learning_rate / self.reach)


def make_displacement(name: str, fixed: Spatial, spacing: float, seed: int) -> SplinePyramid | SineDisplacement:
    """The field ``grid`` or ``siren`` over the fixed image; ``spacing`` of the grid's nodes in its finest pixels."""
    size = (np.array(fixed.size) * fixed.spacing).tolist()
    unit = float(fixed.spacing.min())
    if name == "siren":
        return SineDisplacement(size, unit, torch.Generator().manual_seed(seed))
    return SplinePyramid(size, spacing * unit)


class Pixels(NamedTuple):
    """Pixels of the fixed image on a lattice."""

    # index coordinates along x, y(, z)
    axes: list[Tensor]
    # what the displacement's field made of them
    lattice: Any = None


class Transform(nn.Module):
    """The map of the fixed image's pixels, in parts.

    Parameters
    ----------
    fixed : Spatial
        Its affine gives pixels their places.
    linear : LinearMap
        Applied to those places.
    displacement : SplinePyramid or SineDisplacement, optional
        Added, in the axes of the common space.
    """

    def __init__(self, fixed: Spatial, linear: LinearMap, displacement: Any = None) -> None:
        super().__init__()
        self.linear, self.displacement = linear, displacement
        self.to_space = torch.from_numpy(fixed.affine)
        self.spacing = [float(step) for step in fixed.spacing]

    def pixels(self, axes: Sequence[Tensor]) -> Pixels:
        """Pixels at the crossings of index coordinates of the fixed image along x, y(, z), ready for many calls."""
        if self.displacement is None:
            return Pixels(list(axes))
        lengths = [(at + 0.5) * step for at, step in zip(axes, self.spacing, strict=True)]
        return Pixels(list(axes), self.displacement.lattice(lengths))

    def moves(self, pixels: Pixels) -> Tensor:
        """The displacement alone [d, ..], in the common space."""
        assert self.displacement is not None
        return self.displacement.evaluate_lattice(pixels.lattice)

    def places(self, pixels: Pixels, to_moving: NDArray[np.floating]) -> Tensor:
        """Index coordinates [.., d] of a moving image, float32; ``to_moving`` takes the common space to them."""
        into = torch.from_numpy(to_moving)
        whole = (into @ self.linear.matrix() @ self.to_space).float()
        d = len(pixels.axes)
        found = whole[:d, d].view(d, *[1] * d)
        for axis, at in enumerate(pixels.axes):
            along = [len(at) if d - 1 - axis == place else 1 for place in range(d)]
            found = found + (whole[:d, axis, None] * at).view(d, *along)
        if self.displacement is not None:
            moves = self.moves(pixels)
            found = found + (into[:d, :d].float() @ moves.flatten(1)).view(moves.shape)
        return found.movedim(0, -1)


def jacobian_determinant(places: Tensor, steps: Sequence[float]) -> Tensor:
    """det J of a map at the middles of cells, from its values [.., d] at pixels ``steps`` (x, y(, z)) apart.

    Forward differences, averaged over the pixels along the other axes; along an axis of one pixel the map is taken
    to be straight.
    """
    d = places.shape[-1]
    columns = []
    for axis in range(d):
        change = places
        for other in range(d):
            # arrays have x last
            at = d - 1 - other
            if change.shape[at] < 2:
                change = torch.zeros_like(change) if other == axis else change
            elif other == axis:
                change = change.diff(dim=at) / steps[axis]
            else:
                change = (change.narrow(at, 1, change.shape[at] - 1) + change.narrow(at, 0, change.shape[at] - 1)) / 2
        columns.append(change)
    matrix = torch.stack(columns, -1)
    flat = [axis for axis in range(d) if places.shape[d - 1 - axis] < 2]
    for axis in flat:
        matrix[..., axis, axis] = 1
    if d == 2:
        return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]
    return (matrix[..., 0] * torch.linalg.cross(matrix[..., 1], matrix[..., 2])).sum(-1)
