"""Camera paths: what each promises, and that a path turns, moves and scales with the world."""

import logging
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerfkit.scenes.camera_path import write_camera_path
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.paths import PATHS, interpolate, make_path, orbit, spiral
from nerfkit.scenes.pose_curves import PoseCurve, short_order
from nerfkit.scenes.poses import focus_point, look_at, rigid_problem

CENTRE = np.array([3.0, -2.0, 1.0])


def ring(azimuths, elevation: Any = 30.0, radius: Any = 4.0, target=CENTRE):
    a, e = np.radians(azimuths), np.radians(np.broadcast_to(elevation, np.shape(azimuths)))
    eyes = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], -1) * np.asarray(radius)[..., None]
    return look_at(CENTRE + eyes, target, [0, 0, 1])


def full_turn(n=12):
    rng = np.random.default_rng(0)
    return ring(np.arange(n) * 360 / n + rng.uniform(-5, 5, n), rng.uniform(10, 60, n), rng.uniform(3, 5, n))


def handheld(n=20):
    """An arc of 100 degrees with shaken positions and rotations, as people photograph a thing on a table."""
    rng = np.random.default_rng(1)
    c2w = ring(np.linspace(-20, 80, n), 10 + rng.uniform(-5, 5, n), 4 + rng.uniform(-0.3, 0.3, n))
    c2w[:, :3, :3] = c2w[:, :3, :3] @ Rotation.from_rotvec(rng.normal(size=(n, 3)) * 0.05).as_matrix()
    return c2w


def forward_facing():
    x, y = np.meshgrid(np.linspace(-0.3, 0.3, 5), np.linspace(-0.2, 0.2, 4))
    eyes = np.stack([x.ravel(), y.ravel(), np.zeros(20)], 1)
    return look_at(eyes, [0, 0, -5], [0, 1, 0])


CAPTURES = {"full_turn": full_turn, "handheld": handheld, "forward_facing": forward_facing}


def positions(frames):
    return frames.c2w[:, :3, 3]


def azimuths(eyes):
    return np.degrees(np.arctan2(*(eyes - CENTRE)[:, [1, 0]].T))


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("name", PATHS)
def test_path_moves_with_the_world(name, capture):
    c2w = CAPTURES[capture]()
    turn, scale, shift = (
        Rotation.from_quat([0.5, -0.1, 0.7, 0.3]).as_matrix(),
        7.3,
        np.array([10.0, -4.0, 300.0]),
    )

    def transformed(poses):
        poses = poses.copy()
        poses[:, :3, 3] = scale * poses[:, :3, 3] @ turn.T + shift
        poses[:, :3, :3] = turn @ poses[:, :3, :3]
        return poses

    want = transformed(make_path(name, c2w, 31).c2w)
    np.testing.assert_allclose(make_path(name, transformed(c2w), 31).c2w, want, atol=1e-8)


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("name", PATHS)
def test_every_frame_is_a_pose(name, capture):
    frames = make_path(name, CAPTURES[capture](), 17, fov_y=40, aspect=1.5)
    assert len(frames) == 17
    assert [rigid_problem(m, 1e-9) for m in frames.c2w] == [""] * 17
    assert (frames.fov_y == 40).all()
    assert frames.aspect == 1.5
    assert frames.is_cycle == (name != "interpolate")


def test_orbit_circles_the_centre():
    c2w = full_turn()
    frames = orbit(c2w, 60, centre=CENTRE)
    offsets = positions(frames) - CENTRE
    photos = c2w[:, :3, 3] - CENTRE
    np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), np.median(np.linalg.norm(photos, axis=1)))
    elevation = np.median(np.arcsin(photos[:, 2] / np.linalg.norm(photos, axis=1)))
    np.testing.assert_allclose(np.arcsin(offsets[:, 2] / np.linalg.norm(offsets, axis=1)), elevation, atol=1e-9)
    towards = -frames.c2w[:, :3, 2]
    np.testing.assert_allclose(np.cross(towards, offsets), 0, atol=1e-9)
    assert ((towards * offsets).sum(1) < 0).all()
    assert (frames.c2w[:, 2, 1] > 0).all()


