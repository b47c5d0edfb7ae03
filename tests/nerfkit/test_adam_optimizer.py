"""The optimiser by kernels.adam: torch's steps and state, and numbers that stay on the device."""

import subprocess
import sys

import pytest
import torch

from nerfkit.adam_optimizer import Adam

BETAS, EPS = (0.9, 0.99), 1e-12


def make_params():
    g = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=g).requires_grad_() for shape in ((6, 2), (3,))]


def groups(params, **table):
    return [{"params": params[:1], "lr": 0.1, **table}, {"params": params[1:], "lr": 0.02}]


def take_steps(optimizer, params, n, seed=1):
    g = torch.Generator().manual_seed(seed)
    for _ in range(n):
        optimizer.zero_grad()
        for param in params:
            param.grad = torch.randn(param.shape, generator=g)
        optimizer.step()


def test_steps_and_state_are_those_of_torch():
    ours, theirs = make_params(), make_params()
    optimizers = Adam(groups(ours), BETAS, EPS), torch.optim.Adam(groups(theirs), betas=BETAS, eps=EPS)
    for optimizer, params in zip(optimizers, (ours, theirs), strict=True):
        take_steps(optimizer, params, 3)
    # and each goes on from the other's state
    (ours_optimizer, theirs_optimizer), (state, other) = optimizers, [each.state_dict() for each in optimizers]
    ours_optimizer.load_moments(other)
    theirs_optimizer.load_state_dict({**other, "state": state["state"]})
    for optimizer, params in zip(optimizers, (ours, theirs), strict=True):
        take_steps(optimizer, params, 2, seed=2)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_held_learning_rates_are_changed_in_their_place():
    params, same = make_params(), make_params()
    held, free = Adam(groups(params), BETAS, EPS), Adam(groups(same), BETAS, EPS)
    held.hold_learning_rates()
    places = [group["lr"].data_ptr() for group in held.param_groups]
    for optimizer in (held, free):
        optimizer.set_learning_rates([0.05, 0.01])
    take_steps(held, params, 2)
    take_steps(free, same, 2)
    assert places == [group["lr"].data_ptr() for group in held.param_groups]
    for a, b in zip(params, same, strict=True):
        torch.testing.assert_close(a, b)


def test_held_learning_rates_are_saved_as_numbers_and_stay_held():
    held = Adam(groups(make_params()), BETAS, EPS)
    held.hold_learning_rates()
    state = held.state_dict()
    assert [group["lr"] for group in state["param_groups"]] == pytest.approx([0.1, 0.02])
    held.load_moments(state)
    assert all(isinstance(group["lr"], torch.Tensor) for group in held.param_groups)


def test_numbers_of_steps_go_where_the_parameters_are():
    saved = Adam(groups(make_params()), BETAS, EPS)
    take_steps(saved, [param for group in saved.param_groups for param in group["params"]], 2)
    elsewhere = [param.detach().to("meta").requires_grad_() for param in make_params()]
    optimizer = Adam(groups(elsewhere), BETAS, EPS)
    optimizer.load_moments(saved.state_dict())
    assert {value.device.type for param in elsewhere for value in optimizer.state[param].values()} == {"meta"}


def test_rows_without_a_gradient_rest_where_asked():
    params = make_params()
    before = params[0].detach().clone()
    optimizer = Adam(groups(params, touched_only=True), BETAS, EPS)
    for _ in range(2):
        params[0].grad = torch.zeros(6, 2)
        params[0].grad[1, 1] = 1
        optimizer.step()
    assert torch.equal(params[0][[0, 2, 3, 4, 5]], before[[0, 2, 3, 4, 5]]) and (params[0][1, 1] != before[1, 1])


def test_a_state_of_other_groups_is_refused():
    saved = Adam(groups(make_params()), BETAS, EPS).state_dict()
    with pytest.raises(ValueError, match="other groups of parameters"):
        Adam([{"params": make_params(), "lr": 0.1}], BETAS, EPS).load_moments(saved)


def test_steps_after_loading_leave_the_given_state_alone():
    params = make_params()
    optimizer = Adam(groups(params), BETAS, EPS)
    take_steps(optimizer, params, 1)
    state = optimizer.state_dict()
    before = state["state"][0]["exp_avg"].clone()
    other = make_params()
    again = Adam(groups(other), BETAS, EPS)
    again.load_moments(state)
    take_steps(again, other, 1)
    assert torch.equal(state["state"][0]["exp_avg"], before)


def test_a_fit_does_without_torchs_compiler():
    code = """
import sys, torch
from nerfkit.fitting import Budget, FitSchedule, fit
class Bowl:
    x = torch.ones(2, requires_grad=True)
    def parameter_groups(self): return [{"params": [self.x], "lr": 0.1}]
    def loss(self, step): return self.x.square().sum(), {}
    def after_step(self, step): pass
    def state_dict(self): return {"x": self.x}
fit(Bowl(), Budget(steps=2), schedule=FitSchedule())
assert float(Bowl.x.detach().max()) < 1
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
