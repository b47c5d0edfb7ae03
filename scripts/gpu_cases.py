"""What the GPU benchmark checks and times: one problem an operation and size, from the same random numbers everywhere.

A problem is made for any number of samples: small ones are compared with the definition in float64, large ones timed.
``n_bytes`` and ``n_flops`` are the least that forward and backward must move and compute; what a kernel reads twice is
its own fault.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from nerfkit.kernels.adam import adam
from nerfkit.kernels.composite import composite
from nerfkit.kernels.distortion import distortion
from nerfkit.kernels.fourier import fourier
from nerfkit.kernels.harmonics import harmonics
from nerfkit.kernels.hashgrid import HashGridSpec, hashgrid
from nerfkit.kernels.lowres import sample
from nerfkit.kernels.march import march, pack_bits
from nerfkit.kernels.mlp import mlp
from nerfkit.kernels.occupancy import update_occupancy
from nerfkit.kernels.radiance import MarchSampling, RadianceParams, RadianceSpec, RegularSampling, radiance
from nerfkit.kernels.resample import resample

__all__ = ["CASES", "Case", "Problem"]

SAMPLES_A_RAY = 64
# widest networks: of the fused kernel, and of kernels/mlp, what they take and give included
FUSED_WIDTH, MLP_WIDTH = 128, 256
# the interpreter computes bfloat16 wrongly, and says nothing
HALF = "float16" if os.environ.get("TRITON_INTERPRET") == "1" else "bfloat16"


@dataclass(frozen=True)
class Problem:
    """An operation on given numbers."""

    # outputs of an implementation: "auto", "triton", "reference"
    run: Callable[[str], tuple[Tensor, ...]]
    # what gets a gradient; empty where the operation has none
    leaves: list[Tensor]
    # least bytes of device memory, and operations of the products, forward and backward
    n_bytes: float
    n_flops: float


@dataclass(frozen=True)
class Case:
    """A problem for any number of samples."""

    op: str
    config: str
    # (n_samples, device, dtype) -> problem
    make: Callable[[int, str, torch.dtype], Problem]
    # samples when it is timed, and when it is checked
    n_timed: int = 2**20
    n_checked: int = 4099
    # largest error over largest value, against float64
    tolerance: float = 2e-5
    # what is checked: the kernel itself, or what "auto" takes where the kernel has limits
    impl: str = "triton"


class _Draw:
    """Random numbers that are the same on every device and in every dtype; if ``is_half``, such as float16 holds."""

    def __init__(self, device: str, dtype: torch.dtype, *, is_half: bool = False) -> None:
        self.generator, self.device, self.dtype = torch.Generator().manual_seed(0), device, dtype
        self.drawn = torch.float16 if is_half else torch.float32

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(*shape, generator=self.generator)).to(self.drawn).to(self.device, self.dtype)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator).to(self.drawn).to(self.device, self.dtype)

    def layers(self, *sizes: int, scale: float = 1.0) -> list[Tensor]:
        return [self.normal(a, b, scale=scale * (2 / a) ** 0.5).requires_grad_() for a, b in pairwise(sizes)]

    def rays(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Origins on a sphere of radius 3, unit directions to the middle of the scene, near, far."""
        rays_o = 3 * torch.nn.functional.normalize(self.normal(n, 3), dim=-1)
        rays_d = torch.nn.functional.normalize(self.normal(n, 3, scale=0.3) - rays_o, dim=-1)
        return rays_o, rays_d, torch.full_like(rays_o[:, 0], 1.8), torch.full_like(rays_o[:, 0], 4.2)


def _refuse_float64(dtype: torch.dtype, impl: str) -> None:
    """Of operations of float32 alone; the definition is asked for in float64 to compare with."""
    if dtype == torch.float64 and impl != "reference":
        raise ValueError("float32 alone")


def _fourier(n: int, device: str, dtype: torch.dtype) -> Problem:
    draw = _Draw(device, dtype, is_half=True)
    x, freqs = draw.uniform(n, 3).requires_grad_(), draw.normal(32, 3, scale=6.0)
    size = x.element_size()
    return Problem(lambda impl: (fourier(x, freqs, impl=impl),), [x], n * size * (3 + 2 * 64 + 2 * 3), 4 * n * 96)


