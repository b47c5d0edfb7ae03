#!/usr/bin/env python
"""Small networks on one CPU thread: nerfkit's loops beside plain torch, measured in turn in one process.

    OMP_WAIT_POLICY=PASSIVE python scripts/bench_mlp.py [--repeats 30] [--json docs/benchmarks/mlp.json]

Each case is checked against float64 first. Times are minima; the products' operations count twice for the
backward, once for the gradient of the inputs and once for that of the weights (none for the gradient of x).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import numba
import torch
from torch import Tensor

from nerfkit.kernels.mlp import mlp

# a value or gradient may differ from float64 by this share of the tensor's largest number
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """A network: sizes of its layers, samples of a net, and how many nets there are (0: one, not batched)."""

    name: str
    widths: tuple[int, ...]
    n: int = 32768
    n_nets: int = 0
    activation: str = "relu"
    output: str = "none"
    has_bias: bool = False
    has_d_x: bool = True

    def flop(self) -> tuple[int, int]:
        """Operations of the products: forward, and forward + backward."""
        pairs = list(pairwise(self.widths))
        per_sample = [2 * d_in * d_out for d_in, d_out in pairs]
        n = self.n * max(self.n_nets, 1)
        unused = 0 if self.has_d_x else per_sample[0]
        return n * sum(per_sample), n * (3 * sum(per_sample) - unused)


CASES = [
    Case("density", (32, 32, 16)),
    Case("colour", (32, 32, 32, 3), output="sigmoid"),
    Case("instant-ngp", (32, 64, 64, 16)),
    Case("siren", (2, 32, 32, 1), activation="sine", has_bias=True, has_d_x=False),
    Case("256 sirens", (2, 32, 32, 1), n=676, n_nets=256, activation="sine", has_bias=True, has_d_x=False),
    Case("wide", (128, 128, 128, 128)),
]


@dataclass(frozen=True)
class Figure:
    """What was measured of a case, in milliseconds and 1e9 operations a second."""

    name: str
    widths: tuple[int, ...]
    samples: int
    forward_ms: float
    forward_torch_ms: float
    both_ms: float
    both_torch_ms: float
    forward_gflops: float
    both_gflops: float


def make_inputs(case: Case) -> tuple[Tensor, list[Tensor], list[Tensor] | None]:
    """Samples in [-1, 1] and the initial weights of such networks."""
    g = torch.Generator().manual_seed(0)
    nets = (case.n_nets,) if case.n_nets else ()

    def uniform(*shape: int, bound: float) -> Tensor:
        return ((2 * torch.rand(*nets, *shape, generator=g) - 1) * bound).requires_grad_()

    bound = 1 / 30 if case.activation == "sine" else 1.0
    pairs = list(pairwise(case.widths))
    x = uniform(case.n, case.widths[0], bound=1.0).requires_grad_(case.has_d_x)
    weights = [uniform(d_in, d_out, bound=(6 / d_in) ** 0.5 * bound) for d_in, d_out in pairs]
    biases = [uniform(d_out, bound=0.1 * bound) for _, d_out in pairs] if case.has_bias else None
    return x, weights, biases


def torch_mlp(case: Case, x: Tensor, weights: list[Tensor], biases: list[Tensor] | None) -> Tensor:
    """The network as one would write it in torch, products and bias in one call."""
    h = x
    for l, weight in enumerate(weights):
        if l > 0:
            h = torch.relu(h) if case.activation == "relu" else torch.sin(30.0 * h)
        if biases is None:
            h = h @ weight
        elif h.ndim == 3:
            h = torch.baddbmm(biases[l].unsqueeze(1), h, weight)
        else:
            h = torch.addmm(biases[l], h, weight)
    return torch.sigmoid(h) if case.output == "sigmoid" else h


def kernel_mlp(case: Case, x: Tensor, weights: list[Tensor], biases: list[Tensor] | None) -> Tensor:
    """The same by nerfkit."""
    return mlp(x, weights, biases, activation=case.activation, output=case.output, impl="cpu")


def check(case: Case) -> None:
    """Compare values and gradients to float64; ends the program when they differ."""
    x, weights, biases = make_inputs(case)

    def double(t: Tensor) -> Tensor:
        return t.detach().double().requires_grad_(t.requires_grad)

    x64, weights64 = double(x), [double(w) for w in weights]
    biases64 = None if biases is None else [double(b) for b in biases]
    got, want = kernel_mlp(case, x, weights, biases), torch_mlp(case, x64, weights64, biases64)
    d_got = torch.autograd.grad(got.sum(), trained(x, weights, biases))
    d_want = torch.autograd.grad(want.sum(), trained(x64, weights64, biases64))
    for g, w in zip((got.detach(), *d_got), (want.detach(), *d_want), strict=True):
        error = float((g - w).abs().max() / w.abs().max())
        if not error < TOLERANCE:
            sys.exit(f"{case.name}: differs from float64 by {error:.1e}; no figures from wrong results")


def trained(x: Tensor, weights: list[Tensor], biases: list[Tensor] | None) -> list[Tensor]:
    """What needs a gradient."""
    return [t for t in (x, *weights, *(biases or [])) if t.requires_grad]


def minima(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Least milliseconds of each function, called in turn so that a busy machine strikes them alike."""
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            best[i] = min(best[i], 1e3 * (time.perf_counter() - start))
    return best


