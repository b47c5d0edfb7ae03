"""resample: the reference against closed forms and a loop, the kernel against the reference."""

from typing import Any

import pytest
import torch
from support import DEVICE, TOLERANCE, needs_triton

from nerfkit.kernels.resample import resample

pytestmark = pytest.mark.usefixtures("poisoned_empty")
IMPLS = ["reference", pytest.param("triton", marks=needs_triton)]
# intervals of each ray: one, odd, none between, more rays than a program, no rays
COUNTS = [[1], [3, 0, 5], [7] * 33, [0, 0], []]


def make_rays(counts, dtype=torch.float32, seed=0):
    """Packed intervals with gaps between them, and weights of which some are nothing."""
    g = torch.Generator().manual_seed(seed)
    n = sum(counts)
    lengths, gaps = (0.1 + torch.rand(n, generator=g, dtype=torch.float64) for _ in range(2))
    t_ends = torch.cat([gaps[:0], *(both.cumsum(0) for both in (lengths + gaps).split(counts))])
    weights = torch.rand(n, generator=g, dtype=torch.float64) + 0.1
    weights[torch.rand(n, generator=g) < 0.2] = 0
    counts = torch.tensor(counts, dtype=torch.int64)
    packed_info = torch.stack([counts.cumsum(0) - counts, counts], dim=-1).to(DEVICE)
    return *(x.to(DEVICE, dtype) for x in (t_ends - lengths, t_ends, weights)), packed_info


