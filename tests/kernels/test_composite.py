"""composite: every implementation against the reference, the reference against closed forms and a loop."""

import math

import pytest
import torch
from support import DEVICE, INTERPRET, TOLERANCE, needs_triton

from nerfkit.kernels.composite import composite, composite_reference

pytestmark = pytest.mark.usefixtures("poisoned_empty")
IMPLS = ["cpu", pytest.param("triton", marks=needs_triton)]
ALL_IMPLS = ["reference", *IMPLS]
# bfloat16 is left out in Triton's interpreter, whose bfloat16 arithmetic is silently wrong
DTYPES = [d for d in TOLERANCE if not (INTERPRET and d == torch.bfloat16)]
# samples of each ray: one, odd, empty rays between, longer than one block of the kernel, no samples, no rays
COUNTS = [[1], [3, 0, 5], [64], [0, 131, 0, 2], [0, 0], []]
NAMES = ("sigmas", "rgbs", "t_starts", "t_ends", "bkgd_rgb")


def make_samples(counts, dtype=torch.float32, impl="reference", *, background: str | None = "ray", density=3.0):
    g = torch.Generator().manual_seed(0)
    n = sum(counts)
    t_starts = torch.rand(n, generator=g, dtype=torch.float64)
    t_ends = t_starts + 0.05 + torch.rand(n, generator=g, dtype=torch.float64)
    sigmas = torch.rand(n, generator=g, dtype=torch.float64) * density
    rgbs = torch.rand(n, 3, generator=g, dtype=torch.float64)
    shape = {"ray": (len(counts), 3), "shared": (3,)}
    device = "cpu" if impl == "cpu" else DEVICE
    tensors = [sigmas, rgbs, t_starts, t_ends]
    if background is not None:
        tensors.append(torch.rand(*shape[background], generator=g, dtype=torch.float64))
    tensors = [x.to(device, dtype).requires_grad_() for x in tensors]
    counts = torch.tensor(counts, dtype=torch.int64)
    packed_info = torch.stack([counts.cumsum(0) - counts, counts], dim=-1).to(device)
    return [*tensors[:4], packed_info, *tensors[4:]]


def floating(args):
    return [x for x in args if x.is_floating_point()]


def gradients(outputs, args, seed=1):
    """Gradients of a random combination of the four outputs, the same for every implementation."""
    g = torch.Generator().manual_seed(seed)
    d_outputs = [torch.randn(x.shape, generator=g, dtype=torch.float64).to(x) for x in outputs]
    return torch.autograd.grad(outputs, floating(args), d_outputs)


