"""nerfkit: scenes held in small networks. Importing it loads no torch; the parts load when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerfkit.scenes.errors import NerfkitError

__version__ = "0.1.0"

# name -> 'module:object'; a string, so that `import nerfkit` and `nerfkit --help` stay fast
_PUBLIC = {
    "NerfkitError": "nerfkit.scenes.errors:NerfkitError",
}
__all__ = ["NerfkitError", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nerfkit' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
