"""The check-up of a tomograph's scan: what it holds, and which mistake about its geometry would explain it better.

Of k-space there is none; that is said.
"""

from __future__ import annotations

import shlex
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nerfkit.doctor.findings import Report, raised_is_noted
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.readers.picture import array_names
from nerfkit.scenes.readers.sinogram import HDF5, read_scan
from nerfkit.tasks.ct import CtConfig, read
from nerfkit.workbench.tomography.doctor import find_mistake
from nerfkit.workbench.tomography.inputs import CtData
from nerfkit.workbench.tomography.scan import Scan

__all__ = ["SAID_OF_SINOGRAMS", "check_scan", "is_scan"]

# of a file that may hold one without its angles
SAID_OF_SINOGRAMS = "of a sinogram the angles are needed too: save both as npz, named sinogram and angles"

# a scan is tried with other geometries on this many bins and angles at most: averages, and a part of the angles
MOST_BINS, MOST_ANGLES = 192, 120
# words of what a scan says of itself that call for something to be done
CALLS = ("saturated", "NaN", "are dead")


def is_scan(path: Path) -> bool:
    """Whether a file is a scan: an npz with a sinogram, counts or k-space, or HDF5."""
    if path.suffix.lower() in HDF5:
        return path.is_file()
    return zipfile.is_zipfile(path) and (_has_kspace(path) or bool({"sinogram", "counts"} & set(array_names(path))))


def _has_kspace(path: Path) -> bool:
    names = set(array_names(path))
    return "kspace" in names or {"samples", "trajectory"} <= names


def check_scan(path: Path, report: Report) -> None:
    """Check what ``nerfkit fit ct`` would be given, as it is and with each usual mistake undone."""
    with raised_is_noted(report):
        if path.suffix.lower() not in HDF5 and _has_kspace(path):
            raise NerfkitError(
                "holds k-space, of which there is no check-up", where=path,
                fix=f"nerfkit fit mri {shlex.quote(str(path))} -o picture.npy",
            )  # fmt: skip
        file, config = read_scan(path), CtConfig()
        # of a detector without a cone the task takes one row, and so does the check
        data: CtData[Any] = read([path], config)
        given: Any = data.scan
        scan: Scan = given.middle if data.facts["geometry"] == "cone" else given
        report.fact("kind", "scan", "a tomograph's scan" + (", counts" if file.is_counts else ""))
        _facts(data, scan, report)
        for text in data.said:
            calls = any(word in text for word in CALLS)
            report.add(
                "warning" if calls else "info", text, where=path, fix="" if "--set" in text else _command(path, data)
            )
        mistake = find_mistake(thinned(scan))
        if mistake is not None:
            report.add(
                "warning",
                f"it fits better with {mistake.words}: {mistake.after:.3g} instead of {mistake.before:.3g} times the "
                "variance of the noise are left",
                where=path, fix=_command(path, data, f" --set {mistake.setting}"),
            )  # fmt: skip
        report.next_command = report.problems[-1].fix if mistake is not None else _command(path, data)


def thinned(scan: Scan) -> Scan:
    """A smaller scan of the same object: neighbouring bins averaged, some of the angles."""
    geometry = scan.geometry
    width = -(-geometry.n_bins // MOST_BINS)
    n_bins = geometry.n_bins // width
    rows = np.unique(np.linspace(0, len(geometry.angles) - 1, MOST_ANGLES).round().astype(int))
    values, deviations = (
        part[rows][:, : n_bins * width].reshape(len(rows), n_bins, width) for part in (scan.sinogram, scan.deviations)
    )
    coarse = replace(
        geometry.take(rows), n_bins=n_bins, bin_spacing=geometry.bin_spacing * width,
        center=min(max((geometry.center + 0.5) / width - 0.5, 0.0), n_bins - 1.0),
    )  # fmt: skip
    # a bin of which a part is unknown is unknown: its deviation is infinite
    return replace(scan, geometry=coarse, sinogram=values.mean(2), deviations=deviations.square().sum(2).sqrt() / width)


def _facts(data: CtData[Any], scan: Scan, report: Report) -> None:
    geometry, facts = scan.geometry, data.facts
    turn = max(geometry.angles) - min(geometry.angles)
    report.fact("geometry", facts["geometry"])
    report.fact("angles", facts["angles"], f"{facts['angles']}, {turn:.6g} degrees from the first to the last")
    rows = f"{facts['rows']} rows of " if "rows" in facts else ""
    report.fact("bins", facts["bins"], f"{rows}{facts['bins']} of {geometry.bin_spacing:.4g} mm")
    report.fact("center", facts["center"], f"the axis is seen at bin {facts['center']:.2f}")
    report.fact("noise", facts["noise"], f"standard deviation {facts['noise']:.3g} of line integrals")
    report.fact("field_of_view_mm", round(2 * float(geometry.field_of_view), 4))
    report.fact("pixel_spacing", facts["pixel_spacing"], f"{facts['side']} pixels of {facts['pixel_spacing']:.4g} mm")


def _command(path: Path, data: CtData[Any], more: str = "") -> str:
    out = "volume.nii.gz" if data.facts["geometry"] == "cone" else "slice.tif"
    return f"nerfkit fit ct {shlex.quote(str(path))} -o {out}{more}"
