"""poses: against points that are known, and turned with the world."""

import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfkit.scenes.poses import focus_point, look_at, mean_up, normalize, rigid_problem


def turns(n, seed=0):
    return Rotation.from_quat(np.random.default_rng(seed).normal(size=(n, 4)))


def test_look_at_axes():
    rng = np.random.default_rng(0)
    eye, target, up = rng.normal(size=(3, 20, 3))
    c2w = look_at(eye, target, up)
    to_camera = np.linalg.inv(c2w)
    seen = np.einsum("nij,nj->ni", to_camera, np.c_[target, np.ones(20)])
    np.testing.assert_allclose(seen[:, :2], 0, atol=1e-12)
    np.testing.assert_allclose(seen[:, 2], -np.linalg.norm(target - eye, axis=1))
    above = np.einsum("nij,nj->ni", to_camera[:, :3, :3], up)
    np.testing.assert_allclose(above[:, 0], 0, atol=1e-12)
    assert (above[:, 1] > 0).all()
    assert all(rigid_problem(m, 1e-12) == "" for m in c2w)


@pytest.mark.parametrize("target, up", [([1, 2, 3], [0, 0, 1]), ([1, 2, 0], [0, 0, 1]), ([0, 0, 0], [0, 0, 0])])
def test_look_at_without_a_direction(target, up):
    with pytest.raises(ValueError, match="eye and target apart and up across the view"):
        look_at([1, 2, 3], target, up)


def test_focus_point_where_axes_cross():
    rng = np.random.default_rng(1)
    point = np.array([1e4, -20, 3])
    eyes = point + rng.normal(size=(12, 3)) * 5
    np.testing.assert_allclose(focus_point(look_at(eyes, point, [0, 0, 1])), point, atol=1e-9)


def test_focus_point_is_the_least_squares_one():
    rng = np.random.default_rng(2)
    eyes = rng.normal(size=(8, 3)) * 4
    c2w = look_at(eyes, rng.normal(size=(8, 3)), [0, 0, 1])
    point = focus_point(c2w)

    def cost(p):
        offsets = p - eyes
        return (np.cross(offsets, c2w[:, :3, 2]) ** 2).sum()

    for step in np.eye(3) * 1e-3:
        assert cost(point) < min(cost(point + step), cost(point - step))


def test_focus_point_of_parallel_axes():
    c2w = look_at(np.eye(3), np.eye(3) - [0, 0, 1], [0, 1, 0])
    with pytest.raises(ValueError, match="parallel"):
        focus_point(c2w)
    with pytest.raises(ValueError, match="parallel"):
        focus_point(c2w[:1])


@pytest.mark.parametrize("bad", [np.eye(4), np.zeros((0, 4, 4)), np.full((2, 4, 4), np.nan)])
def test_focus_point_rejects(bad):
    with pytest.raises(ValueError, match="c2w"):
        focus_point(bad)


def test_mean_up_of_level_cameras_on_one_side():
    # looking down from one side, the cameras' own up axes all lean the same way; their right axes do not
    azimuth = np.linspace(0, 1.5, 9)
    eyes = np.stack([4 * np.cos(azimuth), 4 * np.sin(azimuth), np.full(9, 4.0)], 1)
    c2w = look_at(eyes, [0, 0, 0], [0, 0, 1])
    assert normalize(c2w[:, :3, 1].mean(0))[2] < 0.8
    np.testing.assert_allclose(mean_up(c2w), [0, 0, 1], atol=1e-12)
    turn = turns(1).as_matrix()[0]
    c2w[:, :3, :3] = turn @ c2w[:, :3, :3]
    np.testing.assert_allclose(mean_up(c2w), turn[:, 2], atol=1e-12)


@pytest.mark.parametrize("roll", [10, 40])
def test_mean_up_of_forward_views_is_their_mean(roll):
    c2w = np.tile(np.eye(4), (3, 1, 1))
    c2w[:, :3, :3] = Rotation.from_euler("z", [[-roll], [0], [roll]], degrees=True).as_matrix()
    np.testing.assert_allclose(mean_up(c2w), [0, 1, 0], atol=1e-12)


def test_mean_up_of_cameras_that_cancel_is_the_first_ones():
    c2w = np.tile(np.eye(4), (2, 1, 1))
    c2w[1, :3, :3] = np.diag([-1, -1, 1])
    np.testing.assert_allclose(mean_up(c2w), [0, 1, 0])


@pytest.mark.parametrize(
    "matrix, problem",
    [
        (np.eye(3), r"shape is \(3, 3\)"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.diag([1, 1, 1, 2]), "last row"),
        (np.diag([2, 1, 1, 1]), "right angles"),
        (np.diag([0, 0, 0, 1]), "right angles"),
        (np.diag([1, 1, -1, 1]), "mirrors"),
        (np.diag([0.5, 0.5, 0.5, 1]), r"scaled by 0\.5"),
    ],
)
def test_rigid_problem(matrix, problem):
    assert re.search(problem, rigid_problem(matrix))


def test_normalize_rejects_zero():
    with pytest.raises(ValueError, match="length zero"):
        normalize([[1, 0, 0], [0, 0, 0]])
