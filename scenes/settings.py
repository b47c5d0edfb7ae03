"""What every group of settings has in common: numbers are finite, and ranges are checked by the same words.

Free of torch, as every module of settings is, so that the command line can list them at once.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Self

__all__ = ["Settings", "check_positive", "check_range"]


class Settings:
    """Base of the dataclasses that hold settings; a ``__post_init__`` below it calls this one first.

    Messages begin with the setting's name: whoever reads a file or ``--set`` puts the group's name before it.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{field.name} must be finite; got {value}")

    def below(self, folder: Path) -> Self:
        """The settings with paths that started at ``folder``, where the file was that held them."""
        return self


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}; got {value}")


def check_positive(name: str, value: float | None) -> None:
    """Raise ValueError unless the value is above 0, or None where that stands for a choice made elsewhere."""
    if value is not None and not value > 0:
        raise ValueError(f"{name} must be above 0; got {value}")
