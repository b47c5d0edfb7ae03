"""The benchmark of super-resolution: problems keep to the convention, and no peer is lame, which would flatter us."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lowres_scenes import measured

from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.observations.psf import Psf
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.readers.shifts import Shifts

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield {name: importlib.import_module(f"superres_{name}") for name in ("problems", "baselines")} | {
            "bench": importlib.import_module("bench_superres"),
            "large": importlib.import_module("bench_superres_large"),
        }
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def view(scripts):
    """The first frames of the photograph of a camera, 32 low-res pixels a side, and their truth."""
    problems = scripts["problems"]
    problem = problems.make_problem(problems.Column(scene="camera", n_frames=12))
    part = (20, 20, 32, 32)
    stack, lowres = (whole.window(*part) for whole in measured(problem.frames, problem.shifts))
    view = scripts["baselines"].View(stack, lowres, 4, problem.noise)
    return view, problem.truth[80:208, 80:208]


def test_frames_of_a_problem_are_what_the_convention_says(scripts):
    problems = scripts["problems"]
    # the scene is constant on the truth's pixels here, so that the truth predicts each frame exactly
    problem = problems.make_problem(problems.Column(scene="page", noise=0.0, n_frames=4))
    stack, view = measured(problem.frames, problem.true_shifts)
    grid = view.grid(problem.scale)
    image = torch.zeros(grid.shape)
    grid.crop(image)[:] = torch.from_numpy(problem.truth)
    samples, _ = view.sample(grid, image)
    inner = (slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(samples.values[inner], stack.values[inner], rtol=0, atol=1e-5)


def test_seeds_columns_and_outliers_differ_where_they_should(scripts):
    problems = scripts["problems"]
    make, column = problems.make_problem, problems.Column(n_frames=10)
    first, again, other = make(column, 0), make(column, 0), make(column, 1)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert np.abs(first.truth - other.truth).mean() > 0.05 and not np.array_equal(first.shifts, other.shifts)
    bad = make(problems.Column(n_frames=10, has_outliers=True), 0)
    differs = np.abs(bad.frames - first.frames).mean((1, 2)) > 0.05
    assert tuple(np.flatnonzero(differs)) == bad.outliers == (4, 9)
    np.testing.assert_array_equal(bad.without_outliers().frames, np.delete(first.frames, [4, 9], axis=0))
    off = make(problems.Column(n_frames=10, shift_error=0.1), 0)
    assert 0.05 < np.sqrt(np.mean((off.shifts - off.true_shifts)[1:] ** 2)) < 0.2 and off.shifts[0].tolist() == [0, 0]
    assert make(problems.Column(n_frames=2, shift_error=None)).shifts is None


def test_operator_of_the_peers_is_the_observation_and_its_adjoint(view):
    view, _ = view
    image = torch.rand(view.grid.shape, generator=torch.Generator().manual_seed(0))
    samples, is_known = view.lowres.sample(view.grid, image)
    np.testing.assert_allclose(view.see(image), samples.values[is_known].numpy(), atol=2e-5)
    errors = np.random.default_rng(0).random(len(view.values)).astype(np.float32)
    assert float((view.back(errors) * image).sum()) == pytest.approx(float(view.see(image) @ errors), rel=1e-4)


def test_each_peer_is_better_than_the_one_before_it(scripts, view):
    baselines, (view, truth) = scripts["baselines"], view
    found = {}
    for name, solve in {
        "bicubic": baselines.bicubic,
        "drizzle": baselines.drizzle,
        "back-projection": lambda view: baselines.back_projection(view, 60),
        "Tikhonov": lambda view: baselines.tikhonov(view, 3e-3, 40),
        "BTV-L1": lambda view: baselines.btv_l1(view, 1e-4, 200),
    }.items():
        image = view.grid.crop(solve(view)).numpy()
        found[name] = -10 * np.log10(np.mean((image - truth)[8:-8, 8:-8] ** 2))
    assert list(found) == sorted(found, key=lambda name: found[name])
    assert found["BTV-L1"] > found["bicubic"] + 3


def test_hurried_columns_are_of_nerfkit_alone_and_busy_processes_end(scripts, tmp_path, monkeypatch):
    bench, asked = scripts["bench"], []

    def solve(problem, work, seconds):
        alive = len(spinning) and all(process.poll() is None for process in spinning)
        asked.append((problem.shifts is None, seconds, bool(alive)))
        return problem.truth, 1.0

    class Noted(subprocess.Popen):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            spinning.append(self)

    monkeypatch.setattr(bench, "solve_with_nerfkit", solve)
    monkeypatch.setattr(bench.subprocess, "Popen", Noted)
    monkeypatch.setattr(bench, "machine", lambda: {"cores": 1})
    for name in ("no shifts (loaded)", "no shifts (20 s)"):
        spinning = []
        (score,) = bench.bench_column(name, 0, ["nerfkit", "bicubic"], tmp_path, 60)
        assert (score.column, score.method) == (name, "nerfkit")
        assert all(process.poll() is not None for process in spinning)
    assert asked == [(True, 60, True), (True, 20, False)]


def test_scores_are_merged_and_goals_follow_the_peers(scripts, tmp_path):
    bench = scripts["bench"]

    def score(method, psnr, seed=0, column="camera"):
        return bench.Score(column, method, seed, psnr, 0.9, 1.0)

    path = tmp_path / "new" / "superres.json"
    scores = [score("nerfkit", 32.0), score("nerfkit", 30.0, 1), score("BTV-L1", 31.0), score("drizzle", 20.0)]
    bench.write_json(scores, path)
    assert json.loads(path.read_text())["scores"][0]["psnr"] == 32.0
    scores = bench.merged(path, [score("nerfkit", 33.0), score("nerfkit", 28.0, column="4x64")])
    assert len(scores) == 5 and bench.median(scores, "camera", "nerfkit") == 31.5
    assert bench.goal(scores, "camera") == pytest.approx(31.7) and bench.goal(scores, "4x64") == 31.0
    assert bench.goal(scores, "outliers") is None
    assert "| camera | 31.50 | 31.70 |  |  | 20.00 |  |  | 31.00 |" in bench.table(scores)
    bench.plot(scores, tmp_path / "plots" / "a.png")
    assert (tmp_path / "plots" / "a.png").stat().st_size > 1000
    with pytest.raises(SystemExit, match="--columns: nothing is unknown"):
        bench._names("4x64,nothing", ["4x64"], "--columns")


@pytest.mark.parametrize("is_colour", [False, True])
def test_large_frames_are_what_the_truth_predicts(scripts, tmp_path, is_colour):
    from nerfkit.scenes.readers.frames import read_frames
    from nerfkit.scenes.transfer import decode_srgb

    truth, _ = scripts["large"].write_frames(tmp_path / "f", 60, 3, 4, "shift", is_colour=is_colour)
    first, whole = read_frames(tmp_path / "f").images[0], read_frames(truth).images[0]
    assert first.shape == (60, 60, 3)[: 2 + is_colour] and whole.shape == (240, 240, 3)[: 2 + is_colour]
    first, whole = (decode_srgb(torch.from_numpy(part)).numpy() if is_colour else part for part in (first, whole))
    predicted = whole.reshape(60, 4, 60, 4, -1).mean((1, 3)).reshape(first.shape)
    assert np.sqrt(np.mean((predicted - first) ** 2)) < 0.02
    # strokes on one side, a photograph on the other
    assert whole[:, :100].std() > 0.1 and whole[:, 140:].std() > 0.05


@pytest.mark.parametrize("kind", ["shift", "affine", "homography"])
def test_positions_are_moved_to_the_axes_of_a_truth(scripts, kind):
    turn = np.array([[0.9, -0.1, 0.3], [0.1, 0.9, -0.2], [1e-3, -2e-3, 1.0]])
    given = {"shift": np.array([0.3, -0.2]), "affine": turn[:2], "homography": turn}[kind]
    moved = scripts["bench"]._moved(Shifts(kind, given[None], ["a"]), -0.25).values[0]
    if kind == "shift":
        np.testing.assert_allclose(moved, given - 0.25)
        return

    def seen(matrix):
        x = np.vstack([matrix, [0, 0, 1]])[:3] @ [5.0, 7.0, 1.0]
        return x[:2] / x[2]

    np.testing.assert_allclose(seen(moved), seen(given) - 0.25)


def test_carta_is_what_the_benchmark_takes_it_for(scripts):
    """The first frame: means of 3 x 3 pixels of the truth round every second one, to 0.01 of noise."""
    folder = os.environ.get("NERFKIT_TEST_DATA")
    if not folder or not (Path(folder) / "sr" / "carta_with_gt").is_dir():
        pytest.skip("set NERFKIT_TEST_DATA to a folder that has sr/carta_with_gt")
    capture = scripts["bench"].SEQUENCES["carta"]
    first = read_frames(Path(folder) / "sr" / capture.frames).images[0]
    truth = read_frames(Path(folder) / "sr" / capture.truth).images[0]
    grid = Grid(first.shape[0], first.shape[1], capture.scale, 0)
    shift = torch.full((1, 2), capture.displacement, dtype=torch.float64)

    def error(width, shifts):
        stack, view = measured(first[None], shifts, Psf(width=width))
        samples, is_known = view.sample(grid, torch.from_numpy(truth))
        return float((samples.values - stack.values)[is_known].square().mean().sqrt())

    assert error(capture.psf_width, shift) < 0.011
    # another PSF or other axes leave three times as much, and more
    assert min(error(1.0, shift), error(capture.psf_width, 0 * shift)) > 0.03
