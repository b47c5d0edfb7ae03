"""march: every implementation against the reference, the reference against geometry."""

import math

import pytest
import torch
from support import DEVICE, needs_triton

from nerfkit.kernels.march import march, pack_bits, unpack_bits

DTYPES = (torch.float32, torch.float64)
TRITON = pytest.param("triton", marks=needs_triton)
IMPLS = ("cpu", "reference", TRITON)
LATTICES = (
    {"step": 0.01},
    {"step": 0.004, "cone_angle": 1 / 64},
    {"step": 0.03, "contract": True},
    {"step": 0.01, "cone_angle": 1 / 32, "contract": True},
)


def make_rays(n, dtype=torch.float32, far=None, seed=0, impl="cpu"):
    """Rays from a sphere of radius 2.5 towards the middle, near and far where they cross the box; jitter."""
    device = device_of(impl)
    g = torch.Generator().manual_seed(seed)
    rays_o = torch.nn.functional.normalize(torch.randn(n, 3, generator=g, dtype=dtype), dim=-1) * 2.5
    targets = (torch.rand(n, 3, generator=g, dtype=dtype) - 0.5) * 1.8
    rays_d = torch.nn.functional.normalize(targets - rays_o, dim=-1)
    sides = torch.stack(((-1 - rays_o) / rays_d, (1 - rays_o) / rays_d))
    near = sides.amin(0).amax(-1).clamp(min=0.05)
    ends = sides.amax(0).amin(-1) if far is None else torch.full((n,), far, dtype=dtype)
    jitter = torch.rand(n, generator=g, dtype=dtype)
    return (rays_o.to(device), rays_d.to(device), near.to(device), ends.to(device)), jitter.to(device)


def device_of(impl):
    return DEVICE if impl == "triton" else "cpu"


def coarser(lattice, impl):
    """The same lattice with fewer points where a point costs a millisecond."""
    return lattice | {"step": 12 * lattice["step"]} if impl == "triton" else lattice


def full_grid(resolution, impl="cpu"):
    return pack_bits(torch.ones(resolution, resolution, resolution, dtype=torch.bool, device=device_of(impl)))


def shell(resolution, radius=0.6, thickness=0.15):
    """A hollow ball in the middle of the grid: empty space before, inside and behind."""
    c = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
    r = (c[:, None, None] ** 2 + c[None, :, None] ** 2 + c[None, None] ** 2).sqrt()
    return (r < radius) & (r > radius - thickness)


def along_x(n=1, y=0.1, dtype=torch.float64, impl="cpu"):
    """Rays that enter the box at t = 1 and leave it at t = 3, along x."""
    at = {"dtype": dtype, "device": device_of(impl)}
    rays_o = torch.tensor([[-2.0, y, y]], **at).expand(n, 3)
    rays_d = torch.tensor([[1.0, 0.0, 0.0]], **at).expand(n, 3)
    return rays_o, rays_d, torch.full((n,), 1.0, **at), torch.full((n,), 3.0, **at)


def assert_equal(got, want):
    for name, g, w in zip(want._fields, got, want, strict=True):
        assert g.dtype == w.dtype and torch.equal(g, w), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lattice", LATTICES, ids=str)
# 32 has blocks to skip, 20 has not, 9 has bits left over in the last byte
@pytest.mark.parametrize(
    ("impl", "resolution"), [("cpu", 32), ("cpu", 20), ("cpu", 9), pytest.param("triton", 9, marks=needs_triton)]
)
def test_samples_equal_the_references(impl, resolution, lattice, dtype):
    # 40 rays are more than a program has
    n_rays = 40 if impl == "triton" else 60
    rays, jitter = make_rays(n_rays, dtype, far=8.0 if lattice.get("contract") else None, impl=impl)
    # random cells are hard to skip
    random = torch.rand([resolution] * 3, generator=torch.Generator().manual_seed(0)) < 0.02
    for cells in [random | shell(9)] if impl == "triton" else [random, shell(resolution)]:
        args = (*rays, pack_bits(cells).to(jitter.device), resolution)
        options = coarser(lattice, impl)
        want = march(*args, jitter=jitter, impl="reference", **options)
        assert len(want.t_starts) > 20
        assert_equal(march(*args, jitter=jitter, impl=impl, **options), want)


@needs_triton
@pytest.mark.parametrize("lattice", [LATTICES[1], LATTICES[3]], ids=str)
@pytest.mark.parametrize(("n_rays", "max_samples"), [(40, 200), (7, 3), (0, 5)])
def test_rows_hold_the_same_samples(lattice, n_rays, max_samples, poisoned_empty):
    """Bit for bit, also where ``max_samples`` ends a ray; nothing behind the last sample of a row is written."""
    from nerfkit.kernels.march._triton import march_rows

    options = coarser(lattice, "triton")
    rays, jitter = make_rays(n_rays, far=8.0 if lattice.get("contract") else None, impl="triton")
    occupancy = pack_bits(shell(9)).to(jitter.device)
    want = march(*rays, occupancy, 9, jitter=jitter, max_samples=max_samples, impl="reference", **options)
    lattice = (options["step"], options.get("cone_angle", 0.0), options.get("contract", False))
    t_starts, counts, n_hits = march_rows(*rays, occupancy, 9, *lattice, jitter, max_samples)
    assert t_starts.shape == (n_rays, max_samples) and torch.equal(counts.long(), want.packed_info[:, 1])
    assert n_hits.item() == (counts > 0).sum()
    exists = torch.arange(max_samples, device=counts.device) < counts[:, None]
    assert torch.equal(t_starts[exists], want.t_starts) and t_starts[~exists].isnan().all()


