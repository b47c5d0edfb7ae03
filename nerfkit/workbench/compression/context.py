"""The codec's context model: from coefficients that are known already, how the next one is distributed; integers alone.

Coefficients are coded band by band, coarse bands first, within a band row by row. A small network sees how large those
are that were coded before round the same place: in the band, in the coarser band of the same direction, in the other
directions and in the other channels. It gives two logits: that the coefficient is 0, and that a unit of one which is
not is the last (a geometric distribution: the discrete Laplace one beyond 0). Means are coded as differences from what
their neighbours tell. Encoder and decoder run the same loops on the same integers and agree on every machine.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .networks import IntegerNetwork, evaluate
from .range_coder import COSTS, LOGITS, Reader, Writer, is_over, read_number, write_number

__all__ = ["FEATURE_BITS", "N_FEATURES", "bands", "choose", "code_lengths", "features_of", "fill", "from_means",
           "n_coded", "places_of", "read_coefficients", "to_means", "values_of", "write_coefficients"]  # fmt: skip

# what the network sees, and the bits behind its point
N_FEATURES, FEATURE_BITS = 20, 4
# sizes and sums beyond are seen as this one
_LARGEST = 1023
# the place of a logit of 0 in the range coder's table
_MIDDLE = len(LOGITS) // 2


def _logs() -> NDArray[np.int64]:
    """16 log2(1 + m) of sizes m, rounded; by decimals, which are rounded alike everywhere."""
    with localcontext() as context:
        context.prec = 30
        unit = Decimal(2).ln() / 2**FEATURE_BITS
        return np.array([int((Decimal(1 + m).ln() / unit).to_integral_value()) for m in range(_LARGEST + 1)], np.int64)


_LOGS = _logs()

# Columns of the table of bands: channel, level, direction, whether it is coded; then rectangles of row, column, height
# and width in the planes: the band's, the coarser one's of the same direction, and those of the two directions that
# were coded before. One that there is not has no height.
_N_COLUMNS = 20
_NOTHING = (0, 0, 0, 0)


def bands(n_channels: int, height: int, width: int, n_levels: int) -> NDArray[np.int64]:
    """The bands [n, 20] in the order of coding, all marked as coded.

    Directions are 0: means, 1: details along rows, 2: along columns, 3: along both.
    """
    sizes = [(height, width)]
    for _ in range(n_levels):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))

    def details(level: int, direction: int) -> tuple[int, int, int, int]:
        if level > n_levels:
            return _NOTHING
        (h, w), (above_h, above_w) = sizes[level], sizes[level - 1]
        across, down = direction in (1, 3), direction in (2, 3)
        return h if down else 0, w if across else 0, above_h - h if down else h, above_w - w if across else w

    nothing = (*_NOTHING, *_NOTHING, *_NOTHING)
    rows: list[tuple[int, ...]] = [(c, n_levels, 0, 1, 0, 0, *sizes[-1], *nothing) for c in range(n_channels)]
    for level in range(n_levels, 0, -1):
        for direction in (1, 2, 3):
            before = [details(level, other) for other in range(1, direction)] + [_NOTHING, _NOTHING]
            places = (*details(level, direction), *details(level + 1, direction), *before[0], *before[1])
            rows.extend((channel, level, direction, 1, *places) for channel in range(n_channels))
    return np.array(rows, np.int64).reshape(-1, _N_COLUMNS)


def n_coded(table: NDArray[np.int64]) -> int:
    """Number of coefficients in the bands that are coded."""
    return int((table[:, 3] * table[:, 6] * table[:, 7]).sum())


def values_of(planes: NDArray, table: NDArray[np.int64]) -> NDArray:
    """The coded coefficients [n] of planes [c, h, w] in the order of coding."""
    parts = [planes[c, i : i + h, j : j + w].ravel() for c, _, _, is_coded, i, j, h, w in table[:, :8] if is_coded]
    return np.concatenate(parts) if parts else np.empty(0, planes.dtype)


def fill(planes: NDArray, table: NDArray[np.int64], values: NDArray) -> None:
    """The inverse of :func:`values_of`, into ``planes``; bands that are not coded become 0."""
    planes[...] = 0
    at = 0
    for c, _, _, is_coded, i, j, h, w in table[:, :8]:
        if is_coded:
            planes[c, i : i + h, j : j + w] = values[at : at + h * w].reshape(h, w)
            at += h * w


@njit(cache=True, error_model="numpy", nogil=True)
def _size(planes, channel, place, i, j):
    """How large the coefficient is at i, j of the rectangle ``place``; 0 outside."""
    if i < 0 or j < 0 or i >= place[2] or j >= place[3]:
        return np.int64(0)
    return abs(np.int64(planes[channel, place[0] + i, place[1] + j]))


@njit(cache=True, error_model="numpy", nogil=True)
def _round(planes, channel, place, i, j):
    """The sum of how large the eight neighbours are."""
    total = np.int64(0)
    for di in range(-1, 2):
        for dj in range(-1, 2):
            if di != 0 or dj != 0:
                total += _size(planes, channel, place, i + di, j + dj)
    return total


@njit(cache=True, error_model="numpy", nogil=True)
def _features(out, planes, band, i, j, logs):
    channel, level, direction = band[0], band[1], band[2]
    own, coarser, first, second = band[4:8], band[8:12], band[12:16], band[16:20]
    left, above = _size(planes, channel, own, i, j - 1), _size(planes, channel, own, i - 1, j)
    above_left, above_right = _size(planes, channel, own, i - 1, j - 1), _size(planes, channel, own, i - 1, j + 1)
    left_2, above_2 = _size(planes, channel, own, i, j - 2), _size(planes, channel, own, i - 2, j)
    far = left_2 + above_2 + _size(planes, channel, own, i - 1, j - 2) + _size(planes, channel, own, i - 1, j + 2)
    for dj in (-2, -1, 1, 2):
        far += _size(planes, channel, own, i - 2, j + dj)
    out[0], out[1], out[2], out[3], out[4], out[5] = left, above, above_left, above_right, left_2, above_2
    out[6], out[7] = far, 2 * (left + above) + above_left + above_right
    # the coarser band is known on all sides
    out[8] = _size(planes, channel, coarser, i >> 1, j >> 1)
    out[9] = _round(planes, channel, coarser, i >> 1, j >> 1) if coarser[2] > 0 else 0
    # so are the same band of the channels before
    for other in range(2):
        out[10 + 2 * other] = _size(planes, other, own, i, j) if channel > other else 0
        out[11 + 2 * other] = _round(planes, other, own, i, j) if channel > other else 0
    # and the other directions of this level
    out[14] = 2 * _size(planes, channel, first, i, j) + _round(planes, channel, first, i, j) if first[2] > 0 else 0
    out[15] = 2 * _size(planes, channel, second, i, j) + _round(planes, channel, second, i, j) if second[2] > 0 else 0
    for k in range(16):
        out[k] = logs[min(out[k], _LARGEST)]
    # which band it is, in numbers as large as the others
    out[16], out[17], out[18] = 8 * level, 16 if channel > 0 else 0, 16 if direction == 3 else 0
    out[19] = 64 if direction == 0 else 0


@njit(cache=True, error_model="numpy", nogil=True)
def _places(out, hidden, x, network):
    evaluate(out, hidden, x, network, FEATURE_BITS)
    for k in range(2):
        # the nearest logit of the table: 2**8 of what comes out are a unit, and a unit is 2**3 places
        out[k] = min(max(((out[k] + 16) >> 5) + _MIDDLE, np.int64(0)), np.int64(2 * _MIDDLE))


@njit(cache=True, error_model="numpy", nogil=True)
def _all_features(out, planes, table, logs):
    x = np.empty(N_FEATURES, np.int64)
    at = 0
    for b in range(len(table)):
        band = table[b]
        for i in range(band[6] if band[3] else 0):
            for j in range(band[7]):
                _features(x, planes, band, i, j, logs)
                for k in range(N_FEATURES):
                    out[at, k] = x[k]
                at += 1


@njit(cache=True, error_model="numpy", nogil=True)
def _all_places(out, features, network):
    x, y, hidden = np.empty(N_FEATURES, np.int64), np.empty(2, np.int64), np.empty((2, len(network[1])), np.int64)
    for at in range(len(features)):
        for k in range(N_FEATURES):
            x[k] = features[at, k]
        _places(y, hidden, x, network)
        out[at, 0], out[at, 1] = y[0], y[1]


@njit(cache=True, error_model="numpy", nogil=True)
def _write_all(writer, values, places):
    for at in range(len(values)):
        write_number(writer, np.int64(values[at]), np.int64(places[at, 0]), np.int64(places[at, 1]))


@njit(cache=True, error_model="numpy", nogil=True)
def _read_all(planes, reader, table, network, logs):
    x, y, hidden = np.empty(N_FEATURES, np.int64), np.empty(2, np.int64), np.empty((2, len(network[1])), np.int64)
    for b in range(len(table)):
        band = table[b]
        for i in range(band[6] if band[3] else 0):
            if is_over(reader):
                return
            for j in range(band[7]):
                _features(x, planes, band, i, j, logs)
                _places(y, hidden, x, network)
                planes[band[0], band[4] + i, band[5] + j] = read_number(reader, y[0], y[1])


def features_of(planes: NDArray[np.int32], table: NDArray[np.int64]) -> NDArray[np.uint8]:
    """What the network sees of each coded coefficient [n, 20], with ``FEATURE_BITS`` bits behind the point."""
    out = np.empty((n_coded(table), N_FEATURES), np.uint8)
    _all_features(out, planes, table, _LOGS)
    return out


def places_of(features: NDArray[np.uint8], network: IntegerNetwork) -> NDArray[np.uint8]:
    """Places of the two probabilities of each coefficient in the range coder's table [n, 2]."""
    out = np.empty((len(features), 2), np.uint8)
    _all_places(out, features, network)
    return out


