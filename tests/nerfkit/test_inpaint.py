"""Holes filled: the energy and its solve, held-out holes, and the task from files to a picture."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import nerfkit
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.fields.plain_grid import PlainGrid
from nerfkit.scenes.observations.differences import NeighbourDifferences, total_variation
from nerfkit.tasks.fit import resume_fit
from nerfkit.tasks.inpaint import InpaintConfig
from nerfkit.workbench.inpainting import holes
from nerfkit.workbench.inpainting.baselines import FILLERS, filled_by_all, least_variation
from nerfkit.workbench.inpainting.holes import GridEnergy, Smoothness, fill, held_out_holes

SIDE = 24


def smooth(side=SIDE, n_channels=1):
    """Waves that are longer than the gaps between known pixels, [h, w, c] in [0, 1]."""
    ys, xs = np.mgrid[:side, :side] / side
    parts = [0.5 + 0.4 * np.sin(5 * xs + 3 * ys + k) for k in range(n_channels)]
    return np.stack(parts, -1)


def edge(side=SIDE):
    """Two planes that meet at a slanted edge."""
    ys, xs = np.mgrid[:side, :side] / side
    return np.where(xs + 0.5 * ys < 0.7, 0.2 + 0.1 * ys, 0.8 - 0.1 * xs)[..., None]


def random_mask(side=SIDE, keep=0.4, seed=0):
    return np.random.default_rng(seed).random((side, side)) < keep


def block(side=SIDE, low=8, high=14):
    known = np.ones((side, side), bool)
    known[low:high, low:high] = False
    return known


def write(path, values):
    pixels = np.rint(np.squeeze(values) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def mse(found, truth, known):
    return float(np.square(found - truth)[~known].mean())


def fit(*args, **kwargs):
    return nerfkit.fit("inpaint", *args, **kwargs)


def test_bilinear_energy_is_the_integral():
    # of a bilinear function on one cell, by Gauss points, which are exact for it
    generator = np.random.default_rng(0)
    corners = generator.random((2, 2, 1))
    matrix = GridEnergy((2, 2)).matrix(corners, Smoothness(0.0, np.inf))
    u = corners.ravel()
    points = 0.5 + np.array([-1, 1]) / np.sqrt(12)
    (a, b), (c, d) = corners[..., 0]
    expected = np.mean([((b - a) * (1 - y) + (d - c) * y) ** 2 + ((c - a) * (1 - x) + (d - b) * x) ** 2
                        for x in points for y in points])  # fmt: skip
    assert u @ matrix @ u == pytest.approx(expected, rel=1e-12)


def test_bending_is_zero_on_planes_and_two_on_a_parabola():
    bending = GridEnergy((6, 7)).bending
    ys, xs = (axis.astype(float).ravel() for axis in np.mgrid[:6, :7])
    assert np.abs(bending @ (2 * xs - 3 * ys + 1)).max() < 1e-12
    # second difference 2 by x, at 5 of 7 columns of 6 rows; mixed 1 at each of 5 x 6 cells of xy, twice
    assert (xs**2) @ bending @ xs**2 == pytest.approx(4 * 5 * 6)
    assert (xs * ys) @ bending @ (xs * ys) == pytest.approx(2 * 5 * 6)


@pytest.mark.parametrize("contrast", [np.inf, 0.05])
def test_matrices_are_symmetric_and_of_no_negative_energy(contrast):
    picture = np.random.default_rng(1).random((5, 6, 3))
    matrix = GridEnergy((5, 6)).matrix(picture, Smoothness(0.1, contrast)).toarray()
    assert np.abs(matrix - matrix.T).max() < 1e-12
    assert np.linalg.eigvalsh(matrix).min() > -1e-10
    assert np.abs(matrix.sum(1)).max() < 1e-10, "a constant has no energy"


def test_a_plate_fills_a_plane_exactly():
    ys, xs = np.mgrid[:16, :16] / 16.0
    plane = (0.2 + 0.3 * xs + 0.4 * ys)[..., None]
    known = block(16, 5, 10)
    found = fill(GridEnergy((16, 16)), plane, known, Smoothness(1e3, np.inf))
    assert np.abs(found - plane).max() < 1e-8


def test_edges_go_on_into_holes():
    picture, known = edge(), random_mask()
    energy = GridEnergy((SIDE, SIDE))
    plain = mse(fill(energy, picture, known, Smoothness(0.03, np.inf)), picture, known)
    enhanced = mse(fill(energy, picture, known, Smoothness(0.03, 0.02)), picture, known)
    assert enhanced < 0.9 * plain


def test_conjugate_gradients_agree_with_factors(monkeypatch):
    picture, known = smooth(n_channels=2), random_mask()
    energy, setting = GridEnergy((SIDE, SIDE)), Smoothness(0.1, 0.02)
    expected = fill(energy, picture, known, setting)
    monkeypatch.setattr(holes, "MAX_DIRECT", 0)
    assert np.abs(fill(energy, picture, known, setting) - expected).max() < 1e-4


def test_known_pixels_stay_and_unknown_ones_are_not_looked_at():
    picture, known = smooth(), random_mask()
    energy, setting = GridEnergy((SIDE, SIDE)), Smoothness(0.1, 0.02)
    found = fill(energy, picture, known, setting)
    other = fill(energy, np.where(known[..., None], picture, 7.0), known, setting)
    assert np.array_equal(found, other) and np.array_equal(found[known], picture[known])
    assert np.array_equal(fill(energy, picture, np.ones_like(known), setting), picture)


def test_held_out_holes_have_the_holes_shape():
    known = block(48, 20, 25)
    held_out = held_out_holes(known, 3)
    assert not (held_out & ~known).any() and 0 < held_out.sum() <= 0.15 * known.sum()
    rows, cols = held_out.any(1).sum(), held_out.any(0).sum()
    assert held_out.sum() % 25 == 0 or (rows >= 5 and cols >= 5)
    assert np.array_equal(held_out, held_out_holes(known, 3)) and not np.array_equal(held_out, held_out_holes(known, 4))
    scattered = held_out_holes(random_mask(keep=0.1), 0)
    assert 1 <= scattered.sum() <= max(1, 0.15 * random_mask(keep=0.1).sum())
    # a hole larger than the part that may be held out: a whole one is taken where there is room
    large = held_out_holes(block(24, 0, 14), 0)
    assert large.any() and not (large & ~block(24, 0, 14)).any()


def test_total_variation_of_a_ramp():
    ramp = PlainGrid((8, 8), 2, [(0, 8), (0, 8)])
    with torch.no_grad():
        ramp.values.copy_(torch.arange(8.0).expand(2, 8, 8))
    where = torch.tensor([[3.0, 3.0], [4.0, 5.0]])
    found = NeighbourDifferences().predict(ramp, where)
    torch.testing.assert_close(found, torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]).expand(2, 2, 2), atol=1e-4, rtol=0)
    lengths = total_variation(found, torch.zeros_like(found), smoothing=0.0)
    torch.testing.assert_close(lengths, torch.full((2,), 2.0).sqrt(), atol=1e-3, rtol=0)


def test_classical_methods():
    picture, known = smooth(n_channels=3), random_mask()
    constant = np.full((SIDE, SIDE, 1), 0.4)
    for name, (filler, how) in FILLERS.items():
        found: Any = filler(picture, known)
        assert found.shape == picture.shape and how and mse(found, picture, known) < 0.02, name
        # OpenCV's have 8 bits, and Telea's is a few of their steps off
        assert np.abs(np.asarray(filler(constant, known)) - 0.4).max() < 0.02, name
    # one channel or three alone
    assert {name for name, *_ in filled_by_all(smooth(n_channels=2), known)} == set(FILLERS) - {
        "telea",
        "navier-stokes",
    }
    step = np.zeros((8, 8, 1))
    step[:, 4:] = 1
    assert np.abs(least_variation(step, block(8, 2, 4), 200) - step).max() < 0.05


def test_a_smooth_picture_is_restored(tmp_path):
    truth = smooth(n_channels=3)
    source = write(tmp_path / "truth.png", truth)
    result = fit(source, tmp_path / "out.png", simulate={"keep": 0.4})
    figures = result.figures
    # 8 bits alone cost 59 dB
    assert figures["metrics"]["psnr"] > 38 and figures["metrics"]["holdout_psnr"] > 33
    assert figures["metrics"]["psnr"] > figures["baselines"]["linear"]["psnr"]
    assert set(figures["baselines"]) == set(FILLERS) and all(b["how"] for b in figures["baselines"].values())
    assert figures["field"] == "grid" and figures["n_params"] == SIDE * SIDE * 3
    run = tmp_path / "out"
    stored = np.load(run / "measurements.npz")
    known = stored["mask"]
    assert not stored["image"][~known].any(), "nothing of the truth is in what was measured"
    written = np.asarray(Image.open(tmp_path / "out.png"))
    assert np.array_equal(written[known], stored["image"][known]), "known pixels are as they were given"
    fit(run / "measurements.npz", tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "out.png").read_bytes()
    assert (run / "report.html").is_file() and result.render(size=(2 * SIDE, SIDE)).shape == (SIDE, 2 * SIDE, 3)


def test_a_mask_of_its_own_and_no_truth(tmp_path):
    source, mask = write(tmp_path / "a.png", edge()), write(tmp_path / "m.png", block().astype(float))
    figures = fit([source, mask], tmp_path / "out.png").figures
    assert "psnr" not in figures["metrics"] and figures["metrics"]["holdout_psnr"] > 12
    assert all("holdout_psnr" in baseline for baseline in figures["baselines"].values())
    truth = fit([source, mask], tmp_path / "b.png", truth=source, contrast=0.02, bending=0.1).figures
    assert truth["metrics"]["psnr"] > 15 and truth["chosen"]["contrast"] == 0.02
    assert truth["metrics"]["psnr_whole"] > truth["metrics"]["psnr"]


def test_floats_and_nan_are_holes(tmp_path):
    values = (100 * smooth()[..., 0]).astype(np.float32)
    values[~block()] = np.nan
    np.save(tmp_path / "a.npy", values)
    fit(tmp_path / "a.npy", tmp_path / "out.npy", contrast=1.0, bending=1.0)
    found = np.load(tmp_path / "out.npy")
    assert np.array_equal(found[block()], values[block()]) and np.isfinite(found).all()
    assert np.abs(found - 100 * smooth()[..., 0]).max() < 5


def test_a_network_of_least_variation_and_resume(tmp_path):
    source = write(tmp_path / "a.png", smooth())
    settings = {"field": "siren", "scale": 8.0, "n_params": 1500, "steps": 40, "holdout": 0.1, "variation": 0.03}
    found = fit(source, tmp_path / "out.png", simulate={"keep": 0.4}, **settings)
    assert found.figures["metrics"]["psnr"] > 18 and found.figures["chosen"]["variation"] == 0.03
    # a killed run goes on with what it had decided, and ends with the same picture
    run = tmp_path / "out"
    before = (tmp_path / "out.png").read_bytes()
    (tmp_path / "out.png").unlink()
    again = resume_fit(run)
    assert (tmp_path / "out.png").read_bytes() == before
    assert again.figures["chosen"] == found.figures["chosen"]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((SIDE, SIDE + 1)), "the mask has 25x24 pixels, the picture 24x24"),
        (np.zeros((SIDE, SIDE)), "no pixel is known"),
        (np.ones((SIDE, SIDE)), "every pixel is known: there is nothing to fill"),
        (np.eye(SIDE) * (np.arange(SIDE) == 3), "one pixel alone is known"),
        (None, "no mask tells which of its pixels are known"),
    ],
)
def test_wrong_masks(tmp_path, mask, message):
    inputs = [write(tmp_path / "a.png", smooth())]
    if mask is not None:
        np.save(tmp_path / "mask.npy", mask.astype(bool))
        inputs.append(tmp_path / "mask.npy")
    with pytest.raises(NerfkitError, match=message):
        fit(inputs, tmp_path / "out.png")


def test_other_mistakes(tmp_path):
    source, mask = write(tmp_path / "a.png", smooth()), write(tmp_path / "m.png", block().astype(float))
    for keep in (0.0, 1.0, -3):
        with pytest.raises(NerfkitError, match="keep must be above 0 and below 1"):
            fit(source, tmp_path / "out.png", simulate={"keep": keep})
    with pytest.raises(NerfkitError, match="takes no mask: it makes one"):
        fit([source, mask], tmp_path / "out.png", simulate={"keep": 0.1})
    with pytest.raises(NerfkitError, match="no pixel is known"):
        fit(source, tmp_path / "out.png", simulate={"keep": 1e-9})
    with pytest.raises(NerfkitError, match=r"has shape .*; that of the output is"):
        fit([source, mask], tmp_path / "out.png", truth=write(tmp_path / "t.png", smooth(SIDE + 1)))
    np.save(tmp_path / "line.npy", np.zeros((1, 5)))
    np.save(tmp_path / "line_mask.npy", np.array([[1, 0, 1, 1, 1]], bool))
    with pytest.raises(NerfkitError, match="two a side at least"):
        fit([tmp_path / "line.npy", tmp_path / "line_mask.npy"], tmp_path / "out2.png")
    np.savez(tmp_path / "bad.npz", image=np.zeros((4, 4)), mask=np.array(["no"]))
    with pytest.raises(NerfkitError, match=r"bad\.npz"):
        fit(tmp_path / "bad.npz", tmp_path / "out3.png")
    wrong: dict[str, Any] = {"contrast": 0.0, "bending": -1.0, "variation": -1.0, "holdout": 0.9}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=name):
            InpaintConfig(**{name: value})
