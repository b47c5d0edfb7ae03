"""NIfTI, TIFF stacks and arrays as volumes in millimetres; each mistake is named."""

import numpy as np
import pytest
import tifffile

from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError
from nerfkit.scenes.readers.volume import read_volume, read_volumes
from nerfkit.scenes.volumes import Volume

VALUES = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
# turned about two axes and mirrored, 2 x 1 x 3 mm
_X, _Z = (np.cos(0.3), np.sin(0.3)), (np.cos(0.5), np.sin(0.5))
TURN = np.array([[_Z[0], -_Z[1], 0], [_Z[1], _Z[0], 0], [0, 0, 1]]) @ np.array(
    [[1, 0, 0], [0, _X[0], -_X[1]], [0, _X[1], _X[0]]]
)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3], OBLIQUE[:3, 3] = TURN * [-2, 1, 3], [5, -6, 7]


def nifti(values=VALUES.T, affine=OBLIQUE, **changes):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    image = nibabel.Nifti1Image(values, affine)
    for name, value in changes.items():
        getattr(image.header, name)(*value) if name.startswith("set_") else image.header.__setitem__(name, value)
    return image


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_an_oblique_nifti_keeps_its_affine(tmp_path, name):
    nifti().to_filename(tmp_path / name)
    found = read_volume(tmp_path / name)
    np.testing.assert_array_equal(found.values, VALUES)
    np.testing.assert_allclose(found.affine, OBLIQUE, atol=1e-6)
    np.testing.assert_allclose(found.spacing, (2, 1, 3), atol=1e-6)
    assert found.thickness is None and found.values.dtype == np.float32 and not found.is_sheared


def test_indices_and_millimetres_are_inverse():
    volume, index = Volume(VALUES, OBLIQUE), np.random.default_rng(0).normal(size=(7, 3))
    np.testing.assert_allclose(volume.to_index(volume.to_mm(index)), index, atol=1e-12)
    np.testing.assert_allclose(volume.to_mm(np.array([1, 0, 0])) - OBLIQUE[:3, 3], OBLIQUE[:3, 0])


def test_slope_intercept_and_a_big_endian_header_are_applied(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    stored = VALUES.T.astype(">i2")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nibabel.Nifti1Image(stored, OBLIQUE, header)
    image.header.set_slope_inter(0.5, -3)
    image.to_filename(tmp_path / "a.nii")
    payload = (tmp_path / "a.nii").read_bytes()
    assert payload[:4] == b"\x00\x00\x01\x5c"
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").values, VALUES * 0.5 - 3 if _is_raw(payload) else VALUES)


def _is_raw(payload):
    """Whether nibabel has stored the array itself, slope and intercept beside it, rather than scaled it first."""
    return np.array_equal(np.frombuffer(payload[352:], ">i2"), VALUES.ravel())


def test_metres_and_microns_become_millimetres(tmp_path):
    for unit, mm in (("meter", 1000), ("micron", 1e-3)):
        nifti(set_xyzt_units=(unit,)).to_filename(tmp_path / "a.nii")
        found = read_volume(tmp_path / "a.nii")
        np.testing.assert_allclose(found.spacing, np.array([2, 1, 3]) * mm, rtol=1e-5)
        assert unit in found.said[0]


def test_the_sform_wins_and_is_said(tmp_path):
    other = OBLIQUE + np.outer([1, 1, 1, 0], [0, 0, 0, 10])
    nifti(set_qform=(other, 1), set_sform=(OBLIQUE, 2)).to_filename(tmp_path / "a.nii")
    found = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(found.affine, OBLIQUE, atol=1e-6)
    assert "the sform was taken" in found.said[0]
    image = nifti(set_qform=(OBLIQUE, 1))
    for row in ("srow_x", "srow_y", "srow_z"):
        image.header[row] = 0
    image.header["sform_code"] = 1
    _write_header(image, tmp_path / "b.nii")
    found = read_volume(tmp_path / "b.nii")
    np.testing.assert_allclose(found.affine, OBLIQUE, atol=1e-5)
    assert "sform spans no space" in found.said[0]


def _write_header(image, path):
    """The header as it is: nibabel would mend its affine."""
    path.write_bytes(image.header.binaryblock + bytes(4) + VALUES.astype("<f4").tobytes())


def test_a_nifti_without_orientation_says_so(tmp_path):
    image = nifti(set_data_dtype=(np.float32,))
    image.header["sform_code"] = image.header["qform_code"] = 0
    image.header["vox_offset"], image.header["magic"] = 352, b"n+1"
    _write_header(image, tmp_path / "a.nii")
    found = read_volume(tmp_path / "a.nii")
    np.testing.assert_allclose(found.spacing, (2, 1, 3), rtol=1e-5)
    assert "nothing of its orientation" in found.said[0]


def test_one_of_several_volumes_is_chosen(tmp_path):
    series = np.stack([VALUES.T, VALUES.T + 100], -1)
    nifti(series).to_filename(tmp_path / "a.nii")
    with pytest.raises(NerfkitError, match=r"holds 2 volumes; one is wanted.*index=0"):
        read_volume(tmp_path / "a.nii")
    found = read_volume(tmp_path / "a.nii", index=1)
    np.testing.assert_array_equal(found.values, VALUES + 100)
    assert found.said == ("volume 1 of 2 was read",)
    with pytest.raises(NerfkitError, match="has no volume 2: there are 0 to 1"):
        read_volume(tmp_path / "a.nii", index=2)
    nifti(series[..., :1]).to_filename(tmp_path / "b.nii")
    assert read_volume(tmp_path / "b.nii").shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VALUES.T.astype(np.complex64), "complex"),
        (np.zeros((4, 3, 2, 1, 3), np.float32), r"several values a voxel \(vectors\)"),
        (np.zeros((4, 3), np.float32), "is no volume"),
        (np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colours"),
        (np.where(VALUES.T == 5, np.nan, VALUES.T), r"1 of its 24 values are NaN or infinite.*voxel \(1, 1, 0\)"),
    ],
)
def test_values_that_are_no_numbers_are_refused(tmp_path, values, message):
    nifti(values).to_filename(tmp_path / "a.nii")
    with pytest.raises(NerfkitError, match=message) as raised:
        read_volume(tmp_path / "a.nii")
    assert "a.nii" in raised.value.where and raised.value.fix


