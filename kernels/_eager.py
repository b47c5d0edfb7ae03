"""A call that stays outside of the graphs of ``torch.compile``; to be imported only by what is being compiled.

It loads the compiler, which takes a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["call_eagerly"]


def _call(function: Callable, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


call_eagerly: Callable[..., Any] = torch.compiler.disable(_call)
"""``function(*args, **kwargs)`` as without a compiler: the graph ends before it, and another begins behind."""
