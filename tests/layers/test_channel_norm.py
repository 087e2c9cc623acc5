"""ChannelNorm against its definition."""

import pytest
import torch

from codec.layers.channel_norm import ChannelNorm


@pytest.mark.parametrize("channels", [2, 7, 60])
def test_value_and_gradient_are_those_of_the_definition(channels):
    torch.manual_seed(0)
    layer = ChannelNorm(channels).double()
    layer.gamma.data.uniform_(0.5, 2)
    layer.beta.data.normal_()
    x = (0.05 * torch.randn(2, channels, 5, 3, dtype=torch.float64)).requires_grad_()  # where epsilon matters
    mean = x.mean(1, keepdim=True)
    # The official code stops the gradient at the mean in the variance; it is the same, since it sums to nothing.
    variance = ((x - mean.detach()) ** 2).sum(1, keepdim=True) / (channels - 1)
    expected = (x - mean) / torch.sqrt(variance + 1e-3) * layer.gamma[:, None, None] + layer.beta[:, None, None]
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)
    upstream = torch.randn_like(expected)
    (expected_gradient,) = torch.autograd.grad(expected, x, upstream)
    (gradient,) = torch.autograd.grad(layer(x), x, upstream)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-9)


def test_it_computes_in_float32_under_bf16():
    layer, x = ChannelNorm(16), 100 + torch.randn(1, 16, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x.bfloat16()).dtype == torch.float32
        under_bf16 = layer(x)
    torch.testing.assert_close(under_bf16, layer(x))
    assert layer(x.contiguous(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)
