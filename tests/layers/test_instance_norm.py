"""InstanceNorm against PyTorch's, and on pictures of one place."""

import pytest
import torch
import torch.nn.functional as F

from codec.layers.instance_norm import InstanceNorm


@pytest.mark.parametrize("channels", [1, 7, 60])
def test_it_is_pytorchs(channels):
    torch.manual_seed(0)
    layer = InstanceNorm(channels).double()
    layer.gamma.data.uniform_(0.5, 2)
    layer.beta.data.normal_()
    x = 3 + 0.05 * torch.randn(2, channels, 5, 3, dtype=torch.float64)
    expected = F.instance_norm(x, weight=layer.gamma, bias=layer.beta, eps=1e-3)
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)
    one_place = layer(x[..., :1, :1])  # where PyTorch's refuses
    torch.testing.assert_close(one_place, layer.beta[:, None, None].expand_as(one_place))


def test_it_computes_in_float32_under_bf16():
    layer, x = InstanceNorm(16), 100 + torch.randn(1, 16, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_bf16 = layer(x)
    assert under_bf16.dtype == torch.float32
    torch.testing.assert_close(under_bf16, layer(x))
