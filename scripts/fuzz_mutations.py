"""Changes of a file's bytes at random, by a generator that is given: bits, numbers, parts, words of a format."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence

__all__ = ["mutated"]

# numbers at the edges of what types hold
EDGES = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, -(2**31), 2**32 - 1, 2**53, 2**63 - 1)
# what a number in a text may become
TEXT_NUMBERS = (
    "0", "-1", "1e999", "-1e308", "1e308", "NaN", "nan", "-inf", "4294967296", "99999999999999999999", "0.0", "1e-320",
    "9" * 400, "9" * 5000, "", "null", '"1"', "[]", "true", "0x7fffffff", "²", "1_0",
)  # fmt: skip
# what may stand anywhere in a text
TEXT_WORDS = (
    "../../../../etc/passwd", "/etc/passwd", "//etc/passwd", "\\\\host\\share", "C:\\x", "%s%n", "a" * 5000, "\ud800",
    "[" * 3000, '{"a":' * 3000, "\x00", "\n", "{}", "[]", "&a *a", "!!python/object:os.system", "<img src=x>", "💥",
)  # fmt: skip
_ENCODED_WORDS = tuple(word.encode(errors="surrogatepass") for word in TEXT_WORDS)
# what whole files become
MAX_GROWTH = 4096


def mutated(payload: bytes, generator: random.Random, words: Sequence[bytes] = ()) -> bytes:
    """Bytes with one to six changes; ``words`` are those of the format."""
    data = bytearray(payload)
    # a single odd byte ends the reading of most texts before it has begun
    changes = _TEXT_CHANGES if b"\0" not in payload and generator.random() < 0.7 else _CHANGES
    for _ in range(generator.choice((1, 1, 1, 2, 3, 6))):
        change = generator.choice(changes)
        change(data, generator, words)
    return bytes(data)


def _at(data: bytearray, generator: random.Random) -> int:
    # heads are at the beginning
    most = len(data) if generator.random() < 0.6 else min(len(data), 256)
    return generator.randrange(most) if most else 0


def _flip(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    if data:
        data[_at(data, generator)] ^= 1 << generator.randrange(8)


def _set_byte(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    if data:
        data[_at(data, generator)] = generator.choice((0, 1, 127, 128, 255, generator.randrange(256)))


def _set_number(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    kind, number = generator.choice(["<H", ">H", "<I", ">I", "<Q", ">Q", "<d", ">d", "<f"]), generator.choice(EDGES)
    if kind[1] in "df":
        number = generator.choice((0.0, -1.0, float("nan"), float("inf"), 1e300 if kind[1] == "d" else 1e38))
    else:
        number &= 2 ** (8 * struct.calcsize(kind)) - 1
    packed, at = struct.pack(kind, number), _at(data, generator)
    data[at : at + len(packed)] = packed


def _cut(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    del data[_at(data, generator) :]


def _remove(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    at = _at(data, generator)
    del data[at : at + generator.randrange(1, 64)]


def _repeat(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    at, size = _at(data, generator), generator.randrange(1, 128)
    data[at:at] = data[at : at + size] * generator.choice((1, 2, 16))


def _move(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    begin, to, size = _at(data, generator), _at(data, generator), generator.randrange(1, 64)
    data[to : to + size] = data[begin : begin + size]


def _insert(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    at = _at(data, generator)
    data[at:at] = generator.randbytes(generator.randrange(1, 32))


def _insert_word(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    word, at = generator.choice((*words, *_ENCODED_WORDS)), _at(data, generator)
    data[at : at + generator.choice((0, len(word)))] = word


def _text_number(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    """Replace one of the numbers of a text."""
    spans = [match.span() for match in re.finditer(rb"-?[0-9][0-9.eE+-]*", bytes(data[:20000]))]
    if spans:
        begin, end = generator.choice(spans)
        data[begin:end] = generator.choice(TEXT_NUMBERS).encode()


def _text_string(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    """Replace what stands in quotes, or a word, of a text."""
    spans = [match.span() for match in re.finditer(rb'"[^"\n]*"|[A-Za-z_][\w./-]*', bytes(data[:20000]))]
    if spans:
        begin, end = generator.choice(spans)
        text = generator.choice((*TEXT_WORDS, *TEXT_NUMBERS)).encode(errors="surrogatepass")
        data[begin:end] = b'"' + text + b'"' if data[begin : begin + 1] == b'"' else text


def _line(data: bytearray, generator: random.Random, words: Sequence[bytes]) -> None:
    """Remove, repeat or exchange lines of a text."""
    lines = bytes(data[:50000]).split(b"\n")
    a, b = generator.randrange(len(lines)), generator.randrange(len(lines))
    lines[a] = generator.choice((b"", lines[b], lines[a] + b"\n" + lines[a]))
    data[:50000] = b"\n".join(lines)[: len(data) + MAX_GROWTH]


_TEXT_CHANGES = (_text_number, _text_number, _text_string, _line)
_CHANGES = (
    _flip, _set_byte, _set_number, _set_number, _cut, _remove, _repeat, _move, _insert, _insert_word, *_TEXT_CHANGES
)  # fmt: skip