def assert_close(got, want, dtype, names):
    rtol, atol = TOLERANCE[dtype]["rtol"], TOLERANCE[dtype]["atol"]
    for name, g, w in zip(names, got, want, strict=True):
        torch.testing.assert_close(g, w.to(g), rtol=rtol, atol=atol, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("impl", IMPLS)
def test_implementation_matches_reference(impl, counts, dtype):
    args = make_samples(counts, dtype, impl)
    doubles = [x.detach().double().requires_grad_() if x.is_floating_point() else x for x in args]
    got, want = composite(*args, impl=impl), composite(*doubles, impl="reference")
    acc = torch.float64 if dtype == torch.float64 else torch.float32
    assert all(x.dtype == acc and x.shape == w.shape for x, w in zip(got, want, strict=True))
    # halves are exact in float32: values are held to its tolerance, gradients to that of their own dtype
    assert_close(got, want, acc, got._fields)
    assert_close(gradients(got, args), gradients(want, doubles), dtype, NAMES)


@pytest.mark.parametrize("background", [None, "shared", "ray"])
@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_gradcheck(impl, background):
    args = make_samples([2, 0, 1], torch.float64, impl, background=background)
    # the whole Jacobian once, random projections of it for the other backgrounds: programs are slow here
    fast = background != "ray"
    assert torch.autograd.gradcheck(lambda *a: tuple(composite(*a, impl=impl)), args, fast_mode=fast)


@pytest.mark.parametrize("background", [None, "ray"])
@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_gradgradcheck(impl, background):
    args = make_samples([2, 1], torch.float64, impl, background=background)
    assert torch.autograd.gradgradcheck(lambda *a: tuple(composite(*a, impl=impl)), args, fast_mode=True)


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_second_derivative_where_inputs_depend_on_each_other(impl):
    """t_ends follows from t_starts: its share must be counted once."""
    sigmas, rgbs, t_starts, _, packed_info, bkgd_rgb = make_samples([3], torch.float64, impl)

    def loss(t_starts):
        return composite(sigmas, rgbs, t_starts, t_starts * 1.5, packed_info, bkgd_rgb, impl=impl).rgb.sum()

    assert torch.autograd.gradgradcheck(loss, t_starts, fast_mode=True)


@pytest.mark.parametrize("output", range(4))
@pytest.mark.parametrize("wanted", range(5))
@pytest.mark.parametrize("impl", IMPLS)
def test_each_gradient_alone(impl, wanted, output):
    """Skipped work must not change what is left: one input asks, one output sends."""
    base = make_samples([3, 0, 70], torch.float64, impl)
    results = []
    for which in (impl, "reference"):
        args = [x.detach() for x in base]
        args[wanted + (wanted == 4)].requires_grad_()
        out = composite(*args, impl=which)[output]
        if not out.requires_grad:  # opacity does not depend on colour
            results.append(None)
            continue
        (grad,) = torch.autograd.grad(out.square().sum(), args[wanted + (wanted == 4)], allow_unused=True)
        results.append(grad)
    got, want = results
    if want is None:
        assert got is None or not got.any()
    else:
        assert_close([got], [want], torch.float64, [NAMES[wanted]])


@pytest.mark.parametrize("impl", IMPLS)
def test_colours_alone_leave_other_outputs_without_gradient(impl):
    sigmas, rgbs, *rest = make_samples([3], impl=impl)
    out = composite(sigmas.detach(), rgbs, *(x.detach() for x in rest), impl=impl)
    assert [x.requires_grad for x in out] == [True, False, False, False]


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_no_grad_gives_the_same_values(impl):
    args = make_samples([3, 0, 70], impl=impl)
    want = composite(*args, impl=impl)
    with torch.no_grad():
        got = composite(*args, impl=impl)
    assert not any(x.requires_grad for x in got)
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_non_contiguous_inputs(impl):
    args = [x.detach() for x in make_samples([5, 2], torch.float64, impl)]
    # every second element of a tensor twice as long: same values, other strides
    strided = [torch.stack([x, x.flip(0)], dim=-1)[..., 0].requires_grad_(x.is_floating_point()) for x in args]
    assert not any(x.is_contiguous() for x in strided)
    plain = [x.requires_grad_(x.is_floating_point()) for x in args]
    got, want = composite(*strided, impl=impl), composite(*plain, impl=impl)
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))
    for g, w in zip(gradients(got, strided), gradients(want, plain), strict=True):
        assert torch.equal(g, w)


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_mixed_dtypes(impl):
    """Half-precision network outputs meet float32 distances; each gradient has the dtype of its input."""
    sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb = make_samples([3, 4], impl=impl)
    args = [x.detach().half().requires_grad_() for x in (sigmas, rgbs)]
    args += [t_starts, t_ends, packed_info, bkgd_rgb]
    out = composite(*args, impl=impl)
    assert all(x.dtype == torch.float32 for x in out)
    assert [x.dtype for x in gradients(out, args)] == [torch.float16] * 2 + [torch.float32] * 3


