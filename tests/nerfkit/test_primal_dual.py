"""Total variation by the primal-dual method, and its weight by the unbiased risk estimate."""

import pytest
import torch

from nerfkit.solvers.primal_dual import TvSolver, gradient
from nerfkit.solvers.risk import choose_tv_weight


class Identity:
    """Every pixel is measured."""

    def apply(self, picture):
        return picture

    def product(self, picture):
        return picture

    def adjoint(self, values):
        return values


@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_the_divergence_is_minus_the_transpose_of_the_gradient(n_dims):
    from nerfkit.solvers.primal_dual import _divergence

    picture = torch.rand(2, *(4, 5, 6)[:n_dims], dtype=torch.float64)
    parts = torch.rand_like(gradient(picture, n_dims))
    ahead, back = (gradient(picture, n_dims) * parts).sum(), (picture * _divergence(parts, n_dims)).sum()
    assert float(ahead) == pytest.approx(-float(back))


def test_two_pixels_in_closed_form():
    """1/2 (u - a)^2 + 1/2 (v - b)^2 + lambda |u - v|: both move by lambda towards each other, until they meet."""
    values = torch.tensor([[1.0, 3.0]])
    for weight, wanted in ((0.25, [1.25, 2.75]), (5.0, [2.0, 2.0])):
        solver = TvSolver(Identity(), torch.ones(1, 2), (1, 2), least=None)
        found = solver.solve(values, weight, solver.begin(values), 400).picture
        torch.testing.assert_close(found, torch.tensor([wanted]), atol=1e-3, rtol=0)


def test_complex_pictures_and_several_at_once():
    values = torch.tensor([[[1.0, 3.0]], [[1j, 3j]]], dtype=torch.complex64)
    solver = TvSolver(Identity(), torch.ones(1, 2), (1, 2), least=None, dtype=torch.complex64)
    found = solver.solve(values, torch.tensor([0.25, 0.5]), solver.begin(values), 400).picture
    wanted = torch.tensor([[[1.25, 2.75]], [[1.5j, 2.5j]]], dtype=torch.complex64)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


def test_values_stay_above_the_bound():
    values = torch.tensor([[-1.0, 3.0]])
    solver = TvSolver(Identity(), torch.ones(1, 2), (1, 2))
    assert solver.solve(values, 0.0, solver.begin(values), 100).picture.tolist() == [
        [0.0, pytest.approx(3.0, abs=1e-3)]
    ]


def test_a_state_goes_on_where_it_stood():
    values = torch.rand(8, 8)
    solver = TvSolver(Identity(), torch.ones(8, 8), (8, 8))
    once = solver.solve(values, 0.1, solver.begin(values), 40)
    # the extrapolated picture begins anew: the same solution, not the same steps
    twice = solver.solve(values, 0.1, solver.solve(values, 0.1, solver.begin(values), 200), 200)
    torch.testing.assert_close(twice.picture, solver.solve(values, 0.1, once, 400).picture, atol=2e-3, rtol=0)


def test_the_weight_with_the_least_true_error_is_found():
    generator = torch.Generator().manual_seed(0)
    # bumps, not steps: of a picture with few edges the estimate is as uncertain as their number is small
    axis = torch.linspace(0, 12, 128)
    truth = (axis[:, None].sin() * (1.3 * axis).cos()).clamp(-0.5, 0.5)
    deviations = torch.full((128, 128), 0.2)
    values = truth + deviations * torch.randn(128, 128, generator=generator)
    solver = TvSolver(Identity(), deviations.square().reciprocal(), (128, 128), least=None)
    found = choose_tv_weight(solver, values, deviations, values, 20.0, n_steps=(500, 300))

    def error(weight):
        return float((solver.solve(values, weight, solver.begin(values), 400).picture - truth).square().mean())

    errors = {factor: error(found.weight * factor) for factor in (0.4, 0.6, 1.0, 1.6, 2.5)}
    assert min(errors, key=errors.__getitem__) in (0.6, 1.0, 1.6)
    assert errors[1.0] < 1.15 * min(errors.values())
    weights = [weight for weight, _ in found.curve]
    assert weights == sorted(weights) and min(risk for _, risk in found.curve) == 0.0
