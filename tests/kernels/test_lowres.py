"""lowres: the numba loops against the reference, the reference against sums that can be checked by hand."""

import math

import pytest
import torch

from nerfkit.kernels.lowres import Descent, descend, filter_valid, normal_equations, sample

IMPLS = ("cpu", "reference")
# rows, columns, taps: a square, an odd one, one wide row of results, one tap
SHAPES = ((16, 16, 4), (23, 37, 5), (9, 40, 8), (12, 7, 1))


def make(h, w, n_taps, n=200, seed=0):
    """An image, uneven taps, and samples of which some lie outside."""
    g = torch.Generator().manual_seed(seed)
    taps = torch.rand(n_taps, generator=g) + 0.1
    image = torch.rand(h, w, generator=g)
    shape = (h - n_taps + 1, w - n_taps + 1)
    rows = torch.rand(n, generator=g) * (shape[0] + 1) - 1
    cols = torch.rand(n, generator=g) * (shape[1] + 1) - 1
    return image, taps / taps.sum(), rows, cols, torch.rand(n, generator=g), torch.rand(n, generator=g), shape


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loops_equal_reference(shape, poisoned_empty):
    image, taps, rows, cols, values, weights, inner = make(*shape)
    filtered = filter_valid(image, taps, impl="reference")
    torch.testing.assert_close(filter_valid(image, taps, impl="cpu"), filtered)
    for got, want in zip(
        sample(filtered, rows, cols, impl="cpu"), sample(filtered, rows, cols, impl="reference"), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    equations = normal_equations(rows, cols, values, weights, inner, impl="reference")
    for got, want in zip(normal_equations(rows, cols, values, weights, inner, impl="cpu"), equations, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    a, b = Descent(image), Descent(image)
    for _ in range(3):
        settings = {"learning_rate": 0.01, "data_weight": 50.0, "tv_weight": 0.5, "bounds": (0.1, 0.9)}
        settings |= {"contrast": 3.0, "tv_map": image + 0.5}
        descend(a, equations, taps, impl="reference", **settings)
        descend(b, equations, taps, impl="cpu", **settings)
    # Adam divides by the gradient's size: where that is nearly zero, its sign decides over a whole step
    assert (a.image - b.image).abs().quantile(0.99) < 1e-4
    assert (a.image - b.image).abs().max() < 0.03


@pytest.mark.parametrize("impl", IMPLS)
def test_a_range_may_be_open(impl):
    image, taps, rows, cols, values, weights, inner = make(20, 20, 4)
    equations = normal_equations(rows, cols, 3 * values - 1, weights, inner, impl=impl)
    descent, free = Descent(image), Descent(image)
    for _ in range(40):
        settings = {"learning_rate": 0.05, "data_weight": 50.0, "tv_weight": 0.5, "impl": impl}
        descend(descent, equations, taps, bounds=(0.0, math.inf), **settings)
        descend(free, equations, taps, **settings)
    assert free.image.min() < 0 and descent.image.min() == 0 and descent.image.max() > 1


@pytest.mark.parametrize("impl", IMPLS)
def test_filter_is_the_weighted_sum_of_a_square(impl):
    image, taps = torch.arange(30.0).view(5, 6), torch.tensor([0.5, 0.25, 0.25])
    want = torch.stack(
        [torch.stack([(image[i : i + 3, j : j + 3] * taps[:, None] * taps).sum() for j in range(4)]) for i in range(3)]
    )
    torch.testing.assert_close(filter_valid(image, taps, impl=impl), want)


@pytest.mark.parametrize("impl", IMPLS)
def test_terms_are_summed_each_with_its_own_rows_and_columns(impl):
    image, _, rows, cols, values, weights, _ = make(15, 18, 4)
    terms = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(3))
    square = torch.einsum("kr,kc->rc", terms[:, 0], terms[:, 1])
    want = torch.nn.functional.conv2d(image[None, None], square[None, None])[0, 0]
    torch.testing.assert_close(filter_valid(image, terms, impl=impl), want, rtol=1e-5, atol=1e-5)
    # the gradient of the squared error goes back through all of them
    equations = normal_equations(rows, cols, values, weights, (12, 15), impl=impl)
    image = image.double().requires_grad_()
    filtered = torch.nn.functional.conv2d(image[None, None], square.double()[None, None])[0, 0]
    samples = sample(filtered.detach().float(), rows, cols, impl="reference")
    i, j = (part.floor().long().clamp(0, size - 2) for part, size in ((rows, 12), (cols, 15)))
    t, u = rows.double() - i, cols.double() - j
    is_in = (rows >= 0) & (cols >= 0) & (rows <= 11) & (cols <= 14)
    upper = (1 - u) * filtered[i, j] + u * filtered[i, j + 1]
    seen = (1 - t) * upper + t * ((1 - u) * filtered[i + 1, j] + u * filtered[i + 1, j + 1])
    torch.testing.assert_close(seen[is_in].float(), samples.values[is_in], rtol=1e-4, atol=1e-4)
    (weights * (seen - values).square() * is_in).sum().div(2).backward()
    assert image.grad is not None
    descent = Descent(image.detach().float())
    descend(descent, equations, terms, learning_rate=0.01, data_weight=1, tv_weight=0, impl=impl)
    torch.testing.assert_close(descent.moments[0].double(), 0.1 * image.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (2, 3, 4)])
