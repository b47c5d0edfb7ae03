"""Bounds: the box round an object of known place and size, and the unit of an unbounded scene."""

import dataclasses

import numpy as np
import pytest

from nerfkit.scenes.bounds import CARVING_RESOLUTION, FAR_BOUNDED, SceneBounds, bounded_scene, unbounded_scene
from nerfkit.scenes.cameras import Camera, pixels_to_directions, project
from nerfkit.scenes.poses import look_at

CAMERA = Camera(80, 60, 75.0, 75.0, 40.0, 30.0)
DISTANCE = 4.0  # of the cameras from what they look at
SIMILARITIES = {
    "as it is": (np.eye(3), np.zeros(3), 1.0),
    "moved, turned, large": (
        look_at([0, 0, 0], [3, -1, 2], [1, 1, 0])[:3, :3],
        np.array([900.0, -40, 7]),
        250.0,
    ),
    "tiny": (look_at([0, 0, 0], [-1, -2, 1], [0, 0, 1])[:3, :3], np.array([0.02, 0.1, -0.3]), 1e-3),
}


def ring_of_cameras(n=16, target=(0, 0, 0)):
    """Poses [n, 4, 4] on a sphere about the origin, spread evenly (Fibonacci), without the poles."""
    z = np.linspace(-0.9, 0.9, n)
    angle = np.arange(n) * 2.399963
    radius = np.sqrt(1 - z * z)
    eyes = DISTANCE * np.stack([radius * np.cos(angle), radius * np.sin(angle), z], -1)
    return look_at(eyes, target, (0, 0, 1))


def transformed(c2w, rotation, shift, scale):
    out = c2w.copy()
    out[:, :3, :3] = rotation @ c2w[:, :3, :3]
    out[:, :3, 3] = scale * c2w[:, :3, 3] @ rotation.T + shift
    return out


def sphere_masks(c2w, camera, center, radius):
    """Exact silhouettes of a sphere: the pixels whose ray passes its centre within its radius."""
    column, row = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    directions = pixels_to_directions(camera, np.stack([column.ravel(), row.ravel()], -1))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    masks = []
    for pose in c2w:
        rays = directions @ pose[:3, :3].T
        to_center = np.asarray(center) - pose[:3, 3]
        along = rays @ to_center
        masks.append((to_center @ to_center - along**2 < radius**2).reshape(camera.height, camera.width))
    return masks


def carve(c2w, center, radius, camera=CAMERA):
    return bounded_scene(c2w, [camera] * len(c2w), sphere_masks(c2w, camera, center, radius))


def carving_cell(scale=1.0):
    """Side of a cell of the first cube: what the views see at the distance of the object."""
    return scale * DISTANCE * CAMERA.width / CAMERA.fx / CARVING_RESOLUTION


@pytest.mark.parametrize("rotation, shift, scale", SIMILARITIES.values(), ids=list(SIMILARITIES))
def test_the_box_is_round_a_sphere_to_two_carving_cells(rotation, shift, scale):
    local = np.array([0.3, -0.2, 0.25])
    center = scale * rotation @ local + shift
    bounds = carve(transformed(ring_of_cameras(), rotation, shift, scale), center, 0.8 * scale)
    cell = carving_cell(scale)
    assert not bounds.contract and bounds.far == FAR_BOUNDED
    np.testing.assert_allclose(bounds.center, center, atol=cell)
    # the hull of 16 views, a mask grown by a pixel and the margin of a cell and a half: larger, never smaller
    halves = np.array(bounds.aabb[3:]) * bounds.scale
    assert (halves > 0.8 * scale).all() and (halves < 0.8 * scale + 3 * cell).all()
    assert max(bounds.aabb[3:]) == 1.0 and np.array_equal(bounds.aabb[:3], -np.array(bounds.aabb[3:]))
    closest = np.linalg.norm(DISTANCE * scale * np.array([0, 0, 1])) / bounds.scale
    assert 0 < bounds.near <= closest / 10


