"""A list of scenes to work through: a text file with a command line each, or a folder of datasets."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from nerfkit.files import explain_os_error
from nerfkit.scenes.errors import NerfkitError
from nerfkit.tasks import FIT_TASKS

__all__ = ["COMMANDS", "BatchScene", "read_list"]

# what a line may begin with; train where it begins with anything else
COMMANDS = ("train", "superres", "fit")
# what says where results go and how a run begins is not a line's to say
OWN = ("-o", "--out", "--overwrite", "--resume", "--json", "--dry-run")
EXAMPLE = "a line such as: photos/fox --seconds 300"


@dataclass(frozen=True)
class BatchScene:
    """One scene of a list.

    Parameters
    ----------
    words : tuple of str
        After ``nerfkit``: a command, its input and its options.
    folder : Path
        What paths among them start from.
    """

    words: tuple[str, ...]
    folder: Path

    @property
    def command(self) -> str:
        """One of :data:`COMMANDS`."""
        return self.words[0]

    @property
    def name(self) -> str:
        """Of its input, and a number that changes with any of its words: two scenes never share a folder.

        Examples
        --------
        >>> BatchScene(("train", "photos/fox", "--steps", "9"), Path()).name
        'fox-89b6ac'
        """
        stem = Path(self.words[2 if self.command == "fit" else 1]).stem
        digest = hashlib.sha256("\0".join(self.words).encode()).hexdigest()[:6]
        return f"{re.sub(r'[^0-9A-Za-z._-]', '_', stem) or 'scene'}-{digest}"

    def __str__(self) -> str:
        return shlex.join(self.words)


def read_list(path: Path) -> list[BatchScene]:
    """The scenes of a list, in its order.

    Parameters
    ----------
    path : Path
        A text file: on each line what follows ``nerfkit train``, or a command (train, superres, fit) and what follows
        it, in a shell's quotes; # begins a comment, and paths start from the file's folder. Or a folder, whose folders
        with poses are trained on.

    Raises
    ------
    NerfkitError
        It cannot be read, names no scene or one twice, or a line says what it must not; with the line's number.
    """
    if path.is_dir():
        return _datasets_in(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise explain_os_error(error, path) from error
    except UnicodeDecodeError as error:
        raise NerfkitError("is no text", where=path, fix=f"write a text file of scenes, {EXAMPLE}") from error
    scenes: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(lines, 1):
        words = _words(line, f"{path}, line {number}")
        if words in scenes:
            raise NerfkitError(
                f"is line {scenes[words]} again", where=f"{path}, line {number}", fix="leave one of them out"
            )
        if words:
            scenes[words] = number
    if not scenes:
        raise NerfkitError("names no scene", where=path, fix=f"write {EXAMPLE}")
    return [BatchScene(words, path.resolve().parent) for words in scenes]


def _words(line: str, where: str) -> tuple[str, ...]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise NerfkitError(f"cannot be read ({error})", where=where, fix="close the quotes") from error
    if not words:
        return ()
    if words[0] not in COMMANDS:
        words.insert(0, "train")
    n_leading = 3 if words[0] == "fit" else 2
    if len(words) < n_leading or any(word.startswith("-") for word in words[:n_leading]):
        wanted = "fit, a task and its input" if words[0] == "fit" else "an input"
        raise NerfkitError(
            f"must begin with {wanted}; got {shlex.join(words)!r}", where=where, fix=f"write {EXAMPLE}"
        )  # fmt: skip
    if words[0] == "fit" and words[1] not in FIT_TASKS:
        raise NerfkitError(f"no task {words[1]!r}", where=where, fix=f"there are {', '.join(FIT_TASKS)}")
    refused = [word for word in words if word.partition("=")[0] in OWN]
    if refused:
        raise NerfkitError(
            f"{', '.join(refused)} cannot stand in a list: the batch says where results go, and goes on by itself",
            where=where, fix="leave it out",
        )  # fmt: skip
    return tuple(words)


def _datasets_in(folder: Path) -> list[BatchScene]:
    from nerfkit.scenes.readers import has_poses

    found = sorted(entry for entry in folder.iterdir() if has_poses(entry))
    if not found:
        raise NerfkitError(
            "none of its folders has poses", where=folder,
            fix="give a folder of folders that nerfkit train takes, or a text file of scenes",
        )  # fmt: skip
    return [BatchScene(("train", entry.name), folder.resolve()) for entry in found]
