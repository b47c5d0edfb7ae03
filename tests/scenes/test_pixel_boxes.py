"""Means over pixels' squares: exact for cubics, the same for lists and lattices."""

import torch

from nerfkit.scenes.fields.siren import Siren, SirenConfig
from nerfkit.scenes.observations.pixel_boxes import LatticePixelBoxes, PixelBoxes, gauss_positions


def test_cubics_are_integrated_exactly():
    def cubic(points):
        x, y = points.unbind(-1)
        return (x**3 + 2 * x**2 * y - y**3)[:, None]

    def integral(a, b):
        """Of the cubic over [a, a + 1] x [b, b + 1]."""
        powers = lambda c, n: ((c + 1) ** (n + 1) - c ** (n + 1)) / (n + 1)  # noqa: E731
        return powers(a, 3) + 2 * powers(a, 2) * powers(b, 1) - powers(b, 3)

    found = PixelBoxes().predict(cubic, torch.tensor([[0.5, 1.5], [3.5, 2.5]], dtype=torch.float64))
    expected = torch.tensor([[integral(0, 1)], [integral(3, 2)]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_a_lattice_gives_what_a_list_does():
    image = Siren(SirenConfig(), (5.0, 4.0), torch.tensor([[0.0, 1.0]]), torch.Generator().manual_seed(0))
    lattice = image.lattice(gauss_positions(4), gauss_positions(5))
    ys, xs = torch.meshgrid(torch.arange(4) + 0.5, torch.arange(5) + 0.5, indexing="ij")
    listed = PixelBoxes().predict(image, torch.stack([xs, ys], -1).view(-1, 2))
    torch.testing.assert_close(LatticePixelBoxes().predict(image, lattice).view(-1, 1), listed, rtol=1e-5, atol=1e-6)