def _grid(n: int) -> HashGridSpec:
    """The trainer's grid; for checks one whose cells float32 can divide to five digits."""
    return HashGridSpec.geometric(8, 16, 1024, 19, 4) if n >= 10**5 else HashGridSpec.geometric(8, 4, 32, 10, 4)


def _hashgrid(deterministic: bool) -> Callable[[int, str, torch.dtype], Problem]:
    def make(n: int, device: str, dtype: torch.dtype) -> Problem:
        draw = _Draw(device, dtype, is_half=True)
        spec = _grid(n)
        x, table = draw.uniform(n, 3), draw.normal(spec.n_entries, 4, scale=0.1).requires_grad_()
        x = x.float() if dtype == torch.float16 else x  # positions are never in half precision
        features = n * spec.n_levels * spec.n_features * x.element_size()
        # eight corners a level are gathered, and their gradients added
        n_bytes = 2 * n * 12 + 2 * features + 3 * 8 * features

        def run(impl: str) -> tuple[Tensor, ...]:
            return (hashgrid(x, table, spec, deterministic=deterministic, impl=impl),)

        return Problem(run, [table], n_bytes, 4 * 8 * n * 32)

    return make


def _harmonics(n: int, device: str, dtype: torch.dtype) -> Problem:
    draw = _Draw(device, dtype)
    dirs = torch.nn.functional.normalize(draw.normal(n, 3), dim=-1).requires_grad_()
    # directions come one a ray
    return Problem(lambda impl: (harmonics(dirs, 3, impl=impl),), [dirs], 4 * n * (3 + 16 + 16 + 3), 100 * n)


def _lowres(n: int, device: str, dtype: torch.dtype) -> Problem:
    # what the definition makes of the same numbers is the check
    draw = _Draw(device, torch.float32)
    side = max(int(n**0.5), 2)
    image, rows, cols = draw.uniform(side, side), *((side - 1) * draw.uniform(2, n)).unbind()

    def run(impl: str) -> tuple[Tensor, ...]:
        _refuse_float64(dtype, impl)
        return tuple(sample(image, rows, cols, impl=impl))

    return Problem(run, [], 4 * n * (2 + 3), 0)


def _adam(share: float | None) -> Callable[[int, str, torch.dtype], Problem]:
    """A step on n rows of 4; with a share, rows beside it have no gradient and are left out."""

    def make(n: int, device: str, dtype: torch.dtype) -> Problem:
        draw = _Draw(device, dtype)
        param, grad = draw.normal(n, 4), draw.normal(n, 4)
        means = 0.1 * draw.normal(n, 4), 0.1 * draw.uniform(n, 4)
        if share is not None:
            grad *= draw.uniform(n, 1) < share

        def run(impl: str) -> tuple[Tensor, ...]:
            adam(param, grad, *means, step=10, lr=0.01, touched_only=share is not None, impl=impl)
            return param, *means

        # the gradient is read in any case
        return Problem(run, [], 16 * n * (1 + 6 * (1.0 if share is None else share)), 0)

    return make