def test_taps_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"taps must have the shape"):
        filter_valid(torch.rand(9, 9), torch.ones(shape))


@pytest.mark.parametrize("impl", IMPLS)
def test_sample_of_a_plane_is_exact_to_the_last_cell(impl):
    plane = 2.0 * torch.arange(5.0)[:, None] + 3.0 * torch.arange(7.0)
    rows, cols = torch.tensor([0.0, 1.25, 4.0, -0.1, 2.0]), torch.tensor([0.0, 2.5, 6.0, 1.0, 6.1])
    values, d_rows, d_cols = sample(plane, rows, cols, impl=impl)
    assert values.tolist() == [0, 10, 26, 0, 0]
    assert d_rows.tolist() == [2, 2, 2, 0, 0]
    assert d_cols.tolist() == [3, 3, 3, 0, 0]


@pytest.mark.parametrize("impl", IMPLS)
def test_step_goes_down_the_gradient_of_the_energy(impl):
    image, taps, rows, cols, values, weights, inner = make(14, 17, 3)
    image, taps = image.double(), taps.double()
    tv_map = torch.rand(image.shape, generator=torch.Generator().manual_seed(9)) + 0.5
    start = image.float()
    equations = normal_equations(rows, cols, values, weights, inner, impl=impl)

    def energy(x):
        filtered = torch.nn.functional.conv2d(x[None, None], (taps[:, None] * taps)[None, None])[0, 0]
        samples = []
        for r, c in zip(rows.double(), cols.double(), strict=True):
            if not (0 <= r <= inner[0] - 1 and 0 <= c <= inner[1] - 1):
                samples.append(filtered.sum() * 0)
                continue
            i, j = min(int(r), inner[0] - 2), min(int(c), inner[1] - 2)
            t, u = r - i, c - j
            samples.append(
                (1 - t) * ((1 - u) * filtered[i, j] + u * filtered[i, j + 1])
                + t * ((1 - u) * filtered[i + 1, j] + u * filtered[i + 1, j + 1])
            )
        is_inside = torch.stack(samples).detach() != 0
        data = (weights.double() * (torch.stack(samples) - values.double()).square() * is_inside).sum() / 2
        m = tv_map.double()
        pairs = (
            (x[:, :-1], x[:, 1:], m[:, :-1], 1), (x[:-1], x[1:], m[:-1], 1),
            (x[:-1, :-1], x[1:, 1:], m[:-1, :-1], 2), (x[:-1, 1:], x[1:, :-1], m[:-1, 1:], 2),
        )  # fmt: skip
        smooth = sum((weight * ((a - b).square() + 1e-4).sqrt() / n**0.5).sum() for a, b, weight, n in pairs)
        return 7 * data + 0.3 * smooth + 0.8 * ((x + 1) * (2 - x)).sum() / 2

    image.requires_grad_()
    energy(image).backward()
    assert image.grad is not None
    descent = Descent(start)
    descend(
        descent, equations, taps.float(), learning_rate=0.01, data_weight=7, tv_weight=0.3, bounds=(-1.0, 2.0),
        contrast=0.8, tv_map=tv_map, impl=impl,
    )  # fmt: skip
    # Adam's first step is the sign of the gradient, its first moment a tenth of it
    torch.testing.assert_close(descent.moments[0].double(), 0.1 * image.grad, rtol=1e-5, atol=1e-6)
    moved = descent.image - start
    is_clear = image.grad.abs() > 1e-2
    assert is_clear.float().mean() > 0.8
    torch.testing.assert_close(moved[is_clear], -0.01 * image.grad.sign().float()[is_clear], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("impl", IMPLS)
def test_bounds_hold_and_the_start_is_left_alone(impl):
    image, taps, rows, cols, values, weights, inner = make(10, 10, 2)
    before = image.clone()
    descent = Descent(image)
    equations = normal_equations(rows, cols, values * 5, weights, inner, impl=impl)
    for _ in range(20):
        descend(descent, equations, taps, learning_rate=0.1, data_weight=10, tv_weight=0, bounds=(0.2, 0.7), impl=impl)
    assert descent.image.min() >= 0.2 and descent.image.max() <= 0.7 + 1e-6
    assert torch.equal(image, before)


def test_enough_samples_without_a_prior_bring_the_image_back():
    g = torch.Generator().manual_seed(1)
    image = torch.rand(8, 8, generator=g)
    taps = torch.tensor([1.0])
    rows, cols = torch.rand(2, 4000, generator=g) * 7
    values = sample(image, rows, cols).values
    equations = normal_equations(rows, cols, values, torch.ones(4000), (8, 8))
    descent = Descent(torch.full((8, 8), 0.5))
    for step in range(300):
        descend(descent, equations, taps, learning_rate=0.05 * 0.98**step, data_weight=1, tv_weight=0)
    torch.testing.assert_close(descent.image, image, rtol=0, atol=5e-4)


def _descend(**options):
    none = torch.empty(0)
    equations = normal_equations(none, none, none, none, (7, 7))
    descend(
        Descent(torch.ones(8, 8)), equations, torch.ones(2) / 2, learning_rate=0.1, data_weight=1, tv_weight=1,
        **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: filter_valid(torch.ones(3, 3), torch.ones(3)), "at least 4 cells"),
        (lambda: sample(torch.ones(3, 3), torch.ones(2).double(), torch.ones(2).double()), "float32 of one shape"),
        (
            lambda: normal_equations(torch.ones(2), torch.ones(2), torch.ones(3), torch.ones(2), (4, 4)),
            r"one shape \(n,\)",
        ),
        (lambda: Descent(torch.ones(3, 3).double()), "must be float32"),
        (
            lambda: descend(
                Descent(torch.ones(8, 8)),
                normal_equations(torch.ones(2), torch.ones(2), torch.ones(2), torch.ones(2), (4, 4)),
                torch.ones(2) / 2,
                learning_rate=0.1, data_weight=1, tv_weight=1,
            ),
            r"shape \(7, 7\)",
        ),
        (lambda: _descend(contrast=1.0), "must be finite; got None"),
        (lambda: _descend(contrast=1.0, bounds=(0.0, math.inf)), r"must be finite; got \(0.0, inf\)"),
        (lambda: _descend(tv_map=torch.ones(7, 8)), r"tv_map must be float32 of shape \(8, 8\)"),
    ],
)  # fmt: skip
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
