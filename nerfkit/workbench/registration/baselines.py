"""Registrations to compare with where the truth is known: flow of scikit-image, demons and B-splines of SimpleITK."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["USUAL", "measure_baselines"]

# what the truth chose on a smooth known warp of a photograph of 512 x 512: the weight of the data of TV-L1, the radius
# of iterative Lucas-Kanade, the deviation in pixels of the smoothed displacement of demons, and the intervals along a
# side of the finest mesh of the B-splines
USUAL: dict[str, tuple[float, ...]] = {"tvl1": (50,), "ilk": (7,), "demons": (3,), "bspline": (32,)}
WORDS = {
    "tvl1": "scikit-image, attachment {:g}", "ilk": "scikit-image, radius {:g}", "demons": "SimpleITK, sigma {:g}",
    "bspline": "SimpleITK, mesh {:g}, mutual information",
}  # fmt: skip
# warps of both flows
TVL1_WARPS, ILK_WARPS = 10, 15
# iterations of demons at each level
DEMONS_ITERATIONS, LEVELS = 100, (8, 4, 2, 1)
# bins and iterations of the B-splines
BINS, ITERATIONS = 50, 60
MISSING = "demons and B-splines are not measured: the package SimpleITK is not installed; pip install simpleitk"

# of a parameter: the displacement [(d,) h, w, n_dims], x first
Method = Callable[[float], NDArray]


def measure_baselines(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], error: Callable[[NDArray], dict[str, float]],
    say: Callable[[str], None], check: Callable[[], None], parameters: Mapping[str, Sequence[float]] = USUAL,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Errors of each method's displacement, with the one of its parameters that the truth likes best.

    Parameters
    ----------
    fixed, moving : ndarray, shape (h, w) or (d, h, w)
        The images.
    error : callable
        From a displacement [(d,) h, w, n_dims], x first, to errors, ``error_median`` among them.
    say, check : callable
        Told what is missing; called before each registration, may raise.
    parameters : mapping of str to sequence of float
        What is tried of each method; a method that is not named is not run.
    """
    methods = _flows(fixed, moving) if fixed.ndim == 2 else {}
    try:
        methods |= _of_simpleitk(fixed, moving)
    except ImportError:
        say(MISSING)
    found = {}
    for name in (name for name in methods if name in parameters):
        tried = []
        for parameter in parameters[name]:
            check()
            began = time.process_time()
            moves = methods[name](parameter)
            seconds = round(time.process_time() - began, 1)
            how = f"{WORDS[name].format(parameter)}, {_chosen_by(parameters[name])}"
            tried.append(error(moves) | {"cpu_seconds": seconds, "how": how})
        found[name] = min(tried, key=lambda figures: figures["error_median"])
    return found


def _chosen_by(tried: Sequence[float]) -> str:
    """How a parameter was chosen."""
    if len(tried) == 1:
        return "oracle on a plain warp"
    return "oracle of " + ", ".join(f"{value:g}" for value in tried)


def _flows(fixed: NDArray, moving: NDArray) -> dict[str, Method]:
    from skimage.registration import optical_flow_ilk, optical_flow_tvl1

    return {
        "tvl1": lambda attachment: _x_first(
            optical_flow_tvl1(fixed, moving, attachment=round(attachment), num_warp=TVL1_WARPS)
        ),
        "ilk": lambda radius: _x_first(optical_flow_ilk(fixed, moving, radius=round(radius), num_warp=ILK_WARPS)),
    }  # fmt: skip


def _x_first(flow: Any) -> NDArray:
    return np.moveaxis(np.asarray(flow)[::-1], 0, -1)


def _of_simpleitk(fixed: NDArray, moving: NDArray) -> dict[str, Method]:
    import SimpleITK as sitk

    # one thread, as everything else here
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    images = sitk.GetImageFromArray(fixed), sitk.GetImageFromArray(moving)
    found: dict[str, Method] = {"demons": lambda sigma: _demons(sitk, *images, sigma)}
    if fixed.ndim == 2:
        found["bspline"] = lambda mesh: _bspline(sitk, *images, round(mesh))
    return found


def _demons(sitk: Any, fixed: Any, moving: Any, sigma: float) -> NDArray:
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
        method.SetStandardDeviations(sigma)
        moves = method.Execute(*small) if moves is None else method.Execute(*small, sitk.Resample(moves, small[0]))
    assert moves is not None
    return sitk.GetArrayFromImage(sitk.Resample(moves, fixed))


def _bspline(sitk: Any, fixed: Any, moving: Any, mesh: int) -> NDArray:
    """Three meshes, each twice as fine as the one before."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    start = sitk.BSplineTransformInitializer(fixed, [max(1, mesh // 4)] * fixed.GetDimension())
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetOptimizerAsLBFGS2(numberOfIterations=ITERATIONS)
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransformAsBSpline(start, inPlace=True, scaleFactors=[1, 2, 4])
    found = method.Execute(fixed, moving)
    grid = fixed.GetSize(), fixed.GetOrigin(), fixed.GetSpacing(), fixed.GetDirection()
    return sitk.GetArrayFromImage(sitk.TransformToDisplacementField(found, sitk.sitkVectorFloat64, *grid))
