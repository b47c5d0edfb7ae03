"""Uses of the fused kernels that are compiled ahead of time; see ``scripts/compile_kernels.py``."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch

from nerfkit.kernels._launch import CompileCase
from nerfkit.kernels.hashgrid import HashGridSpec

from . import MarchSampling, RadianceParams, RadianceSpec, RegularSampling
from ._triton import Options, radiance_triton

_SPILLS = (
    "a tile of every kind is kept at once, of Fourier features three; a few of 4000 instructions are loads and stores "
    "of these"
)


def compile_cases() -> list[CompileCase]:
    """The presets of the trainer first: what every check compiles."""
    march, contracted = MarchSampling(64, 2 * 3**0.5 / 256), MarchSampling(128, 2 * 3**0.5 / 256, 1 / 64, True)
    hash_64 = partial(train, hash_field(64), march)
    return [
        CompileCase("hash 32", lambda: train(hash_field(32), march)),
        CompileCase("fourier 64", lambda: train(fourier_field(64, 3), RegularSampling(48)), 320, _SPILLS),
        CompileCase("hash 64", hash_64, 128, _SPILLS, is_quick=False),
        CompileCase("hash 64 split", partial(hash_64, backward="split"), 128, _SPILLS, is_quick=False),
        CompileCase(
            "hash 64 poses",
            lambda: train(hash_field(64), contracted, backward="split", through_rays=True),
            512,
            _SPILLS,
            is_quick=False,
        ),
        CompileCase("hash 64 view", lambda: _view(hash_field(64), contracted), is_quick=False),
        CompileCase(
            "hash 32 fp32",
            lambda: train(hash_field(32), RegularSampling(48), precision="float32"),
            1536,
            "exact float32 products run on the scalar units, and the compiler unrolls them",
            is_quick=False,
        ),
        CompileCase(
            "fourier 128",
            lambda: train(fourier_field(128, 4), RegularSampling(48)),
            4096,
            "activations of 4 layers of 128 are more than the registers hold",
            # 122 KiB of shared memory of its 99: can_fuse() knows
            leaves_out=("cuda:86", "cuda:89", "cuda:120"),
            is_quick=False,
        ),
    ]


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
