"""What is done of a dataset in the making: a file in its folder says so, and who goes on begins after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nerfkit
from nerfkit.files import DATASET_MARKER, write_atomically
from nerfkit.scenes.errors import NerfkitError

__all__ = ["Work"]


class Work:
    """The stages of a dataset that are done, and where what they leave lies.

    Parameters
    ----------
    out : Path
        The dataset's folder.
    given : dict
        What the command was given; the same must be given to go on.
    """

    def __init__(self, out: Path, given: dict[str, Any]) -> None:
        self.out = out
        # through JSON, so that it equals what was read
        self.given: dict[str, Any] = json.loads(json.dumps(given))
        self.done: dict[str, Any] = {}

    @property
    def folder(self) -> Path:
        """Where the stages keep what only they need."""
        return self.out / "process"

    @property
    def database(self) -> Path:
        """COLMAP's database of features and matches."""
        return self.folder / "database.db"

    @property
    def pictures(self) -> Path:
        """The photos as features are looked for in them."""
        return self.folder / "pictures"

    @property
    def masks(self) -> Path:
        """Where pictures are transparent, for those that are anywhere."""
        return self.folder / "masks"

    @property
    def models(self) -> Path:
        """The models that mapping found."""
        return self.folder / "models"

    def resume(self) -> bool:
        """Read what is done of the same; False where nothing was begun.

        Raises
        ------
        NerfkitError
            It was begun with something else.
        """
        path = self.out / DATASET_MARKER
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        if not isinstance(content, dict) or content.get("command") != "process":
            return False
        before = content.get("given", {})
        changed = [f"{name} {before.get(name)!r}" for name, value in self.given.items() if before.get(name) != value]
        if changed:
            raise NerfkitError(
                f"was begun with {', '.join(changed)}", where=self.out,
                fix="give the same again to go on, --overwrite to begin anew, or another --out",
            )  # fmt: skip
        self.done = dict(content.get("done", {}))
        return True

    def finish(self, stage: str, result: Any) -> Any:
        """Note that a stage is done, and what it found; returns that."""
        self.done[stage] = result
        self.save()
        return result

    def save(self) -> None:
        """Write what is done."""
        content = {"nerfkit": nerfkit.__version__, "command": "process", "given": self.given, "done": self.done}
        write_atomically(self.out / DATASET_MARKER, json.dumps(content, indent=1).encode())
