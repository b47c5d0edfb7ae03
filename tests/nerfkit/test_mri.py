"""Pictures from k-space: the instrument, the files, what is estimated, and the task from a picture to a run folder."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from support import stop_after_saves

import nerfkit
from nerfkit.cli import main
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.observations.kspace import (
    CartesianKspace,
    Lines,
    PhasedKspace,
    RadialKspace,
    centred_fft,
    centred_ifft,
)
from nerfkit.scenes.readers.kspace import checked_grid, checked_samples, read_kspace
from nerfkit.workbench.magnetic.centre import centre_pictures, noise_of, sensitivities_of
from nerfkit.workbench.magnetic.classical import least_variation, make_problem
from nerfkit.workbench.magnetic.held_lines import best_share, held_out
from nerfkit.workbench.magnetic.refine import first_controls, refine, with_controls
from nerfkit.workbench.magnetic.simulated import simulate_kspace

SIDES = (28, 32)
LINES = np.array([0, 1, 5, 13, 14, 15, 27])
KEYS = {"acceleration": 2, "coils": 1, "noise": 0.01, "radial": 0}


def phantom(shape=SIDES):
    """Two discs in air."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    disc = np.hypot(y / shape[0] - 0.5, x / shape[1] - 0.5) < 0.38
    inner = np.hypot(y / shape[0] - 0.4, x / shape[1] - 0.6) < 0.12
    return (0.6 * disc + 0.4 * inner).astype(np.float32)


def draw(*shape, seed=0):
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def instrument(name, n_coils=3):
    coils = draw(n_coils, *SIDES, seed=1)
    if name == "radial":
        pytest.importorskip("finufft")
        return RadialKspace(coils, torch.rand(50, 2, generator=torch.Generator().manual_seed(2)) - 0.5)
    axes = {"rows": -2, "columns": -1}
    lines = Lines(SIDES, axes[name], LINES, coils.device) if name in axes else None
    return CartesianKspace(coils, lines)


def inner(a, b):
    return (a.conj() * b).sum()


