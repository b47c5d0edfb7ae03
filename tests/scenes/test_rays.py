"""Rays of pixels: unit, from the camera's centre, and back to their pixel."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import DEVICE

from nerfkit.scenes.cameras import Camera, CameraBatch, project
from nerfkit.scenes.rays import rays_from_pixels

CAMERAS = [
    Camera(640, 480, 300.0, 300.0, 320.0, 240.0, k=(-0.28, 0.09, -0.012, 0.0008), p=(0.01, -0.005)),
    Camera(1000, 1000, 300.0, 310.0, 490.0, 505.0, "fisheye", (0.05, -0.01, 0.002, -0.0003)),
    Camera(640, 480, 500.0, 510.0, 322.5, 238.25),
]


def random_poses(n, seed=0):
    rng = np.random.default_rng(seed)
    c2w = np.tile(np.eye(4), (n, 1, 1))
    for pose in c2w:
        q, r = np.linalg.qr(rng.normal(size=(3, 3)))
        q = q * np.sign(np.diag(r))
        pose[:3, :3] = q * np.linalg.det(q)  # -q turns a mirror into a rotation
        pose[:3, 3] = rng.normal(size=3)
    return c2w


@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-4), (torch.float32, 5e-3)], ids=str)
@pytest.mark.parametrize("photo", range(3))
def test_points_on_a_ray_are_seen_at_its_pixel(photo, dtype, atol):
    camera, c2w = CAMERAS[photo], random_poses(3)
    pixels = np.random.default_rng(2).uniform(0, [camera.width, camera.height], (300, 2))
    rays_o, rays_d = rays_from_pixels(
        CameraBatch(CAMERAS, dtype=dtype).to(DEVICE),
        torch.tensor(c2w, dtype=dtype, device=DEVICE),
        torch.full((300,), photo, device=DEVICE),
        torch.tensor(pixels, dtype=dtype, device=DEVICE),
    )
    assert rays_o.shape == rays_d.shape == (300, 3) and rays_d.dtype == dtype
    points = (rays_o + 2.5 * rays_d).cpu().double().numpy()
    xyz_cam = (points - c2w[photo, :3, 3]) @ c2w[photo, :3, :3]
    np.testing.assert_allclose(project(camera, xyz_cam), pixels, atol=atol)


def test_directions_are_unit_and_origins_the_centres():
    c2w = torch.tensor(random_poses(3))
    ids = torch.tensor([2, 0, 1, 1])
    rays_o, rays_d = rays_from_pixels(CameraBatch(CAMERAS, torch.float64), c2w, ids, torch.rand(4, 2) * 400)
    torch.testing.assert_close(rays_d.norm(dim=-1), torch.ones(4, dtype=torch.float64))
    assert torch.equal(rays_o, c2w[ids, :3, 3])


def test_gradient_reaches_the_pose():
    c2w = torch.tensor(random_poses(3), requires_grad=True)
    _, rays_d = rays_from_pixels(
        CameraBatch(CAMERAS, torch.float64), c2w, torch.tensor([0, 2]), torch.full((2, 2), 100.0)
    )
    (rays_d * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert c2w.grad is not None and c2w.grad[[0, 2]].abs().sum() > 0 and c2w.grad[1].abs().sum() == 0


@pytest.mark.parametrize("photo", range(3))
def test_a_focal_factor_is_that_of_the_camera(photo):
    camera, factor = CAMERAS[photo], 1.07
    longer = replace(camera, fx=camera.fx * factor, fy=camera.fy * factor)
    pixels = torch.from_numpy(np.random.default_rng(3).uniform(0, [camera.width, camera.height], (50, 2)))
    c2w, ids = torch.from_numpy(random_poses(1)), torch.zeros(50, dtype=torch.int64)
    batches = [CameraBatch([one], dtype=torch.float64) for one in (camera, longer)]
    log_focal = torch.tensor(np.log(factor), requires_grad=True)
    found = rays_from_pixels(batches[0], c2w, ids, pixels, log_focal=log_focal)[1]
    torch.testing.assert_close(found, rays_from_pixels(batches[1], c2w, ids, pixels)[1], rtol=0, atol=1e-9)


def test_the_gradient_of_a_focal_factor_is_that_of_a_lens_without_distortion():
    camera, c2w = CAMERAS[2], torch.from_numpy(random_poses(1))
    batch, pixels = CameraBatch([camera], dtype=torch.float64), torch.tensor([[10.0, 20], [600, 300]]).double()

    def directions(log_focal):
        return rays_from_pixels(batch, c2w, torch.zeros(2, dtype=torch.int64), pixels, log_focal=log_focal)[1]

    log_focal, step = torch.tensor(0.02, dtype=torch.float64, requires_grad=True), 1e-5
    slope = (directions(log_focal.detach() + step) - directions(log_focal.detach() - step)) / (2 * step)
    found = torch.autograd.functional.jacobian(directions, log_focal)
    torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-9)