def test_an_object_that_reaches_beyond_the_first_cube_grows_it():
    # a sphere that fills the views' height, whose cube is set by a camera that is told to see less
    c2w = ring_of_cameras()
    narrow = Camera(60, 60, 200.0, 200.0, 30.0, 30.0)
    wide = [CAMERA] * (len(c2w) - 1)
    masks = [np.ones((60, 60), bool), *sphere_masks(c2w[1:], CAMERA, (0, 0, 0), 1.1)]
    first_half = DISTANCE * 60 / 200 / 2
    bounds = bounded_scene(c2w, [narrow, *wide], masks)
    assert first_half < 1.0 < bounds.scale < 1.1 + 4 * carving_cell()


def point_masks(c2w, camera, points):
    """The pixels that points [n, 3] fall into."""
    masks = []
    for pose in c2w:
        column, row = project(camera, (points - pose[:3, 3]) @ pose[:3, :3]).astype(int).T
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        mask = np.zeros((camera.height, camera.width), bool)
        mask[row[inside], column[inside]] = True
        masks.append(mask)
    return masks


def test_a_flat_object_gets_a_flat_box():
    c2w = ring_of_cameras(32)
    points = np.stack(np.meshgrid(np.linspace(-1, 1, 81), np.linspace(-1, 1, 81), [0.0]), -1).reshape(-1, 3)
    bounds = bounded_scene(c2w, [CAMERA] * len(c2w), point_masks(c2w, CAMERA, points))
    x, y, z = bounds.aabb[3:]
    assert x > 0.9 and y > 0.9 and z < 0.35


def test_a_wire_much_thinner_than_a_carving_cell_is_not_lost():
    # a pixel of these photos is an eighth of a cell; nothing but the wire shows, off the centres of all cells
    camera, c2w = CAMERA.resized(400, 300), ring_of_cameras()
    points = np.stack([np.full(2000, 0.02), np.full(2000, -0.03), np.linspace(-1, 1, 2000)], -1)
    bounds = bounded_scene(c2w, [camera] * len(c2w), point_masks(c2w, camera, points))
    assert 1 < bounds.scale < 1 + 3 * carving_cell()
    assert max(bounds.aabb[3:5]) * bounds.scale < 3 * carving_cell()


def test_one_wrong_mask_of_twenty_does_not_cut_the_object():
    c2w = ring_of_cameras(20)
    masks = sphere_masks(c2w, CAMERA, (0, 0, 0), 0.8)
    whole = bounded_scene(c2w, [CAMERA] * len(c2w), masks)
    masks[5][:, :40] = False
    bounds = bounded_scene(c2w, [CAMERA] * len(c2w), masks)
    assert bounds.scale > 0.8 and abs(bounds.scale - whole.scale) < 2 * carving_cell()


def test_an_empty_hull_leaves_the_views_cube():
    # masks that contradict one another: each view sees a thing at another end
    c2w = ring_of_cameras()
    masks = [np.zeros((60, 80), bool) for _ in c2w]
    for i, mask in enumerate(masks):
        mask[:3, :3] = i % 2 == 0
        mask[-3:, -3:] = i % 2 == 1
    bounds = bounded_scene(c2w, [CAMERA] * len(c2w), masks)
    assert bounds.scale == pytest.approx(DISTANCE * 80 / 75 / 2) and bounds.aabb == (-1, -1, -1, 1, 1, 1)


@pytest.mark.parametrize("kind", ["one photo", "in parallel", "only turns"])
def test_views_that_do_not_tell_the_distance_of_an_object_give_an_unbounded_scene(kind):
    c2w = np.tile(np.eye(4), (1 if kind == "one photo" else 3, 1, 1))
    if kind == "in parallel":
        c2w[:, 0, 3] = [0, 0.1, 0.2]
    if kind == "only turns":
        c2w[:, :3] = look_at([1, 1, 1], [[1, 0, 1], [1.1, 0, 1], [0.9, 0, 1]], [0, 0, 1])[:, :3]
    masks = [np.ones((60, 80), bool)] * len(c2w)
    bounds = bounded_scene(c2w, [CAMERA] * len(c2w), masks)
    assert bounds == unbounded_scene(c2w) and bounds.scale > 0.05


