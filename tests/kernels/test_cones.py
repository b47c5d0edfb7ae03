"""Voxels under a cone of rays: against the definition, the transpose, a fan, chords of a ball, bad arguments."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from nerfkit.kernels.cones import Cone, cone_back_project, cone_project
from nerfkit.kernels.strips import strip_matrix

CONE = Cone(
    np.deg2rad([0.0, 30.0, 45.0, 90.0, 200.0]), (np.arange(9) - 4.2) * 1.1, (np.arange(7) - 2.7) * 1.3, 30.0, 20.0,
    0.9, 0.8,
)  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "dtype"), [((5, 4, 6), np.float64), ((1, 1, 1), np.float64), ((3, 7, 2), np.float32)]
)
def test_loops_agree_with_the_definition(shape, dtype):
    rng = np.random.default_rng(0)
    volume, values = rng.random(shape).astype(dtype), rng.random(CONE.shape).astype(dtype)
    # the definition gives steps without width a width of 1e-10
    bound = 1e-5 if dtype == np.float32 else 1e-7
    found, wanted = (cone_project(volume, CONE, impl=impl) for impl in ("cpu", "reference"))
    np.testing.assert_allclose(found, wanted, atol=bound)
    found, wanted = (cone_back_project(values, shape, CONE, impl=impl) for impl in ("cpu", "reference"))
    np.testing.assert_allclose(found, wanted, atol=bound)
    assert found.dtype == dtype


def test_the_way_back_is_the_transpose():
    rng = np.random.default_rng(1)
    volume, values = rng.standard_normal((6, 5, 7)), rng.standard_normal(CONE.shape)
    there, back = cone_project(volume, CONE), cone_back_project(values, volume.shape, CONE)
    assert (there * values).sum() == pytest.approx((volume * back).sum(), rel=1e-12)


def test_the_middle_row_is_a_fan():
    """A low row at the source's plane sees one slice, as the fan's strips do."""
    picture = np.random.default_rng(2).random((6, 7))
    cone = CONE._replace(row_edges=np.array([-1e-3, 1e-3]))
    strips = strip_matrix(picture.shape, cone.pixel, cone.radians, cone.bin_edges, 30.0, 20.0)
    size = picture.size, len(cone.radians) * (len(cone.bin_edges) - 1)
    # the strips' first line is on top
    wanted = csr_array((strips.values, strips.columns, strips.starts), shape=size).T @ picture[::-1].ravel()
    found = cone_project(np.repeat(picture[..., None], 2, 2), cone)[..., 0]
    np.testing.assert_allclose(found.ravel(), wanted, atol=1e-6)


def test_rays_through_a_ball_have_its_chords():
    n, radius, source, detector = 64, 28.0, 130.0, 70.0
    axis = (np.arange(n * 2) - n + 0.5) / 2
    fine = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < radius**2).astype(float)
    ball = fine.reshape(n, 2, n, 2, n, 2).mean((1, 3, 5))
    edges = (np.arange(25) - 12.0) * 3
    cone = Cone(np.deg2rad([0.0, 27.0]), edges, edges + 1.0, source, detector, 1.0, 1.0)
    s, t = edges[:-1, None] + 1.5, edges[:-1] + 2.5
    # distance of a ray from the ball's middle
    away = source * np.sqrt((s**2 + t**2) / (s**2 + t**2 + (source + detector) ** 2))
    chords = 2 * np.sqrt(np.clip(radius**2 - away**2, 0, None))
    for view in cone_project(ball, cone):
        inner = away < 0.8 * radius
        np.testing.assert_allclose(view[inner], chords[inner], atol=0.35)


def test_up_and_near():
    """A voxel high up is seen by high rows, the higher the nearer it is to the source: at y > 0 at 0 degrees."""
    rows = np.linspace(-40, 40, 801)
    cone = Cone(np.zeros(1), np.linspace(-30, 30, 31), rows, 50.0, 50.0, 1.0, 1.0)
    volume = np.zeros((9, 9, 9))
    volume[7, 4, 8] = 1.0  # y = 3, x = 0, z = 4
    seen = cone_project(volume, cone)[0].sum(0)
    middle = (seen * (rows[1:] + rows[:-1]) / 2).sum() / seen.sum()
    assert middle == pytest.approx(4 * 100 / 47, abs=0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixel": 0.0}, "sides above 0"),
        ({"row_edges": np.array([1.0, 0.0])}, "rise"),
        ({"source_distance": 2.0}, "within the volume"),
        ({"detector_distance": 0.0}, "behind the axis"),
    ],
)
def test_bad_arguments(change, words):
    with pytest.raises(ValueError, match=words):
        cone_project(np.zeros((4, 4, 4)), CONE._replace(**change))


def test_values_of_another_shape():
    with pytest.raises(ValueError, match="shape"):
        cone_back_project(np.zeros((1, 2, 3)), (4, 4, 4), CONE)
