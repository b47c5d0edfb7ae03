"""Poisson's equation, lap u = -2 pi^2 sin(pi x) sin(pi y) on the unit square, u = 0 on its border."""

from math import pi

import torch

from nerfkit.workbench.equation import Box, BoxBoundary, Equation, Residual, Term

SQUARE = [(0.0, 1.0), (0.0, 1.0)]


def exact(points):
    """u = sin(pi x) sin(pi y)."""
    return torch.sin(pi * points).prod(-1)


def problem():
    """The square and its border."""
    inside = Residual(lambda points, u: (u.laplacian[:, 0] + 2 * pi**2 * exact(points)) / pi**2, order="laplacian")
    border = Residual(lambda points, u: u.value[:, 0], order=0)
    terms = [Term(inside, Box(SQUARE), n=1024), Term(border, BoxBoundary(SQUARE), n=256, weight=10)]
    return Equation(SQUARE, terms, exact, scale=3.0)