@pytest.mark.parametrize("name", ["cartesian", "rows", "columns", "radial"])
@pytest.mark.parametrize("n_coils", [1, 3])
def test_the_adjoint_is_one(name, n_coils):
    kspace, picture = instrument(name, n_coils), draw(2, *SIDES)
    seen = kspace.product(picture)
    values = draw(*seen.shape, seed=5)
    assert torch.allclose(inner(values, seen), inner(kspace.adjoint(values), picture), rtol=1e-3, atol=1e-2)
    phased = PhasedKspace(kspace, torch.exp(1j * draw(*SIDES).real))
    real = picture.real.contiguous()
    expected = inner(phased.adjoint(values).to(torch.complex64), real.to(torch.complex64)).real
    assert torch.allclose(inner(values, phased.product(real)).real, expected, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", ["cartesian", "rows", "columns", "radial"])
def test_the_derivative_is_the_adjoint(name):
    kspace = instrument(name)
    picture = draw(*SIDES).requires_grad_(True)
    values = kspace.apply(picture)
    wanted = draw(*values.shape, seed=4)
    inner(wanted, values).real.backward()
    assert picture.grad is not None
    assert torch.allclose(picture.grad, kspace.adjoint(wanted), rtol=1e-3, atol=1e-3)


def test_samples_on_the_grid_are_the_grid():
    pytest.importorskip("finufft")
    picture, (h, w) = draw(*SIDES), SIDES
    ky, kx = np.mgrid[:h, :w]
    trajectory = np.stack([(kx - w // 2) / w, (ky - h // 2) / h], -1).reshape(-1, 2).astype(np.float32)
    found = RadialKspace(torch.ones(1, h, w), torch.from_numpy(trajectory)).product(picture).view(h, w)
    assert torch.allclose(found, centred_fft(picture), atol=1e-3)
    assert torch.allclose(centred_ifft(found), picture, atol=1e-3)


@pytest.mark.parametrize("name", ["rows", "columns"])
@pytest.mark.parametrize("shape", [SIDES, (27, 31)])
def test_lines_are_those_of_the_grid(name, shape):
    axis, picture, coils = {"rows": -2, "columns": -1}[name], draw(2, *shape), draw(3, *shape, seed=1)
    places = np.array([0, 2, 13, 14, 26])
    some, whole = CartesianKspace(coils, Lines(shape, axis, places, coils.device)), CartesianKspace(coils)
    seen, expected = some.product(picture), whole.product(picture)
    assert torch.allclose(seen, expected.index_select(axis, torch.from_numpy(places)), atol=1e-5)
    assert torch.equal(some.of_grid(some.on_grid(seen)), seen)
    assert torch.allclose(some.adjoint(seen), whole.adjoint(some.on_grid(seen)), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_whole_lines_give_the_problem_of_the_grid(axis):
    # a mask turned on its side is of columns; one with a hole in a line is of no lines
    data = simulate_kspace(phantom((32, 32)), KEYS | {"coils": 2}, 0)
    assert data.mask is not None and data.sensitivities is not None
    if axis == 1:
        turned = {name: np.swapaxes(getattr(data, name), -1, -2) for name in ("values", "mask", "sensitivities")}
        data = dataclasses.replace(data, **turned)
        assert data.mask is not None
    n_lines = int(data.mask.any(1 - axis).sum())
    problem = make_problem(data, 0.01, "cpu")
    assert problem.values.shape == ((2, n_lines, 32) if axis == 0 else (2, 32, n_lines))
    mask = data.mask.copy()
    mask[tuple(np.argwhere(mask)[0])] = False
    assert make_problem(dataclasses.replace(data, mask=mask), 0.01, "cpu").values.shape == data.values.shape
    whole = dataclasses.replace(
        problem, kspace=CartesianKspace(problem.kspace.sensitivities),
        **{name: problem.kspace.on_grid(getattr(problem, name)) for name in ("values", "weights", "sampling")},
    )  # fmt: skip
    found, expected = (least_variation(p, torch.tensor([20.0]), has_phase=True)[0] for p in (problem, whole))
    assert torch.allclose(found, expected, atol=1e-3)


def test_noise_is_found_at_the_rim():
    data = simulate_kspace(phantom((64, 64)), KEYS | {"noise": 0.05}, 0)
    assert 0.04 < noise_of(data) < 0.075


def test_noise_is_found_in_the_air_where_the_rim_holds_detail():
    # dots: their spectrum does not fade
    picture = np.zeros((64, 64), np.float32)
    picture[12:52:5, 12:52:5] = 1
    data = simulate_kspace(picture, KEYS, 0)
    assert noise_of(data) == pytest.approx(0.01, rel=0.1)
    assert noise_of(dataclasses.replace(data, mask=data.mask & (np.arange(64) != 30))) > 0.013


@pytest.mark.parametrize("n_coils", [1, 4])
def test_a_phase_that_the_centre_has_wrong_is_refined(n_coils):
    data = simulate_kspace(phantom((64, 64)), KEYS | {"coils": n_coils}, 0)
    if n_coils > 1:
        data = dataclasses.replace(data, sensitivities=None)
    problem = make_problem(data, 0.01, "cpu")
    first = first_controls(problem)
    before, after = with_controls(problem, first), with_controls(problem, refine(problem, first, None))
    weight = torch.tensor([20.0])

    def misfit(known):
        picture = least_variation(known, weight, has_phase=True)[0]
        return float((known.sampling * (known.kspace.product(picture) - known.values)).abs().square().sum())

    assert misfit(after) < 0.5 * misfit(before)
    if n_coils > 1:
        assert torch.allclose(after.kspace.sensitivities.abs().square().sum(0), torch.ones(64, 64), atol=1e-3)
    else:
        assert torch.allclose(after.phasor.abs(), torch.ones(64, 64), atol=1e-3)


def test_coils_of_the_centre():
    data = simulate_kspace(phantom((64, 64)), KEYS | {"coils": 4, "noise": 0.001}, 0)
    found, true = sensitivities_of(centre_pictures(data)), torch.from_numpy(data.sensitivities)
    on = torch.from_numpy(phantom((64, 64)) > 0)
    assert torch.allclose(found.abs().square().sum(0)[on], torch.ones(int(on.sum())), atol=0.05)
    # up to the picture's own phase
    likeness = (found.conj() * true).sum(0).abs()[on]
    assert likeness.median() > 0.97


def test_runs_of_samples_away_from_the_middle_are_held_out():
    data = simulate_kspace(phantom((64, 64)), KEYS | {"coils": 2}, 0)
    held = held_out(data, 0)[0].bool().numpy()
    assert held.any() and not held[30:35, 30:35].any()
    assert data.mask is not None and not (held & ~data.mask).any()
    assert 0.02 < held.sum() / data.mask.sum() < 0.12


def test_the_share_that_predicts_best():
    first, second = draw(2, 30), draw(2, 30, seed=1)
    held = (draw(2, 30, seed=2).real > 0).float()
    assert best_share(first, second, 0.7 * first + 0.3 * second, held) == pytest.approx(0.3, abs=1e-4)
    assert best_share(first, second, 2 * first - second, held) == 0.0
    assert best_share(first, second, second, held * 0) == 0.0


def grid(**changes) -> dict[str, Any]:
    full = centred_fft(torch.from_numpy(phantom()).to(torch.complex64)).numpy()[None]
    return {"kspace": full, "mask": np.ones(SIDES, bool), "coils": None} | changes


def with_nan():
    values = grid()["kspace"].copy()
    values[0, 3, 4] = np.nan
    return values


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        ({"kspace": np.abs(grid()["kspace"])}, "kspace are float32: k-space is complex", "imaginary"),
        ({"kspace": np.zeros((2, 2, 28, 32), complex)}, r"shape \(2, 2, 28, 32\)", "one slice"),
        ({"mask": np.ones((4, 4))}, r"the mask has shape \(4, 4\), a coil's kspace \(28, 32\)", "one mask"),
        ({"mask": np.zeros(SIDES)}, "the mask is empty", "by 1"),
        ({"kspace": with_nan()}, "kspace: 1 of its .* the first at coil", "set them to 0"),
        ({"kspace": np.zeros((1, *SIDES), complex)}, "are all 0", "measured"),
        ({"kspace": np.fft.fftshift(grid()["kspace"])}, "far from the middle 14, 16", "fftshift"),
        ({"coils": np.ones((2, *SIDES))}, r"sensitivities have shape \(2, 28, 32\)", "leave them out"),
    ],
)
def test_bad_k_space_is_named(changes, message, fix, tmp_path):
    with pytest.raises(NerfkitError, match=message) as caught:
        checked_grid(**grid(**changes), path=tmp_path / "x.npz")
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        ({"trajectory": np.full((8, 2), 3.0)}, "the trajectory reaches 3; cycles a pixel", "2 pi"),
        ({"trajectory": np.full((8, 2), np.nan)}, "trajectory: 16 of its 16 values are NaN", "leave"),
        ({"trajectory": np.zeros((7, 2))}, r"the trajectory \(7, 2\)", "reshape"),
        ({"size": None}, "how large the picture is", "--set size"),
    ],
)
def test_bad_samples_are_named(changes, message, fix, tmp_path):
    good: dict[str, Any] = {
        "samples": np.ones((1, 8), complex),
        "trajectory": np.zeros((8, 2)),
        "size": (32, 28),
        "coils": None,
    }
    assert checked_samples(**good, path=tmp_path / "x.npz").shape == SIDES
    with pytest.raises(NerfkitError, match=message) as caught:
        checked_samples(**good | changes, path=tmp_path / "x.npz")
    assert fix in caught.value.fix


def write_ismrmrd(path, rows, slices=(0,), *, kept=None, flags=None, lines=None):
    """``rows`` of one coil as lines; ``kept`` is the result's width, ``flags`` and ``lines`` are each row's."""
    h5py = pytest.importorskip("h5py")
    idx = [(name, "<u2") for name in ("kspace_encode_step_1", "kspace_encode_step_2", "slice", "contrast", "phase")]
    idx += [("repetition", "<u2"), ("set", "<u2")]
    head = [("flags", "<u8"), ("active_channels", "<u2"), ("center_sample", "<u2"), ("trajectory_dimensions", "<u2")]
    table = np.zeros(
        len(rows) * len(slices),
        [("head", [*head, ("idx", idx)]), ("data", h5py.vlen_dtype(np.float32))],
    )
    place = 0
    for number in slices:
        for step, row in enumerate(rows):
            table["head"]["active_channels"][place] = 1
            table["head"]["center_sample"][place] = len(row) // 2
            table["head"]["flags"][place] = 0 if flags is None else flags[step]
            table["head"]["idx"]["kspace_encode_step_1"][place] = step if lines is None else lines[step]
            table["head"]["idx"]["slice"][place] = number
            table["data"][place] = row.astype(np.complex64).view(np.float32)
            place += 1
    height = len(rows) if lines is None else max(lines) + 1
    sizes, results = (
        f"<matrixSize><x>{width}</x><y>{height}</y><z>1</z></matrixSize>"
        for width in (len(rows[0]), kept or len(rows[0]))
    )
    text = (
        '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>'
        f"<encodedSpace>{sizes}</encodedSpace><reconSpace>{results}</reconSpace></encoding></ismrmrdHeader>"
    )
    with h5py.File(path, "w") as file:
        file["dataset/data"] = table
        file.create_dataset("dataset/xml", data=[text], dtype=h5py.string_dtype())


def test_ismrmrd_is_read(tmp_path):
    full = grid()["kspace"]
    write_ismrmrd(tmp_path / "a.h5", full[0])
    found = read_kspace(tmp_path / "a.h5")
    assert np.allclose(found.values, full) and found.mask is not None and found.mask.all()
    write_ismrmrd(tmp_path / "b.h5", full[0], slices=(0, 1))
    with pytest.raises(NerfkitError, match="2 values of slice"):
        read_kspace(tmp_path / "b.h5")


def test_lines_of_ismrmrd_that_are_none_and_those_that_come_twice(tmp_path):
    full = grid()["kspace"][0]
    noise, mirrored = 1 << 18, 1 << 23
    height = len(full)
    rows = np.concatenate([full, full[:1] + 2, full[:2] * 50])
    write_ismrmrd(
        tmp_path / "a.h5", rows, lines=[*range(height), 0, 3, 4], flags=[*[0] * (height + 1), noise, mirrored]
    )  # fmt: skip
    found = read_kspace(tmp_path / "a.h5")
    # the mean of the two, and what calibrates nowhere
    np.testing.assert_allclose(found.values[0, 0], full[0] + 1, rtol=1e-5)
    np.testing.assert_allclose(found.values[0, 1:], full[1:], rtol=1e-5, atol=1e-6)


def test_lines_of_ismrmrd_that_are_read_twice_as_densely(tmp_path):
    """The picture's middle half is kept."""
    picture = np.zeros((28, 64), np.complex64)
    picture[:, 16:48] = phantom()
    write_ismrmrd(tmp_path / "a.h5", centred_fft(torch.from_numpy(picture)).numpy(), kept=32)
    found = read_kspace(tmp_path / "a.h5")
    assert found.values.shape == (1, 28, 32)

    seen = centred_ifft(torch.from_numpy(found.values[0])).real.numpy()
    np.testing.assert_allclose(seen, phantom(), atol=1e-4)


@pytest.mark.parametrize("stage", ["held_out", "whole"])
def test_a_stopped_run_goes_on_to_the_same_picture(tmp_path, monkeypatch, stage):
    np.save(tmp_path / "truth.npy", phantom())
    nerfkit.fit("mri", tmp_path / "truth.npy", tmp_path / "made.npy", simulate=KEYS, prior="variation", device="cpu")
    measured = tmp_path / "made" / "measurements.npz"
    settings = {"prior": "field", "steps": 40, "seconds": 600, "device": "cpu"}
    told = nerfkit.fit("mri", measured, tmp_path / "a.npy", **settings).figures
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_after_saves(patched, lambda name: name == stage)
        nerfkit.fit("mri", measured, tmp_path / "b.npy", **settings)
    assert nerfkit.resume_fit(tmp_path / "b").figures["chosen"] == told["chosen"]
    for name in (".npy", "/phase.npy", "/deviation.npy"):
        np.testing.assert_array_equal(np.load(f"{tmp_path}/a{name}"), np.load(f"{tmp_path}/b{name}"))


def test_coils_that_nobody_knows_cost_little(tmp_path):
    np.save(tmp_path / "truth.npy", phantom((48, 48)))
    given = {"prior": "variation", "device": "cpu", "baselines": False}
    known = nerfkit.fit(
        "mri", tmp_path / "truth.npy", tmp_path / "a.npy", simulate={"acceleration": 2, "coils": 4}, **given
    )  # fmt: skip
    with np.load(tmp_path / "a" / "measurements.npz") as arrays:
        np.savez(tmp_path / "m.npz", **{name: arrays[name] for name in arrays.files if name != "sensitivities"})
    found = nerfkit.fit("mri", tmp_path / "m.npz", tmp_path / "b.npy", truth=tmp_path / "truth.npy", **given)
    assert found.figures["metrics"]["psnr"] > known.figures["metrics"]["psnr"] - 3


def test_wavelets_that_are_not_installed_are_missed_aloud(tmp_path, monkeypatch, capsys):
    import importlib.util

    np.save(tmp_path / "truth.npy", phantom())
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "pywt" else find(name, *more))
    arguments = ["fit", "mri", str(tmp_path / "truth.npy"), "-o", str(tmp_path / "o.npy"), "--simulate", "coils=1"]
    assert main([*arguments, "--set", "prior=variation", "--json", "--device", "cpu"]) == 0
    heard = capsys.readouterr()
    told = json.loads(heard.out.splitlines()[-1])
    assert set(told["baselines"]) == {"zero-filled", "TV", "TV + phase of the centre"}
    assert "pip install pywavelets" in heard.err


