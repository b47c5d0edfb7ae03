"""Fields: networks that turn a coordinate into a value. One file each; ``FIELDS`` names them for the command line."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["FIELDS", "field_class"]

# name -> 'module:class'; a string, so that listing the names loads no torch
FIELDS = {
    "hash": "nerfkit.scenes.fields.hash_field:HashField",
    "fourier": "nerfkit.scenes.fields.fourier_field:FourierField",
}


def field_class(name: str) -> Any:
    """The class registered under ``name``.

    Examples
    --------
    >>> field_class("hash").__name__
    'HashField'
    """
    if name not in FIELDS:
        raise ValueError(f"unknown field {name!r}; there are {', '.join(FIELDS)}")
    module, _, attribute = FIELDS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
