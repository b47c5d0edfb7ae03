"""hashgrid: every implementation against the reference, the reference against closed forms."""

import numba
import pytest
import torch
from support import DEVICE, INTERPRET, TOLERANCE, needs_triton

from nerfkit.kernels.hashgrid import HashGridSpec, hashgrid, hashgrid_reference
from nerfkit.kernels.hashgrid._reference import hash_index

pytestmark = pytest.mark.usefixtures("poisoned_empty")
TRITON = pytest.param("triton", marks=needs_triton)
ALL_IMPLS = ["cpu", "reference", TRITON]
# by dimension, so that the float64 tests share what is compiled
N_FEATURES = {2: 8, 3: 2}


def make_spec(n_dims=3, n_features=2, resolutions=(4, 9, 33), log2_table_size=10):
    return HashGridSpec(n_dims, n_features, resolutions, log2_table_size)


def make_inputs(spec, n, dtype=torch.float64, impl="cpu", seed=0):
    """Positions are multiples of 1/4096: exact in float32 in every level, so that cells do not depend on the dtype."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 4097, (n, spec.n_dims), generator=g) / 4096
    table = torch.randn(spec.n_entries, spec.n_features, generator=g, dtype=torch.float64)
    device = DEVICE if impl == "triton" else "cpu"
    x_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    return x.to(device, x_dtype).requires_grad_(), table.to(device, dtype).requires_grad_()


def gradients(out, inputs):
    d_out = torch.linspace(-1, 1, max(1, out.numel()), dtype=torch.float64)[: out.numel()].view_as(out)
    return torch.autograd.grad(out, inputs, d_out.to(out))


# every dimension, number of features and dtype, but not their product: each combination costs seconds of compiling
CPU_CASES = [
    ("cpu", 3, 4, torch.float32),
    ("cpu", 3, 2, torch.float64),
    ("cpu", 2, 1, torch.float32),
    ("cpu", 2, 8, torch.float64),
    ("cpu", 3, 4, torch.float16),
    ("cpu", 3, 4, torch.bfloat16),
]
TRITON_CASES = [
    pytest.param("triton", n_dims, n_features, dtype, marks=needs_triton)
    for n_dims, n_features, dtype in [
        (3, 4, torch.float32),
        (2, 8, torch.float32),
        (3, 2, torch.float64),
        (2, 1, torch.float64),
        (3, 4, torch.float16),
        (2, 3, torch.float16),
        # the interpreter's bfloat16 arithmetic is silently wrong
        *([] if INTERPRET else [(3, 4, torch.bfloat16)]),
    ]
]


@pytest.mark.parametrize(("impl", "n_dims", "n_features", "dtype"), CPU_CASES + TRITON_CASES)
def test_implementation_matches_float64(impl, n_dims, n_features, dtype):
    """Values and both gradients, against the definition in float64 on the same, already rounded inputs."""
    spec = make_spec(n_dims, n_features)
    assert set(spec.is_dense) == {True, False}
    # one, odd, empty, more than a program's samples; for the loops also a block of theirs and several
    for n in (1, 37, 0, 129) if impl == "triton" else (1, 37, 256, 257, 1000, 0):
        x, table = make_inputs(spec, n, dtype, impl)
        doubles = x.detach().double().requires_grad_(), table.detach().double().requires_grad_()
        got, want = hashgrid(x, table, spec, impl=impl), hashgrid_reference(*doubles, spec)
        assert got.dtype == dtype
        torch.testing.assert_close(got, want.to(dtype), **TOLERANCE[dtype])
        (d_x, d_table), (want_x, want_table) = gradients(got, (x, table)), gradients(want, doubles)
        assert d_x.dtype == x.dtype and d_table.dtype == dtype
        # d_out is rounded to the dtype of the features; slopes are up to 33 times as large, and an entry of the
        # coarse level sums hundreds of samples
        rtol, atol = TOLERANCE[dtype]["rtol"], TOLERANCE[dtype]["atol"]
        torch.testing.assert_close(d_x, want_x.to(d_x), rtol=rtol, atol=33 * atol)
        torch.testing.assert_close(d_table, want_table.to(dtype), rtol=rtol, atol=40 * atol)


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_gradcheck(n_dims, impl):
    spec = make_spec(n_dims, N_FEATURES[n_dims], (2, 5), log2_table_size=5)
    inputs = make_inputs(spec, 3, impl=impl)
    assert_inside_of_cells(inputs[0], spec)
    # random projections of the Jacobian where programs are slow: the table has 120 numbers and more
    fast = impl == "triton"
    assert torch.autograd.gradcheck(lambda x, table: hashgrid(x, table, spec, impl=impl), inputs, fast_mode=fast)


@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_gradgradcheck(n_dims, impl):
    spec = make_spec(n_dims, N_FEATURES[n_dims], (2, 5), log2_table_size=5)
    inputs = make_inputs(spec, 3, impl=impl)
    assert_inside_of_cells(inputs[0], spec)
    assert torch.autograd.gradgradcheck(lambda x, table: hashgrid(x, table, spec, impl=impl), inputs, fast_mode=True)


def assert_inside_of_cells(x, spec):
    for resolution in spec.resolutions:
        # a finite difference across a cell's border would see two slopes
        p = x.detach() * (resolution - 1) + 0.5
        assert ((p - p.round()).abs() > 1e-4).all()


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_length_of_the_gradient_is_supervised(impl):
    """An eikonal loss: the gradient of a function of the gradient, at positions that depend on something else."""
    spec = make_spec(3, 2)
    results = []
    for which in (impl, "reference"):
        x, table = make_inputs(spec, 10, impl=impl)
        shift = torch.full((3,), 0.01, dtype=x.dtype, device=x.device, requires_grad=True)
        moved = x * 0.9 + shift
        value = hashgrid(moved, table, spec, impl=which).sum()
        (slope,) = torch.autograd.grad(value, moved, create_graph=True)
        results.append(torch.autograd.grad((slope.norm(dim=-1) - 1).square().sum(), (x, table, shift)))
    for got, want in zip(*results, strict=True):
        assert want.any()
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("impl", ALL_IMPLS)
@pytest.mark.parametrize("n_dims", [2, 3])
def test_dense_level_reproduces_a_linear_function(n_dims, impl):
    n_features = N_FEATURES[n_dims]
    spec = HashGridSpec(n_dims, n_features, (7,), log2_table_size=12)
    slope, at_zero = torch.tensor([2.0, -3.0, 0.5][:n_dims], dtype=torch.float64), 0.25
    # vertex v lies at (v - 0.5) / (N - 1); the first axis is the fastest
    axes = [(torch.arange(8, dtype=torch.float64) - 0.5) / 6] * n_dims
    vertices = torch.cartesian_prod(*axes).flip(-1)
    device = DEVICE if impl == "triton" else "cpu"
    table = (vertices @ slope + at_zero)[:, None].repeat(1, n_features).to(device)
    x = torch.rand(100, n_dims, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[0], x[1] = 0, 1
    x, slope = x.to(device).requires_grad_(), slope.to(device)
    got = hashgrid(x, table, spec, impl=impl)
    want = x.detach() @ slope + at_zero
    torch.testing.assert_close(got, want[:, None].expand(-1, n_features))
    (d_x,) = torch.autograd.grad(got[:, 0].sum(), x)
    torch.testing.assert_close(d_x, slope.expand(100, -1))


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_constant_table_gives_the_constant(impl):
    spec = make_spec(3, 2)
    x, table = make_inputs(spec, 100, impl=impl)
    got = hashgrid(x, torch.full_like(table, 1.5), spec, impl=impl)
    torch.testing.assert_close(got, torch.full_like(got, 1.5))


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_hash_of_a_known_vertex(impl):
    spec = HashGridSpec(3, 2, (101,), log2_table_size=8)
    device = DEVICE if impl == "triton" else "cpu"
    table = torch.arange(256, dtype=torch.float64, device=device)[:, None].repeat(1, 2)
    # p = 100 x + 0.5 is the vertex (3, 20, 71) itself
    x = (torch.tensor([[3, 20, 71]], dtype=torch.float64, device=device) - 0.5) / 100
    want = (3 ^ (20 * 2654435761) ^ (71 * 805459861)) % 256
    torch.testing.assert_close(hashgrid(x, table, spec, impl=impl)[0, 1].item(), float(want), rtol=0, atol=1e-8)


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_outside_is_the_border_and_flat(impl):
    spec = make_spec(3, 2)
    _, table = make_inputs(spec, 1, impl=impl)
    x = torch.tensor([[-3.0, 0.3, 0.2], [0.4, 9.0, 0.1]], dtype=torch.float64, device=table.device, requires_grad=True)
    got = hashgrid(x, table, spec, impl=impl)
    torch.testing.assert_close(got, hashgrid(x.clamp(0, 1), table, spec, impl="reference"))
    (d_x,) = torch.autograd.grad(got.square().sum(), x)
    assert d_x[0, 0] == 0 and d_x[1, 1] == 0 and d_x[0, 1] != 0


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_nan_stays_nan_and_in_bounds(impl):
    spec = make_spec(3, 4)
    x, table = make_inputs(spec, 3, torch.float32, impl)
    x = x.detach().clone()
    x[1, 2] = torch.nan
    got = hashgrid(x, table, spec, impl=impl)
    assert got[1].isnan().all() and got[0].isfinite().all() and got[2].isfinite().all()


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_accepts_what_is_not_contiguous(impl):
    spec = make_spec(3, 2)
    x, table = make_inputs(spec, 64, impl=impl)
    x_strided = x.detach().t().contiguous().t().requires_grad_()
    table_strided = table.detach().t().contiguous().t().requires_grad_()
    assert not x_strided.is_contiguous() and not table_strided.is_contiguous()
    got, want = hashgrid(x_strided, table_strided, spec, impl=impl), hashgrid_reference(x, table, spec)
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


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
def test_fixed_point_sums_do_not_depend_on_the_order(dtype):
    """Programs come in any order; the bits of an integer sum do not know it."""
    spec = make_spec(3, 2)
    x, table = make_inputs(spec, 140, dtype, "triton")
    x = x.detach()
    out = hashgrid(x, table, spec, deterministic=True, impl="triton")
    d_out = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(out)
    (d_table,) = torch.autograd.grad(out, table, d_out)
    doubles = x.double(), table.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(hashgrid_reference(*doubles, spec), doubles[1], d_out.double())
    torch.testing.assert_close(d_table, want.to(dtype), rtol=TOLERANCE[dtype]["rtol"], atol=TOLERANCE[dtype]["atol"])
    order = torch.randperm(140, generator=torch.Generator().manual_seed(1)).to(x.device)
    again = hashgrid(x[order], table, spec, deterministic=True, impl="triton")
    assert torch.equal(torch.autograd.grad(again, table, d_out[order])[0], d_table)


@needs_triton
@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e30])
def test_fixed_point_follows_the_size_of_each_level(size):
    """A level's gradients may be far smaller or larger than another's, near the ends of float32."""
    spec = make_spec(2, 2)
    x, table = make_inputs(spec, 20, torch.float32, "triton")
    d_out = torch.randn(20, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    d_out[:, 2:4] *= size
    doubles = x.detach().double(), table.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(hashgrid_reference(*doubles, spec), doubles[1], d_out)
    (got,) = torch.autograd.grad(hashgrid(x, table, spec, deterministic=True, impl="triton"), table, d_out.to(x))
    for g, w in zip(got.split(spec.sizes), want.split(spec.sizes), strict=True):
        largest = w.abs().max().item()
        torch.testing.assert_close(g.double() / largest, w / largest, rtol=1e-5, atol=1e-6)


@needs_triton
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.filterwarnings("ignore:invalid value")  # the interpreter's numpy; it is the point
def test_fixed_point_does_not_hide_what_is_not_finite(bad):
    spec = make_spec(3, 2)
    x, table = make_inputs(spec, 5, torch.float32, "triton")
    out = hashgrid(x, table, spec, deterministic=True, impl="triton")
    d_out = torch.ones_like(out)
    d_out[3, 2] = bad  # of the second level
    (d_table,) = torch.autograd.grad(out, table, d_out)
    first, second, third = d_table.split(spec.sizes)
    assert second.isnan().all() and first.isfinite().all() and third.isfinite().all()
    with torch.no_grad():
        x[3, 0] = torch.nan
    out = hashgrid(x, table, spec, deterministic=True, impl="triton")
    assert torch.autograd.grad(out.sum(), table)[0].isnan().any()


@needs_triton
@pytest.mark.parametrize(
    ("asked", "torch_says", "wanted"), [(None, True, 1), (None, False, 0), (True, False, 1), (False, True, 0)]
)
def test_who_decides_on_determinism(asked, torch_says, wanted):
    from nerfkit.kernels._launch import record_launches

    spec = make_spec()
    x, table = make_inputs(spec, 4, torch.float32, "triton")
    before = torch.are_deterministic_algorithms_enabled()
    try:
        torch.use_deterministic_algorithms(torch_says)
        with record_launches() as launches:
            hashgrid(x.detach(), table, spec, deterministic=asked, impl="triton").sum().backward()
    finally:
        torch.use_deterministic_algorithms(before)
    assert (launches[-1].args[0].dtype == torch.int64) == bool(wanted)


@needs_triton
def test_table_of_more_than_2_31_elements():
    """The second level begins at element 2**31; of the first only the pages that are touched come into being."""
    spec = HashGridSpec(3, 8, (1000, 8), log2_table_size=28)
    # a way to fresh memory that the fixture does not poison
    table = torch.empty_strided((spec.n_entries, 8), (8, 1), dtype=torch.float16, device=DEVICE)
    x, _ = make_inputs(make_spec(), 5, torch.float32, "triton")
    corners = torch.cartesian_prod(*[torch.arange(2, device=DEVICE)] * 3)
    vertices = (x * 999 + 0.5).long()[:, None] + corners
    table[hash_index(vertices.view(-1, 3), spec.sizes[0])] = torch.randn(40, 8, device=DEVICE).half()
    table[spec.offsets[1] :] = torch.randn(spec.sizes[1], 8, device=DEVICE).half()
    got = hashgrid(x.detach(), table, spec, impl="triton")
    torch.testing.assert_close(got, hashgrid_reference(x.detach(), table, spec), **TOLERANCE[torch.float16])


@pytest.mark.parametrize("impl", ALL_IMPLS)
def test_only_the_gradients_asked_for(impl):
    spec = make_spec()
    x, table = make_inputs(spec, 10, impl=impl)
    want_x, want_table = torch.autograd.grad(hashgrid(x, table, spec, impl="reference").sum(), (x, table))
    (d_table,) = torch.autograd.grad(hashgrid(x.detach(), table, spec, impl=impl).sum(), table)
    (d_x,) = torch.autograd.grad(hashgrid(x, table.detach(), spec, impl=impl).sum(), x)
    torch.testing.assert_close(d_table, want_table)
    torch.testing.assert_close(d_x, want_x)


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
    with pytest.raises(ValueError, match=r"or bfloat16 with a float32 x; got torch.float32 and torch.float64"):
        hashgrid(x.float(), table, spec)
    with pytest.raises(ValueError, match=r"got torch.float16 and torch.float16"):
        hashgrid(x.half(), table.half(), spec)
    with pytest.raises(ValueError, match="on one device; got cpu and meta"):
        hashgrid(x, table.detach().to("meta"), spec)
