"""hashgrid: the numba loops against the reference, the reference against closed forms."""

import numba
import pytest
import torch
from support import TOLERANCE

from nerfkit.kernels.hashgrid import HashGridSpec, hashgrid, hashgrid_reference

# one sample, odd, a block of the loops and one more, several blocks, empty
N_SAMPLES = (1, 37, 256, 257, 1000, 0)
# by dimension, so that the float64 tests share what is compiled
N_FEATURES = {2: 8, 3: 2}


def make_spec(n_dims=3, n_features=2, resolutions=(4, 9, 33), log2_table_size=10):
    return HashGridSpec(n_dims, n_features, resolutions, log2_table_size)


def make_inputs(spec, n, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, spec.n_dims, generator=g, dtype=torch.float64)
    table = torch.randn(spec.n_entries, spec.n_features, generator=g, dtype=torch.float64)
    return x.to(dtype).requires_grad_(), table.to(dtype).requires_grad_()


def gradients(out, inputs):
    d_out = torch.linspace(-1, 1, max(1, out.numel()), dtype=out.dtype)[: out.numel()].view_as(out)
    return torch.autograd.grad(out, inputs, d_out)


@pytest.fixture
def poisoned(monkeypatch):
    """Memory that nobody wrote shows up as NaN."""

    def fill(make):
        return lambda *args, **kwargs: make(*args, **kwargs).fill_(torch.nan)

    monkeypatch.setattr(torch, "empty_like", fill(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", fill(torch.Tensor.new_empty))


# every dimension, width and dtype, but not their product: each combination costs seconds of compiling
@pytest.mark.parametrize(
    ("n_dims", "n_features", "dtype"),
    [
        (3, 4, torch.float32),
        (3, 2, torch.float64),
        (2, 1, torch.float32),
        (2, 8, torch.float64),
    ],
)
def test_loops_match_reference(n_dims, n_features, dtype, poisoned):
    spec = make_spec(n_dims, n_features)
    assert set(spec.is_dense) == {True, False}
    for n in N_SAMPLES:
        x, table = make_inputs(spec, n, dtype)
        got, want = hashgrid(x, table, spec, impl="cpu"), hashgrid_reference(x, table, spec)
        rtol, atol = TOLERANCE[dtype]["rtol"], TOLERANCE[dtype]["atol"]
        torch.testing.assert_close(got, want, rtol=rtol, atol=atol)
        (d_x, d_table), (want_x, want_table) = gradients(got, (x, table)), gradients(want, (x, table))
        # slopes are up to 33 times as large, and an entry of the coarse level sums hundreds of samples
        torch.testing.assert_close(d_x, want_x, rtol=rtol, atol=33 * atol)
        torch.testing.assert_close(d_table, want_table, rtol=rtol, atol=40 * atol)


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("impl", ["cpu", "reference"])
def test_gradcheck(n_dims, impl):
    spec = make_spec(n_dims, N_FEATURES[n_dims], (2, 5), log2_table_size=5)
    x, table = make_inputs(spec, 3)
    for resolution in spec.resolutions:
        # a finite difference across a cell's border would see two slopes
        p = x.detach() * (resolution - 1) + 0.5
        assert ((p - p.round()).abs() > 1e-4).all()
    assert torch.autograd.gradcheck(lambda x, table: hashgrid(x, table, spec, impl=impl), (x, table))


@pytest.mark.parametrize("impl", ["cpu", "reference"])
@pytest.mark.parametrize("n_dims", [2, 3])
def test_dense_level_reproduces_a_linear_function(n_dims, impl):
    n_features = N_FEATURES[n_dims]
    spec = HashGridSpec(n_dims, n_features, (7,), log2_table_size=12)
    slope, at_zero = torch.tensor([2.0, -3.0, 0.5][:n_dims], dtype=torch.float64), 0.25
    # vertex v lies at (v - 0.5) / (N - 1); the first axis is the fastest
    axes = [(torch.arange(8, dtype=torch.float64) - 0.5) / 6] * n_dims
    vertices = torch.cartesian_prod(*axes).flip(-1)
    table = (vertices @ slope + at_zero)[:, None].repeat(1, n_features)
    x = torch.rand(100, n_dims, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[0], x[1] = 0, 1
    x.requires_grad_()
    got = hashgrid(x, table, spec, impl=impl)
    want = x.detach() @ slope + at_zero
    torch.testing.assert_close(got, want[:, None].expand(-1, n_features))
    (d_x,) = torch.autograd.grad(got[:, 0].sum(), x)
    torch.testing.assert_close(d_x, slope.expand(100, -1))


@pytest.mark.parametrize("impl", ["cpu", "reference"])
def test_constant_table_gives_the_constant(impl):
    spec = make_spec(3, 2)
    x, table = make_inputs(spec, 100)
    got = hashgrid(x, torch.full_like(table, 1.5), spec, impl=impl)
    torch.testing.assert_close(got, torch.full((100, 6), 1.5, dtype=torch.float64))


@pytest.mark.parametrize("impl", ["cpu", "reference"])
def test_hash_of_a_known_vertex(impl):
    spec = HashGridSpec(3, 2, (101,), log2_table_size=8)
    table = torch.arange(256, dtype=torch.float64)[:, None].repeat(1, 2)
    # p = 100 x + 0.5 is the vertex (3, 20, 71) itself
    x = (torch.tensor([[3, 20, 71]], dtype=torch.float64) - 0.5) / 100
    want = (3 ^ (20 * 2654435761) ^ (71 * 805459861)) % 256
    torch.testing.assert_close(hashgrid(x, table, spec, impl=impl)[0, 1].item(), float(want), rtol=0, atol=1e-8)


@pytest.mark.parametrize("impl", ["cpu", "reference"])
def test_outside_is_the_border_and_flat(impl):
    spec = make_spec(3, 2)
    _, table = make_inputs(spec, 1)
    x = torch.tensor([[-3.0, 0.3, 0.2], [0.4, 9.0, 0.1]], dtype=torch.float64, requires_grad=True)
    got = hashgrid(x, table, spec, impl=impl)
    torch.testing.assert_close(got, hashgrid(x.clamp(0, 1), table, spec, impl="reference"))
    (d_x,) = torch.autograd.grad(got.square().sum(), x)
    assert d_x[0, 0] == 0 and d_x[1, 1] == 0 and d_x[0, 1] != 0


@pytest.mark.parametrize("impl", ["cpu", "reference"])
def test_nan_stays_nan_and_in_bounds(impl):
    spec = make_spec(3, 4)
    x, table = make_inputs(spec, 3, torch.float32)
    x = x.detach().clone()
    x[1, 2] = torch.nan
    got = hashgrid(x, table, spec, impl=impl)
    assert got[1].isnan().all() and got[0].isfinite().all() and got[2].isfinite().all()


def test_accepts_what_is_not_contiguous():
    spec = make_spec(3, 2)
    x, table = make_inputs(spec, 64)
    x_strided = x.detach().t().contiguous().t().requires_grad_()
    table_strided = table.detach().t().contiguous().t().requires_grad_()
    got, want = hashgrid(x_strided, table_strided, spec, impl="cpu"), hashgrid_reference(x, table, spec)
    torch.testing.assert_close(got, want)
    # a gradient that is expanded, hence without strides
    for g, w in zip(
        torch.autograd.grad(got.sum(), (x_strided, table_strided)),
        torch.autograd.grad(want.sum(), (x, table)),
        strict=True,
    ):
        torch.testing.assert_close(g, w)


def test_gradients_are_the_same_bits_whatever_the_threads():
    spec = make_spec(3, 4, (4, 9, 17, 33))
    x, table = make_inputs(spec, 5000, torch.float32)
    threads = numba.get_num_threads()
    runs = []
    try:
        for n in (1, threads, threads):
            numba.set_num_threads(n)
            runs.append(gradients(hashgrid(x, table, spec, impl="cpu"), (x, table)))
    finally:
        numba.set_num_threads(threads)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


def test_only_the_gradients_asked_for():
    spec = make_spec()
    x, table = make_inputs(spec, 10)
    (d_table,) = torch.autograd.grad(hashgrid(x.detach(), table, spec, impl="cpu").sum(), table)
    (d_x,) = torch.autograd.grad(hashgrid(x, table.detach(), spec, impl="cpu").sum(), x)
    assert d_table.shape == table.shape and d_x.shape == x.shape


def test_second_derivatives_are_refused_not_wrong():
    spec = make_spec()
    x, table = make_inputs(spec, 10)
    (d_x,) = torch.autograd.grad(hashgrid(x, table, spec, impl="cpu").sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="has no second derivatives; impl='reference' has them"):
        d_x.sum().backward()


def test_spec_lays_levels_one_after_the_other():
    spec = HashGridSpec.geometric(4, 16, 128, log2_table_size=14, n_features=2)
    assert spec.resolutions == (16, 32, 64, 128)
    assert spec.sizes == (17**3, 2**14, 2**14, 2**14)
    assert spec.offsets == (0, 4913, 4913 + 16384, 4913 + 2 * 16384)
    assert spec.n_entries == 4913 + 3 * 16384 and spec.n_levels == 4
    assert HashGridSpec.geometric(1, 16, 128, 14, 2).resolutions == (16,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_dims": 4}, "n_dims must be 2 or 3; got 4"),
        ({"n_features": 0}, "n_features must be at least 1; got 0"),
        ({"resolutions": ()}, "resolutions must be one or more integers"),
        ({"resolutions": (1, 8)}, r"from 2 to 2\*\*24; got \(1, 8\)"),
        ({"log2_table_size": 31}, "between 1 and 30; got 31"),
    ],
)
def test_spec_rejects(change, message):
    with pytest.raises(ValueError, match=message):
        make_spec(**change)


def test_geometric_rejects():
    with pytest.raises(ValueError, match="base_resolution <= max_resolution; got 4, 64, 32"):
        HashGridSpec.geometric(4, 64, 32, 14, 2)


def test_rejects_wrong_inputs():
    spec = make_spec()
    x, table = make_inputs(spec, 4)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 3\); got \(4, 2\)"):
        hashgrid(x[:, :2], table, spec)
    with pytest.raises(ValueError, match=r"table must have the spec's shape"):
        hashgrid(x, table[1:], spec)
    with pytest.raises(ValueError, match=r"both be float32 or both float64; got torch.float32"):
        hashgrid(x.float(), table, spec)
    with pytest.raises(ValueError, match="on one device; got cpu and meta"):
        hashgrid(x, table.detach().to("meta"), spec)
