"""Convolutions under bf16 autocast."""

import pytest
import torch
import torch.nn.functional as F

from codec.layers.mixed_precision import CACHED_PLACES, Conv2d, ConvTranspose2d, PictureConvTranspose2d, rounded_with_feedback


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
    weights = torch.rand(1, 4, 8, 8) if isinstance(layer, Conv2d) else torch.rand(1, 4, 32, 32)
    theirs = type(layer).__mro__[1].forward(layer, x)
    assert torch.equal(layer(x), theirs)
    ours, wanted = (torch.autograd.grad((y * weights).sum(), list(layer.parameters())) for y in (layer(x), theirs))
    torch.testing.assert_close(ours, wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.bfloat16 and torch.allclose(low.float(), theirs, atol=0.02)
    low.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_a_layer_after_a_transposed_convolution_may_work_in_place_and_compiles_with_it():
    torch.manual_seed(0)
    layer, x = ConvTranspose2d(3, 4, 5, 2, padding=2, output_padding=1), torch.rand(1, 3, 8, 8)
    expected = F.leaky_relu(torch.nn.ConvTranspose2d.forward(layer, x))
    network = torch.nn.Sequential(layer, torch.nn.LeakyReLU(inplace=True))
    for ours in (network(x), torch.compile(network, backend="aot_eager", fullgraph=True)(x)):
        torch.testing.assert_close(ours, expected)
        losses = ours.square().sum(), expected.square().sum()
        torch.testing.assert_close(*(torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True) for loss in losses))


@pytest.mark.parametrize("height, width", [(1, 1), (3, 5), (2 * CACHED_PLACES // 64 + 1, 64), (2, CACHED_PLACES + 1)])
@pytest.mark.parametrize("kernel, stride, padding, output_padding", [(5, 2, 2, 1), (3, 1, 1, 0), (4, 3, 0, 2)])
def test_the_layer_that_writes_a_picture_is_a_transposed_convolution(height, width, kernel, stride, padding, output_padding):
    torch.manual_seed(0)
    layer = PictureConvTranspose2d(6, 3, kernel, stride, padding, output_padding).double()
    x = torch.randn(2, 6, height, width, dtype=torch.float64, requires_grad=True)
    theirs = torch.nn.ConvTranspose2d.forward(layer, x)
    weights = torch.randn_like(theirs)
    leaves = [x, layer.weight, layer.bias]
    expected = torch.autograd.grad((theirs * weights).sum(), leaves)
    ours = layer(x)
    torch.testing.assert_close(ours, theirs)
    for gradient, wanted in zip(torch.autograd.grad((ours * weights).sum(), leaves), expected, strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_a_picture_is_written_in_float32_from_bf16():
    torch.manual_seed(0)
    layer = PictureConvTranspose2d(8, 3, 5, 2, padding=2, output_padding=1)
    x = torch.randn(1, 8, 8, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        picture = layer(x.requires_grad_())
    assert torch.allclose(picture, layer(x.detach().float()), atol=1e-6)
    picture.sum().backward()
    assert x.grad.dtype == torch.bfloat16 and layer.weight.grad.dtype == torch.float32
