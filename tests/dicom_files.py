"""Tiny DICOM files for tests."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


def dataset(pixels: NDArray, sop_class: str = MR, series: str = "1.2.3", **tags: Any) -> Dataset:
    """A data set with unsigned 16-bit pixels [h, w] or [n, h, w]."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.SOPClassUID, found.SOPInstanceUID = sop_class, generate_uid()
    found.SeriesInstanceUID, found.SeriesNumber = series, 1
    found.Rows, found.Columns = pixels.shape[-2:]
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated = found.BitsStored = 16
    found.HighBit, found.PixelRepresentation = 15, 0
    found.PixelData = pixels.astype("<u2").tobytes()
    for name, value in tags.items():
        setattr(found, name, value)
    return found


def save(found: Dataset, path: Path) -> Path:
    """Write a data set with the preamble of DICOM files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    found.save_as(path, enforce_file_format=True)
    return path


def slice_tags(z: float, number: int = 1) -> Any:
    """Of an axial slice of 0.5 x 2 mm pixels (x, y), 3 mm thick, at height ``z``."""
    return {
        "ImagePositionPatient": [10.0, 20.0, z], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [2.0, 0.5], "SliceThickness": 3.0, "InstanceNumber": number,
    }  # fmt: skip


def write_series(folder: Path, values: NDArray, heights: list[float], **tags: Any) -> Path:
    """A series of axial slices ``values`` [d, h, w]; the files' names and numbers run against their heights."""
    for k, (pixels, z) in enumerate(zip(values, heights, strict=True)):
        number = len(values) - k
        save(dataset(pixels, **(slice_tags(z, number) | tags)), folder / f"{tags.get('series', 's')}_{number}.dcm")
    return folder


def items(**tags: Any) -> list[Dataset]:
    """A sequence of one item."""
    found = Dataset()
    for name, value in tags.items():
        setattr(found, name, value)
    return [found]


def frame_groups(z: float, slope: float, intercept: float) -> Dataset:
    """Functional groups of one frame of an enhanced file."""
    return items(
        PlanePositionSequence=items(ImagePositionPatient=[10.0, 20.0, z]),
        PixelValueTransformationSequence=items(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US"),
    )[0]
