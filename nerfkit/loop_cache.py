"""Where numba keeps our compiled loops; where it can write nowhere, a folder that this process removes at its end."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.writing import is_writable

__all__ = ["COST", "is_kept", "keep_loops", "kept_loops", "user_caches"]

# what it costs where loops are not kept
COST = "every command compiles them again, up to a minute"

# folders that this process made, of which there is one at most
_own: list[Path] = []


def keep_loops() -> None:
    """Let loops be compiled also where numba could write them nowhere, which it takes for an error.

    Raises
    ------
    NerfkitError
        Not even a temporary folder can be made.
    """
    if _own or kept_loops() is not None:
        return
    try:
        folder = Path(tempfile.mkdtemp(prefix="nerfkit-loops-"))
    except OSError as error:
        raise NerfkitError(
            f"numba needs a folder for compiled loops, and there is none that can be written ({error})", where="numba",
            fix="export NUMBA_CACHE_DIR=FOLDER",
        ) from error  # fmt: skip
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _own.append(folder)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    # numba looks at its environment once
    if (numba := sys.modules.get("numba")) is not None:
        numba.config.CACHE_DIR = str(folder)


def is_kept() -> bool:
    """Whether loops that are compiled now are there for the next command."""
    return not _own


def kept_loops() -> Path | None:
    """The folder that numba keeps our compiled loops in; None where none can be written.

    The order is numba's own: NUMBA_CACHE_DIR, ``__pycache__`` beside the source, the user's cache.
    """
    import nerfkit.kernels

    own = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(own)] if own and Path(own) not in _own else []
    places.append(Path(nerfkit.kernels.__file__ or "").parent / "march" / "__pycache__")
    caches = user_caches()
    places += [] if caches is None else [caches / "numba"]
    return next((place for place in places if is_writable(place)), None)


def user_caches() -> Path | None:
    """The user's folder for what can be made anew; None where the system does not say which it is."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    try:
        return Path.home() / ".cache"
    # a user whom the system does not know, as in many containers
    except RuntimeError:
        return None
