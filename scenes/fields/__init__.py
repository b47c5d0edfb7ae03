"""Fields: what turns a coordinate into a value. ``FIELDS`` names the radiance fields for the command line."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["FIELDS", "field_class"]

# kind of settings (configs.py) -> 'module:class' made from them; a string, so that listing the names loads no torch
FIELDS = {
    "hash": "nerfkit.scenes.fields.encoded_radiance:EncodedRadiance",
    "fourier": "nerfkit.scenes.fields.encoded_radiance:EncodedRadiance",
}


def field_class(name: str) -> Any:
    """The class registered under ``name``.

    Examples
    --------
    >>> field_class("hash").__name__
    'EncodedRadiance'
    """
    if name not in FIELDS:
        raise ValueError(f"unknown field {name!r}; there are {', '.join(FIELDS)}")
    module, _, attribute = FIELDS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
