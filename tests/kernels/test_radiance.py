"""radiance: the fused kernels against the definition, the definition against closed forms and slow loops."""

# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalSubscript=false
# pyright: reportOptionalMemberAccess=false
# (arguments are handed on by the tuple, and what is optional in the contract is there)
import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from support import DEVICE, needs_gpu, needs_triton

from nerfkit.kernels import radiance as op
from nerfkit.kernels.hashgrid import HashGridSpec
from nerfkit.kernels.march import pack_bits
from nerfkit.kernels.radiance import (
    MarchSampling,
    RadianceParams,
    RadianceSpec,
    RegularSampling,
    best_precision,
    can_fuse,
    radiance,
)
from nerfkit.kernels.radiance._layout import element_size, layout_of, shared_bytes
from nerfkit.kernels.radiance._specs import PRECISIONS

pytestmark = pytest.mark.usefixtures("poisoned_empty")
IMPLS = ["reference", pytest.param("triton", marks=needs_triton)]
# largest error over largest value: what sums of some hundred terms keep of the dtype
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}
# of a pass in float16 against float64 that rounds the same activations: gradients are rounded by the kernel alone
HALF_TOLERANCE = 2e-3
REGULAR, MARCH = RegularSampling(20), MarchSampling(8, 0.06)
CURVED = MarchSampling(8, 0.05, cone_angle=0.1, contract=True, max_samples=20, min_transmittance=0.3)


def make_field(kind="hash", *, width=16, n_layers=2, n_color=2, degree=1, skip=None, levels=4, F=2, n_geometry=15,
               bias=None, apart=None, m=5, dtype=torch.float64):  # fmt: skip
    """Parameters like those of the fields, large enough that every layer matters."""
    g = torch.Generator().manual_seed(0)

    def draw(*shape, scale=1.0):
        return (torch.randn(*shape, generator=g, dtype=torch.float64) * scale).to(DEVICE, dtype)

    is_hash = kind == "hash"
    apart = not is_hash if apart is None else apart
    bias = not is_hash if bias is None else bias
    grid = HashGridSpec.geometric(levels, 4, 32, 9, F) if is_hash else None
    encoding = draw(grid.n_entries, F, scale=0.5) if grid else draw(m, 3)
    n_encoding = levels * F if is_hash else 3 + 2 * m
    trunk = [n_encoding, *[width] * n_layers, 1 + n_geometry]
    color = [n_geometry + (not apart) + (degree + 1) ** 2, *[width] * n_color, 3]
    trunk_weights = [
        draw(a + (n_encoding if l == skip else 0), b, scale=(2 / a) ** 0.5) for l, (a, b) in enumerate(pairwise(trunk))
    ]
    color_weights = [draw(a, b, scale=(2 / a) ** 0.5) for a, b in pairwise(color)]
    biases = [[draw(w.shape[1], scale=0.3) for w in ws] if bias else None for ws in (trunk_weights, color_weights)]
    offset = torch.tensor(0.3, device=DEVICE, dtype=dtype)
    params = RadianceParams(encoding, trunk_weights, color_weights, offset, *biases)
    for tensor in (*params.weights(), *([encoding] if is_hash else [])):
        tensor.requires_grad_()
    return params, RadianceSpec(grid, degree, not apart, skip)


def make_rays(n, dtype=torch.float64):
    """Rays through the cube from outside; the last of several misses."""
    g = torch.Generator().manual_seed(1)
    rays_o = torch.nn.functional.normalize(torch.randn(n, 3, generator=g, dtype=torch.float64), dim=-1) * 1.2
    rays_d = torch.randn(n, 3, generator=g, dtype=torch.float64) * 0.3 - rays_o
    near, far = torch.full((n,), 0.3, dtype=torch.float64), torch.full((n,), 2.2, dtype=torch.float64)
    if n > 1:
        far[-1] = 0.0
    bkgd_rgb = torch.rand(n, 3, generator=g, dtype=torch.float64)
    rays_d = torch.nn.functional.normalize(rays_d, dim=-1)
    rays_o, rays_d, near, far, bkgd_rgb = (x.to(DEVICE, dtype) for x in (rays_o, rays_d, near, far, bkgd_rgb))
    return rays_o.requires_grad_(), rays_d.requires_grad_(), near, far, bkgd_rgb.requires_grad_()


