"""The synthetic scene: distances against slow loops, photos against geometry, the folder against its json."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from nerfkit.scenes.errors import NerfkitError
from nerfkit.scenes.poses import look_at
from nerfkit.scenes.synthetic import (
    Shape,
    build_scene,
    camera_poses,
    lighthouse,
    trace_view,
    write_posed_scene,
)
from nerfkit.scenes.synthetic import materials as paint
from nerfkit.scenes.synthetic import shapes as solid
from nerfkit.scenes.synthetic.dataset import CAMERA_ANGLE_X
from nerfkit.scenes.synthetic.tracer import _SUN

SUN = np.array(_SUN)
SOLIDS = {
    "sphere": (solid.SPHERE, (0.4,)),
    "box": (solid.BOX, (0.3, 0.2, 0.1, 0.05)),
    "cone": (solid.CONE, (0.3, 0.1, 0.2, 0.02)),
    "torus": (solid.TORUS, (0.4, 0.1)),
    "prism": (solid.PRISM, (0.3, 0.4, 0.2, -0.1)),
    "posts": (solid.POSTS, (7, 0.4, 0.05, 0.2)),
    "dome": (solid.DOME, (0.5, 0.2, 0.02, 12.0)),
    "hull": (solid.HULL, (0.4, 0.15)),
}


@pytest.fixture(scope="module")
def island():
    return lighthouse()


def look(scene, position, *, size=32, supersample=1, angle=CAMERA_ANGLE_X):
    c2w = look_at(position, [0, 0, 0], [0, 0, 1])
    return trace_view(scene, c2w, camera_angle_x=angle, size=(size, size), supersample=supersample)


def look_along(scene, start, point):
    """Colour and depth of the single ray from `start` to `point`."""
    c2w = look_at(start - point, [0, 0, 0], [0, 0, 1])
    c2w[:3, 3] = start
    rgba, depth = trace_view(scene, c2w, camera_angle_x=0.1, size=(1, 1), supersample=1)
    return rgba[0, 0], depth[0, 0]


@pytest.mark.parametrize("name", SOLIDS)
def test_distance_never_grows_faster_than_the_way(name):
    kind, size = SOLIDS[name]
    rows = Shape(kind, size, (0.1, -0.05, 0.0), turn=30, tilt=20).row()[None]
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.8, 0.8, (2000, 3))
    moved = points + rng.normal(0.0, 0.02, points.shape)
    first = np.array([solid._shape_distance(rows, 0, *p) for p in points])
    second = np.array([solid._shape_distance(rows, 0, *p) for p in moved])
    assert (np.abs(first - second) <= np.linalg.norm(points - moved, axis=1) * (1 + 1e-6)).all()
    assert (first < 0).any() and (first > 0).any()


@pytest.mark.parametrize(
    ("name", "point", "distance"),
    [
        ("sphere", (0.0, 0.0, 1.0), 0.6),
        ("box", (0.3, 0.2, 0.4), math.sqrt(2 * 0.05**2 + 0.35**2) - 0.05),
        ("cone", (0.0, 0.0, 0.5), 0.3),
        ("torus", (0.4, 0.0, 0.3), 0.2),
        ("prism", (0.0, 0.5, 0.1), 0.3),
        ("posts", (0.4, 0.0, 0.5), 0.3),
        ("dome", (0.0, 0.0, -0.3), 0.3),
        ("hull", (0.0, 0.0, -0.4), 0.25),
    ],
)
def test_distance_of_a_known_point(name, point, distance):
    kind, size = SOLIDS[name]
    assert solid._shape_distance(Shape(kind, size).row()[None], 0, *point) == pytest.approx(distance, abs=1e-5)


def test_grid_gives_the_same_distance_as_all_shapes(island):
    points = np.random.default_rng(0).uniform(-0.9, 0.9, (3000, 3))
    for x, y, z in points.tolist():
        want = min(solid._shape_distance(island.rows, i, x, y, z) for i in range(len(island.rows)))
        exact, which = solid.scene_distance(island, x, y, z, solid.FAR)
        assert exact == pytest.approx(want, abs=1e-9) and which >= 0
        bound, which = solid.scene_distance(island, x, y, z, 0.02)
        assert bound <= want + 1e-6
        assert which < 0 or bound == pytest.approx(want, abs=1e-9)


def test_sphere_has_the_silhouette_and_depth_that_geometry_says():
    scene = build_scene([Shape(solid.SPHERE, (0.5,))])
    rgba, depth = look(scene, (3.0, 1.0, 1.0), size=65, supersample=3)
    distance, focal = math.sqrt(11.0), 32.5 / math.tan(0.5 * CAMERA_ANGLE_X)
    radius = focal * math.tan(math.asin(0.5 / distance))
    assert rgba[..., 3].sum() == pytest.approx(math.pi * radius**2, rel=0.01)
    assert depth[32, 32] == pytest.approx(distance - 0.5, abs=3e-3)
    assert depth[0, 0] == 0 and rgba[0, 0].max() == 0


def test_wide_photo_keeps_square_pixels():
    scene = build_scene([Shape(solid.SPHERE, (0.5,))])
    c2w = look_at([3.0, 0.0, 0.5], [0, 0, 0], [0, 0, 1])
    rgba, _ = trace_view(scene, c2w, camera_angle_x=CAMERA_ANGLE_X, size=(60, 40), supersample=2)
    covered = rgba[..., 3] > 0.5
    assert rgba.shape == (40, 60, 4)
    assert abs(np.ptp(np.nonzero(covered)[0]) - np.ptp(np.nonzero(covered)[1])) <= 1


def test_image_is_upright_and_not_mirrored():
    # a red ball above and a blue one to the right, for a camera on the -Y side looking along +Y
    red, blue = (
        Shape(solid.SPHERE, (0.2,), (0, 0, 0.6), "ff0000"),
        Shape(solid.SPHERE, (0.2,), (0.6, 0, 0), "0000ff"),
    )
    rgba, _ = look(build_scene([red, blue]), (0.0, -3.5, 0.0), size=33)
    assert rgba[7, 16, 0] > 2 * rgba[7, 16, 2] and rgba[16, 25, 2] > 2 * rgba[16, 25, 0]
    assert rgba[25, 16, 3] == 0 and rgba[16, 7, 3] == 0


def test_surface_point_of_one_view_is_met_from_another(island):
    first = look_at([2.4, -2.2, 1.3], [0, 0, 0], [0, 0, 1])
    second = look_at([2.1, -2.5, 1.4], [0, 0, 0], [0, 0, 1])[:3, 3]
    _, depth = trace_view(island, first, camera_angle_x=CAMERA_ANGLE_X, size=(24, 24), supersample=1)
    focal = 12 / math.tan(0.5 * CAMERA_ANGLE_X)
    error = []
    for i, j in zip(*np.nonzero(depth), strict=True):
        direction = first[:3, :3] @ np.array([(j + 0.5 - 12) / focal, -(i + 0.5 - 12) / focal, -1.0])
        point = first[:3, 3] + depth[i, j] * direction / np.linalg.norm(direction)
        error.append(look_along(island, second, point)[1] - np.linalg.norm(point - second))
    error = np.array(error)
    assert len(error) > 100
    assert error.max() < 0.02  # a ray at grazing angle may pass a little deeper, none goes through
    assert np.mean(np.abs(error) < 4e-3) > 0.85  # the rest is hidden from there


def test_ball_throws_a_soft_shadow_and_hides_the_sky_below_it():
    slab = Shape(solid.BOX, (0.9, 0.9, 0.05), (0, 0, -0.3), "cccccc")
    ball = Shape(solid.SPHERE, (0.2,), (0, 0, 0.1), "cccccc")
    with_ball, without = build_scene([slab, ball]), build_scene([slab])
    foot = np.array([0.0, 0.0, 0.1]) - SUN * 0.35 / SUN[2]  # where the ball's shadow has its middle
    camera = np.array([-1.5, 1.0, 3.0])
    across = np.array([SUN[1], -SUN[0], 0.0]) / math.hypot(SUN[0], SUN[1])
    levels = []
    for step in np.linspace(0.0, 0.35, 15):
        shaded, clear = (look_along(s, camera, foot + step * across)[0][:3].sum() for s in (with_ball, without))
        levels.append(shaded / clear)
    assert levels[0] < 0.75 and levels[-1] > 0.97
    assert sum(0.8 < level < 0.97 for level in levels) >= 1  # a penumbra, not a step
    assert (np.diff(levels) > -0.02).all()

    corner = np.array([0.0, 0.0, -0.25])
    side = build_scene([slab, Shape(solid.SPHERE, (0.2,), (-0.15, 0.1, -0.05), "cccccc")])  # away from the sun
    touched, clear = (look_along(s, np.array([1.5, -1.5, 3.0]), corner)[0][:3].sum() for s in (side, without))
    assert touched < 0.99 * clear


def test_gloss_depends_on_the_view_and_is_in_the_mirror_direction():
    point = 0.5 * SUN
    side = np.cross(SUN, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    differences = []
    for roughness in (0.3, 1.0):
        scene = build_scene([Shape(solid.SPHERE, (0.5,), colours="808080", roughness=roughness)])
        facing = look_along(scene, point + 2.0 * SUN, point)[0][:3].mean()
        aside = look_along(scene, point + 2.0 * (SUN + 0.8 * side), point)[0][:3].mean()
        differences.append(facing - aside)
    assert differences[0] > 0.05  # the same point, much brighter where the sun is mirrored
    assert abs(differences[1]) < 0.01


@pytest.mark.parametrize("name", ["BANDS", "SPIRAL", "BRICKS", "PLANKS", "RINGS", "SHINGLES", "SECTORS"])
def test_pattern_shows_both_colours(name):
    scale = 6 if name == "SECTORS" else 0.2
    colours = ("000000", "ffffff")
    box = Shape(solid.BOX, (0.5, 0.5, 0.5), colours=colours, pattern=getattr(paint, name), scale=scale)
    rgba, _ = look(build_scene([box]), (2.5, -2.0, 1.6), size=48)
    seen = rgba[rgba[..., 3] == 1][:, :3].mean(axis=1)
    assert seen.min() < 0.35 and seen.max() > seen.min() + 0.25


def test_name_reads_from_left_to_right_from_outside():
    n_columns = paint._LETTERS.shape[1]
    read = [
        [
            paint._letters(
                (2 * (column + 0.5) / (3 * n_columns) - 1) * math.pi,
                height * 1.6 * math.pi / (3 * n_columns),
                3,
            )
            for column in range(n_columns)
        ]
        for height in (3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0)
    ]
    np.testing.assert_array_equal(read, paint._LETTERS)
    assert paint._letters(0.0, 0.5, 3) == 0  # no letter above the line


def test_whole_scene_fits_into_every_photo(island):
    for pose in camera_poses(40, seed=1):
        rgba, _ = trace_view(island, pose, camera_angle_x=CAMERA_ANGLE_X, size=(48, 48), supersample=1)
        alpha = rgba[..., 3]
        assert 0.15 < alpha.mean() < 0.6
        assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) == 0


def test_poses_look_at_the_scene_from_all_round():
    poses = camera_poses(60, seed=3)
    rotation, position = poses[:, :3, :3], poses[:, :3, 3]
    distance = np.linalg.norm(position, axis=1)
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (60, 3, 3)), atol=1e-12
    )
    assert np.linalg.det(rotation) == pytest.approx(np.ones(60))
    np.testing.assert_allclose(-rotation[:, :, 2] * distance[:, None], -position, atol=1e-12)  # -Z meets the origin
    assert (rotation[:, 2, 1] > 0).all()  # upright
    assert distance.min() >= 3.2 and distance.max() <= 3.6
    assert (position[:, 2] < 0).any() and (position[:, 2] > 0.8 * distance).any()
    cosines = (position / distance[:, None]) @ (position / distance[:, None]).T
    nearest = np.degrees(np.arccos(np.clip(cosines - 2 * np.eye(60), -1, 1).max(axis=1)))
    assert nearest.min() > 8 and nearest.max() < 25  # well spread: no two alike, no gap
    assert camera_poses(0).shape == (0, 4, 4)


def read_folder(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_folder_is_the_same_for_the_same_seed_alone(tmp_path, island):
    few = {"n_train": 3, "n_val": 1, "n_test": 1, "size": (16, 12), "supersample": 2, "scene": island}
    first = read_folder(write_posed_scene(tmp_path / "a", seed=5, **few))
    assert first == read_folder(write_posed_scene(tmp_path / "b", seed=5, **few))
    other = read_folder(write_posed_scene(tmp_path / "c", seed=6, **few))
    assert first.keys() == other.keys() and all(first[k] != other[k] for k in first)


def test_folder_holds_what_its_json_says(tmp_path):
    calls = []
    folder = write_posed_scene(
        tmp_path / "scene", n_train=4, n_val=2, n_test=3, size=(32, 32), progress=lambda *n: calls.append(n)
    )
    assert calls == [(i, 9) for i in range(1, 10)]
    positions = []
    for split, n in (("train", 4), ("val", 2), ("test", 3)):
        listed = json.loads((folder / f"transforms_{split}.json").read_text(encoding="utf-8"))
        assert listed["camera_angle_x"] == pytest.approx(math.radians(40))
        assert [f["file_path"] for f in listed["frames"]] == [f"./{split}/r_{i}" for i in range(n)]
        for frame in listed["frames"]:
            positions.append(np.array(frame["transform_matrix"])[:3, 3])
            with Image.open(folder / f"{frame['file_path']}.png") as photo:
                assert photo.mode == "RGBA" and photo.size == (32, 32)
                pixels = np.asarray(photo)
            levels = set(np.unique(pixels[..., 3]).tolist())
            assert levels <= {round(255 * k / 9) for k in range(10)}  # nine rays a pixel
            assert {0, 255} < levels
            edge = (pixels[..., 3] > 0) & (pixels[..., 3] < 255)
            assert pixels[edge][:, :3].max(axis=1).mean() > 60  # the scene's colour, not darkened by alpha
    gaps = np.linalg.norm(np.array(positions)[:, None] - np.array(positions)[None], axis=-1) + 9 * np.eye(9)
    assert gaps.min() > 0.1  # no view is in two splits


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_train": 0}, "n_train, n_val, n_test = 0, 4, 8, wanted at least 1, 0, 0"),
        ({"n_val": -1}, "n_train, n_val, n_test = 60, -1, 8"),
        ({"size": (0, 10)}, "size 0x10 with supersample 3"),
        ({"supersample": 0}, "size 200x200 with supersample 0"),
    ],
)
def test_wrong_counts_are_named(tmp_path, wrong, message):
    with pytest.raises(NerfkitError, match=message):
        write_posed_scene(tmp_path / "scene", **wrong)
    assert not (tmp_path / "scene").exists()


def test_scene_has_1_to_255_shapes():
    with pytest.raises(ValueError, match="1 to 255 shapes, not 0"):
        build_scene([])


def test_unknown_name_is_an_attribute_error():
    import nerfkit.scenes.synthetic as synthetic

    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = synthetic.no_such_thing
