"""What lies between slices, learned from the slices themselves: within them the volume is seen finely.

A slice is measured again as if it were seen edge on: averaged along one of its own axes, as the scanner averages across
slices. A small network learns to undo that, and is then given what the scanner has measured across slices. No other
volume is needed: the idea of zero-shot super-resolution (arXiv:1712.06087), here with averages over slices, and
with two stacks at once. Slices that are missing are predicted in the same way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nerfkit.scenes.generators import restore_generator
from nerfkit.workbench.volumes.layout import Coarse, Layout

__all__ = ["Plane", "SliceNetwork", "SliceRehearsal", "planes_of", "predict"]

# channels and layers of 3 x 3
WIDTH, N_LAYERS = 48, 4
# Adam's peak rate; coarse positions a step; longest side of what is cut out of a slice, cells
LEARNING_RATE, BATCH, MAX_SIDE = 3e-3, 8192, 192
# coarse positions that are evaluated at once where nothing is trained
CHUNK = 2**16


@dataclass(frozen=True)
class Plane:
    """Planes of the grid that stacks show coarsely along one axis, or along both, each by its own stack.

    Parameters
    ----------
    across, along : Coarse, Coarse or None
        Slices that follow each other along the columns; and along the rows, where a second stack has such.
    stacks : tuple of int
        Their numbers.
    axes : (int, int)
        The grid's axes (0, 1, 2 for x, y, z) of the rows and of the columns.
    """

    across: Coarse
    along: Coarse | None
    stacks: tuple[int, ...]
    axes: tuple[int, int]

    @property
    def steps(self) -> tuple[int, int]:
        """Cells a coarse position, along rows and along columns."""
        return (1 if self.along is None else self.along.step), self.across.step

    @property
    def kind(self) -> tuple[Coarse, Coarse | None]:
        """What planes have in common that one network serves."""
        return self.across, self.along

    def measure(self, planes: Tensor) -> list[Tensor]:
        """What the scanner would have measured of ``planes`` [n, rows, columns]: averages along columns, and rows."""
        found = [planes @ self.across.matrix(planes.shape[2]).to(planes.device).T]
        if self.along is not None:
            found.append(self.along.matrix(planes.shape[1]).to(planes.device) @ planes)
        return found

    def ordered(self, volume: Tensor) -> Tensor:
        """A volume [d, h, w] as [planes, rows, columns]."""
        return volume.permute(self._order)

    def back(self, planes: Tensor) -> Tensor:
        """The inverse of :meth:`ordered`."""
        return planes.permute(*np.argsort(self._order).tolist())

    @property
    def _order(self) -> tuple[int, int, int]:
        rows, columns = (2 - axis for axis in self.axes)
        return 3 - rows - columns, rows, columns


def planes_of(layout: Layout) -> list[Plane]:
    """All planes that can be reconstructed: of one stack both that its slices cross, of more each pair's."""
    coarse = layout.coarse
    if len(coarse) == 1:
        return [Plane(coarse[0], None, (0,), (axis, coarse[0].axis)) for axis in range(3) if axis != coarse[0].axis]
    pairs = [(a, b) for a in range(len(coarse)) for b in range(a + 1, len(coarse))]
    return [Plane(coarse[a], coarse[b], (a, b), (coarse[b].axis, coarse[a].axis)) for a, b in pairs]


class SliceNetwork(nn.Module):
    """From what was measured coarsely of planes to their cells; all cells of a coarse position at once.

    Parameters
    ----------
    steps : (int, int)
        Cells of a position along rows and columns; 1 along rows: one stack alone.
    seed : int
        Of the first weights.
    """

    def __init__(self, steps: tuple[int, int], seed: int) -> None:
        super().__init__()
        self.steps = steps
        n_in = sum(steps) if steps[0] > 1 else 1
        sizes = [n_in, *[WIDTH] * (N_LAYERS - 1), steps[0] * steps[1]]
        # layers draw from the global generator, whose state is nobody's business here
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            convolutions = [
                nn.Conv2d(a, b, 3, padding=1, padding_mode="replicate") for a, b in itertools.pairwise(sizes)
            ]
        with torch.no_grad():
            # it begins near the base, which it corrects
            convolutions[-1].weight.mul_(0.1)
            convolutions[-1].bias.zero_()  # pyright: ignore[reportOptionalMemberAccess]
        layers = [module for convolution in convolutions[:-1] for module in (convolution, nn.ReLU())]
        self.layers = nn.Sequential(*layers, convolutions[-1])

    def forward(self, measured: Sequence[Tensor]) -> Tensor:
        """Planes [n, rows, columns] of ``measured``: [n, rows, columns / step], and [n, rows / step, columns]."""
        down, right = self.steps
        across = measured[0]
        n, rows, columns = len(across), across.shape[1] // down, across.shape[2]
        seen = across.view(n, rows, down, columns).transpose(1, 2)  # [n, down, rows, columns]
        base = seen[:, :, None]
        if len(measured) > 1:
            other = measured[1].view(n, rows, columns, right).permute(0, 3, 1, 2)  # [n, right, rows, columns]
            mean = (seen.mean(1, keepdim=True) + other.mean(1, keepdim=True)) / 2
            base = base + other[:, None] - mean[:, None]
            seen = torch.cat([seen, other], 1)
        cells = self.layers(seen).view(n, down, right, rows, columns) + base
        return cells.permute(0, 3, 1, 4, 2).reshape(n, rows * down, columns * right)


