"""fourier as a node of the graphs of torch.compile."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nerfkit.kernels._graph_op import define_graph_op

from . import fourier
from ._reference import fourier_reference

__all__ = ["fourier_graph"]


def fourier_graph(x: Tensor, freqs: Tensor, impl: str) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.fourier.fourier`; ``impl`` is "cpu" or "triton"."""
    return _fourier([x, freqs], impl)[0]


def _run(tensors, impl):
    return [fourier(*tensors, impl=impl)]


def _fake(tensors, impl):
    x, freqs = tensors
    return [x.new_empty(x.shape[0], 2 * freqs.shape[0])]


def _gradients(d_outputs, tensors, outputs, needs, impl) -> Sequence[Tensor | None]:
    if impl == "cpu":
        from ._cpu import gradients
    else:
        from ._triton import gradients
    x, freqs = tensors
    return gradients(d_outputs[0], x, freqs, needs)


def _reference(tensors, impl):
    return (fourier_reference(*tensors),)


_fourier = define_graph_op("fourier", "str impl", run=_run, fake=_fake, gradients=_gradients, reference=_reference)
