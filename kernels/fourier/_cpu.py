"""Numba loops for fourier: phases, their reduction, cosine and sine in one pass over memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from nerfkit.kernels._elementwise import sine_cosine

__all__ = ["FourierCpu", "features_of_row"]

# multiply-adds may be rounded once, as a GPU rounds them; nothing else is relaxed
_OPTIONS = {"cache": True, "error_model": "numpy", "fastmath": {"contract"}}


@njit(**_OPTIONS)  # pyright: ignore[reportArgumentType]  numba types its own options by what njit happens to take
def features_of_row(out, x, freqs):
    """Cosines, then sines, of 2 pi x freqs: ``out`` [2 m] of ``x`` [d] and ``freqs`` [d, m]."""
    d, m = freqs.shape
    turn, half = x.dtype.type(2 * math.pi), x.dtype.type(0.5)
    for j in range(m):
        out[j] = x[0] * freqs[0, j]
    for k in range(1, d):
        for j in range(m):
            out[j] += x[k] * freqs[k, j]
    for j in range(m):
        cycles = out[j]
        # to [-1/2, 1/2): exact, and within reach of the polynomials
        angle = turn * (cycles - np.floor(cycles + half))
        sine, cosine = sine_cosine(angle)  # pyright: ignore[reportGeneralTypeIssues]  compiled code only
        out[j], out[m + j] = cosine, sine


@njit(parallel=True, **_OPTIONS)  # pyright: ignore[reportArgumentType]
def _features(out, x, freqs):
    for i in prange(len(x)):
        features_of_row(out[i], x[i], freqs)


class FourierCpu(torch.autograd.Function):
    """Features by numba; gradients from features made anew, in torch, so that they have gradients of their own."""

    @staticmethod
    def forward(ctx, x: Tensor, freqs: Tensor) -> Tensor:
        acc = torch.float64 if torch.float64 in (x.dtype, freqs.dtype) else torch.float32
        out = torch.empty(len(x), 2 * len(freqs), dtype=acc)
        if out.numel():
            columns = freqs.detach().to(acc).T.contiguous()
            _features(out.numpy(), x.detach().to(acc).contiguous().numpy(), columns.numpy())
        ctx.save_for_backward(x, freqs)
        return out.to(x.dtype)

    @staticmethod
    def backward(ctx, d_features: Tensor) -> tuple[Tensor | None, Tensor | None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, freqs = ctx.saved_tensors
        # autocast would round the products, where a gradient is asked for under it
        with torch.autocast("cpu", enabled=False):
            return gradients(d_features, x, freqs, ctx.needs_input_grad)


def gradients(
    d_features: Tensor, x: Tensor, freqs: Tensor, needs: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of ``x`` and ``freqs``, None where not needed."""
    acc = torch.float64 if torch.float64 in (x.dtype, freqs.dtype) else torch.float32
    features = FourierCpu.apply(x.to(acc), freqs.to(acc))
    assert isinstance(features, Tensor)
    cosines, sines = features.chunk(2, dim=-1)
    d_cosines, d_sines = d_features.to(acc).chunk(2, dim=-1)
    d_cycles = 2 * math.pi * (cosines * d_sines - sines * d_cosines)  # [n, m]
    d_x = (d_cycles @ freqs.to(acc)).to(x.dtype) if needs[0] else None
    d_freqs = (d_cycles.T @ x.to(acc)).to(freqs.dtype) if needs[1] else None
    return d_x, d_freqs
