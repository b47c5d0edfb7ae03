"""The dataset of a radiance field: all pixels of a set of photos, kept as bytes, drawn at random."""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["PhotoPixels", "PixelBatch"]


class PixelBatch(NamedTuple):
    """Pixels drawn at random."""

    # photo of each pixel [n], int64
    photo_ids: Tensor
    # centres of the pixels [n, 2] (x, y), pixels
    pixels: Tensor
    # colour [n, 3] in [0, 1], not premultiplied
    rgb: Tensor
    # opacity [n, 1] in [0, 1]; None where the photos are opaque
    alphas: Tensor | None


class PhotoPixels:
    """Photos of any sizes as one run of bytes on a device.

    Parameters
    ----------
    images : mutable sequence of uint8 ndarray, shape (h, w, 3 or 4)
        The photos. A mixture is kept with four channels. On a CPU each is replaced in the sequence by a view of the
        bytes held here, so that photos are in memory once.
    device : torch.device or str
        Where the bytes lie and batches are drawn.
    masks : sequence of bool ndarray or None, shape (h, w), optional
        Which pixels of each photo are drawn; None: all.
    mapped : uint8 ndarray, shape (n_pixels, 3 or 4), optional
        The photos by rows, one after the other: taken as it is on a CPU, so that nothing is copied.
    on_draw : callable
        Called with the number of pixels that are looked at.

    Raises
    ------
    ValueError
        No pixel is to be drawn.

    Examples
    --------
    >>> import numpy as np, torch
    >>> photos = PhotoPixels([np.full((2, 3, 3), 255, np.uint8)], "cpu")
    >>> batch = photos.draw(4, torch.Generator().manual_seed(0))
    >>> batch.rgb.shape, bool((batch.rgb == 1).all())
    (torch.Size([4, 3]), True)
    """

    def __init__(
        self, images: MutableSequence[np.ndarray], device: torch.device | str,
        masks: Sequence[np.ndarray | None] | None = None, mapped: np.ndarray | None = None,
        on_draw: Callable[[int], None] = lambda n: None,
    ) -> None:  # fmt: skip
        self.device, self.on_draw = torch.device(device), on_draw
        self.n_photos = len(images)
        self.has_alpha = any(image.shape[2] == 4 for image in images)
        n_channels = 4 if self.has_alpha else 3
        sizes = np.array([image.shape[0] * image.shape[1] for image in images])
        self._ends = torch.from_numpy(np.cumsum(sizes)).to(self.device)
        self._starts = self._ends - torch.from_numpy(sizes).to(self.device)
        self._widths = torch.tensor([image.shape[1] for image in images], device=self.device)
        if mapped is not None and self.device.type == "cpu":
            # a column of alpha more than the photos have is never looked at
            self._bytes = torch.from_numpy(mapped)
        else:
            self._bytes = self._copied(images, n_channels)
        self._drawn = None if masks is None or all(m is None for m in masks) else self._counted(masks, sizes)

    def _copied(self, images: MutableSequence[np.ndarray], n_channels: int) -> Tensor:
        """The photos as one run of bytes [n_pixels, n_channels]; on a CPU they become views of it."""
        run = torch.empty(int(self._ends[-1]), n_channels, dtype=torch.uint8, device=self.device)
        for i, (start, end) in enumerate(zip(self._starts.tolist(), self._ends.tolist(), strict=True)):
            height, width, n_own = images[i].shape
            own = run[start:end]
            own[:, :n_own] = torch.tensor(np.ascontiguousarray(images[i])).reshape(-1, n_own).to(self.device)
            own[:, n_own:] = 255
            if self.device.type == "cpu":
                # the memory of the run is taken page by page as it is written, while the photo's own is let go
                images[i] = own.view(height, width, n_channels).numpy()
        return run

    def _counted(self, masks: Sequence[np.ndarray | None], sizes: np.ndarray) -> Tensor:
        """Places of the pixels that count in the run of bytes."""
        counts = [np.ones(n, bool) if mask is None else mask.ravel() for mask, n in zip(masks, sizes, strict=True)]
        # half the memory wherever the places fit
        places = np.flatnonzero(np.concatenate(counts)).astype(np.int32 if sizes.sum() < 2**31 else np.int64)
        if not len(places):
            raise ValueError("no pixel of the photos counts")
        return torch.from_numpy(places).to(self.device)

    def __len__(self) -> int:
        """How many pixels are drawn from."""
        return len(self._bytes) if self._drawn is None else len(self._drawn)

    def draw(self, n: int, generator: torch.Generator) -> PixelBatch:
        """``n`` pixels, each with the same chance, with replacement."""
        where = torch.randint(len(self), (n,), generator=generator, device=generator.device).to(self.device)
        if self._drawn is not None:
            where = self._drawn[where].long()
        photo_ids = torch.searchsorted(self._ends, where, right=True)
        inside = where - self._starts[photo_ids]
        widths = self._widths[photo_ids]
        pixels = torch.stack([inside % widths, inside // widths], dim=-1) + 0.5
        self.on_draw(n)
        values = self._bytes[where].float().mul_(1 / 255)
        return PixelBatch(photo_ids, pixels, values[:, :3], values[:, 3:] if self.has_alpha else None)
