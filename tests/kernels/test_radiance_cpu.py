"""The fused loops for CPUs against the reference in float64: values, every gradient, what they leave to others."""

import itertools

import pytest
import torch

from nerfkit.kernels.hashgrid import HashGridSpec
from nerfkit.kernels.march import pack_bits
from nerfkit.kernels.radiance import (
    MarchSampling,
    RadianceParams,
    RadianceSpec,
    RegularSampling,
    can_loop,
    radiance,
)

GRID = HashGridSpec(3, 2, (4, 8, 16), 8)
# relative to the largest value or gradient of each tensor: float32 rounds some thousand sums of up to 60 samples
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


class Case:
    """A random field, random rays and a half-full occupancy grid."""

    def __init__(
        self, encoding="hash", n_rays=50, has_bias=False, sees_density=True, n_trunk=1, seed=0, contract=False
    ):
        self.generator = torch.Generator().manual_seed(seed)
        self.spec = RadianceSpec(GRID if encoding == "hash" else None, 2, color_sees_density=sees_density)
        n_in, width, n_out = (6 if encoding == "hash" else 13), 20, 7
        self.encoding = self.normal(GRID.n_entries, 2) if encoding == "hash" else self.normal(5, 3)
        sizes = [n_in, *[width] * n_trunk, n_out]
        self.trunk = [self.normal(a, b) / a**0.5 for a, b in itertools.pairwise(sizes)]
        sizes = [n_out - (not sees_density) + 9, width, width, 3]
        self.color = [self.normal(a, b) / a**0.5 for a, b in itertools.pairwise(sizes)]
        self.biases = (
            [[0.3 * self.normal(w.shape[1]) for w in net] for net in (self.trunk, self.color)] if has_bias else None
        )
        self.rays_o = 0.2 * self.normal(n_rays, 3) - torch.tensor([0, 0, 2.5])
        self.rays_d = torch.nn.functional.normalize(0.3 * self.normal(n_rays, 3) + torch.tensor([0.0, 0, 1]), dim=-1)
        self.near = self.uniform(n_rays) + 0.5
        self.far = self.near + 3 * self.uniform(n_rays)
        self.occupancy = pack_bits(self.uniform(8, 8, 8) < 0.5)
        self.jitter, self.bkgd_rgb = self.uniform(n_rays), self.uniform(n_rays, 3)
        self.contract = contract

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.generator, dtype=torch.float64)

    def sampling(self, min_transmittance):
        return MarchSampling(8, 0.07, 0.02 if self.contract else 0.0, self.contract, 64, min_transmittance)

    def leaves(self, dtype):
        """Everything that has a gradient, encoding and background first."""
        biases = [] if self.biases is None else [*self.biases[0], *self.biases[1]]
        tensors = [self.encoding, self.bkgd_rgb, *self.trunk, *self.color, *biases]
        return [
            x.to(dtype, copy=True).requires_grad_(i > 0 or self.spec.grid is not None) for i, x in enumerate(tensors)
        ]

    def run(self, leaves, impl, *, min_weight=0.0, min_transmittance=0.0, jitter=True, distortion=False):
        dtype = leaves[0].dtype
        encoding, bkgd_rgb, *rest = leaves
        n, m = len(self.trunk), len(self.color)
        trunk, color, biases = rest[:n], rest[n : n + m], rest[n + m :]
        halves = (biases[:n], biases[n:]) if biases else (None, None)
        params = RadianceParams(encoding, trunk, color, torch.tensor(1.5, dtype=dtype), *halves)
        rays_o, rays_d, near, far = (x.to(dtype) for x in (self.rays_o, self.rays_d, self.near, self.far))
        return radiance(
            rays_o, rays_d, near, far, params, self.spec, self.sampling(min_transmittance), bkgd_rgb,
            occupancy=self.occupancy, jitter=self.jitter.to(dtype) if jitter else None,
            min_weight=min_weight, has_distortion=distortion, impl=impl,
        )  # fmt: skip


