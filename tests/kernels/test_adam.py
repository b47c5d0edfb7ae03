"""adam: every implementation against torch's optimiser, rows that are left out untouched to the bit."""

import pytest
import torch
from support import DEVICE, TOLERANCE, needs_triton

from nerfkit.kernels.adam import adam

IMPLS = ["reference", "cpu", pytest.param("triton", marks=needs_triton)]
# one number, odd, rows of an encoding, more than a program, nothing
SHAPES = [(1,), (37,), (9, 3), (5, 2, 2), (400, 4), (0, 4)]
OPTIONS = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-12}


def make_state(shape, dtype=torch.float32, seed=0):
    g = torch.Generator().manual_seed(seed)
    param = torch.randn(shape, generator=g, dtype=torch.float64).to(DEVICE, dtype)
    return param, torch.zeros_like(param), torch.zeros_like(param)


def make_grads(shape, n_steps, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=g, dtype=torch.float64).to(DEVICE, dtype) for _ in range(n_steps)]


@pytest.mark.parametrize("touched_only", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("impl", "dtype"), [("reference", torch.float64), pytest.param("triton", torch.float32, marks=needs_triton)]
)
def test_steps_are_those_of_torch(impl, dtype, shape, touched_only):
    param, *means = make_state(shape, dtype)
    theirs = param.double().requires_grad_()
    optimizer = torch.optim.Adam([theirs], **OPTIONS)
    for step, grad in enumerate(make_grads(shape, 4, dtype), start=1):
        adam(param, grad, *means, step=step, touched_only=touched_only, impl=impl, **OPTIONS)
        theirs.grad = grad.double()
        optimizer.step()
    torch.testing.assert_close(param.double(), theirs.detach(), **TOLERANCE[dtype])
    for mean, name in zip(means, ("exp_avg", "exp_avg_sq"), strict=True):
        torch.testing.assert_close(mean.double(), optimizer.state[theirs][name], **TOLERANCE[dtype])


@pytest.mark.parametrize("impl", IMPLS)
def test_rows_without_a_gradient_are_left_out(impl):
    shape = (300, 3)
    state = make_state(shape)
    grads = make_grads(shape, 2)
    adam(*state[:1], grads[0], *state[1:], step=1, impl=impl, **OPTIONS)
    before = [x.clone() for x in state]
    rests = torch.arange(300, device=DEVICE) % 3 > 0
    grads[1][rests] = 0
    grads[1][0, 1:] = 0  # touched by one of its numbers
    dense = [x.clone() for x in state]
    adam(dense[0], grads[1], *dense[1:], step=2, impl=impl, **OPTIONS)
    adam(state[0], grads[1], *state[1:], step=2, touched_only=True, impl=impl, **OPTIONS)
    for got, old, moved in zip(state, before, dense, strict=True):
        assert torch.equal(got[rests], old[rests]) and not torch.equal(moved[rests], old[rests])
        assert torch.equal(got[~rests], moved[~rests])


@pytest.mark.parametrize("touched_only", [False, True])
@pytest.mark.parametrize("impl", IMPLS)
def test_numbers_on_the_device(impl, touched_only):
    """Step and learning rate as tensors, as a captured step needs them."""
    states = [make_state((40, 3)) for _ in range(2)]
    for step, grad in enumerate(make_grads((40, 3), 3), start=1):
        counted, rate = torch.tensor(float(step), device=DEVICE), torch.tensor(0.01, device=DEVICE)
        rest = {**OPTIONS, "touched_only": touched_only, "impl": impl}
        for (param, *means), numbers in zip(states, ({"step": step}, {"step": counted, "lr": rate}), strict=True):
            adam(param, grad, *means, **{**rest, **numbers})
    for got, want in zip(*states, strict=True):
        torch.testing.assert_close(got, want, **TOLERANCE[torch.float32])


@pytest.mark.parametrize("impl", IMPLS)
def test_nan_is_not_hidden(impl):
    param, *means = make_state((4, 2))
    grad = torch.zeros_like(param)
    grad[2, 1] = torch.nan
    adam(param, grad, *means, step=1, touched_only=True, impl=impl, **OPTIONS)
    assert param[2, 1].isnan() and param.isnan().sum() == 1


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("touched_only", [False, True])
def test_non_contiguous_tensors_are_changed_in_place(touched_only, impl):
    plain = make_state((6, 4))
    strided = [x.t().contiguous().t() for x in plain]
    assert not any(x.is_contiguous() for x in strided)
    (grad,) = make_grads((6, 4), 1)
    for param, *means in (plain, strided):
        adam(param, grad, *means, step=1, touched_only=touched_only, impl=impl, **OPTIONS)
    assert all(map(torch.equal, plain, strided))


def test_rejects_wrong_arguments():
    param, *means = make_state((3, 2))
    with pytest.raises(ValueError, match=r"grad must have the shape.*\(3, 2\).*got \(3,\)"):
        adam(param, param[:, 0], *means, step=1, lr=0.1)
    with pytest.raises(ValueError, match=r"step >= 1 and betas in \[0, 1\); got 0"):
        adam(param, param, *means, step=0, lr=0.1)
    with pytest.raises(ValueError, match=r"float32 or float64 with one dimension or more; got torch\.float16"):
        adam(*[x.half() for x in (param, param, *means)], step=1, lr=0.1)
    with pytest.raises(ValueError, match="adam has no 'triton' implementation"):
        adam(*[x.double() for x in (param, param, *means)], step=1, lr=0.1, impl="triton")
