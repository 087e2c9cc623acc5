"""Convolutions under bf16 autocast."""

import pytest
import torch
import torch.nn.functional as F

from codec.layers.mixed_precision import Conv2d, ConvTranspose2d, rounded_with_feedback


def conv(x, weight):
    return F.conv2d(x, weight, None, 2, 2)


def deconv(x, weight):
    return F.conv_transpose2d(x, weight, None, 2, 2, 1)


@pytest.mark.parametrize("apply, stride", [(conv, 1), (deconv, 2)])
def test_errors_of_the_weights_cancel_where_a_map_is_smooth(apply, stride):
    """As maps of photographs mostly are: less than half the error of weights that are rounded one by one."""
    torch.manual_seed(0)
    x = F.interpolate(torch.rand(1, 32, 3, 3), (24, 24), mode="bicubic")
    weight = torch.randn(32, 32, 5, 5)
    errors = [
        apply(x, rounded.float() - weight)[..., 3:-3, 3:-3].norm()
        for rounded in (rounded_with_feedback(weight, stride), weight.bfloat16())
    ]
    assert errors[0] < errors[1] / 2


def test_a_weight_is_rounded_to_a_neighbour_of_itself():
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    rounded = rounded_with_feedback(weight, 1)
    assert rounded.dtype == torch.bfloat16 and rounded.stride() == weight.stride()
    assert (rounded.float() - weight).abs().max() < 2**-7 * weight.abs().max()
    assert torch.equal(rounded_with_feedback(rounded.float(), 1), rounded)


@pytest.mark.parametrize(
    "layer", [Conv2d(3, 4, 5, 2, padding=2), ConvTranspose2d(3, 4, 5, 2, padding=2, output_padding=1)], ids=["conv", "deconv"]
)
def test_without_autocast_the_layer_is_torchs(layer):
    x = torch.rand(1, 3, 16, 16)
    theirs = type(layer).__mro__[1].forward(layer, x)
    assert torch.equal(layer(x), theirs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.bfloat16 and torch.allclose(low.float(), theirs, atol=0.02)
    low.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32
