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
    """

    values: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.weights.shape != self.values.shape:
            raise ValueError(
                f"a stack has values and weights [n_frames, h, w]; got {tuple(self.values.shape)} and "
                f"{tuple(self.weights.shape)}"
            )

    @classmethod
    def of(cls, values: Tensor, frame_weights: Tensor | None = None) -> FrameStack:
        """All pixels alike, or a weight [n_frames] for each frame."""
        if frame_weights is None:
            return cls(values, torch.ones_like(values))
        return cls(values, frame_weights.to(values)[:, None, None].expand_as(values).contiguous())

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

    def window(self, top: int, left: int, height: int, width: int) -> FrameStack:
        """The pixels in a rectangle."""
        values, weights = (
            part[:, top : top + height, left : left + width].contiguous() for part in (self.values, self.weights)
        )
        return FrameStack(values, weights)

    def hold_out(
        self, fraction: float, generator: torch.Generator, *, whole_frames: bool = False
    ) -> tuple[FrameStack, Tensor]:
        """The stack without some pixels, and which those are [n_frames, h, w], bool.

        Parameters
        ----------
        fraction : float
            Of the pixels, or of the used frames.
        generator : torch.Generator
            Draws them, on the CPU.
        whole_frames : bool
            Hold out frames. Neighbours in its frame help to predict a pixel whatever the PSF; frames are the harder
            judge, and fewer.
        """
        if whole_frames:
            used = self.is_used.nonzero()[:, 0].cpu()
            chosen = used[torch.randperm(len(used), generator=generator)[: round(len(used) * fraction)]]
            is_out = torch.zeros(self.values.shape, dtype=torch.bool)
            is_out[chosen] = True
        else:
            is_out = torch.rand(self.values.shape, generator=generator) < fraction
        is_out = is_out.to(self.weights.device) & (self.weights > 0)
        return self.with_weights(self.weights * ~is_out), is_out
