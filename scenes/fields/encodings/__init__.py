"""Encodings: features of a point, before a network. One file each; ``ENCODINGS`` names them for the settings."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nerfkit.kernels.hashgrid import HashGridSpec

__all__ = ["ENCODINGS", "Encoding", "FusableEncoding", "make_encoding"]

# name -> 'module:maker'; a string, so that listing the names loads no torch
ENCODINGS = {
    "hash": "nerfkit.scenes.fields.encodings.hash_grid:HashGridEncoding",
    "gaussian": "nerfkit.scenes.fields.encodings.fourier:gaussian_encoding",
    "dyadic": "nerfkit.scenes.fields.encodings.fourier:dyadic_encoding",
    "identity": "nerfkit.scenes.fields.encodings.identity:IdentityEncoding",
}


@runtime_checkable
class Encoding(Protocol):
    """Features of points of the unit cube."""

    @property
    def n_dims(self) -> int:
        """Coordinates d of a point."""
        ...

    @property
    def n_outputs(self) -> int:
        """Features of a point."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Features [n, n_outputs] of ``x`` [n, d] in [0, 1]."""
        ...

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Groups for the optimiser; none where nothing is trained."""
        ...


@runtime_checkable
class FusableEncoding(Encoding, Protocol):
    """One that :func:`nerfkit.kernels.radiance.radiance` computes inside of its kernels."""

    def fused(self) -> tuple[Tensor, HashGridSpec | None] | None:
        """Its tensor, and the shape of the hash grid where it is one; None where its settings rule that out."""
        ...


def make_encoding(name: str, n_dims: int, generator: torch.Generator, settings: Mapping[str, Any]) -> Encoding:
    """The encoding registered under ``name``.

    Parameters
    ----------
    name : str
        One of ``ENCODINGS``.
    n_dims : int
        Coordinates of a point.
    generator : torch.Generator
        Source of what is drawn, on the CPU.
    settings : mapping
        Its maker takes from these what it has a parameter for, and has a default for what is absent.

    Examples
    --------
    >>> import torch
    >>> make_encoding("dyadic", 2, torch.Generator(), {"n_frequencies": 5, "width": 64}).n_outputs
    22
    """
    if name not in ENCODINGS:
        raise ValueError(f"unknown encoding {name!r}; there are {', '.join(ENCODINGS)}")
    module, _, attribute = ENCODINGS[name].partition(":")
    make = getattr(importlib.import_module(module), attribute)
    taken = inspect.signature(make).parameters
    return make(n_dims, generator, **{key: value for key, value in settings.items() if key in taken})