def test_damaged_files_are_named(tmp_path):
    nifti().to_filename(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:-30])
    (tmp_path / "c.nii").write_bytes(b"no header")
    (tmp_path / "d.tif").write_bytes(b"no pages")
    (tmp_path / "e.npz").write_bytes(b"no arrays")
    for name in ("b.nii.gz", "c.nii", "d.tif", "e.npz"):
        with pytest.raises(NerfkitError, match=name):
            read_volume(tmp_path / name)
    with pytest.raises(NerfkitError, match="no such file or folder"):
        read_volume(tmp_path / "f.nii")


def test_a_package_that_is_not_there_is_named_with_its_command(tmp_path, monkeypatch):
    import sys

    (tmp_path / "a.nii").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(
        MissingCapabilityError, match=r'nibabel, which is not installed; pip install "nerfkit\[medical\]"'
    ):
        read_volume(tmp_path / "a.nii")


def test_a_stack_of_imagej_has_its_spacing(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", VALUES.astype(np.uint16), imagej=True, resolution=(1 / 0.5, 1 / 0.25),
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
    )  # fmt: skip
    found = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.values, VALUES)
    np.testing.assert_allclose(found.spacing, (5e-4, 2.5e-4, 2e-3))


def test_a_stack_of_ome_has_its_spacing_and_its_times(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif", np.stack([VALUES, VALUES + 50]), photometric="minisblack",
        metadata={
            "axes": "TZYX", "PhysicalSizeX": 0.4, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2, "PhysicalSizeZUnit": "mm"
        },
    )  # fmt: skip
    with pytest.raises(NerfkitError, match="holds 2 volumes"):
        read_volume(tmp_path / "a.ome.tif")
    found = read_volume(tmp_path / "a.ome.tif", index=1)
    np.testing.assert_array_equal(found.values, VALUES + 50)
    np.testing.assert_allclose(found.spacing, (4e-4, 5e-4, 2))


def test_a_plain_stack_is_one_millimetre_apart_which_is_said(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", VALUES, photometric="minisblack")
    np.save(tmp_path / "a.npy", VALUES)
    np.savez(tmp_path / "a.npz", VALUES)
    for name in ("a.tif", "a.npy", "a.npz"):
        found = read_volume(tmp_path / name)
        np.testing.assert_array_equal(found.values, VALUES)
        assert found.spacing == (1, 1, 1) and "1 mm was taken" in found.said[0]


def test_channels_of_a_stack_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 5, 4, 3), np.uint8), photometric="rgb")
    with pytest.raises(NerfkitError, match=r"S \(3\); one value a voxel is wanted"):
        read_volume(tmp_path / "a.tif")


def test_an_npz_says_where_its_stacks_are(tmp_path):
    np.savez(tmp_path / "a.npz", volume=VALUES, affine=OBLIQUE, volume_2=VALUES + 1, spacing_2=(1, 2, 3), thickness_2=4)
    first, second = read_volumes(tmp_path / "a.npz")
    np.testing.assert_array_equal(first.affine, OBLIQUE)
    assert second.spacing == (1, 2, 3) and second.thickness == 4 and second.values[0, 0, 0] == 1
    with pytest.raises(NerfkitError, match="holds 2 volumes"):
        read_volume(tmp_path / "a.npz")
    assert read_volume(tmp_path / "a.npz", index=1).thickness == 4


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": VALUES, "b": VALUES}, "no array named volume; there are a, b"),
        ({"volume": VALUES[0]}, r"shape \(3, 4\); real numbers \[d, h, w\]"),
        ({"volume": VALUES.astype(complex)}, "has complex128 values"),
        ({"volume": VALUES, "affine": np.eye(3)}, "its affine is float64 of shape"),
        ({"volume": VALUES, "affine": np.zeros((4, 4))}, r"its affine is .*the last row 0 0 0 1"),
        ({"volume": VALUES, "affine": np.diag([1.0, 1, 0, 1])}, "its affine is singular"),
        ({"volume": VALUES, "spacing": (1, 2, 0)}, "mm above 0"),
        ({"volume": VALUES, "thickness": -1}, "its thickness is -1.0; mm above 0"),
        ({"volume": VALUES, "affine": np.eye(4), "spacing": (1, 1, 1)}, "both affine and spacing"),
    ],
)
def test_each_mistake_of_an_npz_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(NerfkitError, match=message):
        read_volume(tmp_path / "a.npz")