@pytest.mark.filterwarnings("ignore:overflow encountered")  # the interpreter's numpy; overflowing is the point
@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_opaque_samples(impl):
    """Infinite and overflowing densities: light stops there, all stays finite, nothing behind counts."""
    sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb = make_samples([6, 3], impl=impl)
    with torch.no_grad():
        sigmas[2], sigmas[4], sigmas[7] = math.inf, 3e38, math.inf
        t_ends[4] = t_starts[4] + 10
        t_ends[7] = t_starts[7]  # no length: inf * 0 must not make a NaN
    args = [sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb]
    out = composite(*args, impl=impl)
    assert all(torch.isfinite(x).all() for x in out)
    assert torch.equal(out.weights[3:6], torch.zeros_like(out.weights[3:6])) and out.weights[7] == 0
    assert out.opacities[0] == 1
    grads = gradients(out, args)
    assert all(torch.isfinite(x).all() for x in grads)
    assert grads[0][:2].all() and not grads[0][2:6].any()


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_nan_is_not_hidden(impl):
    args = make_samples([3], impl=impl)
    args[0].data[1] = math.nan
    out = composite(*args, impl=impl)
    assert torch.isnan(out.rgb).all() and torch.isnan(out.weights[1])


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_thin_samples_keep_their_digits(impl):
    args = [x.detach() for x in make_samples([70], impl=impl, density=1e-6, background=None)]
    want = composite(*(x.double() if x.is_floating_point() else x for x in args), impl="reference")
    got = composite(*args, impl=impl)
    for name, g, w in zip(got._fields, got, want, strict=True):
        torch.testing.assert_close(g, w.float(), rtol=3e-6, atol=0, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_alpha_to_the_last_digits(impl):
    """Across the range where a series takes over from the exponential."""
    taus = torch.logspace(-9, 1, 21, dtype=torch.float64, device="cpu" if impl == "cpu" else DEVICE)
    zeros, each = torch.zeros_like(taus), torch.arange(21, device=taus.device)
    packed_info = torch.stack([each, torch.ones_like(each)], dim=-1)
    out = composite(taus, taus[:, None].expand(-1, 3), zeros, zeros + 1, packed_info, impl=impl)
    want = -torch.expm1(-taus)
    torch.testing.assert_close(out.weights, want, rtol=3e-15, atol=0)
    torch.testing.assert_close(out.opacities[:, 0], want, rtol=3e-15, atol=0)


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_every_run_gives_the_same_bits(impl):
    args = make_samples([7, 130, 1], impl=impl)
    runs = [gradients(composite(*args, impl=impl), args) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_uniform_density_closed_form(impl):
    edges = torch.linspace(0, 2, 9, dtype=torch.float64, device="cpu" if impl == "cpu" else DEVICE)
    out = composite(
        torch.full_like(edges[1:], 0.7),
        torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64).to(edges).expand(8, 3),
        edges[:-1],
        edges[1:],
        torch.tensor([[0, 8]], device=edges.device),
        torch.ones(3).to(edges),
        impl=impl,
    )
    opacity = 1 - math.exp(-0.7 * 2)
    assert out.opacities.item() == pytest.approx(opacity, rel=1e-12)
    assert out.weights.sum().item() == pytest.approx(opacity, rel=1e-12)
    assert out.rgb[0].tolist() == pytest.approx([opacity * c + 1 - opacity for c in (0.2, 0.4, 0.6)], rel=1e-12)


def test_reference_matches_slow_loop():
    sigmas, rgbs, t_starts, t_ends, packed_info, bkgd_rgb = (
        x.detach().tolist() for x in make_samples([4, 0, 3], torch.float64)
    )
    out = composite_reference(*make_samples([4, 0, 3], torch.float64))
    for r, (start, count) in enumerate(packed_info):
        trans, rgb, depth = 1.0, [0.0, 0.0, 0.0], 0.0
        for i in range(start, start + count):
            alpha = 1 - math.exp(-sigmas[i] * (t_ends[i] - t_starts[i]))
            weight = trans * alpha
            assert out[3][i].item() == pytest.approx(weight, rel=1e-12)
            rgb = [a + weight * b for a, b in zip(rgb, rgbs[i], strict=True)]
            depth += weight * (t_starts[i] + t_ends[i]) / 2
            trans *= 1 - alpha
        want = [*(a + trans * b for a, b in zip(rgb, bkgd_rgb[r], strict=True)), depth, 1 - trans]
        got = [*out[0][r].tolist(), out[1][r].item(), out[2][r].item()]
        assert got == pytest.approx(want, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_rays_do_not_mix(impl):
    args = [x.detach() for x in make_samples([5, 2, 9], impl=impl)]
    sigmas, rgbs, t_starts, t_ends = (x[5:7] for x in args[:4])
    packed_info = torch.tensor([[0, 2]], device=args[0].device)
    got = composite(sigmas, rgbs, t_starts, t_ends, packed_info, args[5][1:2], impl=impl)
    want = composite(*args, impl=impl)
    torch.testing.assert_close(got.rgb[0], want.rgb[1], rtol=0, atol=1e-7)
    torch.testing.assert_close(got.weights, want.weights[5:7], rtol=0, atol=1e-7)


def test_auto_on_the_cpu_is_numba(monkeypatch):
    monkeypatch.delenv("NERFKIT_KERNELS", raising=False)
    out = composite(*make_samples([3], impl="cpu"))
    assert "CompositeCpu" in type(out.rgb.grad_fn).__name__


def test_rejects_wrong_shapes():
    sigmas, rgbs, t_starts, t_ends, packed_info = make_samples([4], background=None)
    with pytest.raises(ValueError, match=r"share one shape \(n_samples,\); got \(4,\), \(4,\), \(3,\)"):
        composite(sigmas, rgbs, t_starts, t_ends[:3], packed_info)
    with pytest.raises(ValueError, match=r"rgbs must have shape \(4, 3\), one row a sample; got \(4, 2\)"):
        composite(sigmas, rgbs[:, :2], t_starts, t_ends, packed_info)
    with pytest.raises(ValueError, match=r"packed_info must be int64 .* got torch.int32 of shape \(1, 2\)"):
        composite(sigmas, rgbs, t_starts, t_ends, packed_info.int())
    with pytest.raises(ValueError, match=r"bkgd_rgb must have shape \(3,\) or \(1, 3\); got \(4,\)"):
        composite(sigmas, rgbs, t_starts, t_ends, packed_info, torch.zeros(4))


@pytest.mark.skipif(DEVICE != "cpu", reason="packed_info is trusted on a GPU")
@pytest.mark.parametrize("packed", [[[0, 3]], [[1, 3]], [[0, 2], [3, 1]], [[0, 5], [5, -1]], []], ids=str)
def test_rejects_packed_info_with_gaps(packed):
    sigmas, rgbs, t_starts, t_ends, _ = (x.detach() for x in make_samples([4], background=None))
    with pytest.raises(ValueError, match="list all 4 samples ray after ray without gaps"):
        composite(sigmas, rgbs, t_starts, t_ends, torch.tensor(packed, dtype=torch.int64).reshape(-1, 2))
