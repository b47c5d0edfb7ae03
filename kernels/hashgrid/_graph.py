"""hashgrid as a node of the graphs of torch.compile."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nerfkit.kernels._graph_op import define_graph_op

from . import HashGridSpec, hashgrid
from ._reference import hashgrid_reference

__all__ = ["hashgrid_graph"]


def hashgrid_graph(x: Tensor, table: Tensor, spec: HashGridSpec, deterministic: bool, impl: str) -> Tensor:
    """Same contract as :func:`nerfkit.kernels.hashgrid.hashgrid`; ``impl`` is "cpu" or "triton"."""
    # the loops for CPUs know no half precision
    tensors = [x, table.to(x.dtype) if impl == "cpu" else table]
    shape = spec.n_dims, spec.n_features, spec.resolutions, spec.log2_table_size
    return _hashgrid(tensors, *shape, deterministic, impl)[0].to(table.dtype)


def _run(tensors, n_dims, n_features, resolutions, log2_table_size, deterministic, impl):
    (x, table), spec = tensors, HashGridSpec(n_dims, n_features, resolutions, log2_table_size)
    return [hashgrid(x, table, spec, deterministic=deterministic, impl=impl)]


def _fake(tensors, n_dims, n_features, resolutions, log2_table_size, deterministic, impl):
    x, table = tensors
    return [table.new_empty(x.shape[0], len(resolutions) * n_features)]


def _gradients(
    d_outputs, tensors, outputs, needs, n_dims, n_features, resolutions, log2_table_size, deterministic, impl
) -> Sequence[Tensor | None]:
    (x, table), spec = tensors, HashGridSpec(n_dims, n_features, resolutions, log2_table_size)
    if impl == "cpu":
        from ._cpu import gradients

        return gradients(d_outputs[0], x, table, spec, needs)
    from ._triton import gradients

    return gradients(d_outputs[0], x, table, spec, deterministic, needs)


def _reference(tensors, n_dims, n_features, resolutions, log2_table_size, deterministic, impl):
    x, table = tensors
    return (hashgrid_reference(x, table, HashGridSpec(n_dims, n_features, resolutions, log2_table_size)),)


_hashgrid = define_graph_op(
    "hashgrid",
    "int n_dims, int n_features, int[] resolutions, int log2_table_size, bool deterministic, str impl",
    run=_run,
    fake=_fake,
    gradients=_gradients,
    reference=_reference,
)
