"""The optimiser by kernels.adam: torch's steps and state, and numbers that stay on the device."""

import pytest
import torch

from nerfkit.adam_optimizer import KernelAdam, load_moments, make_adam, set_learning_rates

BETAS, EPS = (0.9, 0.99), 1e-12


def make_params():
    g = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=g).requires_grad_() for shape in ((6, 2), (3,))]


def groups(params, **table):
    return [{"params": params[:1], "lr": 0.1, **table}, {"params": params[1:], "lr": 0.02}]


def take_steps(optimizer, params, n, seed=1):
    g = torch.Generator().manual_seed(seed)
    for _ in range(n):
        optimizer.zero_grad(set_to_none=True)
        for param in params:
            param.grad = torch.randn(param.shape, generator=g)
        optimizer.step()


def test_steps_and_state_are_those_of_torch():
    ours, theirs = make_params(), make_params()
    optimizers = KernelAdam(groups(ours), BETAS, EPS), torch.optim.Adam(groups(theirs), betas=BETAS, eps=EPS)
    for optimizer, params in zip(optimizers, (ours, theirs), strict=True):
        take_steps(optimizer, params, 3)
    # and each goes on from the other's state
    states = [optimizer.state_dict() for optimizer in optimizers]
    for optimizer, state, params in zip(optimizers, states[::-1], (ours, theirs), strict=True):
        load_moments(optimizer, state)
        take_steps(optimizer, params, 2, seed=2)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_held_learning_rates_are_changed_in_their_place():
    params, same = make_params(), make_params()
    held, free = KernelAdam(groups(params), BETAS, EPS), KernelAdam(groups(same), BETAS, EPS)
    held.hold_learning_rates()
    places = [group["lr"].data_ptr() for group in held.param_groups]
    for optimizer in (held, free):
        set_learning_rates(optimizer, [0.05, 0.01])
    take_steps(held, params, 2)
    take_steps(free, same, 2)
    assert places == [group["lr"].data_ptr() for group in held.param_groups]
    for a, b in zip(params, same, strict=True):
        torch.testing.assert_close(a, b)


def test_held_learning_rates_are_saved_as_numbers_and_stay_held():
    held = KernelAdam(groups(make_params()), BETAS, EPS)
    held.hold_learning_rates()
    state = held.state_dict()
    assert [group["lr"] for group in state["param_groups"]] == pytest.approx([0.1, 0.02])
    load_moments(held, state)
    assert all(isinstance(group["lr"], torch.Tensor) for group in held.param_groups)


def test_numbers_of_steps_go_where_the_parameters_are():
    saved = KernelAdam(groups(make_params()), BETAS, EPS)
    take_steps(saved, [param for group in saved.param_groups for param in group["params"]], 2)
    elsewhere = [param.detach().to("meta").requires_grad_() for param in make_params()]
    optimizer = KernelAdam(groups(elsewhere), BETAS, EPS)
    load_moments(optimizer, saved.state_dict())
    assert {value.device.type for param in elsewhere for value in optimizer.state[param].values()} == {"meta"}


def test_rows_without_a_gradient_rest_where_asked():
    params = make_params()
    before = params[0].detach().clone()
    optimizer = make_adam(groups(params, touched_only=True), BETAS, EPS)
    assert isinstance(optimizer, KernelAdam)
    for _ in range(2):
        params[0].grad = torch.zeros(6, 2)
        params[0].grad[1, 1] = 1
        optimizer.step()
    assert torch.equal(params[0][[0, 2, 3, 4, 5]], before[[0, 2, 3, 4, 5]]) and (params[0][1, 1] != before[1, 1])


@pytest.mark.parametrize("table", [{}, {"touched_only": False}])
def test_a_cpu_takes_torchs(table):
    assert type(make_adam(groups(make_params(), **table), BETAS, EPS)) is torch.optim.Adam
