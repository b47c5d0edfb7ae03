"""`nerfkit fit ct` of a cone: from views to a volume, what is found on the way, and what is refused."""

import json

import numpy as np
import pytest
import torch
from support import stop_after_saves

import nerfkit
from nerfkit.limits import Limit
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.observations.cone_integrals import ConeIntegrals
from nerfkit.scenes.observations.instrument import linear
from nerfkit.scenes.readers.volume import read_volume
from nerfkit.tasks.ct import CtConfig, read, simulate
from nerfkit.workbench.tomography.feldkamp import feldkamp

SIDE = 24
KEYS = {"angles": 24, "range": 0.0, "noise": 0.01, "photons": 0.0, "geometry": "cone", "size": 0}


def body(side=SIDE):
    """Two ellipsoids, neither in the middle, the smaller one high, to the right and in front."""
    axis = (np.arange(side) - (side - 1) / 2) / side
    z, y, x = axis[:, None, None], axis[:, None], axis
    large = ((x + 0.03) / 0.42) ** 2 + (y / 0.35) ** 2 + (z / 0.4) ** 2 < 1
    small = (x - 0.15) ** 2 + (y - 0.1) ** 2 + (z - 0.15) ** 2 < 0.015
    return (0.5 * large + 0.4 * small).astype(np.float32)


@pytest.fixture
def volume(tmp_path):
    np.savez(tmp_path / "body.npz", volume=body(), affine=np.diag([-2.0, 2.0, 3.0, 1.0]))
    return tmp_path / "body.npz"


def scan_of(path, **keys):
    return simulate([path], CtConfig(), KEYS | keys)


@pytest.fixture
def views(tmp_path, volume):
    """Arrays of a scan, and where they can be saved."""
    return dict(scan_of(volume).arrays), tmp_path / "scan.npz"


def test_fdk_has_the_values_of_the_volume(volume):
    found = scan_of(volume, angles=90, noise=0.0)
    volume_of = feldkamp(found.data.scan, "ramp").numpy()
    inside = found.data.scan.seen.numpy()
    assert np.abs(volume_of - body())[inside].mean() < 0.03
    assert volume_of[body() == 0.5].mean() == pytest.approx(0.5, abs=0.03)


def test_from_a_volume_to_a_volume(tmp_path, volume):
    simulated = {"geometry": "cone", "angles": 24}
    found = nerfkit.fit("ct", volume, tmp_path / "a.nii.gz", simulate=simulated, steps=60, seconds=600)
    metrics, chosen = found.figures["metrics"], found.figures["chosen"]
    assert metrics["psnr"] > found.figures["baselines"]["FDK"]["psnr"]
    assert metrics["holdout"] > 0 and metrics["misfit"] < 2
    assert (chosen["geometry"], chosen["slices"], chosen["slice_spacing"]) == ("cone", SIDE, 3.0)
    written = read_volume(tmp_path / "a.nii.gz")
    # where it was: the affine of what was projected
    np.testing.assert_allclose(written.affine, np.diag([-2.0, 2.0, 3.0, 1.0]), atol=1e-6)
    again = nerfkit.load(tmp_path / "a").render()
    np.testing.assert_allclose(again.values, written.values, atol=1e-6)
    # how sure it is: where it was, in its unit, and of the right size
    deviation = read_volume(tmp_path / "a" / "deviation.nii.gz")
    np.testing.assert_allclose(deviation.affine, written.affine)
    assert 0.002 < float(np.median(deviation.values[body() > 0])) < 0.05
    assert 0.6 < metrics["within_two_deviations"] <= 1
    for name in ("result", "FDK__Hann_", "truth", "error_result", "deviation", "view", "residual"):
        assert (tmp_path / "a" / "pictures" / f"{name}.png").is_file()
    # the measurements alone give the same, and a finished run goes through at once
    other = nerfkit.fit("ct", tmp_path / "a" / "measurements.npz", tmp_path / "b.npy", steps=60, seconds=600)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), written.values)
    assert other.figures["metrics"]["holdout"] == metrics["holdout"]


@pytest.mark.parametrize("stage", ["voxels", "repetition_1"])
def test_a_stopped_run_goes_on_to_the_same_volume(tmp_path, views, monkeypatch, stage):
    from nerfkit.checkpoints import CheckpointFolder

    arrays, path = views
    np.savez(path, **arrays)
    settings = {"tv_weight": 1.0, "steps": 20, "seconds": 600}
    nerfkit.fit("ct", path, tmp_path / "a.npy", **settings)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_after_saves(patched, lambda name: name == stage)
        nerfkit.fit("ct", path, tmp_path / "b.npy", **settings)
    assert CheckpointFolder(tmp_path / "b" / "checkpoints" / stage).steps() == [10]
    nerfkit.resume_fit(tmp_path / "b")
    for name in (".npy", "/deviation.npy"):
        np.testing.assert_array_equal(np.load(f"{tmp_path}/a{name}"), np.load(f"{tmp_path}/b{name}"))


def test_the_deviation_is_what_other_noise_does(tmp_path, volume):
    """Volumes of four draws of the noise differ by it; the scan's unit and slope are undone."""
    settings = {"tv_weight": 2.0, "baselines": False, "seconds": 600}
    simulated = {"geometry": "cone", "angles": 24}
    nerfkit.fit("ct", volume, tmp_path / "a.npy", simulate=simulated, repetitions=4, **settings)
    drawn = []
    for seed in range(1, 5):
        nerfkit.fit("ct", volume, tmp_path / "b.npy", simulate=simulated, repetitions=0, seed=seed, overwrite=True,
                    **settings)  # fmt: skip
        drawn.append(np.load(tmp_path / "b.npy"))
    assert not (tmp_path / "b" / "deviation.npy").exists()
    inside = body() > 0
    wanted = np.stack(drawn).var(0, ddof=1)[inside].mean() ** 0.5
    found = np.square(np.load(tmp_path / "a" / "deviation.npy"))[inside].mean() ** 0.5
    assert found == pytest.approx(wanted, rel=0.25)