@pytest.mark.parametrize("rotation, shift, scale", SIMILARITIES.values(), ids=list(SIMILARITIES))
def test_an_unbounded_scene_looks_the_same_in_every_world(rotation, shift, scale):
    c2w = ring_of_cameras(target=(0.3, 0.1, -0.2))
    here, there = unbounded_scene(c2w), unbounded_scene(transformed(c2w, rotation, shift, scale))
    assert there.contract and there.far == here.far and there.near == here.near
    assert there.scale == pytest.approx(here.scale * scale)
    np.testing.assert_allclose(
        there.center, scale * rotation @ here.center + shift, atol=1e-9 * abs(shift).max() + 1e-9
    )


def test_an_unbounded_box_is_centred_where_the_cameras_look_and_reaches_to_them():
    bounds = unbounded_scene(ring_of_cameras())
    np.testing.assert_allclose(bounds.center, 0, atol=1e-9)
    assert bounds.scale == pytest.approx(DISTANCE)
    np.testing.assert_allclose(np.linalg.norm(bounds.normalise(ring_of_cameras())[:, :3, 3], axis=1), 1)


@pytest.mark.parametrize("tilt", [0.0, 1e-9, 1e-5, 1e-3])
def test_cameras_that_look_in_parallel_do_not_move_the_scene_to_the_horizon(tilt):
    eyes = np.stack([np.linspace(-1, 1, 9), np.zeros(9), np.zeros(9)], -1)
    c2w = look_at(eyes, (1 - tilt) * eyes - np.array([0, 0, 1]), (0, 1, 0))
    bounds = unbounded_scene(c2w)
    np.testing.assert_allclose(bounds.center, 0, atol=1e-6)
    assert bounds.scale == pytest.approx(1.0)


def test_a_single_photo_has_an_unbounded_scene():
    bounds = unbounded_scene(ring_of_cameras()[:1])
    assert np.isfinite(bounds.center).all() and bounds.scale > 0


def test_a_camera_that_only_turns_is_the_centre_of_a_scene_of_finite_size():
    targets = np.stack([np.cos(np.arange(8)), np.sin(np.arange(8)), np.zeros(8)], -1)
    bounds = unbounded_scene(look_at(np.array([5.0, 5, 5]), targets + 5, (0, 0, 1)))
    np.testing.assert_allclose(bounds.center, 5, atol=1e-6)
    assert bounds.scale == 1.0


def test_positions_return_from_normalised_coordinates_and_rotations_stay():
    bounds = SceneBounds((3.0, -7.0, 11.0), 2.5, True, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), 0.02, 256.0)
    c2w = ring_of_cameras().astype(np.float32)
    before = c2w.copy()
    normalised = bounds.normalise(c2w)
    assert normalised.dtype == np.float64 and np.array_equal(c2w, before)
    np.testing.assert_array_equal(normalised[:, :3, :3], c2w[:, :3, :3])
    np.testing.assert_allclose(bounds.to_world(normalised[:, :3, 3]), c2w[:, :3, 3])
    np.testing.assert_allclose(bounds.to_world(np.array([[0.0, 0, 0], [1, 1, 1]])), [[3, -7, 11], [5.5, -4.5, 13.5]])


def test_bounds_return_from_plain_values():
    bounds = carve(ring_of_cameras(), (0, 0, 0), 0.8)
    values = bounds.as_dict()
    assert all(isinstance(v, list | float | bool) for v in values.values())
    assert all(type(x) is float for v in values.values() if isinstance(v, list) for x in v)
    assert SceneBounds.from_dict(values) == bounds


def test_bounds_say_what_they_are():
    bounds = SceneBounds((1.0, 2.0, 3.0), 0.5, False, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), 0.05, np.inf)
    assert str(bounds) == "bounded; centre (1, 2, 3), half side 0.5 world units"
    assert "contracted" in str(dataclasses.replace(bounds, contract=True))