@pytest.mark.parametrize("n_rays", [0, 1, 7])
@pytest.mark.parametrize("impl", ["cpu", TRITON])
def test_few_rays_and_strided_ones(impl, n_rays):
    (rays_o, rays_d, near, far), jitter = make_rays(n_rays, impl=impl)
    strided = rays_o.t().contiguous().t()
    occupancy = pack_bits(shell(16)).to(jitter.device)
    rays, step = (rays_d, near, far, occupancy, 16), 0.2 if impl == "triton" else 0.02
    want = march(rays_o, *rays, step=step, jitter=jitter, impl="reference")
    assert want.packed_info.shape == (n_rays, 2) and want.xyzs.shape == (len(want.t_starts), 3)
    assert_equal(march(strided, *rays, step=step, jitter=jitter, impl=impl), want)


@pytest.mark.parametrize("impl", IMPLS)
def test_every_field_is_written(impl, poisoned_empty):
    rays, jitter = make_rays(20, impl=impl)
    samples = march(*rays, pack_bits(shell(16)).to(jitter.device), 16, step=0.1, jitter=jitter, impl=impl)
    assert len(samples.t_starts) > 20
    assert all((field >= 0).all() for field in samples)


@pytest.mark.parametrize("impl", IMPLS)
def test_full_grid_gives_the_count_of_the_geometry(impl):
    rays, full = along_x(impl=impl), full_grid(16, impl)
    # middles at 1 + (k + 1/2) / 16 from jitter 0: 32 of them before 3
    samples = march(*rays, full, 16, step=1 / 16, jitter=torch.zeros_like(rays[2]), impl=impl)
    assert samples.packed_info.tolist() == [[0, 32]]
    assert samples.t_starts[0] == 1 and samples.t_ends[-1] == 3 and samples.t_next.tolist() == [3.0]
    torch.testing.assert_close(samples.t_starts[1:], samples.t_ends[:-1], rtol=0, atol=0)
    xyzs = samples.xyzs.cpu()
    torch.testing.assert_close(xyzs[:, 0], (torch.arange(32, dtype=torch.float64) + 0.5) / 32)
    torch.testing.assert_close(xyzs[:, 1:], torch.full((32, 2), 0.55, dtype=torch.float64))
    # the default puts the first sample half a step later, which pushes the last out
    assert march(*rays, full, 16, step=1 / 16, impl=impl).t_starts[0] == 1 + 1 / 32


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("sign", [1, -1])
def test_only_the_occupied_half_is_sampled(sign, impl):
    rays_o, rays_d, near, far = along_x(3, impl=impl)
    cells = torch.zeros(16, 16, 16, dtype=torch.bool, device=near.device)
    cells[:8] = True
    start = torch.zeros_like(near)
    samples = march(sign * rays_o, sign * rays_d, near, far, pack_bits(cells), 16, step=1 / 16, jitter=start, impl=impl)
    assert samples.packed_info.tolist() == [[0, 16], [16, 16], [32, 16]]
    assert (samples.xyzs[:, 0] < 0.5).all()
    assert torch.equal(samples.ray_indices.bincount(), samples.packed_info[:, 1])


@pytest.mark.parametrize("impl", IMPLS)
def test_cone_grows_the_steps(impl):
    rays, full = along_x(impl=impl), full_grid(8, impl)
    samples = march(*rays, full, 8, step=0.01, cone_angle=1 / 16, impl=impl)
    torch.testing.assert_close(samples.t_ends, samples.t_starts * (1 + 1 / 16))
    # below t = step / cone_angle the step is the shortest one
    samples = march(*rays, full, 8, step=0.1, cone_angle=1 / 32, impl=impl)
    torch.testing.assert_close(samples.t_ends - samples.t_starts, torch.full_like(samples.t_starts, 0.1))