def code_lengths(values: NDArray[np.int32], places: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Bits that each coefficient takes [n]; of those of 24 and more a little less than they take."""
    sizes = np.abs(values)
    zero, last = places[:, 0], places[:, 1]
    others = COSTS[1][zero] + 1 + (sizes - 1) * COSTS[1][last] + COSTS[0][last]
    return np.where(sizes == 0, COSTS[0][zero], others)


def write_coefficients(writer: Writer, values: NDArray[np.int32], places: NDArray[np.uint8]) -> None:
    """Write coefficients [n] with their probabilities' places [n, 2]."""
    _write_all(writer, values, places)


def read_coefficients(
    reader: Reader, shape: tuple[int, int, int], table: NDArray[np.int64], network: IntegerNetwork
) -> NDArray[np.int32]:
    """Planes of what :func:`write_coefficients` wrote; where the stream ends early, the rest is 0."""
    planes = np.zeros(shape, np.int32)
    _read_all(planes, reader, table, network, _LOGS)
    return planes


def choose(
    targets: NDArray[np.float64], places: NDArray[np.uint8], is_mean: NDArray[np.bool_], price: float
) -> NDArray[np.int32]:  # fmt: skip
    """For each coefficient the whole number q of least (q - target)**2 + price * bits; means are rounded.

    Beyond 0 a unit costs the same everywhere, so the best size is the target's less half the price of a unit, rounded.
    """
    return _choose(targets, places, is_mean, COSTS, price)


@njit(cache=True, error_model="numpy", nogil=True)
def _choose(targets, places, is_mean, costs, price):
    out = np.empty(len(targets), np.int32)
    for at in range(len(targets)):
        target, zero, last = targets[at], places[at, 0], places[at, 1]
        if is_mean[at]:
            out[at] = round(target)
            continue
        size = abs(target)
        more = costs[1, last]
        best = max(1.0, np.floor(size - 0.5 * price * more + 0.5))
        cost = (best - size) ** 2 + price * (costs[1, zero] + 1 + (best - 1) * more + costs[0, last])
        if size * size + price * costs[0, zero] <= cost:
            best = 0.0
        out[at] = best if target > 0 else -best
    return out


@njit(cache=True, error_model="numpy", nogil=True)
def _means(plane, h, w, is_back):
    for n in range(h * w):
        # differences are taken from the end on, so that the neighbours are still means
        at = n if is_back else h * w - 1 - n
        i, j = at // w, at % w
        left = np.int64(plane[i, j - 1]) if j > 0 else (np.int64(plane[i - 1, j]) if i > 0 else np.int64(0))
        above = np.int64(plane[i - 1, j]) if i > 0 else left
        corner = np.int64(plane[i - 1, j - 1]) if i > 0 and j > 0 else min(left, above)
        told = min(max(left + above - corner, min(left, above)), max(left, above))
        plane[i, j] = np.int64(plane[i, j]) + (told if is_back else -told)


def from_means(planes: NDArray[np.int32], h: int, w: int) -> None:
    """Replace the means, the first h rows and w columns of each plane, by differences from the median of left, above
    and left + above - corner (Weinberger et al. 2000)."""
    for plane in planes:
        _means(plane, h, w, False)


def to_means(planes: NDArray[np.int32], h: int, w: int) -> None:
    """The inverse of :func:`from_means`."""
    for plane in planes:
        _means(plane, h, w, True)
