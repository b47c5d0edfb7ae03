"""mlp: every implementation against the reference, the reference against closed forms and torch's own layers."""

# to a type checker make_inputs may always return no biases, and stubs for compiled code return nothing
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalIterable=false, reportOptionalSubscript=false

import math
import os
import subprocess
import sys
from itertools import pairwise

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
import torch
from support import DEVICE, INTERPRET, TOLERANCE, needs_triton

from nerfkit.kernels._elementwise import FAR, exp, sigmoid, sine_cosine
from nerfkit.kernels.mlp import mlp, mlp_reference

pytestmark = pytest.mark.usefixtures("poisoned_empty")
TRITON = pytest.param("triton", marks=needs_triton)
IMPLS = ["cpu", TRITON]
HAS_AVX2 = bool(llvm.get_host_cpu_features().get("avx2"))
DTYPES = [torch.float32, torch.float64]
ACTIVATIONS = ["relu", "sine", "gaussian"]
# empty, one, less than a tile, less than a block, one block, one more, many blocks
COUNTS = [0, 1, 7, 63, 64, 65, 1000]
# one layer of one unit, odd ones, one that is more than a vector, layers that become wider and narrower
WIDTHS = [(1, 1), (3, 17, 1), (2, 32, 32, 1), (33, 100, 3, 16), (16, 128, 5), (32, 16, 17, 2, 33, 4, 8, 1, 3)]


