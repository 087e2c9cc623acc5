"""SAME padding against sums that are written out."""

import pytest
import torch

from codec.layers.same_padding import SameConv2d, SameConvTranspose2d

CASES = [(kernel, stride, side) for kernel in (3, 4, 5) for stride in (1, 2) for side in (1, 4, 5, 8)]


def first_place(side, kernel, stride):
    """TensorFlow: the padding before is the smaller half of what ceil(side / stride) places need."""
    return -(max((-(-side // stride) - 1) * stride + kernel - side, 0) // 2)


@pytest.mark.parametrize("kernel, stride, side", CASES)
def test_convolution_is_the_sum_over_the_places_that_tensorflow_reads(kernel, stride, side):
    torch.manual_seed(0)
    layer = SameConv2d(2, 3, kernel, stride).double()
    x = torch.randn(1, 2, side, side + 3, dtype=torch.float64)
    height, width = (-(-s // stride) for s in x.shape[-2:])
    top, left = (first_place(s, kernel, stride) for s in x.shape[-2:])
    expected = layer.bias[None, :, None, None].expand(1, 3, height, width).clone()
    for row in range(height):
        for column in range(width):
            for i in range(kernel):
                for j in range(kernel):
                    a, b = top + row * stride + i, left + column * stride + j
                    if 0 <= a < x.size(2) and 0 <= b < x.size(3):
                        expected[0, :, row, column] += layer.weight[:, :, i, j] @ x[0, :, a, b]
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("kernel, stride, side", [(k, s, side) for k, s, side in CASES if k >= s])
def test_transposed_convolution_is_the_transpose_of_the_convolution(kernel, stride, side):
    """As TensorFlow defines it: the gradient of the SAME convolution from the larger to the smaller map."""
    torch.manual_seed(0)
    layer = SameConvTranspose2d(2, 3, kernel, stride).double()
    x = torch.randn(1, 2, side, side + 1, dtype=torch.float64)
    large = torch.zeros(1, 3, stride * side, stride * (side + 1), dtype=torch.float64, requires_grad=True)
    convolution = SameConv2d(3, 2, kernel, stride).double()
    convolution.weight.data.copy_(layer.weight)
    (expected,) = torch.autograd.grad(convolution(large), large, x)
    torch.testing.assert_close(layer(x), expected + layer.bias[:, None, None])
