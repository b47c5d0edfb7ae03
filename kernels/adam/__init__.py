"""Adam's step in one pass: the public function, its contract and the choice of implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from nerfkit.kernels._dispatch import choose_impl

from ._reference import adam_reference

__all__ = ["adam", "adam_reference"]

# a row of the table is one tile's; encodings have 1 to 8 numbers in a row
MAX_TRITON_ROW = 64


def adam(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    step: int | Tensor,
    lr: float | Tensor,
    betas: tuple[float, float] = (0.9, 0.99),
    eps: float = 1e-15,
    touched_only: bool = False,
    impl: str = "auto",
) -> None:
    """One step of Adam (arXiv:1412.6980, algorithm 1), in place.

    Parameters
    ----------
    param : Tensor, shape (n, ...)
        Parameters; float32 or float64. Changed.
    grad : Tensor, shape (n, ...)
        Their gradient; same dtype.
    exp_avg, exp_avg_sq : Tensor, shape (n, ...)
        Running means of the gradient and of its square; zeros before the first step. Changed.
    step : int or Tensor of one element
        Number of this step, from 1. A tensor stays on its device and is not looked at here, so that a step that was
        captured in a CUDA graph goes on counting.
    lr : float or Tensor of one element
        Learning rate.
    betas, eps : float
        Decay of the two means, and what is added to the root, as in ``torch.optim.Adam``.
    touched_only : bool
        Leave out rows whose gradient is zero throughout, means included: a hash table's entries that no sample
        of the batch came near neither drift on nor are read and written.
    impl : {"auto", "triton", "cpu", "reference"}
        ``"auto"`` takes Triton for float32 CUDA tensors with at most 64 numbers a row, or any without
        ``touched_only``, numba for tensors on the CPU, and the reference otherwise.

    Notes
    -----
    Where all rows are touched, the result is that of ``torch.optim.Adam`` with ``weight_decay=0``, to rounding.
    Means of rows left out do not decay, as in ``torch.optim.SparseAdam``; the correction of their bias goes by
    the number of steps, not of touches.

    Examples
    --------
    The first step has the length of the learning rate, whatever the gradient.

    >>> import torch
    >>> param, means = torch.zeros(3, 1), torch.zeros(2, 3, 1)
    >>> adam(param, torch.tensor([[5.0], [-0.1], [0.0]]), *means, step=1, lr=0.01, touched_only=True)
    >>> param[:, 0]
    tensor([-0.0100,  0.0100,  0.0000])
    """
    tensors = {"grad": grad, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    for name, tensor in tensors.items():
        if (tensor.shape, tensor.dtype, tensor.device) != (param.shape, param.dtype, param.device):
            raise ValueError(
                f"{name} must have the shape, dtype and device of param ({tuple(param.shape)}, {param.dtype}, "
                f"{param.device}); got {tuple(tensor.shape)}, {tensor.dtype}, {tensor.device}"
            )
    if param.dtype not in (torch.float32, torch.float64) or param.ndim == 0:
        raise ValueError(f"param must be float32 or float64 with one dimension or more; got {param.dtype}")
    if (not isinstance(step, Tensor) and step < 1) or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"need step >= 1 and betas in [0, 1); got {step} and {betas}")
    n_in_row = param.numel() // max(len(param), 1)
    fits = param.dtype == torch.float32 and (n_in_row <= MAX_TRITON_ROW or not touched_only)
    chosen = choose_impl("adam", param, impl, ("triton", "cpu") if fits else ("cpu",))
    if torch.compiler.is_compiling():
        # imported here so that only a compiler loads them
        if isinstance(step, Tensor) or isinstance(lr, Tensor):
            from nerfkit.kernels._eager import call_eagerly

            call_eagerly(
                adam, param, grad, exp_avg, exp_avg_sq, step=step, lr=lr, betas=betas, eps=eps,
                touched_only=touched_only, impl=impl,
            )  # fmt: skip
            return
        from ._graph import adam_graph

        with torch.no_grad():
            adam_graph(param, grad, exp_avg, exp_avg_sq, step, lr, betas, eps, touched_only, chosen)
        return
    # imported here so that a machine without Triton or numba can still import nerfkit.kernels
    if chosen == "triton":
        from ._triton import adam_triton as run
    elif chosen == "cpu":
        from ._cpu import adam_cpu as run
    else:
        run = adam_reference
    run(param, grad, exp_avg, exp_avg_sq, step, lr, betas, eps, touched_only)
