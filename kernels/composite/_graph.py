"""composite as a node of the graphs of torch.compile."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nerfkit.kernels._graph_op import define_graph_op
from nerfkit.kernels._packed import check_packed

from ._reference import accumulation_dtype, composite_reference

__all__ = ["composite_graph"]


def composite_graph(
    sigmas: Tensor,
    rgbs: Tensor,
    t_starts: Tensor,
    t_ends: Tensor,
    packed_info: Tensor,
    bkgd_rgb: Tensor | None,
    impl: str,
) -> list[Tensor]:
    """The fields of ``Composited``; ``bkgd_rgb`` one row a ray, ``impl`` "cpu" or "triton"."""
    floats = [sigmas, rgbs, t_starts, t_ends, *([] if bkgd_rgb is None else [bkgd_rgb])]
    if impl == "cpu":
        acc = accumulation_dtype(*floats)
        floats = [x.to(acc) for x in floats]
    return _composite([*floats[:4], packed_info, *floats[4:]], impl)[:4]


def _run(tensors, impl):
    if impl == "cpu":
        from ._cpu import run_forward

        check_packed(tensors[4], len(tensors[0]))
    else:
        from ._triton import run_forward
    return list(run_forward(*_with_background(tensors, impl), has_backward=True))


def _fake(tensors, impl):
    sigmas, packed_info = tensors[0], tensors[4]
    acc, n_rays = accumulation_dtype(*tensors), packed_info.shape[0]
    pixels = [sigmas.new_empty(n_rays, c, dtype=acc) for c in (3, 1, 1)]
    return [*pixels, *(sigmas.new_empty(sigmas.shape[0], dtype=acc) for _ in range(2))]


def _gradients(d_outputs, tensors, outputs, needs, impl) -> Sequence[Tensor | None]:
    if impl == "cpu":
        from ._cpu import run_backward
    else:
        from ._triton import run_backward
    inputs = _with_background(tensors, impl)
    needs = [*needs, *(False for _ in inputs[len(needs) :])]
    weights, trans = outputs[3:]
    return run_backward(d_outputs[:4], inputs, weights, trans, needs)


def _with_background(tensors, impl):
    """Six tensors; without a background the loops for CPUs take an empty one, the kernels None."""
    return tensors if len(tensors) == 6 else [*tensors, tensors[0].new_empty(0) if impl == "cpu" else None]


def _reference(tensors, impl):
    outputs = composite_reference(*tensors)
    return *outputs, outputs[3].new_empty(0)  # nothing for what is left behind the samples


_composite = define_graph_op("composite", "str impl", run=_run, fake=_fake, gradients=_gradients, reference=_reference)
