"""Numbers that are sought beside a field: derivatives, a closed form, and how sure they are."""

import json
import math

import pytest
import torch

import nerfkit
from nerfkit.cli import main
from nerfkit.limits import Limit
from nerfkit.problem import Term
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.measurements.domains import Box
from nerfkit.scenes.measurements.measurements import Measurements
from nerfkit.scenes.observations.points import PointValues
from nerfkit.scenes.observations.residuals import Residual
from nerfkit.solvers.frequencies import make_sine_layer
from nerfkit.solvers.last_layer import draw, loss_of, solve_last_layer, spread_of_unknowns
from nerfkit.solvers.unknowns import Unknowns
from nerfkit.workbench.equation import Equation

LINE = [(0.0, 1.0), (0.0, 0.1)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_columns_are_those_of_autograd():
    unknowns = Unknowns({"a": 1.5, "b": -0.5})
    unknowns.values.requires_grad_()
    x = torch.rand(4, dtype=torch.float64, generator=generator())
    residual = torch.sin(unknowns["a"] * x) * unknowns["b"] ** 2 + unknowns.values[1]
    expected = torch.stack([torch.autograd.grad(one, unknowns.values, retain_graph=True)[0] for one in residual])
    torch.testing.assert_close(unknowns.columns(residual), expected)
    assert not unknowns.columns(x * 2).any() and not unknowns.columns((x * 1.0).requires_grad_() * 2).any()


def decay(noise, seed=0, n=40):
    """u' = -rate u with u(0) = start, from noisy values at points; both numbers are sought."""
    unknowns = Unknowns({"rate": 1.0, "start": 0.5})
    where = torch.rand(n, 2, generator=generator(seed)) * torch.tensor([1.0, 0.1])
    values = 1.2 * torch.exp(-2 * where[:, :1]) + noise * torch.randn(n, 1, generator=generator(seed + 1))
    inside = Residual(lambda x, u: u.gradient[:, 0, 0] + unknowns["rate"] * u.value[:, 0], order=1)
    across = Residual(lambda x, u: u.gradient[:, 0, 1], order=1)
    begin = Residual(lambda x, u: u.value[:, 0] - unknowns["start"], order=0)
    terms = [
        Term(inside, Box(LINE), n=200), Term(across, Box(LINE), n=200), Term(begin, Box([(0, 1e-9), (0, 0.1)]), n=50),
        Term(PointValues(), Measurements(where, values), n=n, weight=0.01),
    ]  # fmt: skip
    return unknowns, terms


def solved(noise, seed=0):
    unknowns, terms = decay(noise, seed)
    field = make_sine_layer(LINE, 1, 40, [3.0, 0.5], seed=0)
    batches = draw(terms, 400, generator())
    done = solve_last_layer(field, batches, unknowns=unknowns)
    return unknowns, spread_of_unknowns(field, batches, unknowns), done, loss_of(field, batches)


def test_a_rate_and_a_start_are_found():
    unknowns, spread, done, loss = solved(0.0)
    assert done.is_converged and not done.is_linear and 1 < done.n_steps < 15
    torch.testing.assert_close(unknowns.values, torch.tensor([2.0, 1.2]).double(), rtol=0, atol=1e-3)
    assert loss == pytest.approx(done.loss) and spread.max() < 1e-3


def test_the_spread_is_that_of_repeated_measurements():
    noise = 0.02
    found = [solved(noise, seed) for seed in range(0, 16, 2)]
    values = torch.stack([unknowns.values for unknowns, *_ in found])
    spreads = torch.stack([spread for _, spread, *_ in found])
    scores = (values - torch.tensor([2.0, 1.2])) / spreads
    # of 8 runs with two numbers each that go together
    assert 0.4 < float(scores.square().mean().sqrt()) < 1.6
    # the closed form: rate and start by least squares on the exact solution
    x = torch.linspace(0, 1, 400).double()
    slopes = torch.stack([-1.2 * x * torch.exp(-2 * x), torch.exp(-2 * x)], -1)
    expected = noise * (slopes.T @ slopes * 40 / 400).inverse().diagonal().sqrt()
    assert (spreads.mean(0) / expected - 1).abs().max() < 0.25


def test_what_is_wrong_with_unknowns_is_named():
    with pytest.raises(ValueError, match="one number or more"):
        Unknowns({})
    with pytest.raises(ValueError, match="finite numbers"):
        Unknowns({"a": math.nan})
    with pytest.raises(ValueError, match="known has b, which is none of the unknowns"):
        Equation(LINE, decay(0)[1], unknowns=Unknowns({"a": 1.0}), known={"b": 2.0})


def test_five_speeds_are_heard(tmp_path, capsys):
    out = tmp_path / "u.npy"
    command = ["fit", "solve", "speeds", "-o", str(out), "--params", "250", "--scale", "12", "--json", "--quiet"]
    assert main(command) == 0
    numbers = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]["unknowns"]
    assert len(numbers) == 5
    for each in numbers.values():
        assert abs(each["value"] / each["true"] - 1) < 0.03 and 0 < each["spread"] < 0.03
    page = (tmp_path / "u" / "report.html").read_text()
    assert "What was sought beside the field" in page and "upper_left" in page


def test_adam_seeks_no_numbers(tmp_path):
    with pytest.raises(NerfkitError, match="found by the last layer alone") as error:
        nerfkit.fit("solve", "speeds", tmp_path / "u.npy", solver="adam")
    assert "leave --solver out" in error.value.fix


def test_unknowns_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    given = {"n_params": 100, "scale": 9.0}
    whole = nerfkit.fit("solve", "speeds", tmp_path / "whole.npy", **given).figures["metrics"]["unknowns"]
    with monkeypatch.context() as patched:
        patched.setattr(Limit, "left", property(lambda limit: -1.0))
        cut = nerfkit.fit("solve", "speeds", tmp_path / "u.npy", **given).figures
    assert cut["cut"] and cut["metrics"]["unknowns"] != whole
    resumed = nerfkit.resume_fit(tmp_path / "u", seconds=600).figures
    assert resumed["cut"] == []
    for name, each in resumed["metrics"]["unknowns"].items():
        assert each["value"] == pytest.approx(whole[name]["value"], rel=1e-3)