def extras(sampling, n, dtype, *, jitter=False):
    if isinstance(sampling, RegularSampling):
        return {"seed": 7} if jitter else {}
    g = torch.Generator().manual_seed(2)
    cells = torch.rand((sampling.resolution,) * 3, generator=g) < 0.4
    shift = torch.rand(n, generator=g, dtype=torch.float64).to(DEVICE, dtype) if jitter else None
    return {"occupancy": pack_bits(cells).to(DEVICE), "jitter": shift}


def evaluate(impl, field, n=5, sampling=REGULAR, dtype=torch.float64, *, jitter=False, distortion=True, **options):
    """Outputs, gradients of a random combination of them, and counts."""
    params, spec = make_field(**field, dtype=dtype)
    rays_o, rays_d, near, far, bkgd_rgb = make_rays(n, dtype)
    options = {"precision": "float32", **options}
    out = radiance(
        rays_o, rays_d, near, far, params, spec, sampling, bkgd_rgb,
        has_distortion=distortion, impl=impl, **extras(sampling, n, dtype, jitter=jitter), **options,
    )  # fmt: skip
    outputs = [x for x in out[:4] if x is not None]
    inputs = [x for x in (rays_o, rays_d, bkgd_rgb, params.encoding, *params.weights()) if x.requires_grad]
    g = torch.Generator().manual_seed(3)
    d_outputs = [torch.randn(x.shape, generator=g, dtype=torch.float64).to(x) for x in outputs]
    grads = torch.autograd.grad(outputs, inputs, d_outputs, materialize_grads=True)
    return outputs, grads, out.counts


def assert_close(got, want, tolerance):
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        assert g.shape == w.shape
        if w.numel():
            error = (g.double() - w.double()).abs().max().item()
            assert error <= tolerance * w.double().abs().max().item() + 1e-30, (
                f"tensor {i} of {tuple(w.shape)}: {error}"
            )


def check(dtype, field, tolerance=None, *, reference_options=None, **call):
    got, got_grads, counts = evaluate("triton", field, dtype=dtype, **call)
    known = {k: v for k, v in call.items() if k not in ("precision", "backward")}
    want, want_grads, want_counts = evaluate("reference", field, **known)
    assert torch.equal(counts, want_counts)
    assert_close(got, want, tolerance or TOLERANCE[dtype])
    assert_close(got_grads, want_grads, tolerance or TOLERANCE[dtype])


HASH, FOURIER = {"kind": "hash", "n_layers": 1}, {"kind": "fourier", "n_geometry": 16, "n_layers": 3}


# rays and samples: one, odd with a partial block and chunk, powers of two, long, none
@needs_triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("n", "n_samples"), [(1, 1), (5, 19), (4, 16), (2, 70), (0, 8)])
def test_kernels_match_float64(n, n_samples, dtype):
    """Values and all gradients, those of the rays among them, of the definition in float64."""
    check(dtype, HASH, n=n, sampling=RegularSampling(n_samples))


@needs_triton
@pytest.mark.parametrize("field", [HASH, FOURIER], ids=["hash", "fourier"])
@pytest.mark.parametrize(
    ("sampling", "jitter"),
    [
        (REGULAR, True),
        (RegularSampling(20, contract=True), True),
        (RegularSampling(40, min_transmittance=0.2), False),
        (MARCH, False),
        (MARCH, True),
        (CURVED, True),
        (MarchSampling(8, 0.02, min_transmittance=0.2, max_samples=40), False),
    ],
    ids=["jitter", "contract", "ends", "march", "march-jitter", "march-contract", "march-ends"],
)
def test_samplings(field, sampling, jitter):
    check(torch.float32, field, sampling=sampling, jitter=jitter)


@needs_triton
def test_a_lattice_in_float64_is_not_rounded_to_float32():
    check(torch.float64, HASH, sampling=MARCH)


@needs_triton
@pytest.mark.parametrize(
    "field",
    [
        {"n_layers": 1, "levels": 3, "F": 1, "degree": 0, "n_geometry": 7},
        {"n_layers": 1, "levels": 2, "F": 8, "degree": 4, "width": 24, "n_color": 1},
        {"n_layers": 2, "levels": 5, "F": 4, "bias": True, "apart": True, "n_color": 3},
        {"kind": "fourier", "n_layers": 1, "n_color": 1, "n_geometry": 16, "m": 1},
        {"kind": "fourier", "n_layers": 8, "skip": 4, "n_geometry": 16, "m": 17},
        {"kind": "fourier", "n_layers": 2, "skip": 1, "n_geometry": 20, "apart": False, "bias": False},
    ],
    ids=lambda field: "-".join(f"{k}{v}" for k, v in field.items()),
)
def test_networks(field):
    check(torch.float32, field, n=3, sampling=RegularSampling(6))


