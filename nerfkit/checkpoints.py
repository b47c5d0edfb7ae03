"""Checkpoints: a safetensors file with the tensors and a JSON file with the rest; no pickle.

Files are written under another name and moved into place, the JSON last, so a checkpoint is there entirely or not at
all; the JSON holds the size and checksum of the tensors, so one that was cut short by the disk is found out.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, isfinite

from nerfkit.files import write_atomically
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.json_text import parse_json

__all__ = ["LOWER", "CheckpointFolder", "DivergedError", "check_finite", "not_finite"]

logger = logging.getLogger(__name__)

# newest checkpoints that are kept: one to use and one in case it was cut short
N_KEPT = 2


# what to do where it is not known better
LOWER = "fit with a lower learning rate"


class DivergedError(NerfkitError, FloatingPointError):
    """A fit arrived at numbers that are none. What was saved before is still there."""

    def __init__(self, what: str, *, where: str | Path = "", fix: str = LOWER) -> None:
        super().__init__(what, where=where, fix=fix)


def check_finite(state: dict[str, Any], step: int, *, where: str | Path = "") -> None:
    """Raise DivergedError unless every number in the tensors of ``state``, as it is after ``step``, is finite."""
    if found := not_finite(state):
        raise DivergedError(f"the fit diverged: at step {step} {found}", where=where)


def not_finite(state: dict[str, Any]) -> str:
    """The first tensor of ``state`` that is not finite and how much of it, in words; empty where all are."""
    tensors: dict[str, Tensor] = {}
    _flatten(state, "", tensors)
    return _not_finite(tensors)


def _not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Which of the tensors is not finite, and how much of it, in words; empty where all are."""
    for name, tensor in tensors.items():
        n_bad = tensor.numel() - int(isfinite(tensor).sum()) if tensor.is_floating_point() else 0
        if n_bad:
            return f"{n_bad} of the {tensor.numel()} numbers of {name} are NaN or infinite"
    return ""


class CheckpointFolder:
    """The checkpoints of a run.

    Parameters
    ----------
    folder : Path
        ``RUN/checkpoints``; created at the first save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write ``state``, a nest of dicts and lists of tensors and plain values, as the checkpoint of ``step``.

        Raises
        ------
        DivergedError
            A tensor is not finite. Nothing is written: it must not take the place of a good state.
        """
        check_finite(state, step, where=self.folder)
        tensors: dict[str, Tensor] = {}
        plain = _flatten(state, "", tensors)
        payload = save_tensors(tensors)
        stem = self.folder / f"step_{step:08d}"
        path = stem.with_suffix(".safetensors")
        write_atomically(path, payload)
        head = {"step": step, "bytes": len(payload), "crc32": zlib.crc32(payload), "state": plain}
        write_atomically(stem.with_suffix(".json"), json.dumps(head).encode())
        self._remove_all_but([found for found in self.steps() if found <= step][:N_KEPT])
        return path

    def _remove_all_but(self, steps: list[int]) -> None:
        """Remove what is older, tensors whose head was never written, and later steps: those could not be read."""
        for path in self.folder.glob("step_*"):
            match = re.match(r"step_(\d+)\.", path.name)
            if match is None or int(match[1]) not in steps:
                path.unlink(missing_ok=True)

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, newest first."""
        found = (re.fullmatch(r"step_(\d+)\.json", p.name) for p in self.folder.glob("step_*.json"))
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def load_newest(self) -> dict[str, Any]:
        """The newest checkpoint that can be read; one that cannot is named in the log.

        Raises
        ------
        NerfkitError
            None can be read.
        """
        damaged = []
        for step in self.steps():
            try:
                state = self._load(step)
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
                damaged.append(f"step {step}: {error}")
                logger.warning("checkpoint of step %d cannot be used (%s); trying the one before", step, error)
                continue
            if damaged:
                logger.warning("going on from the checkpoint of step %d", step)
            return state
        raise NerfkitError(
            f"no checkpoint that can be read ({'; '.join(damaged) or 'the folder has none'})",
            where=self.folder,
            fix="train again: nerfkit train DATA",
        )

    def _load(self, step: int) -> dict[str, Any]:
        stem = self.folder / f"step_{step:08d}"
        head = parse_json(stem.with_suffix(".json").read_text(encoding="utf-8"))
        payload = stem.with_suffix(".safetensors").read_bytes()
        if len(payload) != head["bytes"]:
            raise ValueError(f"{stem.name}.safetensors has {len(payload)} bytes instead of {head['bytes']}: cut short")
        if zlib.crc32(payload) != head["crc32"]:
            raise ValueError(f"{stem.name}.safetensors was changed: its checksum differs")
        tensors = load_tensors(payload)
        # what was saved when only the loss was looked at, which is that of the state a step before
        if found := _not_finite(tensors):
            raise ValueError(found)
        return _unflatten(head["state"], tensors)


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """``value`` with each tensor moved to ``tensors`` and replaced by its name; dict keys keep their type."""
    if isinstance(value, Tensor):
        if name in tensors:
            raise ValueError(f"two tensors would be stored as {name!r}")
        tensors[name] = value.detach().cpu().contiguous()
        return {"$tensor": name}
    if isinstance(value, dict):
        # JSON turns a key 0 into "0"; the optimiser counts its parameters with integers
        return {"$dict": [[key, _flatten(item, f"{name}.{key}".strip("."), tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_flatten(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
    return value


def _unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        return {key: _unflatten(item, tensors) for key, item in value["$dict"]}
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    return value
