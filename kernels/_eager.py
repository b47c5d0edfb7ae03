"""A call that stays outside of the graphs of ``torch.compile``; to be imported only by what is being compiled.

It loads the compiler, which takes a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

__all__ = ["call_eagerly"]

P = ParamSpec("P")
R = TypeVar("R")


@torch.compiler.disable
def call_eagerly(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """``function(*args, **kwargs)`` as without a compiler: the graph ends before it, and another begins behind."""
    return function(*args, **kwargs)
