"""Poses of photos, or of a video's frames, by COLMAP's structure from motion (Schoenberger and Frahm, CVPR 2016).

Stages, each of which is done once: photos into the dataset's folder, features, matches, models, and the dataset of the
largest model. What is done is kept when the command is stopped, and not done again.
"""

from __future__ import annotations

from .pipeline import process
from .settings import PosingSettings

__all__ = ["PosingSettings", "process"]
