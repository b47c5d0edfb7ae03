"""Holes of a picture filled by classical methods: what a fit is compared with. None has a parameter to choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerfkit.workbench.interpolation import scattered_cubic

__all__ = ["FILLERS", "filled_by_all", "least_variation"]

# steps of the total variation, and unknown pixels up to which scikit-image's biharmonic system is solved at once
TV_STEPS, MAX_BIHARMONIC = 500, 2**17
# radius that OpenCV's fillers look in, pixels: its documentation's
CV_RADIUS = 3


def _nearest(values: NDArray, known: NDArray[np.bool_]) -> NDArray:
    from scipy.ndimage import distance_transform_edt

    places: Any = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[places[0], places[1]]


def _linear(values: NDArray, known: NDArray[np.bool_]) -> NDArray:
    from scipy.interpolate import LinearNDInterpolator

    found, places = _nearest(values, known), np.argwhere(known)
    if np.ptp(places[:, 0]) and np.ptp(places[:, 1]):
        inner = LinearNDInterpolator(places, values[known])(np.argwhere(~known))
        found[~known] = np.where(np.isnan(inner), found[~known], inner)
    return found


def _biharmonic(values: NDArray, known: NDArray[np.bool_]) -> NDArray | None:
    from skimage.restoration import inpaint_biharmonic

    if (~known).sum() > MAX_BIHARMONIC:
        return None
    return inpaint_biharmonic(np.where(known[..., None], values, 0.0), ~known, channel_axis=-1)


def least_variation(values: NDArray, known: NDArray[np.bool_], steps: int = TV_STEPS) -> NDArray:
    """The picture of least total variation through the known pixels (Chambolle and Pock 2011, algorithm 1).

    Lengths are of all channels' differences together; the steps are just below 1 / sqrt(8), where it converges.
    """
    found = _nearest(values, known).astype(np.float64)
    ahead, dual, step = found.copy(), np.zeros((2, *found.shape)), 0.35
    for _ in range(steps):
        dual[0, :-1] += step * np.diff(ahead, axis=0)
        dual[1, :, :-1] += step * np.diff(ahead, axis=1)
        dual /= np.maximum(1, np.sqrt(np.square(dual).sum((0, -1))))[..., None]
        before, found = found, found.copy()
        found += step * np.diff(dual[0], axis=0, prepend=0) + step * np.diff(dual[1], axis=1, prepend=0)
        found[known] = values[known]
        ahead = 2 * found - before
    return found


def _opencv(name: str) -> Callable[[NDArray, NDArray[np.bool_]], NDArray | None]:
    def filled(values: NDArray, known: NDArray[np.bool_]) -> NDArray | None:
        import cv2

        if values.shape[2] not in (1, 3):
            return None
        bytes_ = np.ascontiguousarray((values.clip(0, 1) * 255).round().astype(np.uint8))
        method = {"telea": cv2.INPAINT_TELEA, "navier-stokes": cv2.INPAINT_NS}[name]
        return cv2.inpaint(bytes_, (~known).astype(np.uint8), CV_RADIUS, method).reshape(values.shape) / 255.0

    return filled


# name -> what fills values [h, w, c] in [0, 1] where they are not known, None where it cannot; and how it was chosen
FILLERS: dict[str, tuple[Callable[[NDArray, NDArray[np.bool_]], NDArray | None], str]] = {
    "nearest": (_nearest, "no parameter"),
    "linear": (_linear, "linear in Delaunay triangles, nearest beyond them; no parameter"),
    "cubic": (scattered_cubic, "Clough-Tocher cubics; no parameter"),
    "biharmonic": (_biharmonic, "scikit-image; no parameter"),
    "total variation": (least_variation, f"known pixels fixed, so no weight; {TV_STEPS} steps of Chambolle-Pock"),
    "telea": (_opencv("telea"), f"OpenCV, radius {CV_RADIUS}, on 8 bits; not chosen"),
    "navier-stokes": (_opencv("navier-stokes"), f"OpenCV, radius {CV_RADIUS}, on 8 bits; not chosen"),
}


def filled_by_all(values: NDArray, known: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray, str]]:
    """Name, picture, and how its parameter was chosen, of each that can."""
    for name, (filler, how) in FILLERS.items():
        found = filler(values, known)
        if found is not None:
            yield name, found, how
