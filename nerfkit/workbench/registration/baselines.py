"""Registrations to compare with where the truth is known: flow of scikit-image, demons and B-splines of SimpleITK.

Parameters are those that the truth chose on a smooth known warp of a photograph of 512 x 512.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["measure_baselines"]

# weight of the data in TV-L1, and its warps; radius of iterative Lucas-Kanade, and its warps
TVL1_ATTACHMENT, TVL1_WARPS, ILK_RADIUS, ILK_WARPS = 50, 10, 7, 15
# deviation of the smoothed displacement of demons, pixels; iterations at each level
DEMONS_SIGMA, DEMONS_ITERATIONS, LEVELS = 3.0, 100, (8, 4, 2, 1)
# intervals of the B-spline's finest mesh, bins, iterations
MESH, BINS, ITERATIONS = 32, 50, 60
MISSING = "demons and B-splines are not measured: the package SimpleITK is not installed; pip install simpleitk"


def measure_baselines(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], error: Callable[[NDArray], dict[str, float]],
    say: Callable[[str], None], check: Callable[[], None],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Errors by ``error`` of a displacement [(d,) h, w, n_dims], x first; ``check`` may raise between them."""
    methods = _flows(fixed, moving) if fixed.ndim == 2 else {}
    try:
        methods |= _of_simpleitk(fixed, moving)
    except ImportError:
        say(MISSING)
    found = {}
    for name, (how, method) in methods.items():
        check()
        began = time.process_time()
        moves = method()
        found[name] = error(moves) | {"cpu_seconds": round(time.process_time() - began, 1), "how": how}
    return found


def _flows(fixed: NDArray, moving: NDArray) -> dict[str, tuple[str, Callable[[], NDArray]]]:
    from skimage.registration import optical_flow_ilk, optical_flow_tvl1

    def tvl1() -> NDArray:
        return _x_first(optical_flow_tvl1(fixed, moving, attachment=TVL1_ATTACHMENT, num_warp=TVL1_WARPS))

    def ilk() -> NDArray:
        return _x_first(optical_flow_ilk(fixed, moving, radius=ILK_RADIUS, num_warp=ILK_WARPS))

    return {
        "tvl1": (f"scikit-image, attachment {TVL1_ATTACHMENT}, oracle on a plain warp", tvl1),
        "ilk": (f"scikit-image, radius {ILK_RADIUS}, oracle on a plain warp", ilk),
    }


def _x_first(flow: Any) -> NDArray:
    return np.moveaxis(np.asarray(flow)[::-1], 0, -1)


def _of_simpleitk(fixed: NDArray, moving: NDArray) -> dict[str, tuple[str, Callable[[], NDArray]]]:
    import SimpleITK as sitk

    # one thread, as everything else here
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    images = sitk.GetImageFromArray(fixed), sitk.GetImageFromArray(moving)
    found = {
        "demons": (f"SimpleITK, sigma {DEMONS_SIGMA:g}, oracle on a plain warp", lambda: _demons(sitk, *images)),
    }
    if fixed.ndim == 2:
        how = f"SimpleITK, mesh {MESH}, mutual information, oracle on a plain warp"
        found["bspline"] = (how, lambda: _bspline(sitk, *images))
    return found


def _demons(sitk: Any, fixed: Any, moving: Any) -> NDArray:
    """Diffeomorphic demons from coarse to fine."""
    moves = None
    for level in LEVELS:
        if min(fixed.GetSize()) // level < 8:
            continue
        small = [
            sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, level / 2), [level] * image.GetDimension())
            if level > 1 else image
            for image in (fixed, moving)
        ]  # fmt: skip
        method = sitk.DiffeomorphicDemonsRegistrationFilter()
        method.SetNumberOfIterations(DEMONS_ITERATIONS)
        method.SetSmoothDisplacementField(True)
        method.SetStandardDeviations(DEMONS_SIGMA)
        moves = method.Execute(*small) if moves is None else method.Execute(*small, sitk.Resample(moves, small[0]))
    assert moves is not None
    return sitk.GetArrayFromImage(sitk.Resample(moves, fixed))


def _bspline(sitk: Any, fixed: Any, moving: Any) -> NDArray:
    """Three meshes, each twice as fine as the one before."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    start = sitk.BSplineTransformInitializer(fixed, [max(1, MESH // 4)] * fixed.GetDimension())
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetOptimizerAsLBFGS2(numberOfIterations=ITERATIONS)
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransformAsBSpline(start, inPlace=True, scaleFactors=[1, 2, 4])
    found = method.Execute(fixed, moving)
    grid = fixed.GetSize(), fixed.GetOrigin(), fixed.GetSpacing(), fixed.GetDirection()
    return sitk.GetArrayFromImage(sitk.TransformToDisplacementField(found, sitk.sitkVectorFloat64, *grid))
