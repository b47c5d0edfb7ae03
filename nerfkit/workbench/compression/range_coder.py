"""A range coder of binary decisions (Martin 1979), and whole numbers by such decisions; integers alone.

The coder's interval has 48 bits, so that no probability that is used loses anything that could be measured. A carry
runs back over bytes that are held until none can come. Probabilities are those of a table over logits; the coding and
the decoding side name them by their place in it.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["CHANCES", "COSTS", "LOGITS", "Reader", "Writer", "finish", "is_over", "new_reader", "new_writer",
           "place_of", "read_bits", "read_number", "write_bits", "write_number"]  # fmt: skip

# logits of the table: steps of 1/8 from -8 to 8
_N_PLACES, _PLACES_A_UNIT = 129, 8
# units of a number that are decisions by the table; what is beyond follows in Elias' gamma code, of so many digits
_N_STEPS, _N_DIGITS = 24, 20
# bytes that a stream may be read beyond its end: the interval's, which a writer leaves out where they are zeros
_BEYOND = 8

# numbers [low, range, byte that is held, bytes of 255 behind it, bytes written], and room for the bytes
Writer = tuple[NDArray[np.uint64], NDArray[np.uint8]]
# numbers [place in the interval, range, bytes read], and the bytes
Reader = tuple[NDArray[np.uint64], NDArray[np.uint8]]

LOGITS = (np.arange(_N_PLACES) - _N_PLACES // 2) / _PLACES_A_UNIT


def _chances() -> NDArray[np.uint64]:
    """Probabilities by logit, in 2**16; by decimals, which are rounded alike everywhere. None is below 2**-12."""
    with localcontext() as context:
        context.prec = 30
        logits = [Decimal(place - _N_PLACES // 2) / _PLACES_A_UNIT for place in range(_N_PLACES)]
        chances = [int((65536 / (1 + (-logit).exp())).to_integral_value()) for logit in logits]
    return np.clip(np.array(chances, np.uint64), 16, 65536 - 16)


# probabilities of the answer 0, in 2**16
CHANCES = _chances()
# bits of the answers 0 and 1 [2, places]
COSTS = -np.log2(np.stack([CHANCES / 65536, 1 - CHANCES / 65536]))
_HALF = np.uint64(1 << 15)


def place_of(probability: float) -> int:
    """The place in the table of a probability in (0, 1)."""
    return int(np.abs(CHANCES / 65536 - probability).argmin())


def new_writer(n_bytes: int) -> Writer:
    """A writer that has room for so many bytes."""
    return np.array([0, 1 << 48, 0, 0, 0], np.uint64), np.zeros(n_bytes + 32, np.uint8)


def new_reader(data: bytes) -> Reader:
    """A reader of what :func:`finish` gave."""
    first = int.from_bytes(data[:6].ljust(6, b"\0"), "big")
    return np.array([first, 1 << 48, 6], np.uint64), np.frombuffer(data, np.uint8)


@njit(cache=True, error_model="numpy", nogil=True)
def is_over(reader):
    """Whether more was read than was written: what was read is not what a writer wrote."""
    return np.int64(reader[0][2]) > len(reader[1]) + _BEYOND


@njit(cache=True, error_model="numpy", nogil=True)
def _shift(numbers, out):
    """Move the uppermost byte of low out."""
    low = numbers[0]
    carry, byte = low >> np.uint64(48), (low >> np.uint64(40)) & np.uint64(255)
    if byte == np.uint64(255) and carry == np.uint64(0):
        numbers[3] += np.uint64(1)
    else:
        at = np.int64(numbers[4])
        # the first byte that is held stands before the stream
        if at > 0:
            out[at - 1] = np.uint8((numbers[2] + carry) & np.uint64(255))
        for _ in range(np.int64(numbers[3])):
            at += 1
            out[at - 1] = np.uint8((np.uint64(255) + carry) & np.uint64(255))
        numbers[2], numbers[3], numbers[4] = byte, np.uint64(0), np.uint64(at + 1)
    numbers[0] = (low & np.uint64((1 << 40) - 1)) << np.uint64(8)


@njit(cache=True, error_model="numpy", nogil=True)
def _write(writer, bit, chance):
    numbers, out = writer
    bound = (numbers[1] >> np.uint64(16)) * chance
    if bit == 0:
        numbers[1] = bound
    else:
        numbers[0] += bound
        numbers[1] -= bound
    while numbers[1] < np.uint64(1 << 40):
        _shift(numbers, out)
        numbers[1] <<= np.uint64(8)


@njit(cache=True, error_model="numpy", nogil=True)
def _read(reader, chance):
    numbers, data = reader
    bound = (numbers[1] >> np.uint64(16)) * chance
    if numbers[0] < bound:
        numbers[1] = bound
        bit = 0
    else:
        numbers[0] -= bound
        numbers[1] -= bound
        bit = 1
    while numbers[1] < np.uint64(1 << 40):
        at = np.int64(numbers[2])
        byte = np.uint64(data[at]) if at < len(data) else np.uint64(0)
        numbers[0] = (numbers[0] << np.uint64(8)) | byte
        numbers[1] <<= np.uint64(8)
        numbers[2] += np.uint64(1)
    return bit


@njit(cache=True, error_model="numpy", nogil=True)
def _flush(writer):
    """Write the number of the interval that ends in most zeros; how many bytes there are."""
    numbers, out = writer
    low, last = numbers[0], numbers[0] + numbers[1] - np.uint64(1)
    chosen = low
    for n_zeros in range(47, -1, -1):
        chosen = (last >> np.uint64(n_zeros)) << np.uint64(n_zeros)
        if chosen >= low:
            break
    numbers[0] = chosen
    for _ in range(7):
        _shift(numbers, out)
    return np.int64(numbers[4]) - 1


def finish(writer: Writer) -> bytes:
    """The stream. Up to six zeros at its end are left out: a reader reads them there anyway."""
    data = writer[1][: int(_flush(writer))].tobytes()
    return data[:-6] + data[-6:].rstrip(b"\0")


@njit(cache=True, error_model="numpy", nogil=True)
def write_bits(writer, value, n_bits):
    """Write a whole number of ``n_bits`` bits as it is."""
    for digit in range(n_bits - 1, -1, -1):
        _write(writer, (value >> digit) & 1, _HALF)


@njit(cache=True, error_model="numpy", nogil=True)
def read_bits(reader, n_bits):
    """The inverse of :func:`write_bits`."""
    value = 0
    for _ in range(n_bits):
        value = 2 * value + _read(reader, _HALF)
    return value


@njit(cache=True, error_model="numpy", nogil=True)
def write_number(writer, value, zero, last):
    """Write a whole number below 2**20 in size: whether it is 0, its sign, then of each unit whether it is the last.

    ``zero`` and ``last`` are the places of these two probabilities in the table.
    """
    _write(writer, 0 if value == 0 else 1, CHANCES[zero])
    if value == 0:
        return
    _write(writer, 1 if value < 0 else 0, _HALF)
    rest = abs(value) - 1
    for _ in range(min(rest, _N_STEPS)):
        _write(writer, 1, CHANCES[last])
    if rest < _N_STEPS:
        _write(writer, 0, CHANCES[last])
        return
    rest += 1 - _N_STEPS
    n_digits = 0
    while (rest >> n_digits) > 1:
        n_digits += 1
    for _ in range(n_digits):
        _write(writer, 1, _HALF)
    _write(writer, 0, _HALF)
    for digit in range(n_digits - 1, -1, -1):
        _write(writer, (rest >> digit) & 1, _HALF)


@njit(cache=True, error_model="numpy", nogil=True)
def read_number(reader, zero, last):
    """The inverse of :func:`write_number`."""
    if _read(reader, CHANCES[zero]) == 0:
        return 0
    is_negative = _read(reader, _HALF)
    rest = 0
    while rest < _N_STEPS and _read(reader, CHANCES[last]) == 1:
        rest += 1
    if rest == _N_STEPS:
        n_digits = 0
        # a stream that no writer wrote must not count forever
        while n_digits < _N_DIGITS and _read(reader, _HALF) == 1:
            n_digits += 1
        beyond = 1
        for _ in range(n_digits):
            beyond = 2 * beyond + _read(reader, _HALF)
        rest += beyond - 1
    return -(rest + 1) if is_negative else rest + 1