def _resample(n: int, device: str, dtype: torch.dtype) -> Problem:
    draw = _Draw(device, dtype)
    n_rays = max(n // SAMPLES_A_RAY, 1)
    edges = (2 + torch.arange(SAMPLES_A_RAY + 1, device=device) / SAMPLES_A_RAY).to(dtype).expand(n_rays, -1)
    weights = 0.1 + draw.uniform(n_rays, SAMPLES_A_RAY)

    def run(impl: str) -> tuple[Tensor, ...]:
        return tuple(resample(edges[:, :-1], edges[:, 1:], weights, SAMPLES_A_RAY, impl=impl))

    return Problem(run, [], n * (12 + 8), 0)


def _distortion(n: int, device: str, dtype: torch.dtype) -> Problem:
    draw = _Draw(device, dtype)
    n_rays = max(n // SAMPLES_A_RAY, 1)
    weights = (draw.uniform(n_rays, SAMPLES_A_RAY) / SAMPLES_A_RAY).requires_grad_()
    edges = (2 + torch.arange(SAMPLES_A_RAY + 1, device=device) / SAMPLES_A_RAY).to(dtype)
    starts, ends = (x.expand(n_rays, -1).contiguous() for x in (edges[:-1], edges[1:]))

    def run(impl: str) -> tuple[Tensor, ...]:
        return (distortion(weights, starts, ends, impl=impl),)

    return Problem(run, [weights], n * (12 + 8 + 20 + 4), 40 * n)


def _occupancy(n: int, device: str, dtype: torch.dtype) -> Problem:
    # bit for bit what the definition makes of the same numbers
    draw = _Draw(device, torch.float32)
    n_cells, n_looks = 8 * -(-n // 8), -(-n // 16)
    densities, bits = 4 * draw.uniform(n_cells), torch.zeros(-(-n // 8), dtype=torch.uint8, device=device)
    cells = (draw.uniform(n_looks) * (n_cells - 1)).long()
    found = 4 * draw.uniform(n_looks)

    def run(impl: str) -> tuple[Tensor, ...]:
        _refuse_float64(dtype, impl)
        update_occupancy(densities, bits, cells, found, decay=0.95, threshold=1.0, impl=impl)
        return densities, bits

    return Problem(run, [], 16.125 * n_cells + 20 * n_looks, 0)


def _mlp(sizes: tuple[int, ...], activation: str, scale: float) -> Callable[[int, str, torch.dtype], Problem]:
    def make(n: int, device: str, dtype: torch.dtype) -> Problem:
        draw = _Draw(device, dtype, is_half=True)
        x = draw.normal(n, sizes[0]).requires_grad_()
        weights = draw.layers(*sizes, scale=1 / scale if activation == "sine" else 1.0)
        products = sum(a * b for a, b in pairwise(sizes))
        n_bytes = n * x.element_size() * (3 * sizes[0] + 2 * sizes[-1])

        def run(impl: str) -> tuple[Tensor, ...]:
            return (mlp(x, weights, activation=activation, scale=scale, impl=impl),)

        return Problem(run, [x, *weights], n_bytes, 6 * n * products)

    return make


def _march(n: int, device: str, dtype: torch.dtype) -> Problem:
    draw = _Draw(device, dtype)
    rays = draw.rays(max(n // SAMPLES_A_RAY, 1))
    bits = pack_bits(draw.uniform(64, 64, 64) < 0.5)

    def run(impl: str) -> tuple[Tensor, ...]:
        samples = march(*rays, bits, 64, step=1.2 / SAMPLES_A_RAY, impl=impl)
        return samples.t_starts, samples.t_ends, samples.xyzs

    return Problem(run, [], n * (8 + 4 + 4 + 12), 0)


def _composite(n: int, device: str, dtype: torch.dtype) -> Problem:
    draw = _Draw(device, dtype, is_half=True)
    n_rays = max(n // SAMPLES_A_RAY, 1)
    n = n_rays * SAMPLES_A_RAY
    sigmas, rgbs = (3 * draw.uniform(n)).requires_grad_(), draw.uniform(n, 3).requires_grad_()
    starts = torch.arange(n, device=device) % SAMPLES_A_RAY
    t_starts = (starts / SAMPLES_A_RAY).to(dtype)
    first = torch.arange(n_rays, device=device) * SAMPLES_A_RAY
    packed = torch.stack([first, torch.full_like(first, SAMPLES_A_RAY)], -1)

    def run(impl: str) -> tuple[Tensor, ...]:
        return tuple(composite(sigmas, rgbs, t_starts, t_starts + 1 / SAMPLES_A_RAY, packed, impl=impl)[:3])

    return Problem(run, [sigmas, rgbs], n * sigmas.element_size() * (6 + 2 + 8 + 4), 40 * n)


def _radiance(
    encoding: str, width: int, n_trunk: int, precision: str, backward: str = "fused", marched: bool = False
) -> Callable[[int, str, torch.dtype], Problem]:
    def make(n: int, device: str, dtype: torch.dtype) -> Problem:
        draw = _Draw(device, dtype)
        rays = draw.rays(max(n // SAMPLES_A_RAY, 1))
        if encoding == "hash":
            grid = _grid(n)
            spec, n_in, n_out = RadianceSpec(grid, 3, color_sees_density=True), 32, 16
            first = draw.normal(grid.n_entries, 4, scale=0.3).requires_grad_()
            sizes = (n_in, *[width] * n_trunk, n_out), (n_out + 16, width, width, 3)
        else:
            spec, first = RadianceSpec(None, 2), draw.normal(32, 3, scale=4.0)
            # the colour network takes nine harmonics as well
            n_in, n_geometry = 3 + 64, min(width, MLP_WIDTH - 9)
            sizes = (n_in, *[width] * n_trunk, 1 + n_geometry), (n_geometry + 9, width, 3)
        trunk, color = draw.layers(*sizes[0]), draw.layers(*sizes[1])
        offset = torch.zeros((), device=device, dtype=dtype)
        params = RadianceParams(first, trunk, color, offset)
        options: dict[str, Any] = {
            "precision": "float32" if dtype == torch.float64 else precision,
            "backward": backward,
        }
        if marched:
            bits = pack_bits(draw.uniform(64, 64, 64) < 0.5)
            sampling = MarchSampling(64, 1.2 / SAMPLES_A_RAY, max_samples=2 * SAMPLES_A_RAY)
            options["occupancy"] = bits
        else:
            sampling = RegularSampling(SAMPLES_A_RAY)

        def run(impl: str) -> tuple[Tensor, ...]:
            # of the separate operations autocast, not `precision`, says how products are taken
            is_separate = impl == "auto" and width > FUSED_WIDTH
            with torch.autocast(device, getattr(torch, HALF), enabled=is_separate):
                return tuple(radiance(*rays, params, spec, sampling, impl=impl, **options)[:3])

        products = sum(a * b for pair in sizes for a, b in pairwise(pair))
        corners = 3 * 8 * n_in * 4 if encoding == "hash" else 0
        leaves = [x for x in (first, *trunk, *color) if x.requires_grad]
        # forward once, and once more in the backward, which is twice a forward itself
        return Problem(run, leaves, n * corners, 8 * n * products)

    return make


CASES = [
    Case("fourier", "m 32", _fourier),
    Case("harmonics", "degree 3", _harmonics, n_timed=2**14, impl="auto"),
    Case("hashgrid", "L 8 F 4 T 2^19", _hashgrid(deterministic=False)),
    # the same, with the same bits each time: what that costs
    Case("hashgrid", "L 8 F 4 T 2^19, deterministic", _hashgrid(deterministic=True)),
    Case("mlp", "relu 32-64-64-16", _mlp((32, 64, 64, 16), "relu", 1.0)),
    Case("mlp", "SIREN 2-64-64-64-1", _mlp((2, 64, 64, 64, 1), "sine", 30.0), tolerance=1e-4),
    Case("march", "64^3, half full", _march),
    Case("composite", "64 samples a ray", _composite),
    Case("resample", "64 of 64", _resample),
    Case("distortion", "64 samples a ray", _distortion),
    Case("occupancy", "a look at a sixteenth", _occupancy, n_timed=2**21, tolerance=0),
    Case("adam", "rows of 4, dense", _adam(None), n_timed=2**21),
    Case("adam", "rows of 4, four of ten touched", _adam(0.4), n_timed=2**21),
    Case("lowres", "bilinear samples", _lowres, impl="auto"),
    Case("radiance", "hash, exact float32", _radiance("hash", 64, 1, "float32"), tolerance=1e-4),
    Case("radiance", "hash, exact float32, marched", _radiance("hash", 64, 1, "float32", marched=True), tolerance=1e-4),
    Case("radiance", "hash, bfloat16", _radiance("hash", 64, 1, HALF), tolerance=5e-2),
    Case("radiance", "hash, bfloat16, split", _radiance("hash", 64, 1, HALF, "split"), tolerance=5e-2),
    Case("radiance", "hash, bfloat16, deterministic", _radiance("hash", 64, 1, HALF, "deterministic"), tolerance=5e-2),
    Case("radiance", "hash, bfloat16, marched", _radiance("hash", 64, 1, HALF, marched=True), tolerance=5e-2),
    Case("radiance", "Fourier 4 x 64, bfloat16", _radiance("fourier", 64, 4, HALF), tolerance=5e-2),
    # wider than the fused kernel: the separate operations, whose networks stream through the kernel of mlp. Ten layers
    # that round: the first one's gradient was off by 0.07 in plain torch with bfloat16 between layers
    Case("radiance", "Fourier 8 x 256, bfloat16", _radiance("fourier", 256, 8, HALF), tolerance=0.15, impl="auto"),
]
