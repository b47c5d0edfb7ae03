"""Which files a dataset may name: those in its own folder and in the one above it, unless a user allows more.

A ``transforms.json`` of a stranger that names ``/home/you/private.png`` would put that picture into a scene, or a copy
of it into a converted dataset. Exports do name photos beside their folder (``../images/0001.jpg``). Links within the
folder are followed wherever they lead: people link to photos, and only what made the folder can have made the links.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from nerfkit.scenes.errors import NerfkitError

__all__ = ["VARIABLE", "also_read", "is_allowed", "outside_error", "plain_name"]

# folders that any dataset may name files of, divided as those of PATH are
VARIABLE = "NERFKIT_ALSO_READ"

_ALLOWED: ContextVar[tuple[Path, ...]] = ContextVar("also_read", default=())


@contextmanager
def also_read(folders: Sequence[str | Path]) -> Iterator[None]:
    """Let datasets name files in these folders as well meanwhile."""
    token = _ALLOWED.set((*_ALLOWED.get(), *(Path(folder).expanduser() for folder in folders)))
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def plain_name(listed: str) -> str:
    """A listed name with slashes forward, without ``.``, ``..`` behind a folder, and doubled slashes.

    Examples
    --------
    >>> plain_name(".\\\\images\\\\a\\\\..\\\\0.png"), plain_name("../x//0.png"), plain_name("//etc/0.png")
    ('images/0.png', '../x/0.png', '/etc/0.png')
    """
    # exports from Windows; normpath leaves two slashes at the beginning
    return re.sub("^/+", "/", os.path.normpath(listed.replace("\\", "/")).replace("\\", "/"))


def is_allowed(root: Path, name: str) -> bool:
    """Whether a file of the dataset in ``root`` may be read, by its :func:`plain_name` alone."""
    if not (name.startswith("..") or Path(name).is_absolute()):
        return True
    own = root.resolve()
    file = Path(os.path.normpath(own / name))
    if file.is_relative_to(own) or _is_beside(file, own.parent):
        return True
    more = (Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder)
    return any(file.is_relative_to(folder.resolve()) for folder in (*_ALLOWED.get(), *more))


def _is_beside(file: Path, above: Path) -> bool:
    """Whether a file is in the folder above a dataset's, not hidden as what programs keep in a home folder."""
    # a dataset that is a folder of the whole disk has nothing beside it
    if above == above.parent or not file.is_relative_to(above):
        return False
    return not any(part.startswith(".") for part in file.relative_to(above).parts)


def outside_error(root: Path, name: str, where: str | Path) -> NerfkitError:
    """What to say of a file that may not be read; ``where`` names it."""
    file = Path(os.path.normpath(root.resolve() / name))
    return NerfkitError(
        f"{name!r} is outside of the dataset's folder {root.resolve()} and of the one above it, and is not read",
        where=where, fix=f"if you trust the dataset: --also-read {file.parent}, or {VARIABLE} in the environment",
    )  # fmt: skip
