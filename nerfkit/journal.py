"""What a long computation has found so far, so that one that was killed goes on where it was.

The computation is a function of its input, its settings and its seed. It is done anew from its beginning, and each of
its expensive steps is read where it was finished before: the same bits, whatever lies between the steps.
"""

from __future__ import annotations

import json
import logging
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from nerfkit.clock import working_seconds
from nerfkit.scenes.writing import temporary_beside

__all__ = ["Journal"]

logger = logging.getLogger(__name__)

Found = dict[str, Tensor]


class Journal:
    """The steps of a computation that are finished, in their order.

    Parameters
    ----------
    folder : Path, optional
        Where they are kept; None: nowhere.

    Examples
    --------
    >>> journal = Journal()
    >>> found, seconds = journal.recall({"twice": torch.ones(2)}, lambda: {"sum": torch.tensor(2.0)})
    >>> found["sum"]
    tensor(2.)
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._n_asked = 0

    def recall(
        self, about: Mapping[str, Tensor | str | int], compute: Callable[[], Found], *,
        is_whole: Callable[[], bool] = lambda: True,
    ) -> tuple[Found, float]:  # fmt: skip
        """What ``compute`` gives, now or before, and the seconds that it took then.

        Parameters
        ----------
        about : mapping
            What decides the step. Where another was taken at this place before, this one and all that follow are
            computed.
        compute : callable
            The step.
        is_whole : callable
            Asked afterwards: whether it was done to its end. What was cut short is not kept.
        """
        if self.folder is None:
            return _timed(compute)
        path, key = self.folder / f"step_{self._n_asked:05d}.safetensors", _digest(about)
        self._n_asked += 1
        if (known := _read(path, key)) is not None:
            return known
        self._forget_from(self._n_asked - 1)
        found, seconds = _timed(compute)
        if is_whole():
            self._write(path, found, {"key": key, "seconds": repr(seconds)})
        return found, seconds

    def remove(self) -> None:
        """Forget everything: the computation is done."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _forget_from(self, index: int) -> None:
        if self.folder is not None:
            for path in self.folder.glob("step_*.safetensors"):
                if int(path.stem.removeprefix("step_")) >= index:
                    path.unlink(missing_ok=True)

    def _write(self, path: Path, found: Found, facts: dict[str, str]) -> None:
        payload = {name: value.detach().cpu().contiguous() for name, value in found.items()}
        facts["crc32"] = str(_checksum(payload))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = temporary_beside(path)
            # not forced to the disk: what a crash of the machine leaves is told by its checksum
            temporary.write_bytes(save_tensors(payload, {"facts": json.dumps(facts)}))
            temporary.replace(path)
        except OSError as error:
            # the run itself needs none
            logger.warning("%s: %s; should the run be killed, it begins anew", path.parent, error.strerror)
            self.folder = None


def _timed(compute: Callable[[], Found]) -> tuple[Found, float]:
    began = working_seconds()
    found = compute()
    return found, working_seconds() - began


def _digest(about: Mapping[str, Tensor | str | int]) -> str:
    tensors = {name: value for name, value in about.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in about.items() if not isinstance(value, Tensor)}
    return f"{_checksum(tensors):08x} {json.dumps(plain, sort_keys=True)}"


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    total = 0
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total = zlib.crc32(f"{name} {value.dtype} {list(value.shape)}".encode(), total)
        total = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, total)
    return total


def _read(path: Path, key: str) -> tuple[Found, float] | None:
    """A finished step; None where there is none, another, or a damaged one."""
    try:
        with safe_open(str(path), "pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
        found = load_tensors(path.read_bytes())
        is_good = facts["key"] == key and facts["crc32"] == str(_checksum(found))
        return (found, float(facts["seconds"])) if is_good else None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
