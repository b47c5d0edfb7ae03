"""Which device a user's ``auto``, ``cpu`` or ``cuda`` means on this machine."""

from __future__ import annotations

from nerfkit.scenes.errors import MissingCapabilityError, NerfkitError

__all__ = ["DEVICES", "choose_device"]

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str) -> str:
    """``"cpu"`` or ``"cuda"``; asking for a GPU that is not there is an error, never a change.

    Examples
    --------
    >>> choose_device("cpu")
    'cpu'
    """
    import torch

    if name not in DEVICES:
        raise NerfkitError(
            f"must be one of {', '.join(DEVICES)}; got {name!r}", where="device", fix="give one of these"
        )
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise MissingCapabilityError(
            "no GPU that torch can use on this machine", where="--device cuda",
            fix="use --device cpu, or install a torch build for your GPU",
        )  # fmt: skip
    return name
