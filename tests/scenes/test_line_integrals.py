"""Line integrals as an observation: adjoint, derivatives, several pictures at once; geometry that cannot be."""

import pytest
import torch

from nerfkit.scenes.observations.instrument import WholePicture
from nerfkit.scenes.observations.line_integrals import LineIntegrals
from nerfkit.scenes.scan_geometry import ScanGeometry

PARALLEL = ScanGeometry("parallel", (0.0, 33.0, 90.0, 145.0), 11, 0.9, 4.7)
FAN = ScanGeometry("fan", (0.0, 120.0, 240.0), 15, 1.5, 7.2, 40.0, 30.0)


@pytest.mark.parametrize("scan", [PARALLEL, FAN], ids=["parallel", "fan"])
@pytest.mark.parametrize("leading", [(), (3,)])
def test_the_adjoint_is_the_transpose(scan, leading):
    integrals = LineIntegrals(scan, (8, 10), 0.7)
    picture, values = torch.rand(*leading, 8, 10), torch.rand(*leading, *integrals.values_shape)
    ahead, back = (integrals.product(picture) * values).sum(), (picture * integrals.adjoint(values)).sum()
    assert float(ahead) == pytest.approx(float(back), rel=1e-5)


def test_the_gradient_is_the_adjoint():
    integrals = LineIntegrals(PARALLEL, (8, 10), 0.7)
    picture, values = torch.rand(8, 10, requires_grad=True), torch.rand(integrals.values_shape)
    seen = WholePicture(integrals, lambda found: found).predict(lambda _: picture, None)
    (seen.values * values).sum().backward()
    torch.testing.assert_close(picture.grad, integrals.adjoint(values))


def test_several_pictures_are_measured_as_one_by_one():
    integrals = LineIntegrals(FAN, (8, 8), 0.7)
    pictures = torch.rand(3, 8, 8)
    wanted = torch.stack([integrals.product(picture) for picture in pictures])
    torch.testing.assert_close(integrals.product(pictures), wanted)
    assert integrals.product(torch.zeros(0, 8, 8)).shape == (0, *integrals.values_shape)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "helical"}, "geometry must be one of"),
        ({"angles": ()}, "one at least"),
        ({"angles": (0.0, float("nan"))}, "finite"),
        ({"n_bins": 1}, "two bins"),
        ({"bin_spacing": 0.0}, "bin_spacing above 0"),
        ({"center": 11.0}, "between 0 and 10"),
        ({"kind": "fan"}, "source_distance"),
    ],
)
def test_geometry_that_cannot_be(change, words):
    from dataclasses import replace

    with pytest.raises(ValueError, match=words):
        replace(PARALLEL, **change)
