"""Operations in the graphs of torch.compile: one graph, the numbers of eager mode, torch's own checks."""

# to a type checker an unpacked list is one argument, and a grid or a gradient may be None
# pyright: reportCallIssue=false, reportOptionalMemberAccess=false

import pytest
import torch
from support import DEVICE, needs_triton
from torch.library import opcheck

from nerfkit.kernels.adam import adam
from nerfkit.kernels.composite import composite
from nerfkit.kernels.fourier import fourier
from nerfkit.kernels.harmonics import harmonics
from nerfkit.kernels.hashgrid import HashGridSpec, hashgrid
from nerfkit.kernels.lowres import filter_valid
from nerfkit.kernels.march import march, pack_bits
from nerfkit.kernels.mlp import mlp
from nerfkit.kernels.radiance import MarchSampling, RadianceParams, RadianceSpec, radiance

IMPLS = ["cpu", pytest.param("triton", marks=needs_triton)]
GRID = HashGridSpec.geometric(2, 4, 8, log2_table_size=6, n_features=2, n_dims=2)
# what opcheck runs, less the comparison of gradients that aot dispatch repeats for each of them
CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")


def device(impl):
    return DEVICE if impl == "triton" else "cpu"


def draw(impl, *shape, grad=True, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=g).to(device(impl)).requires_grad_(grad)


def rays(impl):
    """Sigmas, rgbs, starts, ends of five samples on two rays of three, and a background."""
    starts = torch.tensor([0.0, 0.5, 1.0, 0.0, 0.5], device=device(impl))
    packed_info = torch.tensor([[0, 3], [3, 0], [3, 2]], device=device(impl))
    return draw(impl, 5), draw(impl, 5, 3), starts, starts + 0.5, packed_info, draw(impl, 3)


def assert_same_when_compiled(run, inputs):
    """Values and gradients of ``run(*inputs)``, a tensor, in one graph and eagerly."""
    leaves = [x for x in inputs if x.requires_grad]
    want = run(*inputs)
    d_want = torch.autograd.grad(want.sin().sum(), leaves)
    got = torch.compile(run, fullgraph=True, backend="aot_eager")(*inputs)
    d_got = torch.autograd.grad(got.sin().sum(), leaves)
    torch.testing.assert_close((got, *d_got), (want, *d_want), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("impl", IMPLS)
def test_image_fit_is_one_graph(impl):
    def field(x, table, *weights):
        return mlp(hashgrid(x, table, GRID, impl=impl), weights, output="sigmoid", impl=impl)

    weights = [draw(impl, 4, 8), draw(impl, 8, 3, seed=1)]
    table = draw(impl, GRID.n_entries, 2)
    assert_same_when_compiled(field, [draw(impl, 9, 2, grad=False), table, *weights])


@pytest.mark.parametrize("impl", IMPLS)
def test_composite_is_one_graph(impl):
    def colour(*inputs):
        out = composite(*inputs, impl=impl)
        return torch.cat([out.rgb, out.depths], dim=-1)

    assert_same_when_compiled(colour, rays(impl))


@pytest.mark.parametrize("impl", IMPLS)
def test_fourier_and_harmonics_are_one_graph(impl):
    def features(x, freqs):
        return torch.cat([fourier(x, freqs, impl=impl), harmonics(x, 2)], dim=-1)

    assert_same_when_compiled(features, [draw(impl, 5, 3), draw(impl, 4, 3, seed=1)])


@pytest.mark.parametrize("impl", IMPLS)
def test_march_gives_its_samples_to_the_graph(impl):
    full = pack_bits(torch.ones(4, 4, 4, dtype=torch.bool)).to(device(impl))
    rays_o = draw(impl, 3, 3, grad=False) * 0.1
    rays_d = torch.nn.functional.normalize(draw(impl, 3, 3, grad=False, seed=1), dim=-1)
    near, far = torch.zeros_like(rays_o[:, 0]), torch.ones_like(rays_o[:, 0])

    def total(near, far):
        samples = march(rays_o, rays_d, near, far, full, 4, step=0.1, impl=impl)
        return samples.xyzs.sum(0) + samples.packed_info[:, 1].sum()

    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        got = torch.compile(total, fullgraph=True, backend="aot_eager")(near, far)
    torch.testing.assert_close(got, total(near, far))


def test_adam_is_one_graph():
    param, grad = torch.zeros(3, 2), draw("cpu", 3, 2, grad=False)
    means, changed = torch.zeros(2, 3, 2), [torch.zeros(3, 2) for _ in range(3)]

    def step(param, exp_avg, exp_avg_sq):
        adam(param, grad, exp_avg, exp_avg_sq, step=1, lr=0.1)
        return param + 1

    got = torch.compile(step, fullgraph=True, backend="aot_eager")(*changed)
    torch.testing.assert_close(got, step(param, *means))
    torch.testing.assert_close(changed, [param, *means])


@pytest.mark.parametrize("impl", IMPLS)
def test_torchs_checks_of_custom_operations(impl):
    from nerfkit.kernels.composite._graph import _composite
    from nerfkit.kernels.fourier._graph import _fourier
    from nerfkit.kernels.hashgrid._graph import _hashgrid
    from nerfkit.kernels.mlp._graph import _mlp

    x, weights, bias = draw(impl, 5, 2), [draw(impl, 2, 4), draw(impl, 4, 3)], draw(impl, 4)
    shape = GRID.n_dims, GRID.n_features, list(GRID.resolutions), GRID.log2_table_size
    opcheck(_fourier, ([x, draw(impl, 4, 2)], impl), test_utils=CHECKS)
    opcheck(_hashgrid, ([x, draw(impl, GRID.n_entries, 2)], *shape, False, impl), test_utils=CHECKS)
    opcheck(_mlp, ([x, *weights, bias], [True, False], "sine", 2.0, "none", impl), test_utils=CHECKS)
    *floats, background = rays(impl)
    opcheck(_composite, ([*floats, background.detach().expand(3, 3)], impl), test_utils=CHECKS)


@pytest.mark.parametrize("impl", IMPLS)
def test_second_derivatives_of_custom_operations(impl):
    from nerfkit.kernels.hashgrid._graph import hashgrid_graph
    from nerfkit.kernels.mlp._graph import mlp_graph

    x, weights = draw(impl, 3, 2).double(), [draw(impl, 4, 4).double(), draw(impl, 4, 1).double()]
    table = draw(impl, GRID.n_entries, 2).double()

    def norm_of_slope(encode, network):
        y = x.detach().requires_grad_()
        leaves = [t.detach().requires_grad_() for t in (table, *weights)]
        out = network(encode(y, leaves[0]), leaves[1:])
        (slope,) = torch.autograd.grad(out.sum(), y, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), leaves)

    got = norm_of_slope(
        lambda y, t: hashgrid_graph(y, t, GRID, False, impl),
        lambda h, w: mlp_graph(h, w, [None, None], "sine", 2.0, "none", impl),
    )
    want = norm_of_slope(
        lambda y, t: hashgrid(y, t, GRID, impl="reference"),
        lambda h, w: mlp(h, w, activation="sine", scale=2.0, impl="reference"),
    )
    torch.testing.assert_close(got, want)


