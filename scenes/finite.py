"""One rule for numbers of files that are none: the reader counts them and names the place of the first.

A reader refuses them, unless what it reads has a use for values that are not known; then it says how many are left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["not_finite"]


def not_finite(values: NDArray, place: str) -> str:
    """How many of the values are NaN or infinite and where the first is, in words; empty where all are finite.

    Parameters
    ----------
    values : ndarray
        Real or complex numbers; integers are all finite.
    place : str
        How the place is called, for :meth:`str.format` with an index for each axis.

    Examples
    --------
    >>> not_finite(np.array([[1, 2], [np.inf, np.nan]]), "row {}, column {}")
    '2 of its 4 values are NaN or infinite, the first at row 1, column 0'
    """
    bad = ~np.isfinite(values)
    n_bad = int(np.count_nonzero(bad))
    if not n_bad:
        return ""
    first = np.unravel_index(int(bad.argmax()), bad.shape)
    return f"{n_bad} of its {bad.size} values are NaN or infinite, the first at {place.format(*map(int, first))}"