@pytest.mark.parametrize("impl", IMPLS)
def test_contraction_keeps_far_points_inside(impl):
    rays_o, rays_d, near, _ = along_x(impl=impl)
    far, full = torch.full_like(near, 1000.0), full_grid(16, impl)
    samples = march(rays_o, rays_d, near, far, full, 16, step=0.1, cone_angle=0.05, contract=True, impl=impl)
    assert samples.t_ends[-1] > 950 and (samples.xyzs >= 0).all() and (samples.xyzs < 1).all()
    middles = rays_o + (samples.t_starts + samples.t_ends)[:, None] / 2 * rays_d
    m = middles.abs().amax(-1, keepdim=True)
    want = torch.where(m <= 1, middles, middles / m * (2 - 1 / m))
    torch.testing.assert_close(samples.xyzs, (want + 2) / 4)
    assert samples.xyzs[-1, 0] > 0.999


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lattice", LATTICES, ids=str)
def test_going_on_from_t_next_gives_the_same_samples(lattice, dtype, impl):
    # few rays and samples where a lattice point costs a millisecond
    n_rays, most = (6, 3) if impl == "triton" else (30, 7)
    rays, jitter = make_rays(n_rays, dtype, far=8.0 if lattice.get("contract") else None, impl=impl)
    rays_o, rays_d, near, far = rays
    occupancy, lattice = pack_bits(shell(32)).to(near.device), coarser(lattice, impl)
    want = march(*rays, occupancy, 32, jitter=jitter, impl=impl, **lattice)
    assert torch.equal(want.t_next, far)
    parts, rounds = [], 0
    while (near < far).any():
        part = march(rays_o, rays_d, near, far, occupancy, 32, jitter=jitter, max_samples=most, impl=impl, **lattice)
        assert part.packed_info[:, 1].max() <= most
        parts.append(part)
        near, jitter, rounds = part.t_next, torch.zeros_like(near), rounds + 1
    assert rounds > 1
    order = torch.cat([part.ray_indices for part in parts]).argsort(stable=True)
    for name in ("ray_indices", "t_starts", "t_ends", "xyzs"):
        got = torch.cat([getattr(part, name) for part in parts])[order]
        assert torch.equal(got, getattr(want, name)), name


@pytest.mark.parametrize("impl", IMPLS)
def test_rays_that_miss_and_empty_intervals(impl):
    rays_o, rays_d, near, far = along_x(4, impl=impl)
    rays_o, near, far = rays_o.clone(), near.clone(), far.clone()
    rays_o[0, 1] = 5.0  # beside the box
    near[1], far[1] = 3.0, 2.0
    near[2] = torch.nan
    far[3] = 1.0  # near == far
    samples = march(rays_o, rays_d, near, far, full_grid(8, impl), 8, step=0.1, impl=impl)
    assert len(samples.t_starts) == 0 and samples.packed_info[:, 1].tolist() == [0, 0, 0, 0]
    assert torch.equal(samples.t_next, far)


@pytest.mark.parametrize("impl", IMPLS)
def test_generous_bounds_sample_only_the_box(impl):
    rays_o, rays_d, near, far = along_x(impl=impl)
    near, far = near * 0.25, far * 4
    samples = march(rays_o, rays_d, near, far, full_grid(8, impl), 8, step=1 / 16, impl=impl)
    assert samples.packed_info[0, 1] == 32 and samples.t_next == far
    assert ((samples.xyzs[:, 0] >= 0) & (samples.xyzs[:, 0] < 1)).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_a_step_too_small_to_move_ends_the_ray(impl):
    rays_o, rays_d, near, far = along_x(dtype=torch.float32, impl=impl)
    samples = march(rays_o, rays_d, near, far, full_grid(8, impl), 8, step=1e-9, impl=impl)
    assert len(samples.t_starts) == 0 and torch.equal(samples.t_next, far)


@pytest.mark.parametrize("resolution", [1, 3, 8, 9])
def test_bits_round_trip(resolution):
    g = torch.Generator().manual_seed(0)
    cells = torch.rand(resolution, resolution, resolution, generator=g) < 0.5
    occupancy = pack_bits(cells)
    assert occupancy.shape == (math.ceil(resolution**3 / 8),)
    assert torch.equal(unpack_bits(occupancy, resolution), cells)


def test_bit_order():
    cells = torch.zeros(4, 4, 4, dtype=torch.bool)
    cells[1, 2, 3] = True  # cell (1 * 4 + 2) * 4 + 3 = 27: byte 3, bit 3
    assert pack_bits(cells).tolist() == [0, 0, 0, 8, 0, 0, 0, 0]


def test_rejects_wrong_inputs():
    rays, occupancy = along_x(), full_grid(8)
    with pytest.raises(ValueError, match=r"near must have shape \(1,\)"):
        march(rays[0], rays[1], rays[2][:, None], rays[3], occupancy, 8, step=0.1)
    with pytest.raises(ValueError, match=r"jitter must have .* got \(1,\), torch.float32"):
        march(*rays, occupancy, 8, step=0.1, jitter=torch.zeros(1))
    with pytest.raises(ValueError, match=r"float32 or float64; got torch\.float16"):
        half = rays[0].half(), rays[1].half(), rays[2].half(), rays[3].half()
        march(*half, occupancy, 8, step=0.1)
    with pytest.raises(ValueError, match=r"uint8 of shape \(512,\) for resolution 16; got torch.uint8 \(64,\)"):
        march(*rays, occupancy, 16, step=0.1)
    with pytest.raises(ValueError, match=r"step > 0, cone_angle >= 0 and max_samples >= 1; got 0, 0\.0, 1024"):
        march(*rays, occupancy, 8, step=0)
    with pytest.raises(ValueError, match=r"cells must be bool of shape \(G, G, G\)"):
        pack_bits(torch.ones(4, 4, 4))
    with pytest.raises(ValueError, match=r"uint8 of shape \(8,\) for resolution 4"):
        unpack_bits(occupancy, 4)
