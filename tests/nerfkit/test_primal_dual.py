"""Total variation by the primal-dual method, and its weight by the unbiased risk estimate."""

import pytest
import torch

from nerfkit.solvers.primal_dual import TvSolver, gradient
from nerfkit.solvers.risk import choose_tv_weight
from nerfkit.solvers.spread import noise_spread


class Identity:
    """Every pixel is measured."""

    def apply(self, picture):
        return picture

    def product(self, picture):
        return picture

    def adjoint(self, values):
        return values


class Twice(Identity):
    """Every pixel is measured by two instruments."""

    def product(self, picture):
        return torch.stack([picture, picture])

    def adjoint(self, values):
        return values.sum(0)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_without_a_prior_the_spread_is_the_noise_and_with_one_it_is_less(dtype):
    values, deviations = torch.full((40, 40), 2.0, dtype=dtype), torch.full((40, 40), 0.1)
    deviations[:20] = 0.05
    solver = TvSolver(Identity(), torch.ones(40, 40), (40, 40), least=None, dtype=dtype)
    found = []
    for weight in (1e-6, 0.1):
        state = solver.solve(values, weight, solver.begin(values), 50)
        found.append(noise_spread(solver, values, deviations, weight, state, seed=0))
    # six draws of 800 pixels each
    means = [float(found[0][rows].square().mean().sqrt()) for rows in (slice(20), slice(20, None))]
    assert means == pytest.approx([0.05, 0.1], rel=0.05)
    assert float(found[1].mean()) < 0.5 * float(found[0].mean())


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


def test_rows_and_a_known_norm_change_the_steps_and_not_the_solution():
    values = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([1.0, 0.01]).view(2, 1, 1)
    weights = weights.expand_as(values).contiguous()
    alone = TvSolver(Twice(), weights, (5, 6))
    scaled = TvSolver(Twice(), weights, (5, 6), rows=weights.rsqrt(), norm=2**0.5)
    wanted, found = (
        solver.solve(values, 0.05, solver.begin(values[0]), 600).picture for solver in (alone, scaled)
    )  # fmt: skip
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


def test_what_is_given_stays_as_it_is():
    values = torch.rand(4, 5)
    solver = TvSolver(Identity(), torch.ones(4, 5), (4, 5))
    state = solver.begin(values)
    solver.solve(values, 0.1, state, 3)
    torch.testing.assert_close(state.picture, values, atol=0, rtol=0)
    assert not state.dual.any() and not state.slopes.any()


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
