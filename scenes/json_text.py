"""JSON of files that anybody may have written."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["parse_json"]


def parse_json(text: str | bytes) -> Any:
    """What a JSON text holds.

    Raises
    ------
    ValueError
        It is no JSON (``json.JSONDecodeError``, with line and column), is no UTF-8, has an integer of thousands of
        digits, or lists within lists deeper than Python reads.

    Examples
    --------
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: its lists and objects are nested too deep
    """
    try:
        return json.loads(text)
    except RecursionError:
        # some thousand levels; no file of a program's has more than ten
        raise ValueError("its lists and objects are nested too deep") from None