def loss_of(out):
    tint = torch.linspace(0.2, 1, 3, dtype=out.rgb.dtype)
    loss = (out.rgb * tint).square().sum() + 0.3 * out.depths.square().sum() + 0.2 * out.opacities.sin().sum()
    return loss if out.distortions is None else loss + 3 * out.distortions.square().sum()


def compare(case, dtype, **options):
    wanted_leaves, leaves = case.leaves(torch.float64), case.leaves(dtype)
    wanted, out = case.run(wanted_leaves, "reference", **options), case.run(leaves, "cpu", **options)
    assert torch.equal(wanted.counts, out.counts)
    n_values = 3 if wanted.distortions is None else 4
    pairs = list(zip(wanted[:n_values], out[:n_values], strict=True))
    with_gradient = [x for x in wanted_leaves if x.requires_grad]
    wanted_grads = torch.autograd.grad(loss_of(wanted), with_gradient)
    grads = torch.autograd.grad(loss_of(out), [x for x in leaves if x.requires_grad])
    for expected, got in [*pairs, *zip(wanted_grads, grads, strict=True)]:
        assert got.dtype == dtype
        error = (expected - got.double()).abs().max() / expected.abs().max().clamp(min=1e-9)
        assert error < TOLERANCE[dtype]
    return out


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("n_rays", [1, 31, 333])
def test_hash_values_and_gradients_are_the_references(dtype, n_rays, poisoned_empty):
    assert compare(Case(n_rays=n_rays), dtype).rgb.isfinite().all()


@pytest.mark.parametrize("options", [{"min_weight": 1e-3}, {"min_transmittance": 0.05}, {"jitter": False}], ids=str)
def test_samples_without_weight_and_behind_the_end_are_left_out(options):
    case = Case(n_rays=200, seed=1)
    out = compare(case, torch.float32, **options)
    assert ("jitter" in options) == bool(
        torch.equal(out.counts, case.run(case.leaves(torch.float32), "cpu", jitter=False).counts)
    )


def test_more_rays_than_take_their_rounds_together():
    compare(Case(n_rays=2500, seed=12), torch.float64, min_weight=1e-3, min_transmittance=0.05, distortion=True)


@pytest.mark.parametrize("has_bias, sees_density, n_trunk", [(True, False, 2), (False, False, 1), (True, True, 3)])
def test_networks_of_any_form(has_bias, sees_density, n_trunk):
    compare(Case(has_bias=has_bias, sees_density=sees_density, n_trunk=n_trunk, seed=2), torch.float32)


def test_contracted_space():
    compare(Case(n_rays=40, seed=3, contract=True), torch.float32)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("n_rays", [1, 31, 333])
@pytest.mark.parametrize("contract", [False, True])
def test_distortions(dtype, n_rays, contract, poisoned_empty):
    out = compare(Case(n_rays=n_rays, seed=11, contract=contract), dtype, distortion=True)
    assert out.distortions is not None and out.distortions.shape == (n_rays, 1) and out.distortions.max() > 0


def test_distortions_of_what_is_kept():
    case = Case(n_rays=200, seed=1)
    compare(case, torch.float64, min_weight=1e-3, distortion=True)
    with torch.no_grad():
        kept = case.run(case.leaves(torch.float64), "cpu", min_weight=1e-3, distortion=True)
        wanted = case.run(case.leaves(torch.float64), "reference", min_weight=1e-3, distortion=True)
    torch.testing.assert_close(kept.distortions, wanted.distortions, rtol=1e-12, atol=1e-12)
    case.far = case.near - 1
    missed = compare(case, torch.float64, distortion=True).distortions
    assert missed is not None and not missed.any()


def test_fourier_features():
    compare(Case("fourier", n_rays=100, has_bias=True, sees_density=False, n_trunk=2, seed=4), torch.float32)


def test_gradients_agree_with_finite_differences():
    case = Case(n_rays=3, seed=5)
    leaves = list(case.leaves(torch.float64))

    def outputs(bkgd_rgb, *weights):
        out = case.run([leaves[0], bkgd_rgb, *weights], "cpu", distortion=True)
        assert out.distortions is not None
        return out.rgb, out.depths, out.opacities, out.distortions

    assert torch.autograd.gradcheck(outputs, leaves[1:])
    inputs = (leaves[0].detach().requires_grad_(),)
    assert torch.autograd.gradcheck(lambda table: case.run([table, *leaves[1:]], "cpu")[:3], inputs, fast_mode=True)


