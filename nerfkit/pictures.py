"""From arrays in [0, 1] to bytes, PNG files and colours for depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nerfkit.video import to_uint8

__all__ = ["depth_colors", "png_bytes"]


def png_bytes(image: NDArray) -> bytes:
    """A PNG file of an image [h, w] or [h, w, 3 or 4], uint8 or float in [0, 1]."""
    from imageio.v3 import imwrite

    return imwrite("<bytes>", image if image.dtype == np.uint8 else to_uint8(image), extension=".png", plugin="pillow")


def depth_colors(
    depths: NDArray[np.floating], opacities: NDArray[np.floating], near: float, far: float
) -> NDArray[np.uint8]:
    """Depth as colour [h, w, 3]: red is near, blue is far (the map Turbo, Mikhailov 2019), black where nothing is.

    Parameters
    ----------
    depths, opacities : ndarray, shape (h, w)
        Distance and opacity.
    near, far : float
        Distances of the two ends of the colours.
    """
    from nerfkit.scenes.opencv import load_cv2

    cv2 = load_cv2()
    fraction = np.clip((far - depths) / max(far - near, 1e-12), 0, 1)
    colors = cv2.applyColorMap(to_uint8(np.nan_to_num(fraction)), cv2.COLORMAP_TURBO)[..., ::-1]
    return to_uint8(colors / 255.0 * opacities[..., None])