def test_what_cannot_be_in_a_graph_runs_between_two():
    spec = RadianceSpec(HashGridSpec(3, 2, (4, 8), 6), harmonics_degree=1, color_sees_density=True)
    table = draw("cpu", spec.grid.n_entries, 2)
    layers = [[draw("cpu", 4, 8), draw("cpu", 8, 5)], [draw("cpu", 9, 8), draw("cpu", 8, 3)]]
    full = pack_bits(torch.ones(4, 4, 4, dtype=torch.bool))
    rays_o, rays_d = torch.tensor([[0.0, 0.1, -1.0]]), torch.tensor([[0.0, 0.0, 1.0]])

    def step(table, far):
        params = RadianceParams(table * 2, *layers, torch.tensor(0.0))
        out = radiance(rays_o, rays_d, far * 0, far, params, spec, MarchSampling(4, 0.1), occupancy=full)
        return out.rgb.square() + filter_valid(full.view(2, 4).float() / 255, torch.ones(1)).sum()

    far = torch.full((1,), 2.0)
    got, want = torch.compile(step, backend="aot_eager")(table, far), step(table, far)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(*(torch.autograd.grad(y.sum(), table) for y in (got, want)))


@pytest.mark.parametrize("impl", ["cpu", "reference"])
def test_autocast_changes_nothing_on_a_cpu(impl):
    half = draw("cpu", 7, 2, grad=False).bfloat16()
    table, weights = draw("cpu", GRID.n_entries, 2), [draw("cpu", 4, 8), draw("cpu", 8, 3)]
    *samples, background = rays("cpu")
    samples[1] = samples[1].bfloat16()

    def step(x):
        out = mlp(hashgrid(x, table, GRID, impl=impl), weights, impl=impl)
        features = fourier(out, weights[1].t()[:, :3], impl=impl)
        # of the reference torch's own products take the gradients, as autocast says
        leaves = [table, *weights] if impl == "cpu" else []
        slopes = torch.autograd.grad([out.sum(), features.sum()], leaves, create_graph=True) if leaves else ()
        return out, features, *slopes, *composite(*samples, background, impl=impl)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = step(half)
    want = step(half.float())
    assert all(x.dtype == torch.float32 for x in got)
    assert all(map(torch.equal, got, want))


@needs_triton
def test_autocast_gives_the_kernels_half_precision():
    # float16: the interpreter computes bfloat16 wrongly, and says nothing
    x, weights = draw("triton", 7, 4), [draw("triton", 4, 8), draw("triton", 8, 3)]
    with torch.autocast(DEVICE, dtype=torch.float16):
        got = mlp(x, weights, impl="triton")
        doubles = mlp(x.double(), [w.double() for w in weights], impl="triton")
    assert (got.dtype, doubles.dtype) == (torch.float32, torch.float64)
    halves = [t.detach().half() for t in (x, *weights)]
    assert torch.equal(got, mlp(halves[0], halves[1:], impl="triton"))
    got.sum().backward()
    assert all(t.grad.dtype == torch.float32 for t in (x, *weights))
