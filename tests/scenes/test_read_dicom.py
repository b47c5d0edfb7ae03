"""Series of DICOM: what scanners write, and what a careless reader gets wrong."""

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs the extra nerfkit[medical]")

from dicom_files import ENHANCED_MR, dataset, frame_groups, items, save, slice_tags, write_series

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.volume import read_volume

VALUES = np.arange(4 * 3 * 5).reshape(4, 3, 5)
HEIGHTS = [0.0, 4.0, 8.0, 12.0]


def test_slices_are_ordered_by_their_place_and_placed_in_ras(tmp_path):
    found = read_volume(write_series(tmp_path, VALUES, HEIGHTS))
    np.testing.assert_array_equal(found.values, VALUES)
    np.testing.assert_allclose(
        found.affine, [[-0.5, 0, 0, -10], [0, -2, 0, -20], [0, 0, 4, 0], [0, 0, 0, 1]], atol=1e-12
    )
    assert found.spacing == (0.5, 2.0, 4.0) and found.pitch == 4.0 and found.thickness == 3.0 and found.said == ()


def test_slope_and_intercept_are_each_files_own(tmp_path):
    for k, z in enumerate(HEIGHTS):
        save(dataset(VALUES[k], **slice_tags(z), RescaleSlope=k + 1, RescaleIntercept=-k), tmp_path / f"{k}")
    scale = np.arange(4)[:, None, None]
    np.testing.assert_allclose(read_volume(tmp_path).values, VALUES * (scale + 1) - scale)


def _enhanced(frames, **tags):
    shared = items(
        PlaneOrientationSequence=items(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=items(PixelSpacing=[2.0, 0.5], SliceThickness=3.0),
    )
    return dataset(
        VALUES, ENHANCED_MR, NumberOfFrames=4, SharedFunctionalGroupsSequence=shared,
        PerFrameFunctionalGroupsSequence=frames, **tags,
    )  # fmt: skip


def test_frames_of_an_enhanced_file_have_their_own_place_and_scale(tmp_path):
    frames = [frame_groups(z, k + 1, -k) for k, z in enumerate([12.0, 0.0, 8.0, 4.0])]
    found = read_volume(save(_enhanced(frames), tmp_path / "enhanced"))
    scale = np.arange(4)[:, None, None]
    np.testing.assert_allclose(found.values, (VALUES * (scale + 1) - scale)[[1, 3, 2, 0]])
    assert found.spacing == (0.5, 2.0, 4.0) and found.thickness == 3.0 and found.affine[2, 3] == 0


def test_slices_at_one_place_of_an_enhanced_file_are_named(tmp_path):
    path = save(_enhanced([frame_groups(z, 1, 0) for z in (0.0, 0.0, 4.0, 8.0)]), tmp_path / "enhanced")
    with pytest.raises(NerfkitError, match="several times or echoes"):
        read_volume(path)


def test_times_of_one_series_are_volumes_of_which_one_is_chosen(tmp_path):
    for time in (1, 2):
        tags = {"TemporalPositionIdentifier": time}
        write_series(tmp_path / str(time), VALUES + time, HEIGHTS, **tags)
    with pytest.raises(NerfkitError, match=r"holds 2 volumes.*index=0"):
        read_volume(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path, index=1).values, VALUES + 2)


def test_a_tilted_gantry_stays_a_shear(tmp_path):
    for k, z in enumerate(HEIGHTS):
        place = {"ImagePositionPatient": [10.0, 20.0 + z / 4, z]}
        save(dataset(VALUES[k], **slice_tags(z) | place), tmp_path / f"{k}")
    found = read_volume(tmp_path)
    assert found.is_sheared and found.pitch == pytest.approx(4.0)
    np.testing.assert_allclose(found.affine[:3, 2], [0, -1, 4])


def test_missing_and_uneven_slices_are_named(tmp_path):
    with pytest.raises(NerfkitError, match=r"slices are missing: .*1 missing in 8 mm between s_2.dcm and s_1.dcm"):
        read_volume(write_series(tmp_path / "a", VALUES, [0.0, 4.0, 8.0, 16.0]))
    with pytest.raises(NerfkitError, match="unevenly apart"):
        read_volume(write_series(tmp_path / "b", VALUES, [0.0, 4.0, 8.0, 13.7]))
    with pytest.raises(NerfkitError, match=r"is where s_[12].dcm is"):
        read_volume(write_series(tmp_path / "c", VALUES, [0.0, 4.0, 8.0, 8.0]))


