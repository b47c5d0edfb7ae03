"""Depth of views fused: a ball's own surface, what one view has alone, and which part of the world is exported."""

import numpy as np
import pytest

from nerfkit.exports.depth_views import DepthView, without_lens
from nerfkit.exports.fused_mesh import fused_mesh
from nerfkit.exports.fused_points import fused_points
from nerfkit.exports.fusion import FusedDepth
from nerfkit.exports.region import choose_region
from nerfkit.scenes.bounds import SceneBounds
from nerfkit.scenes.cameras import Camera, pixels_to_directions
from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.poses import look_at
from nerfkit.scenes.topology import topology

RADIUS, SIDE, CELLS = 0.6, 64, 40
CAMERA = Camera(SIDE, SIDE, 70.0, 70.0, SIDE / 2, SIDE / 2)
BOUNDED = SceneBounds((0.0, 0.0, 0.0), 1.0, False, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), 0.05, 1e6)
# width of a pixel where it meets the ball's middle
PIXEL = 2.5 / 70


def ball_views(n=20, colour=(200, 100, 50)):
    """Views of a ball of RADIUS from a sphere of radius 2.5, by the closed form."""
    rng, views = np.random.default_rng(0), []
    eyes = rng.standard_normal((n, 3))
    eyes *= 2.5 / np.linalg.norm(eyes, axis=1, keepdims=True)
    rows, columns = np.indices((SIDE, SIDE)) + 0.5
    rays = pixels_to_directions(CAMERA, np.stack([columns.ravel(), rows.ravel()], -1))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    for eye in eyes:
        pose = look_at(eye, [0, 0, 0], [0.1, 0.2, 1])
        along = rays @ pose[:3, :3].T @ -eye
        inside = RADIUS**2 - (eye @ eye - along**2)
        depths = np.where(inside > 0, along - np.sqrt(np.maximum(inside, 0)), np.inf)
        picture = np.full((SIDE, SIDE, 3), colour, np.uint8)
        views.append(DepthView(CAMERA, pose, depths.reshape(SIDE, SIDE).astype(np.float32), picture))
    return views


@pytest.fixture(scope="module")
def views():
    return ball_views()


def region_of(views):
    return choose_region(BOUNDED, np.concatenate([view.surface_points for view in views]))


def with_floater(views, which):
    """Something small at (0, 0, 0.8) that the views of these numbers see."""
    place, changed = np.array([0.0, 0.0, 0.8]), list(views)
    for index in which:
        view = views[index]
        depths = view.depths.copy()
        x, y, z = (place - view.c2w[:3, 3]) @ view.c2w[:3, :3]
        column, row = int(32 + 70 * x / -z), int(32 - 70 * y / -z)
        distance = np.linalg.norm(place - view.c2w[:3, 3])
        part = depths[row - 1 : row + 2, column - 1 : column + 2]
        part[:] = np.minimum(part, distance)
        changed[index] = DepthView(view.camera, view.c2w, depths, view.colors)
    return changed


def test_points_of_a_view_lie_on_the_surface(views):
    points = views[0].surface_points
    assert len(points) > 500
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), RADIUS, atol=2e-6)


def test_the_mesh_of_a_ball_is_the_ball(views):
    found = fused_mesh(views, region_of(views), CELLS)
    off = np.abs(np.linalg.norm(found.mesh.vertices, axis=1) - RADIUS)
    assert off.max() < PIXEL and off.mean() < 0.25 * PIXEL
    assert topology(found.mesh.faces).is_closed and topology(found.mesh.faces).n_components == 1
    assert found.mesh.volume > 0 and found.n_floaters == 0
    assert found.mesh.colors is not None and (found.mesh.colors == (200, 100, 50)).all()
    outward = (found.mesh.vertex_normals * found.mesh.vertices).sum(1) / RADIUS
    # pixels are coarser than cells here: a vertex between two views' edges may lean
    assert np.quantile(outward, 0.05) > 0.9 and outward.min() > 0


