"""A start as files that any program reads: tensors in start.safetensors, what they are in start.json."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from nerfkit.files import write_atomically
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.json_text import parse_json
from nerfkit.workbench.held_fields import MOST_UNASKED
from nerfkit.workbench.many.networks import Shape
from nerfkit.workbench.many.starts import STARTS, MetaLearned, Modulated, Start
from nerfkit.workbench.settings import START_FIELD

__all__ = ["START_FILE", "Learned", "make_start", "read_start", "write_start"]

START_FILE = "start.safetensors"
# what start.json must hold
FACTS = ("field", "method", "n_outputs", "width", "n_layers", "scale", "rate", "size", "bounds", "n_latents")


@dataclass
class Learned:
    """What was learned from many instances.

    Parameters
    ----------
    whole, part : Start
        For instances that are seen whole, whose every pixel is to be remembered; and for those seen in part, whose
        other pixels are to be predicted.
    rate : float
        Adam's, to go on with after the learnt steps.
    size : (int, int) or (int, int, int)
        Width and height of the instances in pixels; of shapes the lattice's cells along x, y and z.
    bounds : (float, float)
        Least and greatest value, which -1 and 1 of the networks stand for; of shapes the distance's truncation.
    """

    whole: Start
    part: Start
    rate: float
    size: tuple[int, ...]
    bounds: tuple[float, float]

    @property
    def shape(self) -> Shape:
        """Of the networks."""
        return self.whole.shape

    def to(self, device: str) -> Learned:
        """The same on a device."""
        return replace(self, whole=self.whole.to(device), part=self.part.to(device))


def make_start(method: str, shape: Shape, n_latents: int, seed: int) -> Start:
    """A start before it has learned anything; ``method`` is "meta" or "modulation"."""
    generator = torch.Generator().manual_seed(seed)
    return Modulated(shape, generator, n_latents) if method == Modulated.kind else MetaLearned(shape, generator)


def write_start(folder: Path, learned: Learned) -> Path:
    """Write both files, and give the path of the tensors."""
    tensors = {
        f"{name}.{key}": tensor.detach().cpu().contiguous()
        for name, start in (("whole", learned.whole), ("part", learned.part))
        for key, tensor in start.state_dict().items()
    }
    shape, matrix = learned.shape, getattr(learned.whole, "matrix", None)
    facts = {
        "field": START_FIELD, "method": learned.whole.kind, "n_outputs": shape.n_outputs, "width": shape.width,
        "n_layers": shape.n_layers, "scale": shape.scale, "n_latents": 0 if matrix is None else len(matrix),
        "rate": learned.rate, "size": list(learned.size), "bounds": list(learned.bounds),
    }  # fmt: skip
    path = folder / START_FILE
    write_atomically(path, save(tensors))
    write_atomically(path.with_suffix(".json"), (json.dumps(facts, indent=1) + "\n").encode())
    return path


def read_start(path: Path) -> Learned:
    """Read a start from a run folder of `nerfkit fit many`, or from its start.safetensors, start.json beside it.

    Raises
    ------
    NerfkitError
        There is none, or it is damaged.
    """
    path = path / START_FILE if path.is_dir() else path
    beside = path.with_suffix(".json")
    for file in (path, beside):
        if not file.is_file():
            raise NerfkitError(
                "there is no such file", where=file,
                fix="give a run of nerfkit fit many, or its start.safetensors with the start.json beside it",
            )  # fmt: skip
    try:
        facts: dict[str, Any] = parse_json(beside.read_text(encoding="utf-8"))
        missing = [name for name in FACTS if name not in facts]
        if missing:
            raise ValueError(f"{beside.name} lacks {', '.join(missing)}")
        if facts["field"] != START_FIELD or facts["method"] not in STARTS:
            raise ValueError(f"it is of the field {facts['field']} by {facts['method']}")
        tensors = load(path.read_bytes())
        # what the facts ask for is made before it is filled
        n_asked = facts["width"] * (facts["width"] + facts["n_latents"]) * facts["n_layers"]
        n_held = sum(tensor.numel() for tensor in tensors.values())
        if not 0 < n_asked <= max(MOST_UNASKED, 4 * n_held):
            raise ValueError(f"{beside.name} asks for {n_asked:,} weights, and {path.name} holds {n_held:,}")
        shape = Shape(facts["n_outputs"], facts["width"], facts["n_layers"], facts["scale"], len(facts["size"]))
        if shape.n_inputs not in (2, 3):
            raise ValueError(f"{beside.name} has a size of {shape.n_inputs} sides")
        whole, part = (make_start(facts["method"], shape, facts["n_latents"], 0) for _ in range(2))
        for name, start in (("whole", whole), ("part", part)):
            start.load_state_dict(
                {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
            )
        if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            raise ValueError(f"{bad[0]} holds values that are NaN or infinite")
        size, (low, high) = tuple(int(side) for side in facts["size"]), facts["bounds"]
        return Learned(whole, part, float(facts["rate"]), size, (float(low), float(high)))
    except (
        SafetensorError, ValueError, TypeError, KeyError, RuntimeError, AttributeError, ArithmeticError
    ) as error:  # fmt: skip
        raise NerfkitError(f"is no start, or damaged ({error})", where=path, fix="make the run again") from error
