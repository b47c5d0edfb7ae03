"""nerfkit: scenes held in small networks. Importing it loads no torch; the parts load when they are first used.

>>> import nerfkit
>>> scene = nerfkit.train("photos/fox", out="runs/fox", seconds=300)  # doctest: +SKIP
>>> scene.render_path("orbit", "orbit.mp4")  # doctest: +SKIP
>>> image = nerfkit.superres("frames", "sharp.png", scale=4)  # doctest: +SKIP
>>> field = nerfkit.fit("image", "photo.png", "fitted.png")  # doctest: +SKIP
>>> nerfkit.load("runs/fox").evaluate()  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerfkit.conversion import convert
    from nerfkit.posing import process
    from nerfkit.scenes.errors import NerfkitError
    from nerfkit.tasks import load_run as load
    from nerfkit.tasks.fit import fit, resume_fit
    from nerfkit.tasks.superres import resume as resume_superres
    from nerfkit.tasks.superres import superres
    from nerfkit.tasks.train import resume, train

__version__ = "0.1.0"

# name -> 'module:object'; a string, so that `import nerfkit` and `nerfkit --help` stay fast
_PUBLIC = {
    "NerfkitError": "nerfkit.scenes.errors:NerfkitError",
    "convert": "nerfkit.conversion:convert",
    "fit": "nerfkit.tasks.fit:fit",
    "load": "nerfkit.tasks:load_run",
    "process": "nerfkit.posing:process",
    "resume": "nerfkit.tasks.train:resume",
    "resume_fit": "nerfkit.tasks.fit:resume_fit",
    "resume_superres": "nerfkit.tasks.superres:resume",
    "superres": "nerfkit.tasks.superres:superres",
    "train": "nerfkit.tasks.train:train",
}
__all__ = [
    "NerfkitError",
    "__version__",
    "convert",
    "fit",
    "load",
    "process",
    "resume",
    "resume_fit",
    "resume_superres",
    "superres",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'nerfkit' has no attribute {name!r}")
    from nerfkit.loop_cache import keep_loops

    # before anything imports numba
    keep_loops()
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
