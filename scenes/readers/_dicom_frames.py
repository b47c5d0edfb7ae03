"""Frames of DICOM files: one a file, or many whose functional groups say where each is and how it is scaled."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.scenes.errors import NerfkitError

__all__ = ["BROKEN_DICOM", "Frame", "frames_of"]

# what pydicom and its decoders raise on damaged files
BROKEN_DICOM = (
    OSError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError, MemoryError,
    NotImplementedError, struct.error, zlib.error,
)  # fmt: skip

# what tells images of one place apart, of classic files and of frames (PS3.3 C.7.6.16)
KINDS = ("ImageType", "EchoNumbers", "TemporalPositionIdentifier")
FRAME_KINDS = (
    ("FrameContentSequence", "StackID"), ("FrameContentSequence", "TemporalPositionIndex"),
    ("MREchoSequence", "EffectiveEchoTime"), ("MRDiffusionSequence", "DiffusionBValue"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice: its file, and what the file's header says of it.

    Parameters
    ----------
    file : Path
        Where it is.
    header : pydicom.Dataset
        Of the file, without pixels.
    number : int
        Of the frame in the file, from 0.
    """

    file: Path
    header: Any
    number: int = 0

    @property
    def name(self) -> str:
        """The file, and the frame of a file of many."""
        return self.file.name + (f", frame {self.number + 1}" if self.number or self.is_grouped else "")

    @property
    def is_grouped(self) -> bool:
        """Whether functional groups describe it: an enhanced file."""
        return "PerFrameFunctionalGroupsSequence" in self.header

    def get(self, sequence: str, name: str) -> Any:
        """What is said by ``name``: of the frame, of all frames of the file, or of the file; None: nowhere."""
        if self.is_grouped:
            shared = self.header.get("SharedFunctionalGroupsSequence") or [{}]
            for group in (self.header.PerFrameFunctionalGroupsSequence[self.number], shared[0]):
                items = group.get(sequence)
                value = items[0].get(name) if items else None
                if value is not None:
                    return value
        value = self.header.get(name)
        return None if value in (None, "") else value

    @property
    def position(self) -> NDArray[np.float64] | None:
        """Centre of the first pixel [3], mm in LPS."""
        return _numbers(self.get("PlanePositionSequence", "ImagePositionPatient"), 3)

    @property
    def axes(self) -> NDArray[np.float64] | None:
        """Unit vectors [2, 3] along increasing columns and along increasing rows, in LPS."""
        found = _numbers(self.get("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
        if found is None or not np.linalg.norm(found.reshape(2, 3), axis=1).min() > 0.5:
            return None
        axes = found.reshape(2, 3)
        return axes / np.linalg.norm(axes, axis=1, keepdims=True)

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Millimetres between columns and between rows; DICOM has them the other way round (PS3.3 10.7.1.3)."""
        found = _numbers(self.get("PixelMeasuresSequence", "PixelSpacing"), 2)
        return None if found is None or found.min() <= 0 else (float(found[1]), float(found[0]))

    @property
    def thickness(self) -> float | None:
        """Millimetres that the slice averages over."""
        found = _numbers(self.get("PixelMeasuresSequence", "SliceThickness"), 1)
        return None if found is None or found[0] <= 0 else float(found[0])

    @property
    def gap(self) -> float | None:
        """Millimetres between centres of slices as the header has it, where no two positions tell."""
        found = _numbers(self.get("PixelMeasuresSequence", "SpacingBetweenSlices"), 1)
        return None if found is None or found[0] == 0 else float(abs(found[0]))

    @property
    def kind(self) -> tuple[Any, ...]:
        """What frames of one volume have in common."""
        axes, header = self.axes, self.header
        turned = None if axes is None else tuple(np.round(axes, 2).ravel() + 0.0)
        words = [str(header.get(name)) for name in KINDS]
        words += [str(self.get(*names)) for names in FRAME_KINDS] if self.is_grouped else []
        return (turned, header.Rows, header.Columns, *words)

    def scaled(self, stored: NDArray) -> NDArray[np.float32]:
        """Stored values in the unit of the modality: slope and intercept of this very frame, or the file's table."""
        slope = self.get("PixelValueTransformationSequence", "RescaleSlope")
        intercept = self.get("PixelValueTransformationSequence", "RescaleIntercept")
        if slope is None and intercept is None and self.header.get("ModalityLUTSequence"):
            from pydicom.pixels.processing import apply_modality_lut

            return np.asarray(apply_modality_lut(stored, self.header), np.float32)
        scaled = stored.astype(np.float64) * float(1 if slope is None else slope) + float(intercept or 0)
        return scaled.astype(np.float32)


def frames_of(header: Any, file: Path) -> list[Frame]:
    """The frames of a file.

    Raises
    ------
    NerfkitError
        It has several, and nothing says where each is.
    """
    n_frames = int(header.get("NumberOfFrames") or 1)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if n_frames < 1:
        raise NerfkitError(f"declares {n_frames} frames", where=file, fix="export it anew")
    if groups is None and n_frames > 1:
        raise NerfkitError(
            f"has {n_frames} frames, and no functional groups that say where each is", where=file,
            fix="convert it to NIfTI with a program that knows the scanner",
        )  # fmt: skip
    if groups is not None and len(groups) != n_frames:
        raise NerfkitError(f"says where {len(groups)} of its {n_frames} frames are", where=file, fix="export it anew")
    return [Frame(file, header, number) for number in range(n_frames)]


def _numbers(value: Any, n: int) -> NDArray[np.float64] | None:
    """``n`` finite numbers; None where there are no such."""
    if value is None:
        return None
    try:
        found = np.atleast_1d(np.asarray(value, np.float64))
    except (TypeError, ValueError):
        return None
    return found if found.shape == (n,) and np.isfinite(found).all() else None
