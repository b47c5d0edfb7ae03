"""The classics of multi-frame super-resolution, written anew and small, to stand beside nerfkit in its benchmark.

All see the frames through one operator that is exact for a box PSF, on the grid of the output, and are given the
same shifts. Where they are kinder to the peer than its users could be: the weights of Tikhonov and BTV-L1 are chosen on
the truth, and their operator is the exact one, at the speed of our kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from superres_drizzle import shift_and_add
from torch import Tensor

from nerfkit.kernels.lowres import filter_valid
from nerfkit.scenes.measurements.frames import FrameStack
from nerfkit.scenes.observations.lowres_view import LowresView

__all__ = ["PEERS", "Peer", "View", "aligned_mean", "back_projection", "bicubic", "btv_l1", "tikhonov"]

# smallest scale of a robust error, where the noise is not known or nearly nothing
MIN_ROBUST = 0.003


class View:
    """What the frames see of an image on the output's grid: box means at bilinear positions, and the way back.

    Parameters
    ----------
    stack, lowres : FrameStack, LowresView
        Grey frames, and where they look.
    scale : int
        Output pixels along a low-res pixel.
    noise : float
        Standard deviation of a pixel's noise.
    reference : int
        Frame that the output covers.
    """

    def __init__(
        self, stack: FrameStack, lowres: LowresView, scale: int, noise: float = MIN_ROBUST, reference: int = 0
    ) -> None:  # fmt: skip
        self.stack, self.lowres, self.noise, self.reference = stack, lowres, noise, reference
        self.grid = lowres.grid(scale)
        self.taps = lowres.psf.taps(scale)
        cut = len(self.taps) - 1
        height, width = (n - cut for n in self.grid.shape)
        rows, cols = (part.reshape(-1).double().numpy() for part in lowres.positions(self.grid))
        is_known = (rows >= 0) & (cols >= 0) & (rows <= height - 1) & (cols <= width - 1)
        rows, cols = rows[is_known], cols[is_known]
        self.values = stack.values.reshape(-1).numpy()[is_known]
        i, j = np.minimum(rows.astype(int), height - 2), np.minimum(cols.astype(int), width - 2)
        t, u = rows - i, cols - j
        index = (i * width + j)[:, None] + np.array([0, 1, width, width + 1])
        weights = np.stack([(1 - t) * (1 - u), (1 - t) * u, t * (1 - u), t * u], axis=1)
        starts = np.arange(len(rows) + 1) * 4
        self.samples = csr_matrix(
            (weights.astype(np.float32).ravel(), index.ravel(), starts), (len(rows), height * width)
        )
        self.spread = self.samples.T.tocsr()
        self.inner = height, width
        image = torch.ones(self.grid.shape)
        for _ in range(10):
            image = self.back(self.see(image))
            self.norm = float(image.norm())
            image /= self.norm

    def see(self, image: Tensor) -> NDArray[np.float32]:
        """Pixels [n] of all frames."""
        return self.samples @ filter_valid(image, self.taps).reshape(-1).numpy()

    def back(self, errors: NDArray[np.float32]) -> Tensor:
        """The adjoint of :meth:`see`."""
        image = torch.from_numpy(self.spread @ errors).view(self.inner)
        padding = len(self.taps) - 1
        return filter_valid(torch.nn.functional.pad(image, (padding,) * 4), self.taps.flip(0))

    def start(self) -> Tensor:
        """The reference frame, enlarged and laid where it looks, turns aside."""
        image = self.grid.enlarge(self.stack.values[self.reference])
        dx, dy = (self.lowres.motion.displacements(self.lowres.size)[self.reference] * self.grid.cells).tolist()
        matrix, size = np.array([[1, 0, dx], [0, 1, dy]]), (image.shape[1], image.shape[0])
        moved = cv2.warpAffine(image.numpy(), matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return torch.from_numpy(moved)


def bicubic(view: View) -> Tensor:
    """The reference frame alone."""
    return view.start()


def aligned_mean(view: View) -> Tensor:
    """The mean of all frames, each enlarged by cubics where it looks."""
    height, width = view.grid.shape
    margin, cells = view.grid.margin, view.grid.cells
    # from a pixel of the output to its point of the reference, centres at whole numbers in OpenCV's
    to_point = np.array([[1 / cells, 0, 0.5 / cells - margin], [0, 1 / cells, 0.5 / cells - margin], [0, 0, 1]])
    to_pixel = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    total, weight = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for frame, matrix in zip(view.stack.values.numpy(), view.lowres.motion.matrices.numpy(), strict=True):
        into = to_pixel @ np.linalg.inv(matrix) @ to_point

        laid, is_seen = (
            cv2.warpPerspective(picture, into, (width, height), flags=how | cv2.WARP_INVERSE_MAP)
            for picture, how in ((frame, cv2.INTER_CUBIC), (np.ones_like(frame), cv2.INTER_LINEAR))
        )
        is_seen = is_seen > 0.999
        total += laid * is_seen
        weight += is_seen
    mean = torch.from_numpy(total / np.maximum(weight, 1))
    return torch.where(torch.from_numpy(weight > 0), mean, view.start())


def drizzle(view: View) -> Tensor:
    """Frames laid over one another, each pixel shrunk to half its side (Fruchter and Hook 2002)."""
    image = view.start()
    (width, height), cells = view.lowres.size, view.grid.cells
    margin = view.grid.margin * cells
    part = shift_and_add(view.stack, view.lowres, (width * cells, height * cells), view.reference)
    image[margin : margin + part.shape[0], margin : margin + part.shape[1]] = part
    return image


def back_projection(view: View, n_steps: int = 200) -> Tensor:
    """Iterative back-projection (Irani and Peleg 1991): errors of all frames at once, spread by the PSF."""
    image = view.start()
    for _ in range(n_steps):
        image = image - (1.9 / view.norm) * view.back(view.see(image) - view.values)
    return image


def tikhonov(view: View, weight: float, n_steps: int = 100) -> Tensor:
    """Squared errors plus ``weight`` times squared slopes, by conjugate gradients."""

    def slopes(image: Tensor) -> Tensor:
        out = torch.zeros_like(image)
        down, across = image.diff(dim=0), image.diff(dim=1)
        out[1:] += down
        out[:-1] -= down
        out[:, 1:] += across
        out[:, :-1] -= across
        return out

    def apply(image: Tensor) -> Tensor:
        return view.back(view.see(image)) + weight * view.norm * slopes(image)

    image = view.start()
    residual = view.back(view.values) - apply(image)
    direction, power = residual.clone(), float(residual.square().sum())
    for _ in range(n_steps):
        applied = apply(direction)
        step = power / float((direction * applied).sum())
        image, residual = image + step * direction, residual - step * applied
        before, power = power, float(residual.square().sum())
        direction = residual + (power / before) * direction
    return image


def btv_l1(view: View, weight: float, n_steps: int = 600) -> Tensor:
    """Absolute errors plus bilateral total variation (Farsiu et al. 2004: P = 2, alpha = 0.7), by Adam."""
    pairs = [(i, j) for i in range(3) for j in range(-2, 3) if i > 0 or j > 0]
    height, width = view.grid.shape
    robust = max(view.noise, MIN_ROBUST)
    image = view.start()
    mean, square = torch.zeros_like(image), torch.zeros_like(image)
    for step in range(1, n_steps + 1):
        errors = view.see(image) - view.values
        errors = (errors / np.sqrt(np.square(errors / robust) + 1)).astype(np.float32)
        gradient = view.back(errors) / view.norm
        for i, j in pairs:
            here = slice(i, height), slice(max(j, 0), width + min(j, 0))
            there = slice(0, height - i), slice(max(-j, 0), width + min(-j, 0))
            d = image[here] - image[there]
            d *= (weight * 0.7 ** (i + abs(j))) / (d * d + 1e-4).sqrt_()
            gradient[here] += d
            gradient[there] -= d
        mean.mul_(0.9).add_(gradient, alpha=0.1)
        square.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
        rate = 0.03 * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / n_steps)))
        image.addcdiv_(mean / (1 - 0.9**step), (square / (1 - 0.99**step)).sqrt_().add_(1e-8), value=-rate)
    return image


@dataclass(frozen=True)
class Peer:
    """A method: a function of the view, and the weights that are tried, of which the truth chooses."""

    solve: Callable[..., Tensor]
    weights: tuple[float, ...] = ()

    def images(self, view: View) -> list[NDArray[np.float32]]:
        """The outputs [H, W], one for each weight."""
        found = [self.solve(view, weight) for weight in self.weights] if self.weights else [self.solve(view)]
        return [view.grid.crop(image).clamp(0, 1).numpy() for image in found]


PEERS = {
    "bicubic": Peer(bicubic),
    "aligned mean": Peer(aligned_mean),
    "drizzle": Peer(drizzle),
    "back-projection": Peer(back_projection),
    "Tikhonov": Peer(tikhonov, (3e-4, 1e-3, 3e-3)),
    "BTV-L1": Peer(btv_l1, (3e-5, 1e-4, 3e-4)),
}