def test_second_derivatives_are_the_references():
    case = Case(n_rays=5, seed=6)
    found = []
    for impl in ("reference", "cpu"):
        leaves = case.leaves(torch.float64)
        out = case.run(leaves, impl, distortion=True)
        assert out.distortions is not None
        (slope,) = torch.autograd.grad(out.rgb.sum() + out.distortions.sum(), leaves[2], create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), leaves[3])[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


def test_the_same_bits_with_any_number_of_threads():
    import numba

    case, found = Case(n_rays=333, seed=7), []
    before = numba.get_num_threads()
    try:
        for n_threads in (1, before):
            numba.set_num_threads(n_threads)
            leaves = case.leaves(torch.float32)
            out = case.run(leaves, "cpu")
            found.append([*out[:3], *torch.autograd.grad(loss_of(out), leaves)])
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_rays_that_miss_see_the_background():
    case = Case(n_rays=6)
    case.far = case.near - 1
    out = compare(case, torch.float32)
    torch.testing.assert_close(out.rgb, case.bkgd_rgb.float())
    assert not out.counts.any() and not out.opacities.any()


def test_a_broken_network_is_seen():
    case = Case(n_rays=20)
    leaves = case.leaves(torch.float32)
    with torch.no_grad():
        leaves[2][0, 0] = torch.nan
    assert case.run(leaves, "cpu", min_weight=1e-3).rgb.isnan().any()


def test_no_rays():
    out = Case(n_rays=0).run(Case(n_rays=0).leaves(torch.float32), "cpu")
    assert [x.shape for x in out[:3]] == [(0, 3), (0, 1), (0, 1)]


def test_what_the_loops_leave_to_the_separate_operations():
    case = Case(n_rays=4)
    leaves = case.leaves(torch.float32)
    params = RadianceParams(leaves[0], leaves[2:4], leaves[4:7], torch.tensor(1.5))
    rays = case.rays_o.float(), case.rays_d.float()
    march = case.sampling(0.0)
    assert can_loop(*rays, params, case.spec, march)
    assert not can_loop(*rays, params, case.spec, RegularSampling(8))
    assert not can_loop(rays[0].requires_grad_(), rays[1], params, case.spec, march)
    # they still give gradients to the rays, by the other way
    out = radiance(
        *rays, case.near.float(), case.far.float(), params, case.spec, march, occupancy=case.occupancy, impl="cpu"
    )
    assert torch.autograd.grad(out.rgb.sum(), rays[0])[0].shape == (4, 3)


@pytest.mark.parametrize("encoding, contract", [("hash", False), ("hash", True), ("fourier", False)])
@pytest.mark.parametrize("options", [{}, {"min_weight": 1e-3}, {"min_transmittance": 0.05}, {"jitter": False}], ids=str)
def test_pixels_without_gradients(encoding, contract, options, poisoned_empty):
    case = Case(encoding, n_rays=300, seed=8, contract=contract)
    with torch.no_grad():
        wanted = case.run(case.leaves(torch.float64), "reference", **options)
        got = case.run(case.leaves(torch.float32), "cpu", **options)
    assert (wanted.counts - got.counts).abs().sum() <= 1  # a weight may round to the other side of the bound
    for expected, value in zip(wanted[:3], got[:3], strict=True):
        torch.testing.assert_close(value.double(), expected, rtol=2e-5, atol=2e-5)


def test_pixels_without_gradients_of_rays_that_miss_or_are_broken():
    case = Case(n_rays=5)
    case.far = case.near - 1
    leaves = [x.detach() for x in case.leaves(torch.float32)]
    out = case.run(leaves, "cpu")
    torch.testing.assert_close(out.rgb, case.bkgd_rgb.float())
    broken = Case(n_rays=20)
    leaves[2][0, 0] = torch.nan
    assert broken.run([leaves[0], broken.bkgd_rgb.float(), *leaves[2:]], "cpu", min_weight=1e-3).rgb.isnan().any()
