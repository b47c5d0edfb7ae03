"""OpenCV, imported at first use: its wheel needs a library of the system that servers often lack."""

from __future__ import annotations

from typing import Any

from nerfkit.scenes.errors import MissingCapabilityError

__all__ = ["load_cv2"]


def load_cv2() -> Any:
    """The module cv2.

    Raises
    ------
    MissingCapabilityError
        It cannot be imported, usually because libGL is not on this machine.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingCapabilityError(
            f"OpenCV cannot be loaded ({error})",
            fix="apt-get install libgl1 libglib2.0-0, "
            "or pip uninstall opencv-python && pip install opencv-python-headless",
        ) from error
    return cv2
