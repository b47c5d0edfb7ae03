"""Random generators that lie where their numbers are wanted, so that no draw crosses to a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["generator_on", "restore_generator"]


def generator_on(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """``generator``, or one begun anew from its first seed where ``device`` is of another kind."""
    if generator.device.type == device.type:
        return generator
    return torch.Generator(device).manual_seed(generator.initial_seed())


def restore_generator(generator: torch.Generator, state: Tensor) -> None:
    """Go on from a saved state, unless it was saved on another kind of device: its draws cannot be repeated here."""
    if len(state) == len(generator.get_state()):
        # taken from the CPU, wherever the checkpoint was loaded to
        generator.set_state(state.cpu())
