"""Convolutions that pad with zeros as TensorFlow's "SAME" does: where the padding is odd, the larger half is right and below.

H W height and width of a feature map, k the side of a kernel, s its stride.
"""

import torch.nn.functional as F
from torch import Tensor

from codec.layers.mixed_precision import Conv2d, ConvTranspose2d


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """x [B, C, H, W] with the zeros that give a convolution ceil(H / s) x ceil(W / s) places."""
    sides = []
    for side in (x.size(-1), x.size(-2)):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides)


class SameConv2d(Conv2d):
    """A convolution of k x k and stride s: [B, a, H, W] -> [B, b, ceil(H / s), ceil(W / s)]."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_same(x, self.kernel_size[0], self.stride[0]))


class SameConvTranspose2d(ConvTranspose2d):
    """A transposed convolution of k x k and stride s <= k: [B, a, H, W] -> [B, b, s H, s W].

    It is the transpose of the SAME convolution between these sizes, so its output loses what that one pads. For k = 3, s = 2
    that is the last row and column; padding=1 with output_padding=1 drops the first instead.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        assert kernel >= stride
        super().__init__(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        first, (height, width) = (kernel - stride) // 2, x.shape[-2:]
        full = super().forward(x, output_size)
        return full[..., first : first + stride * height, first : first + stride * width]
