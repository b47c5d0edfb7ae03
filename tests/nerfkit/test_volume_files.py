"""Volumes that were written are read again as they were."""

import numpy as np
import pytest

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.volumes import Volume
from nerfkit.volume_files import write_volume

VALUES = np.linspace(-1000, 2000, 24, dtype=np.float32).reshape(2, 3, 4)
AFFINE = np.array([[0.0, -2, 0, 5], [1.5, 0, 0, -6], [0, 0, 3, 7], [0, 0, 0, 1]])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("shear", [0.0, 0.4])
def test_a_nifti_keeps_values_and_affine(tmp_path, name, shear):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    affine = AFFINE.copy()
    affine[1, 2] = shear
    found = write_volume(tmp_path / name, Volume(VALUES, affine))
    np.testing.assert_array_equal(found.values, VALUES)
    np.testing.assert_allclose(found.affine, affine, atol=1e-6)
    header = nibabel.load(tmp_path / name).header
    assert header.get_xyzt_units()[0] == "mm" and int(header["sform_code"]) == 1
    # a qform cannot hold a shear: it says so rather than something else
    assert int(header["qform_code"]) == (0 if shear else 1) and found.said == ()
    if not shear:
        np.testing.assert_allclose(header.get_qform(), affine, atol=1e-5)


def test_a_stack_keeps_values_and_spacing(tmp_path):
    found = write_volume(tmp_path / "a.tif", Volume(VALUES, AFFINE))
    np.testing.assert_array_equal(found.values, VALUES)
    np.testing.assert_allclose(found.spacing, (1.5, 2, 3), rtol=1e-6)
    np.testing.assert_array_equal(write_volume(tmp_path / "a.npy", Volume(VALUES, AFFINE)).values, VALUES)


def test_equal_volumes_are_equal_files(tmp_path):
    pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, Volume(VALUES, AFFINE))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(NerfkitError, match=r"volumes are written as .nii.gz, .nii, .npy"):
        write_volume(tmp_path / "a.png", Volume(VALUES, AFFINE))
    assert not list(tmp_path.iterdir())
