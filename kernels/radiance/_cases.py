"""Uses of the fused kernels that are compiled ahead of time; see ``scripts/compile_kernels.py``."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch

from nerfkit.kernels._launch import CompileCase
from nerfkit.kernels.hashgrid import HashGridSpec

from . import MarchSampling, RadianceParams, RadianceSpec, RegularSampling
from ._layout import element_size, layout_of, shared_bytes
from ._triton import Options, radiance_triton

_SPILLS = (
    "a tile of every kind is kept at once, of Fourier features three; a few of 4000 instructions are loads and stores "
    "of these"
)


# of AMD's compiler, which has no three products in tf32
_NO_TF32X3 = ("hip:gfx90a", "hip:gfx942", "hip:gfx1100")
_UNROLLED = "exact float32 products run on the scalar units, and the compiler unrolls them"


def compile_cases() -> list[CompileCase]:
    """The presets of the trainer first: what every check compiles. Each precision has a case, at a trainer's width."""
    march, contracted = MarchSampling(64, 2 * 3**0.5 / 256), MarchSampling(128, 2 * 3**0.5 / 256, 1 / 64, True)
    regular = RegularSampling(48)
    return [
        _case("hash 32", hash_field(32), march),
        _case("fourier 64", fourier_field(64, 3), regular, 320, _SPILLS),
        _case("hash 64", hash_field(64), march, 128, _SPILLS, is_quick=False),
        _case("hash 64 split", hash_field(64), march, 128, _SPILLS, is_quick=False, backward="split"),
        _case(
            "hash 64 poses", hash_field(64), contracted, 512, _SPILLS, is_quick=False, backward="split",
            through_rays=True,
        ),
        CompileCase("hash 64 view", lambda: _view(hash_field(64), contracted), is_quick=False),
        _case("hash 64 fp16", hash_field(64), march, 128, _SPILLS, is_quick=False, precision="float16"),
        _case("hash 64 tf32", hash_field(64), march, 2048, _SPILLS, is_quick=False, precision="tf32"),
        _case(
            "hash 32 tf32x3", hash_field(32), march, 2048, _SPILLS, is_quick=False, precision="tf32x3",
            leaves_out=_NO_TF32X3,
        ),
        _case("hash 32 fp32", hash_field(32), regular, 1536, _UNROLLED, is_quick=False, precision="float32"),
        _case(
            "fourier 128", fourier_field(128, 4), regular, 4096,
            "activations of 4 layers of 128 are more than the registers hold",
            # more shared memory than their 99 KiB: can_fuse() knows
            leaves_out=("cuda:86", "cuda:89", "cuda:120"), is_quick=False,
        ),
    ]  # fmt: skip


def _case(name, field, sampling, spill_budget=0, spill_reason="", *, is_quick=True, leaves_out=(), **options):
    """A training step, with what the operation counts of shared memory before it launches."""
    size = element_size(torch.float32, options.get("precision", "bfloat16"))
    bounds = tuple(shared_bytes(layout_of(*field), size, is_amd=is_amd) for is_amd in (False, True))
    return CompileCase(
        name, partial(train, field, sampling, **options), spill_budget, spill_reason, (bounds[0], bounds[1]),
        leaves_out, is_quick,
    )  # fmt: skip


def hash_field(width: int) -> tuple[RadianceParams, RadianceSpec]:
    """8 levels of 4 features, one hidden layer of the trunk and two of the colour network."""
    grid = HashGridSpec.geometric(8, 16, 64, 8, 4)
    table = torch.zeros(grid.n_entries, 4).requires_grad_()
    trunk, color = _layers(32, width, 16), _layers(32, width, width, 3)
    return RadianceParams(table, trunk, color, torch.zeros(())), RadianceSpec(grid, 3, color_sees_density=True)


def fourier_field(width: int, n_layers: int) -> tuple[RadianceParams, RadianceSpec]:
    """8 octaves, ``n_layers`` hidden layers of the trunk and one of the colour network."""
    trunk, color = _layers(3 + 2 * 24, *[width] * n_layers, 1 + width), _layers(width + 9, width, 3)
    biases = [[torch.zeros(w.shape[1]).requires_grad_() for w in ws] for ws in (trunk, color)]
    return RadianceParams(torch.zeros(24, 3), trunk, color, torch.zeros(()), *biases), RadianceSpec(None, 2)


def _layers(*sizes: int) -> list[torch.Tensor]:
    return [torch.zeros(a, b).requires_grad_() for a, b in pairwise(sizes)]


def _call(
    field, sampling, precision="bfloat16", backward="fused", *, through_rays=False, n_rays=8, seed: int | None = 3
):
    params, spec = field
    rays_o, rays_d = (torch.zeros(n_rays, 3).requires_grad_(through_rays) for _ in range(2))
    is_marched = isinstance(sampling, MarchSampling)
    drawn = None if is_marched or seed is None else torch.full((1,), seed)
    options = Options.of(params, spec, sampling, precision, backward, through_rays, drawn, torch.float32)
    occupancy = torch.zeros(sampling.resolution**3 // 8, dtype=torch.uint8) if is_marched else None
    near, far, bkgd_rgb = torch.zeros(n_rays), torch.ones(n_rays), torch.zeros(n_rays, 3)
    return radiance_triton(rays_o, rays_d, near, far, params, options, bkgd_rgb, occupancy, None)


def train(field, sampling, precision="bfloat16", backward="fused", *, through_rays=False, n_rays=8, seed=3) -> None:
    """A training step; with gradients of the rays also the distortion, so that all is in one."""
    rgb, _, opacities, distortions, _ = _call(
        field, sampling, precision, backward, through_rays=through_rays, n_rays=n_rays, seed=seed
    )
    outputs = [rgb, opacities, distortions] if through_rays else [rgb]
    torch.autograd.backward(outputs, [torch.zeros_like(x) for x in outputs])


@torch.no_grad()
def _view(field, sampling):
    _call(field, sampling, seed=None)
