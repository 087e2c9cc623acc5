"""Muon and Adam in one optimizer."""

import pytest
import torch
from conftest import OPTIMIZERS
from torch import nn

from codec.optim.optimizers import MuonAdam, orthogonalised


@pytest.mark.parametrize("shape", [(8, 8), (6, 150), (150, 6), (1, 20)])
def test_singular_values_move_to_one_and_directions_stay(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape) * 1e-3
    u, singular, v = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalised(matrix)
    own = torch.diagonal(u.T @ result @ v.T)
    assert torch.allclose(result, u @ torch.diag(own) @ v, atol=1e-3)
    assert ((own > 0.6) & (own < 1.3))[singular > singular.max() / 50].all()


def test_a_gradient_of_zeros_moves_nothing():
    assert torch.equal(orthogonalised(torch.zeros(4, 9)), torch.zeros(4, 9))


def optimised(inputs=4, scale=1.0, found_inf=0.0, optimizer=MuonAdam):
    """A convolution's weight, which is Muon's where it has over three inputs, and its bias after three steps; both before."""
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(6, inputs, 5, 5)), nn.Parameter(torch.randn(6))
    optimizer = optimizer([{"params": [weight, bias], "lr": 1e-2}])
    optimizer.grad_scale, optimizer.found_inf = None, torch.tensor(found_inf)
    before = [weight.detach().clone(), bias.detach().clone()]
    for _ in range(3):
        optimizer.zero_grad()
        (scale * (weight.square().sum() + bias.square().sum())).backward()
        optimizer.step()
    return weight.detach(), bias.detach(), before


def test_a_step_is_as_long_as_adams_and_does_not_depend_on_the_scale_of_the_loss():
    weight, _, (start, _) = optimised()
    by_adam, *_ = optimised(optimizer=OPTIMIZERS["adam"])
    ratio = (weight - start).square().mean().sqrt() / (by_adam - start).square().mean().sqrt()
    assert 0.1 < ratio < 0.5  # Adam's first steps are of full length, its usual ones a fifth
    assert torch.allclose(weight, optimised(scale=1e3)[0], atol=1e-5)


def test_layers_that_read_a_picture_are_adams():
    own, adams = optimised(inputs=3), optimised(inputs=3, optimizer=OPTIMIZERS["adam"])
    assert torch.equal(own[0], adams[0]) and torch.equal(own[1], adams[1])
    own, adams = optimised(), optimised(optimizer=OPTIMIZERS["adam"])
    assert not torch.equal(own[0], adams[0]) and torch.equal(own[1], adams[1])


def test_found_inf_leaves_weights_alone():
    weight, bias, before = optimised(found_inf=1.0)
    assert torch.equal(weight, before[0]) and torch.equal(bias, before[1])
