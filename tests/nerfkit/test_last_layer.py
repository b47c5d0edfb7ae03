"""The last layer by least squares: closed forms, a Jacobian by automatic differentiation, what does not converge."""

import math

import pytest
import torch

from nerfkit.problem import Term
from nerfkit.scenes.measurements.domains import Box, BoxBoundary
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.points import PointValues
from nerfkit.scenes.observations.residuals import Residual
from nerfkit.solvers import frequencies
from nerfkit.solvers.frequencies import choose_radii, make_sine_layer
from nerfkit.solvers.last_layer import NotLeastSquares, Probe, draw, loss_of, solve_last_layer

SQUARE = [(0.0, 1.0), (0.0, 2.0)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def equations(points, u):
    """Two equations of two functions that use all that a jet has."""
    (a, b), slopes, second = u.value.unbind(-1), u.gradient, u.hessian
    first = a * slopes[:, 1, 0] + second[:, 0, 0, 1] - points[:, 0] * b
    return torch.stack([first, slopes[:, 0, 1].square() + second[:, 1, 1, 1] * b + torch.sin(a)], -1)


def test_the_jacobian_is_that_of_autograd():
    field = make_sine_layer(SQUARE, 2, 6, [3.0, 4.0], seed=0)
    with torch.no_grad():
        field.weights.normal_(generator=generator(1))
    (batch,) = draw([Term(Residual(equations), Box(SQUARE))], 5, generator())
    probe = Probe(field)
    residual = batch.residual(probe)
    direct = batch.residual(field)
    assert residual.shape == direct.shape == (5, 2)
    for k in range(2):
        for output in range(2):
            rows = probe.rows(residual[:, k], output)
            expected = torch.stack([
                torch.autograd.grad(one, field.weights, retain_graph=True)[0][:, output] for one in direct[:, k]
            ])  # fmt: skip
            torch.testing.assert_close(rows, expected, rtol=1e-9, atol=1e-9)


def poisson():
    """Laplacian of sin(pi x) cos(pi y / 2), and its values on the border."""

    def wanted(points):
        return torch.sin(math.pi * points[:, 0]) * torch.cos(math.pi * points[:, 1] / 2)

    inside = Residual(lambda at, u: u.laplacian[:, 0] + 1.25 * math.pi**2 * wanted(at), order="laplacian")
    border = Residual(lambda at, u: u.value[:, 0] - wanted(at), order=0)
    return wanted, [Term(inside, Box(SQUARE), n=4), Term(border, BoxBoundary(SQUARE), n=1, weight=10.0)]


def test_a_linear_equation_is_solved_in_one_step():
    wanted, terms = poisson()
    field = make_sine_layer(SQUARE, 1, 120, [5.0, 5.0], seed=0)
    losses = []
    solved = solve_last_layer(field, draw(terms, 600, generator()), on_step=lambda step, loss: losses.append(loss))
    assert solved.is_linear and solved.is_converged and solved.n_steps == len(losses) == 1
    at = Box(SQUARE).draw(200, generator(5)).where.double()
    torch.testing.assert_close(field(at)[:, 0].detach(), wanted(at), rtol=0, atol=1e-5)
    # at points that it did not see the residual is as small
    assert loss_of(field, draw(terms, 600, generator(9))) < 1e-6


def test_an_equation_that_is_not_linear_by_gauss_newton():
    # u u_x + u_y = f with u = 2 + sin(x + y)
    def inside(at, u):
        phase = at.sum(-1)
        f = (2 + torch.sin(phase)) * torch.cos(phase) + torch.cos(phase)
        return u.value[:, 0] * u.gradient[:, 0, 0] + u.gradient[:, 0, 1] - f

    border = Residual(lambda at, u: u.value[:, 0] - 2 - torch.sin(at.sum(-1)), order=0)
    terms = [Term(Residual(inside, order=1), Box(SQUARE), n=4), Term(border, BoxBoundary(SQUARE), n=1, weight=10.0)]
    field = make_sine_layer(SQUARE, 1, 100, [4.0, 4.0], seed=0)
    solved = solve_last_layer(field, draw(terms, 500, generator()))
    assert solved.is_converged and not solved.is_linear and 2 <= solved.n_steps < 12
    at = Box(SQUARE).draw(200, generator(5)).where.double()
    torch.testing.assert_close(field(at)[:, 0].detach(), 2 + torch.sin(at.sum(-1)), rtol=0, atol=1e-4)


def test_steps_that_do_not_end_are_told():
    _, terms = poisson()
    terms[0] = Term(Residual(lambda at, u: u.value[:, 0] ** 3 + u.laplacian[:, 0] - 40, order="laplacian"), Box(SQUARE))
    field = make_sine_layer(SQUARE, 1, 40, [5.0, 5.0], seed=0)
    assert not solve_last_layer(field, draw(terms, 200, generator()), most_steps=1).is_converged
    assert field.weights.isfinite().all()


def test_a_residual_without_a_derivative_changes_nothing():
    terms = [Term(Residual(lambda at, u: torch.nan * u.value, order=0), Box(SQUARE))]
    field = make_sine_layer(SQUARE, 1, 10, [5.0, 5.0], seed=0)
    solved = solve_last_layer(field, draw(terms, 50, generator()))
    assert not solved.is_converged and not field.weights.any()


def test_measurements_count_by_their_weights_and_all_of_them():
    at = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.2, 1.5]])
    values, weights = torch.tensor([[1.0], [4.0], [-2.0]]), torch.tensor([1.0, 2.0, 1.0])
    field = make_sine_layer(SQUARE, 1, 20, [2.0, 2.0], seed=0)
    (batch,) = draw([Term(PointValues(), Measurements(at, values, weights), n=1)], 1, generator())
    assert len(batch.where) == 3
    solve_last_layer(field, [batch])
    # where two disagree, their weighted mean
    torch.testing.assert_close(field(at).detach()[:, 0], torch.tensor([3.0, 3.0, -2.0]), rtol=0, atol=1e-3)


def test_losses_that_are_no_squares_are_refused():
    with pytest.raises(NotLeastSquares, match="squared errors alone"):
        draw([Term(PointValues(), Box(SQUARE), loss=lambda a, b: (a - b).abs())], 10, generator())


def test_frequencies_rise_along_the_axis_that_varies(monkeypatch):
    monkeypatch.setattr(frequencies, "TRIAL_FEATURES", 80)
    sides = [(-1.0, 1.0), (-1.0, 1.0)]
    wave = Residual(lambda at, u: u.value[:, 0] - torch.sin(25 * at[:, 0]) * at[:, 1], order=0)
    tried = []

    def on_trial(radii, loss):
        tried.append((loss, radii))
        return True

    chosen = choose_radii(sides, [Term(wave, Box(sides))], 1, 320, seed=0, on_trial=on_trial)
    # four times the features fill an ellipse of twice the radii
    assert chosen == pytest.approx([2 * radius for radius in min(tried)[1]])
    assert chosen[0] / 2 > 20 and chosen[1] < chosen[0] / 3
    only: list[float] = []

    def stop(radii, loss):
        only.append(loss)
        return False

    choose_radii(sides, [Term(wave, Box(sides))], 1, 320, seed=0, on_trial=stop)
    assert len(only) == 1
