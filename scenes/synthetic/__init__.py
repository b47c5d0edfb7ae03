"""A scene of our own, traced into posed photos: what `nerfkit demo` trains on and what tests measure against.

The parts load when they are first used, as numba takes a while to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerfkit.scenes.synthetic.dataset import camera_poses, write_posed_scene
    from nerfkit.scenes.synthetic.diorama import lighthouse
    from nerfkit.scenes.synthetic.shapes import Scene, Shape, build_scene
    from nerfkit.scenes.synthetic.tracer import trace_view

__all__ = ["Scene", "Shape", "build_scene", "camera_poses", "lighthouse", "trace_view", "write_posed_scene"]

_MODULES = {
    "camera_poses": "dataset",
    "write_posed_scene": "dataset",
    "lighthouse": "diorama",
    "Scene": "shapes",
    "Shape": "shapes",
    "build_scene": "shapes",
    "trace_view": "tracer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
