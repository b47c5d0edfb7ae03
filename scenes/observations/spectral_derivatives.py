"""Derivatives of a field on a whole grid of points, observed frequency by frequency: what Poisson's equation asks for.

A picture of h x w pixels covers [0, w] x [0, h] and is a series of products of cosines, cos(k x) cos(l y) with
k = pi i / w and l = pi j / h, whose slope is zero at the border. Its derivatives have the same series with sines and
factors k and l. A residual of the derivatives that is brought to these series and divided by the length of (k, l), or
by its square, is an error of the picture itself: every frequency counts alike, as when the values are compared.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.derivatives import grid_jet

__all__ = [
    "GradientSpectrum", "LaplacianSpectrum", "MovedGrids", "cosine_basis", "gradient_of_differences", "gradient_series",
    "picture_gradient", "picture_laplacian", "poisson_of_gradient", "poisson_of_laplacian",
]  # fmt: skip


def cosine_basis(n: int, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Orthonormal cosines and sines [n, n] (pixel, frequency) at the centres of n pixels that are moved by ``offset``.

    They are orthonormal where the offset is 0, but for the sine of frequency 0, which is 0.
    """
    phase = (torch.arange(n, dtype=torch.float64) + 0.5 + offset)[:, None] * (math.pi / n) * torch.arange(n)
    norm = torch.full((n,), math.sqrt(2 / n), dtype=torch.float64)
    norm[0] = math.sqrt(1 / n)
    return torch.cos(phase) * norm, torch.sin(phase) * norm