class SliceRehearsal:
    """Training of a network on slices that are measured again; what :func:`nerfkit.fitting.fit` works on.

    Parameters
    ----------
    plane : Plane
        How they are measured.
    slices : sequence of Tensor
        Of each stack, fine slices [n, h, w] in [0, 1].
    noise : float
        Standard deviation of a measured value.
    """

    def __init__(
        self, plane: Plane, slices: Sequence[Tensor], noise: float, *, seed: int, learning_rate: float | None = None,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        self.plane, self.slices, self.noise = plane, [part.to(device) for part in slices], noise
        self.network = SliceNetwork(plane.steps, seed).to(device)
        self.learning_rate = learning_rate or LEARNING_RATE
        self.generator = torch.Generator().manual_seed(seed)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """All at one rate."""
        return [{"params": list(self.network.parameters()), "lr": self.learning_rate}]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of slices that are drawn, turned, cut and measured again."""
        planes = self._draw()
        found = zip(self.plane.measure(planes), self.plane.kind, strict=False)
        measured = [self._noisy(part, coarse) for part, coarse in found if coarse is not None]
        return (self.network(measured) - planes).square().mean(), {}

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    def validate(self) -> dict[str, float]:
        """Nothing here: held-out slices are judged at the end."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The network and the generator."""
        return {"network": self.network.state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.network.load_state_dict(state["network"])
        restore_generator(self.generator, state["generator"])

    def _pick(self, n: int) -> int:
        return int(torch.randint(n, (1,), generator=self.generator))

    def _draw(self) -> Tensor:
        """Parts [n, rows, columns] of slices of one stack, their sides whole numbers of coarse positions."""
        part = self.slices[self._pick(len(self.slices))]
        if self._pick(2):
            part = part.transpose(1, 2)
        # a position less than there is room for: slices begin at any cell
        sides = [
            max(1, (min(side, MAX_SIDE) - step + 1) // step) * step
            for side, step in zip(part.shape[1:], self.plane.steps, strict=True)
        ]
        n_positions = math.prod(side // step for side, step in zip(sides, self.plane.steps, strict=True))
        n = max(1, min(len(part), BATCH // max(1, n_positions)))
        top, left = (self._pick(whole - side + 1) for whole, side in zip(part.shape[1:], sides, strict=True))
        chosen = torch.randperm(len(part), generator=self.generator)[:n]
        found = part[chosen.to(part.device), top : top + sides[0], left : left + sides[1]]
        flips = [axis for axis in (1, 2) if self._pick(2)]
        return found.flip(flips) if flips else found

    def _noisy(self, measured: Tensor, coarse: Coarse) -> Tensor:
        """As noisy as what the scanner gives: the mean of noisy pixels has less."""
        more = self.noise * math.sqrt(max(0.0, 1 - 1 / coarse.thickness))
        return measured + more * torch.randn(measured.shape, generator=self.generator).to(measured.device)


@torch.no_grad()
def predict(
    network: SliceNetwork, measured: Sequence[Tensor], check: Callable[[], None] = lambda: None
) -> Tensor:  # fmt: skip
    """Planes [n, rows, columns] of what was measured of them, a part at a time."""
    n_positions = measured[0][0].numel() // network.steps[0]
    n = max(1, CHUNK // n_positions)
    parts = []
    for part in _parts(measured, n):
        check()
        parts.append(network(part).cpu())
    return torch.cat(parts)


def _parts(measured: Sequence[Tensor], n: int) -> Iterator[list[Tensor]]:
    yield from (list(part) for part in zip(*(values.split(n) for values in measured), strict=True))
