"""Preparing folders for output; with it, writing files so that nothing is ever half there (scenes/writing.py)."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.json_text import parse_json
from nerfkit.scenes.unfinished import is_unfinished
from nerfkit.scenes.writing import explain_os_error, lack_of_room, write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DATASET_MARKER", "LOCK_NAME", "check_output_folder", "explain_os_error", "lack_of_room", "npy_bytes",
    "npz_bytes", "prepare_output_folder", "write_atomically",
]  # fmt: skip

# the file that is locked while a run writes into its folder (nerfkit/run_lock.py); no output of anybody's
LOCK_NAME = ".lock"
# what a dataset that nerfkit wrote is known by, so that --overwrite may replace it
DATASET_MARKER = "nerfkit.json"


def npy_bytes(array: NDArray) -> bytes:
    """An npy file of an array."""
    import numpy as np

    payload = io.BytesIO()
    np.save(payload, array, allow_pickle=False)
    return payload.getvalue()


def npz_bytes(**arrays: NDArray) -> bytes:
    """A compressed npz file of arrays by name."""
    import numpy as np

    payload = io.BytesIO()
    np.savez_compressed(payload, allow_pickle=False, **arrays)
    return payload.getvalue()


def _contents(folder: Path) -> list[Path]:
    # what a write that was killed left hinders nothing: it goes when the next file is written
    return [item for item in folder.iterdir() if item.name != LOCK_NAME and not is_unfinished(item.name)]


def check_output_folder(folder: Path, *, overwrite: bool, keep: Path | None = None, resumes: bool = True) -> None:
    """Say whether ``folder`` can take a new run: absent, empty, or given up by ``overwrite``. Changes nothing.

    Parameters
    ----------
    folder : Path
        Where the output is wanted.
    overwrite : bool
        Whether an earlier output of nerfkit's may be replaced.
    keep : Path, optional
        What must survive, such as the photos that are read.
    resumes : bool
        Whether the command has ``--resume``, for the message.

    Raises
    ------
    NerfkitError
        It has files in it, is a file, holds ``keep``, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NerfkitError("is a file; a folder is wanted", where=folder, fix="give another --out")
    if folder.is_dir() and _contents(folder):
        if not overwrite:
            raise NerfkitError(
                "is not empty",
                where=folder,
                fix="give another --out, or --overwrite to replace it" + ", or --resume to go on" * resumes,
            )
        _check_replaceable(folder, keep)
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise explain_os_error(error, folder) from error


def prepare_output_folder(folder: Path, *, overwrite: bool, keep: Path | None = None) -> Path:
    """Make ``folder``, empty; see :func:`check_output_folder` for what is refused."""
    folder = Path(folder)
    check_output_folder(folder, overwrite=overwrite, keep=keep)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for item in _contents(folder):
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()
    except OSError as error:
        raise explain_os_error(error, folder) from error
    return folder


def _check_replaceable(folder: Path, keep: Path | None) -> None:
    # the first that a run writes: one that was killed may have no more
    is_run = _names_nerfkit(folder / "versions.json")
    is_dataset = _names_nerfkit(folder / DATASET_MARKER)
    if not (is_run or is_dataset or (folder / "demo.json").is_file()):
        raise NerfkitError(
            "--overwrite replaces only folders that nerfkit made; this one has no versions.json of "
            f"ours, nor a {DATASET_MARKER}",
            where=folder,
            fix="give another --out, or empty it yourself",
        )
    for place, what in ((keep, "the photos that are read"), (Path.cwd(), "the folder you are in")):
        if place is not None and folder.resolve() in (place.resolve(), *place.resolve().parents):
            raise NerfkitError(f"--overwrite would delete {what}", where=folder, fix="give another --out")


def _names_nerfkit(path: Path) -> bool:
    try:
        return "nerfkit" in parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False