def test_the_largest_series_is_read_and_the_others_are_said(tmp_path):
    write_series(tmp_path, VALUES, HEIGHTS)
    write_series(tmp_path, VALUES[:2] + 100, HEIGHTS[:2], series="1.2.4", SeriesNumber=7, SeriesDescription="scout")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "copy.dcm").write_bytes((tmp_path / "s_1.dcm").read_bytes())
    found = read_volume(tmp_path)
    assert found.values.max() == VALUES.max()
    assert found.said == (
        "files that are no images, left unread: 1", "copies of files, left unread: 1",
        "series 7 'scout', left unread: 2 slices",
    )  # fmt: skip
    for name in ("7", "scout", "1.2.4"):
        assert read_volume(tmp_path, series=name).shape == (2, 3, 5)
    with pytest.raises(
        NerfkitError, match=r"no series are named 'x'; there are series 7 'scout': 2 slices, series 1: 4"
    ):
        read_volume(tmp_path, series="x")


def test_two_series_of_one_size_are_not_chosen_from(tmp_path):
    for series in ("1.2.3", "1.2.4"):
        write_series(tmp_path, VALUES, HEIGHTS, series=series, SeriesNumber=series[-1])
    with pytest.raises(NerfkitError, match=r"holds 2 series, no one the largest.*series=NUMBER"):
        read_volume(tmp_path)


def test_another_orientation_in_the_series_is_left_unread(tmp_path):
    write_series(tmp_path, VALUES, HEIGHTS)
    save(dataset(VALUES[0], **(slice_tags(0) | {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]})), tmp_path / "z")
    assert read_volume(tmp_path).said == ("slices of another kind in the series, left unread: 1",)


def test_small_values_that_are_bright_stay_what_they_are(tmp_path):
    found = read_volume(write_series(tmp_path, VALUES, HEIGHTS, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(found.values, VALUES)
    assert found.is_inverted and "MONOCHROME1" in found.said[0]


def test_bytes_after_the_pixels_are_said(tmp_path):
    more = VALUES[0].astype("<u2").tobytes() + bytes(8)
    found = read_volume(save(dataset(VALUES[0], **(slice_tags(0) | {"PixelData": more})), tmp_path / "one"))
    np.testing.assert_array_equal(found.values[0], VALUES[0])
    assert found.said == ("files with bytes after their pixels, left unread: 1",) and found.spacing[2] == 3.0


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImageOrientationPatient": None}, "has no ImageOrientationPatient"),
        ({"ImageOrientationPatient": [0] * 6}, "has no ImageOrientationPatient"),
        ({"ImagePositionPatient": None}, "has no ImagePositionPatient"),
        ({"PixelSpacing": None}, "has no PixelSpacing"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "its pixels are PALETTE COLOR"),
        ({"PixelData": b"12"}, "its pixels cannot be read"),
        ({"NumberOfFrames": 3}, "has 3 frames, and no functional groups"),
    ],
)
def test_each_lack_is_named(tmp_path, tags, message):
    save(dataset(VALUES[0], **(slice_tags(0) | tags)), tmp_path / "one.dcm")
    with pytest.raises(NerfkitError, match=message) as raised:
        read_volume(tmp_path / "one.dcm")
    assert "one.dcm" in raised.value.where and raised.value.fix


def test_damage_behind_the_pixels_is_told_by_the_file(tmp_path, monkeypatch):
    import pydicom

    read = pydicom.dcmread

    def dcmread(file, stop_before_pixels=False, **options):
        # a length of 4 GB behind the pixels, where less memory may be had
        if not stop_before_pixels:
            raise MemoryError
        return read(file, stop_before_pixels=True, **options)

    save(dataset(VALUES[0], **slice_tags(0)), tmp_path / "one.dcm")
    monkeypatch.setattr(pydicom, "dcmread", dcmread)
    with pytest.raises(NerfkitError, match=r"its pixels cannot be read \(MemoryError\)"):
        read_volume(tmp_path / "one.dcm")


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(NerfkitError, match="holds no images of DICOM"):
        read_volume(tmp_path)


def test_compressed_pixels_are_decoded(tmp_path):
    pytest.importorskip("openjpeg", reason="needs the extra nerfkit[medical]")
    from pydicom.data import get_testdata_file
    from pydicom.pixels.utils import pixel_array

    path = get_testdata_file("MR_small_jp2klossless.dcm", download=False)
    if path is None:
        pytest.skip("this pydicom brings no test files")
    np.testing.assert_array_equal(read_volume(str(path)).values[0], pixel_array(str(path)).astype(np.float32))