def test_orbit_starts_at_the_first_photo_and_closes():
    c2w = full_turn()
    eyes = positions(orbit(c2w, 48))
    np.testing.assert_allclose(azimuths(eyes)[0], azimuths(c2w[:, :3, 3])[0], atol=1e-9)
    steps = np.linalg.norm(np.diff(np.concatenate([eyes, eyes[:1]]), axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)
    np.testing.assert_allclose(steps.sum(), 2 * np.pi * np.linalg.norm(eyes[0] - eyes.mean(0)), rtol=1e-2)


def test_orbit_finds_the_centre():
    np.testing.assert_allclose(positions(orbit(full_turn(), 36)).mean(0)[:2], CENTRE[:2], atol=1e-9)


def test_orbit_stays_within_the_arc_that_was_photographed(caplog):
    c2w = ring(np.array([10.0, -20, 0, 30, 80, 55]))
    with caplog.at_level(logging.INFO):
        frames = orbit(c2w, 200)
    assert "the photos cover 100 of 360 degrees" in caplog.text
    angles = azimuths(positions(frames))
    np.testing.assert_allclose(angles[0], 10, atol=1e-6)
    np.testing.assert_allclose([angles.min(), angles.max()], [-20, 80], atol=0.1)
    swing = np.append(angles, angles[0])
    assert np.abs(np.diff(swing)).max() < 1.1 * np.pi * 100 / 200  # as a sine does, and no jump where it closes
    assert np.abs(np.diff(swing, 2)).max() < 0.1


def test_orbit_over_a_gap_that_is_narrow_goes_all_round(caplog):
    with caplog.at_level(logging.INFO):
        orbit(ring(np.array([0.0, 110, 235])), 10)
        assert not caplog.text
        orbit(ring(np.array([0.0, 110, 220])), 10)
    assert "the photos cover 220 of 360" in caplog.text


def test_orbit_takes_up_and_the_steepest_view():
    c2w = ring(np.arange(0, 360, 30), 89.0)
    frames = orbit(c2w, 8, up=[0, 0, 2])
    offsets = positions(frames) - CENTRE
    np.testing.assert_allclose(np.degrees(np.arcsin(offsets[:, 2] / 4)), 85, atol=1e-6)
    tilted = orbit(full_turn(), 8, up=[0, 1, 1])
    offsets = positions(tilted) - positions(tilted).mean(0)
    np.testing.assert_allclose(offsets @ [0, 1, 1], 0, atol=1e-9)


def test_orbit_starts_below_a_first_photo_taken_from_straight_above():
    above = np.eye(4)
    above[:3, 3] = CENTRE + np.array([0, 0, 4])  # its picture's lower edge is at -y
    frames = orbit(np.concatenate([above[None], ring(np.arange(0, 360, 45))]), 4)
    np.testing.assert_allclose(azimuths(positions(frames))[0], -90, atol=1e-6)


def test_orbit_without_anything_to_orbit():
    parallel = np.tile(np.eye(4), (3, 1, 1))
    parallel[:, 0, 3] = [0, 1, 2]
    outwards = ring(np.arange(0, 360, 45))
    outwards[:, :3, [0, 2]] *= -1
    for c2w in (parallel, outwards, parallel[:1]):
        with pytest.raises(NerfkitError, match=r"do not look at one point .* --path spiral"):
            orbit(c2w, 10)
    with pytest.raises(NerfkitError, match="has no radius; use --path interpolate"):
        orbit(parallel[:1], 10, centre=[0, 0, 0])
    assert len(orbit(outwards, 10, centre=CENTRE)) == 10


def test_spiral_is_small_and_looks_at_the_focus():
    c2w = forward_facing()
    frames = spiral(c2w, 120)
    eyes = positions(frames)
    reach = np.abs(eyes).max(0)
    np.testing.assert_allclose(reach, np.percentile(np.abs(c2w[:, :3, 3]), 90, axis=0), atol=1e-3)
    np.testing.assert_allclose(focus_point(frames.c2w), [0, 0, -5], atol=1e-9)
    steps = np.linalg.norm(np.diff(np.concatenate([eyes, eyes[:1]]), axis=0), axis=1)
    assert steps.max() < 0.05


def test_spiral_round_a_scene_stays_near_the_first_photo(caplog):
    c2w = full_turn()
    with caplog.at_level(logging.INFO):
        eyes = positions(spiral(c2w, 60))
    assert "near the first photo" in caplog.text
    distance = np.linalg.norm(c2w[0, :3, 3] - CENTRE)
    assert 0.1 * distance < np.linalg.norm(eyes - c2w[0, :3, 3], axis=1).max() < 0.27 * distance


def test_spiral_of_parallel_views_keeps_their_direction():
    c2w = np.tile(np.eye(4), (3, 1, 1))
    c2w[:, 0, 3] = [-1, 0, 1]
    frames = spiral(c2w, 20)
    np.testing.assert_allclose(frames.c2w[:, :3, :3], np.tile(np.eye(3), (20, 1, 1)), atol=1e-12)
    assert 0.7 < np.abs(positions(frames)[:, 0]).max() <= 1
    looking = spiral(c2w, 20, centre=[0, 0, -10])
    np.testing.assert_allclose(focus_point(looking.c2w), [0, 0, -10], atol=1e-9)


def test_spiral_of_photos_straight_down():
    eyes = np.array([[0, 0, 4], [1, 0, 4], [0, 1, 4.0]])
    frames = spiral(look_at(eyes, eyes - [0, 0, 1], [0, 1, 0]), 8, up=[0, 0, 1])
    np.testing.assert_allclose(frames.c2w[:, :3, 1], np.tile([0, 1, 0], (8, 1)), atol=1e-9)


def test_spiral_needs_two_places():
    with pytest.raises(NerfkitError, match="taken from one place"):
        spiral(np.eye(4)[None], 10)


def test_interpolate_passes_through_the_photos():
    c2w = handheld()
    frames = interpolate(c2w, 4001)
    np.testing.assert_allclose(frames.c2w[[0, -1]], c2w[[0, -1]], atol=1e-9)
    for photo in c2w:
        assert np.abs(frames.c2w - photo).max((1, 2)).min() < 5e-3


def test_interpolate_has_an_even_speed():
    rng = np.random.default_rng(3)
    c2w = np.tile(np.eye(4), (9, 1, 1))
    c2w[:, :3, 3] = np.cumsum(rng.normal(size=(9, 3)) * rng.uniform(0.1, 3, (9, 1)), axis=0)
    c2w[:, 0, 3] += 4 * np.arange(9)
    eyes = positions(interpolate(c2w, 2000))
    steps = np.linalg.norm(np.diff(eyes, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.02)
    # a velocity without steps: its change from frame to frame stays a small part of it
    assert np.linalg.norm(np.diff(eyes, 2, axis=0), axis=1).max() < 0.1 * steps.mean()


def test_curve_has_a_continuous_velocity():
    c2w = handheld(6)
    knots = np.array([0, 0.3, 1.0, 1.2, 2.5, 3.0])
    curve = PoseCurve(knots, c2w[:, :3, 3], Rotation.from_matrix(c2w[:, :3, :3]))
    h = 1e-6
    (before, turned_before), (at, turned), (after, turned_after) = (curve(knots[1:-1] + d) for d in (-h, 0, h))
    np.testing.assert_allclose((at - before) / h, (after - at) / h, atol=2e-4)
    into, out_of = (turned_before.inv() * turned).as_rotvec(), (turned.inv() * turned_after).as_rotvec()
    np.testing.assert_allclose(into / h, out_of / h, atol=2e-4)


def test_curve_of_a_straight_line_is_that_line():
    knots = np.array([0.0, 1, 3, 4])
    curve = PoseCurve(knots, knots[:, None] * [1.0, 2, 3], Rotation.identity(4))
    times = np.linspace(0, 4, 33)
    np.testing.assert_allclose(curve(times)[0], times[:, None] * [1.0, 2, 3], atol=1e-12)


def test_interpolate_of_turns_alone():
    c2w = np.tile(np.eye(4), (3, 1, 1))
    c2w[:, :3, :3] = Rotation.from_euler("y", [[0], [30], [60]], degrees=True).as_matrix()
    frames = interpolate(c2w, 5)
    angles = Rotation.from_matrix(frames.c2w[:, :3, :3]).as_euler("yxz", degrees=True)[:, 0]
    np.testing.assert_allclose(angles, [0, 15, 30, 45, 60], atol=1e-6)
    np.testing.assert_allclose(positions(frames), 0, atol=1e-12)


def test_interpolate_shortens_a_shuffled_tour(caplog):
    c2w = ring(np.linspace(0, 200, 15))
    with caplog.at_level(logging.INFO):
        kept = positions(interpolate(c2w, 300))
        assert not caplog.text
        order = np.concatenate([[0], 1 + np.random.default_rng(0).permutation(14)])
        shuffled = positions(interpolate(c2w[order], 300))
    assert "the listed order of the photos jumps" in caplog.text
    np.testing.assert_allclose(shuffled, kept, atol=1e-9)


def test_uncrossing_beats_the_nearest_neighbour():
    # from the middle of a line, always going to the nearest photo leaps over the start again and again
    x = np.array([0.0, 1, -1.5, 4, -6, 16])[:, None] * [1.0, 0, 0]
    order = short_order(x, Rotation.identity(6), 1.0)
    assert order[0] == 0
    assert np.abs(np.diff(x[order, 0])).sum() <= 6 + 22


def test_interpolate_passes_the_fields_of_view_on():
    fov_y = np.linspace(30, 58, 15)
    frames = interpolate(ring(np.linspace(0, 200, 15)), 29, fov_y=fov_y)
    np.testing.assert_allclose(frames.fov_y, np.linspace(30, 58, 29), atol=0.2)
    assert orbit(full_turn(), 3, fov_y=np.array([40.0, 50, 90])).fov_y.tolist() == [50, 50, 50]


def test_interpolate_of_photos_listed_twice():
    c2w = ring(np.array([0.0, 20, 40]))
    twice = interpolate(np.repeat(c2w, 2, axis=0), 20)
    np.testing.assert_allclose(twice.c2w, interpolate(c2w, 20).c2w, atol=1e-9)
    still = interpolate(c2w[:1], 4)
    np.testing.assert_array_equal(still.c2w, np.repeat(c2w[:1], 4, axis=0))


def test_interpolate_between_two_photos_is_straight():
    c2w = np.tile(np.eye(4), (2, 1, 1))
    c2w[1, 0, 3] = 2
    np.testing.assert_allclose(positions(interpolate(c2w, 5))[:, 0], [0, 0.5, 1, 1.5, 2], atol=1e-12)


@pytest.mark.parametrize("name", PATHS)
def test_one_frame_is_a_path(name):
    assert len(make_path(name, full_turn(), 1)) == 1
    with pytest.raises(NerfkitError, match="--frames: a path needs at least 1 frame; got 0"):
        make_path(name, full_turn(), 0)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("bad", [np.eye(4), np.zeros((0, 4, 4)), np.full((2, 4, 4), np.inf)])
def test_rejects_what_is_no_poses(name, bad):
    with pytest.raises(ValueError, match="c2w must be finite"):
        make_path(name, bad, 3)


def test_make_path_reads_a_file_exactly(tmp_path):
    frames = orbit(full_turn(), 7, fov_y=33, aspect=1.25)
    path = write_camera_path(tmp_path / "turn.json", frames, (500, 400), 24)
    back = make_path(path, handheld(), 99, fov_y=50)
    np.testing.assert_array_equal(back.c2w, frames.c2w)
    np.testing.assert_array_equal(back.fov_y, frames.fov_y)


def test_make_path_names_its_choices():
    with pytest.raises(NerfkitError, match="no path 'elipse'; choose orbit, spiral, interpolate or a camera_path"):
        make_path("elipse", full_turn(), 3)
