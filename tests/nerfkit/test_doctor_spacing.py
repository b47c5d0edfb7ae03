"""How far apart photos are: angles by hand, and what is said."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nerfkit.doctor.findings import Report
from nerfkit.doctor.spacing import check_spacing, nearest_angles
from nerfkit.scenes.poses import look_at


def ring(degrees):
    """Cameras round a middle far from the origin, 3 from it."""
    at = np.radians(degrees)
    middle = np.array([100.0, -50.0, 7.0])
    eyes = middle + 3 * np.stack([np.cos(at), np.sin(at), np.zeros(len(at))], -1)
    return look_at(eyes, middle, [0, 0, 1])


def photos_at(train, held_out) -> Any:
    c2w = ring([*train, *held_out])
    held = list(range(len(train), len(c2w)))
    return SimpleNamespace(
        c2w=c2w, root="r", splits={"train": list(range(len(train))), "val": held[:1], "test": held[1:]}
    )


def test_angles_are_those_of_the_ring():
    c2w = ring([0, 10, 40, 47])
    np.testing.assert_allclose(nearest_angles(c2w, [0, 1, 2], [0, 1, 2]), [10, 10, 30], atol=1e-6)
    np.testing.assert_allclose(nearest_angles(c2w, [0, 1, 2], [3]), [7], atol=1e-6)


@pytest.mark.parametrize(
    ("train", "held_out", "said"),
    [
        (range(0, 360, 10), [5, 15], ""),
        (range(0, 360, 40), [20, 60], "held-out photos are 20 degrees from the next"),
        (range(0, 360, 20), [], "photos are 20 degrees from the next"),
    ],
)
def test_photos_that_are_far_apart_are_named(train, held_out, said):
    report = Report("dataset")
    check_spacing(photos_at(train, held_out), 1.0, report)
    found = [problem.what for problem in report.problems]
    assert len(found) == bool(said) and all(what.startswith(said) for what in found)
    assert report.facts["spacing"]["train"] == pytest.approx(train[1] - train[0], abs=0.01)


def test_cameras_that_look_elsewhere_have_no_spacing():
    report = Report("dataset")
    check_spacing(photos_at(range(0, 360, 40), [20]), 0.5, report)
    assert not report.facts and not report.problems
