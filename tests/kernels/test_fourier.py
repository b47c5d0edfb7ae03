"""fourier: the kernel against the reference, the reference against closed forms."""

import math

import pytest
import torch
from support import DEVICE, INTERPRET, TOLERANCE, needs_triton

from nerfkit.kernels.fourier import fourier, fourier_reference

pytestmark = pytest.mark.usefixtures("poisoned_empty")
IMPLS = ["reference", pytest.param("triton", marks=needs_triton), *(["cpu"] if DEVICE == "cpu" else [])]
# bfloat16 is left out in Triton's interpreter, whose bfloat16 arithmetic is silently wrong
DTYPES = [d for d in TOLERANCE if not (INTERPRET and d == torch.bfloat16)]
# (n, m, d): one, odd, more rows and more frequencies than one block of the kernel, no rows, no frequencies
SHAPES = [(1, 1, 1), (5, 3, 2), (131, 33, 3), (65, 65, 4), (0, 8, 3), (3, 0, 2)]


def make_inputs(shape, dtype, *, scale=2.0):
    n, m, d = shape
    g = torch.Generator().manual_seed(0)
    x = torch.rand(n, d, generator=g, dtype=torch.float64) * 2 - 1
    freqs = torch.randn(m, d, generator=g, dtype=torch.float64) * scale
    return tuple(a.to(DEVICE, dtype).requires_grad_() for a in (x, freqs))


def assert_close(got, want, dtype, name, *, growth=0.0):
    """Within what ``dtype`` holds, and ``growth`` times what the accumulator holds, for round-off."""
    acc = torch.float64 if dtype == torch.float64 else torch.float32
    rtol, atol = TOLERANCE[dtype]["rtol"], TOLERANCE[dtype]["atol"] + TOLERANCE[acc]["atol"] * growth
    torch.testing.assert_close(got, want.to(got), rtol=rtol, atol=atol, msg=lambda m: f"{name}: {m}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("impl", IMPLS)
def test_implementation_matches_float64(impl, shape, dtype):
    """Values and both gradients, against the definition in float64 on the same, already rounded inputs."""
    x, freqs = make_inputs(shape, dtype)
    doubles = [a.detach().double().requires_grad_() for a in (x, freqs)]
    got, want = fourier(x, freqs, impl=impl), fourier_reference(*doubles)
    assert got.dtype == dtype
    n, m, d = shape
    # each of d additions rounds a phase of p cycles by p * 2^-24 in float32: 2 pi p * 6e-8 of the feature
    phase = (doubles[0].abs() @ doubles[1].abs().T).max().item() if n * m else 0.0
    assert_close(got, want, dtype, "features", growth=0.4 * d * phase)
    g = torch.Generator().manual_seed(1)
    d_features = torch.randn(got.shape, generator=g, dtype=torch.float64).to(got)
    d_x, d_freqs = torch.autograd.grad(got, (x, freqs), d_features)
    want_d_x, want_d_freqs = torch.autograd.grad(want, doubles, d_features.double())
    assert_close(d_x, want_d_x, dtype, "d_x", growth=0.4 * d * phase * math.sqrt(m) * 2 * math.pi * 2)
    assert_close(d_freqs, want_d_freqs, dtype, "d_freqs", growth=0.4 * d * phase * math.sqrt(n) * 2 * math.pi)


@pytest.mark.parametrize("d", [1, 3, 4])
@pytest.mark.parametrize("impl", IMPLS)
def test_gradcheck(impl, d):
    args = make_inputs((2, 2, d), torch.float64)
    assert torch.autograd.gradcheck(lambda *a: fourier(*a, impl=impl), args)


@pytest.mark.parametrize("impl", IMPLS)
def test_gradgradcheck(impl):
    args = make_inputs((2, 3, 2), torch.float64)
    assert torch.autograd.gradgradcheck(lambda *a: fourier(*a, impl=impl), args, fast_mode=True)


@pytest.mark.parametrize("wanted", [0, 1])
@pytest.mark.parametrize("impl", IMPLS)
def test_each_gradient_alone(impl, wanted):
    args = make_inputs((5, 3, 2), torch.float64)
    both = torch.autograd.grad(fourier(*args, impl=impl).square().sum() + args[0].sum() + args[1].sum(), args)
    args = [a.detach().requires_grad_(i == wanted) for i, a in enumerate(args)]
    out = fourier(*args, impl=impl).square().sum() + args[0].sum() + args[1].sum()
    (alone,) = torch.autograd.grad(out, args[wanted])
    assert torch.equal(alone, both[wanted])


@pytest.mark.parametrize("impl", IMPLS)
def test_non_contiguous_inputs(impl):
    x, freqs = make_inputs((5, 3, 2), torch.float64)
    strided = [a.detach().T.contiguous().T.requires_grad_() for a in (x, freqs)]
    assert not any(a.is_contiguous() for a in strided)
    got, want = fourier(*strided, impl=impl), fourier(x, freqs, impl=impl)
    assert torch.equal(got, want)
    # one number repeated for every element: the incoming gradient has stride 0
    for g, w in zip(torch.autograd.grad(got.sum(), strided), torch.autograd.grad(want.sum(), (x, freqs)), strict=True):
        assert torch.equal(g, w)


@pytest.mark.parametrize("impl", IMPLS)
def test_large_phases_keep_their_digits(impl):
    """Thousands of cycles, exact in float32: the features are as good as near zero."""
    x = torch.tensor([[4096.0 + 0.125], [-2047.75], [0.5], [12345.0]], device=DEVICE)
    out = fourier(x, torch.ones(1, 1, device=DEVICE), impl=impl)
    half = math.sqrt(0.5)
    want = torch.tensor([[half, half], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]], device=DEVICE)
    torch.testing.assert_close(out, want, rtol=0, atol=3e-7)


