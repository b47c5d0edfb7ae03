"""`nerfkit fit wave`: closed forms, what is written, what is chosen, and what is wrong with an input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import nerfkit
from nerfkit.cli import main
from nerfkit.scenes.errors import NerfkitError
from nerfkit.tasks.wave import read
from nerfkit.workbench.waves.choosing import choose_layout, layout_for
from nerfkit.workbench.waves.finite_differences import leapfrog
from nerfkit.workbench.waves.helmholtz import Helmholtz, outgoing, solve_helmholtz
from nerfkit.workbench.waves.helmholtz import by_finite_differences as frequency_by_differences
from nerfkit.workbench.waves.medium import Medium, read_medium
from nerfkit.workbench.waves.pulse import Pulse
from nerfkit.workbench.waves.settings import WaveConfig
from nerfkit.workbench.waves.wave import Lattice, Wave, by_finite_differences
from nerfkit.workbench.waves.windows import Layout, march, predicted_error, radius_for, spatial_modes


def uniform(*sides, speed=1.0):
    return Medium(torch.full((1, 1), speed, dtype=torch.float64), sides)


def step(n=60):
    """Speeds from 0.7 to 1 along a line of length 2."""
    at = (torch.arange(n, dtype=torch.float64) + 0.5) * 2 / n
    return Medium((0.85 + 0.15 * torch.tanh((at - 1.2) / 0.2))[None], (2.0,))


@pytest.mark.parametrize("is_fixed", [True, False])
def test_finite_differences_are_of_fourth_order(is_fixed):
    # a mode of the rectangle swings as cos(w t)
    kx, ky, speed, times = math.pi * 2, math.pi * 3 / 0.5, 1.5, np.linspace(0, 0.4, 5)
    errors = []
    for n in (20, 40):
        x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 0.5, n + 1))
        mode = (np.sin if is_fixed else np.cos)(kx * x) * (np.sin if is_fixed else np.cos)(ky * y)
        found = leapfrog(mode, np.full_like(mode, speed), (1 / n, 0.5 / n), times, is_fixed=is_fixed, stride=2)
        exact = np.cos(speed * math.hypot(kx, ky) * times)[:, None, None] * mode[::2, ::2]
        errors.append(np.abs(found.values - exact).max())
        assert found.n_steps % 4 == 0
    assert errors[1] < 5e-3 and 12 < errors[0] / errors[1] < 20


@pytest.mark.parametrize("is_fixed", [True, False])
def test_one_speed_in_one_dimension_is_that_of_dalembert(is_fixed):
    wave = Wave(uniform(2.0, speed=0.5), Pulse((0.8,), 0.1), 3.0, is_fixed)
    layout = layout_for(wave, 400, 1, math.inf)
    assert layout.n_windows == 1
    field = march(wave, layout, seed=0)
    x, t = torch.rand(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind(-1)
    x, t = 2 * x, 3 * t
    images = [(2 * n * 2 + sign * 0.8, sign) for n in (-1, 0, 1) for sign in (1, -1)]
    exact = sum(
        (sign if is_fixed else 1) * 0.5 * torch.exp(-(((x + way * 0.5 * t - place) / 0.1) ** 2))
        for place, sign in images
        for way in (1, -1)
    )
    torch.testing.assert_close(field(torch.stack([x, t], -1))[:, 0].detach(), exact, rtol=0, atol=1e-5)
    assert predicted_error(wave, field, 0) < 1e-4


def test_windows_follow_the_finite_differences():
    wave = Wave(step(), Pulse((0.7,), 0.2), 1.0, True)
    layout = Layout(40.0, 3, 8)
    told = []
    field = march(wave, layout, seed=0, on_window=lambda done, total: told.append((done, total)))
    assert told[0] == (1, 9) and told[-1] == (9, 9)
    times, lattice = np.linspace(0, 1, 5), Lattice.of(wave.medium.sides, 320)
    truth, _ = by_finite_differences(wave, lattice, times, 4)
    axes = lattice.every(4).axes
    with torch.no_grad():
        found = np.stack([field.at(float(now), axes).numpy()[None] for now in times])
        points = torch.stack([axes[0], torch.full_like(axes[0], 0.61)], -1)
        torch.testing.assert_close(field(points)[:, 0], field.at(0.61, axes), rtol=0, atol=1e-12)
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    predicted = predicted_error(wave, field, 0)
    assert error < 2e-3 and error < predicted < 0.1
    # fewer frequencies leave more, and points that the solver did not see say so
    coarse = march(wave, Layout(40.0, 1, 8), seed=0)
    assert predicted_error(wave, coarse, 0) > 2 * predicted


def test_the_layout_that_predicts_least_is_taken():
    wave = Wave(step(), Pulse((0.7,), 0.2), 0.5, True)
    tried = []

    def on_trial(layout, error):
        tried.append((error, layout.n_frequencies))
        return True

    chosen = choose_layout(wave, 120, seed=0, device="cpu", on_trial=on_trial)
    assert len(tried) == 3 and chosen.n_frequencies == min(tried)[1]
    modes = spatial_modes(wave.medium.sides, chosen.radius, is_fixed=True)
    assert 80 < 2 * chosen.n_frequencies * len(modes) <= 120
    only = []
    choose_layout(wave, 120, seed=0, device="cpu", on_trial=lambda layout, error: bool(only.append(error)))
    assert len(only) == 1


@pytest.mark.parametrize("sides", [(2.0,), (1.0, 1.0), (3.0, 0.1)])
@pytest.mark.parametrize("n_modes", [1, 7, 200])
def test_as_many_modes_as_there_is_room_for(sides, n_modes):
    radius = radius_for(sides, n_modes, 1e9, is_fixed=True)
    found = len(spatial_modes(sides, radius, is_fixed=True))
    assert 1 <= found <= n_modes and found >= 0.9 * n_modes - 3
    assert radius_for(sides, n_modes, 40.0, is_fixed=True) <= 40.0


def test_waves_of_one_frequency_are_those_of_the_closed_form():
    problem = read_helmholtz(omega=8.0, width=0.2)
    lattice = Lattice.of(tuple(high - low for low, high in problem.box), 96, problem.box[0][0])
    field, left = solve_helmholtz(problem, 28.0, seed=0)
    points = torch.rand(300, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = outgoing(problem, np.hypot(*(points.numpy() - problem.source.place).T))
    with torch.no_grad():
        found = field(points).numpy() @ [1, 1j]
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.02 and left < 0.1
    differences = frequency_by_differences(problem, lattice)
    xs, ys = (axis.numpy() for axis in lattice.axes)
    at = np.hypot(*np.meshgrid(xs - problem.source.place[0], ys - problem.source.place[1]))
    inside = np.ix_((ys > 0) & (ys < 1), (xs > 0) & (xs < 1))
    exact = outgoing(problem, at.ravel()).reshape(at.shape)[inside]
    assert np.linalg.norm(differences[inside] - exact) / np.linalg.norm(exact) < 2e-3


def read_helmholtz(**given):
    found = read([Path("1")], WaveConfig(equation="helmholtz", **given))
    assert isinstance(found, Helmholtz)
    return found


def test_a_map_along_a_line_is_solved_written_and_read_again(tmp_path, capsys):
    source, out = tmp_path / "map.npy", tmp_path / "u.npz"
    np.save(source, step().values[0].numpy())
    settings = ["length=2", "width=0.2", "time=0.5", "frames=4", "cells=160"]
    command = ["fit", "wave", str(source), "-o", str(out), "--params", "200", "--json", "--quiet"]
    assert main([*command, *(word for setting in settings for word in ("--set", setting))]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    metrics, baseline = found["metrics"], found["baselines"]["finite differences"]
    assert metrics["relative_error"] < 0.02 and metrics["holdout"] > 0 and "leapfrog" in baseline["how"]
    assert baseline["change"] < 1e-2 and found["chosen"].keys() == {"radius", "n_frequencies", "n_windows"}
    with np.load(out) as written:
        assert written["u"].shape == (4, 41) and written["u"].dtype == np.float32
        np.testing.assert_allclose(written["t"], np.linspace(0, 0.5, 4))
        start = np.exp(-(((written["x"] - 1.1) / 0.2) ** 2))
        np.testing.assert_allclose(written["u"][0], start, atol=0.01)
    run = nerfkit.load(tmp_path / "u")
    assert run.render(size=(30, 20)).shape == (20, 30)
    page = (tmp_path / "u" / "report.html").read_text()
    assert "the same by finite differences" in page and "Error over time" in page and "<video" in page
    assert "Relative error" in page and (tmp_path / "u" / "wave.mp4").stat().st_size > 1000


def test_a_picture_is_solved_in_the_plane_and_resumed(tmp_path):
    from imageio.v3 import imwrite

    imwrite(tmp_path / "map.png", np.linspace(100, 255, 12 * 16).reshape(12, 16).astype(np.uint8))
    settings = {"white": 2.0, "black": 1.0, "width": 0.2, "time": 0.05, "frames": 3, "cells": 64, "border": "free"}
    done = nerfkit.fit("wave", tmp_path / "map.png", tmp_path / "u.npy", n_params=150, **settings)
    written = np.load(tmp_path / "u.npy")
    assert written.shape == (3, 13, 17) and done.figures["metrics"]["relative_error"] < 0.05
    # the picture is that of the end, to the edge of the domain
    rendered = nerfkit.load(tmp_path / "u").render(size=(680, 520))
    assert np.abs(rendered[::519, ::679] - written[-1][::12, ::16]).max() < 5e-3
    again = nerfkit.resume_fit(tmp_path / "u")
    assert again.figures["metrics"] == done.figures["metrics"]


def test_one_frequency_is_written_as_complex_numbers(tmp_path):
    given = {"equation": "helmholtz", "omega": 8.0, "width": 0.2, "cells": 64, "n_params": 300}
    done = nerfkit.fit("wave", "1", tmp_path / "u.npy", **given)
    written = np.load(tmp_path / "u.npy")
    assert written.dtype == np.complex64 and written.ndim == 2
    assert done.figures["metrics"]["relative_error"] < 0.3 and done.figures["chosen"].keys() == {"radius"}
    assert done.render(size=(20, 10)).shape == (10, 20, 2)
    done = nerfkit.fit("wave", "1", tmp_path / "v.png", **given)
    assert (tmp_path / "v.png").is_file() and done.figures["metrics"]["relative_error"] < 0.3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[1.0, 0.0], [1.0, 1.0]]), r"1 of 4 are not, the first \(0\) at row 0, column 1"),
        (np.array([1.0, -2.0]), r"the first \(-2\) at row 0, column 1"),
        (np.array([1.0, np.nan]), r"the first \(nan\)"),
        (np.ones((2, 2, 2)), r"holds float64 of shape \(2, 2, 2\); speeds are real numbers \[h, w\] or \[n\]"),
        (np.ones(3, complex), "holds complex128"),
        (np.ones(0), r"of shape \(0,\)"),
    ],
)
def test_what_is_wrong_with_a_map_is_named(tmp_path, values, words):
    np.save(tmp_path / "map.npy", values)
    with pytest.raises(NerfkitError, match=words) as error:
        nerfkit.fit("wave", tmp_path / "map.npy", tmp_path / "u.png")
    assert error.value.fix and not (tmp_path / "u").exists()


@pytest.mark.parametrize("number", ["0", "-1", "nan", "inf"])
def test_a_speed_that_is_none_is_named(tmp_path, number):
    with pytest.raises(NerfkitError, match="speeds must be finite and above 0"):
        nerfkit.fit("wave", number, tmp_path / "u.png")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source_x": 1.5}, "the source is outside: x = 1.5, and the domain is x = 0 to 1"),
        ({"source_y": 0.0}, "the source is outside: y = 0"),
        ({"dims": 1, "source_y": 0.5}, "the domain has x alone"),
        ({"width": 0.3}, "from the border, which holds the field at 0"),
        ({"time": 0.0}, "time must be above 0"),
        ({"dims": 3}, "dims must be 1 or 2"),
        ({"cells": 20}, "cells must be a multiple of 8"),
        ({"frames": 1}, "frames must be between 2 and 2000"),
        ({"equation": "helmholtz", "dims": 1}, "has one dimension; waves of one frequency take two"),
        ({"equation": "maxwell"}, "equation must be 'wave' or 'helmholtz'"),
    ],
)
def test_what_is_wrong_with_a_setting_is_named(tmp_path, given, words):
    with pytest.raises(NerfkitError, match=words):
        nerfkit.fit("wave", "1", tmp_path / "u.png", **given)


def test_what_is_no_map_is_named(tmp_path):
    from imageio.v3 import imwrite

    with pytest.raises(NerfkitError, match="there is no such file, and it is no number"):
        nerfkit.fit("wave", "one", tmp_path / "u.png")
    imwrite(tmp_path / "map.png", np.zeros((4, 4, 3), np.uint8) + np.array([1, 2, 3], np.uint8))
    with pytest.raises(NerfkitError, match="has 3 values a pixel; a speed is one"):
        nerfkit.fit("wave", tmp_path / "map.png", tmp_path / "u.png")


def test_speeds_are_linear_between_the_middles_of_cells(tmp_path):
    values = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 7.0]])
    np.savez(tmp_path / "map.npz", speed=values)
    np.save(tmp_path / "map.npy", values)
    medium = read_medium(tmp_path / "map.npy", WaveConfig(length=3.0))
    assert torch.equal(read_medium(tmp_path / "map.npz", WaveConfig(length=3.0)).values, medium.values)
    assert medium.sides == (3.0, 2.0) and (medium.slowest, medium.fastest) == (1.0, 7.0)
    points = torch.tensor([[0.5, 0.5], [1.0, 0.5], [1.5, 1.0], [9.0, -9.0], [0.0, 2.0]])
    assert medium.speed(points).tolist() == [1.0, 1.5, 3.5, 4.0, 3.0]
