"""Which implementation of an operation runs: Triton on a GPU, numba on a CPU, else the definition in torch."""

from __future__ import annotations

import importlib.util
import os

from torch import Tensor

__all__ = ["IMPLS", "choose_impl"]

IMPLS = ("auto", "reference", "triton", "cpu")


def choose_impl(op: str, tensor: Tensor, impl: str, available: tuple[str, ...]) -> str:
    """Name of the implementation of ``op`` for ``tensor``.

    Parameters
    ----------
    op : str
        Name of the operation, for messages.
    tensor : Tensor
        An input; its device decides under ``"auto"``.
    impl : {"auto", "reference", "triton", "cpu"}
        What the caller asked for. ``"auto"`` is overridden by the environment variable ``NERFKIT_KERNELS``.
    available : tuple of str
        What the operation has besides ``"reference"``: a subset of ``("triton", "cpu")``.

    Raises
    ------
    ValueError
        An unknown name, or one that this operation does not have.
    RuntimeError
        One that this machine or this tensor cannot run; nothing is replaced silently.
    """
    forced = impl if impl != "auto" else os.environ.get("NERFKIT_KERNELS", "auto")
    if forced not in IMPLS:
        raise ValueError(f"{op}: impl (or NERFKIT_KERNELS) must be one of {', '.join(IMPLS)}; got {forced!r}")
    if forced == "auto":
        return _auto(tensor, available)
    if forced == "reference":
        return forced
    if forced not in available:
        # the environment variable speaks of all operations: one that lacks it keeps its own choice
        if impl == "auto":
            return _auto(tensor, available)
        raise ValueError(f"{op} has no {forced!r} implementation; it has reference{', '.join(('', *available))}")
    if forced == "triton":
        if importlib.util.find_spec("triton") is None:
            raise RuntimeError(f"{op}: impl='triton' needs the package triton, which is not installed here")
        if not tensor.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
            raise RuntimeError(
                f"{op}: impl='triton' needs tensors on a GPU; got one on {tensor.device} "
                "(TRITON_INTERPRET=1 runs the kernels slowly on the CPU)"
            )
    if forced == "cpu" and tensor.device.type != "cpu":
        raise RuntimeError(f"{op}: impl='cpu' needs tensors on the CPU; got one on {tensor.device}")
    return forced


def _auto(tensor: Tensor, available: tuple[str, ...]) -> str:
    if tensor.is_cuda and "triton" in available and importlib.util.find_spec("triton") is not None:
        return "triton"
    if tensor.device.type == "cpu" and "cpu" in available:
        return "cpu"
    return "reference"