def test_what_one_view_alone_has_is_outvoted(views):
    facing = [i for i, view in enumerate(views) if view.c2w[2, 3] > 1][:1]
    found = fused_mesh(with_floater(views, facing), region_of(views), CELLS, keeps_floaters=True)
    assert topology(found.mesh.faces).n_components == 1
    cloud, n_floaters = fused_points(with_floater(views, facing), region_of(views), CELLS)
    assert n_floaters >= 1 and np.abs(np.linalg.norm(cloud.points, axis=1) - RADIUS).max() < 0.1


def test_small_parts_are_left_out_and_counted(views, monkeypatch):
    floating = with_floater(views, range(len(views)))
    region = choose_region(BOUNDED, views[0].surface_points, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0))
    kept = fused_mesh(floating, region, 64, keeps_floaters=True)
    assert topology(kept.mesh.faces).n_components == 2
    monkeypatch.setattr("nerfkit.exports.fused_mesh.FLOATER", 0.1)
    found = fused_mesh(floating, region, 64)
    assert (found.n_floaters, topology(found.mesh.faces).n_components) == (1, 1)
    assert found.n_floater_faces == len(kept.mesh.faces) - len(found.mesh.faces) > 0


def test_points_are_one_a_cell_with_normals_and_colours(views):
    cloud, n_floaters = fused_points(views, region_of(views), CELLS)
    assert n_floaters < 0.02 * len(cloud.points)
    assert cloud.normals is not None and cloud.colors is not None
    low, high = region_of(views).low, region_of(views).high
    cells = np.floor((cloud.points - low) / ((high - low).max() / CELLS))
    assert len(np.unique(cells, axis=0)) == len(cloud.points) > 3000
    assert ((cloud.normals * cloud.points).sum(1) / RADIUS).min() > 0.8
    assert (cloud.colors == (200, 100, 50)).all()


def test_places_that_no_view_tells_of_are_unknown(views):
    fused = FusedDepth(views, 0.05)
    values = fused.values(np.array([[0.0, 0, 0], [0, 0, 0.9], [RADIUS, 0, 0], [0, 90, 0]]))
    assert np.isnan(values[[0, 3]]).all() and values[1] == 1 and abs(values[2]) < 0.2


def test_a_camera_without_its_lens():
    camera = Camera(80, 60, 50.0, 51.0, 39.0, 31.0, k=(0.1, 0.0, 0.0, 0.0))
    assert without_lens(camera) == Camera(80, 60, 50.0, 51.0, 39.0, 31.0)
    assert without_lens(Camera(80, 60, 20.0, 20.0, 40.0, 30.0, lens="fisheye")).fx == 40


def test_the_box_of_an_unbounded_scene():
    rng = np.random.default_rng(0)
    bounds = SceneBounds((10.0, 0.0, 0.0), 2.0, True, (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), 0.02, 256.0)
    near, far = rng.uniform(-0.5, 0.5, (900, 3)), rng.uniform(5, 9, (300, 3))
    inner = choose_region(bounds, np.concatenate([near, far]))
    assert inner.share == pytest.approx(0.75, abs=0.01) and inner.why == "what is seen round the middle"
    np.testing.assert_allclose(inner.in_world(bounds), [9, -1, -1, 11, 1, 1], atol=0.1)
    outer = choose_region(bounds, far)
    assert outer.why == "the middle 90 % of what is seen" and outer.share == pytest.approx(0.75, abs=0.1)
    given = choose_region(bounds, near, (9.0, -1.0, -1.0, 10.0, 1.0, 1.0))
    assert given.why == "--box" and given.share == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("points", "box", "what"),
    [
        (np.zeros((0, 3)), None, "no view shows a surface"),
        (np.zeros((9, 3)), (1.0, 0, 0, 0, 1, 1), "least x, y, z and then greatest"),
        (np.zeros((9, 3)), (5.0, 5, 5, 6, 6, 6), "no surface that is seen lies in it"),
    ],
)
def test_boxes_that_hold_nothing(points, box, what):
    with pytest.raises(NerfkitError, match=what):
        choose_region(BOUNDED, points, box)
