"""LPIPS: how unlike two pictures look to a network that was trained to recognise things (Zhang et al. 2018, eq. 1).

The weights come from a file that the user gives; nothing is downloaded. It holds the state of the class ``LPIPS`` of
the package lpips 0.1.4, version 0.1 of its weights, with AlexNet or VGG-16 behind it; docs/conventions.md tells how to
make it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from nerfkit.scenes.errors import NerfkitError

__all__ = ["Lpips", "load_lpips"]

# mean and deviation of colours in [-1, 1] that the networks were trained with
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
FIX = (
    'make it where there is a network: pip install lpips, then python -c "import lpips, torch; '
    "torch.save(lpips.LPIPS(net='alex').state_dict(), 'lpips_alex.pth')\""
)


class _Network(NamedTuple):
    """The layers of a network, in order, in five slices: what each gives is compared."""

    # "conv NAME STRIDE PADDING" or "pool SIZE"
    slices: tuple[tuple[str, ...], ...]
    # side in pixels below which the last slice has nothing to see
    least: int


NETWORKS = {
    # AlexNet as in torchvision (Krizhevsky 2014)
    "alex": _Network(
        (
            ("conv slice1.0 4 2",), ("pool 3", "conv slice2.3 1 2"), ("pool 3", "conv slice3.6 1 1"),
            ("conv slice4.8 1 1",), ("conv slice5.10 1 1",),
        ), 31,
    ),
    # VGG-16 (Simonyan and Zisserman 2015)
    "vgg": _Network(
        (
            ("conv slice1.0 1 1", "conv slice1.2 1 1"),
            ("pool 2", "conv slice2.5 1 1", "conv slice2.7 1 1"),
            ("pool 2", "conv slice3.10 1 1", "conv slice3.12 1 1", "conv slice3.14 1 1"),
            ("pool 2", "conv slice4.17 1 1", "conv slice4.19 1 1", "conv slice4.21 1 1"),
            ("pool 2", "conv slice5.24 1 1", "conv slice5.26 1 1", "conv slice5.28 1 1"),
        ), 16,
    ),
}  # fmt: skip


class Lpips:
    """The distance of two pictures; 0 for equal ones, seldom above 1.

    Parameters
    ----------
    name : {"alex", "vgg"}
        The network.
    weights : dict of str to Tensor
        By the names of the package lpips.
    """

    def __init__(self, name: str, weights: dict[str, Tensor]) -> None:
        self.name, self.weights, self.network = name, weights, NETWORKS[name]

    @torch.no_grad()
    def __call__(self, image: Tensor, truth: Tensor) -> float | None:
        """Distance of two pictures [h, w, 3] in [0, 1]; None where they are smaller than the network sees."""
        if min(image.shape[:2]) < self.network.least:
            return None
        shift, scale = torch.tensor(SHIFT)[:, None, None], torch.tensor(SCALE)[:, None, None]
        both = torch.stack([image, truth]).movedim(-1, 1).float().cpu()
        found, total = (2 * both - 1 - shift) / scale, 0.0
        for index, layers in enumerate(self.network.slices):
            for layer in layers:
                found = self._apply(layer, found)
            unit = found / (found.square().sum(1, keepdim=True).sqrt() + 1e-10)
            apart = (unit[:1] - unit[1:]).square()
            total += float(functional.conv2d(apart, self.weights[f"lin{index}.model.1.weight"]).mean())
        return total

    def _apply(self, layer: str, values: Tensor) -> Tensor:
        kind, *numbers = layer.split()
        if kind == "pool":
            return functional.max_pool2d(values, int(numbers[0]), 2)
        name, stride, padding = numbers
        weight, bias = self.weights[f"net.{name}.weight"], self.weights[f"net.{name}.bias"]
        return functional.conv2d(values, weight, bias, int(stride), int(padding)).relu()


def load_lpips(path: Path) -> Lpips:
    """Read weights from a .pth that torch.save made or a .safetensors.

    Raises
    ------
    NerfkitError
        There is no such file, or it is not that of LPIPS.
    """
    weights = _read(path)
    name = "vgg" if "net.slice1.2.weight" in weights else "alex"
    for key, shape in _shapes(name).items():
        found = weights.get(key)
        if found is None or tuple(found.shape) != shape:
            what = "is absent" if found is None else f"has the shape {list(found.shape)}"
            raise NerfkitError(
                f"is not the state of lpips.LPIPS(net='alex') or (net='vgg'): {key} {what}, {list(shape)} is wanted",
                where=path, fix=FIX,
            )  # fmt: skip
    return Lpips(name, {key: weights[key].float() for key in _shapes(name)})


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise NerfkitError("there is no such file of LPIPS weights", where=path, fix=FIX)
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # weights_only: nothing in the file is run
        found = torch.load(path, map_location="cpu", weights_only=True)
    # torch and safetensors raise whatever their parsers do
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NerfkitError(f"cannot be read as weights ({reason[:120]})", where=path, fix=FIX) from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise NerfkitError("holds no state of a network", where=path, fix=FIX)
    return found


def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a network."""
    widths = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}[name]
    sides = {"alex": (11, 5, 3, 3, 3), "vgg": (3, 3, 3, 3, 3)}[name]
    shapes: dict[str, tuple[int, ...]] = {}
    n_in = 3
    for index, (layers, width, side) in enumerate(zip(NETWORKS[name].slices, widths, sides, strict=True)):
        for layer in (text.split()[1] for text in layers if text.startswith("conv")):
            shapes |= {f"net.{layer}.weight": (width, n_in, side, side), f"net.{layer}.bias": (width,)}
            n_in = width
        shapes[f"lin{index}.model.1.weight"] = (1, width, 1, 1)
    return shapes