@pytest.mark.parametrize("impl", IMPLS)
def test_every_run_gives_the_same_bits(impl):
    args = make_inputs((131, 33, 3), torch.float32)
    runs = [torch.autograd.grad(fourier(*args, impl=impl).square().sum(), args) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@pytest.mark.parametrize("impl", IMPLS)
def test_mixed_dtypes(impl):
    """Half-precision positions with float32 frequencies: phases in float32, features in the dtype of x."""
    x, freqs = make_inputs((5, 3, 2), torch.float32)
    x = x.detach().half().requires_grad_()
    out = fourier(x, freqs, impl=impl)
    assert out.dtype == torch.float16
    assert_close(out, fourier_reference(x.double(), freqs.double()), torch.float16, "features")
    assert [g.dtype for g in torch.autograd.grad(out.sum(), (x, freqs))] == [torch.float16, torch.float32]


def test_reference_closed_form_of_nerf():
    """Rows 2^k / 2 along each axis are NeRF's sin(2^k pi x), cos(2^k pi x)."""
    x = torch.linspace(-1, 1, 7, dtype=torch.float64)[:, None]
    freqs = 2.0 ** torch.arange(4, dtype=torch.float64)[:, None] / 2
    cos, sin = fourier_reference(x, freqs).split(4, dim=-1)
    angles = math.pi * 2.0 ** torch.arange(4, dtype=torch.float64) * x
    torch.testing.assert_close(cos, torch.cos(angles), rtol=0, atol=1e-14)
    torch.testing.assert_close(sin, torch.sin(angles), rtol=0, atol=1e-14)


def test_autocast_leaves_the_phases_alone():
    x, freqs = make_inputs((5, 3, 2), torch.float32, scale=100.0)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        out = fourier(x, freqs)
    torch.testing.assert_close(out, fourier(x, freqs), rtol=0, atol=0)


def test_rejects_wrong_arguments():
    with pytest.raises(ValueError, match=r"one d in 1\.\.4; got \(2, 3\) and \(5, 2\)"):
        fourier(torch.zeros(2, 3), torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"one d in 1\.\.4; got \(2, 5\) and \(5, 5\)"):
        fourier(torch.zeros(2, 5), torch.zeros(5, 5))
    with pytest.raises(ValueError, match=r"floating point; got torch.int64 and torch.float32"):
        fourier(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(5, 3))
