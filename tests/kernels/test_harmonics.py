"""harmonics: against associated Legendre functions, and the properties that define them."""

import math

import numpy as np
import pytest
import torch
from scipy.special import lpmv
from support import DEVICE, INTERPRET, TOLERANCE, needs_triton

from nerfkit.kernels.harmonics import harmonics

pytestmark = pytest.mark.usefixtures("poisoned_empty")
DEGREES = range(5)


def make_dirs(n=17, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    dirs = torch.randn(n, 3, generator=g, dtype=torch.float64)
    return torch.nn.functional.normalize(dirs, dim=-1).to(DEVICE, dtype)


@pytest.mark.parametrize("degree", DEGREES)
def test_matches_associated_legendre_functions(degree):
    dirs = make_dirs()
    x, y, z = dirs.cpu().numpy().T
    phi = np.arctan2(y, x)
    columns = []
    for l in range(degree + 1):
        for m in range(-l, l + 1):
            k = abs(m)
            norm = math.sqrt((2 * l + 1) / (4 * math.pi) * math.factorial(l - k) / math.factorial(l + k))
            wave = math.sqrt(2) * (np.sin(k * phi) if m < 0 else np.cos(k * phi)) if m else 1.0
            columns.append(norm * lpmv(k, l, z) * wave)  # scipy's lpmv has the Condon-Shortley sign
    want = torch.from_numpy(np.stack(columns, axis=-1)).to(DEVICE)
    torch.testing.assert_close(harmonics(dirs, degree), want, rtol=1e-12, atol=1e-13)


def test_orthonormal_on_the_sphere():
    """A quadrature that is exact for products of two polynomials of degree 4."""
    z, z_weights = np.polynomial.legendre.leggauss(5)
    phi = np.arange(10) * (2 * np.pi / 10)
    rho = np.sqrt(1 - z**2)[:, None]
    dirs = np.stack([rho * np.cos(phi), rho * np.sin(phi), np.broadcast_to(z[:, None], (5, 10))], axis=-1)
    weights = torch.from_numpy(np.repeat(z_weights, 10) * (2 * np.pi / 10))
    values = harmonics(torch.from_numpy(dirs.reshape(-1, 3)), 4)
    gram = values.T @ (weights[:, None] * values)
    torch.testing.assert_close(gram, torch.eye(25, dtype=torch.float64), rtol=0, atol=1e-13)


def test_homogeneous_of_their_degree():
    dirs = make_dirs()
    degree_of_column = torch.tensor([l for l in DEGREES for _ in range(2 * l + 1)], device=DEVICE)
    want = 1.5**degree_of_column * harmonics(dirs, 4)
    torch.testing.assert_close(harmonics(1.5 * dirs, 4), want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("degree", DEGREES)
def test_gradcheck(degree):
    dirs = make_dirs(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: harmonics(d, degree), dirs)


def test_half_precision_sums_in_float32():
    dirs = make_dirs(dtype=torch.float16)
    want = harmonics(dirs.double(), 4).half()
    torch.testing.assert_close(harmonics(dirs, 4), want, rtol=1e-3, atol=1e-4)


@needs_triton
@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("n", [1, 33, 0])
def test_the_kernel_is_the_definition(degree, n):
    for dtype in (d for d in TOLERANCE if not (INTERPRET and d == torch.bfloat16)):
        dirs = make_dirs(n, dtype).requires_grad_()
        want = harmonics(dirs, degree, impl="reference")
        got = harmonics(dirs, degree, impl="triton")
        torch.testing.assert_close(got, want, **TOLERANCE[dtype])
        assert got.requires_grad == want.requires_grad == (degree > 0)
        d_out = torch.ones_like(want)
        grads = [torch.autograd.grad(out, dirs, d_out, retain_graph=True)[0] for out in (got, want) if degree]
        assert all(torch.equal(grad, grads[-1]) for grad in grads)


@needs_triton
def test_second_derivatives_of_the_kernel():
    dirs = make_dirs(3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda d: harmonics(d, 3, impl="triton"), dirs, fast_mode=True)


@needs_triton
def test_the_kernel_takes_strided_directions():
    dirs = make_dirs()
    assert torch.equal(harmonics(dirs.T.contiguous().T, 3, impl="triton"), harmonics(dirs, 3, impl="triton"))


def test_empty_and_non_contiguous():
    assert harmonics(torch.zeros(0, 3, device=DEVICE), 4).shape == (0, 25)
    dirs = make_dirs()
    assert torch.equal(harmonics(dirs.T.contiguous().T, 3), harmonics(dirs, 3))


def test_rejects_wrong_arguments():
    with pytest.raises(ValueError, match=r"floating point of shape \(n, 3\); got torch.float32 of shape \(2, 2\)"):
        harmonics(torch.zeros(2, 2), 1)
    with pytest.raises(ValueError, match=r"got torch.int64 of shape \(2, 3\)"):
        harmonics(torch.zeros(2, 3, dtype=torch.int64), 1)
    with pytest.raises(ValueError, match=r"degree must be one of 0\.\.4; got 5"):
        harmonics(torch.zeros(2, 3), 5)
    with pytest.raises(ValueError, match="harmonics has no 'cpu' implementation"):
        harmonics(torch.zeros(2, 3), 1, impl="cpu")
