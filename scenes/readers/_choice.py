"""Frames of a long sequence that are chosen before all of them are in memory: what a reader asks of whoever chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from ._crop import Crop
from .photos import map_in_threads

__all__ = ["FrameChooser", "Wanted", "decode_in_batches"]

# frames that are decoded at once while a folder is looked through
N_AT_ONCE = 8
T = TypeVar("T")


class FrameChooser(Protocol):
    """Chooses from sequences of more than ``most`` frames."""

    @property
    def most(self) -> int:
        """Number of frames up to which all are taken, unseen."""
        ...

    def __call__(self, frames: Iterable[tuple[str, np.ndarray]]) -> list[int]:
        """Indices, in order, of at most ``most`` of the frames: names and pixels [h, w] or [h, w, 3] of any type.

        Each is looked at once, and none is kept.
        """
        ...


@dataclass(frozen=True)
class Wanted:
    """What is read of a sequence: the part ``crop`` of each frame that ``choose`` takes of the first ``n_frames``."""

    n_frames: int | None = None
    crop: Crop | None = None
    choose: FrameChooser | None = None

    def is_chosen_from(self, n_found: int) -> bool:
        """Whether so many frames are too many to take them all."""
        return self.choose is not None and n_found > self.choose.most

    def chosen(self, frames: Iterable[tuple[str, np.ndarray]]) -> list[int]:
        """Indices of the frames that are taken."""
        assert self.choose is not None
        return self.choose(frames)


def decode_in_batches(decode: Callable[[str], T], files: Sequence[str]) -> Iterator[T]:
    """Each file decoded, in order and by threads, a few at once."""
    for start in range(0, len(files), N_AT_ONCE):
        yield from map_in_threads(decode, files[start : start + N_AT_ONCE])
