"""Cameras: there and back through every lens, against OpenCV, numpy against torch."""

import dataclasses

import numpy as np
import pytest
import torch
from support import DEVICE

from nerfkit.scenes.cameras import Camera, CameraBatch, pixels_to_directions, project, seen_pixels, unsolved_fraction

# strong on purpose: the corner of "barrel" moves by a quarter of the photo's width
LENSES = {
    "pinhole": Camera(640, 480, 500.0, 510.0, 322.5, 238.25),
    "radial": Camera(640, 480, 500.0, 500.0, 320.0, 240.0, k=(0.1, -0.05, 0.0, 0.0)),
    "barrel": Camera(640, 480, 300.0, 300.0, 320.0, 240.0, k=(-0.28, 0.09, -0.012, 0.0008)),
    "pincushion": Camera(640, 480, 400.0, 400.0, 320.0, 240.0, k=(0.6, 0.2, 0.0, 0.0)),
    "brown": Camera(1080, 1920, 1375.5, 1374.5, 554.5, 965.25, k=(0.058, -0.08, 0, 0), p=(-1e-3, 1.6e-4)),
    "tangential": Camera(640, 480, 400.0, 410.0, 310.0, 250.0, k=(-0.2, 0.05, 0.01, 0.002), p=(0.02, -0.015)),
    "equidistant": Camera(640, 640, 205.0, 205.0, 320.0, 320.0, "fisheye"),
    "fisheye": Camera(1000, 1000, 300.0, 310.0, 490.0, 505.0, "fisheye", (0.05, -0.01, 0.002, -0.0003)),
    "rational": Camera(
        640, 480, 420.0, 425.0, 315.0, 236.0, k=(0.3, -0.02, 0.01, 0.0), p=(1e-3, -2e-3), q=(0.4, 0.03, 0.002),
    ),
    "prism": Camera(
        640, 480, 420.0, 425.0, 315.0, 236.0, k=(-0.1, 0.02, 0.0, 0.0), p=(1e-3, -2e-3), s=(0.01, -0.004, -0.02, 0.003),
    ),
    "prism fisheye": Camera(
        800, 800, 300.0, 310.0, 390.0, 405.0, "fisheye", (0.03, -0.01, 1e-3, -1e-4), (2e-3, -1e-3),
        s=(0.004, 0.0, -0.003, 0.0),
    ),
    "fov": Camera(640, 480, 420.0, 425.0, 315.0, 236.0, "fov", omega=0.9),
}  # fmt: skip


def grid(camera, n=23):
    columns, rows = np.meshgrid(np.linspace(0, camera.width, n), np.linspace(0, camera.height, n))
    return np.stack([columns.ravel(), rows.ravel()], axis=-1)


@pytest.mark.parametrize("lens", LENSES)
def test_pixels_come_back(lens):
    camera = LENSES[lens]
    directions = pixels_to_directions(camera, grid(camera))
    np.testing.assert_allclose(project(camera, 3.7 * directions), grid(camera), atol=1e-6)


@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-4), (torch.float32, 2e-3)], ids=str)
@pytest.mark.parametrize("lens", LENSES)
def test_batch_agrees_with_numpy(lens, dtype, atol):
    camera = LENSES[lens]
    pixels = torch.as_tensor(grid(camera), device=DEVICE, dtype=dtype)
    batch = CameraBatch([camera], dtype=dtype).to(DEVICE)
    directions = batch.directions(torch.zeros(len(pixels), dtype=torch.int64, device=DEVICE), pixels)
    assert directions.dtype == dtype
    np.testing.assert_allclose(project(camera, directions.cpu().numpy()), grid(camera), atol=atol)


@pytest.mark.parametrize("lens", [name for name in LENSES if LENSES[name].lens == "perspective"])
def test_perspective_agrees_with_opencv(lens):
    cv2 = pytest.importorskip("cv2", exc_type=ImportError)
    camera = LENSES[lens]
    xyz = np.random.default_rng(0).uniform([-0.7, -0.6, 1], [0.7, 0.6, 1], (50, 3))
    K = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    # OpenCV's fourth radial number is a denominator, ours belongs to r**8: compare without it
    k1, k2, k3, _ = camera.k
    camera = dataclasses.replace(camera, k=(k1, k2, k3, 0.0))
    coefficients = np.array([k1, k2, *camera.p, k3, *camera.q, *camera.s])
    want, _ = cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), K, coefficients)
    np.testing.assert_allclose(project(camera, xyz * [1, -1, -1]), want[:, 0], atol=1e-9)


