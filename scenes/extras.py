"""Packages of an extra: imported where they are first needed, and named with the command that installs them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from .errors import MissingCapabilityError

__all__ = ["import_extra"]


def import_extra(module: str, extra: str, where: str | Path) -> Any:
    """The package ``module``, which ``pip install "nerfkit[extra]"`` brings; ``where`` is the file that needs it.

    Raises
    ------
    MissingCapabilityError
        It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingCapabilityError(
            f"needs the package {module.partition('.')[0]}, which is not installed", where=where,
            fix=f'pip install "nerfkit[{extra}]"',
        ) from error  # fmt: skip
