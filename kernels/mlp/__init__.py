"""Small fully connected networks: the public function, its contract and the choice of implementation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl

from ._reference import ACTIVATIONS, OUTPUTS, mlp_reference

__all__ = ["mlp", "mlp_reference"]

# a tile's sums of a wider layer do not fit the registers
MAX_TRITON_WIDTH = 256


def mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None] | None = None,
    *,
    activation: str = "relu",
    scale: float = 30.0,
    output: str = "none",
    impl: str = "auto",
) -> Tensor:
    """Network of fully connected layers, or many networks of one shape, each with its own samples.

    Layer l computes ``z = h @ weights[l] + biases[l]`` from the layer before it, ``x`` at first. What follows
    is ``activation`` between layers, and ``output`` after the last one.

    Parameters
    ----------
    x : Tensor, shape (n, d_in) or (n_nets, n, d_in)
        Samples.
    weights : sequence of Tensor, shapes (d_l, d_next) or (n_nets, d_l, d_next)
        Matrix of each layer, inputs by outputs: the transpose of ``torch.nn.Linear.weight``.
    biases : sequence of (Tensor or None), shapes (d_next,) or (n_nets, d_next), optional
        Shift of each layer; with ``n_nets``, the first shape is shared by all of them. None is zero.
    activation : {"relu", "sine", "gaussian"}
        ``max(z, 0)``; ``sin(scale * z)`` (SIREN, arXiv:2006.09661, section 3.2);
        ``exp(-(scale * z)**2)`` (as in WIRE, arXiv:2301.05187, section 2; arXiv:2111.15135 writes
        ``1 / (sqrt(2) a)`` for the scale).
    scale : float
        Factor of the sine and of the Gaussian, SIREN's omega_0; finite and positive. ReLU has none.
    output : {"none", "sigmoid"}
        Function after the last layer.
    impl : {"auto", "triton", "cpu", "reference"}
        ``"auto"`` takes numba for CPU tensors, and Triton for CUDA tensors whose network is at most 256 wide
        everywhere; a wider one goes through the reference.

    Returns
    -------
    Tensor, shape (n, d_out) or (n_nets, n, d_out)
        In float32 (float64 if any input is float64).

    Notes
    -----
    Differentiable in ``x``, ``weights`` and ``biases``; twice and more as well, where the reference takes over
    (``create_graph=True``). What needs no gradient costs nothing. The slope of the ReLU at 0 is 0. On a CPU the
    same input gives the same bits with any number of threads, and with Triton each time. Hidden layers are
    recomputed in the backward, so that memory does not grow with depth.

    Products and sums are in float32 (float64 if any input is float64). Where ``x`` and all weights have one
    half-precision dtype, Triton takes products in that dtype and rounds what goes from layer to layer to it, with
    sums in float32; gradients too go from layer to layer in it, so scale a loss whose float16 gradients would
    fall below 6e-8. Under autocast Triton takes ``x`` and ``weights`` in autocast's dtype, as a matrix product there
    does, and gives float32; the loops for CPUs and the reference, which gain nothing by it, change nothing.

    Examples
    --------
    The distance of 3 and of -2 from zero, by two hidden units.

    >>> import torch
    >>> mlp(
    ...     torch.tensor([[3.0], [-2.0]]),
    ...     weights=[torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0], [1.0]])],
    ... )
    tensor([[3.],
            [2.]])
    """
    weights = list(weights)
    shifts: list[Tensor | None] = [None for _ in weights] if biases is None else list(biases)
    _check_options(activation, scale, output)
    _check_shapes(x, weights, shifts)
    is_wide = max(x.shape[-1], *(w.shape[-1] for w in weights)) > MAX_TRITON_WIDTH
    op, available = ("mlp", ("triton", "cpu")) if not is_wide else (f"mlp wider than {MAX_TRITON_WIDTH}", ("cpu",))
    chosen = choose_impl(op, x, impl, available)
    if torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type):
        if chosen == "triton":
            x, weights = _at_autocasts_precision(x, weights)
        with torch.autocast(x.device.type, enabled=False):
            return _run(x, weights, shifts, activation, scale, output, chosen)
    return _run(x, weights, shifts, activation, scale, output, chosen)


def _run(
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor | None],
    activation: str,
    scale: float,
    output: str,
    chosen: str,
) -> Tensor:
    # imported here so that a machine without Triton or numba can still import nerfkit.kernels
    if torch.compiler.is_compiling() and chosen != "reference":
        from ._graph import mlp_graph

        return mlp_graph(x, weights, biases, activation, scale, output, chosen)
    if chosen == "triton":
        from ._triton import mlp_triton as run
    elif chosen == "cpu":
        from ._cpu import mlp_cpu as run
    else:
        run = mlp_reference
    return run(x, weights, biases, activation, scale, output)


def _at_autocasts_precision(x: Tensor, weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """x and weights as autocast gives them to a matrix product: float64 stays, for it is there to check with."""
    if torch.float64 in (x.dtype, *(w.dtype for w in weights)):
        return x, weights
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype), [w.to(dtype) for w in weights]


def _check_options(activation: str, scale: float, output: str) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
    if output not in OUTPUTS:
        raise ValueError(f"output must be one of {', '.join(OUTPUTS)}; got {output!r}")
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale must be finite and positive; got {scale}")


def _check_shapes(x: Tensor, weights: list[Tensor], biases: list[Tensor | None]) -> None:
    if x.ndim not in (2, 3):
        raise ValueError(f"x must have shape (n, d_in) or (n_nets, n, d_in); got {tuple(x.shape)}")
    if not weights:
        raise ValueError("weights must hold one matrix a layer; got none")
    if len(biases) != len(weights):
        raise ValueError(
            f"biases must hold one entry a layer, {len(weights)}, None where a layer has none; got {len(biases)}"
        )
    nets, d_in = tuple(x.shape[:-2]), x.shape[-1]
    for l, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if weight.ndim != x.ndim or weight.shape[:-1] != (*nets, d_in) or 0 in weight.shape[-2:]:
            raise ValueError(
                f"weights[{l}] must have shape {_written(*nets, d_in, 'd_next')}, sizes of at least 1, "
                f"after x or the layer before; got {tuple(weight.shape)}"
            )
        d_in = weight.shape[-1]
        if bias is not None and bias.shape not in {(d_in,), (*nets, d_in)}:
            shapes = " or ".join(dict.fromkeys([_written(d_in), _written(*nets, d_in)]))
            raise ValueError(f"biases[{l}] must have shape {shapes}; got {tuple(bias.shape)}")
    for name, tensor in _named(x, weights, biases):
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be floating point; got {tensor.dtype}")
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, x on {x.device}; they must share one device")


def _named(x: Tensor, weights: list[Tensor], biases: list[Tensor | None]) -> list[tuple[str, Tensor]]:
    named = [("x", x), *((f"weights[{l}]", w) for l, w in enumerate(weights))]
    return named + [(f"biases[{l}]", b) for l, b in enumerate(biases) if b is not None]


def _written(*sizes: int | str) -> str:
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"
