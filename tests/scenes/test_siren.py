"""Sine images: initial values as the paper has them, a blend that sums to one, one image whatever is asked at once."""

import math

import pytest
import torch

from nerfkit.scenes.fields import IMAGE_FIELDS, image_field_class
from nerfkit.scenes.fields.field import Field
from nerfkit.scenes.fields.image_field import render_lattice
from nerfkit.scenes.fields.siren import Siren, SirenConfig
from nerfkit.scenes.fields.tiled_siren import TiledSiren

BOUNDS = torch.tensor([[0.1, 0.9]])


def make(kind="tiled", size=(20.0, 13.0), config=None, bounds=BOUNDS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return image_field_class(kind)(config or SirenConfig(width=16), size, bounds, generator)


def centres(n, per_unit=2.0):
    return (torch.arange(n, dtype=torch.float64) + 0.5) / per_unit


@pytest.mark.parametrize("kind", IMAGE_FIELDS)
def test_values_keep_to_their_range_and_channels(kind):
    bounds = torch.tensor([[0.0, 1.0], [0.4, 0.5], [-1.0, 0.0]])
    field = make(kind, bounds=bounds)
    values = field.evaluate_lattice(field.lattice(centres(26), centres(40)))
    assert values.shape == (3, 26, 40)
    for channel, (low, high) in zip(values, bounds, strict=True):
        assert low <= channel.min() and channel.max() <= high


@pytest.mark.parametrize("kind", IMAGE_FIELDS)
def test_part_of_a_lattice_has_the_values_of_the_whole(kind):
    field = make(kind)
    ys, xs = centres(26), centres(40)
    whole = field.evaluate_lattice(field.lattice(ys, xs))
    part = field.evaluate_lattice(field.lattice(ys[7:12], xs[30:]))
    torch.testing.assert_close(part, whole[:, 7:12, 30:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(render_lattice(field, ys, xs), whole.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(20.0, 13.0), (3.0, 3.0), (5.5, 11.0), (6.0, 30.0)])
def test_weights_of_the_blend_sum_to_one_at_every_point(size):
    field = make(size=size)
    ys, xs = centres(int(size[1] * 7), 7.0), centres(int(size[0] * 7), 7.0)
    lattice = field.lattice(ys, xs)
    assert lattice.index is not None and lattice.blend is not None
    total = torch.zeros(len(ys) * len(xs)).index_add_(0, lattice.index, lattice.blend.flatten())
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)
    assert float(lattice.blend.min()) >= 0
    is_used = lattice.blend.flatten() > 0
    assert float(lattice.points.reshape(-1, 2)[is_used].abs().max()) <= 1


def test_seams_between_networks_are_smooth():
    field = make(size=(22.0, 5.0))
    xs = torch.linspace(0.01, 21.99, 8000, dtype=torch.float64)
    line = field.evaluate_lattice(field.lattice(torch.tensor([2.5], dtype=torch.float64), xs))[0, 0].detach()
    steps = line.diff().abs()
    assert float(steps.max()) < 30 * float(steps.median())


@pytest.mark.parametrize("kind", IMAGE_FIELDS)
def test_network_learns_a_picture(kind):
    ys = centres(24)
    truth = 0.5 + 0.3 * torch.sin(1.3 * ys)[:, None] * torch.cos(0.9 * ys)[None]
    field = make(kind, size=(12.0, 12.0), config=SirenConfig(width=32))
    lattice = field.lattice(ys, ys)
    optimizer = torch.optim.Adam(field.parameters(), lr=5e-3)
    losses = []
    for _ in range(150):
        loss = (field.evaluate_lattice(lattice)[0] - truth.float()).square().mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 1e-3 < losses[0]


def test_equal_seeds_give_equal_networks():
    a, b, c = make(seed=1), make(seed=1), make(seed=2)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.network.weights[0], c.network.weights[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SirenConfig(width=0), "must be positive"),
        (lambda: SirenConfig(omega=math.inf), "must be positive"),
        (lambda: SirenConfig(tile=4, stride=5), "stride <= tile"),
        (lambda: SirenConfig(tile=11, stride=5), "stride <= tile"),
        (lambda: Siren(SirenConfig(), (0.0, 3.0), BOUNDS, torch.Generator()), "positive size"),
        (lambda: TiledSiren(SirenConfig(), (3.0, 3.0), torch.tensor([0.0, 1.0]), torch.Generator()), "bounds"),
    ],
)
def test_wrong_sizes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("size", [(20.0, 13.0), (3.0, 4.0), (5.5, 30.0)])
@pytest.mark.parametrize("kind", IMAGE_FIELDS)
def test_points_have_the_values_of_the_lattice(kind, size):
    field = make(kind, size, bounds=torch.tensor([[0.1, 0.9], [-1.0, 1.0]]))
    ys, xs = centres(int(size[1] * 3), 3.0), centres(int(size[0] * 3), 3.0)
    expected = field.evaluate_lattice(field.lattice(ys, xs)).permute(1, 2, 0)  # [rows, columns, channels]
    coords = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)
    assert isinstance(field, Field) and (field.n_dims, field.n_outputs) == (2, 2)
    torch.testing.assert_close(field(coords.float()), expected, rtol=1e-4, atol=3e-5)
    order = torch.randperm(len(ys) * len(xs), generator=torch.Generator().manual_seed(0))[:50]
    torch.testing.assert_close(
        field(coords.flatten(0, 1)[order].float()), expected.flatten(0, 1)[order], rtol=1e-4, atol=3e-5
    )
    assert field(coords[:0]).shape == (0, len(xs), 2)


def test_beyond_the_squares_values_are_the_middle_of_their_range():
    field = make(size=(11.0, 11.0))
    outside = torch.tensor([[-5.0, 3.0], [3.0, 40.0]])
    torch.testing.assert_close(field(outside), torch.full((2, 1), 0.5))
    torch.testing.assert_close(field(torch.cat([outside, torch.tensor([[3.0, 3.0]])]))[:2], torch.full((2, 1), 0.5))


@pytest.mark.parametrize("kind", IMAGE_FIELDS)
def test_values_are_differentiable_in_the_point(kind):
    field = make(kind, (12.0, 9.0)).double()
    # one in each kind of place: inside a square, in an overlap, in a corner of four
    points = torch.tensor([[2.7, 2.9], [5.4, 2.9], [5.6, 5.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(field, (points,))
    assert torch.autograd.gradgradcheck(field, (points,))
