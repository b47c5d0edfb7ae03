"""How well a view is predicted whose photo has an exposure or a pose error of its own: aligned on the left half of the
photo, scored on the right.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerfkit.adam_optimizer import Adam
from nerfkit.metrics import psnr
from nerfkit.scene import RadianceScene
from nerfkit.scenes.cameras import Camera, CameraBatch
from nerfkit.scenes.observations.photo_exposure import align_exposure
from nerfkit.scenes.pose_corrections import move_cameras
from nerfkit.scenes.rays import Rays, rays_from_pixels

__all__ = ["align_left", "align_pose", "aligned_psnr"]

# steps, rays of each, and the learning rate at the first (radians, normalised units) by which a pose is aligned
ALIGN_STEPS, ALIGN_RAYS, ALIGN_RATE = 60, 512, 2e-3


def align_left(
    scene: RadianceScene, camera: Camera, c2w: np.ndarray, rendered: Tensor, truth: Tensor,
    mask: NDArray[np.bool_] | None = None,
) -> tuple[Tensor, NDArray[np.bool_]]:  # fmt: skip
    """A view as its photo shows it, and the pixels to score it on.

    Parameters
    ----------
    scene : RadianceScene
        What was trained. Its settings say what is aligned: the pose where poses were refined, the gain and the offset
        of each channel where photos have an exposure each.
    camera, c2w
        Of the view.
    rendered, truth : Tensor, shape (h, w, 3)
        The view and its photo, in [0, 1].
    mask : bool ndarray, shape (h, w), optional
        Which pixels count; None: all.

    Returns
    -------
    aligned : Tensor, shape (h, w, 3)
        What fits the left half best.
    right : bool ndarray, shape (h, w)
        Pixels of the right half that count.
    """
    counted = np.ones(truth.shape[:2], bool) if mask is None else mask
    is_left = np.broadcast_to(np.arange(truth.shape[1]) < truth.shape[1] // 2, counted.shape)
    left = torch.from_numpy(counted & is_left)
    if scene.config.refine_poses and left.any():
        rendered = scene.render(camera, align_pose(scene, camera, c2w, truth, left)).rgb
    if scene.config.exposure == "each":
        rendered = align_exposure(rendered, truth, left)
    return rendered, counted & ~is_left


def aligned_psnr(
    scene: RadianceScene, camera: Camera, c2w: np.ndarray, rendered: Tensor, truth: Tensor,
    mask: NDArray[np.bool_] | None = None,
) -> float:  # fmt: skip
    """PSNR of the right half in dB, aligned on the left; NaN where nothing of it counts."""
    aligned, right = align_left(scene, camera, c2w, rendered, truth, mask)
    return psnr(aligned, truth, right)


def align_pose(scene: RadianceScene, camera: Camera, c2w: np.ndarray, truth: Tensor, counted: Tensor) -> np.ndarray:
    """The pose [4, 4] near ``c2w`` from which the scene looks most like the pixels of a photo that are ``counted``.

    Parameters
    ----------
    scene : RadianceScene
        It stays as it is.
    camera, c2w
        Of the photo.
    truth : Tensor, shape (h, w, 3)
        The photo.
    counted : bool Tensor, shape (h, w)
        Pixels to compare.
    """
    device = scene.device
    pose = torch.from_numpy(scene.bounds.normalise(c2w[None])).to(device, torch.float32)
    cameras, generator = CameraBatch([camera]).to(device), torch.Generator().manual_seed(scene.config.seed)
    places = counted.nonzero()
    motion = torch.zeros(1, 6, device=device, requires_grad=True)
    optimizer = Adam([{"params": [motion], "lr": ALIGN_RATE}], (0.9, 0.99), 1e-15)
    for step in range(ALIGN_STEPS):
        chosen = places[torch.randint(len(places), (ALIGN_RAYS,), generator=generator)]
        pixels = (chosen.flip(-1) + 0.5).to(device)
        rays = rays_from_pixels(cameras, move_cameras(pose, motion), torch.zeros_like(pixels[:, 0]).long(), pixels)
        seen = scene.observation.predict(scene.field, Rays(*rays, scene.background_rgb()))
        measured = truth[chosen[:, 0], chosen[:, 1]].to(device)
        (motion.grad,) = torch.autograd.grad((seen.rgb - measured).square().mean(), [motion])
        optimizer.set_learning_rates([ALIGN_RATE * (1 - step / ALIGN_STEPS)])
        optimizer.step()
    aligned = np.eye(4)
    aligned[:3] = move_cameras(pose, motion.detach())[0].double().cpu().numpy()
    aligned[:3, 3] = scene.bounds.to_world(aligned[None, :3, 3])[0]
    return aligned
