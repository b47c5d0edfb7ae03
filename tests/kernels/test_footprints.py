"""footprints: the numba loops against the reference, the reference against areas, slopes and autograd."""

import pytest
import torch

from nerfkit.kernels.footprints import Footprints, residual, sample
from nerfkit.kernels.lowres import filter_valid
from nerfkit.kernels.lowres import sample as bilinear

IMPLS = ("cpu", "reference")
# rows, columns of the image, frames, rows and columns of a frame, points
SHAPES = ((24, 24, 3, 5, 6, 2), (17, 30, 2, 4, 7, 3), (12, 9, 1, 1, 1, 1), (8, 8, 0, 2, 2, 2))


def make(h, w, n_frames, rows, cols, n_points, seed=0):
    """An image, homographies that carry most of a frame into it, and measurements."""
    g = torch.Generator().manual_seed(seed)
    matrices = torch.eye(3, dtype=torch.float64).repeat(n_frames, 1, 1)
    matrices[:, :2, :2] *= 0.6 * min(h / rows, w / cols)
    matrices[:, :2, :2] += torch.randn(n_frames, 2, 2, generator=g, dtype=torch.float64)
    matrices[:, :2, 2] = 2
    matrices[:, 2, :2] = 0.02 * torch.randn(n_frames, 2, generator=g, dtype=torch.float64)
    values, weights = torch.rand(2, n_frames, rows, cols, generator=g).unbind()
    return torch.rand(h, w, generator=g), Footprints(matrices, n_points, 0.8, values, weights)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loops_equal_reference(shape, poisoned_empty):
    image, prints = make(*shape)
    known = prints.matrices, prints.n_points, prints.side, shape[3:5]
    got, is_known = sample(image, *known, impl="cpu")
    want, is_wanted = sample(image, *known, impl="reference")
    assert torch.equal(is_known, is_wanted)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(
        residual(image, prints, impl="cpu"), residual(image, prints, impl="reference"), rtol=1e-5, atol=2e-5
    )


@pytest.mark.parametrize("impl", IMPLS)
def test_residual_is_the_gradient_of_the_squared_error(impl):
    image, prints = make(17, 30, 2, 4, 7, 3)
    known = prints.matrices, prints.n_points, prints.side, (4, 7)

    def error(image):
        seen, is_known = sample(image, *known, impl="reference")
        return float(((seen.values - prints.values).double().square() * prints.weights * is_known).sum() / 2)

    found, moved = residual(image, prints, impl=impl), torch.zeros_like(image)
    for i in range(0, 17, 3):
        for j in range(0, 30, 4):
            moved.zero_()[i, j] = 0.5
            # quadratic: central differences are exact but for rounding
            assert found[i, j] == pytest.approx(error(image + moved) - error(image - moved), abs=2e-5)


@pytest.mark.parametrize("impl", IMPLS)
def test_slopes_are_those_of_a_shift_of_the_image(impl):
    image, prints = make(24, 24, 3, 5, 6, 2)
    known = prints.n_points, prints.side, (5, 6)
    found, is_known = sample(image, prints.matrices, *known, impl=impl)
    for axis, slopes in ((0, found.d_cols), (1, found.d_rows)):
        shift = torch.eye(3, dtype=torch.float64)
        shift[axis, 2] = 1e-3
        there, is_there = sample(image, shift @ prints.matrices, *known, impl=impl)
        change = (there.values - found.values) / 1e-3
        # between two cells of a bilinear surface the slope jumps
        close = ((change - slopes).abs() < 2e-3)[is_known & is_there]
        assert close.float().mean() > 0.9


@pytest.mark.parametrize("impl", IMPLS)
def test_an_unturned_pixel_is_the_mean_over_its_square(impl):
    """As one sample of the image filtered by the whole square: the points' small squares tile it."""
    g, cells, n_points = torch.Generator().manual_seed(1), 6, 3
    image = torch.rand(40, 40, generator=g)
    whole = filter_valid(image, torch.full((cells,), 1 / cells))
    small = filter_valid(image, torch.full((cells // n_points,), n_points / cells))
    matrix = torch.tensor([[[cells, 0, 3.5 - cells / (2 * n_points) + 1], [0, cells, 2.25], [0, 0, 1.0]]]).double()
    found, is_known = sample(small, matrix, n_points, 1.0, (4, 4), impl=impl)
    at = (torch.arange(4.0) + 0.5) * cells
    # a corner of the whole square lies half of it, less half a small square, before its middle
    back = cells / 2 - cells / (2 * n_points)
    rows, cols = torch.meshgrid(at + matrix[0, 1, 2].float() - back, at + matrix[0, 0, 2].float() - back, indexing="ij")
    assert is_known.all()
    torch.testing.assert_close(found.values[0], bilinear(whole, rows, cols).values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_turned_pixel_tends_to_the_mean_over_its_turned_square(impl):
    """A step edge through the middle of a square that is turned by 45 degrees, off by a quarter of its diagonal."""
    cells = 32
    image = (torch.arange(4.0 * cells) >= 2 * cells).float().expand(4 * cells, -1).contiguous()
    half, off = 0.5**0.5, 0.25 * 2**0.5
    turned = torch.tensor([[half, -half, 0], [half, half, 0], [0, 0, 1]]).double()
    middle = turned[:2, :2] @ torch.tensor([0.5, 0.5]).double()
    turned[:2, :2] *= cells
    turned[0, 2], turned[1, 2] = 2 * cells - 0.5 - (middle[0] + off) * cells, 2 * cells - middle[1] * cells
    found = sample(image, turned[None], 24, 1.0, (1, 1), impl=impl)[0].values
    # the triangle beyond the edge: its height is a quarter of the diagonal
    assert float(found) == pytest.approx((0.25 * 2**0.5) ** 2, abs=0.01)


@pytest.mark.parametrize(("change", "message"), [
    ({"image": torch.zeros(1, 4)}, "image must be float32"),
    ({"image": torch.zeros(4, 4, dtype=torch.float64)}, "image must be float32"),
    ({"matrices": torch.eye(3)[None]}, "matrices must be float64"),
    ({"n_points": 0}, "n_points must be 1 or more"),
    ({"side": 0.0}, "n_points must be 1 or more and side positive"),
    ({"values": torch.zeros(2, 2)}, "values and weights must have the shape"),
])  # fmt: skip
def test_wrong_input_is_named(change, message):
    image, prints = make(24, 24, 3, 5, 6, 2)
    image = change.pop("image", image)
    with pytest.raises(ValueError, match=message):
        residual(image, prints._replace(**change))
