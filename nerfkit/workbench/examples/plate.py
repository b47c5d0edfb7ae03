"""A thin square plate under a load that is heavier on the left, its edges held but free to turn.

lap lap u = q, u = lap u = 0 on the edges (Timoshenko and Woinowsky-Krieger 1959, chapter 5). Fourth derivatives are
second ones twice: the two functions that are sought are the deflection u and m = lap u.
"""

from math import pi

import torch

from nerfkit.workbench.equation import Box, BoxBoundary, Equation, Residual, Term

SQUARE = [(0.0, 1.0), (0.0, 1.0)]
# half waves along x and y, and deflection of each part
PARTS = ((1, 1, 1.0), (2, 1, 0.3))


def waves(points, power):
    """The parts, each times minus its squared frequency to a power."""
    x, y = points.unbind(-1)
    parts = [
        size * (-(pi**2) * (a**2 + b**2)) ** power * torch.sin(pi * a * x) * torch.sin(pi * b * y)
        for a, b, size in PARTS
    ]
    return torch.stack(parts).sum(0)


def exact(points):
    """Deflection and its Laplacian [n, 2] (Navier's solution)."""
    return torch.stack([waves(points, 0), waves(points, 1)], -1)


def problem():
    """The square and its edges."""

    def plate(points, u):
        of_deflection, of_moment = u.laplacian.unbind(-1)
        # both of about the size of 1
        return torch.stack([
            (of_deflection - u.value[:, 1]) / pi**2, (of_moment - waves(points, 2)) / pi**4
        ], -1)  # fmt: skip

    edges = Residual(lambda points, u: u.value, order=0)
    terms = [
        Term(Residual(plate, order="laplacian"), Box(SQUARE), n=1024),
        Term(edges, BoxBoundary(SQUARE), n=256, weight=10),
    ]
    return Equation(SQUARE, terms, exact, n_outputs=2, scale=3.0)