def make_inputs(widths, n=65, dtype=torch.float32, nets=(), *, biases: str | None = "own", seed=0, impl="cpu"):
    """Samples and parameters of numbers near 1; biases are each net's own, shared by all, only some, or None."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape, spread=1.0):
        numbers = torch.randn(shape, generator=g, dtype=torch.float64) * spread
        return numbers.to(DEVICE if impl == "triton" else "cpu", dtype).requires_grad_()

    x = randn(*nets, n, widths[0])
    pairs = list(pairwise(widths))
    weights = [randn(*nets, a, b, spread=1 / math.sqrt(a)) for a, b in pairs]
    if biases is None:
        return x, weights, None
    lead = () if biases == "shared" else nets
    return x, weights, [None if biases == "some" and l % 2 else randn(*lead, b) for l, (_, b) in enumerate(pairs)]


def flat(x, weights, biases):
    return [x, *weights, *(b for b in biases or [] if b is not None)]


def as_double(x, weights, biases):
    def double(t):
        return None if t is None else t.detach().double().requires_grad_()

    return double(x), [double(w) for w in weights], None if biases is None else [double(b) for b in biases]


def assert_matches_reference(inputs, impl="cpu", **options):
    """Values and every gradient, the error measured against the tensor's largest number."""
    dtype = inputs[0].dtype
    doubles = as_double(*inputs)
    got, want = mlp(*inputs, impl=impl, **options), mlp(*doubles, impl="reference", **options)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32) and got.shape == want.shape
    d_out = torch.randn(want.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(want)
    d_got = torch.autograd.grad(got, flat(*inputs), d_out.to(got.dtype))
    d_want = torch.autograd.grad(want, flat(*doubles), d_out)
    rtol = TOLERANCE[dtype]["rtol"]
    for i, (g, w) in enumerate(zip((got, *d_got), (want, *d_want), strict=True)):
        assert g.shape == w.shape and g.dtype == (got.dtype if i == 0 else dtype)
        if w.numel():
            error = float((g - w).detach().abs().max())
            # a sum of many products is held to the size of its terms
            assert error <= rtol * max(1.0, float(w.detach().abs().max())), (i, error)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("nets", [(), (3,)], ids=["one net", "3 nets"])
@pytest.mark.parametrize("biases", [None, "own", "shared", "some"])
@pytest.mark.parametrize("output", ["none", "sigmoid"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_combination_matches_reference(activation, output, biases, nets, dtype):
    inputs = make_inputs((3, 17, 32, 2), 70, dtype, nets, biases=biases)
    assert_matches_reference(inputs, activation=activation, scale=1.5, output=output)


# each option with each other one, not all products of them; bfloat16 only on a GPU, as the interpreter's is wrong
TRITON_CASES = [
    ("relu", "none", None, (), torch.float32),
    ("relu", "sigmoid", "own", (3,), torch.float64),
    ("relu", "sigmoid", "some", (), torch.float16),
    ("sine", "none", "own", (), torch.float32),
    ("sine", "sigmoid", "shared", (3,), torch.float32),
    ("sine", "none", None, (3,), torch.float16),
    ("sine", "sigmoid", "some", (), torch.float64),
    ("gaussian", "none", "shared", (3,), torch.float64),
    ("gaussian", "sigmoid", None, (), torch.float32),
    ("gaussian", "none", "own", (), torch.float16),
    *([] if INTERPRET else [("sine", "sigmoid", "own", (), torch.bfloat16)]),
]


@needs_triton
@pytest.mark.parametrize(("activation", "output", "biases", "nets", "dtype"), TRITON_CASES, ids=str)
def test_kernel_matches_reference(activation, output, biases, nets, dtype):
    inputs = make_inputs((3, 17, 32, 2), 70, dtype, nets, biases=biases, impl="triton")
    assert_matches_reference(inputs, "triton", activation=activation, scale=1.5, output=output)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_widths(widths, activation, dtype):
    assert_matches_reference(make_inputs(widths, 130, dtype), activation=activation, scale=1.2)


@needs_triton
@pytest.mark.parametrize("activation", ["relu", "sine"])
@pytest.mark.parametrize("widths", [(1, 1), (33, 5), (33, 100, 3, 16), (16, 128, 5), (3, 8, 8, 8, 8, 8, 1)], ids=str)
def test_widths_of_the_kernel(widths, activation):
    inputs = make_inputs(widths, 5, torch.float64, impl="triton")
    assert_matches_reference(inputs, "triton", activation=activation, scale=1.2)


# layers of 256 in their middle, at their ends, and odd ones that are padded to it
WIDE_CASES = [
    ((3, 256, 256, 2), "relu", torch.float32, ()),
    ((3, 200, 2), "sine", torch.float64, (2,)),
    ((256, 129, 256), "gaussian", torch.float32, ()),
    ((3, 256, 256, 2), "sine", torch.float16, ()),
    ((2, 131, 255, 1), "gaussian", torch.float16, (2,)),
    ((256, 256), "relu", torch.float16, ()),
]


@needs_triton
@pytest.mark.parametrize(("widths", "activation", "dtype", "nets"), WIDE_CASES, ids=str)
def test_layers_of_256_are_streamed(widths, activation, dtype, nets):
    inputs = make_inputs(widths, 17, dtype, nets, biases="some", impl="triton")
    assert_matches_reference(inputs, "triton", activation=activation, scale=1.2, output="sigmoid")


@needs_triton
@pytest.mark.parametrize("n", [0, 1, 65])
def test_counts_of_samples_of_wide_layers(n):
    assert_matches_reference(make_inputs((5, 256, 3), n, torch.float16, impl="triton"), "triton")


@pytest.mark.parametrize("nets", [(), (2,), (40,), (0,)], ids=str)
@pytest.mark.parametrize("n", COUNTS)
def test_counts_of_samples(n, nets):
    assert_matches_reference(make_inputs((5, 32, 3), n, nets=nets), activation="sine", scale=1.2)


@needs_triton
@pytest.mark.parametrize("nets", [(), (2,), (0,)], ids=str)
@pytest.mark.parametrize("n", [0, 1, 64, 65])
def test_counts_of_samples_of_the_kernel(n, nets):
    assert_matches_reference(make_inputs((5, 16, 3), n, nets=nets, impl="triton"), "triton", activation="relu")


@needs_triton
@pytest.mark.parametrize(("n", "nets", "programs"), [(130, (), 2), (100, (2,), 3), (70, (3,), 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_programs_that_take_several_tiles(n, nets, programs, dtype, monkeypatch):
    monkeypatch.setattr("nerfkit.kernels.mlp._triton.MAX_PROGRAMS", programs)
    assert_matches_reference(make_inputs((5, 16, 3), n, dtype, nets, impl="triton"), "triton", activation="relu")


@pytest.mark.parametrize("impl", IMPLS)
def test_no_samples_have_zero_gradients(impl):
    x, weights, biases = make_inputs((5, 8, 3), 0, impl=impl)
    mlp(x, weights, biases, impl=impl).sum().backward()
    assert all(torch.equal(t.grad, torch.zeros_like(t)) for t in flat(x, weights, biases))


@pytest.mark.parametrize("scale", [30.0, 3000.0])
@pytest.mark.parametrize("impl", IMPLS)
def test_sine_of_large_arguments(impl, scale):
    # numba: beyond 1e4 the polynomial has no digits left; the gradient to z has the factor scale, and so has its error
    inputs = make_inputs((2, 32, 1), 65, torch.float64, impl=impl)
    assert_matches_reference(inputs, impl, activation="sine", scale=scale)
    singles = [t.detach().float().double() for t in (inputs[0] * 0.5, inputs[1][0])]
    z = (singles[0] @ singles[1]).float()
    eye = torch.eye(32, device=z.device)
    got = mlp(z, [eye, eye], activation="sine", scale=scale, impl=impl)
    want = torch.sin((scale * z).double())
    assert (scale * z).abs().max() > (20 if scale == 30 else FAR / 3)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-6)


def test_elementwise_functions():
    @numba.njit(fastmath={"contract"}, error_model="numpy")
    def run(x, sine, cosine, power, share):
        for i in range(x.size):
            sine[i], cosine[i] = sine_cosine(x[i])
            power[i] = exp(-abs(x[i]))
            share[i] = sigmoid(x[i])

    x = np.concatenate([np.linspace(-100, 100, 200_001), np.linspace(-FAR, FAR, 200_001)]).astype(np.float32)
    sine, cosine, power, share = (np.empty_like(x) for _ in range(4))
    run(x, sine, cosine, power, share)
    exact = x.astype(np.float64)
    for got, want in [
        (sine, np.sin(exact)),
        (cosine, np.cos(exact)),
        (share, 1 / (1 + np.exp(-np.clip(exact, -700, 700)))),
    ]:
        assert np.abs(got - want).max() < 2.5e-7
    near = np.abs(x) < 87
    assert (np.abs(power - np.exp(-np.abs(exact)))[near] / np.exp(-np.abs(exact))[near]).max() < 2.5e-7
    assert not power[np.abs(x) > 87].any()
    special = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    sine, cosine, power, share = (np.empty_like(special) for _ in range(4))
    run(special, sine, cosine, power, share)
    np.testing.assert_array_equal(share, np.array([np.nan, 1, 0, 0.5], np.float32))
    np.testing.assert_array_equal(power, np.array([np.nan, 0, 0, 1], np.float32))
    assert np.isnan(sine[:3]).all() and np.isnan(cosine[:3]).all() and cosine[3] == 1


PRODUCTS = """
import numba, numpy as np
from nerfkit.kernels.mlp._microkernel import N_WIDE, ROWS, pointer, product

@numba.njit
def multiply(c, start, a, b, lanes):
    (n, k), width = a.shape, c.shape[1]
    product(
        pointer(c, 0), width, pointer(start, 0), 0, pointer(a, 0), k, 1, pointer(b, 0), width, n, width, k, lanes
    )

rng = np.random.default_rng(0)
for n, width, k in [(1, 16, 1), (23, 48, 5), (64, 32, 33)]:
    a, b, start = rng.normal(size=(n, k)), rng.normal(size=(k, width)), rng.normal(size=width)
    c = np.full((n, width), np.nan)
    multiply(c, start, a, b, 8)
    np.testing.assert_allclose(c, start + a @ b, atol=1e-12)
print(ROWS, N_WIDE)
"""


@pytest.mark.parametrize(
    ("name", "features", "tile"),
    [
        ("generic", "", "4 1"),
        # not skipped where the machine has none: under --no-skips that would be a failure
        *([("haswell", "+avx,+avx2,+fma", "6 1")] if HAS_AVX2 else []),
    ],
)
def test_products_on_machines_with_fewer_registers(name, features, tile, tmp_path):
    target = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PRODUCTS], env=os.environ | target, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, tile), done.stderr


@pytest.mark.parametrize("biases", [None, "own", "shared"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("nets", [(), (2,)], ids=["one net", "2 nets"])
@pytest.mark.parametrize("impl", IMPLS)
def test_gradcheck(impl, nets, activation, biases):
    x, weights, biases = make_inputs((2, 3, 2), 3, torch.float64, nets, biases=biases, impl=impl)
    inputs = flat(x, weights, biases)

    def run(x, *parameters):
        shifts = parameters[2:] or None
        return mlp(x, parameters[:2], shifts, activation=activation, scale=1.3, output="sigmoid", impl=impl)

    # the whole Jacobian, or random projections of it where programs are slow
    assert torch.autograd.gradcheck(run, inputs, fast_mode=bool(nets) or impl == "triton")


@pytest.mark.parametrize("impl", ["cpu", "reference", TRITON])
def test_second_derivatives(impl):
    x, weights, biases = make_inputs((2, 3, 1), 3, torch.float64, impl=impl)

    def run(x, *parameters):
        return mlp(x, parameters[:2], parameters[2:], activation="sine", scale=1.3, impl=impl)

    assert torch.autograd.gradgradcheck(run, flat(x, weights, biases), fast_mode=impl == "triton")


@pytest.mark.parametrize("needed", range(7))
@pytest.mark.parametrize("impl", IMPLS)
def test_only_wanted_gradients_come(impl, needed):
    x, weights, biases = make_inputs((4, 5, 6, 3), 70, impl=impl)
    inputs = flat(x, weights, biases)
    want = torch.autograd.grad(mlp(x, weights, biases, impl="reference").sum(), inputs)
    for i, tensor in enumerate(inputs):
        tensor.requires_grad_(i == needed)
    mlp(x, weights, biases, impl=impl).sum().backward()
    for i, tensor in enumerate(inputs):
        assert (tensor.grad is not None) == (i == needed)
    torch.testing.assert_close(inputs[needed].grad, want[needed])


@pytest.mark.parametrize("nets", [(), (3,)], ids=["one net", "3 nets"])
@pytest.mark.parametrize("impl", IMPLS)
def test_non_contiguous_inputs(impl, nets):
    x, weights, biases = make_inputs((6, 17, 3), 70, nets=nets, impl=impl)
    want = mlp(x, weights, biases, impl=impl)
    d_out = torch.randn(3, dtype=x.dtype).to(x.device).expand_as(want)
    d_want = torch.autograd.grad(want, flat(x, weights, biases), d_out.contiguous())
    strided = [torch.stack([t, t], dim=-1).detach()[..., 0].requires_grad_() for t in flat(x, weights, biases)]
    turned = [t.detach().mT.contiguous().mT.requires_grad_() for t in strided[1:3]]
    assert not any(t.is_contiguous() for t in (*strided, *turned))
    inputs = [strided[0], turned, strided[3:]]
    got = mlp(*inputs, impl=impl)
    assert torch.equal(got, want)
    assert all(map(torch.equal, torch.autograd.grad(got, flat(*inputs), d_out), d_want))


@pytest.mark.parametrize("impl", IMPLS)
def test_same_samples_for_many_nets(impl):
    x, weights, biases = make_inputs((2, 8, 1), 70, nets=(3,), impl=impl)
    shared = x[0].detach()
    got = mlp(shared.expand(3, -1, -1), weights, biases, activation="sine", impl=impl)
    for i in range(3):
        alone = mlp(shared, [w[i] for w in weights], [b[i] for b in biases], activation="sine", impl=impl)
        assert torch.equal(got[i], alone)


@pytest.mark.parametrize("nets", [(), (5,)], ids=["one net", "5 nets"])
def test_same_bits_with_any_number_of_threads(nets):
    inputs = make_inputs((5, 33, 4), 3000, nets=nets)

    def run():
        out = mlp(*inputs, activation="sine", scale=2.0, impl="cpu")
        return [out, *torch.autograd.grad(out.square().sum(), flat(*inputs))]

    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = run()
        numba.set_num_threads(min(2, before))
        two, again = run(), run()
    finally:
        numba.set_num_threads(before)
    assert all(map(torch.equal, one, two))
    assert all(map(torch.equal, two, again))


@needs_triton
def test_kernel_gives_the_same_bits_each_time():
    inputs = make_inputs((5, 16, 4), 200, impl="triton")
    runs = [torch.autograd.grad(mlp(*inputs, impl="triton").square().sum(), flat(*inputs)) for _ in range(2)]
    assert all(map(torch.equal, *runs))


@pytest.mark.parametrize("output", ["none", "sigmoid"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("impl", IMPLS)
def test_nan_goes_through_and_stays_in_its_sample(impl, activation, output):
    x, weights, biases = make_inputs((3, 20, 20, 2), 70, impl=impl)
    with torch.no_grad():
        x[11, 1] = float("nan")
    masks = []
    for which in (impl, "reference"):
        out = mlp(x, weights, biases, activation=activation, output=output, impl=which)
        d_inputs = torch.autograd.grad(out.sum(), flat(x, weights, biases))
        masks.append([torch.isnan(t) for t in (out, *d_inputs)])
    assert masks[0][0][11].all() and masks[0][0].sum() == 2
    assert masks[0][2].any()
    assert all(map(torch.equal, *masks))


@pytest.mark.parametrize("impl", ["cpu", "reference", TRITON])
def test_relu_is_flat_at_zero(impl):
    x = torch.zeros(1, 1, requires_grad=True, device=DEVICE if impl == "triton" else "cpu")
    (d_x,) = torch.autograd.grad(mlp(x, [torch.ones_like(x), torch.ones_like(x)], impl=impl), x)
    assert d_x.item() == 0


@pytest.mark.parametrize("impl", IMPLS)
def test_dtypes_are_promoted_and_gradients_keep_theirs(impl):
    x, weights, biases = make_inputs((3, 8, 2), 9, impl=impl)
    half = x.detach().half().requires_grad_()
    out = mlp(half, weights, biases, impl=impl)
    # products of half-precision numbers with others are float32's
    torch.testing.assert_close(out, mlp(half.float(), weights, biases, impl="reference"))
    assert torch.autograd.grad(out.sum(), half)[0].dtype == torch.float16
    assert mlp(x, [w.double() for w in weights], impl=impl).dtype == torch.float64


@needs_triton
def test_wide_networks_are_not_the_kernels(monkeypatch):
    inputs = make_inputs((3, 257, 2), 9, impl="triton")
    with pytest.raises(ValueError, match="mlp wider than 256 has no 'triton' implementation; it has reference, cpu"):
        mlp(*inputs, impl="triton")
    # asked for by the environment, which speaks of all operations, it does what it can
    monkeypatch.setenv("NERFKIT_KERNELS", "triton")
    assert "Triton" not in type(mlp(*inputs).grad_fn).__name__
    assert "Triton" in type(mlp(*make_inputs((3, 256, 2), 9, impl="triton")).grad_fn).__name__


def test_reference_is_torchs_linear_layers():
    x, weights, biases = make_inputs((3, 8, 2), 9, torch.float64)
    layers = [torch.nn.Linear(3, 8).double(), torch.nn.Linear(8, 2).double()]
    for layer, weight, bias in zip(layers, weights, biases, strict=True):
        layer.load_state_dict({"weight": weight.detach().mT, "bias": bias.detach()})
    h = layers[0](x)
    for activation, value in [("relu", h.clamp(min=0)), ("sine", (2 * h).sin()), ("gaussian", (-4 * h * h).exp())]:
        got = mlp_reference(x, weights, biases, activation, 2.0, "sigmoid")
        torch.testing.assert_close(got, 1 / (1 + (-layers[1](value)).exp()))


def test_a_device_without_numbers_knows_the_shape():
    weights = [torch.empty(3, 8, device="meta"), torch.empty(8, 2, device="meta")]
    assert mlp(torch.empty(9, 3, device="meta"), weights).shape == (9, 2)


def test_without_gradients_nothing_is_kept():
    x, weights, biases = make_inputs((3, 8, 2), 9)
    with torch.no_grad():
        assert mlp(x, weights, biases, impl="cpu").grad_fn is None


def zeros(*shape, **options):
    return torch.zeros(shape, **options)


@pytest.mark.parametrize(
    ("x", "weights", "biases", "options", "message"),
    [
        (zeros(3), [zeros(3, 1)], None, {}, r"x must have shape .*; got \(3,\)"),
        (zeros(2, 3), [], None, {}, "weights must hold one matrix a layer; got none"),
        (zeros(2, 3), [zeros(4, 1)], None, {}, r"weights\[0\] must have shape \(3, d_next\).*got \(4, 1\)"),
        (zeros(2, 3), [zeros(3, 5), zeros(6, 1)], None, {}, r"weights\[1\] must have shape \(5, d_next\)"),
        (zeros(2, 3), [zeros(3, 0)], None, {}, r"sizes of at least 1.*got \(3, 0\)"),
        (zeros(4, 2, 3), [zeros(3, 1)], None, {}, r"weights\[0\] must have shape \(4, 3, d_next\)"),
        (zeros(2, 3), [zeros(3, 1)], [], {}, "biases must hold one entry a layer, 1, .*got 0"),
        (zeros(2, 3), [zeros(3, 1)], [zeros(2)], {}, r"biases\[0\] must have shape \(1,\); got \(2,\)"),
        (zeros(4, 2, 3), [zeros(4, 3, 1)], [zeros(2)], {}, r"must have shape \(1,\) or \(4, 1\); got \(2,\)"),
        (zeros(2, 3, dtype=torch.int64), [zeros(3, 1)], None, {}, "x must be floating point; got torch.int64"),
        (zeros(2, 3), [zeros(3, 1, device="meta")], None, {}, r"weights\[0\] is on meta, x on cpu"),
        (zeros(2, 3), [zeros(3, 1)], None, {"activation": "tanh"}, "activation must be one of relu.*'tanh'"),
        (zeros(2, 3), [zeros(3, 1)], None, {"output": "exp"}, "output must be one of none, sigmoid; got 'exp'"),
        (zeros(2, 3), [zeros(3, 1)], None, {"scale": 0.0}, "scale must be finite and positive; got 0.0"),
        (zeros(2, 3), [zeros(3, 1)], None, {"scale": math.nan}, "scale must be finite and positive; got nan"),
        (zeros(2, 3), [zeros(3, 1)], None, {"impl": "gpu"}, "must be one of auto, reference, triton, cpu; got 'gpu'"),
    ],
)
def test_error_messages(x, weights, biases, options, message):
    with pytest.raises(ValueError, match=message):
        mlp(x, weights, biases, **options)
