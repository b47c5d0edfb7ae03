"""How well `nerfkit fit register` brings one subject's volume onto another's: by the overlap of their tissue maps.

python scripts/workbench_brains.py FIXED.nii.gz MOVING.nii.gz --maps NAME:FIXED_MAP:MOVING_MAP ... [--json FILE]
python scripts/workbench_brains.py --make NILEARN_DATA TEST_SCAN.npz

--make writes what docs/benchmarks.md has measured to this folder, at 2 mm: mni_{t1,gm,wm}.nii.gz of the MNI152 in
nilearn's wheel (nilearn/datasets/data), and sub_{t1,gm,wm}.nii.gz of data/test_scan.npz of the repository voxelmorph,
whose labels are FreeSurfer's.

No registration sees the maps, which lie on the grids of the volumes. Overlap is 2 sum min(a, b) / sum (a + b) of a map
of FIXED and that of MOVING, warped. Beside it SimpleITK's affine map by mutual information, and from there B-splines by
mutual information and diffeomorphic demons of volumes with equal histograms, each with the parameter of a short ladder
that the overlap itself likes best.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from benchmarking import Row, publish
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

import nerfkit
from nerfkit.scenes.readers.volume import read_volume
from nerfkit.scenes.volumes import Volume
from nerfkit.volume_files import write_volume

# without its types, which ask for lists where numbers do
sitk: Any = importlib.import_module("SimpleITK")
# labels of FreeSurfer of grey matter (cortex, cerebellum, deep nuclei) and of white matter (with brain stem, callosum)
GREY = (3, 42, 8, 47, 10, 11, 12, 13, 17, 18, 26, 49, 50, 51, 52, 53, 54, 58)
WHITE = (2, 41, 7, 46, 16, 28, 60, 251, 252, 253, 254, 255)
# of the scan's voxels (to the left, down, to the front) to mm in RAS+, about its middle
SCAN_AFFINE = np.array([[-1.0, 0, 0, 80], [0, 0, 1, -112], [0, -1, 0, 96], [0, 0, 0, 1]])
# of ours, from what is asked for least
TRANSFORMS = ("affine", "displacement")
# intervals of the B-splines' mesh along a side; deviation of the smoothed displacement of demons, voxels
MESHES, SIGMAS = (6, 10, 16), (1.0, 1.5, 2.5)
BINS, SAMPLED, ITERATIONS, LEVELS = 50, 0.2, 100, (4, 2, 1)
# wall seconds that a run may take: another process may hold the core
LIMIT = 3600.0

# of a volume of MOVING [d, h, w]: what it is on the grid of FIXED
Warp = Callable[[Path], NDArray]


def measure(fixed: Path, moving: Path, maps: Mapping[str, tuple[Path, Path]]) -> list[Row]:
    """Overlaps and CPU-seconds, a row each; printed as they come."""
    rows: list[Row] = []

    def add(title: str, warp: Warp, seconds: float, how: str) -> float:
        overlaps = {name: _overlap(_values(a), warp(b)) for name, (a, b) in maps.items()}
        for name, value in overlaps.items():
            rows.append(Row(f"{title}: {name}", round(value, 4), "overlap", how, ""))
            print(rows[-1], flush=True)
        rows.append(Row(f"{title}: seconds of a core", round(seconds, 1), "s", "", ""))
        print(rows[-1], flush=True)
        return float(np.mean(list(overlaps.values())))

    reference = sitk.ReadImage(str(fixed), sitk.sitkFloat32)
    add("where they lie", lambda path: _resampled(path, reference, sitk.Transform()), 0.0, "")
    for transform in TRANSFORMS:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = nerfkit.fit(
                "register", [fixed, moving], Path(folder) / "out.nii.gz", transform=transform, seconds=LIMIT
            )
            moves = np.load(Path(folder) / "out" / "displacement.npy")
        chosen, seconds = found.figures["chosen"], time.process_time() - began
        how = f"{chosen['similarity']}, bending {chosen.get('bending')}; folds {found.figures['metrics'].get('folds')}"
        add(f"nerfkit, {transform}", lambda path, moves=moves: _moved(path, moves), seconds, how)
    began = time.process_time()
    target = sitk.ReadImage(str(moving), sitk.sitkFloat32)
    affine = _affine(reference, target)
    add("SimpleITK, affine", lambda path: _resampled(path, reference, affine), time.process_time() - began, "")
    for name, parameters, method in (("B-splines", MESHES, _bspline), ("demons", SIGMAS, _demons)):
        for parameter in parameters:
            began = time.process_time()
            transform = method(reference, target, affine, parameter)
            add(
                f"SimpleITK, {name} {parameter:g}", lambda path, t=transform: _resampled(path, reference, t),
                time.process_time() - began, "after the affine map",
            )  # fmt: skip
    return rows


def _values(path: Path) -> NDArray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkFloat32))


def _overlap(a: NDArray, b: NDArray) -> float:
    return float(2 * np.minimum(a, b).sum() / (a.sum() + b.sum()))


def _moved(path: Path, moves: NDArray) -> NDArray:
    """By a displacement [d, h, w, 3] in voxels, x first."""
    places = np.moveaxis(moves[..., ::-1], -1, 0) + np.indices(moves.shape[:3])
    return map_coordinates(_values(path), places, order=1, mode="constant")


def _resampled(path: Path, reference: Any, transform: Any) -> NDArray:
    return sitk.GetArrayFromImage(sitk.Resample(sitk.ReadImage(str(path), sitk.sitkFloat32), reference, transform))


def _method() -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED)
    method.SetShrinkFactorsPerLevel(list(LEVELS))
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _affine(fixed: Any, moving: Any) -> Any:
    method = _method()
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def _bspline(fixed: Any, moving: Any, affine: Any, mesh: float) -> Any:
    method = _method()
    start = sitk.BSplineTransformInitializer(fixed, [max(1, round(mesh / 4))] * 3)
    method.SetMovingInitialTransform(affine)
    method.SetOptimizerAsLBFGS2(numberOfIterations=ITERATIONS)
    method.SetInitialTransformAsBSpline(start, inPlace=True, scaleFactors=[1, 2, 4])
    found = method.Execute(fixed, moving)
    return sitk.CompositeTransform([affine, found])


def _demons(fixed: Any, moving: Any, affine: Any, sigma: float) -> Any:
    moved = sitk.HistogramMatching(sitk.Resample(moving, fixed, affine), fixed, 256, 15, True)
    field: Any = None
    for level in LEVELS:
        small = [sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, level), [level] * 3) if level > 1 else image
                 for image in (fixed, moved)]  # fmt: skip
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfIterations(ITERATIONS)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations(sigma * level * fixed.GetSpacing()[0])
        field = demons.Execute(*small) if field is None else demons.Execute(*small, sitk.Resample(field, small[0]))
    field = sitk.Cast(sitk.Resample(field, fixed), sitk.sitkVectorFloat64)
    return sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(field)])


def make(nilearn_data: Path, scan: Path) -> None:
    """Both subjects and their maps, in this folder."""
    for name in ("t1", "gm", "wm"):
        found = read_volume(nilearn_data / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
        _write_halved(f"mni_{name}.nii.gz", found.values / found.values.max(), found.affine)
    with np.load(scan) as arrays:
        head, labels = arrays["vol"].T, arrays["seg"].T.astype(int)
    for name, values in (("t1", head), ("gm", np.isin(labels, GREY)), ("wm", np.isin(labels, WHITE))):
        _write_halved(f"sub_{name}.nii.gz", values, SCAN_AFFINE)


def _write_halved(name: str, values: NDArray, affine: NDArray) -> None:
    """Means of 2 x 2 x 2 voxels."""
    d, h, w = (n // 2 for n in values.shape)
    halved = values[: 2 * d, : 2 * h, : 2 * w].astype(np.float32).reshape(d, 2, h, 2, w, 2).mean((1, 3, 5))
    coarse = affine @ np.diag([2.0, 2, 2, 1])
    coarse[:3, 3] = affine[:3] @ [0.5, 0.5, 0.5, 1]
    write_volume(name, Volume(halved, coarse))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed", type=Path, nargs="?")
    parser.add_argument("moving", type=Path, nargs="?")
    parser.add_argument("--maps", nargs="+", default=[], metavar="NAME:FIXED_MAP:MOVING_MAP")
    parser.add_argument("--make", nargs=2, type=Path, metavar=("NILEARN_DATA", "TEST_SCAN.npz"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.make:
        make(*given.make)
        return
    if given.moving is None or not given.maps:
        parser.error("FIXED, MOVING and --maps are wanted, or --make")
    maps = {}
    for text in given.maps:
        name, fixed, moving = text.split(":")
        maps[name] = (Path(fixed), Path(moving))
    publish(measure(given.fixed, given.moving, maps), given.json)


if __name__ == "__main__":
    main()
