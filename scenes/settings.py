"""What every group of settings has in common: numbers can be worked with, and ranges are checked by the same words.

Free of torch, as every module of settings is, so that the command line can list them at once.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Self

__all__ = ["Settings", "check_number", "check_positive", "check_range"]

# integers that every reader of a file understands the same: a float64, as JSON's readers take, has 53 bits
MAX_INTEGER = 2**53


class Settings:
    """Base of the dataclasses that hold settings; a ``__post_init__`` below it calls this one first.

    Messages begin with the setting's name: whoever reads a file or ``--set`` puts the group's name before it.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            check_number(field.name, getattr(self, field.name))

    def below(self, folder: Path) -> Self:
        """The settings with paths that started at ``folder``, where the file was that held them."""
        return self


def check_number(name: str, value: object) -> None:
    """Raise ValueError where the value, or one of several, is NaN, infinite or an integer beyond 2**53 in size."""
    for number in value if isinstance(value, (tuple, list)) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{name} must be finite; got {number}")
        if isinstance(number, int) and abs(number) > MAX_INTEGER:
            raise ValueError(f"{name} must be 2**53 or less in size; got an integer of {number.bit_length()} bits")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}; got {value}")


def check_positive(name: str, value: float | None) -> None:
    """Raise ValueError unless the value is above 0, or None where that stands for a choice made elsewhere."""
    if value is not None and not value > 0:
        raise ValueError(f"{name} must be above 0; got {value}")