@pytest.mark.parametrize("lens", ["equidistant", "fisheye"])
def test_fisheye_agrees_with_opencv(lens):
    cv2 = pytest.importorskip("cv2", exc_type=ImportError)
    camera = LENSES[lens]
    xyz = np.random.default_rng(0).uniform([-2, -2, 0.5], [2, 2, 1], (50, 3))
    K = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    want, _ = cv2.fisheye.projectPoints(xyz[:, None], np.zeros(3), np.zeros(3), K, np.array(camera.k))
    np.testing.assert_allclose(project(camera, xyz * [1, -1, -1]), want[:, 0], atol=1e-9)


# COLMAP's name, parameters after fx fy cx cy, and what they are here
COLMAP_LENSES = {
    "FULL_OPENCV": (
        [0.3, -0.02, 1e-3, -2e-3, 0.01, 0.4, 0.03, 0.002],
        {"k": (0.3, -0.02, 0.01, 0.0), "p": (1e-3, -2e-3), "q": (0.4, 0.03, 0.002)},
    ),
    "FOV": ([0.9], {"lens": "fov", "omega": 0.9}),
    "OPENCV_FISHEYE": ([0.05, -0.01, 2e-3, -3e-4], {"lens": "fisheye", "k": (0.05, -0.01, 2e-3, -3e-4)}),
    "THIN_PRISM_FISHEYE": (
        [0.03, -0.01, 2e-3, -1e-3, 1e-3, -1e-4, 4e-3, -3e-3],
        {"lens": "fisheye", "k": (0.03, -0.01, 1e-3, -1e-4), "p": (2e-3, -1e-3), "s": (4e-3, 0.0, -3e-3, 0.0)},
    ),
}


@pytest.mark.parametrize("name", COLMAP_LENSES)
def test_agrees_with_colmap(name):
    pycolmap = pytest.importorskip("pycolmap")
    params, ours = COLMAP_LENSES[name]
    camera = Camera(640, 480, 420.0, 425.0, 315.0, 236.0, **ours)
    theirs = pycolmap.Camera(model=name, width=640, height=480, params=[420.0, 425.0, 315.0, 236.0, *params])
    pixels = grid(camera)
    directions = pixels_to_directions(camera, pixels) * [1, -1, -1]
    forward = directions[:, 2] > 0.05
    assert forward.mean() > 0.8
    found = theirs.img_from_cam(directions[forward] / directions[forward, 2:])
    # COLMAP puts the middle of the first pixel at 0.5, as here
    np.testing.assert_allclose(found, pixels[forward], atol=1e-6)


def test_pixels_that_no_light_reaches():
    assert seen_pixels(LENSES["brown"]) is None
    circle = seen_pixels(Camera(100, 60, 40.0, 40.0, 50.0, 30.0, "fisheye", image_circle=20.0))
    assert circle is not None and circle[30, 50] and not circle[0, 0]
    assert circle.sum() == pytest.approx(np.pi * 20**2, rel=0.02)
    small = Camera(100, 60, 40.0, 40.0, 50.0, 30.0, "fisheye", image_circle=20.0).resized(50, 30)
    assert small.image_circle == 10
    # r (1 - r^2) has no inverse beyond 2 / sqrt(27) = 0.385
    folded = seen_pixels(Camera(200, 150, 100.0, 100.0, 100.0, 75.0, k=(-1.0, 0.0, 0.0, 0.0)))
    assert folded is not None and folded.sum() == pytest.approx(np.pi * 38.5**2, rel=0.03)
    # an FOV lens ends where its arc tangent does, a right angle off the axis: 100 * 1.57 / 1.9 pixels
    wide = seen_pixels(Camera(200, 200, 100.0, 100.0, 100.0, 100.0, "fov", omega=1.9))
    assert wide is not None and wide.sum() == pytest.approx(np.pi * 82.7**2, rel=0.03)
    # beyond 0.83 a second branch rises again, where a ray would be found and be wrong
    twice = Camera(640, 480, 420.0, 425.0, 320.0, 240.0, k=(0.3, -0.1, 0.01, 0.0), q=(0.5, 0.05, 0.002))
    reached = seen_pixels(twice)
    assert reached is not None and reached[240, 320] and not reached[0, 0]


