"""Frames of a long sequence that are chosen before all of them are in memory: what a reader asks of whoever chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from nerfkit.scenes.luminance import LUMINANCE

from ._crop import Crop
from ._fields import N_LOOKED_AT, middle
from .photos import map_in_threads

__all__ = ["FrameChooser", "NotingFirst", "Wanted", "decode_in_batches"]

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


class NotingFirst:
    """A chooser that keeps grey middle parts of the first frames, which follow one another as chosen ones do not."""

    def __init__(self, choose: FrameChooser) -> None:
        self.choose, self.first = choose, list[np.ndarray]()

    @property
    def most(self) -> int:
        """Number of frames up to which all are taken."""
        return self.choose.most

    def __call__(self, frames: Iterable[tuple[str, np.ndarray]]) -> list[int]:
        """What the chooser chooses."""
        self.first.clear()
        return self.choose(self._noted(frames))

    def _noted(self, frames: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        for name, pixels in frames:
            if len(self.first) < N_LOOKED_AT:
                part = middle(pixels)
                self.first.append(part.copy() if part.ndim == 2 else part[..., :3] @ np.array(LUMINANCE))
            yield name, pixels


def decode_in_batches(decode: Callable[[str], T], files: Sequence[str]) -> Iterator[T]:
    """Each file decoded, in order and by threads, a few at once."""
    for start in range(0, len(files), N_AT_ONCE):
        yield from map_in_threads(decode, files[start : start + N_AT_ONCE])
