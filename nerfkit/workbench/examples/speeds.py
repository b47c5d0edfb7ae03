"""Speed of waves in five patches of a membrane, from what 40 receivers note.

lap u + (omega / c)^2 u = -f in the unit square, u = 0 on its border. c is a number in each patch and blends between
them. The receivers' values are those of finite differences, with noise of a hundredth of their rms.
"""

# scipy's annotations know neither several diagonals nor what is solved for
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false

import numpy as np
import torch
from scipy.sparse import diags, identity, kron
from scipy.sparse.linalg import spsolve

from nerfkit.workbench.equation import (
    Box,
    BoxBoundary,
    Equation,
    Measurements,
    PointValues,
    Residual,
    Term,
    Unknowns,
)

SQUARE = [(0.0, 1.0), (0.0, 1.0)]
OMEGA = 8.0
TRUE = {"upper_left": 1.0, "upper_right": 1.25, "lower_left": 0.85, "lower_right": 1.1, "middle": 0.9}
MIDDLES, SOFTNESS = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75], [0.5, 0.5]], 0.15
N_RECEIVERS, NOISE = 40, 0.01
# cells of the finite differences a side
N_CELLS = 160


def speed(points, speeds):
    """Speed [n] at points [n, 2] from those of the patches [5]."""
    distances = points.double()[:, None] - torch.tensor(MIDDLES, dtype=torch.float64)
    return torch.softmax(-distances.square().sum(-1) / (2 * SOFTNESS**2), -1) @ speeds


def load(points):
    """f: two pushes."""
    places = torch.tensor([[0.3, 0.25], [0.7, 0.8]], dtype=points.dtype)
    return 60 * torch.exp(-((points[:, None] - places) / 0.12).square().sum(-1)).sum(-1)


def measured():
    """Solution by finite differences [n] at the nodes within the square, and these [n, 2]."""
    nodes = torch.arange(1, N_CELLS, dtype=torch.float64) / N_CELLS
    points = torch.stack(torch.meshgrid(nodes, nodes, indexing="xy"), -1).view(-1, 2)
    n = len(nodes)
    second = diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n)) * N_CELLS**2
    squares = (OMEGA / speed(points, torch.tensor(list(TRUE.values()), dtype=torch.float64))) ** 2
    operator = kron(identity(n), second) + kron(second, identity(n)) + diags(squares.numpy())
    return spsolve(operator.tocsc(), -load(points).numpy()), points


def problem(seed=0):
    """The square, its border, the receivers; what is sought is the field and five speeds, from 1 each."""
    speeds = Unknowns(dict.fromkeys(TRUE, 1.0))
    values, points = measured()
    generator = np.random.default_rng(seed)
    heard = generator.choice(len(points), N_RECEIVERS, replace=False)
    noise = NOISE * np.sqrt(np.square(values).mean()) * generator.standard_normal(N_RECEIVERS)
    receivers = Measurements(points[heard], torch.from_numpy(values[heard] + noise)[:, None])

    def inside(x, u):
        squares = (OMEGA / speed(x, speeds.values)) ** 2
        return (u.laplacian[:, 0] + squares * u.value[:, 0] + load(x)) / OMEGA**2

    border = Residual(lambda x, u: u.value[:, 0], order=0)
    terms = [
        Term(Residual(inside, order="laplacian"), Box(SQUARE), n=1024),
        Term(border, BoxBoundary(SQUARE), n=256, weight=10),
        Term(PointValues(), receivers, n=N_RECEIVERS, weight=0.1),
    ]
    return Equation(SQUARE, terms, unknowns=speeds, known=TRUE)
