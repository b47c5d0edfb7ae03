"""Damage that the fuzzer found in scanners' files: each is a NerfkitError."""

import numpy as np
import pytest
import tifffile

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.scenes.readers.volume import read_volume


def series(tmp_path, **tags):
    pytest.importorskip("pydicom", reason="needs the extra nerfkit[medical]")
    from dicom_files import write_series

    return write_series(tmp_path / "s", np.zeros((3, 4, 5)), [0.0, 3.0, 6.0], **tags)


def test_dicom_without_columns_is_no_image(tmp_path):
    folder = series(tmp_path)
    from dicom_files import dataset, save, slice_tags

    found = dataset(np.zeros((4, 5)), **slice_tags(9.0))
    del found.Columns
    save(found, folder / "odd.dcm")
    read = read_volume(folder)
    assert read.shape == (3, 4, 5) and "files that are no images, left unread: 1" in read.said


def test_dicom_of_no_frames(tmp_path):
    with pytest.raises(NerfkitError, match="declares -3 frames"):
        read_volume(series(tmp_path, NumberOfFrames="-3"))


def test_dicom_whose_values_have_odd_lengths_is_no_image(tmp_path):
    folder = series(tmp_path)
    for file in folder.iterdir():
        payload = file.read_bytes()
        # Rows, tag (0028,0010) US, says that it has three bytes
        at = payload.index(b"\x28\x00\x10\x00US") + 6
        file.write_bytes(payload[:at] + b"\x03\x00" + payload[at + 2 :])
    with pytest.raises(NerfkitError, match="holds no images of DICOM"):
        read_volume(folder)


@pytest.mark.parametrize("name", ["ImageWidth", "ImageLength"])
def test_a_stack_without_pixels(tmp_path, name):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 4, 5), np.float32), photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as stored:
        for page in stored.pages:
            page.tags[name].overwrite(0)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(NerfkitError, match=r"a\.tif"):
        read_volume(tmp_path / "a.tif")


def test_a_unit_of_nifti_that_there_is_not(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra nerfkit[medical]")
    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4))
    image.to_filename(tmp_path / "a.nii")
    payload = bytearray((tmp_path / "a.nii").read_bytes())
    # xyzt_units
    payload[123] = 5
    (tmp_path / "a.nii").write_bytes(payload)
    with pytest.raises(NerfkitError, match=r"its unit of length is .*5.*, which there is not"):
        read_volume(tmp_path / "a.nii")


def test_a_stack_of_more_strips_than_it_has(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 4, 5), np.uint8), photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as stored:
        for page in stored.pages:
            page.tags["ImageLength"].overwrite(2**24)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(NerfkitError, match="declares 5x16777216 pixels in 4,194,304 strips or tiles, and has 1;"):
        read_volume(tmp_path / "a.tif")
    with pytest.raises(NerfkitError, match=r"a\.tif"):
        read_frames(tmp_path / "a.tif")