def test_pixel_centres_and_axes():
    # 4x2 photo, focal length 1: the middle of column 3, row 0 is 1.5 right of and 0.5 above the centre
    camera = Camera(4, 2, 1.0, 1.0, 2.0, 1.0)
    np.testing.assert_array_equal(pixels_to_directions(camera, np.array([[3.5, 0.5]])), [[1.5, 0.5, -1.0]])


def test_fisheye_sees_behind_itself_and_on_its_axis():
    camera = Camera(400, 400, 100.0, 100.0, 200.0, 200.0, "fisheye")
    pixels = np.array([[200 + 100 * np.pi * 0.6, 200.0], [200.0, 200.0]])  # 108 degrees off the axis, and on it
    want = [[np.sin(0.6 * np.pi), 0, -np.cos(0.6 * np.pi)], [0, 0, -1]]
    np.testing.assert_allclose(pixels_to_directions(camera, pixels), want, atol=1e-12)
    batch = CameraBatch([camera]).directions(torch.zeros(2, dtype=torch.int64), torch.tensor(pixels))
    np.testing.assert_allclose(batch.numpy(), want, atol=1e-6)


def test_behind_a_perspective_camera_is_nowhere():
    pixels = project(LENSES["pinhole"], np.array([[0.1, 0.1, 1.0], [0.1, 0.1, -1.0]]))
    assert np.isnan(pixels[0]).all() and np.isfinite(pixels[1]).all()


def test_batch_of_all_lenses_gives_each_pixel_its_own():
    cameras = list(LENSES.values())
    rng = np.random.default_rng(1)
    ids = rng.integers(len(cameras), size=200)
    pixels = rng.uniform(0, 400, (200, 2))
    got = CameraBatch(cameras, dtype=torch.float64).directions(torch.tensor(ids), torch.tensor(pixels))
    want = np.concatenate([pixels_to_directions(cameras[i], p[None]) for i, p in zip(ids, pixels, strict=True)])
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_equal_cameras_are_one_and_ids_stay_the_photos():
    a, b = LENSES["pinhole"], LENSES["radial"]
    batch = CameraBatch([a, b, a, b, a])
    assert len(batch) == 5
    pixels = torch.full((5, 2), 100.0)
    directions = batch.directions(torch.arange(5), pixels)
    assert torch.equal(directions[0], directions[2]) and torch.equal(directions[1], directions[3])
    assert not torch.equal(directions[0], directions[1])


def test_no_pixels_no_directions():
    none = CameraBatch(list(LENSES.values())).directions(torch.empty(0, dtype=torch.int64), torch.empty(0, 2))
    assert none.shape == (0, 3)


def test_resized_camera_sees_the_same_directions():
    camera = LENSES["tangential"]
    small = camera.resized(133, 101)
    pixels = grid(camera, 5)
    np.testing.assert_allclose(
        pixels_to_directions(small, pixels * [133 / 640, 101 / 480]),
        pixels_to_directions(camera, pixels),
        atol=1e-12,
    )
    assert (small.width, small.height) == (133, 101)


def test_lens_without_inverse_stays_finite():
    # r (1 - r^2) turns back at r = 0.577; the corner is at 1.25
    camera = Camera(200, 150, 100.0, 100.0, 100.0, 75.0, k=(-1.0, 0.0, 0.0, 0.0))
    batch = CameraBatch([camera])
    assert 0.5 < unsolved_fraction(camera) < 1
    pixels = torch.tensor(grid(camera))
    directions = batch.directions(torch.zeros(len(pixels), dtype=torch.int64), pixels)
    assert torch.isfinite(directions).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"width": 0}, "positive size; got 0x5"),
        ({"fx": -1.0}, "positive focal lengths"),
        ({"cx": float("nan")}, "finite numbers"),
        ({"lens": "mirror"}, "'perspective', 'fisheye' or 'fov'; got 'mirror'"),
        ({"k": (1.0,)}, "k, p, q and s take 4, 2, 3 and 4 numbers; got 1, 2, 3, 4"),
        ({"lens": "fov"}, "omega inside"),
        ({"lens": "fov", "omega": 0.5, "p": (0.1, 0.0)}, "no other term"),
    ],
)
def test_rejects_impossible_cameras(change, message):
    with pytest.raises(ValueError, match=message):
        Camera(**({"width": 5, "height": 5, "fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0} | change))


def test_rejects_an_empty_batch():
    with pytest.raises(ValueError, match="at least one camera"):
        CameraBatch([])
