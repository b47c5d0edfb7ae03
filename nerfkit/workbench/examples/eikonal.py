"""The eikonal equation, |grad u| = 1 with u = 0 on a circle: the signed distance, negative inside."""

from math import pi

import torch

from nerfkit.workbench.equation import Box, Equation, Measurements, PointValues, Residual, Term

RADIUS = 0.5
SQUARE = [(-1.0, 1.0), (-1.0, 1.0)]


def exact(points):
    """Distance from the circle."""
    return points.norm(dim=-1) - RADIUS


def problem():
    """The square, the circle, and one point inside, which tells the sign."""
    inside = Residual(lambda points, u: u.gradient[:, 0].norm(dim=-1) - 1, order=1)
    angles = torch.arange(256) * (2 * pi / 256)
    circle = RADIUS * torch.stack([angles.cos(), angles.sin()], -1)
    on_circle = Measurements(where=circle, values=torch.zeros(256, 1))
    middle = Measurements(where=torch.zeros(1, 2), values=torch.full((1, 1), -RADIUS))
    terms = [Term(inside, Box(SQUARE), n=1024), Term(PointValues(), on_circle, n=128, weight=10)]
    return Equation(SQUARE, [*terms, Term(PointValues(), middle, n=1)], exact, scale=4.0)
