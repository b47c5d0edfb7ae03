"""Problems of any field: a user's equation against its solution, an image, both by the same loop."""

import math

import pytest
import torch

from nerfkit.checkpoints import CheckpointFolder
from nerfkit.fitting import Budget, FitSchedule, fit
from nerfkit.problem import Problem, Term, squared_error
from nerfkit.scenes.fields.coordinate import CoordinateField
from nerfkit.scenes.fields.encodings import make_encoding
from nerfkit.scenes.fields.networks import FullyConnected
from nerfkit.scenes.measurements.domains import Box, BoxBoundary
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.points import PointValues
from nerfkit.scenes.observations.residuals import Residual

SQUARE = [(0.0, 1.0), (0.0, 1.0)]


def make_field(encoding="identity", activation="sine", scale=3.0, n_outputs=1, box=SQUARE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parts = make_encoding(encoding, 2, generator, {"n_frequencies": 16, "sigma": 1.0})
    network = FullyConnected([parts.n_outputs, 32, 32, n_outputs], generator, activation=activation, scale=scale)
    return CoordinateField(parts, network, box)


def grid(n, sides=SQUARE):
    axes = [low + (high - low) * (torch.arange(n) + 0.5) / n for low, high in sides]
    return torch.stack(torch.meshgrid(*axes, indexing="xy"), -1).view(-1, 2)


def solution(points):
    return torch.sin(math.pi * points[:, :1]) * torch.sin(math.pi * points[:, 1:])


def poisson(seed=0):
    """Laplacian u = -2 pi^2 sin(pi x) sin(pi y) in the unit square, u = 0 on its boundary."""
    equation = Residual(lambda at, u: (u.laplacian + 2 * math.pi**2 * solution(at)) / math.pi**2, order=2)
    border = Residual(lambda at, u: u.value, order=0)
    terms = [Term(equation, Box(SQUARE), n=256), Term(border, BoxBoundary(SQUARE), weight=10.0, n=128)]
    return Problem(make_field(), terms, learning_rate=3e-3, seed=seed)


def test_poissons_equation_on_the_unit_square():
    problem = poisson()
    fit(problem, Budget(steps=400), schedule=FitSchedule(final_fraction=0.02, epsilon=1e-8))
    found, expected = problem.field(grid(16)).detach(), solution(grid(16))
    assert float((found - expected).square().mean().sqrt()) < 0.01


def test_an_image_with_points_held_out():
    sides = [(0.0, 40.0), (0.0, 30.0)]
    at = grid(24, sides)
    picture = Measurements(at, torch.stack([torch.sin(at[:, 0] / 5), torch.cos(at[:, 1] / 4)], -1))
    known, held_out = picture.hold_out(0.1, torch.Generator().manual_seed(0))
    field = make_field("gaussian", "relu", n_outputs=2, box=sides)

    def validate():
        with torch.no_grad():
            return {"holdout": float(squared_error(field(held_out.where), held_out.values).mean())}

    problem = Problem(field, [Term(PointValues(), known, n=256)], learning_rate=1e-2, validate=validate)
    before = problem.validate()["holdout"]
    fit(problem, Budget(steps=300), schedule=FitSchedule(epsilon=1e-8))
    assert problem.validate()["holdout"] < 0.005 < before


def test_the_loss_is_the_weighted_sum_of_the_terms():
    field = make_field()
    at = grid(4)
    values, weights = torch.rand(16, 1), torch.rand(16)
    errors = squared_error(field(at), values).detach()[:, 0]

    class All(Measurements):
        def draw(self, n, generator):
            return self

    plain, sure = All(at, values), All(at, values, weights)
    problem = Problem(field, [Term(PointValues(), plain), Term(PointValues(), sure, weight=3.0)])
    expected = errors.mean() + 3 * (weights * errors).mean()
    torch.testing.assert_close(problem.loss(0)[0].detach(), expected)
    (robust,) = Problem(field, [Term(PointValues(), plain, lambda a, b: (a - b).abs())]).terms
    torch.testing.assert_close(robust.compare(field, problem.generator).loss.detach(), errors.sqrt().mean())


def test_a_resumed_problem_equals_an_uninterrupted_one(tmp_path):
    whole = poisson()
    fit(whole, Budget(steps=20), schedule=FitSchedule())
    folder = CheckpointFolder(tmp_path)
    fit(poisson(), Budget(steps=20, seconds=1e-9), schedule=FitSchedule(), checkpoints=folder)
    parts = poisson(seed=7)
    assert folder.steps() == [1]
    fit(parts, Budget(steps=20), schedule=FitSchedule(), checkpoints=folder, resume=True)
    first, second = whole.state_dict()["field"], parts.state_dict()["field"]
    assert torch.equal(whole.generator.get_state(), parts.generator.get_state())
    # the first step of the part that was cut had the rate that all have
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_problem_without_terms_is_refused():
    with pytest.raises(ValueError, match=r"a problem needs a term at least: .*; got none"):
        Problem(make_field(), [])
