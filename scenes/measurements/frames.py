"""What low-resolution frames measured, and how surely; where they look is :mod:`nerfkit.scenes.motion`'s."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["FrameStack"]


@dataclass(frozen=True)
class FrameStack:
    """Frames of one channel and the weight of each pixel.

    Parameters
    ----------
    values : Tensor, shape (n_frames, h, w), float32
        What was measured.
    weights : Tensor, shape (n_frames, h, w), float32
        0 for pixels that do not count.
    measured : Tensor, shape (n_frames, h, w), optional
        1 for pixels that a file holds, 0 for those that were filled in, whatever becomes of their frame; None: all.
    """

    values: Tensor
    weights: Tensor
    measured: Tensor | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.weights.shape != self.values.shape:
            raise ValueError(
                f"a stack has values and weights [n_frames, h, w]; got {tuple(self.values.shape)} and "
                f"{tuple(self.weights.shape)}"
            )

    @classmethod
    def of(
        cls, values: Tensor, frame_weights: Tensor | None = None, measured: Tensor | None = None
    ) -> FrameStack:  # fmt: skip
        """All pixels alike, or a weight [n_frames] for each frame; what was filled in has none."""
        whole = cls(values, torch.ones_like(values), measured)
        frame_weights = torch.ones(len(values)) if frame_weights is None else frame_weights
        return whole.with_frame_weights(frame_weights)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_used(self) -> Tensor:
        """Which frames have pixels that count [n_frames], bool."""
        return self.weights.amax((1, 2)) > 0

    def with_values(self, values: Tensor) -> FrameStack:
        """Another channel of the same pixels."""
        return replace(self, values=values)

    def with_weights(self, weights: Tensor) -> FrameStack:
        """The same values with other weights."""
        return replace(self, weights=weights)

    def with_frame_weights(self, frame_weights: Tensor) -> FrameStack:
        """The same values with a weight [n_frames] for all of a frame that was measured."""
        weights = frame_weights.to(self.values)[:, None, None].expand_as(self.values)
        return self.with_weights(weights.contiguous() if self.measured is None else weights * self.measured)

    def where_measured(self, is_known: Tensor) -> Tensor:
        """``is_known`` [n_frames, h, w], bool, without what was filled in."""
        return is_known if self.measured is None else is_known & (self.measured > 0)

    def frames(self, chosen: slice) -> FrameStack:
        """Some of the frames."""
        measured = None if self.measured is None else self.measured[chosen]
        return FrameStack(self.values[chosen], self.weights[chosen], measured)

    def window(self, top: int, left: int, height: int, width: int) -> FrameStack:
        """The pixels in a rectangle."""

        def cut(part: Tensor) -> Tensor:
            return part[:, top : top + height, left : left + width].contiguous()

        measured = None if self.measured is None else cut(self.measured)
        return FrameStack(cut(self.values), cut(self.weights), measured)

    def hold_out(self, fraction: float, generator: torch.Generator) -> tuple[FrameStack, Tensor]:
        """The stack without a fraction of its pixels, drawn on the CPU, and which those are [n_frames, h, w], bool."""
        return self._without(torch.rand(self.values.shape, generator=generator) < fraction)

    def hold_out_frames(self, fold: int, n_folds: int, generator: torch.Generator) -> tuple[FrameStack, Tensor]:
        """The stack without one of ``n_folds`` equal parts of its used frames, and which pixels those are.

        The same generator divides the frames alike for every ``fold`` from 0 to ``n_folds`` - 1.
        """
        used = self.is_used.nonzero()[:, 0].cpu()
        is_out = torch.zeros(self.values.shape, dtype=torch.bool)
        is_out[used[torch.randperm(len(used), generator=generator)[fold::n_folds]]] = True
        return self._without(is_out)

    def _without(self, is_out: Tensor) -> tuple[FrameStack, Tensor]:
        is_out = is_out.to(self.weights.device) & (self.weights > 0)
        return self.with_weights(self.weights * ~is_out), is_out
