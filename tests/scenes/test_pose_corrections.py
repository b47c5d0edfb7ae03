"""Corrections of cameras: turns, and what moves all of them together."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from nerfkit.scenes.pose_corrections import PoseCorrections, move_cameras, rotations
from nerfkit.scenes.poses import look_at


def ring(n=5):
    angles = np.arange(n) * 0.9
    positions = np.stack([np.cos(angles), np.sin(angles), 0.2 * angles], -1)
    return torch.from_numpy(look_at(positions, [0, 0, 0], [0, 0, 1])).float()


def test_turns_are_those_of_scipy_down_to_none():
    turns = np.concatenate([np.random.default_rng(0).normal(size=(6, 3)), np.full((1, 3), 1e-4), np.zeros((1, 3))])
    found = rotations(torch.from_numpy(turns))
    np.testing.assert_allclose(found, Rotation.from_rotvec(turns).as_matrix(), atol=1e-9)


def test_a_turn_of_nothing_has_a_gradient():
    turns = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    rotations(turns)[0, 1, 0].backward()
    # the sine of a turn about z
    assert turns.grad is not None and torch.allclose(turns.grad, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))


def test_what_moves_all_cameras_together_is_left_out():
    c2w, turn = ring(), torch.tensor([0.01, -0.02, 0.03])
    corrections = PoseCorrections(c2w)
    positions = c2w[:, :3, 3]
    # a similarity: everything turns, is shifted and grows
    shifts = torch.linalg.cross(turn.expand(5, 3), positions) + torch.tensor([0.1, 0.0, -0.2]) + 0.05 * positions
    corrections.motions.data = torch.cat([turn.expand(5, 3), shifts], -1)
    assert corrections.moved().abs().max() < 1e-6
    assert torch.allclose(corrections.poses(), c2w[:, :3], atol=1e-6)
    # and of one camera's motion the most is kept
    corrections.motions.data.zero_()[2, 4] = 0.1
    assert corrections.moved()[2, 4] > 0.05
    assert corrections.focal_factor == 1


def test_cameras_in_one_place_still_turn():
    c2w = ring()
    c2w[:, :3, 3] = 1.0
    corrections = PoseCorrections(c2w)
    corrections.motions.data[0, 2] = 0.1
    assert corrections.moved().isfinite().all() and corrections.moved()[0, 2] > 0.05


def test_a_motion_turns_about_the_camera_and_shifts_it():
    c2w = ring(2)
    moved = move_cameras(c2w, torch.tensor([[0.0, 0.0, torch.pi / 2, 1.0, 2.0, 3.0], [0.0] * 6]))
    assert torch.allclose(moved[0, :, 3], c2w[0, :3, 3] + torch.tensor([1.0, 2.0, 3.0]))
    assert torch.allclose(moved[0, 1, :3], c2w[0, 0, :3], atol=1e-6) and torch.equal(moved[1], c2w[1, :3])
