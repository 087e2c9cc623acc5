"""Spectral normalisation: the norm, PyTorch's own as a reference, and constants for the gradient."""

import torch
from torch.nn.utils.parametrizations import spectral_norm

from codec.layers.spectral_norm import SpectralNormConv2d


def layer(seed=0):
    torch.manual_seed(seed)
    return SpectralNormConv2d(3, 6, 3, 1).double()


def test_the_weight_has_norm_one_after_some_passes():
    own, x = layer(), torch.rand(1, 3, 8, 8, dtype=torch.float64)
    before = own.u.clone()
    for _ in range(200):
        own(x)
    assert not own.u.equal(before)
    assert abs(float(torch.linalg.matrix_norm(own.normalised_weight().flatten(1), ord=2)) - 1) < 1e-6


def test_a_pass_in_evaluation_moves_nothing():
    own = layer().eval()
    before = own.u.clone()
    own(torch.rand(1, 3, 8, 8, dtype=torch.float64))
    assert own.u.equal(before)


def test_where_the_vectors_have_settled_outputs_and_gradients_are_those_of_pytorch():
    """Before that the two differ by half a step of the iteration."""
    own, x = layer(), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    for _ in range(500):
        own(x)
    theirs = torch.nn.Conv2d(3, 6, 3, padding=1).double()
    theirs.load_state_dict({"weight": own.weight.data, "bias": own.bias.data})
    spectral_norm(theirs, n_power_iterations=1, eps=1e-12)
    power = theirs.parametrizations.weight[0]
    with torch.no_grad():
        power._u.copy_(own.u)
        power._v.copy_(torch.nn.functional.normalize(own.weight.flatten(1).T @ own.u, dim=0))
    # Two passes before the backward one, as the codec step makes them after the discriminator's.
    for network in (own, theirs):
        (network(x).square().sum() + network(x.flip(0)).sum()).backward()
    torch.testing.assert_close(own(x), theirs(x))
    torch.testing.assert_close(own.weight.grad, theirs.parametrizations.weight.original.grad)


def test_the_vector_is_computed_in_float32_under_bf16():
    one, other = layer().float(), layer().float()
    x = torch.rand(1, 3, 8, 8)
    one(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert other(x).dtype == torch.bfloat16
    assert one.u.equal(other.u)
