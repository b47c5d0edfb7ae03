"""The occupancy grid: one bit a cell that says whether marching along a ray has to stop there.

Densities are remembered cell by cell and fade unless they are seen again (instant-ngp, arXiv:2201.05989, appendix E.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nerfkit.kernels.march import unpack_bits
from nerfkit.kernels.occupancy import update_occupancy
from nerfkit.scenes.generators import generator_on, restore_generator

__all__ = ["OccupancyGrid"]

# a cell stays occupied while a step through it would absorb more than this
OPACITY_THRESHOLD = 0.01
# memory of a density: what is left of it after an update that does not see it again
DECAY = 0.95


class OccupancyGrid(nn.Module):
    """Density of the cells of the unit cube, and the bit field that :func:`nerfkit.kernels.march` reads.

    Parameters
    ----------
    resolution : int
        Cells a side; ``resolution ** 3`` is a multiple of 8.
    seed : int
        Seed of the grid's own generator, so that its draws do not depend on anything else. It lies where the grid does,
        and an update waits for no device.
    n_updates_full : int
        Updates at the start that look at every cell.
    max_cells : int
        Cells that a later update looks at, half of them drawn at random and half from the occupied ones.
    """

    def __init__(self, resolution: int, *, seed: int = 0, n_updates_full: int = 4, max_cells: int = 2**16) -> None:
        super().__init__()
        n_cells = resolution**3
        if n_cells % 8:
            raise ValueError(f"resolution ** 3 must be a multiple of 8; got {resolution}")
        self.resolution, self.n_updates_full, self.max_cells = resolution, n_updates_full, max_cells
        self.n_updates = 0
        self.generator = torch.Generator().manual_seed(seed)
        self.densities: Tensor
        self.bits: Tensor
        self.register_buffer("densities", torch.zeros(n_cells))
        # every cell is occupied until the field has been asked
        self.register_buffer("bits", torch.full((n_cells // 8,), 255, dtype=torch.uint8))

    def reset(self) -> None:
        """Every cell is occupied again, and the next updates look at all of them."""
        self.densities.zero_()
        self.bits.fill_(255)
        self.n_updates = 0

    @torch.no_grad()
    def update(self, density: Callable[[Tensor], Tensor], step: float) -> None:
        """Ask the field for the density of some cells and set the bits anew.

        Parameters
        ----------
        density : callable
            From positions [n, 3] in the unit cube to densities [n], 1 / normalised unit.
        step : float
            Length of a marching step, normalised units; with the density it gives a cell's opacity.
        """
        cells = self._choose_cells()
        jitter = self._rand(len(cells), 3)
        corner = torch.stack(
            [
                cells // self.resolution**2,
                cells // self.resolution % self.resolution,
                cells % self.resolution,
            ],
            -1,
        )
        found = torch.cat([density(xyzs) for xyzs in ((corner + jitter) / self.resolution).split(2**16)])
        threshold = -math.log1p(-OPACITY_THRESHOLD) / step
        update_occupancy(self.densities, self.bits, cells, found.float(), decay=DECAY, threshold=threshold)
        self.n_updates += 1

    def _choose_cells(self) -> Tensor:
        n_cells, device = self.resolution**3, self.densities.device
        if self.n_updates < self.n_updates_full or n_cells <= self.max_cells:
            return torch.arange(n_cells, device=device)
        n_half = self.max_cells // 2
        anywhere = torch.randint(n_cells, (n_half,), generator=self._source(), device=device)
        # the occupied cell of a number is where as many lie before it: a list of them would wait for the device
        n_before = self.occupied().reshape(-1).cumsum(0)
        numbers = (self._rand(n_half) * n_before[-1]).long()
        occupied = torch.searchsorted(n_before, numbers, right=True).clamp(max=n_cells - 1)
        cells = torch.cat([anywhere, occupied])
        # once each, where it costs no wait: the field need not be asked twice
        return cells if cells.is_cuda else torch.unique(cells)

    def _source(self) -> torch.Generator:
        """The generator, begun anew where the grid has moved to."""
        self.generator = generator_on(self.generator, self.densities.device)
        return self.generator

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self._source(), device=self.densities.device)

    def occupied(self) -> Tensor:
        """Which cells are occupied, bool [resolution, resolution, resolution]."""
        return unpack_bits(self.bits, self.resolution)

    @property
    def fraction(self) -> float:
        """Share of the cells that are occupied, 0 to 1."""
        return float(self.occupied().float().mean())

    def get_extra_state(self) -> dict:
        """Generator and count: with the buffers, all that a resumed run needs."""
        return {"n_updates": self.n_updates, "generator": self.generator.get_state()}

    def set_extra_state(self, state: dict) -> None:
        """The inverse of :meth:`get_extra_state`."""
        self.n_updates = int(state["n_updates"])
        restore_generator(self._source(), state["generator"])
