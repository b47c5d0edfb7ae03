"""`nerfkit fit solve`: known solutions satisfy the examples, fits come near them, and a user's file is ten lines."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import nerfkit
from nerfkit.cli import main
from nerfkit.limits import Limit
from nerfkit.scenes.errors import NerfkitError
from nerfkit.tasks.solve import EXAMPLES, SolveConfig, read
from nerfkit.workbench.equation import Equation

EQUATION = """
from nerfkit.workbench.equation import Box, BoxBoundary, Equation, Measurements, PointValues, Residual, Term
import torch

def problem():
    sides = [(0.0, 4.0), (0.0, 1.0)]
    inside = Residual(lambda x, u: u.gradient[:, 0, 0] - u.value[:, 0] * 0 - 1, order=1)
    start = Residual(lambda x, u: u.value[:, 0] - x[:, 0], order=0)
    terms = [Term(inside, Box(sides), n=64), Term(start, BoxBoundary(sides), n=64)]
    return Equation(sides, terms, exact=lambda x: x[:, 0], scale=2.0)
"""


# of speeds no solution is known, as they are what is sought: tests/nerfkit/test_unknowns.py
@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "speeds"])
def test_the_known_solution_satisfies_every_term(name):
    equation = read([Path(name)], SolveConfig())
    exact = equation.exact
    assert exact is not None
    generator = torch.Generator().manual_seed(0)

    def field(points):
        return exact(points).reshape(len(points), -1).to(points)

    for term in equation.terms:
        batch = term.measurements.draw(64, generator)
        where = batch.where.double()
        if name == "eikonal":
            # the distance has no gradient in the middle
            where = where[where.norm(dim=-1) > 1e-3] if batch.values is None else where
        predicted = term.observation.predict(field, where)
        wanted = torch.zeros_like(predicted) if batch.values is None else batch.values.double()
        assert (predicted - wanted).abs().max() < 2e-5


def test_an_example_comes_near_its_solution(tmp_path, capsys):
    out = tmp_path / "u.png"
    assert (
        main(
            ["fit", "solve", "heat", "-o", str(out), "--solver", "adam", "--steps", "120", "--params", "1000",
             "--seconds", "3600", "--json", "--quiet"]
        ) == 0
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["metrics"]["relative_error"] < 0.1
    assert found["metrics"]["holdout"] == found["metrics"]["residual"] > 0
    run = nerfkit.load(tmp_path / "u")
    assert run.render(size=(20, 10)).shape == (10, 20)
    page = (tmp_path / "u" / "report.html").read_text()
    assert "size of the residual" in page and "the known solution" in page and "t 0 to 1 down" in page


def test_an_example_that_was_stopped_goes_on(tmp_path):
    whole = nerfkit.fit("solve", "poisson", tmp_path / "whole.npy", steps=6, n_params=600, solver="adam").figures[
        "metrics"
    ]
    nerfkit.fit("solve", "poisson", tmp_path / "u.npy", steps=3, n_params=600, solver="adam")
    resumed = nerfkit.resume_fit(tmp_path / "u", steps=6).figures
    assert resumed["cut"] == [] and resumed["metrics"].keys() == whole.keys()


def test_a_file_of_ten_lines_is_solved(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(EQUATION)
    found = nerfkit.fit("solve", file, tmp_path / "u.npy", steps=200, n_params=600, solver="adam")
    written = np.load(tmp_path / "u.npy")
    # the domain is four times as wide as high
    assert written.shape == found.render().shape == (64, 256)
    assert found.figures["metrics"]["relative_error"] < 0.05
    assert abs(written[32, 0]) < 0.3 and abs(written[32, -1] - 4) < 0.3


def test_a_domain_that_begins_elsewhere_is_sampled_where_it_is(tmp_path):
    found = nerfkit.fit("solve", "eikonal", tmp_path / "u.npy", steps=3, n_params=600, solver="adam")
    np.testing.assert_allclose(nerfkit.load(tmp_path / "u").render(), np.load(tmp_path / "u.npy"), atol=1e-6)
    assert found.figures["n_params"] <= 600


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", r"has no function problem\(\)"),
        ("def problem():\n    return 3", r"problem\(\) returned int; a nerfkit.workbench.equation.Equation is wanted"),
        ("def problem():\n    return 1 / 0", "failed: ZeroDivisionError"),
        ("import nothing_of_that_name", "failed: ModuleNotFoundError"),
        ("def problem(:", "failed: SyntaxError"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, text, words):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(NerfkitError, match=words) as error:
        nerfkit.fit("solve", file, tmp_path / "u.png")
    assert error.value.fix and not (tmp_path / "u").exists()


def test_what_is_no_example_is_named(tmp_path):
    with pytest.raises(NerfkitError, match="no example and no Python file") as error:
        nerfkit.fit("solve", "navier", tmp_path / "u.png")
    assert "poisson, eikonal, heat, burgers, plate" in error.value.fix


def test_an_equation_is_checked():
    with pytest.raises(ValueError, match="sides must be two pairs"):
        Equation([(0, 1)], [])
    with pytest.raises(ValueError, match="terms must be one Term or more"):
        Equation([(0, 1), (0, 1)], [])


def test_a_linear_equation_by_the_last_layer(tmp_path):
    found = nerfkit.fit("solve", "heat", tmp_path / "u.npy", n_params=150, scale=10.0)
    figures = found.figures
    assert figures["metrics"]["relative_error"] < 1e-3 and figures["field"] == "sines"
    assert figures["chosen"] == {"solver": "last-layer", "radii": [10.0, 10.0]} and figures["n_params"] == 150
    # read again from the run folder it is the same function
    np.testing.assert_allclose(nerfkit.load(tmp_path / "u").render(), np.load(tmp_path / "u.npy"), atol=1e-6)
    page = (tmp_path / "u" / "report.html").read_text()
    assert "exact in one step; it leaves" in page and "at points that the solver did not see" in page


def test_what_the_last_layer_leaves_adam_gets_a_turn_at(tmp_path):
    said = []
    given = {"n_params": 60, "scale": 2.0, "steps": 60, "say": said.append}
    found = nerfkit.fit("solve", "eikonal", tmp_path / "u.npy", **given)
    assert any("Adam has its turn" in text for text in said)
    (told,) = [text for text in said if "the better is taken" in text]
    layer, adam = (float(word) for word in re.findall(r"(?:leaves|Adam) ([0-9.]+)", told))
    assert found.figures["chosen"]["solver"] == ("adam" if adam < layer else "last-layer")


ABSOLUTE = EQUATION.replace("n=64), Term", "n=64, loss=lambda a, b: (a - b).abs()), Term")


def test_a_loss_that_is_no_square_goes_to_adam(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(ABSOLUTE)
    found = nerfkit.fit("solve", file, tmp_path / "u.npy", steps=2, n_params=100)
    assert found.figures["chosen"]["solver"] == "adam"
    assert "takes squared errors alone" in (tmp_path / "u" / "report.html").read_text()
    with pytest.raises(NerfkitError, match="takes squared errors alone") as error:
        nerfkit.fit("solve", file, tmp_path / "v.npy", solver="last-layer", n_params=100)
    assert error.value.fix == "--solver adam"


def test_gauss_newton_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    given = {"n_params": 120, "scale": 12.0, "solver": "last-layer"}
    whole = nerfkit.fit("solve", "burgers", tmp_path / "whole.npy", **given).figures["metrics"]
    with monkeypatch.context() as patched:
        patched.setattr(Limit, "left", property(lambda limit: -1.0))
        cut = nerfkit.fit("solve", "burgers", tmp_path / "u.npy", **given).figures
    assert cut["cut"] and cut["cut"][0].startswith("Gauss-Newton after ")
    resumed = nerfkit.resume_fit(tmp_path / "u", seconds=600).figures
    assert resumed["cut"] == []
    assert resumed["metrics"]["residual"] == pytest.approx(whole["residual"], rel=0.02)


def test_a_solver_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="solver must be one of auto, adam, last-layer; got 'lbfgs'"):
        SolveConfig(solver="lbfgs")  # pyright: ignore[reportArgumentType]
