"""Waves of one frequency that leave the domain: lap u + (omega / c)^2 u = -f, by residuals and by finite differences.

Around the domain lies a layer that absorbs: there each coordinate is stretched into the complex plane, d/dx becomes
1 / e d/dx with e = 1 + i s(x) / omega (perfectly matched layer: Berenger 1994, doi 10.1006/jcph.1994.1159). With the
time factor exp(-i omega t) what runs outward decays. u is complex: two functions of the same standing waves, which
keep u = 0 behind the layer exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.problem import Term
from nerfkit.scenes.fields.standing_waves import StandingWaves
from nerfkit.scenes.measurements.domains import Box
from nerfkit.scenes.observations.derivatives import Jet
from nerfkit.scenes.observations.residuals import Residual
from nerfkit.solvers.last_layer import draw, loss_of, solve_last_layer
from nerfkit.workbench.waves.medium import Medium
from nerfkit.workbench.waves.pulse import Pulse
from nerfkit.workbench.waves.wave import Lattice
from nerfkit.workbench.waves.windows import spatial_modes

__all__ = ["Helmholtz", "by_finite_differences", "outgoing", "solve_helmholtz"]

# wavelengths of the layer, and what is left of a wave that crosses it, straight, is thrown back and crosses it again
LAYER, LEFT = 1.0, 1e-4
# rows of points for each weight: a residual has two parts
ROWS_PER_WEIGHT = 2.5
# points that judge
N_JUDGED = 2**12


@dataclass(frozen=True)
class Helmholtz:
    """What is to be solved.

    Parameters
    ----------
    medium : Medium
        Speeds and domain, of two dimensions.
    source : Pulse
        f.
    omega : float
        Radians a unit of time.
    """

    medium: Medium
    source: Pulse
    omega: float

    @property
    def layer(self) -> float:
        """Width of the layer on each side: of waves of the greatest speed."""
        return LAYER * 2 * math.pi * self.medium.fastest / self.omega

    @property
    def box(self) -> list[tuple[float, float]]:
        """The domain and its layer."""
        return [(-self.layer, side + self.layer) for side in self.medium.sides]

    def stretch(self, points: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Factors [n] of the second and of the first derivative along an axis, complex: 1 and 0 in the domain."""
        at, side = points[:, axis].double(), self.medium.sides[axis]
        depth = torch.clamp(at - side, min=0) - torch.clamp(-at, min=0)
        # s grows as the square of the depth; its integral over the layer, there and back, leaves LEFT
        top = -3 * self.medium.fastest * math.log(LEFT) / (2 * self.layer)
        size = depth.abs() / self.layer
        e = torch.complex(torch.ones_like(at), top * size.square() / self.omega)
        slope = torch.complex(torch.zeros_like(at), 2 * top * size / (self.layer * self.omega)) * depth.sign()
        return 1 / e.square(), -slope / e**3

    def residual(self, points: Tensor, u: Jet) -> Tensor:
        """Real and imaginary part [n, 2], over the square of the wavenumber at the greatest speed."""

        def part(values: Tensor) -> Tensor:
            return torch.complex(*values.double().unbind(-1))

        squares = (self.omega / self.medium.speed(points)).square()
        total = squares * part(u.value) + self.source(points)
        for axis in range(2):
            of_second, of_first = self.stretch(points, axis)
            total = total + of_second * part(u.hessian[:, :, axis, axis]) + of_first * part(u.gradient[:, :, axis])
        return torch.view_as_real(total) / (self.omega / self.medium.fastest) ** 2


def solve_helmholtz(
    problem: Helmholtz, radius: float, *, seed: int, device: str = "cpu"
) -> tuple[StandingWaves, float]:
    """The field, real and imaginary part, and the rms of its residual over that of f at points that it did not see."""
    box = problem.box
    modes = spatial_modes([high - low for low, high in box], radius, is_fixed=True)
    field = StandingWaves(modes, torch.zeros_like(modes), [low for low, _ in box], 2).to(device)
    terms = [Term(Residual(problem.residual, order=2), Box(box))]
    rows = draw(terms, int(ROWS_PER_WEIGHT * len(modes)), torch.Generator(device).manual_seed(seed))
    solve_last_layer(field, rows, most_steps=1)
    judged = draw(terms, N_JUDGED, torch.Generator(device).manual_seed(seed + 1))
    nothing = StandingWaves(modes[:1], torch.zeros_like(modes[:1]), [low for low, _ in box], 2).to(device)
    return field, math.sqrt(loss_of(field, judged) / loss_of(nothing, judged))


def by_finite_differences(problem: Helmholtz, lattice: Lattice) -> NDArray[np.complex128]:
    """u [n_y, n_x] at the nodes of the box, fourth order, by sparse factors."""
    import scipy.sparse.linalg

    # its annotations know neither several diagonals nor what is solved for
    sparse: Any = scipy.sparse
    diags, identity, kron = sparse.diags, sparse.identity, sparse.kron
    operators = []
    for axis, nodes in enumerate(lattice.axes):
        inner = nodes[1:-1]
        of_second, of_first = (factor.numpy() for factor in problem.stretch(torch.stack([inner, inner], -1), axis))
        n, h = len(inner), float(nodes[1] - nodes[0])
        second = diags([-1.0, 16.0, -30.0, 16.0, -1.0], [-2, -1, 0, 1, 2], shape=(n, n)) / (12 * h**2)
        first = diags([1.0, -8.0, 8.0, -1.0], [-2, -1, 1, 2], shape=(n, n)) / (12 * h)
        operators.append(diags(of_second) @ second + diags(of_first) @ first)
    along_x, along_y = operators
    inner = Lattice([nodes[1:-1] for nodes in lattice.axes])
    squares = (problem.omega / problem.medium.speed(inner.points)).square().numpy()
    whole = kron(identity(len(inner.axes[1])), along_x) + kron(along_y, identity(len(inner.axes[0]))) + diags(squares)
    found = sparse.linalg.spsolve(whole.tocsc(), -problem.source(inner.points).numpy().astype(complex))
    return np.pad(found.reshape(inner.shape), 1)


def outgoing(problem: Helmholtz, distances: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The closed form with one speed and no border, at ``distances`` from the middle of the source.

    u(r) = i pi / 2 (H(k r) int_0^r J(k s) f(s) s ds + J(k r) int_r^inf H(k s) f(s) s ds), J and H = J + i Y of order 0.
    """
    from scipy.integrate import cumulative_simpson
    from scipy.special import hankel1, j0

    k, width = problem.omega / problem.medium.fastest, problem.source.width
    s = np.linspace(0, max(float(distances.max()), 8 * width), 20_001)
    # s H(k s) goes to 0 with s
    bessel, hankel = j0(k * s), hankel1(0, k * np.maximum(s, 1e-12))
    f = np.exp(-((s / width) ** 2)) * s
    inner = cumulative_simpson(bessel * f, x=s, initial=0)
    outer = cumulative_simpson((hankel * f).real, x=s, initial=0) + 1j * cumulative_simpson(
        (hankel * f).imag, x=s, initial=0
    )
    values = 0.5j * math.pi * (hankel * inner + bessel * (outer[-1] - outer))
    values[0] = 0.5j * math.pi * outer[-1]
    return np.interp(distances, s, values.real) + 1j * np.interp(distances, s, values.imag)
