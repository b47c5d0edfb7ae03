"""Strips of rays through square pixels: against the definition, closed forms, bad arguments."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from nerfkit.kernels.strips import strip_matrix


def dense(shape, pixel, degrees, edges, *distances, impl="cpu"):
    """The matrix [n_angles * n_bins, h * w]."""
    found = strip_matrix(shape, pixel, np.deg2rad(np.asarray(degrees, float)), edges, *distances, impl=impl)
    size = shape[0] * shape[1], len(degrees) * (len(edges) - 1)
    return csr_array((found.values, found.columns, found.starts), shape=size).toarray().T


@pytest.mark.parametrize("distances", [(), (30.0, 20.0)], ids=["parallel", "fan"])
@pytest.mark.parametrize("shape", [(5, 6), (1, 1), (7, 3)])
def test_loops_agree_with_the_definition(shape, distances):
    degrees, edges = [0.0, 30.0, 45.0, 77.0, 90.0, 200.0, -15.0], (np.arange(12) - 5.3) * 1.1
    found, wanted = (dense(shape, 0.9, degrees, edges, *distances, impl=impl) for impl in ("cpu", "reference"))
    np.testing.assert_allclose(found, wanted, atol=2e-7)


@pytest.mark.parametrize("degrees", [0.0, 13.0, 45.0, 90.0])
def test_a_bin_is_the_mean_over_its_width(degrees):
    """What all bins see is the area of the picture, whatever the angle and the width of a bin."""
    for width in (0.3, 1.0, 2.7):
        edges = (np.arange(41) - 20.0) * width
        if edges[-1] < 5:
            continue
        seen = dense((4, 5), 1.0, [degrees], edges) @ np.ones(20)
        assert seen.sum() * width == pytest.approx(20.0, rel=1e-6)


def test_parallel_rays_through_a_disc_have_its_chords():
    side, radius = 200, 80.0
    axis = np.arange(side) - (side - 1) / 2
    disc = (axis[:, None] ** 2 + axis**2 < radius**2).astype(float).ravel()
    edges = np.arange(-60.0, 61.0, 4.0)
    seen = (dense((side, side), 1.0, [17.0], edges) @ disc).reshape(-1)
    chord = lambda s: s * np.sqrt(radius**2 - s**2) + radius**2 * np.arcsin(s / radius)  # noqa: E731
    # pixels at the rim are in or out: half a pixel at either end of a chord, less of it on the mean
    np.testing.assert_allclose(seen, np.diff(chord(edges)) / 4.0, atol=0.7)


def test_directions():
    """At 0 degrees the detector is the x axis, at 90 the y axis, which points up; a fan's source is above at 0."""
    picture = np.zeros((9, 9))
    picture[1, 7] = 1.0  # x = 3, y = 3
    edges = np.arange(10) - 4.5
    straight = (dense((9, 9), 1.0, [0.0, 90.0, 180.0], edges) @ picture.ravel()).reshape(3, 9)
    assert straight.argmax(1).tolist() == [7, 7, 1]
    # nearer to the source it is larger: magnified 100 / (50 - 3), not 2
    fine = np.linspace(-10, 10, 2001)
    fan = dense((9, 9), 1.0, [0.0], fine, 50.0, 50.0) @ picture.ravel()
    middle = (fan * (fine[1:] + fine[:-1]) / 2).sum() / fan.sum()
    assert middle == pytest.approx(3 * 100 / 47, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((0, 4), 1.0, np.zeros(1), np.arange(3.0)), "0x4"),
        (((4, 4), 0.0, np.zeros(1), np.arange(3.0)), "side above 0"),
        (((4, 4), 1.0, np.zeros(1), np.array([1.0, 0.0])), "rise"),
        (((4, 4), 1.0, np.zeros(1), np.arange(3.0), 2.0, 1.0), "within the picture"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        strip_matrix(*arguments)


def test_no_angles_make_no_entries():
    assert len(strip_matrix((3, 3), 1.0, np.zeros(0), np.arange(3.0)).values) == 0
