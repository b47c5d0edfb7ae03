"""The heat equation, u_t = a u_xx with a = 0.1, cold at both ends, u = sin(pi x) + sin(3 pi x) / 2 at the start."""

from math import pi

import torch

from nerfkit.workbench.equation import Box, Equation, Residual, Term

DIFFUSIVITY = 0.1
SIDES = [(0.0, 1.0), (0.0, 1.0)]


def exact(points):
    """Each sine decays by itself."""
    x, t = points.unbind(-1)
    decay = -DIFFUSIVITY * pi**2 * t
    return torch.sin(pi * x) * torch.exp(decay) + torch.sin(3 * pi * x) / 2 * torch.exp(9 * decay)


def problem():
    """The rod over the time, its ends, its start."""
    inside = Residual(lambda points, u: u.gradient[:, 0, 1] - DIFFUSIVITY * u.hessian[:, 0, 0, 0], order=2)
    given = Residual(lambda points, u: u.value[:, 0] - exact(points), order=0)
    ends = [Box([(end - 1e-6, end + 1e-6), (0.0, 1.0)]) for end in (0.0, 1.0)]
    start = Box([(0.0, 1.0), (-1e-6, 1e-6)])
    terms = [Term(inside, Box(SIDES), n=1024), Term(given, start, n=256, weight=10)]
    return Equation(SIDES, [*terms, *(Term(given, end, n=128, weight=10) for end in ends)], exact, names=("x", "t"))
