"""`nerfkit doctor SCAN`: what a scan holds, and the setting that undoes a mistake about it."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nerfkit.cli import main
from nerfkit.doctor import examine_data
from nerfkit.doctor.scan import thinned
from nerfkit.scenes.scan_geometry import ScanGeometry
from nerfkit.tasks.ct import CtConfig, read, simulate
from nerfkit.workbench.tomography.doctor import usual_distances
from nerfkit.workbench.tomography.scan import Scan

KEYS = {"angles": 30, "range": 0.0, "noise": 0.01, "photons": 0.0, "geometry": "fan", "size": 0}


def arrays_of(tmp_path, **keys) -> dict[str, Any]:
    side = 40
    axis = (np.arange(side) - (side - 1) / 2) / side
    x, y = axis[None, :], -axis[:, None]
    picture = 0.5 * ((x / 0.42) ** 2 + (y / 0.35) ** 2 < 1) + 0.4 * ((x - 0.15) ** 2 + (y - 0.1) ** 2 < 0.01)
    np.save(tmp_path / "body.npy", picture.astype(np.float32))
    return dict(simulate([tmp_path / "body.npy"], CtConfig(), KEYS | keys).arrays)


def examined(tmp_path, arrays):
    np.savez(tmp_path / "scan.npz", **arrays)
    return examine_data(tmp_path / "scan.npz")


def test_a_right_scan(tmp_path, capsys):
    np.savez(tmp_path / "scan.npz", **arrays_of(tmp_path))
    assert main(["doctor", str(tmp_path / "scan.npz"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["ok"] and found["dataset"]["geometry"] == "fan" and found["dataset"]["angles"] == 30
    assert not found["problems"]


def test_a_mistake_is_named_with_its_setting(tmp_path):
    arrays = arrays_of(tmp_path)
    arrays["angles"] = -arrays["angles"]
    report = examined(tmp_path, arrays)
    assert report.ok and [problem.level for problem in report.problems] == ["warning"]
    assert report.next_command.endswith("-o slice.tif --set is_clockwise=true")


def test_distances_that_are_tried():
    geometry = ScanGeometry("fan", (0.0, 90.0, 180.0), 20, 1.0, 9.5, 100.0, 250.0)
    tried = {settings: found for found, _, settings in usual_distances(geometry)}
    assert tried["detector_distance=150"].detector_distance == 150.0
    assert tried["bin_spacing=0.1"].bin_spacing == pytest.approx(0.1)
    both = tried["source_distance=1000 --set detector_distance=2500"]
    assert (both.source_distance, both.detector_distance) == (1000.0, 2500.0)


def test_centimetres_for_millimetres(tmp_path):
    arrays = arrays_of(tmp_path)
    for name in ("source_distance", "detector_distance"):
        arrays[name] = arrays[name] / 10
    report = examined(tmp_path, arrays)
    assert not report.ok and "--set source_distance=80 --set detector_distance=80" in report.problems[0].fix


def test_a_saturated_detector(tmp_path):
    arrays = arrays_of(tmp_path, photons=1e4, geometry="parallel")
    arrays["counts"] = np.minimum(arrays["counts"], 9000)
    np.savez(tmp_path / "scan.npz", **arrays)
    assert any("--set saturation=9000" in text for text in read([tmp_path / "scan.npz"], CtConfig()).said)
    data = simulate([tmp_path / "body.npy"], CtConfig(saturation=9000.0), KEYS | {"photons": 1e4}).data
    assert any("saturated values, from 9000 on" in text for text in data.said)


def test_dead_bins_are_a_warning(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py reads HDF5")
    arrays = arrays_of(tmp_path, photons=1e4, geometry="parallel")
    white = np.full((1, arrays["counts"].shape[1]), 1e4)
    white[0, 5] = 0
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        for name, array in {"data": arrays["counts"], "data_white": white, "theta": arrays["angles"]}.items():
            file[f"exchange/{name}"] = array
    report = examine_data(tmp_path / "scan.h5")
    warnings = [problem.what for problem in report.problems if problem.level == "warning"]
    assert report.ok and warnings[0].startswith(f"1 of {white.size} bins are dead")


def test_a_cone_is_checked_by_its_middle_row(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("nerfkit.doctor.scan.find_mistake", seen.append)
    np.save(tmp_path / "block.npy", np.pad(np.ones((8, 8, 6), np.float32), 6))
    report = examined(tmp_path, simulate([tmp_path / "block.npy"], CtConfig(), KEYS | {"geometry": "cone"}).arrays)
    assert seen[0].geometry.kind == "fan" and len(seen[0].sinogram) == 30
    assert report.facts["geometry"] == "cone" and report.next_command.endswith("-o volume.nii.gz")


def test_what_cannot_be_read_is_an_error(tmp_path):
    report = examined(tmp_path, {"sinogram": np.random.rand(9, 20)})
    assert not report.ok and "angle_range" in report.problems[0].fix


def test_kspace_has_no_check_up(tmp_path):
    np.savez(tmp_path / "k.npz", kspace=np.ones((1, 16, 16), complex))
    np.savez(tmp_path / "spokes.npz", samples=np.ones((1, 9), complex), trajectory=np.zeros((9, 2)))
    for path in (tmp_path / "k.npz", tmp_path / "spokes.npz"):
        report = examine_data(path)
        assert [problem.what for problem in report.problems] == ["holds k-space, of which there is no check-up"]
        assert not report.ok and report.problems[0].fix == f"nerfkit fit mri {path} -o picture.npy"


def test_kspace_in_hdf5_is_no_scan(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py reads HDF5")
    path = tmp_path / "k.h5"
    with h5py.File(path, "w") as file:
        file["dataset/xml"], file["dataset/data"] = "<ismrmrdHeader/>", np.zeros(3)
    report = examine_data(path)
    assert [problem.what for problem in report.problems] == ["is an ISMRMRD file of k-space, no scan of a tomograph"]
    assert not report.ok and report.problems[0].fix == f"nerfkit fit mri {path} -o picture.npy"
    # an array of that name is none, nor is a link into another file
    for change in (np.zeros(3), h5py.ExternalLink(str(path), "dataset")):
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["dataset"] = change
        assert "has no exchange/data, but dataset" in examine_data(tmp_path / "other.h5").problems[0].what


@pytest.mark.parametrize(("shape", "suffix"), [((20, 24), ".tif"), ((20, 24), ".npy"), ((40, 4, 60), ".npy")])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_a_sinogram_alone_needs_its_angles(tmp_path, shape, suffix, scale):
    """A picture of floats is as well one, so that it is an error only where it is no picture."""
    values, path = scale * np.random.default_rng(0).random(shape).astype(np.float32), tmp_path / f"scan{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    words = "of a sinogram the angles are needed too: save both as npz, named sinogram and angles"
    assert sum(words in problem.fix for problem in examine_data(path).problems) == 1


def test_a_large_scan_is_made_smaller():
    """Averages of neighbouring bins: of a ramp along the bins the same ramp, its centre where it was."""
    import torch

    geometry = ScanGeometry("parallel", tuple(np.arange(500.0)), 1000, 0.5, 480.0)
    ramp = ((torch.arange(1000.0) - 480) * 0.5).expand(500, -1)
    found = thinned(Scan(geometry, ramp, torch.ones(500, 1000), 10, 1.0))
    n_angles, n_bins = found.sinogram.shape
    assert n_angles <= 120 and n_bins <= 192 and found.geometry.angles[-1] == 499.0
    wanted = (torch.arange(n_bins) - found.geometry.center) * found.geometry.bin_spacing
    torch.testing.assert_close(found.sinogram[3], wanted.float(), atol=1e-3, rtol=0)
    assert float(found.deviations[0, 0]) == pytest.approx(6**-0.5, rel=1e-5)
