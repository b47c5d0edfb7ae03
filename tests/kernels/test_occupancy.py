"""occupancy: the reference against a loop, the kernel against the reference bit for bit."""

import pytest
import torch
from support import DEVICE, needs_triton

from nerfkit.kernels.march import pack_bits
from nerfkit.kernels.occupancy import update_occupancy

IMPLS = ["reference", pytest.param("triton", marks=needs_triton)]


def make_grid(n_cells, n, seed=0):
    g = torch.Generator().manual_seed(seed)
    densities = 4 * torch.rand(n_cells, generator=g)
    bits = torch.full((n_cells // 8,), 255, dtype=torch.uint8)
    # fewer cells than looks: some are named more than once
    cells = torch.randint(max(n_cells // 2, 1), (n,), generator=g)
    return [x.to(DEVICE) for x in (densities, bits, cells, 4 * torch.rand(n, generator=g))]


@pytest.mark.parametrize("threshold", [0.5, 100.0])
@pytest.mark.parametrize("impl", IMPLS)
def test_against_a_loop(impl, threshold):
    densities, bits, cells, found = make_grid(64, 40)
    want = (densities * 0.9).tolist()
    for cell, value in zip(cells.tolist(), found.tolist(), strict=True):
        want[cell] = max(want[cell], value)
    update_occupancy(densities, bits, cells, found, decay=0.9, threshold=threshold, impl=impl)
    assert densities.tolist() == pytest.approx(want, rel=1e-6)
    limit = min(threshold, sum(want) / 64 / 2)
    assert torch.equal(bits, pack_bits(torch.tensor(want).view(4, 4, 4) > limit).to(DEVICE))


@needs_triton
@pytest.mark.parametrize(("n_cells", "n"), [(8, 0), (8, 5), (4096, 300), (20**3, 1000)])
def test_kernel_is_the_reference_bit_for_bit(n_cells, n):
    grids = [make_grid(n_cells, n) for _ in range(2)]
    for step in range(3):
        for grid, impl in zip(grids, ("triton", "reference"), strict=True):
            densities, bits, cells, found = grid
            update_occupancy(densities, bits, cells, found / (1 + step), decay=0.95, threshold=1.5, impl=impl)
        assert torch.equal(grids[0][0], grids[1][0]) and torch.equal(grids[0][1], grids[1][1])
    assert n_cells < 64 or int(grids[0][1].count_nonzero()) > 0


@pytest.mark.parametrize("impl", IMPLS)
def test_a_field_that_is_no_number(impl):
    densities, bits, cells, found = make_grid(64, 4)
    found[1] = torch.nan
    update_occupancy(densities, bits, cells, found, decay=0.9, threshold=1.0, impl=impl)
    assert densities[cells[1]].isnan() and densities.isnan().sum() == 1 and not bits.any()


def test_rejects_wrong_arguments():
    densities, bits, cells, found = make_grid(64, 4)
    with pytest.raises(ValueError, match=r"bits must be torch.uint8 of shape \(8,\).*got torch.uint8 \(7,\)"):
        update_occupancy(densities, bits[1:], cells, found, decay=0.9, threshold=1.0)
    with pytest.raises(ValueError, match=r"found must be torch.float32 of shape \(4,\).*got torch.float64"):
        update_occupancy(densities, bits, cells, found.double(), decay=0.9, threshold=1.0)
    with pytest.raises(ValueError, match="a multiple of 8 cells; got 63"):
        update_occupancy(densities[1:], bits[1:], cells, found, decay=0.9, threshold=1.0)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\]; got 1.5"):
        update_occupancy(densities, bits, cells, found, decay=1.5, threshold=1.0)
