"""Real sequences without a truth, judged by frames that were held out and that nothing of the judged methods touches.

Every ``HELD_OUT_EVERY``-th frame is held out. All frames are registered by neighbours (nerfkit.superresolution.chain):
neither the image nor the refined motions of any method are asked, and no frame is left out. A picture predicts a frame
that was held out through a box PSF of any of ``WIDTHS``, the best for each picture, up to a gain and an offset. Peers
have the positions of the same registration; nerfkit is run as a user runs it, on the other frames alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmarking import nerfkit
from numpy.typing import NDArray
from superres_baselines import PEERS, View

from nerfkit.scenes.fields.grid import Grid
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.motion import Motion, basis
from nerfkit.scenes.observations.exposure import Exposure
from nerfkit.scenes.observations.lowres_view import LowresView
from nerfkit.scenes.observations.psf import Psf
from nerfkit.scenes.readers.frames import read_frames
from nerfkit.superresolution.chain import register_chain

__all__ = ["SEQUENCES", "Capture", "Sequence"]


@dataclass(frozen=True)
class Capture:
    """A real sequence: its frames below sr/, and the scale at which it is reconstructed."""

    frames: str
    scale: int


SEQUENCES = {
    "text": Capture("text/frames", 4),
    "eia": Capture("eia/frames", 3),
    "alpaca": Capture("alpaca/frames", 4),
    "bookcase_color": Capture("bookcase_color/frames", 4),
    "adyoron_rotation": Capture("adyoron_rotation/adyoron_rotation.avi", 4),
}
# every so many-th frame is held out
HELD_OUT_EVERY = 8
# cells along a pixel of a picture, a square of one value, that a PSF of any width is integrated over
FINER = 4
# sides of the box through which a picture is seen, low-res pixels: the best for each is taken
# steps by which a picture is moved onto the frames that it is judged by
MOVES = 8
WIDTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


class Sequence:
    """A sequence, its registration, and the frames that are held out."""

    def __init__(self, name: str, data: Path) -> None:
        capture = SEQUENCES[name]
        self.scale, self.frames = capture.scale, read_frames(data / "sr" / capture.frames)
        chain = register_chain(self.frames.grey, 0)
        assert chain is not None
        self.motion = Motion(torch.from_numpy(chain.matrices), chain.model)
        is_out = np.arange(len(self.frames)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        self.fitted, self.held_out = np.flatnonzero(~is_out), np.flatnonzero(is_out)

    def with_nerfkit(self, work: Path, seconds: float, *options: str) -> tuple[NDArray[np.float32], float]:
        """The picture [H, W] or [H, W, 3] of the frames that are not held out, as a user gets it, and its seconds."""
        # as files have them: what is at the ends of their range may lie beyond it
        depth = self.frames.bit_depth
        values = np.rint(self.frames.images[self.fitted] * (2**depth - 1)).astype(f"uint{depth}")
        np.savez(work / "fitted.npz", frames=values)
        known = ["--scale", str(self.scale), "--seconds", str(seconds), "--reference", "0", "--overwrite"]
        result = nerfkit("superres", str(work / "fitted.npz"), "-o", str(work / "fitted.png"), *known, *options)
        return read_frames(work / "fitted.png").images[0], result["seconds"]

    def with_peer(self, method: str) -> list[NDArray[np.float32]]:
        """Pictures of the frames that are not held out, one for each weight."""
        channels = [self._channel(self.fitted, index) for index in self._channels]
        view = LowresView(self.motion[torch.from_numpy(self.fitted)], self.frames.size)
        found = [PEERS[method].images(View(stack, view, self.scale)) for stack in channels]
        return [np.squeeze(np.stack(images, axis=-1), -1) if len(images) == 1 else np.stack(images, axis=-1)
                for images in zip(*found, strict=True)]  # fmt: skip

    @property
    def _channels(self) -> range:
        return range(1 if self.frames.images.ndim == 3 else 3)

    def _channel(self, chosen: NDArray, index: int) -> FrameStack:
        images = self.frames.images[chosen]
        return FrameStack.of(torch.from_numpy(np.ascontiguousarray(images if images.ndim == 3 else images[..., index])))

    def judge(self, image: NDArray[np.float32]) -> float:
        """PSNR of the held-out frames, all of them, as a picture predicts them at its best PSF.

        Where the axes of a picture lie is known only as well as its reference frame was registered: it is moved by one
        affine map, the same for all frames, that fits the held-out frames best.
        """
        return max(self._predicted(image, width) for width in WIDTHS)

    def _predicted(self, image: NDArray[np.float32], width: float) -> float:
        n_cols, n_rows = self.frames.size
        grid, found = Grid(n_rows, n_cols, self.scale * FINER), []
        view = LowresView(self.motion[torch.from_numpy(self.held_out)], self.frames.size, Psf(width=width))
        cells = [
            torch.from_numpy(np.ascontiguousarray(image if image.ndim == 2 else image[..., index]))
            .repeat_interleave(FINER, 0).repeat_interleave(FINER, 1)
            for index in self._channels
        ]  # fmt: skip
        stacks = [self._channel(self.held_out, index) for index in self._channels]
        for _ in range(MOVES):
            errors, normal, wanted = [], torch.zeros(6, 6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
            x, y = (part.float() for part in view.motion.looks_at(view.size))
            along_x, along_y = basis(x, y, view.size, "affine")
            for stack, plane in zip(stacks, cells, strict=True):
                samples, is_known = view.sample(grid, plane)
                exposure = Exposure.fit(stack.values, samples.values, is_known.float())
                off = (exposure.expose(samples.values) - stack.values)[is_known]
                gains = exposure.gains[:, None, None, None] * grid.cells
                columns = (gains * (along_x * samples.d_cols[..., None] + along_y * samples.d_rows[..., None]))[
                    is_known
                ]
                normal += (columns.T @ columns).double()
                wanted -= (columns.T @ off).double()
                errors.append(off.square())
            found.append(float(-10 * torch.cat(errors).mean().log10()))
            step = torch.linalg.solve(normal + 1e-6 * normal.diagonal().mean() * torch.eye(6), wanted)
            view = view.moved(view.motion.stepped(step.expand(len(view), 6), view.size))
        return max(found)
