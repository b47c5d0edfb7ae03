"""Fields: what turns a coordinate into a value. Registries name those that settings choose from."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["FIELDS", "IMAGE_FIELDS", "field_class", "image_field_class"]

# kind of settings (configs.py) -> 'module:class' made from them; a string, so that listing the names loads no torch
FIELDS = {
    "hash": "nerfkit.scenes.fields.encoded_radiance:EncodedRadiance",
    "fourier": "nerfkit.scenes.fields.encoded_radiance:EncodedRadiance",
}
# name in the settings of a super-resolution -> 'module:class'
IMAGE_FIELDS = {
    "single": "nerfkit.scenes.fields.siren:Siren",
    "tiled": "nerfkit.scenes.fields.tiled_siren:TiledSiren",
}


def field_class(name: str) -> Any:
    """The class of radiance fields registered under ``name``.

    Examples
    --------
    >>> field_class("hash").__name__
    'EncodedRadiance'
    """
    return _load(FIELDS, name, "field")


def image_field_class(name: str) -> Any:
    """The class of image fields registered under ``name``."""
    return _load(IMAGE_FIELDS, name, "image field")


def _load(registry: dict[str, str], name: str, kind: str) -> Any:
    if name not in registry:
        raise ValueError(f"unknown {kind} {name!r}; there are {', '.join(registry)}")
    module, _, attribute = registry[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