def test_a_field_from_the_command_line(tmp_path, capsys):
    np.save(tmp_path / "truth.npy", phantom((48, 48)))
    out = tmp_path / "out.npy"
    arguments = ["fit", "mri", str(tmp_path / "truth.npy"), "-o", str(out), "--simulate", "acceleration=2,coils=2"]
    assert main([*arguments, "--set", "steps=20", "--json", "--device", "cpu"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    zero = told["baselines"]["zero-filled"]["psnr"]
    assert told["metrics"]["psnr"] > zero + 3 and 0 < told["metrics"]["holdout"] < 1
    assert told["baselines"]["wavelets + phase of the centre"]["psnr"] > zero + 1
    assert set(told["chosen"]["held_out"]) == {"field", "variation", "mean"}
    assert np.load(out).shape == (48, 48)
    run = nerfkit.load(told["run"]).run.folder
    complex_picture = np.load(run / "complex.npz")["picture"]
    assert np.allclose(np.abs(complex_picture), np.load(out), atol=1e-5)
    assert np.allclose(np.angle(complex_picture), np.load(run / "phase.npy"), atol=1e-5)
    deviation = np.load(run / "deviation.npy")
    assert deviation.shape == (48, 48) and 0 < deviation.mean() < 0.05 * np.load(out).max()
    # the window is told; nothing says how large a pixel is
    scales = json.loads((tmp_path / "out" / "shown.json").read_text())["scales"]
    assert set(scales) == {"result", "zero_filled"} and scales["result"] == scales["zero_filled"]
    assert scales["result"]["mm_wide"] is None and scales["result"]["black"] == 0 < scales["result"]["white"]


def test_spokes_in_python(tmp_path):
    pytest.importorskip("finufft")
    np.save(tmp_path / "truth.npy", phantom((32, 32)))
    given = {"simulate": {"radial": 20}, "prior": "variation", "device": "cpu"}
    told = nerfkit.fit("mri", tmp_path / "truth.npy", tmp_path / "out.npy", **given).figures
    assert told["chosen"]["prior"] == "variation"
    assert told["metrics"]["psnr"] > told["baselines"]["zero-filled"]["psnr"]


def test_a_picture_is_no_k_space(tmp_path):
    np.save(tmp_path / "truth.npy", phantom())
    with pytest.raises(NerfkitError, match="is a picture, not k-space"):
        nerfkit.fit("mri", tmp_path / "truth.npy", tmp_path / "out.npy")