def test_a_limit_is_said(tmp_path, views, monkeypatch):
    arrays, path = views
    np.savez(path, **arrays)
    monkeypatch.setattr(Limit, "left", property(lambda limit: -1.0))
    found = nerfkit.fit("ct", path, tmp_path / "a.npy", tv_weight=1.0, steps=5000)
    assert "the volume after" in found.figures["cut"][0]
    assert "the deviation after 0 of 2 repetitions" in found.figures["cut"][1]
    assert not list((tmp_path / "a").glob("deviation*"))


def test_counts_and_a_finer_volume(tmp_path):
    np.save(tmp_path / "fine.npy", body(48) + 3.0)
    found = scan_of(tmp_path / "fine.npy", photons=1e5, size=24)
    scan, data = found.data.scan, found.data
    assert scan.shape == (24, 24, 24) and (scan.pixel, scan.height) == (2.0, 2.0)
    # in the unit of what went in
    values = feldkamp(scan, "hann").numpy() * data.slope + data.intercept
    assert np.abs(values - found.truth.values)[scan.seen.numpy()].mean() < 0.08
    np.testing.assert_allclose(found.truth.affine[:3, 3], 0.5)


@pytest.mark.parametrize("leading", [(), (2,)])
def test_the_adjoint_is_the_transpose(volume, leading):
    integrals = scan_of(volume, angles=3).data.scan.instrument
    assert isinstance(integrals, ConeIntegrals)
    picture = torch.rand(*leading, *integrals.shape, dtype=torch.float64, requires_grad=True)
    values = torch.rand(*leading, *integrals.values_shape, dtype=torch.float64)
    ahead = (linear(picture, integrals.product, integrals.adjoint) * values).sum()
    ahead.backward()
    back = integrals.adjoint(values)
    assert ahead.item() == pytest.approx((picture * back).sum().item(), rel=1e-11)
    torch.testing.assert_close(picture.grad, back)


def test_the_first_row_is_on_top(volume):
    """The small body stands high: rows above the middle see more."""
    views = scan_of(volume, noise=0.0).data.scan.sinogram
    n = views.shape[1] // 2
    assert views[:, :n].sum() > 1.03 * views[:, -n:].sum()


def test_the_centre_of_a_cone_is_found(views):
    arrays, path = views
    wanted = float(arrays.pop("center")) - 2
    arrays["sinogram"] = arrays["sinogram"][:, :, 2:]
    np.savez(path, **arrays)
    data = read([path], CtConfig())
    assert data.scan.geometry.fan.center == pytest.approx(wanted, abs=0.2)


BAD = {
    "two axes": ({"sinogram": np.random.rand(24, 20)}, {}, "n_rows, n_bins"),
    "row": ({}, {"row": 3}, "row 3 of a cone"),
    "center_row": ({"center_row": np.array(-4.0)}, {}, "center_row must be a row"),
    "row_spacing": ({"row_spacing": np.array(-1.0)}, {}, "row_spacing above 0"),
    "slices": ({"slices": np.array(-3.0)}, {}, "slices of"),
    "affine": ({"affine": np.eye(3)}, {}, "affine of shape"),
    "large": ({}, {"side": 200, "pixel_spacing": 0.1, "slices": 8000, "slice_spacing": 1.0}, "GB of memory"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_cones_are_named(name, views):
    arrays, path = views
    change, settings, words = BAD[name]
    np.savez(path, **(arrays | change))
    with pytest.raises(NerfkitError, match=words) as error:
        read([path], CtConfig(**settings))
    assert error.value.fix


def test_one_repetition_has_no_spread(tmp_path, views):
    arrays, path = views
    np.savez(path, **arrays)
    with pytest.raises(NerfkitError, match="repetitions, where there are any, must be between 2"):
        nerfkit.fit("ct", path, tmp_path / "a.npy", repetitions=1)


def test_a_part_of_a_turn_is_said(views):
    arrays, path = views
    arrays["angles"] = np.arange(24) * 8.0
    np.savez(path, **arrays)
    assert any("no whole turn" in text for text in read([path], CtConfig()).said)


def test_pixels_that_are_no_squares_are_refused(tmp_path):
    np.savez(tmp_path / "oblong.npz", volume=body(), spacing=(1.0, 2.0, 1.0))
    with pytest.raises(NerfkitError, match="square ones"):
        scan_of(tmp_path / "oblong.npz")


def test_a_window_is_black_and_white(tmp_path, views):
    arrays, path = views
    np.savez(path, **arrays)
    nerfkit.fit("ct", path, tmp_path / "a.npy", window=(0.1, 0.4), tv_weight=0.01, steps=2, repetitions=0)
    scales = json.loads((tmp_path / "a" / "shown.json").read_text())["scales"]
    # three slices side by side with two pixels behind each, of 2 mm
    assert scales["result"]["mm_wide"] == scales["FDK__Hann_"]["mm_wide"] > 2 * 3 * SIDE
    assert (scales["result"]["black"], scales["result"]["white"]) == (0.1, 0.4) and "view" not in scales


def test_a_picture_holds_no_volume(tmp_path, views):
    arrays, path = views
    np.savez(path, **arrays)
    with pytest.raises(NerfkitError, match="is a volume"):
        nerfkit.fit("ct", path, tmp_path / "a.png")