@needs_triton
@pytest.mark.parametrize("backward", ["split", "deterministic"])
@pytest.mark.parametrize("sampling", [REGULAR, CURVED], ids=["regular", "march"])
def test_other_backwards(sampling, backward, monkeypatch):
    from nerfkit.kernels.radiance import _triton

    # windows of one group each: a launch for as many as there could be
    monkeypatch.setattr(_triton, "MAX_FEATURE_BYTES", 1)
    check(torch.float32, HASH, sampling=sampling, backward=backward)


@needs_triton
@pytest.mark.parametrize("asked", ["argument", "torch"])
def test_the_same_bits_where_asked(asked, monkeypatch):
    """The table's gradient is then summed in integers, whichever switch it was."""
    from nerfkit.kernels.radiance import _triton

    seen, scales_of = [], _triton.fixed_point_scales

    def spy(largest, n):
        seen.append(n)
        return scales_of(largest, n)

    monkeypatch.setattr(_triton, "fixed_point_scales", spy)
    torch.use_deterministic_algorithms(asked == "torch")
    try:
        options = {"backward": "deterministic"} if asked == "argument" else {}
        runs = [
            evaluate("triton", HASH, n=2, sampling=RegularSampling(4), dtype=torch.float32, **options) for _ in range(2)
        ]
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(seen) == 2
    first, second = ([*outputs, *grads, counts] for outputs, grads, counts in runs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def rounded(x):
    """To float16, with the gradient of the identity."""
    return x + (x.detach().half().to(x) - x.detach())


def rounding_mlp(x, weights, biases=None, *, output="none", impl):
    """mlp that rounds where the kernels do."""
    h = x
    for l, weight in enumerate(weights):
        h = rounded(h if l == 0 else torch.relu(h)) @ rounded(weight) + (0 if biases is None else biases[l])
    return torch.sigmoid(h) if output == "sigmoid" else h


@needs_triton
@pytest.mark.parametrize("field", [HASH, FOURIER], ids=["hash", "fourier"])
@pytest.mark.parametrize("backward", ["fused", "split"])
def test_half_precision(field, backward, monkeypatch):
    """float16; the interpreter's bfloat16 arithmetic is silently wrong."""
    from nerfkit.kernels.radiance import _reference

    grid = _reference.hashgrid
    monkeypatch.setattr(_reference, "mlp", rounding_mlp)
    monkeypatch.setattr(_reference, "hashgrid", lambda x, table, spec, impl: grid(x, rounded(table), spec, impl=impl))
    check(torch.float32, field, HALF_TOLERANCE, precision="float16", backward=backward)


@needs_triton
@pytest.mark.parametrize(
    "sampling",
    [RegularSampling(7, min_transmittance=0.3), MarchSampling(8, 0.06, max_samples=8, min_transmittance=0.3)],
    ids=["regular", "march"],
)
def test_many_rays_share_programs(sampling):
    """Lanes that draw their next ray, and lanes that take several groups at the queue's end; rays that a tile cuts."""
    from nerfkit.kernels.radiance._triton_forward import RAYS_A_PROGRAM
    from nerfkit.kernels.radiance._triton_packing import TILES_A_PROGRAM

    n = 110
    _, _, counts = evaluate("reference", HASH, n=n, sampling=sampling)
    n_groups = int(((counts + 3) // 4).sum())
    # two programs or more in both directions, and no whole number of tiles
    assert n // RAYS_A_PROGRAM == 2 and n_groups >= 2 * 16 * TILES_A_PROGRAM and n_groups % 16
    check(torch.float32, HASH, n=n, sampling=sampling)


@pytest.mark.parametrize("field", [HASH, {**FOURIER, "skip": 1}], ids=["hash", "fourier"])
@pytest.mark.parametrize("impl", IMPLS)
def test_gradcheck(impl, field):
    params, spec = make_field(**field, degree=2, levels=2) if field is HASH else make_field(**field)
    rays_o, rays_d, near, far, bkgd_rgb = make_rays(2)
    inputs = [x for x in (rays_o, rays_d, bkgd_rgb, params.encoding, *params.weights()) if x.requires_grad]
    sampling = RegularSampling(3, contract=True)

    def call(*_):
        out = radiance(rays_o, rays_d, near, far, params, spec, sampling, bkgd_rgb, has_distortion=True, impl=impl)
        return tuple(x for x in out[:4] if x is not None)

    # random projections of the Jacobian: programs are slow in the interpreter
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize("impl", IMPLS)
def test_gradgradcheck(impl):
    params, spec = make_field(**FOURIER)
    rays_o, rays_d, near, far, bkgd_rgb = make_rays(1)
    far = far + 2

    def call(rays_o, weight):
        changed = params._replace(trunk_weights=[weight, *params.trunk_weights[1:]])
        return radiance(rays_o, rays_d, near, far, changed, spec, RegularSampling(3), bkgd_rgb, impl=impl)[:3]

    assert torch.autograd.gradgradcheck(call, (rays_o, params.trunk_weights[0]), fast_mode=True)


@pytest.mark.parametrize("wanted", ["rgb", "depths", "opacities", "distortions"])
@needs_triton
def test_each_output_alone(wanted):
    """Gradients that nobody sends are not taken for something else."""
    grads = []
    for impl in ("triton", "reference"):
        params, spec = make_field(**HASH)
        rays_o, rays_d, near, far, bkgd_rgb = make_rays(2)
        out = radiance(
            rays_o, rays_d, near, far, params, spec, RegularSampling(4), bkgd_rgb, has_distortion=True, impl=impl
        )
        inputs = [rays_o, bkgd_rgb, params.encoding, params.trunk_weights[0]]
        grads.append(torch.autograd.grad(getattr(out, wanted).sum(), inputs, materialize_grads=True))
    assert_close(*grads, 1e-11)


@needs_triton
def test_weights_alone():
    """Rays and table that ask for nothing get nothing."""
    grads = []
    for impl in ("triton", "reference"):
        params, spec = make_field(**HASH)
        params = params._replace(encoding=params.encoding.detach())
        rays = [x.detach() for x in make_rays(2)]
        out = radiance(*rays[:4], params, spec, RegularSampling(4), impl=impl)
        grads.append(torch.autograd.grad(out.rgb.sum(), params.weights()))
    assert_close(*grads, 1e-11)


@pytest.mark.parametrize("impl", IMPLS)
def test_no_grad_gives_the_same_values(impl):
    params, spec = make_field(**HASH)
    rays_o, rays_d, near, far, bkgd_rgb = make_rays(3)
    args = (rays_o, rays_d, near, far, params, spec, REGULAR, bkgd_rgb)
    want = radiance(*args, impl=impl)
    with torch.no_grad():
        got = radiance(*args, impl=impl)
    assert not got.rgb.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True) if a is not None and b is not None)


@pytest.mark.parametrize("impl", IMPLS)
def test_non_contiguous_inputs(impl):
    params, spec = make_field(**HASH)
    rays = [x.detach() for x in make_rays(3)]

    def strided(x):  # same values, every second element of a longer tensor
        return torch.stack([x, x + 1], dim=-1)[..., 0]

    want = radiance(*rays[:4], params, spec, REGULAR, rays[4], impl=impl)
    twisted = params._replace(
        encoding=strided(params.encoding), trunk_weights=[w.T.contiguous().T for w in params.trunk_weights]
    )
    got = radiance(*map(strided, rays[:4]), twisted, spec, REGULAR, strided(rays[4]), impl=impl)
    assert_close(got[:3], want[:3], 1e-14)


@pytest.mark.parametrize("impl", IMPLS)
def test_rays_do_not_mix(impl):
    """Neither their order nor a split of the batch changes what a ray sees, also where rays end early."""
    params, spec = make_field(**HASH)
    sampling = MarchSampling(8, 0.03, min_transmittance=0.2)
    rays = [x.detach() for x in make_rays(6)]
    occupancy = extras(sampling, 6, torch.float64)["occupancy"]

    def see(which):
        chosen = [x[which] for x in rays]
        return radiance(*chosen[:4], params, spec, sampling, chosen[4], occupancy=occupancy, impl=impl)

    want, order = see(slice(None)), torch.tensor([4, 2, 0, 5, 1, 3], device=DEVICE)
    shuffled, halves = see(order), [see(slice(0, 1)), see(slice(1, 6))]
    for i in (0, 1, 2, 4):
        torch.testing.assert_close(shuffled[i], want[i][order], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(torch.cat([h[i] for h in halves]), want[i], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("impl", IMPLS)
def test_weights_sum_to_at_most_one(impl):
    (_, _, opacities, _), _, _ = evaluate(impl, HASH, dtype=torch.float64)
    assert (opacities >= 0).all() and (opacities <= 1).all() and opacities[-1] == 0


def uniform_field(raw, offset=0.0, dtype=torch.float64):
    """exp(raw + offset) everywhere, colour of one half: biases alone speak."""
    params, spec = make_field(**FOURIER, dtype=dtype)
    with torch.no_grad():
        for tensor in params.weights():
            tensor.zero_()
        params.trunk_biases[-1][0] = raw
        params.log_density_offset.fill_(offset)
    return params, spec


@pytest.mark.parametrize("impl", IMPLS)
def test_uniform_density_closed_form(impl):
    params, spec = uniform_field(math.log(0.5), offset=math.log(1.4))
    rays_o, rays_d, near, far, bkgd_rgb = make_rays(2)
    out = radiance(
        rays_o, rays_d, near, far, params, spec, RegularSampling(33), bkgd_rgb, has_distortion=True, impl=impl
    )
    left = math.exp(-0.7 * 1.9)
    want = 0.5 * (1 - left) + left * bkgd_rgb[0]
    torch.testing.assert_close(out.rgb[0], want, rtol=1e-12, atol=0)
    assert out.opacities[0].item() == pytest.approx(1 - left, rel=1e-12)
    torch.testing.assert_close(out.rgb[1], bkgd_rgb[1], rtol=0, atol=0)
    # the double integral of exp(-0.7 (x + y)) |x - y|, times 0.7^2, which finer samples approach
    exact = (1 - left**2 - 2 * 0.7 * 1.9 * left) / 0.7
    assert out.distortions[0].item() == pytest.approx(exact, rel=3e-3)


@pytest.mark.parametrize("impl", IMPLS)
def test_transparent_and_opaque(impl):
    rays_o, rays_d, near, far, bkgd_rgb = make_rays(2, torch.float32)
    for raw, opacity in ((-200.0, 0.0), (80.0, 1.0)):
        params, spec = uniform_field(raw, dtype=torch.float32)
        out = radiance(rays_o, rays_d, near, far, params, spec, REGULAR, bkgd_rgb, has_distortion=True, impl=impl)
        assert out.opacities[0].item() == opacity
        (d_raw,) = torch.autograd.grad(out.rgb.sum() + out.distortions.sum(), params.trunk_biases[-1])
        assert torch.isfinite(d_raw).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_gradient_goes_on_beyond_the_bound_of_the_density(impl):
    """Intervals so short that even the densest is not opaque: exp(15) times 1e-7."""
    params, spec = uniform_field(20.0)
    rays_o, rays_d, near, _, bkgd_rgb = make_rays(1)
    out = radiance(rays_o, rays_d, near, near + 1e-7, params, spec, RegularSampling(2), bkgd_rgb, impl=impl)
    (d_raw,) = torch.autograd.grad(out.opacities.sum(), params.trunk_biases[-1])
    tau = math.exp(15) * 1e-7
    assert out.opacities.item() == pytest.approx(1 - math.exp(-tau), rel=1e-6)
    assert d_raw[0].item() == pytest.approx(tau * math.exp(-tau), rel=1e-6)


@pytest.mark.parametrize("impl", IMPLS)
def test_nan_is_not_hidden(impl):
    params, spec = make_field(**HASH)
    params.trunk_weights[0].data[0, 0] = math.nan
    rays_o, rays_d, near, far, _ = make_rays(2)
    sampling = RegularSampling(3, min_transmittance=0.1)
    out = radiance(rays_o, rays_d, near, far, params, spec, sampling, impl=impl)
    assert torch.isnan(out.rgb[0]).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_early_end_keeps_its_bound(impl):
    params, spec = make_field(**HASH)
    rays_o, rays_d, near, far, bkgd_rgb = make_rays(4)
    whole, cut = (
        radiance(rays_o, rays_d, near, far, params, spec, RegularSampling(64, False, bound), bkgd_rgb, impl=impl)
        for bound in (0.0, 0.3)
    )
    assert (cut.counts < whole.counts).any()
    assert (cut.rgb - whole.rgb).abs().max() <= 0.3 and (whole.depths - cut.depths).max() <= 0.3 * 2.2
    assert ((whole.opacities - cut.opacities) <= 0.3).all()


def test_distortion_is_the_double_sum():
    """mip-NeRF 360 eq. 15 as it is written, over a scene of three samples a ray."""
    params, spec = make_field(**FOURIER)
    rays_o, rays_d, near, far, _ = make_rays(1)
    far = far + 30
    n, rgbs = 3, []
    sampling = RegularSampling(n, contract=True)
    out = radiance(rays_o, rays_d, near, far, params, spec, sampling, has_distortion=True, impl="reference")
    # weights by differences of opacity when the ray is cut after each sample
    from nerfkit.kernels.radiance._reference import regular_samples

    t_starts, t_ends, _ = regular_samples(near, far, sampling, None)
    left = 1.0
    weights, s = [], []
    for a, b in zip(t_starts.tolist(), t_ends.tolist(), strict=True):
        one = radiance(
            rays_o,
            rays_d,
            near * 0 + a,
            near * 0 + b,
            params,
            spec,
            RegularSampling(1, contract=True),
            impl="reference",
        )
        # a sample alone has its middle where it has it in the ray only if edges agree: contraction is monotone
        weights.append(left * one.opacities.item())
        left *= 1 - one.opacities.item()
        s.append([t if t < 1 else 2 - 1 / t for t in (a, b)])
        rgbs.append(one.rgb)
    mids = [(a + b) / 2 for a, b in s]
    want = sum(weights[i] * weights[j] * abs(mids[i] - mids[j]) for i in range(n) for j in range(n))
    want += sum(w * w * (b - a) for w, (a, b) in zip(weights, s, strict=True)) / 3
    assert out.distortions.item() == pytest.approx(want, rel=1e-12)


def test_jitter_is_the_published_hash():
    """PCG-RXS-M-XS in plain Python, and its spread."""
    from nerfkit.kernels._random import uniform

    low = 0xFFFFFFFF
    for ray, k, seed in ((0, 0, 0), (1, 2, 3), (4095, 63, 2**31 - 1)):
        h = (ray * 747796405 & low) ^ (k * 2891336453 & low) ^ seed
        h = (h * 747796405 + 2891336453) & low
        h = ((h >> ((h >> 28) + 4)) ^ h) * 277803737 & low
        assert uniform(torch.tensor(ray), torch.tensor(k), seed).item() == (((h >> 22) ^ h) >> 8) / 2**24
    values = uniform(torch.arange(512)[:, None], torch.arange(64), 5)
    assert values.mean().item() == pytest.approx(0.5, abs=0.01) and values.std().item() == pytest.approx(
        0.2887, abs=0.01
    )
    assert torch.corrcoef(torch.stack([values[:-1].flatten(), values[1:].flatten()]))[0, 1].abs() < 0.02


@needs_triton
def test_rows_are_int64():
    """A sample's ray times 3 passes 2**31 long before memory ends."""
    from radiance_rows import rows_kernel

    out = torch.zeros(64, dtype=torch.int64, device=DEVICE)
    rows_kernel[(1,)](out, 2**30)
    assert out[::16].tolist() == [3 * (2**30 + i) for i in range(4)]


@needs_triton
def test_the_kernels_leave_no_sample_out():
    with pytest.raises(ValueError, match=r"min_weight must be 0; got 0\.001"):
        evaluate("triton", HASH, sampling=MARCH, dtype=torch.float32, min_weight=1e-3)


def test_auto_on_the_cpu_is_the_operations_one_by_one(monkeypatch):
    monkeypatch.delenv("NERFKIT_KERNELS", raising=False)
    if DEVICE == "cuda":
        pytest.skip("on a GPU the fused kernels are what auto takes")
    params, spec = make_field(**HASH, dtype=torch.float32)
    rays_o, rays_d, near, far, bkgd_rgb = make_rays(3, torch.float32)
    got = radiance(rays_o, rays_d, near, far, params, spec, REGULAR, bkgd_rgb)
    want = radiance(rays_o, rays_d, near, far, params, spec, REGULAR, bkgd_rgb, impl="reference")
    assert_close(got[:3], want[:3], 1e-5)
    assert can_fuse(rays_o, params, spec)


def test_what_does_not_fit_is_told():
    params, spec = make_field(kind="fourier", width=256, n_geometry=16, dtype=torch.float32)
    rays_o, rays_d, near, far, _ = make_rays(1, torch.float32)
    assert not can_fuse(rays_o, params, spec)
    with pytest.raises(ValueError, match="hold width up to 128; got 256"):
        layout_of(params, spec)
    # the separate operations take it
    assert radiance(rays_o, rays_d, near, far, params, spec, RegularSampling(2)).rgb.shape == (1, 3)


def test_rejects_wrong_input():
    params, spec = make_field(**HASH)
    rays_o, rays_d, near, far, bkgd_rgb = make_rays(2)
    good = (rays_o, rays_d, near, far, params, spec, REGULAR)
    with pytest.raises(ValueError, match=r"near must have shape \(2,\); got \(1,\)"):
        radiance(rays_o, rays_d, near[:1], far, params, spec, REGULAR)
    with pytest.raises(ValueError, match=r"bkgd_rgb must have shape \(3,\) or \(2, 3\); got \(2, 2\)"):
        radiance(*good, bkgd_rgb[:, :2])
    with pytest.raises(ValueError, match=r"share one dtype and device, torch.float64 on .*; got torch.float32"):
        radiance(*good, bkgd_rgb.float())
    with pytest.raises(ValueError, match=r"trunk_weights\[1\] must have shape \(16, n_out\); got \(15, 16\)"):
        broken = params._replace(trunk_weights=[params.trunk_weights[0], params.trunk_weights[1][:15]])
        radiance(rays_o, rays_d, near, far, broken, spec, REGULAR)
    with pytest.raises(ValueError, match="seed belongs to RegularSampling"):
        radiance(rays_o, rays_d, near, far, params, spec, MARCH, **extras(MARCH, 2, torch.float64), seed=3)
    with pytest.raises(ValueError, match=r"needs occupancy, uint8 of shape \(64,\); got None"):
        radiance(rays_o, rays_d, near, far, params, spec, MARCH)
    with pytest.raises(ValueError, match="precision must be one of"):
        radiance(*good, precision="bf16")
    with pytest.raises(ValueError, match="backward must be one of"):
        radiance(*good, backward="atomic")
    with pytest.raises(ValueError, match=r"min_transmittance must be in \[0, 1\); got 1.0"):
        RegularSampling(4, min_transmittance=1.0)


# unit of rounding of what is multiplied
ROUNDING = {"bfloat16": 2.0**-9, "float16": 2.0**-12, "tf32": 2.0**-12, "tf32x3": 2.0**-22, "float32": 2.0**-24}
HASH_32, HASH_64 = {**HASH, "width": 32, "levels": 8, "F": 4}, {**HASH, "width": 64, "levels": 8, "F": 4}
FOURIER_64 = {**FOURIER, "width": 64, "n_geometry": 64, "m": 24}


def norm_error(got, want):
    return float((got.double() - want).norm() / want.norm().clamp(min=1e-30))


def precision_bounds(precision):
    """Of outputs, by the roundings along six layers; of gradients, whose ReLUs switch, by the root of one."""
    return 16 * ROUNDING[precision] + 2e-5, 2 * ROUNDING[precision] ** 0.5 + 2e-4


def check_precision(precision, field, **call):
    got, got_grads, _ = evaluate("triton", field, dtype=torch.float32, precision=precision, **call)
    want, want_grads, _ = evaluate("reference", field, **call)
    values, gradients = precision_bounds(precision)
    assert_close(got, want, values)
    for i, (g, w) in enumerate(zip(got_grads, want_grads, strict=True)):
        assert norm_error(g, w) <= gradients, i


@needs_gpu
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sampling", [RegularSampling(48), MARCH], ids=["regular", "march"])
@pytest.mark.parametrize("field", [HASH_32, HASH_64, FOURIER_64], ids=["hash32", "hash64", "fourier64"])
def test_values_and_gradients_on_a_device(field, sampling, precision):
    """At the trainer's widths and thousands of rays; the interpreter computes bfloat16 wrongly."""
    params, spec = make_field(**field, dtype=torch.float32)
    if not can_fuse(make_rays(1, torch.float32)[0], params, spec, precision):
        pytest.skip(f"{precision} does not fit this GPU's shared memory")
    if torch.version.hip and precision == "tf32x3":
        pytest.skip("AMD GPUs have no tf32x3")
    check_precision(precision, field, n=2048, sampling=sampling, distortion=False)


@needs_gpu
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_widest_field_on_a_device(precision):
    field = {**FOURIER, "width": 128, "n_geometry": 128, "n_layers": 4, "m": 24}
    params, spec = make_field(**field, dtype=torch.float32)
    if not can_fuse(make_rays(1, torch.float32)[0], params, spec, precision):
        pytest.skip("width 128 does not fit this GPU's shared memory")
    check_precision(precision, field, n=512, sampling=RegularSampling(48), distortion=False)


@needs_triton
@pytest.mark.parametrize("precision", [p for p in PRECISIONS if p != "bfloat16"])
@pytest.mark.parametrize("field", [HASH_64, FOURIER_64], ids=["hash64", "fourier64"])
def test_the_trainers_widths(field, precision):
    check_precision(precision, field, n=3, sampling=RegularSampling(6), distortion=False)


def test_the_trainers_precision_is_what_is_not_asked_for(monkeypatch):
    rays = make_rays(1, torch.float32)[0].detach()
    if DEVICE == "cpu":
        assert best_precision(rays) == "float32"
    on_gpu = SimpleNamespace(dtype=torch.float32, is_cuda=True, device=torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_of", lambda _: torch.no_grad())
    for has_bfloat16, wanted in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda *, including_emulation, has=has_bfloat16: has
        )  # fmt: skip
        assert best_precision(on_gpu) == wanted  # pyright: ignore[reportArgumentType]
        on_gpu.dtype = torch.float64
        assert best_precision(on_gpu) == "float32"  # pyright: ignore[reportArgumentType]
        on_gpu.dtype = torch.float32


@pytest.mark.parametrize("granted, fitting", [(64, "half 64"), (99, "half 64, full 64"), (163, "all but full 128")])
def test_what_fits_is_counted_by_the_bytes_of_the_operands(monkeypatch, granted, fitting):
    """KiB that a program may have: AMD's and Turing's, Ada's and consumer Blackwell's, Ampere's."""
    monkeypatch.setattr(op, "_granted", lambda _: granted * 1024)
    on_gpu = SimpleNamespace(dtype=torch.float32, is_cuda=True, device=torch.device("cuda"))
    fits = []
    for width in (64, 128):
        field = make_field(kind="fourier", width=width, n_geometry=width, m=24, dtype=torch.float32)
        for name, precision in (("half", "bfloat16"), ("full", "float32")):
            if can_fuse(on_gpu, *field, precision):  # pyright: ignore[reportArgumentType]
                fits.append(f"{name} {width}")
    wanted = ["half 64", "full 64", "half 128"] if fitting.startswith("all") else fitting.split(", ")
    assert fits == wanted
    with pytest.raises(ValueError, match=rf"width 128 in float32 takes 288 KiB .* grants {granted}; ask for precision"):
        op._check_room(on_gpu, *field, "float32")  # pyright: ignore[reportArgumentType]


def test_shared_memory_grows_with_the_bytes_of_a_number():
    layout = layout_of(*make_field(**HASH_64, dtype=torch.float32))
    sizes = [element_size(torch.float32, p) for p in ("bfloat16", "float16", "tf32", "float32")]
    assert sizes == [2, 2, 4, 4] and element_size(torch.float64, "float32") == 8
    assert [shared_bytes(layout, size) // shared_bytes(layout, 2) for size in (2, 4, 8)] == [1, 2, 4]


def test_amd_has_no_three_products_of_tf32(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "7.0")
    with pytest.raises(ValueError, match="no tf32x3; ask for precision='bfloat16' or 'float32'"):
        op._check_precision("tf32x3")


def test_an_unknown_precision_is_an_error():
    params, spec = make_field(**HASH)
    rays = make_rays(1)
    with pytest.raises(
        ValueError, match="precision must be one of auto, float32, tf32x3, tf32, bfloat16, float16; got"
    ):
        radiance(*rays[:4], params, spec, RegularSampling(2), precision="half")


@needs_triton
def test_float64_rays_are_exact_unless_asked_otherwise():
    with pytest.raises(ValueError, match="float64 rays need precision 'float32'; got 'bfloat16'"):
        evaluate("triton", HASH, n=1, sampling=RegularSampling(2), precision="bfloat16")
