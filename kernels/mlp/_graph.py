"""mlp as a node of the graphs of torch.compile."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nerfkit.kernels._graph_op import define_graph_op

from . import mlp
from ._reference import accumulation_dtype, mlp_reference

__all__ = ["mlp_graph"]


def mlp_graph(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activation: str,
    scale: float,
    output: str,
    impl: str,
) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.mlp.mlp`; ``impl`` is "cpu" or "triton"."""
    tensors = [x, *weights, *(b for b in biases if b is not None)]
    if impl == "cpu":
        acc = accumulation_dtype(*tensors)
        tensors = [t.to(acc) for t in tensors]
    return _mlp(tensors, [b is not None for b in biases], activation, scale, output, impl)[0]


def _parameters(tensors: Sequence[Tensor], has_bias: Sequence[bool]) -> list[Tensor | None]:
    """Weights, then biases, None where a layer has none; of ``tensors`` or of what has an entry for each."""
    biases = iter(tensors[1 + len(has_bias) :])
    return [*tensors[1 : 1 + len(has_bias)], *(next(biases) if has else None for has in has_bias)]


def _run(tensors, has_bias, activation, scale, output, impl):
    parameters = _parameters(tensors, has_bias)
    weights, biases = parameters[: len(has_bias)], parameters[len(has_bias) :]
    return [mlp(tensors[0], weights, biases, activation=activation, scale=scale, output=output, impl=impl)]  # pyright: ignore[reportArgumentType]


def _fake(tensors, has_bias, activation, scale, output, impl):
    x, last = tensors[0], tensors[len(has_bias)]
    return [x.new_empty(*x.shape[:-1], last.shape[-1], dtype=accumulation_dtype(*tensors))]


def _gradients(
    d_outputs, tensors, outputs, needs, has_bias, activation, scale, output, impl
) -> Sequence[Tensor | None]:
    x, parameters = tensors[0], _parameters(tensors, has_bias)
    needs = [needs[0], *(bool(need) for need in _parameters(needs, has_bias))]
    if impl == "cpu":
        from ._cpu import pack, run_backward
    else:
        from ._triton import pack, run_backward
    packed = pack(x, parameters)
    return run_backward(d_outputs[0], outputs[0], packed, x, parameters, needs, activation, scale, output)


def _reference(tensors, has_bias, activation, scale, output, impl):
    parameters = _parameters(tensors, has_bias)
    weights, biases = parameters[: len(has_bias)], parameters[len(has_bias) :]
    return (mlp_reference(tensors[0], weights, biases, activation, scale, output),)  # pyright: ignore[reportArgumentType]


_mlp = define_graph_op(
    "mlp",
    "bool[] has_bias, str activation, float scale, str output, str impl",
    run=_run,
    fake=_fake,
    gradients=_gradients,
    reference=_reference,
)
