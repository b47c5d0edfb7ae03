"""Burgers' equation, u_t + u u_x = nu u_xx with nu = 0.02, u = -sin(pi x) at the start: a wave that steepens."""

from math import pi

import numpy as np
import torch

from nerfkit.workbench.equation import Box, Equation, Residual, Term

VISCOSITY = 0.02
SIDES = [(-1.0, 1.0), (0.0, 1.0)]
# nodes of the quadrature that the closed form takes
N_NODES = 128


def exact(points):
    """The Cole-Hopf solution by Gauss-Hermite quadrature (Basdevant et al. 1986, eq. 2.6)."""
    nodes, weights = (torch.from_numpy(values) for values in np.polynomial.hermite.hermgauss(N_NODES))
    x, t = points.double().clamp(min=torch.tensor([-1.0, 1e-9])).unbind(-1)
    at = x[:, None] - torch.sqrt(4 * VISCOSITY * t)[:, None] * nodes
    # exponents are shifted by their maximum, which cancels: alone they would not fit a number
    exponent = -torch.cos(pi * at) / (2 * pi * VISCOSITY)
    kernel = weights * torch.exp(exponent - exponent.max(-1, keepdim=True).values)
    return -(kernel * torch.sin(pi * at)).sum(-1) / kernel.sum(-1)


def problem():
    """The interval over the time, its ends, its start."""

    def burgers(points, u):
        (u_x, u_t), u_xx = u.gradient[:, 0].unbind(-1), u.hessian[:, 0, 0, 0]
        return u_t + u.value[:, 0] * u_x - VISCOSITY * u_xx

    start = Residual(lambda points, u: u.value[:, 0] + torch.sin(pi * points[:, 0]), order=0)
    end = Residual(lambda points, u: u.value[:, 0], order=0)
    ends = [Box([(x - 1e-6, x + 1e-6), (0.0, 1.0)]) for x in (-1.0, 1.0)]
    terms = [
        Term(Residual(burgers, order=2), Box(SIDES), n=2048),
        Term(start, Box([(-1.0, 1.0), (-1e-6, 1e-6)]), n=256, weight=10),
        *(Term(end, side, n=64, weight=10) for side in ends),
    ]
    return Equation(SIDES, terms, exact, names=("x", "t"))