def uniforms(n_rays, n_new, dtype=torch.float64):
    return torch.rand(n_rays, n_new, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(DEVICE, dtype)


def slow(t_starts, t_ends, weights, n_new, packed_info, jitter):
    """One number after the other."""
    ts = torch.zeros(len(packed_info), n_new, dtype=torch.float64)
    for ray, (first, count) in enumerate(packed_info.tolist()):
        lows, highs, mass = (x[first : first + count].tolist() for x in (t_starts, t_ends, weights))
        if not sum(mass):
            mass = [1.0] * count
        for k in range(n_new if count else 0):
            left = (k + float(jitter[ray, k])) / n_new * sum(mass)
            for low, high, m in zip(lows, highs, mass, strict=True):
                if left < m:
                    ts[ray, k] = low + left / m * (high - low)
                    break
                left -= m
    return ts.to(DEVICE)


@pytest.mark.parametrize("n_new", [1, 2, 7])
@pytest.mark.parametrize("counts", COUNTS, ids=lambda counts: f"{len(counts)} rays, {sum(counts)} samples")
@pytest.mark.parametrize("impl", IMPLS)
def test_against_a_loop(impl, counts, n_new):
    t_starts, t_ends, weights, packed_info = make_rays(counts, torch.float64)
    jitter = uniforms(len(counts), n_new)
    new = resample(t_starts, t_ends, weights, n_new, packed_info, jitter=jitter, impl=impl)
    assert new.ts.shape == (len(counts), n_new) and new.edges.shape == (len(counts), n_new + 1)
    want = slow(t_starts, t_ends, weights, n_new, packed_info, jitter)
    torch.testing.assert_close(new.ts, want, **TOLERANCE[torch.float64])


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("is_packed", [False, True])
def test_kernel_matches_reference(is_packed, dtype):
    t_starts, t_ends, weights, packed_info = make_rays([11] * 35, dtype)
    weights = weights + 0.1  # over a gap a sample jumps by as much, whatever the rounding
    if not is_packed:
        # without gaps
        edges = torch.cat([t_starts.new_zeros(35, 1), t_ends.view(35, 11)], -1)
        t_starts, t_ends, weights, packed_info = edges[:, :-1], edges[:, 1:], weights.view(35, 11), None
    draws: list[dict[str, Any]] = [
        {}, {"seed": 5}, {"seed": torch.tensor([5], device=DEVICE)}, {"jitter": uniforms(35, 6, dtype)},
    ]  # fmt: skip
    for options in draws:
        got, want = (
            resample(t_starts, t_ends, weights, 6, packed_info, padding=1e-3, impl=impl, **options)
            for impl in ("triton", "reference")
        )
        for g, w in zip(got, want, strict=True):
            # a share of an interval is as right as the sum of the weights over its own
            torch.testing.assert_close(g, w, rtol=0, atol=50 * TOLERANCE[dtype]["atol"])


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("weight", [0.3, 0.0, torch.nan, torch.inf])
def test_equal_weights_give_regular_samples(weight, impl):
    """Also where weights are of no use."""
    edges = torch.linspace(1, 3, 9, dtype=torch.float64, device=DEVICE).expand(2, -1)
    new = resample(edges[:, :-1], edges[:, 1:], torch.full_like(edges[:, 1:], weight), 5, impl=impl)
    want = torch.linspace(1, 3, 6, dtype=torch.float64, device=DEVICE).expand(2, -1)
    torch.testing.assert_close(new.edges, want)
    torch.testing.assert_close(new.ts, 0.5 * (want[:, 1:] + want[:, :-1]))


@pytest.mark.parametrize("impl", IMPLS)
def test_sorted_inside_and_only_where_there_is_weight(impl):
    t_starts, t_ends, weights, packed_info = make_rays([13, 0, 4, 40])
    jitter = uniforms(4, 50, torch.float32)
    jitter[:, -1] = 1 - 2**-24
    new = resample(t_starts, t_ends, weights, 50, packed_info, jitter=jitter, impl=impl)
    assert (new.ts.diff(dim=-1) >= 0).all() and (new.edges.diff(dim=-1) >= 0).all()
    assert (new.edges[:, :-1] <= new.ts).all() and (new.ts <= new.edges[:, 1:]).all()
    assert not new.ts[1].any() and not new.edges[1].any()  # no intervals
    for ray, (first, count) in enumerate(packed_info.tolist()):
        if count:
            low, high = (x[first : first + count] for x in (t_starts, t_ends))
            inside = (new.ts[ray, :, None] >= low) & (new.ts[ray, :, None] <= high)
            assert (inside & (weights[first : first + count] > 0)).any(-1).all()
            assert low[0] <= new.edges[ray, 0] and new.edges[ray, -1] <= high[-1]


def test_seeds_are_those_of_every_device_and_spread():
    t_starts, t_ends, weights, packed_info = make_rays([3] * 200)
    first, again, other = (
        resample(t_starts, t_ends, weights, 8, packed_info, seed=seed, impl="reference").ts for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    unit = torch.tensor([[0.0]], device=DEVICE).expand(1000, 1)
    drawn = resample(unit, unit + 1, unit + 1, 1, seed=4, impl="reference").ts
    assert abs(float(drawn.mean()) - 0.5) < 0.03 and abs(float(drawn.var()) - 1 / 12) < 0.01


@pytest.mark.parametrize("impl", IMPLS)
def test_half_precision_weights_and_strides(impl):
    t_starts, t_ends, weights, packed_info = make_rays([9, 4], torch.float64)
    weights = (weights * 8).round() / 8
    want = resample(t_starts, t_ends, weights, 4, packed_info, impl=impl)
    strided = [torch.stack([x, x], -1)[..., 0] for x in (t_starts, t_ends, weights.half())]
    got = resample(*strided, n_new=4, packed_info=packed_info, impl=impl)
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


def test_rejects_wrong_arguments():
    t = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"share one shape.*got \(2, 3\), \(2, 3\), \(2,\)"):
        resample(t, t, t[:, 0], 4)
    with pytest.raises(ValueError, match=r"float32 or float64; got torch.float16"):
        resample(t.half(), t.half(), t, 4)
    with pytest.raises(ValueError, match="weights must be floating point"):
        resample(t, t, t.long(), 4)
    with pytest.raises(ValueError, match="n_new >= 1 and padding >= 0; got 0 and 0"):
        resample(t, t, t, 0)
    with pytest.raises(ValueError, match=r"jitter must have shape \(2, 4\), and no seed beside it; got \(2, 5\)"):
        resample(t, t, t, 4, jitter=torch.zeros(2, 5))
    with pytest.raises(ValueError, match="must list all 6 samples"):
        resample(*(t.reshape(-1),) * 3, n_new=4, packed_info=torch.tensor([[0, 3]]))
