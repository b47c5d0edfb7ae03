"""Large tensors: memory is used again when the tensor on it is gone, and never before."""

import torch

from nerfkit.kernels.memory import large_empty


def test_memory_is_used_again_when_it_is_free():
    first = large_empty(5, 3, dtype=torch.float32)
    place = first.data_ptr()
    assert first.shape == (5, 3) and first.dtype == torch.float32
    del first
    assert large_empty(3, 5, dtype=torch.float32).data_ptr() == place


def test_memory_that_is_held_is_not_given_away():
    first = large_empty(5, 3, dtype=torch.float32)
    place, part = first.data_ptr(), first[2:]
    del first
    assert large_empty(5, 3, dtype=torch.float32).data_ptr() != place
    part.fill_(7)
    others = [large_empty(5, 3, dtype=torch.float32).fill_(0) for _ in range(3)]
    assert bool((part == 7).all()) and len({x.data_ptr() for x in others}) == 3


def test_another_size_or_dtype_has_memory_of_its_own():
    large_empty(8, dtype=torch.float32)
    assert large_empty(9, dtype=torch.float32).shape == (9,)
    assert large_empty(8, dtype=torch.float64).dtype == torch.float64
    assert large_empty(0, 4, dtype=torch.float32).shape == (0, 4)


def test_gradients_of_two_steps_do_not_share_memory_while_both_are_held():
    from nerfkit.kernels.hashgrid import HashGridSpec, hashgrid

    spec = HashGridSpec(3, 2, (4, 8), 8)
    x, table = torch.rand(9, 3), torch.randn(spec.n_entries, 2, requires_grad=True)
    (one,) = torch.autograd.grad(hashgrid(x, table, spec).sum(), table)
    kept = one.clone()
    (two,) = torch.autograd.grad((2 * hashgrid(x, table, spec)).sum(), table)
    assert torch.equal(one, kept)
    torch.testing.assert_close(two, 2 * one)
