"""The unit cube: the map of the fields is the one that marching uses, and all of space lands in the cube."""

import pytest
import torch
from support import DEVICE

from nerfkit.kernels.march import march, pack_bits
from nerfkit.scenes.contraction import to_unit_cube


def random_rays(n, dtype):
    generator = torch.Generator().manual_seed(0)
    rays_o = torch.rand(n, 3, generator=generator, dtype=dtype) * 3 - 1.5
    rays_d = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=dtype), dim=-1)
    return rays_o.to(DEVICE), rays_d.to(DEVICE)


@pytest.mark.parametrize("contract", [False, True])
@pytest.mark.parametrize("dtype, atol", [(torch.float32, 1e-6), (torch.float64, 1e-14)], ids=str)
def test_samples_lie_where_the_map_puts_their_middles(contract, dtype, atol):
    rays_o, rays_d = random_rays(50, dtype)
    full = pack_bits(torch.ones(8, 8, 8, dtype=torch.bool, device=DEVICE))
    near, far = torch.full_like(rays_o[:, 0], 0.05), torch.full_like(rays_o[:, 0], 200.0)
    samples = march(rays_o, rays_d, near, far, full, 8, step=0.05, cone_angle=0.03, contract=contract)
    mids = (samples.t_starts + samples.t_ends)[:, None] / 2
    xyzs = to_unit_cube(rays_o[samples.ray_indices] + mids * rays_d[samples.ray_indices], contract)
    assert len(xyzs) > 300
    torch.testing.assert_close(samples.xyzs, xyzs, rtol=0, atol=atol)


def test_the_box_fills_the_cube_of_a_bounded_scene_and_its_middle_when_contracted():
    corners = torch.tensor([[-1.0, 0.0, 1.0]])
    assert to_unit_cube(corners, False).tolist() == [[0.0, 0.5, 1.0]]
    assert to_unit_cube(corners, True).tolist() == [[0.25, 0.5, 0.75]]


def test_all_of_space_lands_in_the_cube_in_its_own_direction_and_in_order():
    direction = torch.tensor([0.3, -0.9, 0.6], dtype=torch.float64)
    distances = torch.logspace(-3, 12, 200, dtype=torch.float64)
    centred = to_unit_cube(distances[:, None] * direction, True) - 0.5
    assert centred.abs().max() <= 0.5 and centred.abs().max() > 0.4999999
    reach = centred[:, 1].abs()
    assert (reach[1:] > reach[:-1]).all()
    torch.testing.assert_close(centred / reach[:, None], (direction / 0.9).expand(200, 3))


def test_the_map_has_a_gradient_everywhere_also_at_the_origin():
    xyzs = torch.tensor([[0.0, 0.0, 0.0], [0.5, -0.2, 0.1], [3.0, -8.0, 1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: to_unit_cube(x, True), (xyzs,))
