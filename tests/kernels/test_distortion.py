"""distortion: every implementation against the double sum of the paper, values and gradients."""

import pytest
import torch
from support import DEVICE, INTERPRET, TOLERANCE, needs_triton

from nerfkit.kernels.distortion import distortion

pytestmark = pytest.mark.usefixtures("poisoned_empty")
IMPLS = ["cpu", pytest.param("triton", marks=needs_triton)]
ALL_IMPLS = ["reference", *IMPLS]
# bfloat16 is left out in Triton's interpreter, whose bfloat16 arithmetic is silently wrong
DTYPES = [d for d in TOLERANCE if not (INTERPRET and d == torch.bfloat16)]
# samples of each ray: one, odd, empty rays between, longer than one block of the kernel, no samples, no rays
COUNTS = [[1], [3, 0, 5], [0, 131, 0, 2], [0, 0], []]


def make_samples(counts, dtype=torch.float64, impl="reference", far=3.0):
    """Weights and samples with gaps between them, from 0.2 to about ``far``."""
    g = torch.Generator().manual_seed(0)
    n = sum(counts)
    draw = torch.rand(3, n, generator=g, dtype=torch.float64) + 0.1
    ends = [far * both.cumsum(0) / both.sum() for both in draw[:2].sum(0).split(counts)]
    t_ends = torch.cat([draw[0, :0], *ends]) + 0.2
    t_starts = t_ends - 0.5 * draw[0] * far / max(n, 1)
    device = "cpu" if impl == "cpu" else DEVICE
    tensors = [x.to(device, dtype).requires_grad_() for x in (draw[2] / max(n, 1), t_starts, t_ends)]
    counts = torch.tensor(counts, dtype=torch.int64)
    return [*tensors, torch.stack([counts.cumsum(0) - counts, counts], dim=-1).to(device)]


def double_sum(weights, t_starts, t_ends, packed_info, contract=False):
    """mip-NeRF 360 eq. 15 as it stands there."""
    if contract:
        t_starts, t_ends = (torch.where(t < 1, t, 2 - 1 / t) for t in (t_starts, t_ends))
    rays = []
    for first, count in packed_info.tolist():
        w, a, b = (x[first : first + count] for x in (weights, t_starts, t_ends))
        s = 0.5 * (a + b)
        rays.append((w[:, None] * w * (s[:, None] - s).abs()).sum() + (w.square() * (b - a)).sum() / 3)
    return torch.stack(rays)[:, None] if rays else weights.new_zeros(0, 1)


@pytest.mark.parametrize("contract", [False, True])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_values_and_gradients_are_those_of_the_double_sum(impl, counts, contract):
    args = make_samples(counts, impl=impl)
    got, want = distortion(*args, contract=contract, impl=impl), double_sum(*args, contract=contract)
    torch.testing.assert_close(got, want, **TOLERANCE[torch.float64])
    if counts:
        d = torch.arange(1.0, len(counts) + 1, dtype=torch.float64, device=got.device)[:, None]
        for g, w in zip(*(torch.autograd.grad(x, args[:3], d, allow_unused=True) for x in (got, want)), strict=True):
            w = torch.zeros_like(g) if w is None else w
            torch.testing.assert_close(g, w, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_dtypes(impl, dtype):
    args = make_samples([3, 70], dtype, impl)
    doubles = [x.detach().double().requires_grad_() if x.is_floating_point() else x for x in args]
    got, want = distortion(*args, impl=impl), distortion(*doubles, impl="reference")
    acc = torch.float64 if dtype == torch.float64 else torch.float32
    assert got.dtype == acc
    # halves are exact in float32: values are held to its tolerance, gradients to that of their own dtype
    torch.testing.assert_close(got, want.to(acc), **TOLERANCE[acc])
    grads = (torch.autograd.grad(x.sum(), a[:3]) for x, a in ((got, args), (want, doubles)))
    for g, w in zip(*grads, strict=True):
        torch.testing.assert_close(g, w.to(dtype), **TOLERANCE[dtype])


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_dense_is_packed(impl):
    weights, t_starts, t_ends, packed_info = make_samples([9, 9], impl=impl)
    dense = [x.detach().view(2, 9).t().contiguous().t().requires_grad_() for x in (weights, t_starts, t_ends)]
    got, want = distortion(*dense, impl=impl), distortion(weights, t_starts, t_ends, packed_info, impl=impl)
    torch.testing.assert_close(got, want, rtol=1e-14, atol=0)
    fast = impl == "triton"  # programs are slow here
    assert torch.autograd.gradcheck(lambda *x: distortion(*x, contract=True, impl=impl), dense, fast_mode=fast)


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_second_derivatives(impl):
    *args, packed_info = make_samples([3, 2], impl=impl)
    assert torch.autograd.gradgradcheck(
        lambda *x: distortion(*x, packed_info=packed_info, impl=impl), args, fast_mode=True
    )


@pytest.mark.parametrize("wanted", range(3))
@pytest.mark.parametrize("impl", IMPLS)
def test_each_gradient_alone(impl, wanted):
    args = [x.detach() for x in make_samples([4, 66], impl=impl)]
    args[wanted].requires_grad_()
    got, want = (torch.autograd.grad(distortion(*args, impl=i).sum(), args[wanted])[0] for i in (impl, "reference"))
    torch.testing.assert_close(got, want, **TOLERANCE[torch.float64])


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_far_from_the_camera_no_digits_are_lost(impl):
    """A thin surface at a distance of 1000, in float32."""
    starts = 1000 + torch.arange(32, dtype=torch.float64).view(1, -1) / 64
    weights = torch.rand(1, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 32
    args = [x.to("cpu" if impl == "cpu" else DEVICE) for x in (weights, starts, starts + 1 / 64)]
    got, want = distortion(*(x.float() for x in args), impl=impl), distortion(*args, impl="reference")
    torch.testing.assert_close(got, want.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_uniform_weights_closed_form(impl):
    """The mean distance of two points of an interval is a third of its length, however it is cut."""
    edges = torch.linspace(2, 5, 13, dtype=torch.float64, device="cpu" if impl == "cpu" else DEVICE)[None]
    got = distortion(torch.full_like(edges[:, 1:], 1 / 12), edges[:, :-1], edges[:, 1:], impl=impl)
    torch.testing.assert_close(got, torch.ones_like(got))


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_nan_is_not_hidden_and_every_run_gives_the_same_bits(impl):
    args = make_samples([70, 4], torch.float32, impl)
    runs = [torch.autograd.grad(distortion(*args, impl=impl).sum(), args[:3]) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    args[0].data[1] = torch.nan
    assert distortion(*args, impl=impl).isnan().squeeze(-1).tolist() == [True, False]


def test_rejects_wrong_arguments():
    t = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"share one shape.*got \(2, 3\), \(2, 3\), \(2,\)"):
        distortion(t, t, t[:, 0])
    with pytest.raises(ValueError, match="must list all 6 samples"):
        distortion(*(t.reshape(-1),) * 3, packed_info=torch.tensor([[0, 3]]))
