"""Shared helpers of the tests: where they run, and what a dtype can hold."""

import os
from typing import Any

import pytest
import torch

INTERPRET = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

# on a machine without a GPU the kernels still run, slowly, in Triton's interpreter; `-m triton` runs these tests alone
needs_triton = pytest.mark.triton
needs_gpu = pytest.mark.gpu

# what the output's dtype can hold, not what happens to pass
TOLERANCE: dict[torch.dtype, dict[str, Any]] = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-12},
    torch.float32: {"rtol": 1e-5, "atol": 1e-6},
    torch.float16: {"rtol": 2e-3, "atol": 1e-3},
    torch.bfloat16: {"rtol": 1.6e-2, "atol": 1e-2},
}