def _rates(shape: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Radians a pixel of each frequency down [h, 1] and across [1, w], and the sum of their squares, 1 at 0."""
    down, across = (math.pi / n * torch.arange(n, dtype=torch.float64) for n in shape)
    squares = down[:, None].square() + across.square()
    squares[0, 0] = 1.0
    return down[:, None], across[None], squares


def _transform(values: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Coefficients [c, h, w] of a grid of values [c, h, w] in bases [pixel, frequency]."""
    return down.T @ values @ across


def _inverse(coefficients: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Values of coefficients; the inverse of :func:`_transform`, and its transpose."""
    return down @ coefficients @ across.T


def picture_gradient(picture: Tensor) -> Tensor:
    """Derivatives [h, w, c, 2] by x and y, a pixel, of the cosine series through a picture [h, w, c]; float64."""
    values = picture.double().permute(2, 0, 1)
    (cy, sy), (cx, sx) = (cosine_basis(n) for n in values.shape[1:])
    down, across, _ = _rates((values.shape[1], values.shape[2]))
    found = _transform(values, cy, cx)
    parts = _inverse(-across * found, cy, sx), _inverse(-down * found, sy, cx)
    return torch.stack(parts, -1).permute(1, 2, 0, 3)


def picture_laplacian(picture: Tensor) -> Tensor:
    """Laplacian [h, w, c], a pixel squared, of the cosine series through a picture [h, w, c]; float64."""
    values = picture.double().permute(2, 0, 1)
    (cy, _), (cx, _) = (cosine_basis(n) for n in values.shape[1:])
    squares = _rates((values.shape[1], values.shape[2]))[2]
    found = _transform(values, cy, cx)
    found[:, 0, 0] = 0
    return _inverse(-squares * found, cy, cx).permute(1, 2, 0)


def poisson_of_gradient(gradient: Tensor) -> Tensor:
    """The picture [h, w, c] of mean 0 whose gradient is nearest to [h, w, c, 2] in the mean square; float64.

    Frequency by frequency: Poisson's equation with slopes zero at the border, solved exactly.
    """
    of_x, of_y = gradient_series(gradient)
    height, width = of_x.shape[1:]
    down, across, squares = _rates((height, width))
    found = -(across * of_x + down * of_y) / squares
    return _inverse(found, cosine_basis(height)[0], cosine_basis(width)[0]).permute(1, 2, 0)


def poisson_of_laplacian(laplacian: Tensor) -> Tensor:
    """The picture [h, w, c] of mean 0 and of slope 0 at the border with a Laplacian [h, w, c]; float64."""
    values = laplacian.double().permute(2, 0, 1)
    cy, cx = (cosine_basis(n)[0] for n in values.shape[1:])
    found = -_transform(values, cy, cx) / _rates((values.shape[1], values.shape[2]))[2]
    found[:, 0, 0] = 0
    return _inverse(found, cy, cx).permute(1, 2, 0)


def gradient_series(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients [c, h, w] of a gradient [h, w, c, 2]: of sin(kx) cos(ly) by x, of cos(kx) sin(ly) by y.

    Of an even number of pixels the sine that alternates from one to the next is left out: no picture has it.
    """
    values = gradient.double().permute(3, 2, 0, 1)
    (cy, sy), (cx, sx) = (cosine_basis(n) for n in values.shape[2:])
    return _transform(values[0], cy, sx), _transform(values[1], sy, cx)


class MovedGrids:
    """The domain: a grid of a point a pixel, all of it moved by a random part of a pixel at every step.

    A field that is asked at the same points at every step may do between them as it likes.
    """

    def draw(self, n: int, generator: torch.Generator) -> Measurements:
        """One offset [1, 2] (x, y), in pixels, -1/2 to 1/2."""
        return Measurements(torch.rand(1, 2, generator=generator, device=generator.device) - 0.5)


class GradientSpectrum:
    """How far a field is from having a gradient, as errors of the picture at each frequency.

    Parameters
    ----------
    gradient : Tensor, shape (h, w, c, 2)
        Derivatives by x and y at the centres of pixels, a pixel; between them they are the series through these.
    known : Tensor of bool, shape (h, w), optional
        Pixels within whose squares it is compared; None: in all.
    over : {"point", "pixel"}
        What is compared: the derivatives at points, which travel forward through the field; or their integrals from a
        point to the one a pixel further, which are differences of values and cost no derivative.

    Notes
    -----
    With phi and u the coefficients of field and picture, the errors of the two components are k (phi - u) and
    l (phi - u): divided by sqrt(k^2 + l^2), their squares add up to (phi - u)^2. Where a gradient is that of no
    picture, the least sum is that of Poisson's equation. Over a pixel, 2 sin(k / 2) stands for k.
    """

    def __init__(self, gradient: Tensor, known: Tensor | None = None, over: str = "point") -> None:
        self._prepare(gradient_series(gradient), known, over)

    def _prepare(self, series: tuple[Tensor, Tensor], known: Tensor | None, over: str) -> None:
        if over not in ("point", "pixel"):
            raise ValueError(f"over must be 'point' or 'pixel'; got {over!r}")
        self.over, self.shape = over, (series[0].shape[1], series[0].shape[2])
        down, across, squares = _rates(self.shape)
        self.series, self.known = series, known
        if over == "pixel":
            # the integral of a sine over a pixel is that of its middle, times 2 sin(k / 2) / k
            integrals = 2 * torch.sin(across / 2), 2 * torch.sin(down / 2)
            self.series = tuple(
                part * torch.where(rate > 0, integral / rate.clamp(min=1e-300), 1.0)
                for part, integral, rate in zip(series, integrals, (across, down), strict=True)
            )
            across, down = integrals
            squares = across.square() + down.square()
            squares[0, 0] = 1.0
        self.rates, self.lengths = (across, down), squares.sqrt()

    def predict(self, field: Any, where: Tensor) -> Tensor:
        """Errors [2, c, h, w] with the grid moved by ``where`` [1, 2]."""
        errors = []
        at_points = self.over == "point"
        for axis, part in enumerate(self._observed(field, where)):
            bases = self._bases(where, axis)
            residual = part - _inverse(self.series[axis], *bases).to(part)
            if self.known is not None:
                known = self.known if at_points else _both(self.known, axis)
                residual = residual * known.to(part)
            lengths = self.lengths.to(part)
            errors.append(_transform(residual, *(basis.to(part) for basis in bases)) / lengths)
        return torch.stack(errors)

    def _observed(self, field: Any, where: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives by x and by y [c, h, w], or differences [c, h, w - 1] and [c, h - 1, w]."""
        dx, dy = where[0].double().tolist()
        ys, xs = (torch.arange(n, dtype=torch.float64) + 0.5 + o for n, o in zip(self.shape, (dy, dx), strict=True))
        if self.over == "point":
            gradient = grid_jet(field, ys, xs).gradient
            assert gradient is not None
            of_x, of_y = gradient.view(*self.shape, -1, 2).permute(3, 2, 0, 1)
            return of_x, of_y
        if getattr(field, "has_lattice", False):
            values = field.evaluate_lattice(field.lattice(ys, xs))
        else:
            values = grid_jet(field, ys, xs, 0).value.view(*self.shape, -1).permute(2, 0, 1)
        return values.diff(dim=2), values.diff(dim=1)

    def _bases(self, where: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Of the derivative by x (axis 0) or y: down and across, a sine along its own axis."""
        offsets = where[0].double().tolist()
        found = []
        for n, along in zip(self.shape, (1, 0), strict=True):
            if along != axis:
                basis = cosine_basis(n, offsets[along])[0]
            elif self.over == "point":
                basis = cosine_basis(n, offsets[along])[1]
            else:
                # a difference belongs to the middle between its two points
                basis = cosine_basis(n, offsets[along] + 0.5)[1][:-1]
            found.append(basis.to(where.device))
        return found[0], found[1]


def _both(known: Tensor, axis: int) -> Tensor:
    """Where both pixels of a difference by x (axis 0) or y are known."""
    return known[:, 1:] & known[:, :-1] if axis == 0 else known[1:] & known[:-1]


class LaplacianSpectrum(GradientSpectrum):
    """How far a field is from having a Laplacian and slope 0 at the border, as errors of the picture at each frequency.

    Parameters
    ----------
    laplacian : Tensor, shape (h, w, c)
        At the centres of pixels, a pixel squared.
    over : {"point", "pixel"}
        As :class:`GradientSpectrum` takes it.

    Notes
    -----
    In the weak form: against each product of cosines, with the integral by parts. That of the field's Laplacian is
    minus that of its gradient with the product's gradient, as the slope at the border is 0; without this condition any
    harmonic function could be added. That of the given one is its series, integrated once, by the same points, so that
    their errors cancel. Divided by -(k^2 + l^2), the difference is phi - u. No second derivative is sampled: what
    these have above the frequencies of the grid would be taken for low ones, and those are divided by the least.
    """

    def __init__(self, laplacian: Tensor, over: str = "point") -> None:
        values = laplacian.double().permute(2, 0, 1)
        shape = (values.shape[1], values.shape[2])
        down, across, squares = _rates(shape)
        picture = -_transform(values, *(cosine_basis(n)[0] for n in shape)) / squares
        self._prepare((-across * picture, -down * picture), None, over)

    def predict(self, field: Any, where: Tensor) -> Tensor:
        """Errors [c, h, w] with the grid moved by ``where`` [1, 2]."""
        errors = super().predict(field, where)
        of_x, of_y = (rate.to(errors) for rate in self.rates)
        return -(of_x * errors[0] + of_y * errors[1]) / self.lengths.to(errors)


def gradient_of_differences(differences: Tensor) -> Tensor:
    """The gradient [h, w, c, 2] at the centres of pixels whose integrals to the next pixel are ``differences``.

    Parameters
    ----------
    differences : Tensor, shape (h, w, c, 2)
        From each pixel to the next, by x and by y; those of the last column and the last row are 0 and not looked at.

    Notes
    -----
    Differences lie on the edges between pixels, where sin(k x) of the frequencies 1 to w - 1 is a whole basis. The
    difference of cos(k x) over a pixel is -2 sin(k / 2) sin(k x), its derivative -k sin(k x).
    """
    values = differences.double().permute(3, 2, 0, 1)
    found = []
    for part, axis in ((values[0], -1), (values[1], -2)):
        n = part.shape[axis]
        (_, on_edges), (_, in_middles) = cosine_basis(n, 0.5), cosine_basis(n)
        rates = math.pi / n * torch.arange(n, dtype=torch.float64)
        factors = torch.where(rates > 0, rates / (2 * torch.sin(rates / 2)).clamp(min=1e-300), 0.0)
        # [pixel, edge]: to frequencies, and back half a pixel before
        matrix = (in_middles * factors) @ on_edges.T
        moved = part.movedim(axis, -1) @ matrix.T
        found.append(moved.movedim(-1, axis))
    return torch.stack(found, -1).permute(1, 2, 0, 3)
