"""Shared helpers of the tests: where they run, and what a dtype can hold."""

import os
from collections.abc import Callable
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


def stop_after_saves(monkeypatch: pytest.MonkeyPatch, is_enough: Callable[[str], bool] = lambda stage: True) -> set:
    """Ctrl-C after each save of a stage's state, once for each step; gives the (stage, step) where it came so far."""
    from nerfkit.checkpoints import CheckpointFolder

    save, stopped = CheckpointFolder.save, set()

    def save_and_stop(folder, step, state):
        save(folder, step, state)
        place = folder.folder.name, step
        if is_enough(place[0]) and place not in stopped:
            stopped.add(place)
            raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointFolder, "save", save_and_stop)
    return stopped
