"""Transfer curves that files name, and those of high dynamic range brought to sRGB.

Curves whose white is the top of the range are undone when frames are averaged (:mod:`nerfkit.scenes.transfer`). Those
of high dynamic range have SDR white far below it; they are undone here, once, so that everything after sees frames as
an ordinary camera gives them, and the picture looks right in every viewer.
"""

from __future__ import annotations

import numpy as np

__all__ = ["CURVES_BY_CODE", "HDR_NAMES", "hdr_to_srgb"]

# transfer characteristics of ITU-T H.273 (07/2024), table 3, which videos and cICP of PNG share; what is not here, 2
# (unspecified) among it, is not known
CURVES_BY_CODE = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "bt709", 8: "linear", 9: "log100", 10: "log316", 11: "bt709",
    13: "srgb", 14: "bt709", 15: "bt709", 16: "pq", 18: "hlg",
}  # fmt: skip
HDR_NAMES = {"pq": "PQ", "hlg": "HLG", "log100": "logarithmic, 100:1", "log316": "logarithmic, 316:1"}
# cd/m2 of SDR white in PQ, and scene light of it in HLG, 75 % of the signal (ITU-R BT.2408, table 1)
PQ_PEAK, PQ_WHITE, HLG_WHITE = 10_000.0, 203.0, 0.2645


def hdr_to_srgb(values: np.ndarray, curve: str) -> np.ndarray:
    """Values [..] of a curve of :data:`HDR_NAMES` as those of sRGB with SDR white at 1; what is brighter is cut to it.

    Examples
    --------
    >>> hdr_to_srgb(np.array([0.0, 0.5807, 0.8], np.float32), "pq").round(2).tolist()
    [0.0, 1.0, 1.0]
    >>> hdr_to_srgb(np.array([0.0, 0.75], np.float32), "hlg").round(2).tolist()
    [0.0, 1.0]
    """
    radiance = _DECODERS[curve](np.asarray(values, np.float32).clip(0, 1)).clip(0, 1)
    # IEC 61966-2-1; white is 1 exactly, since what is there may be brighter
    curved = np.where(radiance <= 0.0031308, radiance * 12.92, 1.055 * radiance.clip(1e-9) ** (1 / 2.4) - 0.055)
    return np.where(radiance >= 1, 1.0, curved).astype(np.float32)


def _decode_pq(values: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084."""
    root = values ** (1 / 78.84375)
    light = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    return light ** (1 / 0.1593017578125) * (PQ_PEAK / PQ_WHITE)


def _decode_hlg(values: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100, light of the scene: what pixels average, before the display's own gamma."""
    bright = (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.where(values <= 0.5, values**2 / 3, bright) / HLG_WHITE


def _decode_log(values: np.ndarray, decades: float) -> np.ndarray:
    """Logarithm of so many decades below white (H.273, codes 9 and 10)."""
    return np.where(values > 0, 10 ** ((values - 1) * decades), 0)


_DECODERS = {
    "pq": _decode_pq,
    "hlg": _decode_hlg,
    "log100": lambda values: _decode_log(values, 2.0),
    "log316": lambda values: _decode_log(values, 2.5),
}