def measure(case: Case, repeats: int) -> Figure:
    """Times of a case, forward alone and with the backward."""
    x, weights, biases = make_inputs(case)
    wanted = trained(x, weights, biases)
    d_out = torch.ones_like(kernel_mlp(case, x, weights, biases))

    def forward(network: Callable[..., Tensor]) -> Callable[[], object]:
        def run() -> Tensor:
            with torch.no_grad():
                return network(case, x, weights, biases)

        return run

    def both(network: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(network(case, x, weights, biases), wanted, d_out)

    runs = [forward(kernel_mlp), forward(torch_mlp), both(kernel_mlp), both(torch_mlp)]
    forward_ms, forward_torch_ms, both_ms, both_torch_ms = minima(runs, repeats)
    flop_forward, flop_both = case.flop()
    return Figure(
        name=case.name,
        widths=case.widths,
        samples=case.n * max(case.n_nets, 1),
        forward_ms=forward_ms,
        forward_torch_ms=forward_torch_ms,
        both_ms=both_ms,
        both_torch_ms=both_torch_ms,
        forward_gflops=flop_forward / forward_ms / 1e6,
        both_gflops=flop_both / both_ms / 1e6,
    )


def machine() -> dict[str, str]:
    """Where and with what this was measured."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "torch": torch.__version__,
        "numba": numba.__version__,
    }


def main() -> None:
    """Check, measure, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30, help="calls of each, the fastest counts")
    parser.add_argument("--cases", help="names of cases, separated by commas (default: all)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    chosen = [c for c in CASES if args.cases is None or c.name in args.cases.split(",")]
    print("| network | samples | forward ms (torch) | ratio | forward + backward ms (torch) | ratio | GFLOP/s |")
    print("|---|---|---|---|---|---|---|")
    figures = []
    for case in chosen:
        check(case)
        f = measure(case, args.repeats)
        figures.append(f)
        print(
            f"| {f.name} {'-'.join(map(str, f.widths))} | {f.samples} "
            f"| {f.forward_ms:.2f} ({f.forward_torch_ms:.2f}) | {f.forward_torch_ms / f.forward_ms:.1f} "
            f"| {f.both_ms:.2f} ({f.both_torch_ms:.2f}) | {f.both_torch_ms / f.both_ms:.1f} "
            f"| {f.forward_gflops:.0f}, {f.both_gflops:.0f} |",
            flush=True,
        )
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": machine(), "figures": [asdict(f) for f in figures]}
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
