"""`nerfkit fit ct`: from a scan to a slice, what is found on the way, and what is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import nerfkit
from nerfkit.cli import main
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.sinogram import read_scan
from nerfkit.scenes.scan_geometry import ScanGeometry
from nerfkit.tasks.ct import CtConfig, read
from nerfkit.workbench.tomography.back_projection import filtered_back_projection
from nerfkit.workbench.tomography.doctor import explain
from nerfkit.workbench.tomography.reconstruct import noise_deviation, quick_picture
from nerfkit.workbench.tomography.scan import Scan
from nerfkit.workbench.tomography.trial import misfit

SIDE = 48


def picture(side=SIDE):
    """A body of two organs, off the middle."""
    axis = (np.arange(side) - (side - 1) / 2) / side
    x, y = axis[None, :], -axis[:, None]
    body = ((x / 0.42) ** 2 + (y / 0.35) ** 2 < 1) * 0.5
    return (body + ((x - 0.15) ** 2 + (y - 0.1) ** 2 < 0.01) * 0.4 - ((x + 0.2) ** 2 + y**2 < 0.006) * 0.3).astype(
        np.float32
    )


def scan_of(kind="parallel", n_angles=40, noise=0.0, center=None, turn=None, **more):
    n_bins = 2 * SIDE if kind == "fan" else SIDE + 12
    center = (n_bins - 1) / 2 if center is None else center
    turn = turn or (360.0 if kind == "fan" else 180.0)
    distances = {"source_distance": 100.0, "detector_distance": 80.0} if kind == "fan" else {}
    geometry = ScanGeometry(kind, tuple(np.arange(n_angles) * turn / n_angles), n_bins, 1.0, center, **distances)
    scan = Scan(geometry, torch.zeros(1), torch.ones(1), SIDE, 1.0)
    clean = scan.instrument.product(torch.from_numpy(picture()))
    deviation = noise * float(clean.max()) or 1e-3
    values = clean + deviation * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)) * (noise > 0)
    return Scan(geometry, values, torch.full_like(values, deviation), SIDE, 1.0)


def arrays_of(scan):
    geometry = scan.geometry
    found = {
        "sinogram": scan.sinogram.numpy(), "angles": np.array(geometry.angles), "geometry": np.array(geometry.kind),
        "bin_spacing": np.array(geometry.bin_spacing), "pixel_spacing": np.array(1.0), "size": np.array(SIDE),
    }  # fmt: skip
    if geometry.kind == "fan":
        found |= {"source_distance": np.array(100.0), "detector_distance": np.array(80.0)}
    return found


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_back_projection_has_the_values_of_the_picture(kind):
    scan = scan_of(kind, n_angles=180)
    found, truth = filtered_back_projection(scan).numpy(), picture()
    inside = scan.seen.numpy()
    assert np.abs(found - truth)[inside].mean() < 0.03
    assert found[truth == 0.5].mean() == pytest.approx(0.5, abs=0.015)


def test_from_a_scan_to_a_slice(tmp_path):
    path = save(tmp_path / "scan.npz", **arrays_of(scan_of(noise=0.01)))
    np.save(tmp_path / "truth.npy", picture())
    found = nerfkit.fit("ct", path, tmp_path / "slice.tif", truth=tmp_path / "truth.npy", seconds=600)
    metrics, baselines = found.figures["metrics"], found.figures["baselines"]
    assert metrics["psnr"] > baselines["filtered back projection"]["psnr"] + 2
    assert metrics["psnr"] > baselines["SART"]["psnr"]
    assert metrics["holdout"] > 0 and metrics["misfit"] < 1.6
    assert 0.3 < metrics["within_two_deviations"] <= 1
    assert set(baselines) == {"filtered back projection", "SART", "total variation"}
    run = tmp_path / "slice"
    assert np.load(run / "deviation.npy").shape == (SIDE, SIDE)
    for name in ("result", "back_projection", "error", "sinogram", "residual", "deviation"):
        assert (run / "pictures" / f"{name}.png").is_file()
    # the run holds the field: at its own size it is what was written
    again = nerfkit.load(run).render()
    np.testing.assert_allclose(
        again, nerfkit.scenes.readers.picture.read_picture(tmp_path / "slice.tif").values[..., 0], atol=1e-5
    )
    assert nerfkit.load(run).render(size=(30, 30)).shape == (30, 30)
    # a finished run goes through at once
    assert nerfkit.resume_fit(run).figures["metrics"]["psnr"] == pytest.approx(metrics["psnr"], abs=0.5)


def test_simulated_and_from_its_measurements(tmp_path, capsys):
    np.save(tmp_path / "body.npy", picture(64))
    command = [
        "fit",
        "ct",
        str(tmp_path / "body.npy"),
        "-o",
        str(tmp_path / "a.tif"),
        "--simulate",
        "angles=20,noise=0.02",
    ]
    assert main([*command, "--set", "steps=40", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["metrics"]["psnr"] > 15 and figures["chosen"]["angles"] == 20
    again = nerfkit.fit("ct", tmp_path / "a" / "measurements.npz", tmp_path / "b.tif", steps=40)
    first, second = (nerfkit.scenes.readers.picture.read_picture(tmp_path / name).values for name in ("a.tif", "b.tif"))
    np.testing.assert_array_equal(first, second)
    assert again.figures["chosen"] == figures["chosen"]


def test_a_slice_as_nifti_has_its_spacing(tmp_path):
    from nerfkit.scenes.readers.volume import read_volume

    path = save(tmp_path / "scan.npz", **arrays_of(scan_of(noise=0.01)) | {"pixel_spacing": np.array(1.5)})
    found = nerfkit.fit("ct", path, tmp_path / "a.nii.gz", steps=5, tv_weight=3.0, center=29.5)
    written = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(written.spacing, 1.5)
    # the first row of the picture is on top: the highest y
    np.testing.assert_allclose(written.values[0, ::-1], found.render(), atol=1e-5)


@pytest.mark.parametrize("keys", ["geometry=fan,angles=24", "photons=20000,angles=24", "range=120,angles=24"])
def test_other_scans_are_simulated(tmp_path, keys):
    np.save(tmp_path / "body.npy", picture(32))
    simulate = dict(pair.split("=") for pair in keys.split(","))
    found = nerfkit.fit("ct", tmp_path / "body.npy", tmp_path / "a.tif", simulate=simulate, steps=60, seconds=600)
    assert found.figures["metrics"]["psnr"] > 13
    # in the unit of what went in
    assert np.percentile(nerfkit.load(tmp_path / "a").render(), 90) == pytest.approx(0.5, abs=0.2)


def test_hounsfield_units_are_kept(tmp_path):
    pydicom = pytest.importorskip("pydicom", reason="pydicom reads DICOM")
    from pydicom.data import get_testdata_file

    source = str(get_testdata_file("CT_small.dcm", download=False))
    found = nerfkit.fit("ct", source, tmp_path / "a.tif", simulate={"angles": 40, "size": 64}, steps=100, seconds=600)
    header = pydicom.dcmread(source)
    truth = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
    middle = truth[40:88, 40:88].mean()
    assert nerfkit.load(tmp_path / "a").render()[20:44, 20:44].mean() == pytest.approx(middle, abs=40)
    assert found.figures["metrics"]["psnr"] > 20


@pytest.mark.parametrize(("kind", "off"), [("parallel", -3.3), ("parallel", 2.6), ("fan", 2.6)])
def test_the_centre_is_found(kind, off, tmp_path):
    middle = (2 * SIDE - 1) / 2 if kind == "fan" else (SIDE + 11) / 2
    scan = scan_of(kind, noise=0.005, center=middle + off)
    data = read([save(tmp_path / "scan.npz", **arrays_of(scan))], CtConfig())
    assert data.scan.geometry.center == pytest.approx(middle + off, abs=0.15)
    assert "centre of rotation found" in data.said[-1]


def test_a_given_centre_is_kept(tmp_path):
    arrays = arrays_of(scan_of()) | {"center": np.array(20.0)}
    assert read([save(tmp_path / "a.npz", **arrays)], CtConfig()).scan.geometry.center == 20.0
    assert read([save(tmp_path / "a.npz", **arrays)], CtConfig(center=21.0)).scan.geometry.center == 21.0


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.05])
def test_noise_is_estimated(noise):
    at = torch.arange(256.0) - 127.5
    chords = 2 * (100.0**2 - at.square()).clamp(min=0).sqrt() + (40.0**2 - (at - 20).square()).clamp(min=0).sqrt()
    values = chords + noise * 200 * torch.randn(60, 256, generator=torch.Generator().manual_seed(0))
    assert noise_deviation(values) == pytest.approx(noise * 200, rel=0.1)


def test_a_right_scan_is_explained():
    scan = scan_of(noise=0.01)
    assert misfit(scan, torch.from_numpy(picture())) == pytest.approx(1.0, abs=0.1)
    assert explain(scan, 1.0) is None
    # a little is what pixels leave; more is said although no mistake is found
    assert explain(scan, 1.7) is None
    assert "no usual mistake about the geometry" in (explain(scan, 3.5) or "")


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("fan", {"angles": "reversed"}, "is_clockwise=true"),
        ("parallel", {"center": 24.0}, "center="),
        ("parallel", {"angles": "radians"}, "radians"),
        ("fan", {"source_distance": 1000.0}, "source_distance=100"),
    ],
)
def test_a_mistake_about_the_geometry_is_named(kind, change, words):
    from dataclasses import replace

    scan = scan_of(kind, noise=0.01, turn=360.0 if kind == "fan" else 180.0)
    angles = scan.geometry.angles
    wrong = {
        "reversed": tuple(-angle for angle in angles), "radians": tuple(np.deg2rad(angles).tolist()),
    }.get(change.get("angles", ""))  # fmt: skip
    geometry = replace(scan.geometry, **({"angles": wrong} if wrong else change))
    assert words in (explain(replace(scan, geometry=geometry), 50.0) or "")


def test_rays_that_are_not_known_are_left_out(tmp_path):
    scan = scan_of(noise=0.01)
    arrays = arrays_of(scan)
    arrays["sinogram"] = arrays["sinogram"].copy()
    arrays["sinogram"][:, 30] = np.nan
    data = read([save(tmp_path / "scan.npz", **arrays)], CtConfig(center=29.5))
    assert "40 of its 2400 values are NaN or infinite, the first at angle 0, bin 30; they are left out" in data.said
    assert data.scan.deviations[:, 30].isinf().all() and (data.scan.weights[:, 30] == 0).all()
    assert data.scan.sinogram.isfinite().all()
    found = nerfkit.fit("ct", tmp_path / "scan.npz", tmp_path / "a.tif", steps=120, center=29.5)
    error = np.abs(found.render() - picture())[scan.seen.numpy()]
    assert error.mean() < 0.06


def test_counts_become_line_integrals(tmp_path):
    scan = scan_of()
    integrals = scan.sinogram.numpy() / 10
    counts = np.random.default_rng(0).poisson(1e5 * np.exp(-integrals))
    arrays = arrays_of(scan)
    del arrays["sinogram"]
    data = read([save(tmp_path / "c.npz", counts=counts, photons=1e5, **arrays)], CtConfig(center=29.5))
    left = (data.scan.sinogram.numpy() - integrals) / data.scan.deviations.numpy()
    assert left.std() == pytest.approx(1.0, abs=0.1)


def test_a_saturated_detector_is_named(tmp_path):
    counts = np.full((40, 60), 1000.0)
    counts[:, 20:40] = 500
    arrays = {"counts": counts, "angles": np.arange(40) * 4.5}
    data = read([save(tmp_path / "c.npz", **arrays)], CtConfig(center=29.5))
    assert any("saturated" in text for text in data.said)


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_a_sinogram_alone_with_even_angles(tmp_path, suffix):
    scan = scan_of(noise=0.01)
    values, path = scan.sinogram.numpy().astype(np.float32), tmp_path / f"scan{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    with pytest.raises(NerfkitError, match="says no angles"):
        read([path], CtConfig())
    found = read([path], CtConfig(angle_range=180.0)).scan
    wanted = read(
        [save(tmp_path / "scan.npz", sinogram=values, angles=np.array(scan.geometry.angles))], CtConfig()
    ).scan
    assert found.geometry.angles == pytest.approx(wanted.geometry.angles)
    torch.testing.assert_close(found.sinogram, wanted.sinogram, rtol=0, atol=0)
    torch.testing.assert_close(found.deviations, wanted.deviations, rtol=0, atol=0)


def test_a_sinogram_of_scikit_image(tmp_path):
    """Its columns are angles, which turn as ours do, and its axis of an even side is half a bin off the middle."""
    transform = pytest.importorskip("skimage.transform", reason="scikit-image has a Radon transform")
    padded, angles = np.pad(picture(), 8), np.arange(60) * 3.0
    path = save(tmp_path / "scan.npz", sinogram=transform.radon(padded, angles).T, angles=angles)
    data = read([path], CtConfig(side=64, pixel_spacing=1.0))
    assert data.scan.geometry.center == pytest.approx(64 // 2, abs=0.1)
    found = quick_picture(data.scan).numpy()
    # its axis is the middle of pixel 32, ours lies between pixels 31 and 32: half a pixel along both sides
    wanted = (padded + np.roll(padded, -1, 0) + np.roll(padded, -1, 1) + np.roll(padded, -1, (0, 1))) / 4

    def likeness(image):
        return np.corrcoef(image.ravel(), wanted.ravel())[0, 1]

    assert likeness(found) > 0.98
    assert max(map(likeness, (found[::-1], found[:, ::-1], found[::-1, ::-1], found.T))) < 0.95


def exchange(path, **changes):
    """A scan of one row in the Data Exchange form, without noise, and its line integrals [n_angles, n_bins]."""
    h5py = pytest.importorskip("h5py", reason="h5py reads HDF5")
    scan = scan_of()
    integrals = scan.sinogram.numpy()[:, None] / 20
    beam = np.linspace(900, 1100, integrals.shape[2])
    arrays = {
        "data": np.exp(-integrals) * beam + 50, "data_white": np.tile(beam + 50, (2, 1, 1)),
        "data_dark": np.full((2, 1, len(beam)), 50.0),
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        group = file.create_group("exchange")
        for name, array in arrays.items():
            group[name] = changes[name](array) if name in changes else array
        group["theta"] = np.deg2rad(scan.geometry.angles)
        group["theta"].attrs["units"] = "radians"
        group["extra"] = 1
    return integrals[:, 0]


def put(value, *place):
    """What sets a part of an array, for :func:`exchange`."""

    def change(array):
        array[place] = value
        return array

    return change


def test_data_exchange(tmp_path):
    integrals = exchange(tmp_path / "scan.h5")
    data = read([tmp_path / "scan.h5"], CtConfig(center=29.5))
    np.testing.assert_allclose(data.scan.sinogram, integrals, atol=1e-4)
    np.testing.assert_allclose(data.scan.geometry.angles, scan_of().geometry.angles)
    assert data.said == ("scan.h5: extra not read", "row 0 of 1")


def test_pages_of_a_tiff_that_are_not_read_are_named(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "scan.tif", np.stack([scan_of().sinogram.numpy()] * 3), photometric="minisblack")
    data = read([tmp_path / "scan.tif"], CtConfig(angle_range=180.0, center=29.5))
    assert data.said[0] == "scan.tif: pages 2 to 3 not read"


def test_data_that_was_normalised_before_is_refused(tmp_path):
    exchange(
        tmp_path / "scan.h5", data=lambda data: (data - 50) / 1000, data_white=np.ones_like, data_dark=np.zeros_like
    )  # fmt: skip
    with pytest.raises(NerfkitError, match="white frames of 1 above") as caught:
        read([tmp_path / "scan.h5"], CtConfig(center=29.5))
    assert "-log(data)" in caught.value.fix


def test_counts_below_the_dark_frame_are_noise(tmp_path):
    integrals = exchange(tmp_path / "scan.h5", data=put([45.0, 49.9, 50.0], slice(3), 0, 30))
    data = read([tmp_path / "scan.h5"], CtConfig(center=29.5))
    assert data.said[-2:] == (
        "2 values are below their dark frame; they are taken for counts of 0",
        "3 rays let nothing through; they count little",
    )
    # the logarithm of half a photon of the mean beam, known as badly
    assert data.scan.sinogram[:3, 30].tolist() == pytest.approx([np.log(1000 / 0.5)] * 3, rel=1e-5)
    assert data.scan.deviations[:3, 30].tolist() == pytest.approx([0.5**-0.5] * 3)
    np.testing.assert_allclose(data.scan.sinogram[3:], integrals[3:], atol=1e-4)


@pytest.mark.parametrize("white", [50.0, 40.0])
def test_dead_bins_are_left_out(tmp_path, white):
    integrals = exchange(tmp_path / "scan.h5", data_white=put(white, slice(None), 0, [7, 30]))
    data = read([tmp_path / "scan.h5"], CtConfig(center=29.5))
    words = "2 of 60 bins are dead, no brighter in the white frames than in the dark ones; they are left out"
    assert data.said[-1] == words
    alive = np.setdiff1d(np.arange(60), [7, 30])
    assert data.scan.deviations[:, [7, 30]].isinf().all() and data.scan.deviations[:, alive].isfinite().all()
    # the mean of the beam, and so the photons, are those of the others
    np.testing.assert_allclose(data.scan.sinogram[:, alive], integrals[:, alive], atol=1e-4)


def test_a_detector_without_a_live_bin_is_refused(tmp_path):
    exchange(tmp_path / "scan.h5", data_white=lambda array: array * 0)
    with pytest.raises(NerfkitError, match="no bin whose data_white is above its data_dark") as error:
        read([tmp_path / "scan.h5"], CtConfig())
    assert error.value.fix == "look whether the two are exchanged"


def test_saturation_is_judged_by_what_the_detector_read(tmp_path):
    """Clipped at 880, of which bins of unlike beams make unlike counts."""
    integrals = exchange(tmp_path / "scan.h5", data=lambda array: np.minimum(array, 880))
    data = read([tmp_path / "scan.h5"], CtConfig(center=29.5))
    assert "same greatest count, 880: the detector may be saturated; --set saturation=880" in data.said[-1]
    data = read([tmp_path / "scan.h5"], CtConfig(center=29.5, saturation=880.0))
    is_clipped = np.exp(-integrals) * np.linspace(900, 1100, 60) + 50 >= 880
    assert 0 < is_clipped.mean() < 0.5
    np.testing.assert_array_equal(data.scan.deviations.isinf(), is_clipped)
    assert data.said[-1] == f"{is_clipped.sum()} saturated values, from 880 on, are left out"
    np.testing.assert_allclose(data.scan.sinogram[~is_clipped], integrals[~is_clipped], atol=1e-4)


BAD = {
    "no sinogram": ({"image": np.zeros((9, 9))}, {}, "none of sinogram and counts"),
    "both": ({"sinogram": np.zeros((9, 9)), "counts": np.zeros((9, 9))}, {}, "sinogram and counts"),
    "angles": ({"sinogram": np.random.rand(9, 20), "angles": np.zeros(4)}, {}, "4 angles"),
    "no angles": ({"sinogram": np.random.rand(9, 20)}, {}, "says no angles"),
    "flat": ({"sinogram": np.ones((9, 20))}, {"angle_range": 180.0}, "same value everywhere"),
    "complex": ({"sinogram": np.ones((9, 20), complex)}, {"angle_range": 180.0}, "real numbers"),
    "nan": ({"sinogram": np.full((9, 20), np.nan)}, {"angle_range": 180.0}, "NaN, infinite or saturated"),
    "one dimension": ({"sinogram": np.ones(9)}, {"angle_range": 180.0}, r"\[n_angles, n_bins\]"),
    "few": ({"sinogram": np.random.rand(2, 20)}, {"angle_range": 180.0}, "2 angles of 20 bins"),
    "negative counts": ({"counts": -np.random.rand(9, 20)}, {"angle_range": 180.0}, "counts below 0"),
    "number": ({"sinogram": np.random.rand(9, 20), "center": np.zeros(3)}, {"angle_range": 180.0}, "center ="),
    "geometry": (
        {"sinogram": np.random.rand(9, 20), "geometry": "spiral"}, {"angle_range": 180.0},
        "geometry must be one of parallel, fan, cone; got 'spiral'",
    ),
    "fan": ({"sinogram": np.random.rand(9, 20), "geometry": "fan"}, {"angle_range": 180.0}, "source_distance"),
    "near": (
        {"sinogram": np.random.rand(9, 20), "geometry": "fan", "source_distance": 5.0, "detector_distance": 5.0,
         "pixel_spacing": 1.0, "size": 20}, {"angle_range": 360.0}, "stands within the picture",
    ),
    "large": (
        {"sinogram": np.random.rand(900, 200), "center": 99.5}, {"angle_range": 180.0, "side": 4096}, "GB of memory",
    ),
    "row": ({"sinogram": np.random.rand(9, 4, 20)}, {"angle_range": 180.0, "row": 4}, "row 4 is not one of 4"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_scans_are_named(name, tmp_path):
    arrays, settings, words = BAD[name]
    with pytest.raises(NerfkitError, match=words) as error:
        read([save(tmp_path / "bad.npz", **arrays)], CtConfig(**settings))
    assert error.value.fix


def test_no_file_and_no_scan(tmp_path):
    with pytest.raises(NerfkitError, match="no such file"):
        read_scan(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(NerfkitError, match="cannot be read"):
        read_scan(tmp_path / "text.npz")


@pytest.mark.parametrize("shape", [(20, 9), (20, 9, 4)])
def test_angles_along_the_second_axis_are_to_be_transposed(shape, tmp_path):
    path = save(tmp_path / "bad.npz", sinogram=np.random.rand(*shape), angles=np.arange(9) * 20.0)
    with pytest.raises(NerfkitError, match="9 angles for 20 rows") as error:
        read_scan(path)
    assert error.value.fix == "transpose it, numpy.swapaxes(array, 0, 1): angles are its first axis"


@pytest.mark.parametrize("keys", [{"angles": 2}, {"noise": -1}, {"geometry": "spiral"}, {"size": 4000}])
def test_bad_simulations_are_named(keys, tmp_path):
    np.save(tmp_path / "body.npy", picture(32))
    with pytest.raises(NerfkitError):
        nerfkit.fit("ct", tmp_path / "body.npy", tmp_path / "a.tif", simulate=keys)
    assert not (tmp_path / "a.tif").exists()


def test_a_window_is_black_and_white(tmp_path):
    path = save(tmp_path / "scan.npz", **arrays_of(scan_of(noise=0.01)))
    nerfkit.fit("ct", path, tmp_path / "a.png", window=(0.3, 0.6), tv_weight=0.01, steps=20)
    values = nerfkit.load(tmp_path / "a").render()
    pixels = nerfkit.scenes.readers.picture.read_picture(tmp_path / "a.png").values[..., 0]
    np.testing.assert_allclose(pixels, ((values - 0.3) / 0.3).clip(0, 1), atol=1 / 255)
    scales = json.loads((tmp_path / "a" / "shown.json").read_text())["scales"]
    assert scales["result"] == scales["total_variation"] == {"mm_wide": SIDE, "black": 0.3, "white": 0.6}
    assert scales["deviation"]["mm_wide"] == SIDE and "sinogram" not in scales
    page = (tmp_path / "a" / "report.html").read_text()
    assert "20 mm" in page and "black 0.3, white 0.6" in page


@pytest.mark.parametrize("window", [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_window_must_rise(window):
    with pytest.raises(ValueError, match="window must be"):
        CtConfig(window=window)


@pytest.mark.parametrize(("name", "value"), [("center", -1.0), ("side", 4), ("noise", 0.0), ("angle_range", -180.0)])
def test_bad_settings_are_named(name, value, tmp_path):
    path = save(tmp_path / "scan.npz", **arrays_of(scan_of()))
    with pytest.raises(NerfkitError, match=name):
        nerfkit.fit("ct", path, tmp_path / "a.tif", **{name: value})
