"""GDN against its formula."""

import compressai.layers
import pytest
import torch

from codec.layers.gdn import GDN


def layers(inverse, channels=6):
    torch.manual_seed(0)
    own, plain = GDN(channels, inverse=inverse), compressai.layers.GDN(channels, inverse=inverse)
    with torch.no_grad():
        own.gamma.add_(torch.rand_like(own.gamma) * 0.05)
    plain.load_state_dict(plain.state_dict() | own.state_dict())
    return own, plain


def gradients(layer, x, upstream):
    leaf = x.clone().requires_grad_()
    result = layer(leaf)
    result.backward(upstream)
    return [result.detach(), leaf.grad, layer.gamma.grad, layer.beta.grad]


def test_it_starts_as_compressais():
    own, plain = GDN(6), compressai.layers.GDN(6)
    assert [name for name, _ in own.named_parameters()] == list(own.state_dict()) == ["beta", "gamma"]
    for name, parameter in plain.named_parameters():
        assert torch.equal(getattr(own, name), parameter)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_compressais(inverse, memory_format, monkeypatch):
    monkeypatch.setattr("codec.layers.gdn.CACHED_BYTES", 6 * 4 * 50)  # several blocks, the last one smaller
    x, upstream = (torch.randn(2, 6, 7, 13).contiguous(memory_format=memory_format) for _ in range(2))
    own, plain = layers(inverse)
    for ours, theirs in zip(gradients(own, x, upstream), gradients(plain, x, upstream), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        without_gradients = own(x)
    assert without_gradients.equal(own(x).detach())


@pytest.mark.parametrize("inverse", [False, True])
def test_the_gradient_is_the_slope(inverse):
    own, _ = layers(inverse, channels=3)
    own.double()
    x = torch.randn(1, 3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(own, x)


@pytest.mark.parametrize("inverse", [False, True])
def test_bf16_stays_close_to_float32(inverse):
    own, plain = layers(inverse)
    x, upstream = torch.randn(2, 6, 16, 16).bfloat16(), torch.randn(2, 6, 16, 16).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = gradients(own, x, upstream)
    assert low[0].dtype == torch.bfloat16
    for ours, theirs in zip(low, gradients(plain, x.float(), upstream.float()), strict=True):
        assert (ours.float() - theirs).norm() < 0.01 * theirs.norm()
